package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
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
	transport Transport
	raft      *raft.Raft
	peer      func(id string) (api.Conn, error)
	logs      raft.LogStore
	reads     barrier
	lease     lease
	changes   chan struct{} // held by a change of members
	// life ends when the node closes, and with it running: what the node does by
	// itself.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	closing bool
	// pending counts entries on their way through the log. Raft forgets some of
	// them when it is shut down, so nobody may wait for any then.
	pending sync.WaitGroup
	// elected is closed, and made anew, when the node learns of a leader.
	elected chan struct{}
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
	snapshots := &watched{SnapshotStore: d.Snapshots}
	n := &Node{
		config: c, id: raft.ServerID(c.Member), machine: newMachine(maxSessions), snapshots: snapshots,
		transport: inOrder{d.Transport}, peer: d.Peer, logs: d.Logs,
		changes: make(chan struct{}, 1), elected: make(chan struct{}),
	}
	if n.lease.now = d.WallClock; d.WallClock == nil {
		n.lease.now = wallClock
	}
	n.machine.log, n.machine.dropKeys = d.Logs, c.Bug == SnapshotDropsKeys
	rc := n.raftConfig(d.Log)
	known, err := raft.HasExistingState(d.Logs, d.Stable, snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for state: %w", err)
	}
	switch {
	case known && c.Bug == SplitBrainBootstrap:
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
	n.watch()
	return n, nil
}

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
	rc.NoLegacyTelemetry = true
	rc.ShutdownOnRemove = false // it can still say how it is
	return rc
}

// watch tells those who wait for a leader when there may be one.
func (n *Node) watch() {
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
				n.mu.Lock()
				close(n.elected)
				n.elected = make(chan struct{})
				n.mu.Unlock()
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
	n.closing = true
	n.mu.Unlock()
	n.pending.Wait()
	n.end()
	n.running.Wait()
	if err := n.raft.Shutdown().Error(); err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	return nil
}

// propose makes an entry go through the log, and returns what the machine said of
// it. Only a leader can. If early is not nil it is the answer as soon as the leader
// has taken the entry: a bug.
func (n *Node) propose(ctx context.Context, data []byte, early any) (any, error) {
	if err := n.hold(); err != nil {
		return nil, err
	}
	type result struct {
		said any
		err  error
	}
	results := make(chan result, 2) // nobody may be there to take them
	go func() {
		defer n.pending.Done()
		future := n.raft.Apply(data, timeLeft(ctx))
		if early != nil && n.raft.State() == raft.Leader {
			results <- result{early, nil}
		}
		if err := future.Error(); err != nil {
			results <- result{nil, classify(err)}
			return
		}
		results <- result{future.Response(), nil}
	}()
	select {
	case r := <-results:
		if refused, ok := r.said.(*api.Error); ok {
			return nil, refused
		}
		return r.said, r.err
	case <-ctx.Done():
		return nil, api.Indeterminate(api.Reason_REASON_DEADLINE, "wait for a majority: %w", context.Cause(ctx))
	}
}

// hold makes the node wait with its closing until pending is done once more.
func (n *Node) hold() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return api.Definite(api.Reason_REASON_SHUTDOWN, "the node is stopping")
	}
	n.pending.Add(1)
	return nil
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

// pass makes an entry without effect go through the log.
func (n *Node) pass(ctx context.Context) (position, error) {
	said, err := n.propose(ctx, nil, nil)
	if err != nil {
		return position{}, err
	}
	return said.(position), nil
}

// leader returns the leader that the node knows of, or "", and a channel that is
// closed when there is news of one.
func (n *Node) leader() (string, <-chan struct{}) {
	n.mu.Lock()
	news := n.elected // before looking, so that none is missed
	n.mu.Unlock()
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

// Get reads a key.
func (n *Node) Get(ctx context.Context, in *api.GetRequest) (*api.GetResponse, error) {
	if err := checkKey(in.GetKey()); err != nil {
		return nil, err
	}
	if n.config.Bug == StaleRead {
		index, term := n.machine.applied()
		return n.read(in.GetKey(), position{index, term}), nil
	}
	if n.config.Bug == LeaseRead && n.lease.holds() {
		index, term := n.machine.applied()
		return n.read(in.GetKey(), position{index, term}), nil
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.GetResponse, error) {
			begun := n.lease.now()
			at, err := n.reads.wait(ctx, n.life)
			if err == nil {
				n.lease.extend(begun, time.Duration(n.config.Heartbeat))
			}
			if err != nil {
				// What became of the entry that it waited for is nothing to a read:
				// it gave no answer, so it did not take place.
				e := *classify(err)
				e.Definite = true
				return nil, &e
			}
			return n.read(in.GetKey(), at), nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.GetResponse, error) {
			return leader.Get(ctx, &api.GetRequest{Route: passedOn, Key: in.GetKey()})
		})
}

// read answers from this node's state.
func (n *Node) read(key string, at position) *api.GetResponse {
	e, found := n.machine.get(key)
	return &api.GetResponse{Found: found, Value: e.value, Revision: e.revision, Stamp: n.stamp(at)}
}

func (n *Node) stamp(at position) *api.Stamp {
	return &api.Stamp{Node: n.config.ID, Term: at.term, Index: at.index}
}

// Put sets a key.
func (n *Node) Put(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
	if err := checkWrite(in.GetKey(), in.GetValue(), in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.PutResponse, error) {
			out, err := n.change(ctx, in.GetWrite(), &stored.Change{Key: in.GetKey(), Value: in.GetValue()})
			if err != nil {
				return nil, err
			}
			return &api.PutResponse{Revision: out.Revision, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.PutResponse, error) {
			return leader.Put(ctx, &api.PutRequest{Route: passedOn, Write: in.GetWrite(), Key: in.GetKey(), Value: in.GetValue()})
		})
}

// Delete removes a key.
func (n *Node) Delete(ctx context.Context, in *api.DeleteRequest) (*api.DeleteResponse, error) {
	if err := checkWrite(in.GetKey(), nil, in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.DeleteResponse, error) {
			out, err := n.change(ctx, in.GetWrite(), &stored.Change{Key: in.GetKey(), Delete: true})
			if err != nil {
				return nil, err
			}
			return &api.DeleteResponse{Found: out.Found, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.DeleteResponse, error) {
			return leader.Delete(ctx, &api.DeleteRequest{Route: passedOn, Write: in.GetWrite(), Key: in.GetKey()})
		})
}

// CAS sets or removes a key that is as expected.
func (n *Node) CAS(ctx context.Context, in *api.CASRequest) (*api.CASResponse, error) {
	if err := checkWrite(in.GetKey(), in.GetValue(), in.GetWrite()); err != nil {
		return nil, err
	}
	expect := in.GetExpect()
	if expect == nil || (expect.Value == nil && expect.Revision == nil) {
		return nil, api.Definite(api.Reason_REASON_INVALID, "cas expects nothing")
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.CASResponse, error) {
			out, err := n.change(ctx, in.GetWrite(), &stored.Change{
				Key: in.GetKey(), Value: in.GetValue(), Delete: in.GetDelete(),
				ExpectValue: expect.Value, ExpectRevision: expect.Revision,
			})
			if err != nil {
				return nil, err
			}
			return &api.CASResponse{
				Swapped: out.Done, Revision: out.Revision, Found: out.Found, Value: out.Value, Stamp: n.stampOf(out),
			}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.CASResponse, error) {
			return leader.CAS(ctx, &api.CASRequest{
				Route: passedOn, Write: in.GetWrite(), Key: in.GetKey(), Expect: expect, Value: in.GetValue(), Delete: in.GetDelete(),
			})
		})
}

// OpenSession begins a session.
func (n *Node) OpenSession(ctx context.Context, in *api.OpenSessionRequest) (*api.OpenSessionResponse, error) {
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.OpenSessionResponse, error) {
			said, err := n.command(ctx, &stored.Command{
				Command: &stored.Command_OpenSession{OpenSession: &stored.OpenSession{}},
			}, nil)
			if err != nil {
				return nil, err
			}
			at := said.(position)
			return &api.OpenSessionResponse{Session: at.index, Stamp: n.stamp(at)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.OpenSessionResponse, error) {
			return leader.OpenSession(ctx, &api.OpenSessionRequest{Route: passedOn})
		})
}

// Status says how the node sees itself and its cluster.
func (n *Node) Status(context.Context, *api.StatusRequest) (*api.StatusResponse, error) {
	applied, _ := n.machine.applied()
	leader, _ := n.leader()
	// The term is read first: if the node is deposed in between it does not claim
	// to lead the term of another. And what is agreed on before the members, so that
	// those are not taken to be that come in between.
	term, commit := n.raft.CurrentTerm(), n.raft.CommitIndex()
	state := n.raft.State()
	all, err := n.membership()
	if err != nil {
		return nil, classify(err)
	}
	out := &api.StatusResponse{
		Id:       n.config.ID,
		State:    strings.ToLower(state.String()),
		Term:     term,
		Leader:   leader,
		Applied:  applied,
		Commit:   commit,
		LastLog:  n.raft.LastIndex(),
		Member:   string(n.id),
		Changing: n.changing(commit),
	}
	if state == raft.Follower && !n.votes(all) {
		out.State = "learner"
	}
	for _, s := range all {
		if s.Suffrage == raft.Voter {
			out.Voters = append(out.Voters, nodeOf(s.ID))
		} else {
			out.Learners = append(out.Learners, nodeOf(s.ID))
		}
	}
	writing, reading := n.snapshots.now()
	taking, restoring := n.machine.taking.Load(), n.machine.restoring.Load()
	out.TakingSnapshot = taking > 0
	out.InstallingSnapshot = writing > taking || restoring > 0
	out.SendingSnapshot = reading > restoring
	return out, nil
}

// change makes a change, within the session of w if there is one.
func (n *Node) change(ctx context.Context, w *api.Write, c *stored.Change) (*stored.Outcome, error) {
	c.Session, c.Number = w.GetSession(), w.GetNumber()
	var early any
	if n.config.Bug == AckBeforeCommit && c.ExpectValue == nil && c.ExpectRevision == nil {
		early = &stored.Outcome{Done: true, Term: n.raft.CurrentTerm()}
	}
	said, err := n.command(ctx, &stored.Command{Command: &stored.Command_Change{Change: c}}, early)
	if err != nil {
		return nil, err
	}
	return said.(*stored.Outcome), nil
}

func (n *Node) command(ctx context.Context, c *stored.Command, early any) (any, error) {
	data, err := proto.Marshal(c)
	if err != nil {
		return nil, api.Definite(api.Reason_REASON_INVALID, "encode command: %w", err)
	}
	return n.propose(ctx, data, early)
}

func (n *Node) stampOf(out *stored.Outcome) *api.Stamp {
	return n.stamp(position{out.Index, out.Term})
}

// Keys and values are small: a whole state is held in memory and copied to nodes
// that fell behind.
const (
	longestKey   = 1 << 10
	longestValue = 1 << 20
)

func checkKey(key string) error {
	if len(key) == 0 || len(key) > longestKey {
		return api.Definite(api.Reason_REASON_INVALID, "a key has 1 to %d bytes, not %d", longestKey, len(key))
	}
	return nil
}

func checkWrite(key string, value []byte, w *api.Write) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) > longestValue {
		return api.Definite(api.Reason_REASON_INVALID, "a value has up to %d bytes, not %d", longestValue, len(value))
	}
	if w != nil && (w.Session == 0 || w.Number == 0) {
		return api.Definite(api.Reason_REASON_INVALID, "session and number of a write count from 1")
	}
	return nil
}
