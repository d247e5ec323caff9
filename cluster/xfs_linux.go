package cluster

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hacheck/hacheck/cluster/disk"
)

// xfsDisks are file systems of the kernel, each in a file of its own. They lose what
// the kernel has not written to its log and data yet when it is told to stop at
// once. What that is nobody chooses; so it is a second opinion on the FUSE disks,
// which follow a model. It takes the real root.
type xfsDisks struct{ nodes []xfsNode }

type xfsNode struct {
	Node
	image string
	loop  *os.File // the device; without it and without the mount it is free again
	below *os.File // the data directory below the mount
	up    bool     // it is mounted
	// before is what the disk held when its power failed.
	before map[string]xfsFile
}

// xfsSize is a little more than mkfs.xfs insists on. The file is sparse.
const xfsSize = 320 << 20

// xfsBlock is what is told apart of a file.
const xfsBlock = 4096

// An xfsFile is a file as it was: the sums of its blocks.
type xfsFile struct {
	size   int64
	blocks []uint32
}

// newXFS returns disks for the nodes.
func newXFS(nodes []Node) (_ *xfsDisks, err error) {
	if err := mayXFS(); err != nil {
		return nil, err
	}
	d := &xfsDisks{}
	defer func() {
		if err != nil {
			err = errors.Join(&RefusedError{What: "XFS disks", Err: err, Remedy: privilegedRemedy()}, d.close())
		}
	}()
	for _, n := range nodes {
		d.nodes = append(d.nodes, xfsNode{Node: n, image: filepath.Join(filepath.Dir(n.Dir), "disk.xfs")})
		x := &d.nodes[len(d.nodes)-1]
		if err := x.make(); err != nil {
			return nil, fmt.Errorf("disk of %s: %w", n.Name, err)
		}
	}
	return d, nil
}

// mayXFS says why there can be no XFS disks, if that is easily told.
func mayXFS() error {
	uids, err := os.ReadFile("/proc/self/uid_map")
	switch {
	case err != nil:
		return &RefusedError{What: "XFS disks", Err: err}
	case os.Geteuid() != 0 || !strings.Contains(string(uids), "4294967295"):
		return &RefusedError{What: "XFS disks", Err: errors.New("only root may mount what is in a file"), Remedy: "run the same command with sudo"}
	}
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		return &RefusedError{What: "XFS disks", Err: err, Remedy: "install xfsprogs"}
	}
	return nil
}

// make makes the disk and mounts it, with what is in the directory.
func (x *xfsNode) make() (err error) {
	if x.below, err = os.Open(x.Dir); err != nil {
		return err
	}
	image, err := os.OpenFile(x.image, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := image.Truncate(xfsSize); err != nil {
		return err
	}
	if out, err := exec.Command("mkfs.xfs", "-q", "-f", x.image).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.xfs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if x.loop, err = attachLoop(image); err != nil {
		return err
	}
	if err := x.mount(); err != nil {
		return err
	}
	return disk.CopyTree(x.underneath(), x.Dir)
}

// underneath is the path of the directory below the mount. It is for this process.
func (x *xfsNode) underneath() string { return fmt.Sprintf("/proc/self/fd/%d", x.below.Fd()) }

// loopTries is how often a loop device may be taken by somebody else first.
const loopTries = 20

// attachLoop returns a loop device for a file. The kernel frees it when the last
// that uses it is gone, however it went.
func attachLoop(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(image.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("set up a loop device: %w", err)
		}
	}
	return nil, errors.New("find a loop device: others are always faster")
}

func (x *xfsNode) mount() error {
	if err := unix.Mount(x.loop.Name(), x.Dir, "xfs", unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount XFS: %w", err)
	}
	x.up = true
	return nil
}

// unmountLimit is how long a file system may be busy after its users have ended.
const unmountLimit = 5 * time.Second

func (x *xfsNode) unmount() error {
	limit := time.NewTimer(unmountLimit)
	defer limit.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Unmount(x.Dir, 0)
		if err == nil {
			x.up = false
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount XFS: %w", err)
		}
		select {
		case <-again.C:
		case <-limit.C:
			return fmt.Errorf("unmount XFS: %w", err)
		}
	}
}

func (d *xfsDisks) String() string { return DisksXFS }

// xfsGoingDown is XFS_IOC_GOINGDOWN, and xfsNoLogFlush says not to write the log
// before that.
const (
	xfsGoingDown  = 0x8004587d
	xfsNoLogFlush = 2
)

// powerFails stops the file system at once. What the processes still write between
// the look at the files and that, is not seen to be lost.
func (d *xfsDisks) powerFails(at int) error {
	x := &d.nodes[at]
	before, err := sums(x.Dir)
	if err != nil {
		return fmt.Errorf("look at the files: %w", err)
	}
	x.before = before
	dir, err := os.Open(x.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), xfsGoingDown, xfsNoLogFlush); err != nil {
		return fmt.Errorf("shut XFS down: %w", err)
	}
	return nil
}

// restart mounts it again, which recovers what was in the log. The mode says
// nothing to the kernel.
func (d *xfsDisks) restart(at int, _ PowerLoss) (Lost, error) {
	x := &d.nodes[at]
	if err := errors.Join(x.unmount(), x.mount()); err != nil {
		return Lost{}, err
	}
	after, err := sums(x.Dir)
	if err != nil {
		return Lost{}, fmt.Errorf("look at the files: %w", err)
	}
	lost := Lost{Files: map[string]uint64{}}
	for name, was := range x.before {
		is, there := after[name]
		bytes := was.lost(is)
		switch {
		case !there:
			lost.Names++
		case bytes > 0 || is.size != was.size:
			lost.Writes++
		default:
			continue
		}
		lost.Bytes += bytes
		lost.Files[name] = bytes
	}
	for name := range after {
		if _, there := x.before[name]; !there { // a removal was lost
			lost.Names++
			lost.Files[name] = 0
		}
	}
	return lost, nil
}

// lost returns how many bytes of f are not in g.
func (f xfsFile) lost(g xfsFile) (bytes uint64) {
	for n, sum := range f.blocks {
		if n >= len(g.blocks) || sum != g.blocks[n] {
			bytes += uint64(min(xfsBlock, f.size-int64(n)*xfsBlock))
		}
	}
	return bytes
}

// sums returns the files below dir.
func sums(dir string) (map[string]xfsFile, error) {
	files := map[string]xfsFile{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil || e.IsDir() || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		defer f.Close()
		sum := xfsFile{}
		for b := make([]byte, xfsBlock); ; {
			n, err := io.ReadFull(f, b)
			if n > 0 {
				sum.size += int64(n)
				sum.blocks = append(sum.blocks, crc32.ChecksumIEEE(b[:n]))
			}
			if err != nil {
				break
			}
		}
		files[name] = sum
		return nil
	})
	return files, err
}

func (d *xfsDisks) impair(int, DiskFault) (Impairment, error) {
	return nil, fmt.Errorf("XFS disks work or lose their power, and nothing between: %w", errors.ErrUnsupported)
}

func (d *xfsDisks) damage(at int, damage Damage) (map[string]string, error) {
	x := d.nodes[at]
	return disk.DamageTree(x.Dir, x.kept(), disk.Damage(damage.Kind), damage.Seed)
}

func (x *xfsNode) kept() string { return filepath.Join(filepath.Dir(x.Dir), "kept") }

func (d *xfsDisks) keep(at int) error {
	x := d.nodes[at]
	return disk.ReplaceTree(x.Dir, x.kept())
}

func (d *xfsDisks) wipe(at int) error {
	x := d.nodes[at]
	if err := disk.EmptyTree(x.Dir); err != nil {
		return err
	}
	dir, err := os.Open(x.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

// close puts the files where they would be without disks, and takes those away.
func (d *xfsDisks) close() error {
	var errs []error
	for _, n := range d.nodes {
		if n.up {
			errs = append(errs, disk.ReplaceTree(n.Dir, n.underneath()), n.unmount())
		}
		if n.loop != nil {
			errs = append(errs, n.loop.Close())
		}
		if n.below != nil {
			errs = append(errs, n.below.Close())
		}
		errs = append(errs, os.RemoveAll(n.image), os.RemoveAll(n.kept()))
	}
	return errors.Join(errs...)
}
