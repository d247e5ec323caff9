// Package watchdog has the kernel kill this process at a time that was set before, also if
// the process cannot run by then.
//
// A guest may run only as long as its host's lease is sure to last. To look at a clock and
// stop is not enough for that: whoever looks may be stopped between the look and what comes
// next, together with all else on its host, for minutes, and goes on with that one step
// when another guest of the same machine runs elsewhere. The kernel has no such gap: its timer
// goes off on time, SIGKILL reaches a process that is stopped (signal(7): it cannot be blocked,
// and needs no SIGCONT), and so none of its instructions is executed behind the end.
//
// The clock is CLOCK_BOOTTIME. Unlike CLOCK_MONOTONIC it goes on while the machine is
// suspended, as leases do that others keep, and a timer that ended in that time goes off
// before any process runs again. It is asked by a system call and not by the vDSO, which
// others may have bent: see timer_create(2) and clock_gettime(2).
//
// The timer is the process's. A child does not inherit it, and exec ends it.
package watchdog

import "time"

// An Instant is a point in time by the kernel's clock, in nanoseconds since it was booted:
// the same for all processes of a machine, and for nobody else.
type Instant int64

// Now returns the present one.
func Now() (Instant, error) { return now() }

// Add returns the instant that comes d after this one.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns how long this one comes after another.
func (i Instant) Sub(other Instant) time.Duration { return time.Duration(i - other) }

// Arm has this process killed at an instant, and not at the one that was set before. One
// that has passed kills it at once, and does not return: what says until when a process may run
// can so be late, and does not let it take a step more.
func Arm(at Instant) error { return arm(at) }
