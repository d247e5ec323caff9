package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ttl is how long the kernel may believe what it was told. Nobody else changes
// anything.
const ttl = time.Hour

// unmountLimit is how long the kernel may take to let go of a mount that nobody
// uses. One that somebody uses, it keeps until they end.
const unmountLimit = 5 * time.Second

// A session is the disk as it is mounted from one start of its machine to the
// next. Each has a page cache of its own, and none sees that of one before.
type session struct {
	fuse.RawFileSystem               // says ENOSYS to all that is not done here
	d                  *Disk         //
	dead               chan struct{} // closed when the power fails
	ended              chan struct{} // closed when the kernel has let go
}

// Mount mounts the disk over its directory.
//
// Whoever has the descriptor of the kernel's side keeps the mount alive, and with
// it processes that wait for an answer, even from being killed. So it must not be
// inherited: it is opened here, since go-fuse leaves it to be.
func (d *Disk) Mount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != nil {
		return errors.New("disk: mounted already")
	}
	return d.mount()
}

func (d *Disk) mount() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/fuse: %w", err)
	}
	options := fuse.MountOptions{
		Name:               "hacheck",
		MaxWrite:           128 << 10,
		DisableXAttrs:      true, // else the kernel asks for one at every write
		DisableReadDirPlus: true,
		Logger:             slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // of answers that nobody waits for any more
		PanicHandler:       func(v any) fuse.Status { panic(v) },                    // a disk in doubt is none
	}
	how := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,max_read=%d,allow_other,default_permissions",
		fd, os.Geteuid(), os.Getegid(), options.MaxWrite)
	if err := unix.Mount("hacheck", d.config.Dir, "fuse.hacheck", unix.MS_NOSUID|unix.MS_NODEV, how); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("mount a FUSE file system: %w", err)
	}
	s := &session{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		d:             d, dead: make(chan struct{}), ended: make(chan struct{}),
	}
	server, err := fuse.NewServer(s, fmt.Sprintf("/dev/fd/%d", fd), &options)
	if err != nil {
		return errors.Join(fmt.Errorf("serve a FUSE file system: %w", err), unix.Unmount(d.config.Dir, unix.MNT_DETACH))
	}
	d.session = s
	go func() { // ends when the kernel has let go
		defer close(s.ended)
		server.Serve()
	}()
	return nil
}

// Unmount takes the mount away.
func (d *Disk) Unmount() error {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return nil
	}
	if err := unix.Unmount(d.config.Dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the disk: %w", err)
	}
	late := time.NewTimer(unmountLimit)
	defer late.Stop()
	select { // the kernel may still write what was in its cache
	case <-s.ended:
	case <-late.C:
		d.die(s) // somebody has left the node's processes, and keeps it; to them it is dead
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.session = nil
	for _, i := range d.inodes { // nobody knows them any more
		i.lookups, i.opens = 0, 0
		i.close()
		d.settle(i)
	}
	return nil
}

// die makes everything fail that is done to the mount.
func (d *Disk) die(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-s.dead:
	default:
		close(s.dead)
	}
}

// PowerFails makes everything fail that is done to the disk, until it is started
// again. One that is not mounted is an error: what uses the directory then writes
// past it, and loses nothing.
func (d *Disk) PowerFails() error {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s == nil {
		return errors.New("disk: it is not mounted")
	}
	d.die(s)
	return nil
}

// Restart mounts a disk again whose power has failed, without what was lost.
func (d *Disk) Restart(mode Mode, seed uint64) (lost Lost, err error) {
	d.mu.Lock()
	s := d.session
	d.mu.Unlock()
	if s != nil {
		d.die(s)
	}
	err = d.remounted(func() error {
		lost, err = d.lose(mode, seed)
		return err
	})
	return lost, err
}

// remounted does something while the disk is not mounted. What it holds after that
// is durable. It is mounted again also where that has failed, or the node would write
// past it; but not if nobody can tell what it holds, for the node would miss files.
func (d *Disk) remounted(do func() error) error {
	d.mu.Lock()
	mounted := d.session != nil
	d.mu.Unlock()
	if err := d.Unmount(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err := do()
	if lost := d.load(); lost != nil || !mounted {
		return errors.Join(err, lost)
	}
	return errors.Join(err, d.mount())
}
