package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/queue"
)

// queues have a key for each value, below that of the queue: "queue/q0/17". The first is
// the one that was made first; whoever makes another makes it later.
type queues struct {
	client *client.Client
	bug    string
}

func (q *queues) Close() error { return q.client.Close() }

func (q *queues) Enqueue(ctx context.Context, name string, value int64) (workloads.Said, error) {
	r, err := q.client.Put(ctx, queueKey(name)+string(decimal(value)), decimal(value))
	return said(r.Stamp, r.Revision), classify(err)
}

func (q *queues) Dequeue(ctx context.Context, name string) (queue.Result, error) {
	for {
		there, err := q.client.Range(ctx, client.Prefix(queueKey(name)), client.RangeOptions{})
		if err != nil {
			return queue.Result{Said: said(there.Stamp, 0)}, classify(err)
		}
		if len(there.KVs) == 0 {
			return queue.Result{Empty: true, Said: said(there.Stamp, there.Revision)}, nil
		}
		first := there.KVs[0]
		for _, kv := range there.KVs {
			if kv.Create < first.Create {
				first = kv
			}
		}
		value, ok := number(first.Value)
		if !ok {
			value = queue.Garbage
		}
		take := client.Txn{Then: []client.Op{client.OpDelete(client.Key(first.Key))}}
		if q.bug != bug.QueuePeeks {
			take.If = []client.Compare{client.IfMod(first.Key, client.Equal, first.Mod)}
		}
		r, err := q.client.Txn(ctx, take)
		out := queue.Result{Value: value, Said: said(r.Stamp, r.Revision)}
		switch {
		case err != nil:
			return out, classify(err)
		case r.Succeeded:
			return out, nil
		case ctx.Err() != nil: // somebody else has taken it, each time
			return out, classify(overtaken(r.Node, queueKey(name), context.Cause(ctx)))
		}
	}
}

func queueKey(name string) string { return "queue/" + name + "/" }
