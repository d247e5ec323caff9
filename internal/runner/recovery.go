package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// recover waits until the system answers again, as an op of the nemesis.
func (r *run) recover(ctx context.Context) error {
	var again recovery
	if err := r.in.run(ctx, generator.OnNemesis(&again), nil); err != nil {
		return err
	}
	op := again.completion
	if op.Error != "" {
		r.trouble(fmt.Errorf("the system did not recover: %s", op.Error))
		r.trouble(r.ended())
		return nil
	}
	r.outcome.Recovered = true
	r.outcome.Recovery = op.Time - again.invoked
	r.Log.Info("recovered", "took", r.outcome.Recovery)
	return nil
}

// recovery generates it, and remembers how it went.
type recovery struct {
	begun      bool
	invoked    time.Duration
	completion histories.Op
}

func (y *recovery) Next(c generator.Context) generator.Step {
	if y.begun {
		return generator.Step{Done: true}
	}
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	y.begun, y.invoked = true, c.Now
	return generator.Step{Op: &histories.Op{Process: c.Free[0], F: histories.Recover, Value: json.RawMessage(`{}`)}}
}

func (y *recovery) Update(_ generator.Context, op histories.Op) {
	if op.F == histories.Recover && op.Type == histories.Info {
		y.completion = op
	}
}

// A recoverer is a nemesis that knows of recovery, too.
type recoverer struct {
	nemesis.Nemesis
	system cluster.System
}

func (y *recoverer) Invoke(ctx context.Context, op histories.Op) (any, error) {
	if op.F != histories.Recover {
		return y.Nemesis.Invoke(ctx, op)
	}
	begun := time.Now()
	again, err := y.revive()
	if err == nil {
		err = y.system.Ready(ctx)
	}
	if err != nil { // a node may have ended at last, of what a fault did to it
		more, failed := y.revive()
		if again = append(again, more...); len(more) > 0 && failed == nil {
			err = y.system.Ready(ctx)
		}
	}
	took := float64(time.Since(begun).Microseconds()) / 1000
	return struct {
		Took float64 `json:"took_ms"`
		// Again are the nodes that were started again.
		Again []string `json:"again,omitempty"`
	}{took, again}, err
}

func (y *recoverer) revive() (nodes []string, err error) {
	if y.Nemesis == nil {
		return nil, nil
	}
	return y.Nemesis.Revive()
}
