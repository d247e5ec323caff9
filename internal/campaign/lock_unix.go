//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package campaign

import (
	"errors"
	"os"
	"syscall"
)

// lock locks f, which the kernel unlocks when this process ends, however it does. It says
// false when somebody else has it.
func lock(f *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}
