package store

import (
	"errors"
	"fmt"
	"os"
	"path"
	"sync"
)

// HoldFile is there while a run goes on, and locked by the process that runs it. What is
// left of it when that process is killed is not locked.
const HoldFile = ".running"

// Hold says that the run goes on, until release is called or this process ends, however
// it does. Call it before run.json is written: who reads that looks for this. An error is
// of the file system, or says that it has no locks; the run is none the worse, but shows
// as one that ended early.
func (r *Run) Hold() (release func() error, err error) {
	// It is locked before it has its name. So whoever finds it finds it locked, or knows
	// that nobody holds it any more.
	f, err := os.CreateTemp(r.Dir, HoldFile+"-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := lock(f); err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err := os.Rename(f.Name(), r.File(HoldFile)); err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error { return errors.Join(os.Remove(r.File(HoldFile)), f.Close()) }), nil
}

// Held says whether a process of this machine holds the run whose directory is dir, below
// root. Where nobody can say, nobody does: a run that is called dead while it goes on is
// put right by its end, one that is called running when it is dead never is.
func Held(root *os.Root, dir string) bool {
	name := path.Join(dir, HoldFile)
	if s, err := root.Lstat(name); err != nil || !s.Mode().IsRegular() { // to open a pipe is to wait
		return false
	}
	f, err := root.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return locked(f)
}
