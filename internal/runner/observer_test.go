package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/nemesis"
)

// observed is a system that shows its state as it is told.
type observed struct {
	system
	observe func(ctx context.Context) (cluster.State, error)
}

func (o *observed) Observe(ctx context.Context) (cluster.State, error) { return o.observe(ctx) }

// led is a cluster of one whose node leads in a term, and has committed so much.
func led(term, commit uint64) cluster.State {
	return cluster.State{"n1": {Role: cluster.RoleLeader, Term: term, Leader: "n1", Commit: commit, Voters: []string{"n1"}}}
}

// events returns the observer's, and checks that the history can be read.
func events(t *testing.T, history []byte) (events []histories.Op) {
	t.Helper()
	h, err := histories.Read(bytes.NewReader(history))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range h.All() {
		if op.Process == histories.Observer {
			events = append(events, op)
		}
	}
	return events
}

// observing returns a plan of a second with a nemesis, and what it logs.
func observing(t *testing.T, history *bytes.Buffer, observe func(ctx context.Context) (cluster.State, error)) (runner.Plan, *bytes.Buffer) {
	t.Helper()
	var logged bytes.Buffer
	plan := small(history)
	plan.System = &observed{observe: observe}
	plan.Nemesis = broken(t, &breakage{})
	plan.Log = slog.New(slog.NewTextHandler(&logged, nil))
	return plan, &logged
}

func TestChangesOfStateAreRecordedAndOnlyThose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		begun := time.Now()
		plan, _ := observing(t, &history, func(context.Context) (cluster.State, error) {
			now := time.Since(begun)
			return led(1+uint64(now/(300*time.Millisecond)), uint64(now/time.Millisecond)), nil
		})
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) > 0 {
			t.Errorf("got %v, %+v", err, outcome)
		}
		got := events(t, history.Bytes())
		if len(got) != 4 {
			t.Fatalf("got %v", got)
		}
		for i, op := range got {
			var s cluster.State
			if err := json.Unmarshal(op.Value, &s); err != nil || op.Type != histories.Event || op.F != histories.State || s["n1"].Term != uint64(i+1) {
				t.Errorf("got %v, %v", op, err)
			}
			if late := op.Time - time.Duration(i)*300*time.Millisecond; late < 0 || late > 25*time.Millisecond+1 {
				t.Errorf("term %d is seen after %v", i+1, late)
			}
		}
	})
}

// TestFaultIsTiedToWhatTheObserverSees: from the change of the state to the begin of
// the fault it takes one look.
func TestFaultIsTiedToWhatTheObserverSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		begun := time.Now()
		const change = 444 * time.Millisecond
		plan, _ := observing(t, &history, func(context.Context) (cluster.State, error) {
			if time.Since(begun) >= change {
				return led(2, 0), nil
			}
			return led(1, 0), nil
		})
		f := nemesis.Fault{Name: "break", New: func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) { return &breakage{}, nil }}
		p, err := nemesis.New([]nemesis.Fault{f}, nemesis.Env{Observed: plan.System.(*observed)}, nemesis.Options{
			Interval: time.Minute,
			Timetable: []nemesis.Entry{{
				Spec: nemesis.Spec{Fault: "break"}, On: nemesis.Anchor{Event: nemesis.LeaderChange}, For: 100 * time.Millisecond,
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		plan.Nemesis = p
		if _, err := runner.Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		h, err := histories.Read(&history)
		if err != nil {
			t.Fatal(err)
		}
		spans, err := h.Faults()
		if err != nil || len(spans) != 1 {
			t.Fatalf("got %v, %v", spans, err)
		}
		if late := spans[0].From - change; late < 0 || late > 26*time.Millisecond {
			t.Errorf("it began %v after the change", late)
		}
		if held := spans[0].To - spans[0].From; held < 99*time.Millisecond || held > 102*time.Millisecond {
			t.Errorf("it held for %v", held)
		}
	})
}

func TestObserverIsThereForTheNemesis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan, _ := observing(t, &history, func(context.Context) (cluster.State, error) {
			t.Error("it was observed")
			return nil, nil
		})
		plan.Nemesis = nemesis.Package{}
		if _, err := runner.Run(t.Context(), plan); err != nil {
			t.Error(err)
		}
	})
}

// TestSystemThatDoesNotShowItsStateCostsNothingElse: it is said once, and the run
// goes on.
func TestSystemThatDoesNotShowItsStateCostsNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		observe func(ctx context.Context) (cluster.State, error)
		logged  string
	}{
		"fails":  {func(context.Context) (cluster.State, error) { return nil, errors.New("not now") }, "not now"},
		"panics": {func(context.Context) (cluster.State, error) { panic("oh") }, "panicked: oh"},
		"hangs": {func(ctx context.Context) (cluster.State, error) {
			return nil, errors.Join(errors.New("slow"), pause(ctx, time.Hour))
		}, "deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var history bytes.Buffer
				plan, logged := observing(t, &history, test.observe)
				outcome, err := runner.Run(t.Context(), plan)
				if err != nil || len(outcome.Trouble) > 0 || outcome.OK < 1900 {
					t.Errorf("got %v, %+v", err, outcome)
				}
				if got := events(t, history.Bytes()); len(got) > 0 {
					t.Errorf("got %v", got)
				}
				if n := strings.Count(logged.String(), "does not show its state"); n != 1 || !strings.Contains(logged.String(), test.logged) {
					t.Errorf("said %d times: %s", n, logged)
				}
			})
		})
	}
}

func TestObserverThatNeverReturnsIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		release := make(chan struct{})
		plan, _ := observing(t, &history, func(context.Context) (cluster.State, error) {
			<-release
			return led(1, 1), nil
		})
		begun := time.Now()
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) != 1 || outcome.Trouble[0].Error() != "observe the system: it has not answered after 5s" {
			t.Errorf("got %v, %v", err, outcome.Trouble)
		}
		if took := time.Since(begun); took > 7*time.Second {
			t.Errorf("it took %v", took)
		}
		close(release)
	})
}

// visible is a memory that shows who leads.
type visible struct {
	*memory
	terms []string // who has led
}

func (v *visible) Observe(context.Context) (cluster.State, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	leader := v.elect()
	if n := len(v.terms); n == 0 || v.terms[n-1] != leader {
		v.terms = append(v.terms, leader)
	}
	s := cluster.State{}
	for _, n := range v.nodes {
		role := cluster.RoleFollower
		if n == leader {
			role = cluster.RoleLeader
		}
		s[n] = cluster.NodeState{Role: role, Term: uint64(len(v.terms)), Leader: leader, Voters: v.nodes}
	}
	return s, nil
}

// TestRunWithEventsIsJudgedByItsOps: what the observer records takes nothing from
// what clients did, whatever drives the faults.
func TestRunWithEventsIsJudgedByItsOps(t *testing.T) {
	table := []nemesis.Fault{nemesis.Partition()}
	for name, o := range map[string]nemesis.Options{
		"uniform":  {Specs: []nemesis.Spec{{Fault: "partition"}}},
		"adaptive": {Specs: []nemesis.Spec{{Fault: "partition"}, {Fault: "partition", Variant: "client"}}, Policy: nemesis.Adaptive},
		"anchored": {Timetable: []nemesis.Entry{
			{At: time.Second, Spec: nemesis.Spec{Fault: "partition", Variant: "leader"}, For: time.Second},
			{On: nemesis.Anchor{Event: nemesis.LeaderChange, To: 50 * time.Millisecond}, Spec: nemesis.Spec{Fault: "partition", Variant: "leader"}, For: time.Second},
		}},
	} {
		found := 0
		for seed := range uint64(4) {
			for _, bug := range []string{"", staleRead} {
				var history bytes.Buffer
				var plan runner.Plan
				synctest.Test(t, func(t *testing.T) {
					v := &visible{memory: newMemory(5, bug)}
					plan = planned(t, v.memory, seed, &history)
					plan.System = v
					o.Interval = 2 * time.Second
					p, err := nemesis.New(table, nemesis.Env{Nodes: v.nodes, Network: &v.network, Leader: v, Observed: v}, o)
					if err != nil {
						t.Fatal(err)
					}
					plan.Nemesis = p
					defer v.serving.Wait()
					outcome, err := runner.Run(t.Context(), plan)
					if err != nil || len(outcome.Trouble) > 0 {
						t.Errorf("%s: %v, %v", name, err, outcome.Trouble)
					}
				})
				if n := len(events(t, history.Bytes())); n < 3 {
					t.Errorf("%s, seed %d: %d events", name, seed, n)
				}
				h, err := histories.Read(bytes.NewReader(history.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				if c := nemesis.Covered(h); c.Distinct < 3 {
					t.Errorf("%s, seed %d: covered %+v", name, seed, c)
				}
				r := judged(t, plan.Workload.Checker, history.Bytes())
				if bug != "" && r.Verdict == checker.Invalid {
					found++
				}
				if bug == "" && r.Verdict != checker.Valid {
					t.Errorf("%s, seed %d: %s", name, seed, checkertest.Format(r))
				}
			}
		}
		if found < 3 && name != "anchored" { // which does next to nothing
			t.Errorf("%s: found %s in %d of 4 runs", name, staleRead, found)
		}
	}
}
