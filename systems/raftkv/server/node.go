package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// Deps are the parts of the world that a node stands on. [Run] makes real ones;
// others can run a cluster in memory.
type Deps struct {
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	// Transport carries Raft's own messages. The node closes it.
	Transport Transport
	// Peer returns the connection to another node, for forwarding. It stays the
	// caller's, who keeps it open.
	Peer func(id string) (api.Conn, error)
	Log  hclog.Logger
	// WallClock tells the time of day, which jumps, for those who rely on it: a bug
	// does. If it is nil it is the machine's.
	WallClock func() time.Time
}

// A Node is one server of the cluster. Its methods are those of [api.RaftKVServer].
type Node struct {
	api.UnimplementedRaftKVServer

	config    Config
	id        raft.ServerID // among the members
	machine   *machine
	snapshots *watched
	transport *transport
	raft      *raft.Raft
	peer      func(id string) (api.Conn, error)
	logs      raft.LogStore
	reads     barrier
	readLease readLease
	// changes is held by a change of members.
	changes chan struct{}
	// elected has news of who leads.
	elected news
	// begun is what the node's clock is reckoned from: see [Node.enqueue].
	begun     time.Time
	proposals proposals
	// heldBack are for bugs of leases.
	heldBack heldBack
	// life ends when the node closes, and with it running: what the node does by
	// itself.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	// stopping is closed, with mu held, when the node begins to close.
	mu       sync.Mutex
	stopping chan struct{}
	// pending counts entries on their way through the log. Raft forgets some of
	// them when it is shut down, so nobody may wait for any then.
	pending sync.WaitGroup
}

var _ api.RaftKVServer = (*Node)(nil)

// NewNode starts a node. If it has no state, it is to begin the cluster together with
// its peers, who all begin with the same configuration, so it does not matter who is
// first; or it waits until it is made a member: see [Config.Empty].
func NewNode(c Config, d Deps) (*Node, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	snapshots, stopping := &watched{SnapshotStore: d.Snapshots}, make(chan struct{})
	n := &Node{
		config: c, id: raft.ServerID(c.Member), machine: newMachine(maxSessions, c.machine()), snapshots: snapshots,
		transport: newTransport(d.Transport, stopping), peer: d.Peer, logs: d.Logs,
		changes: make(chan struct{}, 1), begun: time.Now(), stopping: stopping,
	}
	if n.readLease.now = d.WallClock; d.WallClock == nil {
		n.readLease.now = wallClock
	}
	n.readLease.lasts = time.Duration(c.Heartbeat)
	n.machine.log = d.Logs
	rc := n.raftConfig(d.Log)
	known, err := raft.HasExistingState(d.Logs, d.Stable, snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for state: %w", err)
	}
	switch {
	case known && c.Bug == bug.SplitBrainBootstrap:
		err = n.beginAlone(rc, d)
	case known || c.Empty == EmptyJoins:
	case c.Empty == EmptyFounds:
		err = raft.BootstrapCluster(rc, d.Logs, d.Stable, snapshots, n.transport, c.founders())
	default:
		err = errors.New("the disk is empty: what the node has promised is lost, so it can only join as a new member")
	}
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	if err := finishReplacing(d.Logs, snapshots); err != nil {
		return nil, err
	}
	n.life, n.end = context.WithCancel(context.Background())
	n.reads.pass = n.pass
	if n.raft, err = raft.NewRaft(rc, n.machine, d.Logs, d.Stable, snapshots, n.transport); err != nil {
		n.end()
		return nil, fmt.Errorf("start raft: %w", err)
	}
	n.followElections()
	n.running.Go(n.lookAfterLeases)
	return n, nil
}

// machine is how the state is to behave; the same on every node.
func (c Config) machine() mvcc.Options { return mvcc.Options{Keep: c.KeepRevisions, Bug: c.Bug} }

// raftConfig is how Raft is to behave.
func (n *Node) raftConfig(log hclog.Logger) *raft.Config {
	c, rc := n.config, raft.DefaultConfig()
	rc.LocalID = n.id
	rc.Logger = log
	rc.HeartbeatTimeout = time.Duration(c.Heartbeat)
	rc.ElectionTimeout = time.Duration(c.Election)
	rc.LeaderLeaseTimeout = time.Duration(c.Lease)
	rc.SnapshotInterval = time.Duration(c.SnapshotInterval)
	rc.SnapshotThreshold = c.SnapshotThreshold
	rc.TrailingLogs = c.TrailingLogs
	rc.BatchApplyCh = true // those that come while the disk is busy are written together
	rc.NoLegacyTelemetry = true
	rc.ShutdownOnRemove = false // it can still say how it is
	return rc
}

// followElections tells those who wait for a leader when there may be one.
func (n *Node) followElections() {
	seen := make(chan raft.Observation, 16) // one alone would do: they say "look again"
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	n.raft.RegisterObserver(observer)
	n.running.Go(func() {
		defer n.raft.DeregisterObserver(observer)
		for {
			select {
			case <-seen:
				n.elected.tell()
			case <-n.life.Done():
				return
			}
		}
	})
}

// Close stops the node. What is on its way through the log is waited for: it is
// committed soon, or the node finds that it leads no more.
func (n *Node) Close() error {
	n.mu.Lock()
	close(n.stopping)
	n.mu.Unlock()
	n.pending.Wait()
	n.end()
	n.running.Wait()
	if err := n.raft.Shutdown().Error(); err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	return nil
}

// propose makes a command go through the log, and returns what became of it; nil is one
// without effect. Only a leader can. That it was refused is an error.
func (n *Node) propose(ctx context.Context, c *stored.Command) (*stored.Outcome, error) {
	if err := n.hold(); err != nil {
		return nil, err
	}
	p := &proposal{command: c, until: time.Now().Add(timeLeft(ctx)), done: make(chan struct{})}
	var early chan *stored.Outcome
	if n.config.Bug == bug.AckBeforeCommit {
		early = make(chan *stored.Outcome, 1) // nobody may be there to take it
		n.running.Go(func() {
			if out := n.heldHere(c, p.done); out != nil {
				early <- out
			}
		})
	}
	n.submit(p)
	out, err := (*stored.Outcome)(nil), error(nil)
	select {
	case <-p.done:
		out, err = p.outcome, p.err
	case out = <-early:
	case <-ctx.Done():
		err = api.Indeterminate(api.Reason_REASON_DEADLINE, "wait for a majority: %w", context.Cause(ctx))
	}
	if err == nil && out.Refused != api.Reason_REASON_UNSPECIFIED {
		err = refusal(c, out)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// refusal is the error of a command that was none.
func refusal(c *stored.Command, out *stored.Outcome) *api.Error {
	switch out.Refused {
	case api.Reason_REASON_SESSION_EXPIRED:
		return api.Definite(out.Refused, "session %d is not known", c.GetSession())
	case api.Reason_REASON_SUPERSEDED:
		return api.Definite(out.Refused, "write %d of session %d comes after a later one", c.GetNumber(), c.GetSession())
	case api.Reason_REASON_LEASE_EXPIRED:
		return api.Definite(out.Refused, "there is no such lease, or no more")
	case api.Reason_REASON_NOT_YET:
		return api.Definite(out.Refused, "revision %d is yet to come: the latest is %d", c.GetCompact().GetRevision(), out.Revision)
	}
	if g := c.GetGrantLease(); g != nil {
		return api.Definite(out.Refused, "a lease cannot last %d ms: at least one, and less than 285 years", g.GetTtlMs())
	}
	return api.Definite(out.Refused, "refused: %s", out.Refused.Text())
}

var errStopping = api.Definite(api.Reason_REASON_SHUTDOWN, "the node is stopping")

// hold makes the node wait with its closing until pending is done once more.
func (n *Node) hold() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.stopping:
		return errStopping
	default:
		n.pending.Add(1)
		return nil
	}
}

// timeLeft is how long an entry may wait to be taken.
func timeLeft(ctx context.Context) time.Duration {
	const most = 5 * time.Second
	deadline, ok := ctx.Deadline()
	if !ok {
		return most
	}
	return min(max(time.Until(deadline), time.Millisecond), most)
}

// pass returns when this node may answer reads, and where its state stood then: see
// [barrier].
func (n *Node) pass(ctx context.Context) (position, error) {
	commit := n.raft.CommitIndex()
	if term, leads := n.leads(); leads {
		if at := n.machine.applied(); at.term == term && n.followed(ctx, at) {
			if at := n.machine.applied(); at.index >= commit {
				return at, nil
			}
		}
	}
	return n.entry(ctx)
}

// entry makes an entry without effect go through the log, and returns where it stands.
func (n *Node) entry(ctx context.Context) (position, error) {
	out, err := n.propose(ctx, nil)
	if err != nil {
		return position{}, err
	}
	return position{out.Index, out.Term}, nil
}

// leads returns the term that the node is in, and whether it leads in it. Raft stops
// leading before it goes on to another term, so who leads between two looks at the term
// that are the same leads in that.
func (n *Node) leads() (term uint64, leads bool) {
	term = n.raft.CurrentTerm()
	return term, n.raft.State() == raft.Leader && n.raft.CurrentTerm() == term
}

// followed says whether a majority of those who vote follow this node, which leads in the
// term of at: they answer heartbeats that are sent after the call, and their logs are not
// short of at. It gives up as soon as a majority cannot be had, or the node leads no more.
func (n *Node) followed(ctx context.Context, at position) bool {
	all, err := n.membership()
	if err != nil {
		return false
	}
	over := make(chan struct{})
	defer close(over)
	answers := make(chan bool, len(all)) // nobody may be there to take them
	voters, follow, not := 0, 0, 0
	for _, s := range all {
		switch {
		case s.Suffrage != raft.Voter:
			continue
		case s.ID == n.id:
			follow++
		case n.hold() == nil:
			go func() {
				defer n.pending.Done()
				answers <- n.transport.followed(s, n.header(), at, over)
			}()
		default:
			not++
		}
		voters++
	}
	for {
		news := n.elected.next()
		// Before any majority is one: if the node leads no more the members may be those of
		// who led later, and what it says for itself of a term that is over.
		if term, leads := n.leads(); !leads || term != at.term || 2*(voters-not) <= voters {
			return false
		}
		if 2*follow > voters {
			return true
		}
		select {
		case yes := <-answers:
			if yes {
				follow++
			} else {
				not++
			}
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// header is that of messages which the node itself sends.
func (n *Node) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.id), Addr: n.transport.EncodePeer(n.id, n.transport.LocalAddr()),
	}
}

// leader returns the leader that the node knows of, or "", and a channel that is
// closed when there is news of one.
func (n *Node) leader() (string, <-chan struct{}) {
	news := n.elected.next()
	_, id := n.raft.LeaderWithID()
	return nodeOf(id), news
}

// atLeader performs an operation at the leader: here, or by a call to it. In
// between it waits, since there may be no leader for a time, and the one a node
// knows of may not know it yet. It tries again only what certainly did not take
// place; and stops so early that its refusal reaches the caller in time, who then
// knows that nothing happened.
func atLeader[Out any](
	ctx context.Context, n *Node, route *api.Route,
	here func(context.Context) (Out, error),
	there func(context.Context, api.RaftKVClient) (Out, error),
) (Out, error) {
	var none Out
	patience, cancel := context.WithDeadline(ctx, n.patience(ctx))
	defer cancel()
	last := api.Definite(api.Reason_REASON_NO_LEADER, "%s knows no leader", n.config.ID)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		leader, news := n.leader()
		switch {
		case leader == n.config.ID:
			out, err := here(ctx)
			if err == nil {
				return out, nil
			}
			last = n.hinted(err)
		case leader == "":
			pause = longestPause // news will come
		case route.GetRedirect() || route.GetForwarded():
			return none, &api.Error{
				Definite: true, Reason: api.Reason_REASON_NOT_LEADER, Leader: leader,
				Err: fmt.Errorf("%s does not lead, %s does", n.config.ID, leader),
			}
		default:
			out, err := forward(ctx, patience, n, leader, there)
			if err == nil {
				return out, nil
			}
			last = err
		}
		if !elsewhere(last) || (route.GetForwarded() && leader != "") {
			return none, last
		}
		timer := time.NewTimer(pause)
		select {
		case <-news:
		case <-timer.C:
		case <-patience.Done():
		case <-n.life.Done():
		}
		timer.Stop()
		if patience.Err() != nil || n.life.Err() != nil {
			return none, last
		}
	}
}

// Pauses between attempts: short while a call may just have met a leader that is
// about to be one.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 100 * time.Millisecond
)

// patience is when the node gives up looking for a leader: at three quarters of
// the caller's time.
func (n *Node) patience(ctx context.Context) time.Time {
	now := time.Now()
	until := now.Add(time.Duration(n.config.Patience))
	if deadline, ok := ctx.Deadline(); ok {
		until = minTime(until, now.Add(deadline.Sub(now)*3/4))
	}
	return until
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hinted adds to an error the leader that the node knows of, if it is another.
func (n *Node) hinted(err error) *api.Error {
	e := *classify(err)
	if leader, _ := n.leader(); leader != n.config.ID {
		e.Leader = leader
	}
	return &e
}

// forward performs an operation by a call to the leader. That a connection to it
// is made is waited for with patience only; the answer, once the call is sent, as
// long as the caller waits.
func forward[Out any](
	ctx, patience context.Context, n *Node, leader string,
	call func(context.Context, api.RaftKVClient) (Out, error),
) (out Out, failed *api.Error) {
	conn, err := n.peer(leader)
	if err != nil {
		return out, api.Definite(api.Reason_REASON_NOT_SENT, "forward to %s: %w", leader, err)
	}
	if err := conn.Ready(patience); err != nil {
		return out, api.Understand(err)
	}
	out, err = call(ctx, api.NewRaftKVClient(conn))
	if err == nil {
		return out, nil
	}
	e := *api.Understand(err)
	if e.Reason == api.Reason_REASON_UNSPECIFIED && !e.Definite {
		e.Reason = api.Reason_REASON_FORWARDING_LOST
	}
	e.Err = fmt.Errorf("forward to %s: %w", leader, e.Err)
	return out, &e
}

// passedOn is the route of a call that a node forwards.
var passedOn = &api.Route{Forwarded: true}

func (n *Node) stamp(at position) *api.Stamp {
	return &api.Stamp{Node: n.config.ID, Term: at.term, Index: at.index}
}

func (n *Node) stampOf(out *stored.Outcome) *api.Stamp {
	return n.stamp(position{out.Index, out.Term})
}
