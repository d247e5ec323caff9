// Package durable makes directories, and replaces files, such that a failure of power takes
// back nothing that was done.
package durable

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// MakeDir makes a directory whose name a failure of power does not take away, nor those
// of the directories above that it makes, too.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MakeDir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return SyncDir(parent)
}

// SyncDir writes down the names in a directory. A file that was synced may yet be
// gone after a failure of power if its name was not.
func SyncDir(dir string) error {
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

// Replace has a file hold b: if the power fails meanwhile, what it held or b.
func Replace(path string, b []byte) error {
	temporary := path + ".new"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}
