package queue

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// model is the sequential specification of a queue: a text with a letter for each
// value, the first one first. Of a bag that is in alphabetical order, and any may
// come out.
func model(fifo bool) checker.Model[string, input, output] {
	return checker.Model[string, input, output]{
		In: parseInput, Out: parseOutput,
		Key: func(in input) string { return in.queue },
		Step: func(s string, c call) (string, bool) {
			letter := string(rune('a' + c.In.value))
			switch {
			case c.F == Enqueue && fifo:
				return s + letter, true
			case c.F == Enqueue:
				letters := strings.Split(s+letter, "")
				slices.Sort(letters)
				return strings.Join(letters, ""), true
			case c.Type == histories.Info: // of the first; see the test of bags
				return s[min(1, len(s)):], true
			case c.Out.empty:
				return s, s == ""
			}
			at := strings.IndexRune(s, rune('a'+c.Out.value))
			if at < 0 || at > 0 && fifo {
				return s, false
			}
			return s[:at] + s[at+1:], true
		},
	}
}

// A randomCall is a call of a random history: its ends are positions in time.
type randomCall struct {
	f, argument, result string
	typ                 histories.Type
	begin, end          int // -1: it never ends
}

// randomCalls plays calls against a queue, each taking effect at some time between
// its ends, and then lies about a few of them. If known the outcome of each dequeue is.
func randomCalls(r *rand.Rand, known bool) []randomCall {
	n := 3 + r.IntN(7)
	windows := workloadtest.BriefWindows(r, n)
	calls := make([]randomCall, n)
	var holds []int
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end = windows[i].Begin, windows[i].End
		c.typ = histories.OK
		if r.IntN(2) == 0 {
			c.f, c.argument, c.result = Enqueue, fmt.Sprint(i), fmt.Sprint(i)
			if r.IntN(5) > 0 {
				holds = append(holds, i)
			} else if r.IntN(2) == 0 {
				c.typ = histories.Fail
			}
		} else {
			c.f = Dequeue
			if len(holds) > 0 && r.IntN(5) > 0 {
				which := 0
				if r.IntN(4) == 0 {
					which = r.IntN(len(holds))
				}
				c.result = fmt.Sprint(holds[which])
				if r.IntN(5) > 0 {
					holds = slices.Delete(holds, which, which+1)
				}
			}
		}
		if r.IntN(6) == 0 && c.typ == histories.OK && (c.f == Enqueue || !known) {
			c.typ = histories.Info
			if r.IntN(2) == 0 {
				c.end = -1
			}
		}
	}
	return calls
}

// history writes calls down, each with a process of its own.
func history(t *testing.T, calls []randomCall, process func(i int) int, queue string) *histories.History {
	t.Helper()
	var b strings.Builder
	for now := range 10 * len(calls) {
		for i, c := range calls {
			switch now {
			case c.begin:
				fmt.Fprintf(&b, "%d invoke %s %s=%s\n", process(i), c.f, queue, c.argument)
			case c.end:
				value := c.argument
				if c.typ == histories.OK {
					value = c.result
				}
				fmt.Fprintf(&b, "%d %v %s %s=%s\n", process(i), c.typ, c.f, queue, value)
			}
		}
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return h
}

func same(i int) int { return i }

// TestVerdictsAgreeWithTheModel: exactly. Where the outcome of a dequeue is not known, only
// of a FIFO queue, since the model of a bag does not know what was taken.
func TestVerdictsAgreeWithTheModel(t *testing.T) {
	for _, test := range []struct{ fifo, known bool }{{true, true}, {false, true}, {true, false}} {
		cases := workloadtest.Cases(500)
		invalid := 0
		for seed := range uint64(cases) {
			h := history(t, randomCalls(rand.New(rand.NewPCG(seed, 0)), test.known), same, "x")
			got := judged(t, h, test.fifo)
			m, err := checker.Linearizable(model(test.fifo), checker.Budget{}).Check(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case got.Verdict == checker.Invalid && m.Verdict != checker.Invalid:
				t.Fatalf("seed %d: a false alarm: %s\n%s", seed, checkertest.Format(got), workloadtest.Text(h))
			case got.Verdict == checker.Invalid:
				invalid++
				proven(t, got, h, test.fifo)
			case m.Verdict == checker.Invalid:
				t.Fatalf("seed %d: missed\n%s", seed, workloadtest.Text(h))
			}
		}
		if !workloadtest.Raced && invalid < cases/10 {
			t.Errorf("%+v: %d of %d are invalid: they say little", test, invalid, cases)
		}
	}
}

// proven checks the evidence: the ops that an anomaly names, together with the
// dequeues of unknown outcome that it allows for, must be wrong by themselves.
func proven(t *testing.T, r checker.Result, h *histories.History, fifo bool) {
	t.Helper()
	for _, a := range r.Anomalies {
		if !slices.IsSorted(a.Ops) || a.Note == "" {
			t.Errorf("%+v", a)
		}
		keep := map[int]bool{}
		for _, i := range a.Ops {
			keep[i] = true
		}
		var evidence []int
		for i, op := range h.All() {
			end := i
			if op.Type == histories.Invoke {
				end = h.Pair(i)
			}
			unsure := op.F == Dequeue && (end < 0 || h.At(end).Type == histories.Info)
			if keep[i] || unsure {
				evidence = append(evidence, i)
			}
		}
		part, err := checkertest.Pick(h, evidence)
		if err != nil {
			t.Fatal(err)
		}
		if got := judged(t, part, fifo); got.Verdict != checker.Invalid {
			t.Errorf("%s %v proves nothing by itself:\n%s", a.Kind, a.Ops, workloadtest.Text(h))
		}
	}
}

// TestBagsOfUnknownDequeues tries each way in which dequeues of unknown outcome may
// have ended, since the model has them take the first value.
func TestBagsOfUnknownDequeues(t *testing.T) {
	invalid := 0
	for seed := range uint64(workloadtest.Cases(500)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 4)), false)
		h := history(t, calls, same, "x")
		is := judged(t, h, false).Verdict == checker.Invalid
		if is == possible(t, calls, 0) {
			t.Fatalf("seed %d: it is said to be invalid: %v\n%s", seed, is, workloadtest.Text(h))
		}
		if is {
			invalid++
		}
	}
	if invalid < 50 && !workloadtest.Raced {
		t.Errorf("only %d were invalid", invalid)
	}
}

// possible says whether the dequeues of unknown outcome from i on may have ended so
// that a bag explains calls.
func possible(t *testing.T, calls []randomCall, i int) bool {
	for ; i < len(calls); i++ {
		if calls[i].f == Dequeue && calls[i].typ == histories.Info {
			break
		}
	}
	if i == len(calls) {
		m, err := checker.Linearizable(model(false), checker.Budget{}).Check(t.Context(), history(t, calls, same, "x"))
		if err != nil {
			t.Fatal(err)
		}
		return m.Verdict != checker.Invalid
	}
	if possible(t, slices.Delete(slices.Clone(calls), i, i+1), i) {
		return true
	}
	for _, c := range calls {
		if c.f != Enqueue {
			continue
		}
		took := slices.Clone(calls)
		took[i].typ, took[i].result, took[i].end = histories.OK, c.argument, 9*len(calls)+i
		if possible(t, took, i+1) {
			return true
		}
	}
	return false
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(200)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 1)), seed%2 == 0)
		want := judged(t, history(t, calls, same, "x"), true).Verdict
		if got := judged(t, history(t, calls, func(i int) int { return 100 - i }, "x"), true).Verdict; got != want {
			t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
		}
		if got := judged(t, history(t, calls, same, "y"), true).Verdict; got != want {
			t.Fatalf("seed %d: another queue: got %v, want %v", seed, got, want)
		}
		renamed := slices.Clone(calls)
		for i := range renamed {
			for _, v := range []*string{&renamed[i].argument, &renamed[i].result} {
				var n int
				if json.Unmarshal([]byte(*v), &n) == nil {
					*v = fmt.Sprint(100 - 7*n)
				}
			}
		}
		if got := judged(t, history(t, renamed, same, "x"), true).Verdict; got != want {
			t.Fatalf("seed %d: other values: got %v, want %v", seed, got, want)
		}
		kept := slices.DeleteFunc(slices.Clone(calls), func(c randomCall) bool { return c.typ == histories.Fail })
		if got := judged(t, history(t, kept, same, "x"), true).Verdict; got != want {
			t.Fatalf("seed %d: without failed calls: got %v, want %v", seed, got, want)
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid widens the windows of calls, and
// forgets how they ended.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(200)) {
		r := rand.New(rand.NewPCG(seed, 2))
		calls := randomCalls(r, seed%2 == 0)
		if judged(t, history(t, calls, same, "x"), true).Verdict != checker.Valid {
			continue
		}
		i := r.IntN(len(calls))
		late := slices.Clone(calls)
		if late[i].end >= 0 {
			late[i].end = 3*len(calls) + 1
		}
		if got := judged(t, history(t, late, same, "x"), true); got.Verdict == checker.Invalid {
			t.Fatalf("seed %d: call %d returns later: got %v", seed, i, checkertest.Format(got))
		}
		if calls[i].typ == histories.OK {
			open := slices.Clone(calls)
			open[i].typ = histories.Info
			if got := judged(t, history(t, open, same, "x"), true); got.Verdict == checker.Invalid {
				t.Fatalf("seed %d: call %d is indeterminate: got %v", seed, i, checkertest.Format(got))
			}
		}
	}
}
