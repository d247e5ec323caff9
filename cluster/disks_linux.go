package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hacheck/hacheck/cluster/disk"
)

// disks implement Disks.
type disks struct {
	l     *Local
	made  media
	nodes []sync.Mutex // by position: held while the node's disk is not there
}

// media are what the disks are made of.
type media interface {
	String() string
	// powerFails lets everything fail that is done to a node's disk, and restart puts
	// it in order again. The node runs nothing then.
	powerFails(at int) error
	restart(at int, p PowerLoss) (Lost, error)
	impair(at int, f DiskFault) (Impairment, error)
	damage(at int, d Damage) (map[string]string, error)
	keep(at int) error
	wipe(at int) error
	close() error
}

// newDisks puts the data directories of l's nodes on disks that can lose it.
func newDisks(l *Local, o Options) (*disks, error) {
	if o.Dir == "" {
		return nil, errors.New("disks: the lab has no directory")
	}
	d := &disks{l: l, nodes: make([]sync.Mutex, len(l.nodes))}
	var err error
	if o.XFS {
		d.made, err = newXFS(l.nodes)
	} else {
		d.made, err = newFUSE(l.nodes, o.StrictNames)
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// close takes the disks away. The nodes run nothing any more.
func (d *disks) close() error { return d.made.close() }

// Made implements Disks.
func (d *disks) Made() string { return d.made.String() }

// PowerOff implements Disks.
func (d *disks) PowerOff(node string, p PowerLoss) (Lost, error) {
	at, err := d.l.find(node)
	if err != nil {
		return Lost{}, err
	}
	d.nodes[at].Lock()
	defer d.nodes[at].Unlock()
	if err := d.made.powerFails(at); err != nil {
		return Lost{}, fmt.Errorf("power off %s: %w", node, err)
	}
	// Also where one does not die the disk must be in order again.
	killed := d.l.Kill(node)
	lost, err := d.made.restart(at, p)
	if err := errors.Join(killed, err); err != nil {
		return lost, fmt.Errorf("power off %s: %w", node, err)
	}
	return lost, nil
}

// present waits until a node's disk is there, and keeps it there. Without it a process
// would write past it, to the directory below.
func (d *disks) present(at int) (release func()) {
	d.nodes[at].Lock()
	return d.nodes[at].Unlock
}

// Impair implements Disks.
func (d *disks) Impair(node string, f DiskFault) (Impairment, error) {
	at, err := d.l.find(node)
	if err != nil {
		return nil, err
	}
	return d.made.impair(at, f)
}

// Damage implements Disks.
func (d *disks) Damage(node string, damage Damage) (map[string]string, error) {
	at, err := d.idle(node)
	if err != nil {
		return nil, fmt.Errorf("damage the disk of %s: %w", node, err)
	}
	d.nodes[at].Lock()
	defer d.nodes[at].Unlock()
	return d.made.damage(at, damage)
}

// Keep implements Disks.
func (d *disks) Keep(node string) error {
	at, err := d.l.find(node)
	if err != nil {
		return err
	}
	return d.made.keep(at)
}

// wipe empties the disk of a node that runs nothing. That is durable at once.
func (d *disks) wipe(node string) error {
	at, err := d.idle(node)
	if err != nil {
		return err
	}
	d.nodes[at].Lock()
	defer d.nodes[at].Unlock()
	return d.made.wipe(at)
}

// idle finds a node that runs nothing.
func (d *disks) idle(node string) (at int, err error) {
	if at, err = d.l.find(node); err != nil {
		return 0, err
	}
	if p := d.l.running(at); p != nil {
		return 0, fmt.Errorf("it runs process %d", p.pid)
	}
	left, err := d.l.members(at)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("it runs process %d", left[0].pid)
	}
	return at, err
}

// fuseDisks are served by a process of their own: see [disk.Serve]. It has no
// children, so that nobody inherits what keeps the kernel waiting for an answer.
type fuseDisks struct {
	nodes  []Node
	disks  *disk.Disks
	server *exec.Cmd
}

// diskServerFD is where the server finds the connection.
const diskServerFD = 3

// diskServerLimit is how long it may take to end.
const diskServerLimit = 10 * time.Second

// newFUSE returns disks over the nodes' data directories. What is removed is beside
// them until that is durable.
func newFUSE(nodes []Node, strict bool) (_ *fuseDisks, err error) {
	if err := tryDevFUSE(); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "disks"), os.NewFile(uintptr(pair[1]), "disks")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	ours.Close() // conn has a copy
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	d := &fuseDisks{nodes: nodes, server: exec.Command("/proc/self/exe", roleDisks)}
	d.server.Args[0] = os.Args[0]
	d.server.Stderr = os.Stderr
	d.server.ExtraFiles = []*os.File{theirs} // diskServerFD
	d.server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := d.server.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("disks: %w", err)
	}
	d.disks = disk.Connect(conn)
	for _, n := range nodes {
		beside := filepath.Join(filepath.Dir(n.Dir), "removed")
		if err := d.disks.Mount(n.Name, disk.Config{Dir: n.Dir, Scratch: beside, Strict: strict}); err != nil {
			refused := &RefusedError{What: "FUSE disks", Err: err, Remedy: privilegedRemedy()}
			return nil, errors.Join(refused, d.close())
		}
	}
	return d, nil
}

// tryDevFUSE says why there can be no FUSE file systems, if the device tells.
func tryDevFUSE() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err == nil {
		return f.Close()
	}
	refused := &RefusedError{What: "FUSE disks", Err: err, Remedy: privilegedRemedy()}
	switch {
	case errors.Is(err, os.ErrPermission):
		refused.Remedy = "sudo chmod 666 /dev/fuse"
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV):
		refused.Remedy = "sudo modprobe fuse; if this is a container, start it with --device /dev/fuse"
	}
	return refused
}

// serveDisks is the server.
func serveDisks() int {
	unix.CloseOnExec(diskServerFD)
	f := os.NewFile(diskServerFD, "disks")
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hacheck: disks:", err)
		return exitFailed
	}
	unix.Umask(0) // the kernel has already applied that of whoever makes a file
	if err := disk.Serve(conn); err != nil {
		fmt.Fprintln(os.Stderr, "hacheck: disks:", err)
		return exitFailed
	}
	return 0
}

func (d *fuseDisks) String() string { return DisksFUSE }

func (d *fuseDisks) powerFails(at int) error { return d.disks.PowerFails(d.nodes[at].Name) }

func (d *fuseDisks) restart(at int, p PowerLoss) (Lost, error) {
	lost, err := d.disks.Restart(d.nodes[at].Name, disk.Mode(p.Mode), p.Seed)
	return Lost(lost), err
}

func (d *fuseDisks) impair(at int, f DiskFault) (Impairment, error) {
	id, err := d.disks.Impair(d.nodes[at].Name, disk.Fault(f))
	if err != nil {
		return nil, err
	}
	return diskFault{d.disks, d.nodes[at].Name, id}, nil
}

func (d *fuseDisks) damage(at int, damage Damage) (map[string]string, error) {
	return d.disks.Damage(d.nodes[at].Name, disk.Damage(damage.Kind), damage.Seed)
}

func (d *fuseDisks) keep(at int) error { return d.disks.Keep(d.nodes[at].Name) }

func (d *fuseDisks) wipe(at int) error { return d.disks.Wipe(d.nodes[at].Name) }

func (d *fuseDisks) close() error {
	var errs []error
	if err := d.disks.HangUp(); err != nil {
		errs = append(errs, fmt.Errorf("disks: %w", err))
	}
	late := time.AfterFunc(diskServerLimit, func() { _ = d.server.Process.Kill() })
	defer late.Stop()
	if err := d.server.Wait(); err != nil {
		errs = append(errs, fmt.Errorf("disks: their server: %w", err))
	}
	return errors.Join(errs...)
}

// A diskFault implements Impairment.
type diskFault struct {
	disks *disk.Disks
	node  string
	id    int
}

func (f diskFault) Seen() map[string]uint64 {
	seen, _ := f.disks.Seen(f.node, f.id) // a server that is gone has met nothing more
	return seen
}

func (f diskFault) End() error { return f.disks.End(f.node, f.id) }
