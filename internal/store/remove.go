package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// ErrOngoing is why a run is not removed: a process is at it.
var ErrOngoing = errors.New("the run is still going on")

// trash begins the names of directories that are being removed.
const trash = ".removed-"

// Remove deletes the directory of a run, with all that is in it, also other runs. Symlinks
// named latest that led to it lead to the latest run that is left, or are gone. An error
// wraps [fs.ErrNotExist] if there is no such run, and [ErrOngoing] if it may not go yet.
//
// It is gone at once: whoever looks meanwhile sees the whole of it, or nothing.
func (x *Index) Remove(run string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.runs[run]; !ok {
		return &fs.PathError{Op: "remove", Path: run, Err: fs.ErrNotExist}
	}
	inside := func(p string) bool { return p == run || strings.HasPrefix(p, run+"/") }
	for p := range x.runs {
		if inside(p) && Held(x.root, p) {
			return fmt.Errorf("remove %s: %w", p, ErrOngoing)
		}
	}
	folder, name := path.Split(run)
	gone := folder + trash + name
	// Where a removal was cut short, what it left stands in the way of the next.
	if err := x.root.RemoveAll(gone); err != nil {
		return err
	}
	if err := x.root.Rename(run, gone); err != nil {
		return err
	}
	for p := range x.runs {
		if inside(p) {
			delete(x.runs, p)
		}
	}
	x.publish()
	err := x.root.RemoveAll(gone)
	for dir := path.Dir(run); ; dir = path.Dir(dir) {
		err = errors.Join(err, x.relink(dir))
		if dir == "." {
			return err
		}
		_ = x.root.Remove(dir) // unless there are others
	}
}

// relink puts the symlink named latest in dir right if it leads nowhere: to the latest run
// below dir, or as far on the way there as it led before.
func (x *Index) relink(dir string) error {
	link := path.Join(dir, Latest)
	target, err := x.root.Readlink(link)
	if err != nil {
		return nil // there is none, or it is no symlink
	}
	if _, err := x.root.Stat(link); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	steps := strings.Count(path.Clean(target), "/") + 1
	fresh := path.Join(dir, trash+Latest)
	for _, e := range x.Listing().Entries { // the latest first
		below, ok := strings.CutPrefix(e.Path, dir+"/")
		if dir == "." {
			below, ok = e.Path, true
		}
		names := strings.Split(below, "/")
		if !ok || e.Parent != "" && !strings.HasPrefix(dir+"/", e.Parent+"/") || len(names) < steps {
			continue
		}
		_ = x.root.Remove(fresh) // of one that was cut short
		if err := x.root.Symlink(path.Join(names[:steps]...), fresh); err != nil {
			return err
		}
		return x.root.Rename(fresh, link)
	}
	return x.root.Remove(link)
}
