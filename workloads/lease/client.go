package lease

import (
	"context"
	"errors"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform performs an op by a call of a Leases.
func perform(ctx context.Context, l Leases, op histories.Op) (workloads.Reply, error) {
	in, err := decode(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	out := in
	var said workloads.Said
	switch op.F {
	case Grant:
		var g Granted
		g, err = l.Grant(ctx, in.Key, in.ttl())
		// Who relies on a lease does so for no longer than it lasts, and who waits for
		// its end does so for long enough: both in milliseconds.
		out.Lease, out.TTL, out.Bound, said = g.Lease, g.TTL.Milliseconds(), (g.Bound + time.Millisecond - 1).Milliseconds(), g.Said
	case KeepAlive:
		var k Kept
		k, err = l.KeepAlive(ctx, in.Lease)
		out.TTL, said = k.TTL.Milliseconds(), k.Said
	case Revoke:
		said, err = l.Revoke(ctx, in.Lease)
	case Read:
		var f Found
		f, err = l.Read(ctx, in.Key)
		out.Present, out.Lease, said = f.Present, f.Lease, f.Said
	}
	reply := said.Reply()
	if err == nil {
		reply.Value = out.encode()
		return reply, nil
	}
	if _, ok := errors.AsType[*Expired](err); ok {
		reply.Meta, err = said.Refused(expired), workloads.Definite(err)
	}
	return reply, err
}

// over says that an op was refused since its lease was over.
func over(op histories.Op) bool {
	return op.Type == histories.Fail && workloads.RefusedAs(op.Meta) == expired
}
