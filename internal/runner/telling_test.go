package runner_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/runner"
)

// telling is a system that tells.
type telling struct {
	system
	tell func(ctx context.Context, record func(string, any) error) error
}

func (t *telling) Tell(ctx context.Context, record func(string, any) error) error {
	return t.tell(ctx, record)
}

// TestWhatASystemTellsIsRecorded: up to what it tells when it hears that the run is over,
// and whether or not there is a nemesis.
func TestWhatASystemTellsIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := small(&history)
		plan.System = &telling{tell: func(ctx context.Context, record func(string, any) error) error {
			if err := record("beat", map[string]int{"n": 1}); err != nil {
				return err
			}
			time.Sleep(100 * time.Millisecond)
			if err := record(histories.Step, map[string]string{"step": "half-way"}); err != nil {
				return err
			}
			<-ctx.Done()
			return record("beat", map[string]int{"n": 2})
		}}
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) > 0 {
			t.Fatalf("got %v, %+v", err, outcome)
		}
		var got []string
		for _, op := range events(t, history.Bytes()) {
			got = append(got, op.F+" "+string(op.Value))
		}
		if want := `beat {"n":1}|step {"step":"half-way"}|beat {"n":2}`; strings.Join(got, "|") != want {
			t.Errorf("got %q, want %s", got, want)
		}
	})
}

// TestASystemThatTellsNoMoreIsTrouble, and no more than that: so is one that never ends.
func TestASystemThatTellsNoMoreIsTrouble(t *testing.T) {
	for name, tell := range map[string]func(context.Context, func(string, any) error) error{
		"error":  func(context.Context, func(string, any) error) error { return errors.New("the pipe is broken") },
		"panic":  func(context.Context, func(string, any) error) error { panic("the pipe is broken") },
		"no end": func(context.Context, func(string, any) error) error { time.Sleep(time.Hour); return nil },
		"no value": func(_ context.Context, record func(string, any) error) error {
			return record("beat", make(chan int))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var history bytes.Buffer
				plan := small(&history)
				plan.System = &telling{tell: tell}
				outcome, err := runner.Run(t.Context(), plan)
				if err != nil || len(outcome.Trouble) != 1 || !strings.Contains(outcome.Trouble[0].Error(), "hear what the system tells") {
					t.Errorf("got %v, %v", err, outcome.Trouble)
				}
				time.Sleep(2 * time.Hour) // until nobody is left
			})
		})
	}
}
