package server

import (
	"fmt"
	"os"
	"path/filepath"
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
