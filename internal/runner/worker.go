package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/workloads"
)

// A worker performs the ops of one process at a time and records them.
type worker struct {
	// Owned by the interpreter.
	op  histories.Op  // the last one handed to it
	due time.Duration // when the worker is given up if op is still outstanding

	todo  chan task // closed when there is no more
	ended chan struct{}
	stage atomic.Int32 // of the op: handed, invoked, completed

	// Written by the worker before it says that it has completed.
	done histories.Op
	err  error // the journal's
}

// The stages of an op. The interpreter hands it over, the worker records its
// invocation, and then one of them completes it: whoever sets the stage.
const (
	handed = int32(iota)
	invoked
	completed
)

// A task is an op and how long it may take.
type task struct {
	op  histories.Op
	ctx *deadline
}

// A performer knows how to perform the ops of a worker.
type performer interface {
	// perform returns the completion of op.
	perform(ctx context.Context, op histories.Op) histories.Op
	// close returns when nothing of it is left.
	close()
}

// newWorker starts the worker at the given position of in.workers.
func (in *interpreter) newWorker(at int) *worker {
	w := &worker{todo: make(chan task, 1), ended: make(chan struct{})}
	var p performer
	if at < in.context.Workers {
		p = &client{in: in, worker: at}
	} else {
		p = &breaker{in: in, nemesis: in.nemesis}
	}
	go in.work(w, p)
	return w
}

func (in *interpreter) work(w *worker, p performer) {
	defer close(w.ended)
	defer p.close()
	for t := range w.todo {
		_, err := in.journal.Append(t.op)
		w.stage.Store(invoked)
		if err != nil {
			t.op.Type = histories.Fail // never sent; and never recorded
		} else {
			t.op = p.perform(t.ctx, t.op)
			t.ctx.end()
		}
		if !w.stage.CompareAndSwap(invoked, completed) {
			return // given up
		}
		if err == nil {
			t.op, err = in.journal.Append(t.op)
		}
		w.done, w.err = t.op, err
		in.completed <- w
	}
}

// A client performs ops by the workload's client, which it opens when there is
// something to do and replaces when an op was indeterminate: the process is dead
// then, and what its client still does must not mix with the next one's.
type client struct {
	in      *interpreter
	worker  int
	client  workloads.Client // nil: there is none yet
	closing sync.WaitGroup   // those that came before
}

// pauseAfterOpen is how long an op takes at least that fails since no client could
// be opened. Otherwise a run against nothing would record nothing else, fast.
const pauseAfterOpen = 100 * time.Millisecond

func (c *client) perform(ctx context.Context, op histories.Op) histories.Op {
	if c.client == nil {
		if err := c.open(ctx); err != nil {
			wait(ctx, pauseAfterOpen)
			op.Type, op.Error = histories.Fail, text("open", err)
			return op
		}
	}
	reply, err := c.invoke(ctx, op)
	switch {
	case err == nil:
		op.Type = histories.OK
		if reply.Value != nil {
			op.Value = reply.Value
		}
	case workloads.IsDefinite(err):
		op.Type, op.Error = histories.Fail, text("", err)
	default:
		op.Type, op.Error = histories.Info, text("", err)
		c.drop()
	}
	op.Meta = reply.Meta
	if reply.Node != "" {
		op.Node = reply.Node
	}
	return op
}

func (c *client) open(ctx context.Context) (err error) {
	defer c.in.recovered("open", &err)
	opened, err := c.in.open(ctx, c.worker)
	if err == nil {
		c.client = opened
	}
	return err
}

func (c *client) invoke(ctx context.Context, op histories.Op) (reply workloads.Reply, err error) {
	defer c.in.recovered(op.F, &err)
	return c.client.Invoke(ctx, op)
}

// drop lets go of the client without waiting: one that cannot close must not keep
// its successor from working.
func (c *client) drop() {
	old := c.client
	c.client = nil
	c.closing.Go(func() {
		if err := c.shut(old); err != nil {
			c.in.warn("close client", "worker", c.worker, "error", err)
		}
	})
}

func (c *client) shut(old workloads.Client) (err error) {
	defer c.in.recovered("close", &err)
	return old.Close()
}

func (c *client) close() {
	if c.client != nil {
		c.drop()
	}
	c.closing.Wait()
}

// A breaker performs the ops of the nemesis.
type breaker struct {
	in      *interpreter
	nemesis nemesis.Nemesis
}

func (b *breaker) perform(ctx context.Context, op histories.Op) histories.Op {
	op.Type = histories.Info
	value, err := b.invoke(ctx, op)
	if value != nil {
		encoded, errValue := json.Marshal(value)
		if errValue == nil {
			op.Value = encoded
		}
		err = errors.Join(err, errValue)
	}
	if err != nil {
		op.Error = text("", err)
		b.in.log.Warn("fault", "f", op.F, "value", string(op.Value), "error", err)
	} else {
		b.in.log.Info("fault", "f", op.F, "value", string(op.Value))
	}
	return op
}

func (b *breaker) invoke(ctx context.Context, op histories.Op) (value any, err error) {
	defer b.in.recovered(op.F, &err)
	return b.nemesis.Invoke(ctx, op)
}

func (b *breaker) close() {}

// recovered makes of a panic the error of what was done. Nobody knows how far it
// had come, so it is not definite.
func (in *interpreter) recovered(what string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panicked: %v", r)
		in.warn("panic", "in", what, "value", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
}

// maxError bounds the text of an error in the history, in bytes.
const maxError = 200

// text returns the first line of an error.
func text(operation string, err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	if operation != "" {
		s = operation + ": " + s
	}
	if s == "" {
		s = "error without a text"
	}
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError], "") + "..."
	}
	return s
}

// wait waits for d, but no longer than ctx.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
