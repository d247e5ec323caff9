package raftkv

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/appends"
	"github.com/hacheck/hacheck/workloads/counter"
	"github.com/hacheck/hacheck/workloads/election"
	kvs "github.com/hacheck/hacheck/workloads/kv"
	"github.com/hacheck/hacheck/workloads/lease"
	"github.com/hacheck/hacheck/workloads/lock"
	"github.com/hacheck/hacheck/workloads/member"
	"github.com/hacheck/hacheck/workloads/queue"
	"github.com/hacheck/hacheck/workloads/register"
	"github.com/hacheck/hacheck/workloads/session"
	"github.com/hacheck/hacheck/workloads/set"
	"github.com/hacheck/hacheck/workloads/uniqueids"
	"github.com/hacheck/hacheck/workloads/watch"
)

// Clients makes clients of raftkv those of workloads. Each workload has keys of its own
// kind in the store, and a file here.
type Clients struct {
	bug string
	// connect connects the client of a worker.
	connect func(worker int) (*client.Client, error)
	// members changes who is a member.
	members cluster.Members
}

// NewClients returns clients that are connected by connect, with a bug of theirs, or none
// if that is empty.
func NewClients(name string, connect func(worker int) (*client.Client, error), members cluster.Members) Clients {
	return Clients{bug.At(bug.Client, name), connect, members}
}

// opened makes of a worker's client one of a workload.
func opened[C any](c Clients, worker int, as func(*client.Client) C) (C, error) {
	connected, err := c.connect(worker)
	if err != nil {
		var none C
		return none, fmt.Errorf("open client of worker %d: %w", worker, err)
	}
	return as(connected), nil
}

// OpenRegister connects a worker's client of registers.
func (c Clients) OpenRegister(_ context.Context, worker int) (register.KV, error) {
	return opened(c, worker, func(c *client.Client) register.KV { return &registers{c} })
}

// OpenKV connects a worker's client of the whole store.
func (c Clients) OpenKV(_ context.Context, worker int) (kvs.Store, error) {
	return opened(c, worker, func(c *client.Client) kvs.Store { return &wholeStore{c} })
}

// OpenSet connects a worker's client of sets.
func (c Clients) OpenSet(_ context.Context, worker int) (set.Set, error) {
	return opened(c, worker, func(c *client.Client) set.Set { return &sets{c} })
}

// OpenAppend connects a worker's client of lists.
func (c Clients) OpenAppend(_ context.Context, worker int) (appends.Store, error) {
	return opened(c, worker, func(c *client.Client) appends.Store { return &lists{c} })
}

// OpenCounter connects a worker's client of counters.
func (c Clients) OpenCounter(_ context.Context, worker int) (counter.Counter, error) {
	return opened(c, worker, func(connected *client.Client) counter.Counter { return &counters{connected, c.bug} })
}

// OpenIDs connects a worker's client that takes identifiers.
func (c Clients) OpenIDs(_ context.Context, worker int) (uniqueids.IDs, error) {
	return opened(c, worker, func(connected *client.Client) uniqueids.IDs { return &ids{client: connected, bug: c.bug} })
}

// OpenQueue connects a worker's client of queues.
func (c Clients) OpenQueue(_ context.Context, worker int) (queue.Queue, error) {
	return opened(c, worker, func(connected *client.Client) queue.Queue { return &queues{connected, c.bug} })
}

// OpenLock connects a worker's client of locks.
func (c Clients) OpenLock(_ context.Context, worker int) (lock.Locks, error) {
	return opened(c, worker, func(c *client.Client) lock.Locks {
		return &locks{client: c, holder: strconv.Itoa(worker), held: map[uint64]*client.Lock{}}
	})
}

// OpenLease connects a worker's client of leases.
func (c Clients) OpenLease(_ context.Context, worker int) (lease.Leases, error) {
	return opened(c, worker, func(c *client.Client) lease.Leases { return &leases{c} })
}

// OpenWatch connects a worker's client that writes and watches.
func (c Clients) OpenWatch(_ context.Context, worker int) (watch.Store, error) {
	return opened(c, worker, func(c *client.Client) watch.Store { return &watched{client: c} })
}

// OpenElection connects a worker's client of elections.
func (c Clients) OpenElection(_ context.Context, worker int) (election.Elections, error) {
	return opened(c, worker, func(c *client.Client) election.Elections {
		return &elections{client: c, won: map[uint64]*client.Leadership{}}
	})
}

// OpenMember connects a worker's client of registers and members.
func (c Clients) OpenMember(_ context.Context, worker int) (member.Cluster, error) {
	return opened(c, worker, func(connected *client.Client) member.Cluster { return &members{connected, c.members} })
}

// OpenSession connects a worker's client of one session.
func (c Clients) OpenSession(_ context.Context, worker int) (session.Session, error) {
	return opened(c, worker, func(c *client.Client) session.Session { return &sessions{c, c.Session()} })
}

// classify marks what is definite.
func classify(err error) error {
	if client.IsDefinite(err) {
		return workloads.Definite(err)
	}
	return err
}

// said is what the store has said beside an answer.
func said(s client.Stamp, revision uint64) workloads.Said {
	return workloads.Said{Node: s.Node, Revision: revision, Term: s.Term}
}

// number reads what a value spells as [decimal] does. What is not so spelt, no client
// wrote: that is an answer all the same, and a finding.
func number(value []byte) (n int64, ok bool) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	return n, err == nil && string(decimal(n)) == string(value)
}

// decimal spells a number.
func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
