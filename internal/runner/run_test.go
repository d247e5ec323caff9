package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
)

// planned returns a run of 20 s on m, with partitions.
func planned(t *testing.T, m *memory, seed uint64, history *bytes.Buffer) runner.Plan {
	t.Helper()
	env := nemesis.Env{Nodes: m.nodes, Network: &m.network, Leader: m}
	p, err := nemesis.New([]nemesis.Fault{nemesis.Partition()}, env, nemesis.Options{
		Specs: []nemesis.Spec{{Fault: "partition"}}, Interval: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return runner.Plan{
		System:   m,
		Workload: register.New(register.Options{Rate: 150}, m.open, checker.Budget{}),
		Nemesis:  p,
		History:  history,
		Seed:     seed,
	}
}

// judged returns what the history comes to.
func judged(t *testing.T, c checker.Checker, history []byte) checker.Result {
	t.Helper()
	h, err := histories.Read(bytes.NewReader(history))
	if err != nil {
		t.Fatal(err)
	}
	result, err := c.Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// performed performs a run of 20 virtual seconds and judges it.
func performed(t *testing.T, seed uint64, bug string) (result checker.Result) {
	t.Helper()
	var history bytes.Buffer
	var plan runner.Plan
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(5, bug)
		plan = planned(t, m, seed, &history)
		defer m.serving.Wait()
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) > 0 || !outcome.Recovered || outcome.Interrupted {
			t.Errorf("seed %d: %v, %+v", seed, err, outcome)
		}
		if down := m.network.Down(); down != 0 {
			t.Errorf("seed %d: %d links are still cut", seed, down)
		}
	})
	return judged(t, plan.Workload.Checker, history.Bytes())
}

// seeds returns how many runs of n to perform.
func seeds(n int) int {
	if raced {
		return n / 10
	}
	return n
}

func TestCorrectStoreIsValid(t *testing.T) {
	for seed := range uint64(seeds(200)) {
		if r := performed(t, seed, ""); r.Verdict != checker.Valid {
			t.Fatalf("seed %d: %s", seed, checkertest.Format(r))
		}
	}
}

func TestBugsAreFound(t *testing.T) {
	for _, bug := range []string{staleRead, ackBeforeCommit, timeoutAsFail} {
		expectFound(t, bug, performed)
	}
}

// expectFound expects that most runs find the bug. A seed fixes not everything, and
// these runs are small: nearly all find it, and with 3 of 4 the test is one of the
// bug and not of luck. (What is asked of full runs in the lab is 9 of 10.)
func expectFound(t *testing.T, bug string, performed func(*testing.T, uint64, string) checker.Result) {
	t.Helper()
	found, missed := 0, 0
	for seed := 0; seed < seeds(10) || seed < 60 && found < 3*missed; seed++ {
		if performed(t, uint64(seed), bug).Verdict == checker.Invalid {
			found++
		} else {
			missed++
		}
	}
	t.Logf("%s: found in %d of %d runs", bug, found, found+missed)
	if found < 3*missed {
		t.Errorf("%s: found in %d of %d runs", bug, found, found+missed)
	}
}

// A lab has nodes that do what it is told they do.
type lab struct {
	cluster.Lab // what is not below is not used
	exited      chan struct{}
	stopped     chan string
	stop        error
}

func (*lab) Nodes() []cluster.Node { return []cluster.Node{{Name: "n1"}, {Name: "n2"}} }

func (l *lab) Exited(node string) <-chan struct{} {
	if node == "n2" {
		return l.exited
	}
	return nil
}

func (*lab) Log(node string, lines int) []string { return []string{node + " says", "goodbye"} }

func (l *lab) Stop(_ context.Context, node string) error {
	l.stopped <- node
	return l.stop
}

// A system starts and is ready as it is told.
type system struct {
	start func(node string) error
	ready func(ctx context.Context) error
}

func (*system) Name() string { return "system" }

func (s *system) Start(node string) error {
	if s.start == nil {
		return nil
	}
	return s.start(node)
}

func (s *system) Ready(ctx context.Context) error {
	if s.ready == nil {
		return nil
	}
	return s.ready(ctx)
}

// small returns a plan of a second of reads that take a millisecond.
func small(history *bytes.Buffer) runner.Plan {
	reads := generator.Of(func(generator.Context, histories.Process) histories.Op { return histories.Op{F: "read"} })
	return runner.Plan{
		System:    &system{},
		History:   history,
		Clients:   2,
		TimeLimit: time.Second,
		Workload: workloads.Workload{
			Main: generator.OnClients(reads),
			Final: generator.OnClients(generator.Limit(1, generator.Of(func(generator.Context, histories.Process) histories.Op {
				return histories.Op{F: "last"}
			}))),
			Open: func(context.Context, int) (workloads.Client, error) { return sleepy{}, nil },
		},
	}
}

type sleepy struct{}

func (sleepy) Close() error { return nil }

func (sleepy) Invoke(ctx context.Context, _ histories.Op) (workloads.Reply, error) {
	return workloads.Reply{}, pause(ctx, time.Millisecond)
}

// chapters returns the functions of a history in order, each but once in a row.
func chapters(t *testing.T, history []byte) string {
	t.Helper()
	h, err := histories.Read(bytes.NewReader(history))
	if err != nil {
		t.Fatal(err)
	}
	var fs []string
	for _, op := range h.All() {
		if op.Type == histories.Invoke {
			fs = append(fs, op.F)
		}
	}
	return strings.Join(slices.Compact(fs), " ")
}

func TestNodeThatDoesNotComeUpIsHeard(t *testing.T) {
	for name, test := range map[string]struct {
		system system
		exits  time.Duration // of n2; 0: it does not
		took   time.Duration
		want   []string
	}{
		"cannot start": {
			system: system{start: func(node string) error {
				if node == "n2" {
					return errors.New("no such file")
				}
				return nil
			}},
			want: []string{"n2: start: no such file", "n2 says\n\tgoodbye"},
		},
		"exits": {
			system: system{ready: func(ctx context.Context) error { return pause(ctx, time.Hour) }},
			exits:  time.Second,
			took:   time.Second,
			want:   []string{"n2: its process ended before the system was ready", "n2 says\n\tgoodbye"},
		},
		"hangs": {
			system: system{ready: func(ctx context.Context) error { return pause(ctx, time.Hour) }},
			took:   20 * time.Second,
			want:   []string{"wait for the system: context deadline exceeded", "n1 says\n\tgoodbye", "n2 says\n\tgoodbye"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lab{exited: make(chan struct{}), stopped: make(chan string, 2)}
				if test.exits > 0 {
					time.AfterFunc(test.exits, func() { close(l.exited) })
				}
				var history bytes.Buffer
				plan := small(&history)
				plan.Lab, plan.System = l, &test.system
				begun := time.Now()
				_, err := runner.Run(t.Context(), plan)
				if took := time.Since(begun); took != test.took {
					t.Errorf("it took %v", took)
				}
				for _, want := range test.want {
					if err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("got %v, want %s", err, want)
					}
				}
				if _, ok := errors.AsType[*runner.NodeError](err); !ok {
					t.Errorf("got %T", err)
				}
				if history.Len() > 0 || len(l.stopped) != 2 {
					t.Errorf("%d bytes of history; %d nodes were stopped", history.Len(), len(l.stopped))
				}
			})
		})
	}
}

func TestPhasesFollowOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := small(&history)
		l := &lab{stopped: make(chan string, 2)}
		plan.Lab = l
		plan.Nemesis = broken(t, &breakage{})
		var reports []runner.Progress
		plan.Progress = func(p runner.Progress) { reports = append(reports, p) }
		plan.ProgressEvery = 100 * time.Millisecond
		plan.Seed = 7
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || len(outcome.Trouble) > 0 || outcome.Interrupted || !outcome.Recovered {
			t.Errorf("got %v, %+v", err, outcome)
		}
		if got := chapters(t, history.Bytes()); !strings.HasPrefix(got, "read break read heal read") || !strings.HasSuffix(got, " heal recover last") {
			t.Errorf("got %s", got)
		}
		if outcome.OK < 1900 || outcome.OK != outcome.Invoked || outcome.Elapsed < time.Second || outcome.Elapsed > 1100*time.Millisecond {
			t.Errorf("got %+v", outcome)
		}
		if len(l.stopped) != 2 {
			t.Errorf("%d nodes were stopped", len(l.stopped))
		}
		forced := 0
		for i, p := range reports[:len(reports)-1] {
			if p.Elapsed >= time.Second {
				continue // just when the main phase ends
			}
			if p.Phase != "main" || p.Rate < 1900 || p.Rate > 2100 || p.Elapsed != time.Duration(i+1)*plan.ProgressEvery {
				t.Errorf("got %+v", p)
			}
			for _, f := range p.Faults {
				if f.Name != "break" || string(f.Detail) != `"all"` {
					t.Errorf("got %+v", f)
				}
				forced++
			}
		}
		if len(reports) != 11 || forced < 4 || forced > 9 {
			t.Errorf("%d reports, %d of a fault", len(reports), forced)
		}
		if last := reports[len(reports)-1]; last.Phase != "stop" || last.Counts != outcome.Counts || len(last.Faults) > 0 {
			t.Errorf("got %+v, want %+v", last, outcome.Counts)
		}
	})
}

// A breakage is a fault that says what it did.
type breakage struct{ begun, ended atomic.Int64 }

func (b *breakage) Draw(*rand.Rand) any { return "all" }

func (b *breakage) Begin(context.Context, json.RawMessage) (nemesis.Held, error) {
	b.begun.Add(1)
	return b, nil
}

func (b *breakage) Detail() any { return "all" }

func (b *breakage) End(context.Context) (uint64, any, error) {
	b.ended.Add(1)
	return 1, nil, nil
}

// broken returns a nemesis that breaks every 300 ms, for 200 ms.
func broken(t *testing.T, b *breakage) nemesis.Package {
	t.Helper()
	f := nemesis.Fault{Name: "break", New: func(nemesis.Env, nemesis.Spec) (nemesis.Breaker, error) { return b, nil }}
	p, err := nemesis.New([]nemesis.Fault{f}, nemesis.Env{}, nemesis.Options{
		Specs: []nemesis.Spec{{Fault: "break"}}, Interval: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestInterruptedRunStillHealsAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		b := &breakage{}
		plan := small(&history)
		plan.TimeLimit = time.Hour
		plan.Nemesis = broken(t, b)
		interrupt := make(chan struct{})
		plan.Interrupt = interrupt
		time.AfterFunc(time.Second, func() { close(interrupt) })
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || !outcome.Interrupted || !outcome.Recovered || len(outcome.Trouble) > 0 {
			t.Errorf("got %v, %+v", err, outcome)
		}
		if outcome.Elapsed > 1010*time.Millisecond {
			t.Errorf("it took %v", outcome.Elapsed)
		}
		if got := chapters(t, history.Bytes()); !strings.HasSuffix(got, " recover last") {
			t.Errorf("got %s", got)
		}
		if b.begun.Load() == 0 || b.begun.Load() != b.ended.Load() {
			t.Errorf("%d begun, %d ended", b.begun.Load(), b.ended.Load())
		}
	})
}

func TestInterruptedBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := small(&history)
		plan.System = &system{ready: func(ctx context.Context) error { return pause(ctx, time.Hour) }}
		interrupt := make(chan struct{})
		plan.Interrupt = interrupt
		time.AfterFunc(time.Second, func() { close(interrupt) })
		begun := time.Now()
		if _, err := runner.Run(t.Context(), plan); !errors.Is(err, runner.ErrInterrupted) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took != time.Second || history.Len() > 0 {
			t.Errorf("it took %v and wrote %d bytes", took, history.Len())
		}
	})
}

func TestCancelledRunIsHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		b := &breakage{}
		plan := small(&history)
		plan.TimeLimit = time.Hour
		plan.Nemesis = broken(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 1130*time.Millisecond)
		defer cancel()
		if _, err := runner.Run(ctx, plan); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if b.begun.Load() == 0 || b.begun.Load() != b.ended.Load() {
			t.Errorf("%d begun, %d ended", b.begun.Load(), b.ended.Load())
		}
		if got := chapters(t, history.Bytes()); strings.Contains(got, "recover") || strings.Contains(got, "last") {
			t.Errorf("it went on: %s", got)
		}
	})
}

func TestFullDiskIsAnErrorAndHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &breakage{}
		plan := small(nil)
		full := errors.New("no space left")
		plan.History = writer(func(p []byte) (int, error) {
			if b.begun.Load() > 1 {
				return 0, full
			}
			return len(p), nil
		})
		plan.Nemesis = broken(t, b)
		outcome, err := runner.Run(t.Context(), plan)
		if !errors.Is(err, full) || outcome.Elapsed >= time.Second {
			t.Errorf("got %v after %v", err, outcome.Elapsed)
		}
		if b.begun.Load() != b.ended.Load() {
			t.Errorf("%d begun, %d ended", b.begun.Load(), b.ended.Load())
		}
	})
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestTroubleIsToldBesideTheRun: what fails after the main phase takes nothing away
// from what was recorded.
func TestTroubleIsToldBesideTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := small(&history)
		l := &lab{exited: make(chan struct{}), stopped: make(chan string, 2), stop: errors.New("it will not")}
		up := true
		plan.Lab = l
		plan.System = &system{ready: func(ctx context.Context) error {
			if up {
				up = false
				return nil
			}
			close(l.exited)
			return pause(ctx, time.Hour)
		}}
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || outcome.Recovered {
			t.Errorf("got %v, %+v", err, outcome)
		}
		told := errors.Join(outcome.Trouble...).Error()
		for _, want := range []string{
			"the system did not recover: context deadline exceeded",
			"n2: it runs no process; its last lines:\n\tn2 says",
			"stop n1: it will not\nstop n2: it will not",
		} {
			if !strings.Contains(told, want) {
				t.Errorf("got %s, want %s", told, want)
			}
		}
		if got := chapters(t, history.Bytes()); got != "read recover last" {
			t.Errorf("got %s", got)
		}
	})
}

// A lastWord ends a node when nobody looks: it is started again once.
type lastWord struct {
	nemesis.Nemesis
	revived int
}

func (l *lastWord) Revive() ([]string, error) {
	if l.revived++; l.revived == 2 {
		return []string{"n1"}, nil
	}
	return nil, nil
}

func (l *lastWord) Heal(context.Context) error { return nil }

func TestNodeThatEndsAfterAllWasHealedIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var history bytes.Buffer
		plan := small(&history)
		asked := 0
		plan.System = &system{ready: func(context.Context) error {
			if asked++; asked == 2 {
				return errors.New("n1 has ended")
			}
			return nil
		}}
		plan.Nemesis.Nemesis = &lastWord{}
		outcome, err := runner.Run(t.Context(), plan)
		if err != nil || !outcome.Recovered || asked != 3 {
			t.Errorf("asked %d times: %v, %+v", asked, err, outcome)
		}
		if !bytes.Contains(history.Bytes(), []byte(`"again":["n1"]`)) {
			t.Errorf("the history does not tell:\n%s", history.Bytes())
		}
	})
}
