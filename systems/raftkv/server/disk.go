package server

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
)

// makeDir makes a directory whose name a failure of power does not take away, nor those
// of the directories above that it makes, too.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return syncDir(parent)
}

// syncDir writes down the names in a directory. A file that was synced may yet be
// gone after a failure of power if its name was not.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync the names in %s: %w", dir, err)
	}
	return nil
}

// protected calls f, which reads what lies on a disk, and returns an error where it
// panics: bbolt does over pages that make no sense, and the kernel faults where a
// file that is mapped into memory cannot be read, or has become too short.
func protected(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is damaged: %v", p)
		}
	}()
	return f()
}
