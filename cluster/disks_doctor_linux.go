package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// tryDisks brings up a node with a disk, writes to it with and without a sync, and
// lets its power fail.
func tryDisks(xfs bool) (detail string, err error) {
	dir, err := tempDir()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	begun := time.Now()
	l, err := NewLocal(Options{Nodes: 1, Dir: dir, Disks: true, XFS: xfs})
	if err != nil {
		return "", err
	}
	up := time.Since(begun)
	defer func() { err = errors.Join(err, l.Close()) }()
	data := l.nodes[0].Dir
	f, err := os.OpenFile(filepath.Join(data, "log"), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return "", err
	}
	defer f.Close() // also where it fails before it is closed below
	const writes = 20
	begun = time.Now()
	for range writes {
		if _, err := f.Write(make([]byte, 512)); err != nil {
			return "", err
		}
		if err := f.Sync(); err != nil {
			return "", err
		}
	}
	each := time.Since(begun) / writes
	if _, err := f.Write(make([]byte, 512)); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	begun = time.Now()
	lost, err := l.disks.PowerOff("n1", PowerLoss{Mode: LoseAll})
	if err != nil {
		return "", err
	}
	off := time.Since(begun)
	info, err := os.Stat(filepath.Join(data, "log"))
	switch {
	case err != nil:
		return "", fmt.Errorf("what was synced is lost: %w", err)
	case info.Size() != writes*512:
		return "", fmt.Errorf("%d bytes were synced, and %d are there", writes*512, info.Size())
	case lost.Writes == 0:
		return "", errors.New("the power failed, and nothing was lost")
	}
	return fmt.Sprintf("%s; a disk up in %v, a synced write in %v, without power and back in %v; lost what was not synced",
		l.disks.Made(), up.Round(100*time.Microsecond), each.Round(time.Microsecond), off.Round(100*time.Microsecond)), nil
}
