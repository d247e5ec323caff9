package watch

import (
	"context"
	"encoding/json"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform returns what performs an op by a call of a Store.
func (o Options) perform(ctx context.Context, s Store, op histories.Op) (workloads.Reply, error) {
	in, err := ParseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	var said workloads.Said
	out := Output{Watcher: in.Watcher, Value: in.Value, From: in.From}
	switch op.F {
	case Put:
		said, err = s.Put(ctx, in.Key, in.Value)
		out.Key, out.Revision = in.Key, said.Revision
	case Delete:
		said, err = s.Delete(ctx, in.Key)
		out.Key, out.Revision = in.Key, said.Revision
	case Compact:
		said, err = s.Compact(ctx, in.Revision)
		out.Revision = in.Revision
	case Status:
		said, err = s.Revision(ctx)
		out.Revision = said.Revision
	case Watch:
		var b Batch
		b, err = s.Watch(ctx, Request{Keys: in.Keys, From: in.From, Wait: o.Wait, Limit: batchLimit})
		said, out.To, out.Events, out.Compacted, out.Resumed = b.Said, b.To, b.Events, b.Compacted, b.Resumed
	}
	said.Revision = 0 // said once is enough
	reply := said.Reply()
	if err == nil {
		reply.Value, err = json.Marshal(out)
	}
	return reply, err
}
