package raftkv

import (
	"context"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/watch"
)

// watched writes keys, and watches them by a stream that is kept from one call to the
// next.
type watched struct {
	client *client.Client

	watcher *client.Watcher // nil: none
	keys    watch.Keys      // that it watches
	next    uint64          // the revision that it tells of next
	resumed int             // how often it was resumed, up to the last call
}

func (w *watched) Close() error {
	w.stop()
	return w.client.Close()
}

func (w *watched) stop() {
	if w.watcher != nil {
		w.watcher.Close()
		w.watcher = nil
	}
}

func (w *watched) Put(ctx context.Context, key, value string) (workloads.Said, error) {
	r, err := w.client.Put(ctx, key, []byte(value))
	return said(r.Stamp, r.Revision), classify(err)
}

func (w *watched) Delete(ctx context.Context, key string) (workloads.Said, error) {
	r, err := w.client.Delete(ctx, key)
	return said(r.Stamp, r.Revision), classify(err)
}

func (w *watched) Compact(ctx context.Context, revision uint64) (workloads.Said, error) {
	_, err := w.client.Compact(ctx, revision)
	return workloads.Said{}, classify(err)
}

func (w *watched) Revision(ctx context.Context) (workloads.Said, error) {
	r, err := w.client.Range(ctx, client.Key(watch.Prefix), client.RangeOptions{})
	return said(r.Stamp, r.Revision), classify(err)
}

func (w *watched) Watch(ctx context.Context, r watch.Request) (watch.Batch, error) {
	if w.watcher == nil || w.keys != r.Keys || w.next != r.From {
		w.stop()
		w.watcher = w.client.Watch(context.Background(), client.Span{Key: r.Keys.Key, End: r.Keys.End}, r.From)
		w.keys, w.next, w.resumed = r.Keys, r.From, 0
	}
	collecting, cancel := context.WithTimeout(ctx, min(r.Wait, untilEnd(ctx)))
	defer cancel()
	out := watch.Batch{To: r.From - 1}
	for len(out.Events) < r.Limit {
		b, err := w.watcher.Next(collecting)
		if err != nil && collecting.Err() != nil {
			break // it is told of the rest next time
		}
		if err != nil {
			w.stop()
			return out, classify(err)
		}
		out.Node, out.Resumed, w.resumed = b.Node, out.Resumed+b.Resumed-w.resumed, b.Resumed
		if b.Compacted > 0 {
			out.Compacted = b.Compacted
			w.stop()
			return out, nil
		}
		for _, e := range b.Events {
			out.Events = append(out.Events, watch.Event{
				Revision: e.KV.Mod, Deleted: e.Deleted, Key: e.KV.Key, Value: string(e.KV.Value),
			})
		}
		out.To = max(out.To, b.Revision)
		w.next = out.To + 1
	}
	return out, nil
}

// untilEnd is the time until shortly before ctx ends.
func untilEnd(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline) * 9 / 10
	}
	return time.Hour
}
