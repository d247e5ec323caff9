package register

import (
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

// linearizable decides by trying every order of every choice of the calls that
// need not have happened. It shares with the checker nothing but the decoding.
func linearizable(start Value, calls []call) bool {
	done := true
	for _, c := range calls {
		done = done && c.Type == histories.Info
	}
	if done {
		return true
	}
	for i, c := range calls {
		next, possible := apply(start, c)
		for _, d := range calls {
			possible = possible && d.Completed >= c.Invoked // else d comes first
		}
		if possible && linearizable(next, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// apply returns what the register holds after c has taken effect.
func apply(v Value, c call) (Value, bool) {
	switch c.F {
	case Read:
		return v, c.Type == histories.Info || c.Out == v
	case Write:
		return c.In.New, true
	}
	if c.Type == histories.Fail {
		return v, (c.Out == v || c.Out == unknown) && c.In.Old != v
	}
	return c.In.New, c.In.Old == v
}

// relevant returns the calls of h that say something.
func relevant(t *testing.T, h *histories.History) []call {
	t.Helper()
	all, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		t.Fatal(err)
	}
	var calls []call
	for _, c := range all {
		says := c.Type == histories.OK || c.F != Read && c.Type == histories.Info
		if c.Type == histories.Fail {
			c, says = refused(c)
		}
		if says {
			calls = append(calls, c)
		}
	}
	return calls
}

// values is the domain of the random histories: small, so that they are dense
// with coincidences.
var values = []Value{Absent, Of(1), Of(2), Text("3")}

// randomCall is a call of a random history: its ends are positions in time.
type randomCall struct {
	f, argument  string
	typ          histories.Type
	result, meta string
	begin, end   int // -1: it never ends
}

// randomCalls plays calls against a register, each taking effect at some time
// between its ends, and then lies about a few of them.
func randomCalls(r *rand.Rand) []randomCall {
	n := 2 + r.IntN(6)
	windows := workloadtest.Windows(r, n)
	calls := make([]randomCall, n)
	some := func() Value { return values[r.IntN(len(values))] }
	holds := Absent
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end = windows[i].Begin, windows[i].End
		c.typ = histories.OK
		happens := r.IntN(6) > 0
		switch r.IntN(3) {
		case 0:
			c.f, c.result = Read, holds.String()
			if r.IntN(5) == 0 {
				c.result = some().String()
			}
		case 1:
			v := some()
			c.f, c.argument = Write, v.String()
			if happens {
				holds = v
			}
		case 2:
			old, v := some(), some()
			if r.IntN(2) == 0 {
				old = holds
			}
			c.f, c.argument = CAS, fmt.Sprintf("[%v,%v]", old, v)
			if old != holds && r.IntN(8) > 0 {
				happens = false
				if r.IntN(2) == 0 {
					current := holds
					if r.IntN(5) == 0 {
						current = some()
					}
					c.meta = fmt.Sprintf(`meta={"current":%v}`, current)
				}
			}
			if happens {
				holds = v
			}
		}
		switch {
		case r.IntN(7) == 0:
			c.typ = histories.Info
			if r.IntN(2) == 0 {
				c.end = -1
			}
		case !happens && r.IntN(8) > 0:
			c.typ = histories.Fail
		}
	}
	return calls
}

// history writes calls down, each with a process of its own.
func history(t *testing.T, calls []randomCall, process func(i int) int, key string) *histories.History {
	t.Helper()
	var b strings.Builder
	for now := range 10 * len(calls) {
		for i, c := range calls {
			switch now {
			case c.begin:
				fmt.Fprintf(&b, "%d invoke %s %s=%s\n", process(i), c.f, key, c.argument)
			case c.end:
				value := c.argument
				if c.f == Read {
					value = c.result
				}
				fmt.Fprintf(&b, "%d %v %s %s=%s %s\n", process(i), c.typ, c.f, key, value, c.meta)
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

func TestVerdictsAndEvidenceAgreeWithBruteForce(t *testing.T) {
	cases := workloadtest.Cases(1500)
	invalid, whole, size := 0, 0, 0
	for seed := range uint64(cases) {
		h := history(t, randomCalls(rand.New(rand.NewPCG(seed, 0))), same, "x")
		calls := relevant(t, h)
		if !slices.ContainsFunc(calls, func(c call) bool { return c.Type != histories.Info }) {
			continue // nothing is known
		}
		var found checker.Violation[Input, Value]
		m := Semantics{}.model()
		m.Explain = func(v checker.Violation[Input, Value]) checker.Anomaly {
			found = v
			return Semantics{}.explain(v)
		}
		r, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		want := checker.Invalid
		if linearizable(Absent, calls) {
			want = checker.Valid
		}
		if r.Verdict != want {
			t.Fatalf("seed %d: got %v, want %v", seed, r.Verdict, want)
		}
		if r.Verdict == checker.Valid {
			continue
		}
		if err := convicts(Absent, calls, found); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if _, err := checkertest.Orders(t.Context(), h, m, r); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, workloadtest.Text(h))
		}
		invalid++
		size += len(found.Witness)
		if found.Whole {
			whole++
		}
	}
	t.Logf("%d of %d invalid, by %.1f calls, %d of them from the initial state", invalid, cases, float64(size)/float64(invalid), whole)
	if !workloadtest.Raced && (invalid < cases/10 || invalid > cases*9/10 || whole < invalid/10 || invalid-whole < invalid/50) {
		t.Error("one kind is rare: the histories say little")
	}
}

// convicts says why v is no violation, if so: no order may explain its witness,
// and nothing may have been wrong before it.
func convicts(first Value, calls []call, v checker.Violation[Input, Value]) error {
	starts := []Value{first}
	if !v.Whole {
		starts = append(values, Of(99))
	}
	for _, start := range starts {
		if linearizable(start, v.Witness) {
			return fmt.Errorf("the witness %v is linearizable from %v", v.Witness, start)
		}
	}
	var before []call
	for _, c := range calls {
		if c.Invoked > v.Last.Completed {
			continue
		}
		if c.Completed >= v.Last.Completed {
			if c.F == Read || c.Type == histories.Fail {
				continue
			}
			c.Type, c.Completed = histories.Info, histories.Never
		}
		before = append(before, c)
	}
	if !linearizable(first, before) {
		return fmt.Errorf("there was a violation before that of %v", v.Last)
	}
	return nil
}

// TestEvidenceAccusesNoInnocents adds to a history in which all is well a read of
// what nobody wrote. Whatever is cut and removed on the way to the witness, that
// read must remain: had something been removed that others need, they would stand
// accused, and the read would be removed as not needed.
func TestEvidenceAccusesNoInnocents(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(1000)) {
		r := rand.New(rand.NewPCG(seed, 3))
		calls := randomCalls(r)
		if !linearizable(Absent, relevant(t, history(t, calls, same, "x"))) {
			continue
		}
		end := 3 * len(calls)
		calls = append(calls, randomCall{f: Read, typ: histories.OK, result: "99", begin: end, end: end + 1})
		var found checker.Violation[Input, Value]
		m := Semantics{}.model()
		m.Explain = func(v checker.Violation[Input, Value]) checker.Anomaly {
			found = v
			return Semantics{}.explain(v)
		}
		h := history(t, calls, same, "x")
		if _, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if found.Last.Out != Of(99) {
			t.Fatalf("seed %d: got %v as evidence against %v", seed, found.Witness, found.Last)
		}
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(250)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 1)))
		want := judged(t, history(t, calls, same, "x")).Verdict
		if got := judged(t, history(t, calls, func(i int) int { return 100 - i }, "x")).Verdict; got != want {
			t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
		}
		if got := judged(t, history(t, calls, same, "y")).Verdict; got != want {
			t.Fatalf("seed %d: another key: got %v, want %v", seed, got, want)
		}
		kept := slices.DeleteFunc(slices.Clone(calls), func(c randomCall) bool {
			return c.typ == histories.Fail && c.meta == ""
		})
		if got := judged(t, history(t, kept, same, "x")).Verdict; got != want {
			t.Fatalf("seed %d: without failed calls: got %v, want %v", seed, got, want)
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid widens the windows of calls, and
// forgets how they ended.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(250)) {
		r := rand.New(rand.NewPCG(seed, 2))
		calls := randomCalls(r)
		before := judged(t, history(t, calls, same, "x")).Verdict
		if before != checker.Valid {
			continue
		}
		i := r.IntN(len(calls))
		late := slices.Clone(calls)
		if late[i].end >= 0 {
			late[i].end = 3*len(calls) + 1
		}
		if got := judged(t, history(t, late, same, "x")).Verdict; got == checker.Invalid {
			t.Fatalf("seed %d: call %d returns later: got %v", seed, i, got)
		}
		if calls[i].typ == histories.OK {
			open := slices.Clone(calls)
			open[i].typ = histories.Info
			if got := judged(t, history(t, open, same, "x")).Verdict; got == checker.Invalid {
				t.Fatalf("seed %d: call %d is indeterminate: got %v", seed, i, got)
			}
		}
	}
}
