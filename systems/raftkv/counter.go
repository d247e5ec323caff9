package raftkv

import (
	"context"
	"strconv"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/counter"
)

// counters have a key each, with the sum: "counter/c0".
type counters struct {
	client *client.Client
	bug    string
}

func (c *counters) Close() error { return c.client.Close() }

func (c *counters) Add(ctx context.Context, name string, delta int64) (workloads.Said, error) {
	key := "counter/" + name
	r, err := update(ctx, c.client, key, c.bug == bug.LostUpdate, func(before *client.KeyValue) []client.Op {
		sum := delta
		if before != nil {
			was, _ := number(before.Value) // what is none is for a read to tell
			sum += was
		}
		return []client.Op{client.OpPut(key, decimal(sum))}
	})
	return said(r.Stamp, r.Revision), classify(err)
}

func (c *counters) Read(ctx context.Context, name string) (counter.Result, error) {
	r, err := c.client.Get(ctx, "counter/"+name)
	out := counter.Result{Said: said(r.Stamp, r.Revision)}
	if r.Found {
		var ok bool
		if out.Sum, ok = number(r.Value); !ok {
			out.Garbage = strconv.Quote(string(r.Value))
		}
	}
	return out, classify(err)
}
