// Package client talks to raftkv.
//
// A [Client] that is given one node is bound to it: the node asks the leader on
// its behalf. One that is given several looks for the leader and asks it, or has
// another node ask if it does not reach it itself. Either tries again while there
// is time, after pauses that grow and are drawn: what is sent again is a read, or
// would do nothing the second time, or is a write that is numbered within a session,
// so that it happens once. Errors say exactly whether the operation can have taken
// place.
//
// [Client.Range] and [Client.Txn] are what there is; [Client.Get], [Client.Put] and
// their like are short for these. A [Watcher] follows what changes, whatever becomes of
// the node that it asks. A [Lock] and a [Leadership] are keys that end with a lease; what
// they protect is written by transactions that are fenced ([Claim.Fenced]). A [Session]
// reads from any node, and nothing older than it has seen.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Node is a server of the cluster.
type Node struct {
	Name string // as the servers call it
	Addr string // where clients reach it
}

// Options say how a client is to be.
type Options struct {
	// Dial makes the connection to a node, which the client closes; nil: [api.Dial].
	Dial func(Node) (api.Conn, error)
	// Bug is the name of a deliberate bug of clients, or empty. See package bug.
	Bug string
}

// A Client performs operations on one cluster. It is safe for concurrent use;
// writes wait for each other.
type Client struct {
	nodes []Node
	conns []api.Conn
	bug   string
	// life ends when the client is closed.
	life context.Context
	end  context.CancelFunc

	mu sync.Mutex
	at int // the node asked next: while all is well, the leader
	// anyone is the node asked next of those who do what any can.
	anyone int
	// detour is until when the nodes are asked to pass calls on, instead of naming
	// the leader: it may be one that they reach and this client does not.
	detour time.Time

	// writes are one after the other, and calls that keep leases alive are: so those wait
	// for no write.
	writes, beats series
}

// A series is of writes that are numbered in a session of their own.
type series struct {
	turn    chan struct{} // held by the one in progress
	session uint64        // 0: none is open
	number  uint64        // of the last write
}

func newSeries() series { return series{turn: make(chan struct{}, 1)} }

// next numbers a write.
func (s *series) next() *api.Write {
	s.number++
	return &api.Write{Session: s.session, Number: s.number}
}

// New returns a client of the nodes, bound if it is one. It begins with the first.
func New(nodes []Node) (*Client, error) { return NewWith(nodes, Options{}) }

// NewWith is New with options.
func NewWith(nodes []Node, o Options) (*Client, error) {
	if len(nodes) == 0 {
		return nil, errors.New("a client needs a node")
	}
	dial := o.Dial
	if dial == nil {
		dial = func(n Node) (api.Conn, error) { return api.Dial(n.Addr) }
	}
	c := &Client{nodes: nodes, bug: o.Bug, writes: newSeries(), beats: newSeries()}
	c.life, c.end = context.WithCancel(context.Background())
	for _, n := range nodes {
		conn, err := dial(n)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

// errClosed is why what a client began is over when it is closed.
var errClosed = errors.New("the client was closed")

// Close closes the connections. Operations that are under way end.
func (c *Client) Close() error {
	c.end()
	var err error
	for _, conn := range c.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// A Stamp says who answered, and where in the log the operation stood.
type Stamp struct {
	Node        string // that was asked last
	Term, Index uint64
}

// stamped is what the node asked last has said.
func stamped(node string, s *api.Stamp) Stamp {
	return Stamp{Node: node, Term: s.GetTerm(), Index: s.GetIndex()}
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

// orNil makes no error of a nil *Error.
func orNil(err *Error) error {
	if err == nil {
		return nil
	}
	return err
}

// A call is one attempt of an operation.
type call func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error

// read does what changes nothing, so that its errors are definite, wherever it got to.
// It asks the leader, or whoever is at at if that is not nil.
func (c *Client) read(ctx context.Context, at *int, do call) (node string, failed *Error) {
	node, err := c.try(ctx, at, do)
	if err != nil {
		err.Definite = true
	}
	return node, err
}

// numbered makes one write of a series.
func (c *Client) numbered(
	ctx context.Context, s *series, do func(context.Context, api.RaftKVClient, *api.Route, *api.Write) error,
) (node string, failed *Error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", &Error{
			Definite: true, Reason: api.Reason_REASON_DEADLINE,
			Err: fmt.Errorf("wait for the write before: %w", context.Cause(ctx)),
		}
	}
	for {
		if s.session == 0 {
			if node, err := c.open(ctx, s); err != nil {
				return node, err
			}
		}
		w := s.next()
		node, err := c.try(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
			err := do(ctx, kv, route, w)
			if c.bug == bug.RetryRenumbered {
				w = s.next() // for the attempt that may follow
			}
			return err
		})
		if err == nil {
			return node, nil
		}
		switch err.Reason {
		case api.Reason_REASON_SESSION_EXPIRED:
			s.session = 0
			if err.Definite && ctx.Err() == nil {
				continue // in a new session: in the old one it never happened
			}
		case api.Reason_REASON_LEASE_EXPIRED:
			// The log has refused this number: so it did whichever attempt came first.
			err.Definite = true
		}
		return node, err
	}
}

// open opens a session for a series. Whatever becomes of that, the write that it is for was not
// sent: every error is definite for it.
func (c *Client) open(ctx context.Context, s *series) (node string, failed *Error) {
	node, err := c.try(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		out, err := kv.OpenSession(ctx, &api.OpenSessionRequest{Route: route})
		if err == nil {
			s.session, s.number = out.GetSession(), 0
		}
		return err
	})
	if err != nil {
		err.Definite, err.Err = true, fmt.Errorf("open session: %w", err.Err)
	}
	return node, err
}

// try calls until a call is answered, is refused for good, or time is up. It asks
// the node it knows to lead; or each in turn. A caller to whom any node will do has an
// own at. The error is definite only if that of every attempt was. So whatever is tried
// must be such that several attempts are one: a read, what does nothing the second time,
// or a numbered write.
func (c *Client) try(ctx context.Context, at *int, do call) (node string, failed *Error) {
	if at == nil {
		at = &c.at
	}
	var doubt *Error // the first attempt that may have made it take place
	hops := 0        // redirections in a row
	for pause := (backoff{}); ; {
		asked := c.look(at)
		e, silent := c.once(ctx, asked, do)
		node = c.nodes[asked].Name
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
		elsewhere := at != &c.at && e.Reason == api.Reason_REASON_NOT_YET // another node may be further
		if final(e) && !elsewhere || ctx.Err() != nil || c.life.Err() != nil {
			return node, failed
		}
		if silent && at == &c.at {
			c.beginDetour()
		}
		// Who could not bring it about leads, and nobody else could say as much.
		stay := e.Reason == api.Reason_REASON_NOT_DONE
		if !stay && c.turn(at, asked, e.Leader) && hops < len(c.nodes) {
			hops++
			continue // it is told where to go, so there is nothing to wait for
		}
		hops = 0
		if !pause.wait(ctx) {
			return node, failed
		}
	}
}

// final says that to try again is of no use: the answer would be the same.
func final(e *api.Error) bool {
	switch e.Reason {
	case api.Reason_REASON_INVALID, api.Reason_REASON_SESSION_EXPIRED, api.Reason_REASON_SUPERSEDED,
		api.Reason_REASON_COMPACTED, api.Reason_REASON_NOT_YET, api.Reason_REASON_LEASE_EXPIRED:
		return true
	}
	return false
}

// once calls one node, once. Silent says that there was no word from it.
func (c *Client) once(ctx context.Context, at int, do call) (failed *api.Error, silent bool) {
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
	err := do(ctx, api.NewRaftKVClient(conn), route)
	return api.Understand(err), ctx.Err() != nil
}

// connectAtMost is how long one who may ask other nodes waits for a connection.
const connectAtMost = 200 * time.Millisecond

// share is how much of the time left one step may take.
func share(ctx context.Context) time.Duration {
	const most, least = time.Second, lastAttempt // to share that would leave too little for both
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

// look returns the node that is asked next.
func (c *Client) look(at *int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *at
}

// anywhere returns a node, another each time, for what any node can do.
func (c *Client) anywhere() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.anyone
	c.anyone = (at + 1) % len(c.nodes)
	return at
}

// turn makes another node asked next than the one that was asked: the leader if it is
// named, else the one after. It says whether that was named.
func (c *Client) turn(at *int, asked int, leader string) (told bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.seeking() {
		return false
	}
	for i, n := range c.nodes {
		if n.Name == leader && i != asked {
			*at = i
			return true
		}
	}
	if *at == asked { // unless another call has turned it already
		*at = (asked + 1) % len(c.nodes)
	}
	return false
}
