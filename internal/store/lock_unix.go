//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"
	"syscall"
)

// lock locks a file that nobody else knows yet. The kernel unlocks it when the process
// ends: programs that it starts do not get the file.
func lock(f *os.File) error { return flock(f, syscall.LOCK_EX) }

// locked says whether a process holds the lock of f. To try is to share it for a moment,
// which keeps nobody else who tries from knowing.
func locked(f *os.File) bool { return heldByOther(flock(f, syscall.LOCK_SH)) }

// heldByOther says whether that is why a file could not be locked.
func heldByOther(err error) bool { return errors.Is(err, syscall.EWOULDBLOCK) }

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
