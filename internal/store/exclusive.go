package store

import (
	"errors"
	"fmt"
	"os"
)

// ErrHeld says that another process has what was asked for.
var ErrHeld = errors.New("another process has it")

// Exclusive makes the file at path, or finds it, and locks it for this process, until release is
// called or the process ends, however it does. An error wraps ErrHeld if another one has it. The
// file stays: to remove it is to let two have it.
func Exclusive(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	switch err := lock(f); {
	case heldByOther(err):
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, ErrHeld), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}
