// Package raftkv puts raftkv, a key-value store on Raft that ships with hacheck,
// into a lab, and offers its clients to the workloads. The store itself is in the
// folders server and client, which know nothing of this.
package raftkv

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// Name is the system's name.
const Name = "raftkv"

// Bugs returns the deliberate bugs: of the servers, of who runs them, and of the
// clients.
func Bugs() []bug.Bug { return slices.Clone(bug.All) }

// Ports on which every node listens, on its own address.
const (
	raftPort   = 7000
	clientPort = 7001
	// rejoinedPort is above those on which nodes listen for each other that have joined
	// again: each time on another.
	rejoinedPort = 7100
)

// Options say how to run the system.
type Options struct {
	// Bug is the name of a deliberate bug, or empty. See [Bugs].
	Bug string
	// KeepRevisions says that nothing is compacted but what a client asks for.
	KeepRevisions bool
	// Tuning is how it performs otherwise than as it ships.
	Tuning Tuning
	// Node returns what runs a node that is told this, where another system runs it within
	// a process of its own; nil: the program that calls [RunNode].
	Node func(server.Config) cluster.Command
}

// A System is raftkv in a lab.
type System struct {
	Clients // [NodesFor] says which nodes each knows

	lab     cluster.Lab
	options Options
	nodes   []cluster.Node

	mu      sync.Mutex
	started map[string]bool
	// all is for asking every node how it is.
	all    *client.Client
	roster *Roster
}

var (
	_ cluster.System   = (*System)(nil)
	_ cluster.Elector  = (*System)(nil)
	_ cluster.Members  = (*System)(nil)
	_ cluster.Observed = (*System)(nil)
	_ cluster.Limited  = (*System)(nil)
)

// New returns the system on the nodes of a lab. It starts nothing yet.
func New(lab cluster.Lab, o Options) (*System, error) {
	if o.Bug != "" && !bug.Is(o.Bug) {
		return nil, fmt.Errorf("raftkv has no bug %q", o.Bug)
	}
	if err := o.Tuning.check(); err != nil {
		return nil, err
	}
	s := &System{lab: lab, options: o, nodes: lab.Nodes(), started: map[string]bool{}}
	if len(s.nodes) == 0 {
		return nil, errors.New("raftkv needs a node")
	}
	var err error
	if s.all, err = client.New(clientNodes(s.nodes)); err != nil {
		return nil, err
	}
	s.roster = NewRoster(s.all, o.Bug, s.raftAddress, func(node string) error {
		if _, running := lab.Process(node); running {
			return nil
		}
		return s.Start(node)
	}, func(node string) error {
		if err := lab.Kill(node); err != nil {
			return err
		}
		return lab.Wipe(node)
	})
	s.Clients = NewClients(o.Bug, func(worker int) (*client.Client, error) {
		return client.NewWith(NodesFor(clientNodes(s.nodes), worker), client.Options{Bug: bug.At(bug.Client, o.Bug)})
	}, s)
	return s, nil
}

// Name returns [Name].
func (s *System) Name() string { return Name }

// Close ends the system's own connections. It stops no node.
func (s *System) Close() error { return s.all.Close() }

// Start starts a node that is a member, or is about to be one; of one that has left, and
// that somebody else made leave than who starts it, nothing is to run. When all were ready
// once the cluster has begun: a node whose disk is empty then has lost it, and ends
// again.
func (s *System) Start(node string) error {
	c, err := s.config(node)
	if errors.Is(err, errLeft) {
		return nil
	}
	if err != nil {
		return err
	}
	command := s.options.Node
	if command == nil {
		command = nodeCommand
	}
	if err := s.lab.Start(node, command(c)); err != nil {
		return fmt.Errorf("start %s: %w", node, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started[node] = true
	return nil
}

// config is what a node is told.
func (s *System) config(node string) (server.Config, error) {
	c := server.Config{
		ID: node, Bug: bug.At(bug.Server, s.options.Bug),
		// Snapshots are so frequent that a run of seconds on a slow machine sees some, and
		// nodes that need them.
		SnapshotThreshold: 500, TrailingLogs: 250,
	}
	s.options.Tuning.Tell(&c)
	if s.options.KeepRevisions {
		c.KeepRevisions = math.MaxInt64
	}
	for _, n := range s.nodes {
		p := server.Peer{ID: n.Name, RaftAddr: address(n, raftPort), ClientAddr: address(n, clientPort)}
		c.Peers = append(c.Peers, p)
		if n.Name == node {
			c.Dir, c.ClientAddr = n.Dir, p.ClientAddr
		}
	}
	if c.ClientAddr == "" {
		return c, fmt.Errorf("start: the lab has no node %q", node)
	}
	if err := s.roster.Tell(node, &c); err != nil {
		return c, fmt.Errorf("start: %w", err)
	}
	return c, nil
}

// raftAddress is where other nodes reach one that has joined so many times.
func (s *System) raftAddress(node string, times int) string {
	port := uint16(raftPort)
	if times > 1 {
		port = uint16(rejoinedPort + times)
	}
	for _, n := range s.nodes {
		if n.Name == node {
			return address(n, port)
		}
	}
	return ""
}

func address(n cluster.Node, port uint16) string { return netip.AddrPortFrom(n.Addr, port).String() }

// ClientNodes returns the nodes, as clients know them.
func (s *System) ClientNodes() []client.Node { return clientNodes(s.nodes) }

func clientNodes(nodes []cluster.Node) []client.Node {
	var out []client.Node
	for _, n := range nodes {
		out = append(out, client.Node{Name: n.Name, Addr: address(n, clientPort)})
	}
	return out
}

// Ready returns when every node that was started, and is a member, answers a
// linearizable read, so that there is a leader and each node reaches it. That one has
// exited since is an error: it will not answer any more.
func (s *System) Ready(ctx context.Context) error {
	s.mu.Lock()
	var nodes []cluster.Node
	for _, n := range s.nodes {
		if s.started[n.Name] && s.roster.In(n.Name) {
			nodes = append(nodes, n)
		}
	}
	s.mu.Unlock()
	if len(nodes) == 0 {
		return errors.New("no node was started")
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		all.Go(func() error { return s.nodeReady(ctx, n) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	s.roster.Founded()
	return nil
}

// nodeReady waits for one node.
func (s *System) nodeReady(ctx context.Context, n cluster.Node) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	exited := s.lab.Exited(n.Name)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-exited:
			cancel(Exited(s.lab, n.Name))
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watched }()

	c, err := client.New(clientNodes([]cluster.Node{n}))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := Answers(ctx, c); err != nil {
		if gone := context.Cause(ctx); gone != nil && !errors.Is(gone, ctx.Err()) {
			return gone
		}
		return fmt.Errorf("%s does not answer: %w", n.Name, err)
	}
	return nil
}

// Exited is the error of a node whose process has: with the last line that it printed, not
// what the lab notes between.
func Exited(lab cluster.Lab, node string) error {
	const notes = 10 // that there are behind it, at the most
	for _, line := range slices.Backward(lab.Log(node, notes+1)) {
		if line != "" && !strings.HasPrefix(line, "--- ") {
			return fmt.Errorf("%s: its process has exited: %s", node, line)
		}
	}
	return fmt.Errorf("%s: its process has exited", node)
}

// Leader returns the node that leads; see [Leading].
func (s *System) Leader(ctx context.Context) (string, error) {
	return leader(ctx, s.all)
}

// NodesFor returns the nodes that a worker's client is to know: those of even workers
// one each, in turn, and all others all, but not every one begins with the same.
func NodesFor[Node any](nodes []Node, worker int) []Node {
	at := worker / 2 % len(nodes)
	if worker%2 == 0 {
		return nodes[at : at+1]
	}
	return slices.Concat(nodes[at:], nodes[:at])
}
