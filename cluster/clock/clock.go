// Package clock starts programs with clocks that can be set, and leaves those of
// everybody else as they are. It needs no privilege and no help of the program.
//
// Programs ask for the time in the vDSO, a library that the kernel maps into every
// process. [Clock.Start] stops a program at its very first instruction, maps two
// pages into it, and bends the vDSO's symbols of clock_gettime, gettimeofday and
// time, which are the process's own copy, to hooks on one of them. A hook calls the
// vDSO's function and adds what the other page says, which is shared with the
// tester and so can be changed at any time, for all processes at once. Then the
// program runs on, traced by nobody. Static and dynamic C, Go, the JVM and CPython
// all resolve those symbols later, when they start.
//
// What asks the vDSO sees these clocks, and nothing else does:
//
//   - The kernel knows nothing of them. Sleeps and timeouts last as long as ever,
//     unless the program itself looks at the clock again, as Go does. A wait until
//     a point in realtime, such as that of pthread_cond_timedwait, ends when the
//     kernel's clock is there. The times of files are the kernel's.
//   - Coarse clocks, and time, which is one, are set with their next tick.
//   - A system call made by hand sees true time: so does unix.ClockGettime.
//   - They are inherited by fork, and lost by exec. Of a program that execs another,
//     as wrappers in shell do, the other one must be given; [Clock.Reaches] tells.
//   - They rest on the machine's own. Where that is set meanwhile, realtime with a
//     drift is off by a part of that.
package clock

import (
	"fmt"
	"math"
	"time"
)

// A Warp is how clocks differ from the true ones.
type Warp struct {
	// Offset is how far realtime is ahead at first, and Drift what it gains from
	// then on, in seconds a second. So do CLOCK_REALTIME, its coarse kin, CLOCK_TAI,
	// gettimeofday and time.
	Offset time.Duration
	Drift  float64
	// MonotonicDrift is what the monotonic clock gains. So do its coarse kin,
	// CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME.
	MonotonicDrift float64
}

// What clocks can differ by. Within these no sum overflows, for years.
const (
	MaxOffset = 10 * 365 * 24 * time.Hour
	MaxDrift  = 100
	// MinDrift is that of a clock that nearly stands still. A monotonic one must not
	// go back.
	MinDrift = -0.999
)

// Check returns an error if clocks cannot differ so.
func (w Warp) Check() error {
	if w.Offset.Abs() > MaxOffset {
		return fmt.Errorf("an offset of %v is more than %v", w.Offset, MaxOffset)
	}
	for _, drift := range []float64{w.Drift, w.MonotonicDrift} {
		if !(drift >= MinDrift && drift <= MaxDrift) { // nor is it NaN
			return fmt.Errorf("a drift of %v is not from %v to %v", drift, MinDrift, MaxDrift)
		}
	}
	return nil
}

// Offsets are by how much clocks differ from the true ones.
type Offsets struct {
	Realtime, Monotonic time.Duration
	// Within is how far from the truth both may be: half of the time that reading
	// took. Where nothing was read it is 0.
	Within time.Duration
}

// fixed is a drift as the hook has it: in units of 2^-32.
func fixed(drift float64) int64 { return int64(math.Round(drift * (1 << 32))) }
