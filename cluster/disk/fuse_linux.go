package disk

import (
	"cmp"
	"errors"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What the kernel asks of the mount. What is not here it does without: it keeps
// locks itself, and copies ranges by reading and writing. It is never given a
// descriptor to go past us with.

// do does what the kernel asks, one at a time.
func (s *session) do(f func() error) fuse.Status {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	select {
	case <-s.dead:
		return fuse.EIO
	default:
	}
	err := f()
	if err == nil {
		return fuse.OK
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fuse.Status(errno)
	}
	return fuse.EIO
}

// find returns what the kernel knows by a number.
func (d *Disk) find(id uint64) (*inode, error) {
	if id == topID {
		return d.top, nil
	}
	if i := d.inodes[id]; i != nil {
		return i, nil
	}
	return nil, unix.ESTALE
}

// findName returns a name in a directory that the kernel knows by a number.
func (d *Disk) findName(dir uint64, base string) (name, error) {
	i, err := d.find(dir)
	if err == nil && !i.isDir() {
		err = unix.ENOTDIR
	}
	return name{i, base}, err
}

// entry tells the kernel of i.
func (d *Disk) entry(i *inode, out *fuse.EntryOut) error {
	if err := d.attributes(i, &out.Attr); err != nil {
		return err
	}
	out.NodeId, out.Generation = i.id, 1
	out.SetEntryTimeout(ttl)
	out.SetAttrTimeout(ttl)
	i.lookups++
	return nil
}

func (d *Disk) attributes(i *inode, out *fuse.Attr) error {
	var st unix.Stat_t
	if at, where, ok := d.where(i); ok {
		if err := unix.Fstatat(at, where, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	} else if i.fd < 0 || unix.Fstat(i.fd, &st) != nil {
		return unix.ESTALE
	}
	*out = fuse.Attr{
		Ino: i.id, Size: uint64(st.Size), Blocks: uint64(st.Blocks),
		Atime: uint64(st.Atim.Sec), Atimensec: uint32(st.Atim.Nsec),
		Mtime: uint64(st.Mtim.Sec), Mtimensec: uint32(st.Mtim.Nsec),
		Ctime: uint64(st.Ctim.Sec), Ctimensec: uint32(st.Ctim.Nsec),
		Mode: st.Mode, Nlink: uint32(st.Nlink), Owner: fuse.Owner{Uid: st.Uid, Gid: st.Gid},
		Rdev: uint32(st.Rdev), Blksize: 4096,
	}
	if !i.isDir() {
		out.Nlink = uint32(len(i.names)) // the grave is none
	}
	return nil
}

func (s *session) Lookup(_ <-chan struct{}, h *fuse.InHeader, base string, out *fuse.EntryOut) fuse.Status {
	return s.do(func() error {
		n, err := s.d.findName(h.NodeId, base)
		if err != nil {
			return err
		}
		i := n.get()
		if i == nil {
			return unix.ENOENT
		}
		return s.d.entry(i, out)
	})
}

func (s *session) Forget(id, times uint64) {
	_ = s.do(func() error {
		i, err := s.d.find(id)
		if err == nil {
			i.lookups -= min(i.lookups, times)
			s.d.settle(i)
		}
		return err
	})
}

func (s *session) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		out.SetTimeout(ttl)
		return s.d.attributes(i, &out.Attr)
	})
}

func (s *session) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		if err := s.d.setAttributes(i, in); err != nil {
			return err
		}
		out.SetTimeout(ttl)
		return s.d.attributes(i, &out.Attr)
	})
}

func (d *Disk) setAttributes(i *inode, in *fuse.SetAttrIn) error {
	if size, ok := in.GetSize(); ok {
		if i.kind != unix.S_IFREG {
			return unix.EINVAL
		}
		if d.fails(onWrite, func(f Fault) float64 { return f.Write }) {
			return unix.EIO
		}
		if err := d.truncate(i, int64(size)); err != nil {
			return err
		}
	}
	at, where, ok := d.where(i)
	if !ok {
		return nil // it is open, and has no name any more: who would see its mode
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Fchmodat(at, where, mode&0o7777, 0); err != nil {
			return err
		}
	}
	uid, isUID := in.GetUID()
	gid, isGID := in.GetGID()
	if isUID || isGID {
		if !isUID {
			uid = ^uint32(0)
		}
		if !isGID {
			gid = ^uint32(0)
		}
		if err := unix.Fchownat(at, where, int(int32(uid)), int(int32(gid)), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	mtime, isM := in.GetMTime()
	atime, isA := in.GetATime()
	if !isM && !isA {
		return nil
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for k, t := range []struct {
		set bool
		to  time.Time
	}{{isA, atime}, {isM, mtime}} {
		if t.set {
			times[k] = unix.NsecToTimespec(t.to.UnixNano())
		}
	}
	return unix.UtimesNanoAt(at, where, times, unix.AT_SYMLINK_NOFOLLOW)
}

// create makes something under a new name, below and in memory.
func (s *session) create(h *fuse.InHeader, base string, kind uint32, out *fuse.EntryOut, make func(at int, where string) error) (*inode, error) {
	d := s.d
	n, err := d.findName(h.NodeId, base)
	if err != nil {
		return nil, err
	}
	if n.get() != nil {
		return nil, unix.EEXIST
	}
	if d.full() {
		return nil, unix.ENOSPC
	}
	at, where, err := d.at(n)
	if err != nil {
		return nil, err
	}
	if err := make(at, where); err != nil {
		return nil, err
	}
	if h.Uid != uint32(unix.Geteuid()) || h.Gid != uint32(unix.Getegid()) {
		_ = unix.Fchownat(at, where, int(h.Uid), int(h.Gid), unix.AT_SYMLINK_NOFOLLOW) // its owner may be unknown here
	}
	i := d.newInode(kind)
	d.name(n, i)
	d.changed(change{{n, nil, i}})
	return i, d.entry(i, out)
}

func (s *session) Mknod(_ <-chan struct{}, in *fuse.MknodIn, base string, out *fuse.EntryOut) fuse.Status {
	return s.do(func() error {
		_, err := s.create(&in.InHeader, base, in.Mode&unix.S_IFMT, out, func(at int, where string) error {
			return unix.Mknodat(at, where, in.Mode, int(in.Rdev))
		})
		return err
	})
}

func (s *session) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, base string, out *fuse.EntryOut) fuse.Status {
	return s.do(func() error {
		_, err := s.create(&in.InHeader, base, unix.S_IFDIR, out, func(at int, where string) error {
			return unix.Mkdirat(at, where, in.Mode&0o7777)
		})
		return err
	})
}

func (s *session) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, base string, out *fuse.EntryOut) fuse.Status {
	return s.do(func() error {
		_, err := s.create(h, base, unix.S_IFLNK, out, func(at int, where string) error {
			return unix.Symlinkat(target, at, where)
		})
		return err
	})
}

func (s *session) Readlink(_ <-chan struct{}, h *fuse.InHeader) (target []byte, _ fuse.Status) {
	status := s.do(func() error {
		i, err := s.d.find(h.NodeId)
		if err != nil {
			return err
		}
		at, where, ok := s.d.where(i)
		if !ok {
			return unix.ESTALE
		}
		target = make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(at, where, target)
		target = target[:max(0, n)]
		return err
	})
	return target, status
}

func (s *session) Link(_ <-chan struct{}, in *fuse.LinkIn, base string, out *fuse.EntryOut) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.Oldnodeid)
		if err != nil {
			return err
		}
		n, err := s.d.findName(in.NodeId, base)
		switch {
		case err != nil:
			return err
		case n.get() != nil:
			return unix.EEXIST
		case len(i.names) == 0:
			return unix.ENOENT
		case s.d.full():
			return unix.ENOSPC
		}
		if err := s.d.attach(n, i); err != nil {
			return err
		}
		s.d.changed(change{{n, nil, i}})
		return s.d.entry(i, out)
	})
}

func (s *session) Unlink(_ <-chan struct{}, h *fuse.InHeader, base string) fuse.Status {
	return s.do(func() error { return s.d.remove(h.NodeId, base, false) })
}

func (s *session) Rmdir(_ <-chan struct{}, h *fuse.InHeader, base string) fuse.Status {
	return s.do(func() error { return s.d.remove(h.NodeId, base, true) })
}

func (d *Disk) remove(dir uint64, base string, isDir bool) error {
	n, err := d.findName(dir, base)
	if err != nil {
		return err
	}
	i := n.get()
	switch {
	case i == nil:
		return unix.ENOENT
	case i.isDir() && !isDir:
		return unix.EISDIR
	case isDir && !i.isDir():
		return unix.ENOTDIR
	case len(i.children) > 0:
		return unix.ENOTEMPTY
	}
	if err := d.detach(n); err != nil {
		return err
	}
	d.changed(change{{n, i, nil}})
	return nil
}

func (s *session) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	return s.do(func() error {
		from, err := s.d.findName(in.NodeId, oldName)
		if err != nil {
			return err
		}
		to, err := s.d.findName(in.Newdir, newName)
		if err != nil {
			return err
		}
		switch in.Flags {
		case 0:
		case unix.RENAME_NOREPLACE:
			if to.get() != nil {
				return unix.EEXIST
			}
		case unix.RENAME_EXCHANGE:
			return s.d.exchange(from, to)
		default:
			return unix.EINVAL
		}
		return s.d.rename(from, to)
	})
}

// rename moves from to to. The kernel has seen to it that no directory comes to be
// below itself.
func (d *Disk) rename(from, to name) error {
	i, replaced := from.get(), to.get()
	switch {
	case i == nil:
		return unix.ENOENT
	case i == replaced:
		return nil
	case i.isDir() && replaced != nil && !replaced.isDir():
		return unix.ENOTDIR
	case !i.isDir() && replaced.isDir():
		return unix.EISDIR
	case replaced != nil && len(replaced.children) > 0:
		return unix.ENOTEMPTY
	}
	if replaced != nil {
		if err := d.detach(to); err != nil {
			return err
		}
	}
	if err := d.move(from, to); err != nil {
		if replaced != nil {
			err = errors.Join(err, d.attach(to, replaced))
		}
		return err
	}
	d.changed(change{{from, i, nil}, {to, replaced, i}})
	return nil
}

// move moves from to to, which stands for nothing.
func (d *Disk) move(from, to name) error {
	i := from.get()
	oldAt, oldWhere, err := d.at(from)
	if err != nil {
		return err
	}
	at, where, err := d.at(to)
	if err != nil {
		return err
	}
	if err := unix.Renameat(oldAt, oldWhere, at, where); err != nil {
		return err
	}
	d.unname(from)
	d.name(to, i)
	return nil
}

// exchange swaps two names.
func (d *Disk) exchange(a, b name) error {
	i, j := a.get(), b.get()
	if i == nil || j == nil {
		return unix.ENOENT
	}
	if i == j {
		return nil
	}
	if err := d.detach(b); err != nil {
		return err
	}
	if err := d.move(a, b); err != nil {
		return errors.Join(err, d.attach(b, j))
	}
	if err := d.attach(a, j); err != nil {
		return err
	}
	d.changed(change{{a, i, j}, {b, j, i}})
	return nil
}

func (s *session) Create(_ <-chan struct{}, in *fuse.CreateIn, base string, out *fuse.CreateOut) fuse.Status {
	return s.do(func() error {
		n, err := s.d.findName(in.NodeId, base)
		if err != nil {
			return err
		}
		if i := n.get(); i != nil && in.Flags&unix.O_EXCL == 0 {
			if err := s.d.entry(i, &out.EntryOut); err != nil {
				return err
			}
			return s.d.open(i, in.Flags)
		}
		i, err := s.create(&in.InHeader, base, unix.S_IFREG, &out.EntryOut, func(at int, where string) error {
			fd, err := unix.Openat(at, where, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, in.Mode&0o7777)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		})
		if err != nil {
			return err
		}
		return s.d.open(i, 0)
	})
}

func (s *session) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		return s.d.open(i, in.Flags)
	})
}

func (d *Disk) open(i *inode, flags uint32) error {
	if i.kind != unix.S_IFREG {
		return unix.EINVAL
	}
	if _, err := d.file(i); err != nil {
		return err
	}
	i.opens++
	if flags&unix.O_TRUNC == 0 {
		return nil
	}
	err := d.truncate(i, 0)
	if err != nil {
		i.opens--
		i.idle()
	}
	return err
}

func (s *session) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	_ = s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err == nil {
			i.opens = max(0, i.opens-1)
			i.idle()
			s.d.settle(i)
		}
		return err
	})
}

func (s *session) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (result fuse.ReadResult, _ fuse.Status) {
	status := s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		if s.d.fails(onRead, func(f Fault) float64 { return f.Read }) {
			return unix.EIO
		}
		fd, err := s.d.file(i)
		if err != nil {
			return err
		}
		defer i.idle()
		buf = buf[:max(0, min(int64(len(buf)), i.size-int64(in.Offset)))]
		result = fuse.ReadResultData(buf)
		return readAt(fd, buf, int64(in.Offset))
	})
	return result, status
}

func (s *session) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (written uint32, _ fuse.Status) {
	status := s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		off := int64(in.Offset)
		switch {
		case s.d.fails(onWrite, func(f Fault) float64 { return f.Write }):
			return unix.EIO
		case s.d.isFull() && !s.d.hasSpace(i, off, off+int64(len(data))) && s.d.full():
			return unix.ENOSPC
		}
		n, err := s.d.writeAt(i, data, off)
		written = uint32(n)
		return err
	})
	return written, status
}

func (s *session) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.NodeId)
		switch {
		case err != nil:
			return err
		case in.Mode&^unix.FALLOC_FL_KEEP_SIZE != 0:
			return unix.EOPNOTSUPP
		case s.d.full():
			return unix.ENOSPC
		case in.Mode == 0 && int64(in.Offset+in.Length) > i.size:
			return s.d.truncate(i, int64(in.Offset+in.Length))
		}
		return nil
	})
}

func (s *session) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status    { return s.sync(in.NodeId) }
func (s *session) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return s.sync(in.NodeId) }

// sync makes something durable. That a signal came does not end it: a disk knows
// nothing of signals.
func (s *session) sync(id uint64) fuse.Status {
	if delay := s.d.syncDelay(); delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.dead:
		}
	}
	return s.do(func() error {
		i, err := s.d.find(id)
		if err != nil {
			return err
		}
		if s.d.fails(onSync, func(f Fault) float64 { return f.Sync }) {
			return unix.EIO
		}
		s.d.sync(i)
		return nil
	})
}

func (s *session) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return fuse.OK }

func (s *session) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return s.do(func() error {
		i, err := s.d.find(in.NodeId)
		if err != nil {
			return err
		}
		if s.d.fails(onRead, func(f Fault) float64 { return f.Read }) {
			return unix.EIO
		}
		all := []fuse.DirEntry{
			{Name: ".", Mode: unix.S_IFDIR, Ino: i.id, Off: dotCookie},
			{Name: "..", Mode: unix.S_IFDIR, Off: dotDotCookie},
		}
		for base, e := range i.children {
			all = append(all, fuse.DirEntry{Name: base, Mode: e.kind, Ino: e.id, Off: e.cookie})
		}
		slices.SortFunc(all, func(a, b fuse.DirEntry) int { return cmp.Compare(a.Off, b.Off) })
		for _, e := range all {
			if e.Off > in.Offset && !out.AddDirEntry(e) {
				break
			}
		}
		return nil
	})
}

func (s *session) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	return s.do(func() error {
		var st syscall.Statfs_t
		if err := syscall.Fstatfs(s.d.dir, &st); err != nil {
			return err
		}
		if s.d.isFull() {
			st.Bavail, st.Bfree = 0, 0
		}
		out.FromStatfsT(&st)
		return nil
	})
}
