package server

import (
	"os"
	"syscall"
)

// datasync writes down what a file holds, and not when it was last written to, which
// would be a second write somewhere else.
func datasync(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); failed != syscall.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("fdatasync", failed)
	}
	return err
}
