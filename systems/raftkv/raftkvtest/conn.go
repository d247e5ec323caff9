package raftkvtest

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A conn carries calls from one place to a node: what a gRPC connection would do,
// by a direct call. It is never broken. A call that does not arrive, or whose
// answer does not, ends when its caller's time does; for streams see [stream].
type conn struct {
	cluster  *Cluster
	from, to string
}

var _ api.Conn = (*conn)(nil)

func (c *Cluster) conn(from, to string) (api.Conn, error) {
	if c.nodes[to] == nil {
		return nil, fmt.Errorf("there is no node %q", to)
	}
	return &conn{c, from, to}, nil
}

// Ready returns at once.
func (c *conn) Ready(context.Context) error { return nil }

// Close does nothing.
func (c *conn) Close() error { return nil }

// there and back are the links that what is said goes over.
func (c *conn) there() cluster.Link { return cluster.Link{From: c.from, To: c.to} }
func (c *conn) back() cluster.Link  { return cluster.Link{From: c.to, To: c.from} }

// nobody is the error of a call to a node that does not run.
func (c *conn) nobody() error {
	return api.Definite(api.Reason_REASON_NOT_SENT, "connect to %s: nobody listens", c.to)
}

// Invoke calls a method of the service.
func (c *conn) Invoke(ctx context.Context, method string, in, out any, _ ...grpc.CallOption) error {
	handler, err := handlerOf(method)
	if err != nil {
		return err
	}
	if err := c.cluster.carry(ctx, c.there()); err != nil {
		return status.FromContextError(err).Err()
	}
	server := c.cluster.server(c.to)
	if server == nil {
		return c.nobody()
	}
	// The node knows the caller's deadline, but not that it gave up: it may be cut
	// off by then.
	there, cancel := c.cluster.life, func() {}
	if deadline, ok := ctx.Deadline(); ok {
		there, cancel = context.WithDeadline(there, deadline)
	}
	answers := make(chan error, 1)
	var answer any
	c.cluster.calls.Go(func() {
		defer cancel()
		var err error
		answer, err = handler(server, there, func(to any) error {
			proto.Merge(to.(proto.Message), in.(proto.Message))
			return nil
		}, server.Answer)
		if lost := c.cluster.carry(there, c.back()); lost != nil {
			err = status.FromContextError(lost).Err()
		}
		answers <- err
	})
	select {
	case err := <-answers:
		if err == nil {
			proto.Merge(out.(proto.Message), answer.(proto.Message))
		}
		return err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

func handlerOf(method string) (grpc.MethodHandler, error) {
	for _, m := range api.RaftKV_ServiceDesc.Methods {
		if method == fullName(m.MethodName) {
			return m.Handler, nil
		}
	}
	return nil, status.Errorf(codes.Unimplemented, "no method %s", method)
}

// fullName is what a method of the service is called by.
func fullName(method string) string { return "/" + api.RaftKV_ServiceDesc.ServiceName + "/" + method }
