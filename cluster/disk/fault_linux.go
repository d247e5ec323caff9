package disk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Fault is what goes wrong on a disk that works on.
type Fault struct {
	// Read, Write and Sync are the chances of such an operation to fail with EIO.
	// What is in the page cache is read from there, and cannot fail.
	Read, Write, Sync float64
	// Full makes whatever needs space fail with ENOSPC: new names, bytes behind the
	// end of a file and in its holes.
	Full bool
	// SyncDelay is how much longer a sync takes.
	SyncDelay time.Duration
	Seed      uint64
}

// An Impairment is a fault until it is ended.
type Impairment struct {
	d    *Disk
	f    Fault
	rand *rand.Rand
	seen map[string]uint64
}

// Impair does f to what is done with the disk from now on.
func (d *Disk) Impair(f Fault) *Impairment {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := &Impairment{d: d, f: f, rand: rand.New(rand.NewPCG(f.Seed, 1)), seen: map[string]uint64{}}
	d.faults = append(d.faults, i)
	return i
}

// Seen returns how many operations it has met, by kind.
func (i *Impairment) Seen() map[string]uint64 {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	return maps.Clone(i.seen)
}

// End ends it. Ending twice is harmless.
func (i *Impairment) End() {
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	i.d.faults = slices.DeleteFunc(i.d.faults, func(f *Impairment) bool { return f == i })
}

// The kinds of operations that faults meet.
const (
	onRead  = "read"
	onWrite = "write"
	onSync  = "sync"
	onFull  = "full"
	onSlow  = "slow sync"
)

// fails says that an operation is to fail with EIO.
func (d *Disk) fails(kind string, chance func(Fault) float64) bool {
	failed := false
	for _, i := range d.faults {
		if p := chance(i.f); p > 0 && i.rand.Float64() < p {
			i.seen[kind]++
			failed = true
		}
	}
	return failed
}

// full says that an operation that needs space is to fail with ENOSPC.
func (d *Disk) full() bool {
	failed := false
	for _, i := range d.faults {
		if i.f.Full {
			i.seen[onFull]++
			failed = true
		}
	}
	return failed
}

// isFull says that the disk has no space, without counting.
func (d *Disk) isFull() bool {
	return slices.ContainsFunc(d.faults, func(i *Impairment) bool { return i.f.Full })
}

// hasSpace says that a write needs no more space than the file has.
func (d *Disk) hasSpace(i *inode, off, end int64) bool {
	if end > i.size {
		return false
	}
	fd, err := d.file(i)
	if err != nil {
		return true // the write will tell
	}
	defer i.idle()
	hole, err := unix.Seek(fd, off, unix.SEEK_HOLE)
	return err != nil || hole >= end
}

// syncDelay returns how much longer a sync takes.
func (d *Disk) syncDelay() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum time.Duration
	for _, i := range d.faults {
		if i.f.SyncDelay > 0 {
			i.seen[onSlow]++
			sum += i.f.SyncDelay
		}
	}
	return sum
}

// Keep remembers all files as they are now, for a rollback.
func (d *Disk) Keep() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.RemoveAll(d.kept()); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	if err := CopyTree(d.below(), d.kept()); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	return nil
}

func (d *Disk) kept() string { return path.Join(d.config.Scratch, "kept") }

// Damage changes files that nobody has open. It returns what it did, by file.
func (d *Disk) Damage(kind Damage, seed uint64) (done map[string]string, err error) {
	err = d.remounted(func() error {
		d.syncAll()
		done, err = DamageTree(d.below(), d.kept(), kind, seed)
		return err
	})
	return done, err
}

// Wipe removes all files, durably.
func (d *Disk) Wipe() error {
	return d.remounted(func() error { return EmptyTree(d.below()) })
}

// DamageTree changes files below dir. To roll back it takes those of kept.
func DamageTree(dir, kept string, kind Damage, seed uint64) (map[string]string, error) {
	if kind == Rollback {
		if _, err := os.Stat(kept); err != nil {
			return nil, errors.New("roll back: nothing was kept")
		}
		if err := EmptyTree(dir); err != nil {
			return nil, fmt.Errorf("roll back: %w", err)
		}
		done := map[string]string{".": "as it was when last kept"}
		if err := CopyTree(kept, dir); err != nil {
			return nil, fmt.Errorf("roll back: %w", err)
		}
		return done, nil
	}
	files, err := regularFiles(dir)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	r := rand.New(rand.NewPCG(seed, 2))
	victim := files[r.IntN(len(files))]
	f, err := os.OpenFile(path.Join(dir, victim.name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if kind == Truncate {
		size := r.Int64N(victim.size)
		did := fmt.Sprintf("cut from %d bytes to %d", victim.size, size)
		return map[string]string{victim.name: did}, f.Truncate(size)
	}
	begin, span, err := someData(f, victim.size, r)
	if err != nil {
		return nil, err
	}
	bits := 1 + r.IntN(8)
	b := make([]byte, min(sector, span))
	at := begin + r.Int64N(span-int64(len(b))+1)
	if _, err := f.ReadAt(b, at); err != nil {
		return nil, err
	}
	for _, bit := range r.Perm(8 * len(b))[:min(bits, 8*len(b))] { // of one place, and no bit twice
		b[bit/8] ^= 1 << (bit % 8)
	}
	_, err = f.WriteAt(b, at)
	return map[string]string{victim.name: fmt.Sprintf("%d bits flipped from byte %d to %d", bits, at, at+int64(len(b)))}, err
}

// someData returns a part of a file that is no hole.
func someData(f *os.File, size int64, r *rand.Rand) (begin, span int64, err error) {
	fd := int(f.Fd())
	begin, err = unix.Seek(fd, r.Int64N(size), unix.SEEK_DATA)
	if err != nil {
		begin, err = unix.Seek(fd, 0, unix.SEEK_DATA)
	}
	if err != nil { // nothing but a hole, or a file system that cannot tell
		return 0, size, nil
	}
	end, err := unix.Seek(fd, begin, unix.SEEK_HOLE)
	return begin, max(1, min(end, size)-begin), err
}

type found struct {
	name string
	size int64
}

// regularFiles returns the files below dir that have any bytes, in order.
func regularFiles(dir string) ([]found, error) {
	var files []found
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case err != nil:
			return nil, err
		case e.IsDir():
			below, err := regularFiles(path.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			for _, f := range below {
				files = append(files, found{path.Join(e.Name(), f.name), f.size})
			}
		case info.Mode().IsRegular() && info.Size() > 0:
			files = append(files, found{e.Name(), info.Size()})
		}
	}
	slices.SortFunc(files, func(a, b found) int { return cmp.Compare(a.name, b.name) })
	return files, nil
}

// EmptyTree removes what is in a directory.
func EmptyTree(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(path.Join(dir, e.Name())))
	}
	return err
}

// ReplaceTree lets a directory hold what another holds, and no more. It is made if
// it is not there.
func ReplaceTree(from, to string) error {
	if err := EmptyTree(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return CopyTree(from, to)
}

// CopyTree copies files, directories and links of the symbolic kind from one
// directory to another, which it makes if it is not there.
func CopyTree(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		a, b := path.Join(from, e.Name()), path.Join(to, e.Name())
		switch {
		case e.IsDir():
			err = CopyTree(a, b)
		case e.Type().IsRegular():
			err = copyFile(a, b)
		case e.Type() == os.ModeSymlink:
			var target string
			if target, err = os.Readlink(a); err == nil {
				err = os.Symlink(target, b)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a file, with its holes.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for at := int64(0); at < info.Size(); {
		begin, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // only a hole is left
		}
		if err != nil {
			return err
		}
		n, err := in.ReadAt(b[:min(int64(len(b)), info.Size()-begin)], begin)
		if n == 0 {
			return err
		}
		if _, err := out.WriteAt(b[:n], begin); err != nil {
			return err
		}
		at = begin + int64(n)
	}
	return out.Close()
}
