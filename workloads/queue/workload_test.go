package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A system keeps queues in memory, and makes a mistake.
type system struct {
	holds   map[string][]int64
	calls   int
	mistake mistake
}

// A mistake is what goes wrong with every hundredth call.
type mistake int

const (
	none mistake = iota
	dropsEnqueue
	keepsDequeued
	takesSecond
	saysEmpty
	invents
	mixesUp
)

var mistakes = map[mistake][]string{
	dropsEnqueue:  {lost},
	keepsDequeued: {duplicated},
	takesSecond:   {outOfOrder},
	saysEmpty:     {notEmpty},
	invents:       {phantom},
	mixesUp:       {phantom},
}

// wrong says whether this call is one to make the mistake with.
func (s *system) wrong(m mistake) bool { return s.mistake == m && s.calls%100 == 0 }

func (s *system) Enqueue(_ context.Context, queue string, v int64) (workloads.Said, error) {
	s.calls++
	if !s.wrong(dropsEnqueue) {
		s.holds[queue] = append(s.holds[queue], v)
	}
	return workloads.Said{}, nil
}

func (s *system) Dequeue(_ context.Context, queue string) (Result, error) {
	s.calls++
	if s.wrong(mixesUp) {
		for other := range s.holds {
			if other != queue && len(s.holds[other]) > 0 {
				queue = other
			}
		}
	}
	values := s.holds[queue]
	if len(values) == 0 || s.wrong(saysEmpty) {
		return Result{Empty: true}, nil
	}
	if s.wrong(invents) {
		return Result{Value: -7}, nil
	}
	at := 0
	if len(values) > 1 && s.wrong(takesSecond) {
		at = 1
	}
	v := values[at]
	if !s.wrong(keepsDequeued) {
		s.holds[queue] = slices.Delete(values, at, at+1)
	}
	return Result{Value: v}, nil
}

func (s *system) Close() error { return nil }

// played returns what the checker says of a run against s.
func played(t *testing.T, s *system, o Options, p workloadtest.Play) checker.Result {
	t.Helper()
	p.Main = 2 * time.Second
	s.holds = map[string][]int64{}
	w := New(o, func(context.Context, int) (Queue, error) { return s, nil })
	_, r, err := p.Judge(w)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsAsItShouldBeIsValid(t *testing.T) {
	for _, p := range []workloadtest.Play{
		{},
		{Seed: 1, Workers: 1},
		{Seed: 2, Refused: 0.1},
		{Seed: 3, Lost: 0.02, Refused: 0.02},
		{Seed: 4, Lost: 0.3},
	}[:workloadtest.Cases(5)] {
		r := played(t, &system{}, Options{}, p)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: got %s", p, checkertest.Format(r))
		}
		c := r.Parts[0].Counts
		if c["enqueued"] < 120 || c["dequeued"] < c["enqueued"]*8/10 || c["empty"] < c["queues"] {
			t.Errorf("%+v: got %v", p, c)
		}
	}
}

func TestMistakesAreNoticed(t *testing.T) {
	for m, kinds := range workloadtest.Some(mistakes) {
		for seed := range uint64(workloadtest.Cases(2)) {
			p := workloadtest.Play{Seed: seed, Lost: 0.01 * float64(seed), Refused: 0.01}
			r := played(t, &system{mistake: m}, Options{}, p)
			if r.Verdict != checker.Invalid {
				t.Errorf("%v, %+v: got %s", m, p, checkertest.Format(r))
			}
			for _, kind := range kinds {
				if r.Parts[0].Counts[kind] == 0 {
					t.Errorf("%v, %+v: got no %s: %s", m, p, kind, checkertest.Format(r))
				}
			}
		}
	}
}

// TestNoOrderIsAskedForWhereNoneIsPromised, but all else is.
func TestNoOrderIsAskedForWhereNoneIsPromised(t *testing.T) {
	if r := played(t, &system{mistake: takesSecond}, Options{Unordered: true}, workloadtest.Play{}); r.Verdict != checker.Valid || r.Name != "total-queue" {
		t.Errorf("got %s", checkertest.Format(r))
	}
	if r := played(t, &system{mistake: dropsEnqueue}, Options{Unordered: true}, workloadtest.Play{}); r.Parts[0].Counts[lost] == 0 {
		t.Errorf("got %s", checkertest.Format(r))
	}
}

// simulated returns what a simulation makes of the workload.
func simulated(t *testing.T, o Options, limit time.Duration, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(New(o, nil), limit, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func argument(t *testing.T, op histories.Op) input {
	t.Helper()
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		t.Fatalf("%v: %v", op, err)
	}
	return in
}

func TestQueuesAreUsedAndRetired(t *testing.T) {
	const limit = 20 * time.Second
	ops := simulated(t, Options{Queues: 3, OpsPerQueue: 60}, limit, generatortest.Simulation{Repeat: 2})
	count, dequeues := map[string]int{}, map[string]int{}
	values := map[int64]bool{}
	for _, op := range ops {
		if op.Type != histories.Invoke || op.Time >= limit {
			continue
		}
		in := argument(t, op)
		count[in.queue]++
		if op.F == Dequeue {
			dequeues[in.queue]++
			continue
		}
		if values[in.value] {
			t.Errorf("%d is enqueued twice", in.value)
		}
		values[in.value] = true
	}
	stores, unfinished := 0, 0
	for queue, n := range count {
		want := 60
		if dequeues[queue] == 0 && n <= storeOps {
			stores++
			want = storeOps
		}
		if n > want {
			t.Errorf("%s: %d operations", queue, n)
		}
		if n < want {
			unfinished++
		}
	}
	if len(count) < 100 || unfinished > 3 || stores < len(count)/4-1 || stores > len(count)/4+1 {
		t.Errorf("%d queues, of which %d are stores and %d were given up early", len(count), stores, unfinished)
	}
}

// TestManyIndeterminateDequeuesRetireAQueue: each excuses a loss.
func TestManyIndeterminateDequeuesRetireAQueue(t *testing.T) {
	ops := simulated(t, Options{}, 30*time.Second, generatortest.Simulation{
		Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			if r.IntN(4) == 0 {
				return histories.Info, 100 * time.Millisecond
			}
			return histories.OK, 10 * time.Millisecond
		},
	})
	unsure := map[string]int{}
	for _, op := range ops {
		if op.Type == histories.Info && op.F == Dequeue && op.Time < 30*time.Second {
			unsure[argument(t, op).queue]++
		}
	}
	for queue, n := range unsure {
		if n > maxIndeterminate+9 { // all other workers may have one outstanding
			t.Errorf("%s: %d indeterminate dequeues", queue, n)
		}
	}
	if len(unsure) < 20 {
		t.Errorf("only %d queues", len(unsure))
	}
}

// TestTheEndEmptiesAllQueues, whatever trouble there is.
func TestTheEndEmptiesAllQueues(t *testing.T) {
	queues := &queues{}
	for i := range 30 {
		queues.open(i, 100)
	}
	d := &drain{queues: queues}
	emptied, open := map[string]bool{}, map[string]bool{}
	ops, err := generatortest.Simulation{Workers: 4, Ops: 1_000_000, Repeat: 2, Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
		return []histories.Type{histories.OK, histories.Fail, histories.Info}[r.IntN(3)], time.Duration(r.IntN(1e7))
	}}.Run(generator.OnClients(d))
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		queue := argument(t, op).queue
		if op.Type == histories.Invoke && (open[queue] || emptied[queue]) {
			t.Errorf("%v: two at a time, or one too many", op)
		}
		open[queue] = op.Type == histories.Invoke
		emptied[queue] = emptied[queue] || op.Type == histories.OK // the simulation's answer has no value
	}
	if len(emptied) != 30 || slices.Contains(slices.Collect(maps.Values(emptied)), false) {
		t.Errorf("got %v", emptied)
	}
}

func TestRateIsKept(t *testing.T) {
	if err := workloadtest.KeepsRate(New(Options{Rate: 50}, nil), 50); err != nil {
		t.Error(err)
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(New(Options{FinalLimit: 2 * time.Second}, nil), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// A stub is a Queue that says what it is told.
type stub struct {
	calls  []string
	result Result
	err    error
}

func (s *stub) Enqueue(_ context.Context, queue string, v int64) (workloads.Said, error) {
	s.calls = append(s.calls, fmt.Sprintf("enqueue %s %d", queue, v))
	return s.result.Said, s.err
}

func (s *stub) Dequeue(_ context.Context, queue string) (Result, error) {
	s.calls = append(s.calls, "dequeue "+queue)
	return s.result, s.err
}

func (s *stub) Close() error { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	seven := Result{Value: 7, Said: workloads.Said{Node: "n2", Revision: 5, Term: 2}}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		result   Result
		err      error

		call, reply, meta string
		definite          bool
	}{
		{Enqueue, `["q",3]`, seven, nil, "enqueue q 3", ``, `{"revision":5,"term":2}`, false},
		{Enqueue, `["q",3]`, seven, silent, "enqueue q 3", ``, `{"revision":5,"term":2}`, false},
		{Enqueue, `["q",3]`, seven, workloads.Definite(silent), "enqueue q 3", ``, `{"revision":5,"term":2}`, true},
		{Dequeue, `["q",null]`, seven, nil, "dequeue q", `["q",7]`, `{"revision":5,"term":2}`, false},
		{Dequeue, `["q",null]`, Result{}, nil, "dequeue q", `["q",0]`, ``, false},
		{Dequeue, `["q",null]`, Result{Empty: true}, nil, "dequeue q", `["q",null]`, ``, false},
		{Dequeue, `["q",null]`, Result{}, silent, "dequeue q", ``, ``, false},
		{Enqueue, `["q",null]`, Result{}, nil, "", ``, ``, true},
		{"push", `["q",3]`, Result{}, nil, "", ``, ``, true},
		{Dequeue, `7`, Result{}, nil, "", ``, ``, true},
	} {
		s := &stub{result: test.result, err: test.err}
		w := New(Options{}, func(context.Context, int) (Queue, error) { return s, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if got := strings.Join(s.calls, ", "); got != test.call {
			t.Errorf("%s: called %s, want %s", name, got, test.call)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if got := string(reply.Meta); got != test.meta || reply.Node != test.result.Node {
			t.Errorf("%s: got %s of %s, want %s", name, got, reply.Node, test.meta)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.err == nil && test.call != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// BenchmarkCheck judges half a million operations on one queue.
func BenchmarkCheck(b *testing.B) {
	var ops []histories.Op
	add := func(p histories.Process, typ histories.Type, f string, v any) {
		ops = append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)), Process: p, Type: typ, F: f, Value: workloads.Keyed("q", v)})
	}
	const n = 250_000
	for i := range int64(n) {
		add(0, histories.Invoke, Enqueue, i)
		add(1, histories.Invoke, Dequeue, nil)
		add(0, histories.OK, Enqueue, i)
		if i < 1000 { // nothing is found, though something is there
			add(1, histories.OK, Dequeue, nil)
		} else {
			add(1, histories.OK, Dequeue, i-1000)
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r := judged(b, h, true); r.Counts["dequeued"] != n-1000 {
			b.Fatal(r.Note)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(2*n), "ns/op-of-the-history")
}
