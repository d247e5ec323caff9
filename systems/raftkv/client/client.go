// Package client talks to raftkv.
//
// A [Client] that is given one node is bound to it: the node asks the leader on
// its behalf. One that is given several looks for the leader and asks it, or has
// another node ask if it does not reach it itself. Either tries again while there
// is time: writes are numbered within a session, so that one that is sent again
// happens once. Errors say exactly whether the operation can have taken place.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A Node is a server of the cluster.
type Node struct {
	Name string // as the servers call it
	Addr string // where clients reach it
}

// A Client performs operations on one cluster. It is safe for concurrent use;
// writes wait for each other.
type Client struct {
	nodes []Node
	conns []api.Conn

	mu sync.Mutex
	at int // the node asked next: while all is well, the leader
	// detour is until when the nodes are asked to pass calls on, instead of naming
	// the leader: it may be one that they reach and this client does not.
	detour time.Time

	// write is held by the write in progress. It guards the session.
	write   chan struct{}
	session uint64 // 0: none is open
	number  uint64 // of the last write
}

// New returns a client of the nodes, bound if it is one. It begins with the first.
func New(nodes []Node) (*Client, error) {
	return NewWith(nodes, func(n Node) (api.Conn, error) { return api.Dial(n.Addr) })
}

// NewWith is New with connections of the caller's choice. The client closes them.
func NewWith(nodes []Node, dial func(Node) (api.Conn, error)) (*Client, error) {
	if len(nodes) == 0 {
		return nil, errors.New("a client needs a node")
	}
	c := &Client{nodes: nodes, write: make(chan struct{}, 1)}
	for _, n := range nodes {
		conn, err := dial(n)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

// Close closes the connections. Operations that are under way end.
func (c *Client) Close() error {
	var err error
	for _, conn := range c.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// A Result is what the cluster said.
type Result struct {
	// Found, Value and Revision are what the key holds, or held: a read's answer,
	// and what a CAS found that was not swapped. Revision is also that of a change
	// that was made.
	Found    bool
	Value    []byte
	Revision uint64
	// Swapped says that a CAS was made.
	Swapped bool
	// Node is the node that was asked last.
	Node string
	// Term and Index say where in the log the operation stood.
	Term, Index uint64
}

// An Error is the error of an operation.
type Error struct {
	// Definite says that the operation did not take place and never will.
	Definite bool
	Reason   api.Reason
	// Node is the node that was asked last, if one was.
	Node string
	Err  error
}

func (e *Error) Error() string {
	if e.Node == "" {
		return e.Err.Error()
	}
	return e.Node + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// IsDefinite says whether an operation that ended in err did not take place and
// never will.
func IsDefinite(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Definite
}

// An Expectation is of what a key holds.
type Expectation struct{ e *api.Expectation }

// Holds expects a value.
func Holds(value []byte) Expectation {
	return Expectation{&api.Expectation{Value: append([]byte{}, value...)}}
}

// Absent expects that the key is not there.
func Absent() Expectation { return At(0) }

// At expects that the key's last change is that of the given revision.
func At(revision uint64) Expectation { return Expectation{&api.Expectation{Revision: &revision}} }

// Get reads a key. Its errors are definite: a read that was not answered changed
// nothing, wherever it got to.
func (c *Client) Get(ctx context.Context, key string) (Result, error) {
	var r Result
	node, err := c.try(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		out, err := kv.Get(ctx, &api.GetRequest{Route: route, Key: key})
		if err == nil {
			r = Result{Found: out.Found, Value: out.Value, Revision: out.Revision}
			r.stamp(out.Stamp)
		}
		return err
	})
	r.Node = node
	if err != nil {
		err.Definite = true
		return r, err
	}
	return r, nil
}

// Put sets a key.
func (c *Client) Put(ctx context.Context, key string, value []byte) (Result, error) {
	return c.change(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (r Result, err error) {
		out, err := kv.Put(ctx, &api.PutRequest{Route: route, Write: w, Key: key, Value: value})
		if err == nil {
			r = Result{Revision: out.Revision}
			r.stamp(out.Stamp)
		}
		return r, err
	})
}

// Delete removes a key; Found says whether it was there.
func (c *Client) Delete(ctx context.Context, key string) (Result, error) {
	return c.change(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (r Result, err error) {
		out, err := kv.Delete(ctx, &api.DeleteRequest{Route: route, Write: w, Key: key})
		if err == nil {
			r = Result{Found: out.Found}
			r.stamp(out.Stamp)
		}
		return r, err
	})
}

// CAS sets a key if it is as expected. That it is not is no error: see Swapped.
func (c *Client) CAS(ctx context.Context, key string, expect Expectation, value []byte) (Result, error) {
	return c.cas(ctx, &api.CASRequest{Key: key, Expect: expect.e, Value: value})
}

// CompareAndDelete removes a key if it is as expected.
func (c *Client) CompareAndDelete(ctx context.Context, key string, expect Expectation) (Result, error) {
	return c.cas(ctx, &api.CASRequest{Key: key, Expect: expect.e, Delete: true})
}

func (c *Client) cas(ctx context.Context, in *api.CASRequest) (Result, error) {
	return c.change(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (r Result, err error) {
		out, err := kv.CAS(ctx, &api.CASRequest{
			Route: route, Write: w, Key: in.Key, Expect: in.Expect, Value: in.Value, Delete: in.Delete,
		})
		if err == nil {
			r = Result{Swapped: out.Swapped, Found: out.Found, Value: out.Value, Revision: out.Revision}
			r.stamp(out.Stamp)
		}
		return r, err
	})
}

// Status asks every node how it sees itself; what a node did not answer in time is
// nil. The order is that of the client's nodes.
func (c *Client) Status(ctx context.Context) []*api.StatusResponse {
	return c.StatusOf(ctx, ctx)
}

// StatusOf is Status with a time of its own for there to be a connection: who cannot
// be reached is not worth waiting for.
func (c *Client) StatusOf(ctx, connecting context.Context) []*api.StatusResponse {
	all := make([]*api.StatusResponse, len(c.nodes))
	var wg sync.WaitGroup
	for i, conn := range c.conns {
		wg.Go(func() {
			if conn.Ready(connecting) != nil {
				return
			}
			if s, err := api.NewRaftKVClient(conn).Status(ctx, &api.StatusRequest{}); err == nil {
				all[i] = s
			}
		})
	}
	wg.Wait()
	return all
}

// Learn makes a node follow without a vote, as the member of that name.
func (c *Client) Learn(ctx context.Context, member, addr string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_LEARN, Member: member, Address: addr})
}

// Promote gives a member that learns a vote, when it has caught up.
func (c *Client) Promote(ctx context.Context, member string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_PROMOTE, Member: member})
}

// Remove makes a member none.
func (c *Client) Remove(ctx context.Context, member string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_REMOVE, Member: member})
}

// changeMember makes a change that is the same if it is made twice.
func (c *Client) changeMember(ctx context.Context, in *api.ChangeMemberRequest) error {
	_, err := c.try(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		in := &api.ChangeMemberRequest{Route: route, Change: in.Change, Member: in.Member, Address: in.Address}
		_, err := kv.ChangeMember(ctx, in)
		return err
	})
	return orNil(err)
}

// Transfer makes the leader hand over to a node; or, if that is empty, to whom it
// likes, once at least.
func (c *Client) Transfer(ctx context.Context, to string) error {
	_, err := c.try(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		_, err := kv.TransferLeadership(ctx, &api.TransferLeadershipRequest{Route: route, To: to})
		return err
	})
	return orNil(err)
}

// Elect makes one of the client's nodes stand for election.
func (c *Client) Elect(ctx context.Context, node string) error {
	for i, n := range c.nodes {
		if n.Name != node {
			continue
		}
		err := c.conns[i].Ready(ctx)
		if err == nil {
			_, err = api.NewRaftKVClient(c.conns[i]).StandForElection(ctx, &api.StandForElectionRequest{})
		}
		if err == nil {
			return nil
		}
		e := api.Understand(err)
		return &Error{Definite: e.Definite, Reason: e.Reason, Node: node, Err: e.Err}
	}
	return fmt.Errorf("there is no node %q", node)
}

func orNil(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}

func (r *Result) stamp(s *api.Stamp) { r.Term, r.Index = s.GetTerm(), s.GetIndex() }

// change makes one numbered write.
func (c *Client) change(
	ctx context.Context,
	call func(context.Context, api.RaftKVClient, *api.Route, *api.Write) (Result, error),
) (Result, error) {
	select {
	case c.write <- struct{}{}:
		defer func() { <-c.write }()
	case <-ctx.Done():
		return Result{}, &Error{Definite: true, Reason: api.Reason_REASON_DEADLINE, Err: fmt.Errorf("wait for the write before: %w", context.Cause(ctx))}
	}
	var r Result
	for {
		if c.session == 0 {
			if node, err := c.open(ctx); err != nil {
				return Result{Node: node}, err
			}
		}
		c.number++
		w := &api.Write{Session: c.session, Number: c.number}
		node, err := c.try(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
			var err error
			r, err = call(ctx, kv, route, w)
			return err
		})
		r.Node = node
		if err == nil {
			return r, nil
		}
		if err.Reason == api.Reason_REASON_SESSION_EXPIRED {
			c.session = 0
			if err.Definite && ctx.Err() == nil {
				continue // in a new session: in the old one it never happened
			}
		}
		return r, err
	}
}

// open opens a session. Whatever becomes of that, the write that it is for was not
// sent: every error is definite for it.
func (c *Client) open(ctx context.Context) (node string, failed *Error) {
	node, err := c.try(ctx, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		out, err := kv.OpenSession(ctx, &api.OpenSessionRequest{Route: route})
		if err == nil {
			c.session, c.number = out.Session, 0
		}
		return err
	})
	if err != nil {
		err.Definite, err.Err = true, fmt.Errorf("open session: %w", err.Err)
	}
	return node, err
}

// try calls until a call is answered, is refused for good, or time is up. It asks
// the node it knows to lead; or each in turn. The error is definite only if that of
// every attempt was. So whatever is tried must be such that several attempts are
// one: a read, or a numbered write.
func (c *Client) try(
	ctx context.Context,
	call func(context.Context, api.RaftKVClient, *api.Route) error,
) (node string, failed *Error) {
	var doubt *Error // the first attempt that may have made it take place
	hops := 0        // redirections in a row
	for pause := firstPause; ; {
		at := c.current()
		e, silent := c.once(ctx, at, call)
		node = c.nodes[at].Name
		if e == nil {
			return node, nil
		}
		failed = &Error{Definite: e.Definite, Reason: e.Reason, Node: node, Err: e.Err}
		switch {
		case doubt != nil:
			failed.Definite, failed.Err = false, fmt.Errorf("%w (and before that, %w)", e.Err, doubt)
		case !e.Definite:
			doubt = failed
		}
		if final(e) || ctx.Err() != nil {
			return node, failed
		}
		if silent {
			c.beginDetour()
		}
		if c.turn(at, e.Leader) && hops < len(c.nodes) {
			hops++
			continue // it is told where to go, so there is nothing to wait for
		}
		hops = 0
		if !wait(ctx, pause) {
			return node, failed
		}
		pause = min(2*pause, longestPause)
	}
}

// Pauses between attempts.
const (
	firstPause   = 10 * time.Millisecond
	longestPause = 160 * time.Millisecond
)

// wait pauses, if there is time for more than that.
func wait(ctx context.Context, pause time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
		// Too late for another attempt. To return at once would make whoever asks
		// again and again do so without pause while nothing works.
		<-ctx.Done()
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// final says that to try again is of no use.
func final(e *api.Error) bool {
	switch e.Reason {
	case api.Reason_REASON_INVALID, api.Reason_REASON_SESSION_EXPIRED, api.Reason_REASON_SUPERSEDED:
		return true
	}
	return false
}

// once calls one node, once. Silent says that there was no word from it.
func (c *Client) once(
	ctx context.Context, at int,
	call func(context.Context, api.RaftKVClient, *api.Route) error,
) (failed *api.Error, silent bool) {
	conn := c.conns[at]
	connect := share(ctx)
	if c.seeking() {
		// A node that does not answer must leave time to ask another.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share(ctx))
		defer cancel()
		connect = min(connect, connectAtMost)
	}
	connecting, cancel := context.WithTimeout(ctx, connect)
	defer cancel()
	if err := conn.Ready(connecting); err != nil {
		return api.Understand(err), true
	}
	route := &api.Route{Redirect: c.seeking() && !c.onDetour()}
	err := call(ctx, api.NewRaftKVClient(conn), route)
	return api.Understand(err), ctx.Err() != nil
}

// connectAtMost is how long one who may ask other nodes waits for a connection.
const connectAtMost = 200 * time.Millisecond

// share is how much of the time left one step may take.
func share(ctx context.Context) time.Duration {
	const most, least = time.Second, 20 * time.Millisecond
	deadline, ok := ctx.Deadline()
	if !ok {
		return most
	}
	return min(most, max(least, time.Until(deadline)/2))
}

// seeking says that the client knows several nodes.
func (c *Client) seeking() bool { return len(c.nodes) > 1 }

// detourFor is after what time the client tries again to reach the leader itself.
const detourFor = 2 * time.Second

func (c *Client) beginDetour() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detour = time.Now().Add(detourFor)
}

func (c *Client) onDetour() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.detour)
}

func (c *Client) current() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// turn makes the client ask another node than the one at: the leader if it is
// named, else the next. It says whether that was named.
func (c *Client) turn(at int, leader string) (told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seeking() {
		return false
	}
	for i, n := range c.nodes {
		if n.Name == leader && i != at {
			c.at = i
			return true
		}
	}
	if c.at == at { // unless another call has turned it already
		c.at = (at + 1) % len(c.nodes)
	}
	return false
}
