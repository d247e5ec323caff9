package runner

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// listen records what the system tells, if it tells anything, until the returned function
// is called: that one lets it tell what has happened by then, and waits for it, but no
// longer than for a worker. Steps the generators are told of, too.
func (r *run) listen(ctx context.Context) (end func() error) {
	system, ok := r.System.(cluster.Telling)
	if !ok {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan error, 1)
	go func() { told <- r.tell(ctx, system) }()
	return func() error {
		cancel()
		return patiently(told, "hear what the system tells: it has not come to an end")
	}
}

func (r *run) tell(ctx context.Context, system cluster.Telling) error {
	err := func() (err error) {
		defer r.in.recovered("tell", &err)
		return system.Tell(ctx, func(event string, value any) error { return r.told(ctx, event, value) })
	}()
	if err != nil {
		return fmt.Errorf("hear what the system tells: %w", err)
	}
	return nil
}

// told records an event.
func (r *run) told(ctx context.Context, event string, value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("record %s: %w", event, err)
	}
	op, err := r.in.journal.Append(histories.Op{Type: histories.Event, Process: histories.Observer, F: event, Value: encoded})
	if err != nil || event != histories.Step {
		return err
	}
	select {
	case r.in.seen <- op:
	case <-ctx.Done(): // no generator is asked any more
	}
	return nil
}
