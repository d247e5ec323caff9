package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

var _ grpc.UnaryServerInterceptor = (*Node)(nil).Answer

// Answer answers a call of the service, later by [Config.Delay] than it could, if that is
// given: as a server does whose work takes so much longer. What was to be done is done by
// then, so nothing else waits; and it has so much less time, so that a refusal still reaches
// its caller before he gives up. What has no time at all is refused at once. It is the
// interceptor of unary calls.
//
// Once for each call of a client: those that nodes pass on to each other are not delayed
// again. Nor is a node's word of how it is, by which operators look at it and not users, or
// what watchers are sent, whose streams hold the order of what they are told.
func (n *Node) Answer(ctx context.Context, in any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	delay := time.Duration(n.config.Delay)
	if delay == 0 || !ofClient(in) {
		return handle(ctx, in)
	}
	working, cancel := ctx, func() {}
	if deadline, ok := ctx.Deadline(); ok {
		if time.Until(deadline) <= delay {
			return nil, api.Definite(api.Reason_REASON_DEADLINE, "%s takes %v to answer, which is too long", n.config.ID, delay)
		}
		working, cancel = context.WithDeadline(ctx, deadline.Add(-delay))
	}
	defer cancel()
	out, err := handle(working, in)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // nobody waits any more
	case <-n.stopping: // who waits is to be answered in time
	}
	return out, err
}

// ofClient says whether a call is an operation that comes from a client.
func ofClient(in any) bool {
	routed, ok := in.(interface{ GetRoute() *api.Route })
	return ok && !routed.GetRoute().GetForwarded()
}
