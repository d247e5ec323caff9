package vmsched

import (
	"fmt"
	"os"
	"syscall"
)

// makePipe makes the observer's pipe. It is open for writing, too: so it never ends, and
// who tells never finds that nobody listens.
func makePipe(path string) (*os.File, error) {
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make the observer's pipe %s: %w", path, err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open the observer's pipe: %w", err)
	}
	enlarge(pipe)
	return pipe, nil
}
