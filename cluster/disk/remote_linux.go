package disk

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"sync"
)

// A program should not serve a file system that it uses itself: Go stops all its
// threads at times, and waits for one that has just made a child, which may be
// waiting for the file system. So the disks are served by a process of their own,
// and the other one tells it what to do over a connection.

// serviceName is what the disks are called there.
const serviceName = "Disks"

// A Call is something to do with a disk. It is exported for net/rpc alone.
type Call struct {
	Disk   string
	Do     string
	Config Config
	Mode   Mode
	Seed   uint64
	Fault  Fault
	ID     int // of a fault
	Damage Damage
}

// A Reply is what came of it.
type Reply struct {
	Lost Lost
	ID   int
	Seen map[string]uint64
	Done map[string]string
}

// What there is to do.
const (
	doMount   = "mount"
	doFail    = "fail"
	doRestart = "restart"
	doImpair  = "impair"
	doSeen    = "seen"
	doEnd     = "end"
	doDamage  = "damage"
	doKeep    = "keep"
	doWipe    = "wipe"
	doClose   = "close"
)

// Serve serves disks until conn is closed, and then takes them away.
func Serve(conn io.ReadWriteCloser) error {
	s := &service{disks: map[string]*Disk{}, faults: map[int]*Impairment{}}
	server := rpc.NewServer()
	if err := server.RegisterName(serviceName, s); err != nil {
		return err
	}
	server.ServeConn(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, d := range s.disks {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

type service struct {
	mu     sync.Mutex
	disks  map[string]*Disk
	faults map[int]*Impairment
	last   int // number of a fault
}

// Call does what is called for.
func (s *service) Call(c Call, r *Reply) (err error) {
	s.mu.Lock()
	d, f := s.disks[c.Disk], s.faults[c.ID]
	s.mu.Unlock()
	if d == nil && c.Do != doMount {
		return fmt.Errorf("no such disk: %s", c.Disk)
	}
	switch c.Do {
	case doMount:
		return s.mount(c)
	case doFail:
		err = d.PowerFails()
	case doRestart:
		r.Lost, err = d.Restart(c.Mode, c.Seed)
	case doImpair:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last++
		r.ID, s.faults[s.last] = s.last, d.Impair(c.Fault)
	case doSeen, doEnd:
		if f == nil {
			return fmt.Errorf("no such fault: %d", c.ID)
		}
		if c.Do == doEnd {
			f.End()
		}
		r.Seen = f.Seen()
	case doDamage:
		r.Done, err = d.Damage(c.Damage, c.Seed)
	case doKeep:
		err = d.Keep()
	case doWipe:
		err = d.Wipe()
	case doClose:
		s.mu.Lock()
		delete(s.disks, c.Disk)
		s.mu.Unlock()
		err = d.Close()
	default:
		err = fmt.Errorf("cannot %s", c.Do)
	}
	return err
}

func (s *service) mount(c Call) error {
	d, err := Open(c.Config)
	if err != nil {
		return err
	}
	if err := d.Mount(); err != nil {
		return errors.Join(err, d.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks[c.Disk] = d
	return nil
}

// Disks are those that another process serves, by name. Their methods are those of
// [Disk].
type Disks struct{ client *rpc.Client }

// Connect returns the disks that are served at the other end of conn.
func Connect(conn io.ReadWriteCloser) *Disks { return &Disks{client: rpc.NewClient(conn)} }

// HangUp ends the connection: the server then takes all disks away and ends.
func (d *Disks) HangUp() error { return d.client.Close() }

func (d *Disks) call(c Call) (r Reply, err error) {
	if err := d.client.Call(serviceName+".Call", c, &r); err != nil {
		return r, fmt.Errorf("disk of %s: %s: %w", c.Disk, c.Do, err)
	}
	return r, nil
}

func (d *Disks) do(c Call) error {
	_, err := d.call(c)
	return err
}

// Mount opens a disk and mounts it.
func (d *Disks) Mount(disk string, c Config) error {
	return d.do(Call{Disk: disk, Do: doMount, Config: c})
}

// PowerFails makes everything fail that is done to a disk.
func (d *Disks) PowerFails(disk string) error { return d.do(Call{Disk: disk, Do: doFail}) }

// Restart mounts it again, without what was lost.
func (d *Disks) Restart(disk string, mode Mode, seed uint64) (Lost, error) {
	r, err := d.call(Call{Disk: disk, Do: doRestart, Mode: mode, Seed: seed})
	return r.Lost, err
}

// Impair does f to it. The fault has a number.
func (d *Disks) Impair(disk string, f Fault) (id int, err error) {
	r, err := d.call(Call{Disk: disk, Do: doImpair, Fault: f})
	return r.ID, err
}

// Seen returns what a fault has met.
func (d *Disks) Seen(disk string, id int) (map[string]uint64, error) {
	r, err := d.call(Call{Disk: disk, Do: doSeen, ID: id})
	return r.Seen, err
}

// End ends a fault.
func (d *Disks) End(disk string, id int) error { return d.do(Call{Disk: disk, Do: doEnd, ID: id}) }

// Damage changes files that nobody has open.
func (d *Disks) Damage(disk string, kind Damage, seed uint64) (map[string]string, error) {
	r, err := d.call(Call{Disk: disk, Do: doDamage, Damage: kind, Seed: seed})
	return r.Done, err
}

// Keep remembers all its files.
func (d *Disks) Keep(disk string) error { return d.do(Call{Disk: disk, Do: doKeep}) }

// Wipe removes all its files.
func (d *Disks) Wipe(disk string) error { return d.do(Call{Disk: disk, Do: doWipe}) }

// Close takes it away.
func (d *Disks) Close(disk string) error { return d.do(Call{Disk: disk, Do: doClose}) }
