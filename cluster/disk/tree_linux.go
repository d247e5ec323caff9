package disk

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A Config says what a disk is made of.
type Config struct {
	// Dir holds the files; the disk is mounted over it. Scratch is another directory
	// of the same file system, for what has been removed and may have to come back.
	Dir, Scratch string
	// Strict makes a new file's name durable by an fsync of its directory alone.
	Strict bool
}

// A Disk is a file system over a directory.
type Disk struct {
	config Config
	dir    int // the directory itself, below the mount
	grave  int // a directory for what has no name any more

	mu      sync.Mutex
	top     *inode
	inodes  map[uint64]*inode
	next    uint64   // the last number that was given to an inode or an entry
	changes []change // of names, not synced, in order
	bytes   int64    // that it takes to remember the writes which are not synced
	faults  []*Impairment
	session *session // what is mounted, if anything
}

// An inode is a file, a directory, or whatever else has names.
//
// Invariant: in the directory below it is under all its names; or, if it has none
// but may get one back, in the grave under its id.
type inode struct {
	id       uint64
	kind     uint32 // S_IFREG, ...
	names    map[name]bool
	children map[string]entry // of a directory
	buried   bool             // it is in the grave
	refs     int              // how often changes that are not synced mention it
	lookups  uint64           // how often the kernel was told of it

	// Of a file:
	size   int64
	fd     int // -1 if not open
	opens  int
	writes []write // not synced, in order
}

// A name is a place in a directory.
type name struct {
	dir  *inode
	base string
}

// An entry is what a name in a directory stands for.
type entry struct {
	*inode
	cookie uint64 // where it is in the order that the directory is read in
}

// topID is the number that the kernel knows the root by; entries "." and ".." are
// before all others.
const topID, dotCookie, dotDotCookie = 1, 1, 2

// Open returns the disk over a directory, not mounted. All that is there is durable.
func Open(c Config) (_ *Disk, err error) {
	d := &Disk{config: c, dir: -1, grave: -1}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("disk: %w", err), d.Close())
		}
	}()
	if err := os.RemoveAll(c.Scratch); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path.Join(c.Scratch, "removed"), 0o755); err != nil {
		return nil, err
	}
	const how = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	if d.dir, err = unix.Open(c.Dir, how, 0); err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Dir, err)
	}
	if d.grave, err = unix.Open(path.Join(c.Scratch, "removed"), how, 0); err != nil {
		return nil, fmt.Errorf("open %s: %w", c.Scratch, err)
	}
	return d, d.load()
}

// Close takes the disk away. The directory is there again, as it was last.
func (d *Disk) Close() error {
	err := d.Unmount()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop()
	for _, fd := range []*int{&d.dir, &d.grave} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	return errors.Join(err, os.RemoveAll(d.config.Scratch))
}

// below is the directory's path that leads below the mount. It is for this process.
func (d *Disk) below() string { return fmt.Sprintf("/proc/self/fd/%d", d.dir) }

// drop forgets all inodes, and so everything that was not synced.
func (d *Disk) drop() {
	for _, i := range d.inodes {
		i.close()
	}
	d.top, d.inodes, d.changes, d.bytes = nil, map[uint64]*inode{}, nil, 0
}

// load learns what the directory holds, and takes it to be durable.
func (d *Disk) load() error {
	d.drop()
	if err := EmptyTree(fmt.Sprintf("/proc/self/fd/%d", d.grave)); err != nil {
		return err
	}
	d.next = 0
	d.top = d.newInode(unix.S_IFDIR)
	d.next = dotDotCookie
	return d.loadDir(d.top, map[uint64]*inode{})
}

// loadDir loads what is in i. Those it knows by their number below are other names
// of the same.
func (d *Disk) loadDir(i *inode, known map[uint64]*inode) error {
	_, dir, _ := d.where(i)
	entries, err := os.ReadDir(path.Join(d.below(), dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		n := name{i, e.Name()}
		var st unix.Stat_t
		if err := unix.Fstatat(d.dir, path.Join(dir, e.Name()), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stat %s: %w", e.Name(), err)
		}
		if known[st.Ino] == nil {
			known[st.Ino] = d.newInode(st.Mode & unix.S_IFMT)
		}
		child := known[st.Ino]
		child.size = st.Size
		d.name(n, child)
		if child.isDir() {
			if err := d.loadDir(child, known); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) newInode(kind uint32) *inode {
	d.next++
	i := &inode{id: d.next, kind: kind, names: map[name]bool{}, fd: -1}
	if i.isDir() {
		i.children = map[string]entry{}
	}
	d.inodes[i.id] = i
	return i
}

func (i *inode) isDir() bool { return i != nil && i.kind == unix.S_IFDIR }

func (i *inode) close() {
	if i.fd >= 0 {
		_ = unix.Close(i.fd)
	}
	i.fd = -1
}

// get returns what a name stands for, or nil.
func (n name) get() *inode { return n.dir.children[n.base].inode }

// name lets n stand for i, in memory.
func (d *Disk) name(n name, i *inode) {
	d.next++
	n.dir.children[n.base] = entry{i, d.next}
	i.names[n] = true
}

// unname lets n stand for nothing, in memory.
func (d *Disk) unname(n name) {
	delete(n.get().names, n)
	delete(n.dir.children, n.base)
}

// where returns where i is below: a directory that is open, and a path in it.
func (d *Disk) where(i *inode) (at int, where string, ok bool) {
	switch {
	case i == d.top:
		return d.dir, ".", true
	case i.buried:
		return d.grave, strconv.FormatUint(i.id, 10), true
	}
	for n := range i.names {
		at, where, err := d.at(n)
		return at, where, err == nil
	}
	return -1, "", false
}

// at returns where a name is below.
func (d *Disk) at(n name) (at int, where string, err error) {
	at, dir, ok := d.where(n.dir)
	if !ok {
		return -1, "", unix.ENOENT // the directory was removed for good
	}
	return at, dir + "/" + n.base, nil
}

// detach takes a name away. What has no other is buried.
func (d *Disk) detach(n name) error {
	i := n.get()
	at, where, err := d.at(n)
	if err != nil {
		return err
	}
	if len(i.names) > 1 {
		err = unix.Unlinkat(at, where, 0)
	} else if err = unix.Renameat(at, where, d.grave, strconv.FormatUint(i.id, 10)); err == nil {
		i.buried = true
	}
	if err == nil {
		d.unname(n)
	}
	return err
}

// attach gives a name to what is buried or has another.
func (d *Disk) attach(n name, i *inode) error {
	at, where, err := d.at(n)
	if err != nil {
		return err
	}
	from, old, ok := d.where(i)
	if !ok {
		return unix.ENOENT
	}
	if i.buried {
		err = unix.Renameat(from, old, at, where)
	} else {
		err = unix.Linkat(from, old, at, where, 0)
	}
	if err == nil {
		i.buried = false
		d.name(n, i)
	}
	return err
}

// settle lets go of i as far as nobody needs it any more.
func (d *Disk) settle(i *inode) {
	if len(i.names) > 0 || i.refs > 0 || i == d.top {
		return
	}
	if i.buried {
		_ = os.RemoveAll(fmt.Sprintf("/proc/self/fd/%d/%d", d.grave, i.id))
		i.buried = false
	}
	d.forgetWrites(i, len(i.writes)) // nobody can see them after the power has failed
	if i.opens == 0 {
		i.close()
		if i.lookups == 0 {
			delete(d.inodes, i.id)
		}
	}
}

// file opens i, if it is not open.
func (d *Disk) file(i *inode) (fd int, err error) {
	if i.fd >= 0 {
		return i.fd, nil
	}
	at, where, ok := d.where(i)
	if !ok {
		return -1, unix.ESTALE
	}
	i.fd, err = unix.Openat(at, where, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return i.fd, err
}

// idle closes i if nobody has it open.
func (i *inode) idle() {
	if i.opens == 0 {
		i.close()
	}
}

// show returns a path for people.
func (n name) show() string {
	for above := range n.dir.names {
		return above.show() + "/" + n.base
	}
	return n.base
}

// show returns a path for people.
func (i *inode) show() string {
	for n := range i.names {
		return n.show()
	}
	return fmt.Sprintf("(removed %d)", i.id)
}
