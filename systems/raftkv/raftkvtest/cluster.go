// Package raftkvtest runs a cluster of raftkv in memory: the real nodes and the
// real clients on a network of channels, which can be cut. It needs no sockets and
// no disks, so it runs in the bubble of a testing/synctest, where hours take no
// time.
package raftkvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Cluster is a running cluster with its network: it is a [cluster.System] whose
// nodes are up already. What is broken at a node's disk it can show only by wiping it.
type Cluster struct {
	raftkv.Clients // each knows the nodes that the lab's would

	*network
	bug   string
	tuned raftkv.Tuning
	names []string
	nodes map[string]*node
	// all is for asking every node, and roster for who is a member.
	all    *client.Client
	roster *raftkv.Roster
	// life ends when the cluster is closed; calls are what may still run then.
	life  context.Context
	end   context.CancelFunc
	calls sync.WaitGroup
}

var (
	_ cluster.Network  = (*Cluster)(nil)
	_ cluster.System   = (*Cluster)(nil)
	_ cluster.Elector  = (*Cluster)(nil)
	_ cluster.Members  = (*Cluster)(nil)
	_ cluster.Observed = (*Cluster)(nil)
)

// A node is a server and what outlives it.
type node struct {
	config    server.Config
	store     *store
	snapshots *snapshots
	// skew is what the node's clock on the wall is ahead.
	skew atomic.Int64

	mu      sync.Mutex
	running *server.Node // nil: it is stopped
}

// New starts n nodes, "n1" and so on. The name is of a bug, see package
// bug, or empty. The seed fixes the network's delays; which goroutine runs first remains
// open.
func New(n int, name string, seed uint64) (*Cluster, error) {
	return NewTuned(n, name, raftkv.Tuning{}, seed)
}

// NewTuned is New, and the nodes perform otherwise.
func NewTuned(n int, name string, tuned raftkv.Tuning, seed uint64) (*Cluster, error) {
	if name != "" && !bug.Is(name) {
		return nil, fmt.Errorf("raftkv has no bug %q", name)
	}
	c := &Cluster{bug: name, tuned: tuned, nodes: map[string]*node{}}
	c.network = newNetwork(seed)
	c.life, c.end = context.WithCancel(context.Background())
	var peers []server.Peer
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		c.names = append(c.names, name)
		peers = append(peers, server.Peer{ID: name, RaftAddr: name})
	}
	for _, name := range c.names {
		c.nodes[name] = &node{
			// Snapshots are so frequent that a node cut off for a while needs one.
			config: server.Config{
				ID: name, Peers: peers, Bug: bug.At(bug.Server, c.bug),
				SnapshotThreshold: 200, TrailingLogs: 50,
			},
			store:     newStore(c.bug == bug.TornVote),
			snapshots: &snapshots{},
		}
	}
	c.Clients = raftkv.NewClients(name, func(worker int) (*client.Client, error) {
		return c.client(raftkv.NodesFor(c.names, worker))
	}, c)
	var err error
	if c.all, err = c.client(c.names); err != nil {
		return nil, err
	}
	c.roster = raftkv.NewRoster(c.all, c.bug, c.address, c.begin, c.clear)
	for _, name := range c.names {
		if err := c.Start(name); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	c.roster.Founded()
	return c, nil
}

// address is where other nodes reach one that has joined so many times.
func (c *Cluster) address(name string, times int) string {
	if times == 1 {
		return name
	}
	return fmt.Sprintf("%s#%d", name, times)
}

// begin starts a node, unless it runs.
func (c *Cluster) begin(name string) error {
	if c.server(name) != nil {
		return nil
	}
	return c.Start(name)
}

// clear leaves nothing of a node.
func (c *Cluster) clear(name string) error {
	if err := c.Stop(name); err != nil {
		return err
	}
	return c.Wipe(name)
}

// Name returns the name of the system.
func (c *Cluster) Name() string { return raftkv.Name }

// Start starts a node that was stopped.
func (c *Cluster) Start(name string) error {
	n := c.nodes[name]
	if n == nil {
		return fmt.Errorf("start: there is no node %q", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		return fmt.Errorf("start %s: it runs", name)
	}
	config := n.config
	c.tuned.Tell(&config)
	if err := c.roster.Tell(name, &config); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	transport := c.attach(name, raft.ServerAddress(config.RaftAddr))
	var err error
	n.running, err = server.NewNode(config, server.Deps{
		Logs: n.store, Stable: n.store, Snapshots: n.snapshots, Transport: transport,
		Peer:      func(id string) (api.Conn, error) { return c.conn(name, id) },
		Log:       hclog.NewNullLogger(),
		WallClock: func() time.Time { return time.Now().Add(time.Duration(n.skew.Load())) },
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", name, err), transport.Close())
	}
	return nil
}

// Stop stops a node. Nothing to stop is no error.
func (c *Cluster) Stop(name string) error {
	n := c.nodes[name]
	if n == nil {
		return fmt.Errorf("stop: there is no node %q", name)
	}
	n.mu.Lock()
	running := n.running
	n.running = nil
	n.mu.Unlock()
	if running == nil {
		return nil
	}
	return running.Close()
}

// Wipe empties the disk of a node that was stopped.
func (c *Cluster) Wipe(name string) error {
	n := c.nodes[name]
	if n == nil {
		return fmt.Errorf("wipe: there is no node %q", name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running != nil {
		return fmt.Errorf("wipe %s: it runs", name)
	}
	n.store, n.snapshots = newStore(c.bug == bug.TornVote), &snapshots{}
	return nil
}

// SkewClock sets the clock on a node's wall ahead, or back.
func (c *Cluster) SkewClock(name string, by time.Duration) { c.nodes[name].skew.Store(int64(by)) }

// Close stops everything and returns when no goroutine of the cluster is left.
func (c *Cluster) Close() error {
	var err error
	for _, name := range c.names {
		err = errors.Join(err, c.Stop(name))
	}
	c.end()
	c.calls.Wait()
	return err
}

// Ready returns when every node that runs answers a linearizable read.
func (c *Cluster) Ready(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for _, name := range c.names {
		if c.server(name) == nil || !c.roster.In(name) {
			continue
		}
		all.Go(func() error {
			kv, err := c.client([]string{name})
			if err != nil {
				return err
			}
			defer kv.Close()
			if err := raftkv.Answers(ctx, kv); err != nil {
				return fmt.Errorf("%s does not answer: %w", name, err)
			}
			return nil
		})
	}
	return all.Wait()
}

// Leader returns the node that claims to lead in the highest term. The answer
// does not go through the network, as that of a lab's nodes would not if the one
// who asks were not on it.
func (c *Cluster) Leader(ctx context.Context) (string, error) {
	all, err := c.statuses(ctx)
	if err != nil {
		return "", err
	}
	return raftkv.Leading(all)
}

// Observe returns how each node that runs sees the cluster. That does not go through
// the network, either.
func (c *Cluster) Observe(ctx context.Context) (cluster.State, error) {
	all, err := c.statuses(ctx)
	if err != nil {
		return nil, err
	}
	return raftkv.State(all), nil
}

func (c *Cluster) statuses(ctx context.Context) ([]*api.StatusResponse, error) {
	var all []*api.StatusResponse
	for _, name := range c.names {
		if s := c.server(name); s != nil {
			status, err := s.Status(ctx, &api.StatusRequest{})
			if err != nil {
				return nil, err
			}
			all = append(all, status)
		}
	}
	return all, nil
}

// Transfer makes the leader hand over to a node, or to anybody.
func (c *Cluster) Transfer(ctx context.Context, to string) error { return c.all.Transfer(ctx, to) }

// Elect makes a node stand for election.
func (c *Cluster) Elect(ctx context.Context, name string) error { return c.all.Elect(ctx, name) }

// Leave makes a node a member no more, stops it and empties its disk.
func (c *Cluster) Leave(ctx context.Context, name string) error { return c.roster.Leave(ctx, name) }

// Join makes a node that has left a member.
func (c *Cluster) Join(ctx context.Context, name string) error { return c.roster.Join(ctx, name) }

// client returns a client of nodes.
func (c *Cluster) client(names []string) (*client.Client, error) {
	return c.Client(cluster.Tester, names...)
}

// Client returns a client of nodes that is at a place of the network: the links between that
// and each node can be cut. Who asks for it closes it.
func (c *Cluster) Client(place string, names ...string) (*client.Client, error) {
	var nodes []client.Node
	for _, name := range names {
		nodes = append(nodes, client.Node{Name: name})
	}
	return client.NewWith(nodes, client.Options{
		Bug:  bug.At(bug.Client, c.bug),
		Dial: func(n client.Node) (api.Conn, error) { return c.conn(place, n.Name) },
	})
}

// server returns the server that runs on a node, or nil.
func (c *Cluster) server(name string) *server.Node {
	n := c.nodes[name]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// timeout is how long Raft waits for an answer, as the real transport does.
const timeout = 500 * time.Millisecond
