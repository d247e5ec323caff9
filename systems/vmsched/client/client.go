// Package client is the client of vmsched, as its users have it.
//
// A [Client] that is given one scheduler is bound to it. One that is given several asks the
// next if one could not do it: if that is certain, or the call is such that to make it twice
// is to make it once, which is said of reads and of [Client.CreateVM]. Errors say exactly
// whether the operation can have taken place ([IsDefinite]).
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	raftkv "github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
)

// A Node is a scheduler.
type Node struct {
	Name string // as it calls itself
	Addr string // where users reach it, as host:port
}

// Options say how a client is to be.
type Options struct {
	// Dial makes the connection to a node, which the client closes; nil: that of raftkv,
	// which knows what was never sent.
	Dial func(Node) (raftkv.Conn, error)
}

// A Client asks the schedulers of one control plane. It is safe for concurrent use.
type Client struct {
	nodes []Node
	conns []raftkv.Conn

	mu sync.Mutex
	at int // the node asked next
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
		dial = func(n Node) (raftkv.Conn, error) { return raftkv.Dial(n.Addr) }
	}
	c := &Client{nodes: nodes}
	for _, n := range nodes {
		conn, err := dial(n)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

// Close closes the connections. Calls that are under way end.
func (c *Client) Close() error {
	var err error
	for _, conn := range c.conns {
		err = errors.Join(err, conn.Close())
	}
	return err
}

// A Stamp says who answered, and at which revision of the store it was as answered. Of an
// error, Node is who was asked last.
type Stamp struct {
	Node     string
	Revision uint64
}

// An Error is the error of a call.
type Error struct {
	// Definite says that the operation did not take place and never will.
	Definite bool
	Reason   api.Reason
	Node     string // that was asked last
	Err      error
}

func (e *Error) Error() string { return e.Node + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// IsDefinite says whether an operation that ended in err did not take place and never
// will.
func IsDefinite(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Definite
}

// IsNotFound says whether it was asked for something that there is not.
func IsNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Definite && e.Reason == api.Reason_REASON_NOT_FOUND
}

// A VM is a machine as the control plane describes it.
type VM struct {
	ID, Token string
	Size      uint32 // of a host's capacity
	Group     string // no two of which are on one host; empty: none
	Labels    map[string]string
	Desired   string // running, stopped, deleted
	State     string // pending, starting, running, migrating, stopping, stopped, failed, deleted
	Host      string // where it is, or is to be; empty: nowhere
	Epoch     uint64
	Target    string // of a migration that is under way
	Phase     string // of it: asked, preparing, ready, committed
	Reason    string // why it is pending, or has failed, or its last migration did
}

func vmOf(v *api.VM) VM {
	return VM{
		ID: v.GetId(), Token: v.GetToken(), Size: v.GetSize(), Group: v.GetGroup(), Labels: v.GetLabels(),
		Desired: v.GetDesired(), State: v.GetState(), Host: v.GetHost(), Epoch: v.GetEpoch(),
		Target: v.GetTarget(), Phase: v.GetPhase(), Reason: v.GetReason(),
	}
}

// A Host is a host as the control plane describes it.
type Host struct {
	Name               string
	Alive              bool // its lease has not ended
	Incarnation        uint64
	Capacity, Reserved uint32
	Labels             map[string]string
	Cordoned, Draining bool
	Guests             map[string]uint64 // what it says that it runs: epochs by machine
}

func hostOf(h *api.Host) Host {
	out := Host{
		Name: h.GetName(), Alive: h.GetAlive(), Incarnation: h.GetIncarnation(),
		Capacity: h.GetCapacity(), Reserved: h.GetReserved(), Labels: h.GetLabels(),
		Cordoned: h.GetCordoned(), Draining: h.GetDraining(), Guests: map[string]uint64{},
	}
	for _, g := range h.GetGuests() {
		out.Guests[g.GetVm()] = g.GetEpoch()
	}
	return out
}

// CreateVM makes a machine that is to run, if no other was asked for by its token, which
// the caller makes up. size is in units of hosts' capacity; labels are what a host must be
// labelled for it. To call it again with the same token makes no other machine, and says
// what has become of it: the first may fail, or be in doubt.
func (c *Client) CreateVM(ctx context.Context, token string, size uint32, group string, labels map[string]string) (VM, Stamp, error) {
	in := &api.CreateVMRequest{Token: token, Size: size, Group: group, Labels: labels}
	return vm(ctx, c, again, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.CreateVM(ctx, in)
	})
}

// GetVM reads a machine. It is a linearizable read, whose errors are all definite, as of the
// other reads. A machine that was deleted is one that is there, and says so.
func (c *Client) GetVM(ctx context.Context, id string) (VM, Stamp, error) {
	return vm(ctx, c, read, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.GetVM(ctx, &api.VMRequest{Id: id})
	})
}

// StartVM says that a machine is to run from now on.
func (c *Client) StartVM(ctx context.Context, id string) (VM, Stamp, error) {
	return vm(ctx, c, once, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.StartVM(ctx, &api.VMRequest{Id: id})
	})
}

// StopVM says that a machine is to be stopped.
func (c *Client) StopVM(ctx context.Context, id string) (VM, Stamp, error) {
	return vm(ctx, c, once, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.StopVM(ctx, &api.VMRequest{Id: id})
	})
}

// DeleteVM says that a machine is to be gone.
func (c *Client) DeleteVM(ctx context.Context, id string) (VM, Stamp, error) {
	return vm(ctx, c, once, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.DeleteVM(ctx, &api.VMRequest{Id: id})
	})
}

// MigrateVM asks for a machine that runs to be moved to a host while it runs; empty: to any.
func (c *Client) MigrateVM(ctx context.Context, id, target string) (VM, Stamp, error) {
	return vm(ctx, c, once, func(ctx context.Context, s api.ControlPlaneClient) (*api.VMResponse, error) {
		return s.MigrateVM(ctx, &api.MigrateVMRequest{Id: id, Target: target})
	})
}

// ListVMs reads all machines, those too that were deleted, in the order in which they were
// made.
func (c *Client) ListVMs(ctx context.Context) ([]VM, Stamp, error) {
	var out *api.ListVMsResponse
	stamp, err := c.call(ctx, read, func(ctx context.Context, s api.ControlPlaneClient) (err error) {
		out, err = s.ListVMs(ctx, &api.ListVMsRequest{})
		return err
	})
	if err != nil {
		return nil, stamp, err
	}
	var all []VM
	for _, v := range out.GetVms() {
		all = append(all, vmOf(v))
	}
	return all, Stamp{out.GetNode(), out.GetRevision()}, nil
}

// ListHosts reads all hosts, by name.
func (c *Client) ListHosts(ctx context.Context) ([]Host, Stamp, error) {
	var out *api.ListHostsResponse
	stamp, err := c.call(ctx, read, func(ctx context.Context, s api.ControlPlaneClient) (err error) {
		out, err = s.ListHosts(ctx, &api.ListHostsRequest{})
		return err
	})
	if err != nil {
		return nil, stamp, err
	}
	var all []Host
	for _, h := range out.GetHosts() {
		all = append(all, hostOf(h))
	}
	return all, Stamp{out.GetNode(), out.GetRevision()}, nil
}

// DrainHost has nothing more placed on a host, and what is there moved away.
func (c *Client) DrainHost(ctx context.Context, name string) (Host, Stamp, error) {
	return host(ctx, c, func(ctx context.Context, s api.ControlPlaneClient) (*api.HostResponse, error) {
		return s.DrainHost(ctx, &api.HostRequest{Host: name})
	})
}

// CordonHost has nothing more placed on a host.
func (c *Client) CordonHost(ctx context.Context, name string) (Host, Stamp, error) {
	return host(ctx, c, func(ctx context.Context, s api.ControlPlaneClient) (*api.HostResponse, error) {
		return s.CordonHost(ctx, &api.HostRequest{Host: name})
	})
}

// UncordonHost makes a host one like all others, which ends a drain too.
func (c *Client) UncordonHost(ctx context.Context, name string) (Host, Stamp, error) {
	return host(ctx, c, func(ctx context.Context, s api.ControlPlaneClient) (*api.HostResponse, error) {
		return s.UncordonHost(ctx, &api.HostRequest{Host: name})
	})
}

// Leading reads which scheduler leads; empty: none.
func (c *Client) Leading(ctx context.Context) (string, error) {
	var out *api.LeadingResponse
	_, err := c.call(ctx, read, func(ctx context.Context, s api.ControlPlaneClient) (err error) {
		out, err = s.Leading(ctx, &api.LeadingRequest{})
		return err
	})
	return out.GetScheduler(), err
}

// vm makes a call that is answered by a machine.
func vm(
	ctx context.Context, c *Client, r repeat, do func(context.Context, api.ControlPlaneClient) (*api.VMResponse, error),
) (VM, Stamp, error) {
	var out *api.VMResponse
	stamp, err := c.call(ctx, r, func(ctx context.Context, s api.ControlPlaneClient) (err error) {
		out, err = do(ctx, s)
		return err
	})
	if err != nil {
		return VM{}, stamp, err
	}
	return vmOf(out.GetVm()), Stamp{out.GetNode(), out.GetRevision()}, nil
}

// host makes one that is answered by a host.
func host(
	ctx context.Context, c *Client, do func(context.Context, api.ControlPlaneClient) (*api.HostResponse, error),
) (Host, Stamp, error) {
	var out *api.HostResponse
	stamp, err := c.call(ctx, once, func(ctx context.Context, s api.ControlPlaneClient) (err error) {
		out, err = do(ctx, s)
		return err
	})
	if err != nil {
		return Host{}, stamp, err
	}
	return hostOf(out.GetHost()), Stamp{out.GetNode(), out.GetRevision()}, nil
}

// A repeat says when a call may be made again, at another node.
type repeat int

const (
	once  repeat = iota // if it is certain that it was not done
	again               // always: done twice it is done once
	read                // always: it does nothing
)

// callLimit is how long a call may take whose caller does not say.
const callLimit = 10 * time.Second

// connectAtMost is how long one who may ask other nodes waits for a connection.
const connectAtMost = 300 * time.Millisecond

// call asks one node after the other, each once, until one answers or refuses.
func (c *Client) call(
	ctx context.Context, r repeat, do func(context.Context, api.ControlPlaneClient) error,
) (Stamp, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	first := c.next()
	var failed, doubt *Error // the last, and the first after which it may have been done
	for i := range c.nodes {
		asked := (first + i) % len(c.nodes)
		e := c.attempt(ctx, asked, len(c.nodes)-i, do)
		if e == nil {
			return Stamp{Node: c.nodes[asked].Name}, nil
		}
		failed = &Error{Definite: e.Definite || r == read, Reason: e.Reason, Node: c.nodes[asked].Name, Err: e.Err}
		switch {
		case doubt != nil:
			failed.Definite, failed.Err = false, fmt.Errorf("%w (and before that, %w)", e.Err, doubt)
		case !failed.Definite:
			doubt = failed
		}
		unavailable := e.Reason == api.Reason_REASON_UNAVAILABLE || e.Reason == api.Reason_REASON_UNSPECIFIED
		if e.Definite && !unavailable || !e.Definite && r == once || ctx.Err() != nil {
			break
		}
		c.leave(asked)
	}
	return Stamp{Node: failed.Node}, failed
}

// attempt asks one node, so that there is time left for those after it.
func (c *Client) attempt(
	ctx context.Context, at, left int, do func(context.Context, api.ControlPlaneClient) error,
) *api.Error {
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
	defer cancel()
	connecting := ctx
	if left > 1 {
		var cancel context.CancelFunc
		connecting, cancel = context.WithTimeout(ctx, connectAtMost)
		defer cancel()
	}
	err := c.conns[at].Ready(connecting)
	if err == nil {
		err = do(ctx, api.NewControlPlaneClient(c.conns[at]))
	}
	if e, ok := errors.AsType[*raftkv.Error](err); ok { // the connection's own
		return &api.Error{Definite: e.Definite, Reason: api.Reason_REASON_UNAVAILABLE, Err: e.Err}
	}
	return api.Understand(err)
}

func (c *Client) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// leave has the node after one asked next, unless another call has turned to another
// already.
func (c *Client) leave(node int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == node {
		c.at = (node + 1) % len(c.nodes)
	}
}
