package server

import (
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

const (
	// progressEvery is how often a watcher is told that nothing has happened.
	progressEvery = 250 * time.Millisecond
	// watchBatch is of how many events, or a revision more, a response is.
	watchBatch = 256
)

// Watch sends what changes in a span, from this node's state. It looks for itself what
// is next to be sent, and is only woken when there may be more: so a watcher that is slow
// holds up nobody, and needs no memory but that of revisions that remain.
func (n *Node) Watch(in *api.WatchRequest, stream grpc.ServerStreamingServer[api.WatchResponse]) error {
	if err := checkSpan(in.GetSpan()); err != nil {
		return err
	}
	next := in.GetFrom()
	if next == 0 {
		last, _ := n.machine.revisions()
		next = last + 1
	}
	send := func(r *api.WatchResponse) error {
		r.Node = n.config.ID
		return stream.Send(r)
	}
	if err := send(&api.WatchResponse{Revision: next - 1}); err != nil {
		return err
	}
	quiet := time.NewTimer(progressEvery)
	defer quiet.Stop()
	for {
		news := n.machine.news.next()
		if n.config.Bug == bug.WatchDrops {
			next = n.drop(next)
		}
		events, to, compacted := n.machine.events(in.GetSpan(), next, watchBatch)
		if n.config.Bug == bug.WatchUncommitted && compacted == 0 && len(events) == 0 {
			events, to = n.eventsUnagreed(in.GetSpan(), max(next, to+1))
		}
		switch {
		case compacted != 0:
			return send(&api.WatchResponse{Revision: next - 1, Compacted: compacted})
		case len(events) > 0:
			if n.config.Bug == bug.WatchEarlyProgress {
				if err := send(&api.WatchResponse{Revision: to}); err != nil {
					return err
				}
				select { // until more have come: it sends fewer, and larger, batches so
				case <-time.After(gatherFor):
				case <-stream.Context().Done():
				case <-n.stopping:
				}
			}
			if err := send(&api.WatchResponse{Revision: to, Events: events}); err != nil {
				return err
			}
			next = to + 1
			quiet.Reset(progressEvery)
			continue // there may be more
		}
		next = max(next, to+1)
		var poll <-chan time.Time
		if n.config.Bug == bug.WatchUncommitted {
			poll = time.After(10 * time.Millisecond) // nobody tells of what is not agreed on
		}
		select {
		case <-news:
		case <-poll:
		case <-quiet.C:
			// Who has lost the others is silent, so that the watcher goes to one of them: that
			// nothing has happened it does not know.
			if leader, _ := n.leader(); leader != "" {
				if err := send(&api.WatchResponse{Revision: next - 1}); err != nil {
					return err
				}
			}
			quiet.Reset(progressEvery)
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-n.stopping:
			return errStopping
		}
	}
}

// gatherFor is for [bug.WatchEarlyProgress].
const gatherFor = 50 * time.Millisecond

// drop is for [bug.WatchDrops]: it returns what is next for who would have read next,
// and is far behind.
func (n *Node) drop(next uint64) uint64 {
	const most = 64 // revisions that are kept for a watcher
	last, _ := n.machine.revisions()
	if last < most {
		return next
	}
	return max(next, last-most+1)
}
