package disk

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"golang.org/x/sys/unix"
)

// sector is what a disk writes as a whole.
const sector = 512

// How much that is not synced is remembered: bytes, mostly those that were replaced,
// and changes of names.
const (
	mostBytes   = 64 << 20
	mostChanges = 1024
)

// A write is a change of a file's bytes, or of its size.
type write struct {
	at      int64  // the first byte of the first sector
	span    int64  // how many bytes the sectors have, from there
	old     []byte // what they held, as far as the file went
	size    int64  // of the file
	resized bool
}

// cost is about how many bytes it takes to remember a write. One that replaces
// nothing, at the end of a file, takes some, too.
func (w write) cost() int64 { return int64(len(w.old) + 64) }

// A change is one of names: all that one operation does, and so does as a whole.
type change []step

// A step is what a change does to one name.
type step struct {
	name
	old, new *inode // nil is none
}

// needs says that c was built on an earlier change: without that it cannot be.
func (c change) needs(earlier change) bool {
	for _, s := range c {
		for _, e := range earlier {
			switch {
			case s.name == e.name:
				return true
			case e.new == s.dir && s.new != nil: // which gave the directory its name
				return true
			case e.dir == s.old && c.removes(s.old): // the removal of what was in a directory
				return true
			case e.new.isDir() && s.new.isDir() && c.moves(s.new): // or one would come to be in itself
				return true
			}
		}
	}
	return false
}

func (c change) removes(i *inode) bool {
	return i.isDir() && !slices.ContainsFunc(c, func(s step) bool { return s.new == i })
}

func (c change) moves(i *inode) bool {
	return slices.ContainsFunc(c, func(s step) bool { return s.old == i })
}

// changed remembers a change of names.
func (d *Disk) changed(c change) {
	for _, s := range c {
		for _, i := range []*inode{s.old, s.new} {
			if i != nil {
				i.refs++
			}
		}
	}
	d.changes = append(d.changes, c)
	if len(d.changes) > mostChanges {
		d.commit(func(change) bool { return true })
	}
}

// commit makes changes durable, with those that they were built on.
func (d *Disk) commit(is func(change) bool) {
	var durable, rest []change // backwards
	for _, c := range slices.Backward(d.changes) {
		if is(c) || slices.ContainsFunc(durable, func(later change) bool { return later.needs(c) }) {
			durable = append(durable, c)
		} else {
			rest = append(rest, c)
		}
	}
	if len(durable) == 0 {
		return
	}
	slices.Reverse(rest)
	d.changes = rest
	d.release(durable)
}

// release lets go of what changes mention.
func (d *Disk) release(changes []change) {
	for _, c := range changes {
		for _, s := range c {
			for _, i := range []*inode{s.old, s.new} {
				if i != nil {
					i.refs--
					d.settle(i)
				}
			}
		}
	}
}

// sync makes durable what i holds.
func (d *Disk) sync(i *inode) {
	d.forgetWrites(i, len(i.writes))
	if len(d.changes) == 0 {
		return
	}
	dir := i.isDir()
	d.commit(func(c change) bool {
		return slices.ContainsFunc(c, func(s step) bool {
			return dir && s.dir == i || s.new == i && (dir || !d.config.Strict)
		})
	})
}

// syncAll makes everything durable.
func (d *Disk) syncAll() {
	for _, i := range d.inodes {
		d.forgetWrites(i, len(i.writes))
	}
	d.commit(func(change) bool { return true })
}

// forgetWrites makes the first n writes to a file durable.
func (d *Disk) forgetWrites(i *inode, n int) {
	for _, w := range i.writes[:n] {
		d.bytes -= w.cost()
	}
	if n == len(i.writes) {
		i.writes = nil
	} else {
		i.writes = slices.Clone(i.writes[n:])
	}
}

// wrote remembers a write before it is done.
func (d *Disk) wrote(i *inode, w write) {
	i.writes = append(i.writes, w)
	d.bytes += w.cost()
	if d.bytes <= mostBytes {
		return
	}
	for _, i := range d.inodes {
		d.forgetWrites(i, (len(i.writes)+1)/2)
	}
}

func roundUp(n int64) int64 { return (n + sector - 1) &^ (sector - 1) }

// replaced reads what the sectors hold that the bytes from begin to end are in.
func (d *Disk) replaced(i *inode, fd int, begin, end int64) (w write, err error) {
	w = write{at: begin &^ (sector - 1), size: i.size}
	w.span = roundUp(end) - w.at
	w.old = make([]byte, max(0, min(w.at+w.span, i.size)-w.at))
	return w, readAt(fd, w.old, w.at)
}

// writeAt writes to a file.
func (d *Disk) writeAt(i *inode, b []byte, off int64) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	fd, err := d.file(i)
	if err != nil {
		return 0, err
	}
	defer i.idle()
	end := off + int64(len(b))
	w, err := d.replaced(i, fd, off, end)
	if err != nil {
		return 0, err
	}
	w.resized = end > i.size
	d.wrote(i, w)
	for n < len(b) {
		more, err := unix.Pwrite(fd, b[n:], off+int64(n))
		if err != nil {
			return n, err
		}
		n += more
		i.size = max(i.size, off+int64(n))
	}
	return n, nil
}

// truncate sets a file's size.
func (d *Disk) truncate(i *inode, size int64) error {
	if size == i.size {
		return nil
	}
	fd, err := d.file(i)
	if err != nil {
		return err
	}
	defer i.idle()
	w := write{size: i.size}
	tooMuch := i.size-size > mostBytes
	if size < i.size && !tooMuch {
		if w, err = d.replaced(i, fd, size, i.size); err != nil {
			return err
		}
	}
	w.resized = true
	if err := unix.Ftruncate(fd, size); err != nil {
		return err
	}
	d.wrote(i, w)
	i.size = size
	if tooMuch {
		d.forgetWrites(i, len(i.writes))
	}
	return nil
}

// readAt fills b; what is missing in the file is zeros.
func readAt(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pread(fd, b, off)
		if err != nil {
			return err
		}
		if n == 0 {
			clear(b)
			return nil
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// lose undoes what is not synced, all or a part.
func (d *Disk) lose(mode Mode, seed uint64) (Lost, error) {
	lost := Lost{Files: map[string]uint64{}}
	r := rand.New(rand.NewPCG(seed, 0))
	kept := 0.0 // the part of the writes, and of the changes of names, that is kept
	if mode != All {
		kept = 0.1 + 0.8*r.Float64()
	}
	var errs []error
	byID := func(a, b *inode) int { return cmp.Compare(a.id, b.id) }
	for _, i := range slices.SortedFunc(maps.Values(d.inodes), byID) {
		if len(i.writes) > 0 {
			errs = append(errs, d.loseWrites(i, kept, mode == Torn, r, &lost))
		}
	}
	errs = append(errs, d.loseNames(kept, r, &lost))
	return lost, errors.Join(errs...)
}

// loseWrites undoes writes to a file, the last first. A sector that is not to be
// undone further stays as it is, also when it comes up again: it holds what it held
// after that write, and so what earlier ones had put there.
func (d *Disk) loseWrites(i *inode, kept float64, torn bool, r *rand.Rand, lost *Lost) error {
	fd, err := d.file(i)
	if err != nil {
		return fmt.Errorf("undo writes to %s: %w", i.show(), err)
	}
	defer i.idle()
	stays, undone := map[int64]bool{}, map[int64]bool{}
	size, sizeStays, wasLost := i.size, false, false
	for _, w := range slices.Backward(i.writes) {
		keep := r.Float64() < kept
		tear := torn && !keep && r.IntN(2) == 0
		old := make([]byte, w.span)
		copy(old, w.old)
		gone := int64(0) // sectors
		for at := w.at; at < w.at+w.span; {
			end := at // of the run of sectors to undo
			for ; end < w.at+w.span; end += sector {
				if stays[end] {
					break
				}
				if keep || tear && r.IntN(2) == 0 {
					stays[end] = true
					break
				}
				undone[end] = true
			}
			if end > at {
				gone += (end - at) / sector
				if _, err := unix.Pwrite(fd, old[at-w.at:end-w.at], at); err != nil {
					return fmt.Errorf("undo writes to %s: %w", i.show(), err)
				}
			}
			at = end + sector // which stays, if there is one
		}
		resize := w.resized && !sizeStays
		if resize {
			if keep || tear && r.IntN(2) == 0 {
				sizeStays, resize = true, false
			} else {
				size = w.size
			}
		}
		switch {
		case gone == 0 && !resize:
			lost.Kept++
			continue
		case gone*sector < w.span || gone > 0 && w.resized && !resize:
			lost.Torn++
		}
		lost.Writes++
		wasLost = true
	}
	if err := unix.Ftruncate(fd, size); err != nil {
		return fmt.Errorf("undo writes to %s: %w", i.show(), err)
	}
	i.size = size
	for at := range stays {
		if at >= size {
			undone[at] = true // it was cut off
		}
	}
	if wasLost {
		lost.Files[i.show()] += uint64(len(undone)) * sector
		lost.Bytes += uint64(len(undone)) * sector
	}
	d.forgetWrites(i, len(i.writes))
	return nil
}

// loseNames undoes changes of names.
func (d *Disk) loseNames(kept float64, r *rand.Rand, lost *Lost) error {
	var gone []change
	want := map[name]*inode{}
	for _, c := range d.changes {
		isGone := r.Float64() >= kept || slices.ContainsFunc(gone, c.needs)
		for _, s := range c {
			if _, ok := want[s.name]; !ok {
				want[s.name] = s.old
			}
			if !isGone {
				want[s.name] = s.new
			}
		}
		if isGone {
			gone = append(gone, c)
		} else {
			lost.Kept++
		}
	}
	for _, c := range gone {
		for _, s := range c {
			lost.Files[s.show()] += 0
		}
	}
	lost.Names += uint64(len(gone))
	var errs []error
	for n, i := range want { // first all away, since one may be in the way of another
		if is := n.get(); is == i {
			delete(want, n)
		} else if is != nil {
			errs = append(errs, d.detach(n))
		}
	}
	for n, i := range want {
		if i != nil {
			errs = append(errs, d.attach(n, i))
		}
	}
	changes := d.changes
	d.changes = nil
	d.release(changes)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("undo changes of names: %w", err)
	}
	return nil
}
