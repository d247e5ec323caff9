// Package vmsched puts vmsched, a control plane of virtual machines that ships with
// hacheck, into a lab, and offers its clients to the workload vm. The system itself is in
// the folders server and client, which know nothing of this.
//
// The first three nodes of the lab run the control plane, the last one keeps the volumes,
// and those between run guests.
package vmsched

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	store "github.com/hacheck/hacheck/systems/raftkv/client"
	raftkvserver "github.com/hacheck/hacheck/systems/raftkv/server"
	storeapi "github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/agent"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/qemu"
	"github.com/hacheck/hacheck/systems/vmsched/server/scheduler"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
	"github.com/hacheck/hacheck/systems/vmsched/server/volume"
)

// Name is the system's name.
const Name = "vmsched"

// How many nodes a lab has, at the least, and if nobody says otherwise.
const (
	MinNodes     = controlNodes + 2
	DefaultNodes = 8
)

const controlNodes = 3

// The hypervisors.
const (
	HypervisorProcess = "process" // guests are processes of this program
	HypervisorQEMU    = "qemu"
)

// Ports on which nodes listen, on their own addresses; raftkv has those below 7200.
const (
	schedulerPort = 7200
	volumesPort   = 7201
)

// hostCapacity is how much of machines each host has room for.
const hostCapacity = 4

// hostLabels are what all hosts are labelled but the last: what is for labelled hosts has
// one to get wrong, and somewhere to go when one of the others dies.
var hostLabels = map[string]string{"disk": "ssd"}

// Bugs returns the deliberate bugs.
func Bugs() []bug.Bug { return slices.Clone(bug.All) }

// Options say how to run the system.
type Options struct {
	// Bug is the name of a deliberate bug, or empty. See [Bugs].
	Bug string
	// Hypervisor is what runs the guests; empty: [HypervisorProcess].
	Hypervisor string
	// Timeouts is a factor, from [MinTimeouts] to [MaxTimeouts], on what sets how long it takes
	// until somebody else does what a host, a scheduler or a node of the store did that is
	// gone: on the leases of hosts, that of the scheduler which leads, and the time-outs of
	// raftkv; 0 is 1. What it does is right with any.
	Timeouts float64
}

// The bounds of the factor on time-outs. It has to leave guests a time to run by a lease, which
// agent.CheckTimeouts sees to. And in the end of a run all machines are to come to rest: a
// leader that is lost, a migration and a start that are given up take 2.2 s for each unit of the
// factor, the election of the store, and 14 s, of the half minute that there is for it.
const (
	MinTimeouts = 0.5
	MaxTimeouts = 3.0
)

// checkTimeouts says what is wrong with a factor.
func checkTimeouts(factor float64) error {
	if factor != 0 && !(factor >= MinTimeouts && factor <= MaxTimeouts) { // NaN is not
		return fmt.Errorf("vmsched takes a factor of time-outs from %v to %v, not %v", MinTimeouts, MaxTimeouts, factor)
	}
	return agent.CheckTimeouts(factor)
}

// Lacks says what this machine lacks to run guests by a hypervisor, or nil.
func Lacks(hypervisor string) error {
	if hypervisor == HypervisorQEMU {
		return qemu.Installed()
	}
	return nil
}

// A System is vmsched in a lab. It is raftkv on the nodes of the control plane.
type System struct {
	*raftkv.System

	lab                    cluster.Lab
	options                Options
	control, hosts, volume []cluster.Node
	pipe                   *os.File
	probe, images          string // paths

	store   *store.Client  // of all nodes of the control plane
	users   *client.Client // the same
	storage storeapi.Conn  // to the volume service
	cast    cast
	beating beating

	mu      sync.Mutex
	started map[string]bool
}

var (
	_ cluster.System   = (*System)(nil)
	_ cluster.Elector  = (*System)(nil)
	_ cluster.Members  = (*System)(nil)
	_ cluster.Observed = (*System)(nil)
	_ cluster.Limited  = (*System)(nil)
	_ cluster.Parted   = (*System)(nil)
	_ cluster.Cast     = (*System)(nil)
	_ cluster.Hosting  = (*System)(nil)
	_ cluster.Timed    = (*System)(nil)
	_ cluster.Telling  = (*System)(nil)
)

// New returns the system on the nodes of a lab. It starts nothing yet. The lab has a
// directory.
func New(lab cluster.Lab, o Options) (_ *System, err error) {
	if o.Bug != "" && !bug.Is(o.Bug) {
		return nil, fmt.Errorf("vmsched has no bug %q", o.Bug)
	}
	if err := checkTimeouts(o.Timeouts); err != nil {
		return nil, err
	}
	switch o.Hypervisor {
	case "":
		o.Hypervisor = HypervisorProcess
	case HypervisorProcess, HypervisorQEMU:
	default:
		return nil, fmt.Errorf("vmsched has no hypervisor %q: there are %s and %s", o.Hypervisor, HypervisorProcess, HypervisorQEMU)
	}
	nodes := lab.Nodes()
	if len(nodes) < MinNodes {
		return nil, fmt.Errorf("vmsched needs %d nodes: %d of the control plane, a host, and one for volumes", MinNodes, controlNodes)
	}
	last := len(nodes) - 1
	s := &System{
		lab: lab, options: o, started: map[string]bool{},
		control: nodes[:controlNodes], hosts: nodes[controlNodes:last], volume: nodes[last:],
		cast: cast{plays: map[string]string{}}, beating: beating{last: map[int]beat{}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	// Beside the directories of the nodes: see cluster.Options.
	shared := filepath.Dir(filepath.Dir(nodes[0].Dir))
	s.probe = filepath.Join(shared, "vmsched.probe")
	if o.Hypervisor == HypervisorQEMU {
		s.images = filepath.Join(shared, "vmsched.images")
		if err := os.MkdirAll(s.images, 0o755); err != nil {
			return nil, err
		}
	}
	if s.pipe, err = makePipe(s.probe); err != nil {
		return nil, err
	}
	s.System, err = raftkv.New(someOf{lab, s.control}, raftkv.Options{
		KeepRevisions: true, Node: s.controlCommand, Tuning: raftkv.Tuning{Timeouts: o.Timeouts},
	})
	if err != nil {
		return nil, err
	}
	if s.store, err = store.New(s.ClientNodes()); err != nil {
		return nil, err
	}
	if s.users, err = client.New(s.schedulers()); err != nil {
		return nil, err
	}
	s.storage, err = storeapi.Dial(s.volumesAddr())
	return s, err
}

// someOf is a lab of some of its nodes.
type someOf struct {
	cluster.Lab
	nodes []cluster.Node
}

func (l someOf) Nodes() []cluster.Node { return l.nodes }

// Name returns [Name].
func (s *System) Name() string { return Name }

// Close ends the system's own connections, and the observer's pipe. It stops no node.
func (s *System) Close() error {
	var errs []error
	if s.System != nil {
		errs = append(errs, s.System.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.users != nil {
		errs = append(errs, s.users.Close())
	}
	if s.storage != nil {
		errs = append(errs, s.storage.Close())
	}
	if s.pipe != nil {
		errs = append(errs, s.pipe.Close(), os.Remove(s.probe))
	}
	return errors.Join(errs...)
}

// Parts returns the parts: see the function.
func (s *System) Parts() []cluster.Part { return Parts(names(s.lab.Nodes())) }

// Parts says which nodes of so many do what: the control plane first. There are [MinNodes]
// at least.
func Parts(nodes []string) []cluster.Part {
	last := len(nodes) - 1
	return []cluster.Part{
		{Name: cluster.PartControl, Nodes: nodes[:controlNodes]},
		{Name: cluster.PartHost, Nodes: nodes[controlNodes:last]},
		{Name: cluster.PartStorage, Nodes: nodes[last:]},
	}
}

func names(nodes []cluster.Node) (names []string) {
	for _, n := range nodes {
		names = append(names, n.Name)
	}
	return names
}

// ClockRate is by how much faster one monotonic clock may run than another.
const ClockRate = agent.ClockRate

// ClockRate returns ClockRate.
func (s *System) ClockRate() float64 { return ClockRate }

// Start starts the system's part on a node, for the first time or again.
func (s *System) Start(node string) error {
	if slices.Contains(names(s.control), node) {
		return s.System.Start(node) // by way of controlCommand
	}
	var p part
	switch at := slices.IndexFunc(s.lab.Nodes(), func(n cluster.Node) bool { return n.Name == node }); {
	case at < 0:
		return fmt.Errorf("start: the lab has no node %q", node)
	case node == s.volume[0].Name:
		p.Storage = &volume.Config{
			Node: node, Addr: s.volumesAddr(), Dir: filepath.Join(s.volume[0].Dir, "volumes"),
			Probe: s.probe, Bug: s.options.Bug,
		}
	default:
		p.Host = s.hostConfig(s.lab.Nodes()[at])
	}
	if err := s.lab.Start(node, p.command()); err != nil {
		return fmt.Errorf("start %s: %w", node, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started[node] = true
	return nil
}

// controlCommand runs a node of raftkv, and a scheduler with it.
func (s *System) controlCommand(c raftkvserver.Config) cluster.Command {
	at := slices.IndexFunc(s.control, func(n cluster.Node) bool { return n.Name == c.ID })
	return part{Control: &control{c, scheduler.Config{
		Node: c.ID, Addr: address(s.control[at], schedulerPort), Bug: s.options.Bug, Timeouts: s.options.Timeouts,
		Store: raftkv.NodesFor(s.ClientNodes(), 2*at+1), // its own first
	}}}.command()
}

// Labels are what some hosts are labelled, and not all; nil if there is no such host.
func (s *System) Labels() map[string]string {
	if len(s.hosts) < 2 {
		return nil
	}
	return maps.Clone(hostLabels)
}

func (s *System) hostConfig(n cluster.Node) *agent.Config {
	var labels map[string]string
	if n.Name != s.hosts[len(s.hosts)-1].Name {
		labels = hostLabels
	}
	return &agent.Config{
		Host: n.Name, Addr: n.Addr.String(), Dir: n.Dir, Capacity: hostCapacity, Labels: labels,
		Volumes: s.volumesAddr(), Hypervisor: s.options.Hypervisor, Images: s.images,
		Program: program, Probe: s.probe, Bug: s.options.Bug, Timeouts: s.options.Timeouts,
		Store: s.ClientNodes(),
	}
}

func (s *System) volumesAddr() string { return address(s.volume[0], volumesPort) }

func address(n cluster.Node, port uint16) string { return netip.AddrPortFrom(n.Addr, port).String() }

// schedulers returns the nodes that answer users.
func (s *System) schedulers() (nodes []client.Node) {
	for _, n := range s.control {
		nodes = append(nodes, client.Node{Name: n.Name, Addr: address(n, schedulerPort)})
	}
	return nodes
}

// Ready returns when the control plane answers on each of its nodes that runs, the volume
// service answers, and each host that was started lives by the leases of the store, by the
// doing of the process that runs there now. That one of these has exited since is an error.
func (s *System) Ready(ctx context.Context) error {
	if err := s.System.Ready(ctx); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for i, n := range s.control {
		if _, running := s.lab.Process(n.Name); !running {
			continue
		}
		all.Go(func() error {
			c, err := client.New(s.schedulers()[i : i+1])
			if err != nil {
				return err
			}
			defer c.Close()
			return s.await(ctx, n.Name, "its scheduler does not answer", func(ctx context.Context) error {
				leads, err := c.Leading(ctx)
				if err == nil && leads == "" {
					err = errors.New("no scheduler leads")
				}
				return err
			})
		})
	}
	s.mu.Lock()
	started := maps.Clone(s.started)
	s.mu.Unlock()
	for _, n := range s.hosts {
		if started[n.Name] {
			all.Go(func() error { return s.await(ctx, n.Name, "it is not alive", s.keptAlive(n.Name)) })
		}
	}
	if n := s.volume[0]; started[n.Name] {
		all.Go(func() error {
			return s.await(ctx, n.Name, "it does not answer", func(ctx context.Context) error {
				_, err := api.NewVolumesClient(s.storage).Read(ctx, &api.ReadRequest{Vm: "ready?"})
				return err
			})
		})
	}
	return all.Wait()
}

// askFor bounds one question, and askEvery is how long to wait for the next.
const (
	askFor   = 500 * time.Millisecond
	askEvery = 50 * time.Millisecond
)

// await asks until there is no error, as long as the node's process runs.
func (s *System) await(ctx context.Context, node, what string, ask func(context.Context) error) error {
	for {
		if _, running := s.lab.Process(node); !running {
			return raftkv.Exited(s.lab, node)
		}
		asking, cancel := context.WithTimeout(ctx, askFor)
		err := ask(asking)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w", node, what, err)
		case <-time.After(askEvery):
		}
	}
}

// keptAlive returns a question that is answered well when a host's lease was kept alive
// since the first time that it was asked: by the process that runs there now, since that of
// an earlier one may not have ended yet.
func (s *System) keptAlive(host string) func(context.Context) error {
	var lease uint64
	var left time.Duration
	return func(ctx context.Context) error {
		r, err := s.store.Range(ctx, store.Key(state.AliveKey(host)), store.RangeOptions{})
		if err != nil {
			return err
		}
		if len(r.KVs) == 0 {
			lease = 0
			return errors.New("it has not registered")
		}
		l, err := s.store.Describe(ctx, r.KVs[0].Lease)
		if err != nil {
			return err
		}
		if lease == r.KVs[0].Lease && l.Left > left {
			return nil
		}
		lease, left = r.KVs[0].Lease, l.Left
		return errors.New("its lease was not kept alive yet")
	}
}
