package cluster

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm goes off once, at the time to which it was set last. Timers of Go are
// exact to a millisecond only, when there is nothing else to do; those of the
// kernel to some microseconds.
type alarm struct{ f *os.File }

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	return &alarm{os.NewFile(uintptr(fd), "alarm")}, nil
}

// set lets the alarm go off in d, and not when it would have.
func (a *alarm) set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, d.Nanoseconds()))} // 0 would turn it off
	if c, err := a.f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &spec, nil) }) // or it is closed
	}
}

// wait returns when the alarm went off, or an error when it is closed.
func (a *alarm) wait() error {
	var times [8]byte
	_, err := a.f.Read(times[:])
	return err
}

func (a *alarm) close() error {
	if a == nil { // it was never made
		return nil
	}
	return a.f.Close()
}
