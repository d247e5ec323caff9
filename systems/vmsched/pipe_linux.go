package vmsched

import (
	"os"
	"syscall"
)

// pipeSize is what a pipe may hold that anybody makes, unless a machine is set up otherwise.
const pipeSize = 1 << 20

// setPipeSize is F_SETPIPE_SZ, which package syscall does not have everywhere.
const setPipeSize = 1031

// enlarge makes a pipe hold more, if it may be: what does not fit in, who tells it counts.
func enlarge(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, pipeSize) })
	}
}
