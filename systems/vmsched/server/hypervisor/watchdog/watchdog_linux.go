//go:build amd64 || arm64

package watchdog

import (
	"fmt"
	"sync"
	"syscall"
	"unsafe"
)

// What package syscall has no names for: linux/time.h, asm-generic/siginfo.h.
const (
	clockBoottime = 7
	timerAbstime  = 1
	sigevSignal   = 0
)

// A sigevent is struct sigevent on machines of 64 bits: 64 bytes, of which a timer that
// sends a signal needs two fields.
type sigevent struct {
	_      [8]byte
	signal int32
	notify int32
	_      [48]byte
}

// An itimerspec is struct itimerspec.
type itimerspec struct{ interval, value syscall.Timespec }

// timer is the one that this process has: of several the first would kill.
var timer = sync.OnceValues(func() (int32, error) {
	var id int32
	event := sigevent{signal: int32(syscall.SIGKILL), notify: sigevSignal}
	_, _, errno := syscall.RawSyscall(syscall.SYS_TIMER_CREATE,
		clockBoottime, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return 0, fmt.Errorf("watchdog: create a timer: %w", errno)
	}
	return id, nil
})

func arm(at Instant) error {
	id, err := timer()
	if err != nil {
		return err
	}
	// Zero would disarm it.
	spec := itimerspec{value: syscall.NsecToTimespec(int64(max(at, 1)))}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMER_SETTIME,
		uintptr(id), timerAbstime, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("watchdog: set the timer: %w", errno)
	}
	// A timer that is late goes off with the next interrupt, which may let a few steps be taken. A
	// signal to oneself is there when the call that sends it would return (kill(2)).
	if now, err := now(); err != nil || now < at {
		return err
	}
	return syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
}

func now() (Instant, error) {
	var t syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, fmt.Errorf("watchdog: read the clock: %w", errno)
	}
	return Instant(t.Nano()), nil
}
