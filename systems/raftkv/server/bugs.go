package server

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A Bug is a mistake that a node makes on request, so that a tester can show that
// it would be found.
type Bug struct {
	Name string
	// Summary says in one line what goes wrong.
	Summary string
}

// The bugs a node can have.
const (
	// StaleRead is what Jepsen found in etcd and Consul in 2014: a node answered
	// reads by itself, because it held the data, or because it believed that it
	// still led.
	StaleRead = "stale-read"
	// AckBeforeCommit is what Jepsen showed of Redis with Sentinel and of MongoDB
	// in 2013: the primary acknowledges a write that nobody else holds yet, and a
	// failover forgets it.
	AckBeforeCommit = "ack-before-commit"
	// NoFsync is what Jepsen showed of NATS JetStream in 2025, and what etcd does with
	// --unsafe-no-fsync: what a node has acknowledged it has handed to the kernel, and
	// syncs later. A failure of power takes it back.
	NoFsync = "no-fsync"
	// TornVote is hashicorp/raft issue 661, which [Store] keeps from happening: a
	// node that fails between the two writes of a vote is left with the new term and
	// the old candidate, to whom it gives its vote again, however old his log.
	TornVote = "torn-vote"
	// LeaseRead is how a leader's lease goes wrong that is reckoned by the clock on
	// the wall, as CockroachDB's and YugabyteDB's were shown to where clocks jump:
	// it goes on to answer reads when another leads already.
	LeaseRead = "lease-read"
	// SnapshotDropsKeys is a writer that forgets its last batch, unless it is full. A
	// snapshot that leaves out a part of the state is a mistake that is made again
	// and again: openstack-experimental/keystone issue 1293 is one of 2026.
	SnapshotDropsKeys = "snapshot-drops-keys"
	// SplitBrainBootstrap is what RabbitMQ's peer discovery and Consul's -bootstrap
	// did: a node that starts, and finds nobody to join, begins a cluster by itself.
	SplitBrainBootstrap = "split-brain-bootstrap"
)

// Bugs are the bugs a node can have.
var Bugs = []Bug{
	{StaleRead, "every node answers reads from its own state, without asking a majority"},
	{AckBeforeCommit, "the leader acknowledges a put or delete before it is replicated"},
	{NoFsync, "a node acknowledges entries of the log up to a second before it syncs them"},
	{TornVote, "a node writes the term and the candidate of a vote one after the other"},
	{LeaseRead, "the leader answers reads by itself for as long as a lease lasts, by the clock on the wall"},
	{SnapshotDropsKeys, "a snapshot lacks the keys that were changed last"},
	{SplitBrainBootstrap, "a node that starts again, and finds no leader within a second, begins a cluster of its own"},
}

// A lease is for [LeaseRead]. The leader has it from when it last knew that it led,
// for as long as nobody who heard of it then will vote for another.
type lease struct {
	now func() time.Time

	mu    sync.Mutex
	until time.Time
}

func (l *lease) extend(from time.Time, by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = from.Add(by * 4 / 5) // clocks differ a little, of course
}

func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now().Before(l.until)
}

// wallClock is the time without Go's reading of the monotonic clock.
func wallClock() time.Time { return time.Now().Round(0) }

// beginAlone is for [SplitBrainBootstrap].
func (n *Node) beginAlone(rc *raft.Config, d Deps) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for _, p := range n.config.Peers {
			conn, err := n.peer(p.ID)
			if err != nil || p.ID == n.config.ID {
				continue
			}
			if s, err := statusOf(ctx, conn); err == nil && s.GetLeader() != "" {
				return nil
			}
		}
		wait, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		<-wait.Done()
		stop()
	}
	d.Log.Warn("found no leader, so this is a cluster of its own")
	alone := raft.Configuration{Servers: []raft.Server{{ID: n.id, Address: n.transport.LocalAddr()}}}
	err := raft.RecoverCluster(rc, newMachine(maxSessions), d.Logs, d.Stable, n.snapshots, n.transport, alone)
	if err != nil {
		return fmt.Errorf("begin a cluster of its own: %w", err)
	}
	return nil
}
