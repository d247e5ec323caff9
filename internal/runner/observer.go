package runner

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// An observer looks at the system's state again and again, and records what it sees
// when that has changed. What it records the generators are told of, too. It is
// there for the nemesis: what clients do, and what comes out of it, it leaves alone.
type observer struct {
	in     *interpreter
	system cluster.Observed
	last   cluster.State
	seen   bool // at least once
}

// observe observes the system, if it shows its state and there is a nemesis, until
// ctx ends or the returned function is called. That one waits for the observer, but
// no longer than for a worker.
func (r *run) observe(ctx context.Context) (end func() error) {
	system, ok := r.System.(cluster.Observed)
	if !ok || r.Nemesis.Main == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	o := &observer{in: r.in, system: system}
	go func() {
		o.observe(ctx)
		ended <- nil
	}()
	return func() error {
		cancel()
		return patiently(ended, "observe the system: it has not answered")
	}
}

func (o *observer) observe(ctx context.Context) {
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	for o.look(ctx) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// look looks once. It says whether to go on.
func (o *observer) look(ctx context.Context) bool {
	state, err := o.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		o.in.warn("the system does not show its state", "error", err)
		return true
	case o.seen && !nemesis.Differs(o.last, state):
		return true
	}
	o.last, o.seen = state, true
	value, err := json.Marshal(state)
	if err != nil {
		o.in.warn("the system's state cannot be recorded", "error", err)
		return true
	}
	op, err := o.in.journal.Append(histories.Op{Type: histories.Event, Process: histories.Observer, F: histories.State, Value: value})
	if err != nil {
		return false // whoever does the next op says why
	}
	select {
	case o.in.seen <- op:
		return true
	case <-ctx.Done():
		return false
	}
}

func (o *observer) ask(ctx context.Context) (s cluster.State, err error) {
	defer o.in.recovered("observe", &err)
	ctx, cancel := context.WithTimeout(ctx, observeLimit)
	defer cancel()
	return o.system.Observe(ctx)
}
