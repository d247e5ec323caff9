package client

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// silence is for how long a stream may say nothing: a node tells every 250 ms that
// nothing has happened.
const silence = 3 * 250 * time.Millisecond

// An Event is a change of a key.
type Event struct {
	Deleted bool
	KV      KeyValue // what it holds now; of one that was deleted key and mod alone
}

// A Batch is what a watcher is told at once.
type Batch struct {
	// Revision is up to which everything in the span has been told, with this.
	Revision uint64
	// Events are of whole revisions, in their order. There may be none.
	Events []Event
	// Compacted is the first revision that remains, if that which is to be told next was
	// compacted: the watch is over. What was there at it may be read, and watched on
	// from the one after it.
	Compacted uint64
	Node      string // that told
	// Resumed is how often the watch has gone on with another stream.
	Resumed int
}

// A Watcher follows what changes in a span: each change once, in the order of revisions.
// It hears it from one node, and if that is silent, or its connection breaks, goes on at
// another, from the revision after the last one that was told.
//
// One goroutine may use it at a time.
type Watcher struct {
	client *Client
	span   *api.Span
	life   context.Context
	end    func()
	// receiving are the goroutines that receive from streams, one for each.
	receiving sync.WaitGroup

	at     int    // the node that is asked next
	from   uint64 // the first revision that was not told; 0: nothing was, and nothing older is of interest
	event  uint64 // the revision of the last event that was told
	told   int    // how many streams have told something
	stream *stream
	pause  backoff
	over   *Error // why there is nothing more
}

// A stream is what one node sends.
type stream struct {
	node   string
	cancel context.CancelFunc
	heard  time.Time // when it said something last, or was begun
	fresh  bool      // it has said nothing yet
	// responses come one at a time, and are closed behind the last; then err says why.
	responses chan *api.WatchResponse
	err       *api.Error
}

// Watch follows what changes in a span, from a revision on, which may be yet to come; 0:
// from now on, as of the node asked, and the first batch says from when. It asks the nodes
// in turn, as serializable reads do. The watcher ends with ctx, or when it or the client is
// closed.
func (c *Client) Watch(ctx context.Context, s Span, from uint64) *Watcher {
	w := &Watcher{client: c, span: s.api(), at: c.anywhere(), from: from}
	life, end := context.WithCancelCause(ctx)
	alone := context.AfterFunc(c.life, func() { end(errClosed) })
	w.life, w.end = life, func() { alone(); end(nil) }
	return w
}

// Close ends the watcher.
func (w *Watcher) Close() {
	w.end()
	w.receiving.Wait()
}

// Next returns what is told next. Its errors are definite: a watcher changes nothing. If it is
// ctx that has ended, Next may be called again, and nothing is lost; else the watch is
// over.
func (w *Watcher) Next(ctx context.Context) (Batch, error) {
	var last error // why there was nothing
	for {
		if w.over != nil {
			return Batch{}, w.over
		}
		if w.stream == nil {
			w.stream = w.open()
		}
		r, err := w.stream.next(ctx)
		if r != nil {
			return w.tell(r), nil
		}
		if err != nil {
			last = fmt.Errorf("%s: %w", w.stream.node, err)
			if w.giveUp(err); w.over != nil || w.pause.wait(ctx) {
				continue
			}
		}
		return Batch{}, w.failed(api.Reason_REASON_DEADLINE, context.Cause(ctx), last)
	}
}

// failed is the error of a watch that was not told anything.
func (w *Watcher) failed(r api.Reason, why, last error) *Error {
	e := &Error{Definite: true, Reason: r, Err: fmt.Errorf("watch: %w", why)}
	if last != nil {
		e.Err = fmt.Errorf("watch: %w (before that, %w)", why, last)
	}
	return e
}

// tell hands a response over. A node may be behind the one that was asked before it: what
// has been told it does not take back.
func (w *Watcher) tell(r *api.WatchResponse) Batch {
	if w.stream.fresh {
		w.stream.fresh = false
		w.told++
	}
	w.pause = backoff{}
	b := Batch{Compacted: r.GetCompacted(), Node: w.stream.node, Resumed: w.told - 1}
	for _, e := range r.GetEvents() {
		b.Events = append(b.Events, Event{Deleted: e.GetDeleted(), KV: keyValue(e.GetKv())})
		w.event = e.GetKv().GetMod()
	}
	if b.Compacted > 0 {
		w.over = w.failed(api.Reason_REASON_COMPACTED, fmt.Errorf("what comes next was compacted: %d is the first revision that remains", b.Compacted), nil)
		w.over.Node = b.Node
		w.Close()
		return b
	}
	w.from = max(w.from, r.GetRevision()+1)
	b.Revision = w.from - 1
	return b
}

// giveUp leaves a stream, and the node, unless to ask another would be of no use.
func (w *Watcher) giveUp(err *api.Error) {
	s := w.stream
	s.cancel()
	w.stream, w.at = nil, (w.at+1)%len(w.client.nodes)
	switch {
	case w.life.Err() != nil:
		w.over = w.failed(api.Reason_REASON_DEADLINE, context.Cause(w.life), nil)
	case final(err) || w.client.life.Err() != nil:
		w.over = w.failed(err.Reason, err, nil)
		w.over.Node = s.node
	}
}

// open begins a stream. What becomes of it is heard from [stream.next].
func (w *Watcher) open() *stream {
	from := w.from
	if w.told > 0 {
		switch {
		case w.client.bug == bug.WatchGap:
			from = 0
		case w.client.bug == bug.WatchRepeats && w.event > 0:
			from = w.event
		}
	}
	ctx, cancel := context.WithCancel(w.life)
	s := &stream{
		node: w.client.nodes[w.at].Name, cancel: cancel, heard: time.Now(), fresh: true,
		responses: make(chan *api.WatchResponse),
	}
	conn := w.client.conns[w.at]
	w.receiving.Go(func() {
		defer cancel()
		defer close(s.responses)
		s.err = api.Understand(s.receive(ctx, conn, &api.WatchRequest{Span: w.span, From: from}))
	})
	return s
}

// receive hands on what comes, until nothing more does. It never returns nil.
func (s *stream) receive(ctx context.Context, conn api.Conn, in *api.WatchRequest) error {
	if err := conn.Ready(ctx); err != nil {
		return err
	}
	from, err := api.NewRaftKVClient(conn).Watch(ctx, in)
	if err != nil {
		return err
	}
	for {
		r, err := from.Recv()
		if err != nil {
			return err
		}
		select {
		case s.responses <- r:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next returns what comes next; or why nothing will, or too late; or neither, if ctx has
// ended.
func (s *stream) next(ctx context.Context) (*api.WatchResponse, *api.Error) {
	timer := time.NewTimer(time.Until(s.heard.Add(silence)))
	defer timer.Stop()
	select {
	case r, more := <-s.responses:
		return s.hear(r, more)
	case <-timer.C:
		select {
		case r, more := <-s.responses: // it was not the stream that was late
			return s.hear(r, more)
		default:
			return nil, api.Indeterminate(api.Reason_REASON_DEADLINE, "silent for %v", silence)
		}
	case <-ctx.Done():
		return nil, nil
	}
}

func (s *stream) hear(r *api.WatchResponse, more bool) (*api.WatchResponse, *api.Error) {
	if !more {
		return nil, s.err
	}
	s.heard = time.Now()
	return r, nil
}
