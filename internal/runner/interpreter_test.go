package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A fakeClient does what invoke says, after a millisecond.
type fakeClient struct {
	invoke func(ctx context.Context, op histories.Op) (workloads.Reply, error)
	close  func() error
}

func (c *fakeClient) Invoke(ctx context.Context, op histories.Op) (workloads.Reply, error) {
	time.Sleep(time.Millisecond)
	if c.invoke == nil {
		return workloads.Reply{}, nil
	}
	return c.invoke(ctx, op)
}

func (c *fakeClient) Close() error {
	if c.close == nil {
		return nil
	}
	return c.close()
}

// invoking returns clients that do what invoke says.
func invoking(invoke func(context.Context, histories.Op) (workloads.Reply, error)) func(context.Context, int) (workloads.Client, error) {
	return func(context.Context, int) (workloads.Client, error) { return &fakeClient{invoke: invoke}, nil }
}

// A stage is an interpreter that writes into memory.
type stage struct {
	*interpreter
	t    *testing.T
	file bytes.Buffer
	log  bytes.Buffer // what it warned of
}

func newStage(t *testing.T, clients int, open func(context.Context, int) (workloads.Client, error)) *stage {
	s := &stage{t: t}
	s.interpreter = &interpreter{
		begun: time.Now(), log: slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		open: open, nemesis: &recoverer{},
		timeout: time.Second, nemesisTimeout: 30 * time.Second, grace: 5 * time.Second,
	}
	s.journal = histories.NewJournal(&s.file, s.now)
	s.start(clients, rand.New(rand.NewPCG(1, 2)))
	return s
}

// play runs g and returns the history, one op a line: "0 invoke write".
func (s *stage) play(g generator.Generator) (*histories.History, string) {
	s.t.Helper()
	if err := s.run(s.t.Context(), g, nil); err != nil {
		s.t.Error(err)
	}
	if err := s.close(); err != nil {
		s.t.Error(err)
	}
	return s.history()
}

func (s *stage) history() (*histories.History, string) {
	s.t.Helper()
	if err := s.journal.Close(); err != nil {
		s.t.Error(err)
	}
	h, err := histories.Read(&s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for _, op := range h.All() {
		lines = append(lines, op.String())
	}
	return h, strings.Join(lines, "\n")
}

// writes yields n writes, of what does not matter.
func writes(n int) generator.Generator {
	return generator.OnClients(generator.Limit(n, generator.Of(func(generator.Context, histories.Process) histories.Op {
		return histories.Op{F: "write"}
	})))
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatClientsSayIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		replies := []struct {
			reply workloads.Reply
			err   error
		}{
			{workloads.Reply{Value: json.RawMessage(`7`), Meta: json.RawMessage(`{"term":3}`), Node: "n2"}, nil},
			{workloads.Reply{}, nil},
			{workloads.Reply{Meta: json.RawMessage(`{"current":5}`)}, workloads.Definite(errors.New("refused"))},
			{workloads.Reply{Value: json.RawMessage(`9`)}, errors.New(strings.Repeat("long ", 100) + "\nand two lines")},
		}
		i := -1
		s := newStage(t, 1, invoking(func(context.Context, histories.Op) (workloads.Reply, error) {
			i++
			return replies[i].reply, replies[i].err
		}))
		h, _ := s.play(generator.OnClients(generator.Limit(4, generator.Of(func(generator.Context, histories.Process) histories.Op {
			return histories.Op{F: "write", Value: json.RawMessage(`1`), Node: "n1"}
		}))))
		var got []string
		for _, op := range h.All() {
			if op.Type != histories.Invoke {
				got = append(got, fmt.Sprintf("%v %s %s %s", op.Type, op.Value, op.Meta, op.Node))
			}
		}
		expect(t, strings.Join(got, "\n"), "ok 7 {\"term\":3} n2\nok 1  n1\nfail 1 {\"current\":5} n1\ninfo 1  n1")
		if e := h.At(7).Error; !strings.HasPrefix(e, "long long") || len(e) > 210 || strings.Contains(e, "\n") {
			t.Errorf("got %q", e)
		}
	})
}

func TestIndeterminateOpEndsProcessAndClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		open, opened := 0, 0
		s := newStage(t, 2, func(_ context.Context, worker int) (workloads.Client, error) {
			mu.Lock()
			defer mu.Unlock()
			open++
			opened++
			return &fakeClient{
				invoke: func(context.Context, histories.Op) (workloads.Reply, error) {
					if worker == 1 {
						return workloads.Reply{}, errors.New("gone")
					}
					return workloads.Reply{}, nil
				},
				close: func() error {
					mu.Lock()
					defer mu.Unlock()
					open--
					return nil
				},
			}, nil
		})
		h, _ := s.play(writes(8))
		var processes []string
		for _, op := range h.All() {
			if op.Type != histories.Invoke {
				processes = append(processes, fmt.Sprint(op.Process, " ", op.Type))
			}
		}
		for _, want := range []string{"1 info", "3 info", "5 info", "7 info", "0 ok"} {
			if !strings.Contains(strings.Join(processes, "\n"), want) {
				t.Errorf("no %s in %q", want, processes)
			}
		}
		if opened != 5 || open != 0 {
			t.Errorf("opened %d clients, %d are still open", opened, open)
		}
	})
}

func TestStuckClientEndsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		s := newStage(t, 2, invoking(func(_ context.Context, op histories.Op) (workloads.Reply, error) {
			if op.Process == 0 {
				<-forever // whatever ctx says
			}
			return workloads.Reply{}, nil
		}))
		h, _ := s.play(generator.Phases(writes(2), writes(2)))
		if took := time.Since(s.begun); took < 6*time.Second || took > 6100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		var got []string
		for _, op := range h.All() {
			if op.Type != histories.Invoke {
				got = append(got, fmt.Sprint(op.Process, " ", op.Type))
			}
		}
		expect(t, strings.Join(got[:2], ", "), "1 ok, 0 info")
		if !slices.Contains(got[2:], "2 ok") {
			t.Errorf("nobody took over: %q", got)
		}
		if log := s.log.String(); strings.Count(log, "given up") != 1 || !strings.Contains(log, "worker=0") {
			t.Errorf("got %s", log)
		}
		close(forever) // it comes back, and nobody cares
		synctest.Wait()
		if n := len(s.completed); n != 0 {
			t.Errorf("%d more completions", n)
		}
	})
}

func TestDeadlineIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, invoking(func(ctx context.Context, _ histories.Op) (workloads.Reply, error) {
			<-ctx.Done()
			return workloads.Reply{}, ctx.Err()
		}))
		_, got := s.play(writes(2))
		expect(t, got, "0 invoke write\n0 info write (context deadline exceeded)\n1 invoke write\n1 info write (context deadline exceeded)")
		if took := time.Since(s.begun); took > 2010*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestPanickingClientIsIndeterminate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, invoking(func(context.Context, histories.Op) (workloads.Reply, error) { panic("oh no") }))
		_, got := s.play(writes(2))
		expect(t, got, "0 invoke write\n0 info write (panicked: oh no)\n1 invoke write\n1 info write (panicked: oh no)")
		if log := s.log.String(); strings.Count(log, "msg=panic") != 1 || !strings.Contains(log, "interpreter_test.go") {
			t.Errorf("got %s", log)
		}
	})
}

func TestClientThatCannotOpenFailsDefinitely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s := newStage(t, 1, func(context.Context, int) (workloads.Client, error) {
			if tries++; tries <= 2 {
				return nil, errors.New("nobody there")
			}
			return &fakeClient{}, nil
		})
		_, got := s.play(writes(3))
		const failed = "0 invoke write\n0 fail write (open: nobody there)\n"
		expect(t, got, failed+failed+"0 invoke write\n0 ok write")
		if took := time.Since(s.begun); took < 2*pauseAfterOpen {
			t.Errorf("it hammers: two failures in %v", took)
		}
	})
}

func TestClientThatCannotCloseHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		s := newStage(t, 1, func(context.Context, int) (workloads.Client, error) {
			return &fakeClient{
				invoke: func(context.Context, histories.Op) (workloads.Reply, error) {
					return workloads.Reply{}, errors.New("gone")
				},
				close: func() error { <-forever; return nil },
			}, nil
		})
		if err := s.run(t.Context(), writes(10), nil); err != nil {
			t.Error(err)
		}
		if took := time.Since(s.begun); took > 20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if err := s.close(); err == nil || err.Error() != "close clients: those of workers [0] have not ended after 5s" {
			t.Errorf("got %v", err)
		}
		close(forever)
		s.history()
	})
}

// attentive is a generator that looks at what it is told.
type attentive struct {
	generator.Generator
	update func(generator.Context, histories.Op)
}

func (a attentive) Update(c generator.Context, op histories.Op) {
	a.update(c, op)
	a.Generator.Update(c, op)
}

// TestCompletionsComeFirst: when the generator is asked, it knows of everything
// that has completed.
func TestCompletionsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 7
		outstanding, most, completed := 0, 0, 0
		s := newStage(t, clients, invoking(nil))
		all := generator.Of(func(c generator.Context, _ histories.Process) histories.Op {
			time.Sleep(time.Millisecond) // as long as an op takes, so that some have completed meanwhile
			synctest.Wait()
			if len(c.Busy)+len(c.Free) != clients || len(c.Busy) != outstanding {
				t.Errorf("busy %v, free %v, and %d are outstanding", c.Busy, c.Free, outstanding)
			}
			return histories.Op{F: "write"}
		})
		s.play(attentive{generator.OnClients(generator.Limit(50, all)), func(_ generator.Context, op histories.Op) {
			if op.Type == histories.Invoke {
				outstanding++
				most = max(most, outstanding)
				return
			}
			outstanding--
			completed++
		}})
		if completed != 50 || most > 2 {
			t.Errorf("%d completed; up to %d outstanding, though each has completed when the next begins", completed, most)
		}
	})
}

func TestLongestIdleProcessComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 3, invoking(func(_ context.Context, op histories.Op) (workloads.Reply, error) {
			time.Sleep(time.Duration(3-op.Process) * time.Second / 10)
			return workloads.Reply{}, nil
		}))
		s.play(writes(3))
		if free := fmt.Sprint(s.context.Free); free != "[nemesis 2 1 0]" {
			t.Errorf("free are %s", free)
		}
	})
}

func TestStopEndsAtOnceAndWaitsForWhatIsOutstanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 3, invoking(func(context.Context, histories.Op) (workloads.Reply, error) {
			time.Sleep(100 * time.Millisecond)
			return workloads.Reply{}, nil
		}))
		stop := make(chan struct{})
		go func() {
			time.Sleep(time.Second)
			close(stop)
		}()
		if err := s.run(t.Context(), writes(1<<30), stop); err != nil {
			t.Error(err)
		}
		if took := time.Since(s.begun); took < time.Second || took > 1200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		s.play(generator.Nothing())
		if c := s.tally.counts(); c.Invoked != c.OK || c.OK < 27 {
			t.Errorf("got %+v", c)
		}
	})
}

func TestCancelledRunStillCompletesItsHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		s := newStage(t, 2, invoking(func(ctx context.Context, op histories.Op) (workloads.Reply, error) {
			if op.Process == 0 {
				<-forever
			}
			<-ctx.Done()
			return workloads.Reply{}, ctx.Err()
		}))
		s.timeout = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		if err := s.run(ctx, writes(10), nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(s.begun); took > time.Second+s.grace+time.Second {
			t.Errorf("it took %v", took)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		h, all := s.history()
		if c := s.tally.counts(); c.Invoked != 2 || c.Info != 2 || h.Len() != 4 {
			t.Errorf("got %+v\n%s", c, all)
		}
		close(forever)
	})
}

// A disk is full after some writes.
type disk struct{ left int }

var errFull = errors.New("no space left")

func (d *disk) Write(p []byte) (int, error) {
	if d.left--; d.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestFullDiskEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 5, invoking(nil))
		if err := s.journal.Close(); err != nil {
			t.Error(err)
		}
		s.journal = histories.NewJournal(&disk{left: 10}, s.now)
		if err := s.run(t.Context(), writes(1<<30), nil); !errors.Is(err, errFull) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(s.begun); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		if err := s.journal.Close(); !errors.Is(err, errFull) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGeneratorThatWantsABusyProcessPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2, invoking(nil))
		defer func() {
			if r := recover(); r != "runner: generator wants a write of 0, which is not free" {
				t.Errorf("got %v", r)
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
			s.history()
		}()
		_ = s.run(t.Context(), greedy{}, nil)
	})
}

type greedy struct{}

func (greedy) Next(generator.Context) generator.Step {
	return generator.Step{Op: &histories.Op{F: "write", Process: 0}}
}
func (greedy) Update(generator.Context, histories.Op) {}

// fakeNemesis does what invoke says.
type fakeNemesis struct {
	invoke func(ctx context.Context, op histories.Op) (any, error)
	healed int
}

func (n *fakeNemesis) Invoke(ctx context.Context, op histories.Op) (any, error) {
	return n.invoke(ctx, op)
}

func (n *fakeNemesis) Revive() ([]string, error) { return nil, nil }

func (n *fakeNemesis) Heal(context.Context) error {
	n.healed++
	return nil
}

func faults(fs ...string) generator.Generator {
	var gs []generator.Generator
	for i, f := range fs {
		gs = append(gs, generator.Limit(1, generator.Of(func(generator.Context, histories.Process) histories.Op {
			return histories.Op{F: f, Value: json.RawMessage(fmt.Sprintf(`{"id":%d,"fault":%q}`, i, f))}
		})))
	}
	return generator.OnNemesis(generator.Phases(gs...))
}

func TestNemesisLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, invoking(nil))
		forever := make(chan struct{})
		s.nemesis.(*recoverer).Nemesis = &fakeNemesis{invoke: func(ctx context.Context, op histories.Op) (any, error) {
			switch op.F {
			case "good":
				return map[string]int{"done": 1}, nil
			case "bad":
				return nil, errors.New("it holds")
			case "odd":
				return make(chan int), nil
			case "slow":
				<-ctx.Done()
				return nil, ctx.Err()
			case "mad":
				panic("aargh")
			}
			<-forever
			return nil, nil
		}}
		_, got := s.play(faults("good", "bad", "odd", "slow", "mad", "stuck", "good"))
		expect(t, got, `nemesis invoke good {"id":0,"fault":"good"}
nemesis info good {"done":1}
nemesis invoke bad {"id":1,"fault":"bad"}
nemesis info bad {"id":1,"fault":"bad"} (it holds)
nemesis invoke odd {"id":2,"fault":"odd"}
nemesis info odd {"id":2,"fault":"odd"} (json: unsupported type: chan int)
nemesis invoke slow {"id":3,"fault":"slow"}
nemesis info slow {"id":3,"fault":"slow"} (context deadline exceeded)
nemesis invoke mad {"id":4,"fault":"mad"}
nemesis info mad {"id":4,"fault":"mad"} (panicked: aargh)
nemesis invoke stuck {"id":5,"fault":"stuck"}
nemesis info stuck {"id":5,"fault":"stuck"} (did not return after its deadline)
nemesis invoke good {"id":6,"fault":"good"}
nemesis info good {"done":1}`)
		if took := time.Since(s.begun); took != 65*time.Second {
			t.Errorf("it took %v", took)
		}
		close(forever)
	})
}

func TestTallyKnowsTheFaultsInForce(t *testing.T) {
	var y tally
	complete := func(f, value, err string) string {
		y.complete(histories.Op{Process: histories.Nemesis, Type: histories.Info, F: f, Value: json.RawMessage(value), Error: err})
		var names []string
		for _, f := range y.inForce() {
			names = append(names, f.Name)
		}
		return strings.Join(names, " ")
	}
	for _, step := range []struct{ f, value, err, want string }{
		{"kill", `{"id":0,"fault":"kill"}`, "", "kill"},
		{"partition", `{"id":1,"fault":"partition:ring"}`, "", "kill partition:ring"},
		{"pause", `{"id":2,"fault":"pause"}`, "no such node", "kill partition:ring"},
		{"heal", `{"id":0,"fault":"kill"}`, "it is dead", "kill partition:ring"},
		{"heal", `{"id":0,"fault":"kill"}`, "", "partition:ring"},
		{"recover", `{"took_ms":1}`, "", "partition:ring"},
		{"heal", `{"id":1,"fault":"partition:ring"}`, "", ""},
	} {
		if got := complete(step.f, step.value, step.err); got != step.want {
			t.Errorf("after %s %s: got %q, want %q", step.f, step.value, got, step.want)
		}
	}
}

// TestDeadlineIsAContext: clients derive others from it, and they end with it.
func TestDeadlineIsAContext(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		parent := context.WithValue(t.Context(), key{}, "value")
		d := &deadline{parent: parent, at: time.Now().Add(time.Second)}
		if at, ok := d.Deadline(); !ok || time.Until(at) != time.Second || d.Err() != nil || d.Value(key{}) != "value" {
			t.Errorf("got %v, %v, %v", at, d.Err(), d.Value(key{}))
		}
		child, cancel := context.WithCancel(d)
		defer cancel()
		<-child.Done()
		if !errors.Is(child.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v", child.Err())
		}
		late := &deadline{parent: parent, at: time.Now().Add(time.Second)}
		late.end()
		if !errors.Is(late.Err(), context.Canceled) {
			t.Errorf("asked when all is over: %v", late.Err())
		}
		soon, cancel := context.WithTimeout(parent, time.Millisecond)
		defer cancel()
		inherited := &deadline{parent: soon, at: time.Now().Add(time.Second)}
		if at, _ := inherited.Deadline(); time.Until(at) != time.Millisecond {
			t.Errorf("outlives its parent: %v", time.Until(at))
		}
		<-inherited.Done()
	})
}
