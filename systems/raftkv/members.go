package raftkv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Roster keeps the books of the members of a cluster: which nodes are in it, and
// under what names. It changes them by a client.
type Roster struct {
	client *client.Client
	bug    string
	// address is where other nodes reach a node that has joined so many times; start
	// starts it, unless it runs; clear ends what runs there, and empties its disk.
	address      func(node string, times int) string
	start, clear func(node string) error

	mu sync.Mutex
	// founded says that the cluster has begun: whoever has no state now has lost it.
	founded bool
	places  map[string]*place
}

// A place is that of a node in the cluster.
type place struct {
	changing chan struct{} // holds one while somebody changes it
	standing standing
	// times is how often it has joined, the first time counted.
	times int
}

// change waits until nobody else changes the place.
func (p *place) change(ctx context.Context) (done func(), err error) {
	select {
	case p.changing <- struct{}{}:
		return func() { <-p.changing }, nil
	case <-ctx.Done():
		return nil, &client.Error{Definite: true, Err: context.Cause(ctx)}
	}
}

// A standing is what a node is to the cluster.
type standing int

const (
	in standing = iota
	leaving
	left // and what it was may still be there
	out
	joining
)

// NewRoster returns the books of a cluster of which all nodes are members when it
// begins. The client is of all nodes; mistake names a bug, or is empty. Each time that a
// node joins it must have an address that it never had: see [server.Config].
func NewRoster(c *client.Client, mistake string, address func(node string, times int) string, start, clear func(node string) error) *Roster {
	return &Roster{
		client: c, bug: bug.At(bug.Operator, mistake), address: address, start: start, clear: clear,
		places: map[string]*place{},
	}
}

func (r *Roster) place(node string) *place {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.places[node] == nil {
		r.places[node] = &place{times: 1, changing: make(chan struct{}, 1)}
	}
	return r.places[node]
}

// incarnation returns which of the members that a node has been it is: the first is 1.
func (r *Roster) incarnation(p *place) int {
	if r.bug == bug.WipeRejoin {
		return 1
	}
	return p.times
}

// member returns what a node is called among the members.
func (r *Roster) member(node string, p *place) string {
	return name(node, r.incarnation(p))
}

// name is what a node is called among the members that has joined so many times.
func name(node string, times int) string {
	if times == 1 {
		return node
	}
	return fmt.Sprintf("%s#%d", node, times)
}

// set changes a place.
func (r *Roster) set(p *place, s standing, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.standing, p.times = s, times
}

func (r *Roster) get(p *place) (standing, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.standing, p.times
}

// Founded says that the cluster has begun.
func (r *Roster) Founded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.founded = true
}

// In says whether a node is a member, and is to be one.
func (r *Roster) In(node string) bool {
	s, _ := r.get(r.place(node))
	return s == in
}

// errLeft says that a node is no member, so that there is nothing to be started.
var errLeft = errors.New("it has left")

// Tell fills in what a node that starts is told of what it is. The error says why it
// must not start.
func (r *Roster) Tell(node string, c *server.Config) error {
	p := r.place(node)
	s, _ := r.get(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Member, c.RaftAddr = r.member(node, p), r.address(node, r.incarnation(p))
	switch {
	case s == left, s == out:
		return fmt.Errorf("%s: %w", node, errLeft)
	case !r.founded || r.bug == bug.WipeRejoin:
		c.Empty = server.EmptyFounds
	case s == joining:
		c.Empty = server.EmptyJoins
	}
	return nil
}

// Leave makes a node a member no more; see [cluster.Members]. Nobody has it join before
// it is wiped, or it would be a member that is.
func (r *Roster) Leave(ctx context.Context, node string) error {
	p := r.place(node)
	done, err := p.change(ctx)
	if err != nil {
		return fmt.Errorf("%s is changed by somebody else: %w", node, err)
	}
	defer done()
	return r.leave(ctx, node, p)
}

// leave does so from where it stands, for who changes p.
func (r *Roster) leave(ctx context.Context, node string, p *place) error {
	s, times := r.get(p)
	if s == out {
		return nil
	}
	if s != left {
		r.set(p, leaving, times)
		if r.bug != bug.WipeRejoin {
			if err := r.client.Remove(ctx, r.member(node, p)); err != nil {
				if client.IsDefinite(err) {
					r.set(p, s, times) // it is what it was
				}
				return fmt.Errorf("%s leaves: %w", node, err)
			}
		}
		r.set(p, left, times)
	}
	if err := r.clear(node); err != nil {
		return fmt.Errorf("%s has left: %w", node, err)
	}
	r.set(p, out, times)
	return nil
}

// Join makes a node that has left a member again; see [cluster.Members]. One that has not
// for certain, or is not wiped, leaves first: whoever began that may have given up, and who
// has it join since it had it leave before does not hear of it.
func (r *Roster) Join(ctx context.Context, node string) error {
	p := r.place(node)
	done, err := p.change(ctx)
	if err != nil {
		return fmt.Errorf("%s is changed by somebody else: %w", node, err)
	}
	defer done()
	s, times := r.get(p)
	if s == in {
		return nil
	}
	if s != joining {
		if err := r.leave(ctx, node, p); err != nil {
			return fmt.Errorf("%s joins: %w", node, err)
		}
		times++
		r.set(p, joining, times)
	}
	if err := r.start(node); err != nil {
		return fmt.Errorf("%s joins: %w", node, err)
	}
	if r.bug != bug.WipeRejoin {
		if err := r.learn(ctx, node, times); err != nil {
			return fmt.Errorf("%s joins: learn: %w", node, err)
		}
		if err := r.client.Promote(ctx, r.member(node, p)); err != nil {
			return fmt.Errorf("%s joins: get a vote: %w", node, err)
		}
	}
	r.set(p, in, times)
	return nil
}

// learn makes a learner of a node that has joined so many times. One that it was before
// may be in the way: a call that had that learn may have come late, when it had been removed.
func (r *Roster) learn(ctx context.Context, node string, times int) error {
	learn := func() error { return r.client.Learn(ctx, name(node, times), r.address(node, times)) }
	err := learn()
	if e, ok := errors.AsType[*client.Error](err); !ok || e.Reason != api.Reason_REASON_INVALID {
		return err
	}
	for n := 1; n < times; n++ {
		if err := r.client.Remove(ctx, name(node, n)); err != nil {
			return err
		}
	}
	return learn()
}

// Transfer makes the leader hand over; see [cluster.Elector].
func (s *System) Transfer(ctx context.Context, to string) error {
	return s.all.Transfer(ctx, to)
}

// Elect makes a node stand for election; see [cluster.Elector].
func (s *System) Elect(ctx context.Context, node string) error { return s.all.Elect(ctx, node) }

// Leave makes a node a member no more; see [cluster.Members].
func (s *System) Leave(ctx context.Context, node string) error { return s.roster.Leave(ctx, node) }

// Join makes a node a member; see [cluster.Members].
func (s *System) Join(ctx context.Context, node string) error { return s.roster.Join(ctx, node) }

// How long a node has that is observed: to be connected to, and to answer. One that
// is well does so in a millisecond.
const (
	observeConnecting = 10 * time.Millisecond
	observeFor        = 100 * time.Millisecond
)

// Observe returns how each node sees the cluster.
func (s *System) Observe(ctx context.Context) (cluster.State, error) {
	asking, cancel := context.WithTimeout(ctx, observeFor)
	defer cancel()
	connecting, cancelConnecting := context.WithTimeout(asking, observeConnecting)
	defer cancelConnecting()
	state := State(s.all.StatusOf(asking, connecting))
	if ctx.Err() != nil {
		return nil, fmt.Errorf("observe: %w", context.Cause(ctx))
	}
	return state, nil
}

// State returns what nodes have said of themselves. A nil status says nothing.
func State(all []*api.StatusResponse) cluster.State {
	state := cluster.State{}
	for _, s := range all {
		role := cluster.Role(s.GetState())
		switch role {
		case cluster.RoleLeader, cluster.RoleFollower, cluster.RoleCandidate, cluster.RoleLearner:
			state[s.Id] = cluster.NodeState{
				Role: role, Term: s.Term, Leader: s.Leader, Commit: s.Commit, Applied: s.Applied, Last: s.LastLog,
				Voters: s.Voters, Learners: s.Learners, Changing: s.Changing,
				Snapshot: s.TakingSnapshot || s.SendingSnapshot || s.InstallingSnapshot,
			}
		}
	}
	return state
}

// Limits are the faults that raftkv does not bear.
var limits = map[string]string{
	"disk:rollback":         "a copy of a disk from before is whole, and nothing on it tells that the node has promised more since",
	"packet:corrupt-silent": "messages between nodes carry no sums of their own",
}

// Limits returns the faults that raftkv does not claim to bear.
func Limits() map[string]string { return maps.Clone(limits) }

// Limits returns the faults that the system does not claim to bear.
func (s *System) Limits() map[string]string { return Limits() }
