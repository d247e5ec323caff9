package set

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// linearizable decides by trying every order of every choice of the calls that
// need not have happened. It shares with the checker nothing but the decoding.
func linearizable(holds []int64, calls []call) bool {
	done := true
	for _, c := range calls {
		done = done && c.Type != histories.OK
	}
	if done {
		return true
	}
	for i, c := range calls {
		possible := c.Type != histories.Fail && (c.F == Add || c.Type == histories.OK)
		for _, d := range calls {
			possible = possible && (d.Type != histories.OK || d.Completed >= c.Invoked) // else d comes first
		}
		after := holds
		if c.F == Read {
			possible = possible && slices.Equal(slices.Sorted(slices.Values(c.Out.elements)), holds)
		} else if !slices.Contains(holds, c.In.element) {
			after = append(slices.Clone(holds), c.In.element)
			slices.Sort(after)
		}
		if possible && linearizable(after, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// A randomCall is a call of a random history: its ends are positions in time.
type randomCall struct {
	f          string
	element    int64
	typ        histories.Type
	found      []int64
	begin, end int
}

// randomCalls plays calls against a set, each taking effect at some time between
// its ends, and then lies about some of them.
func randomCalls(r *rand.Rand) []randomCall {
	n := 2 + r.IntN(5)
	windows := workloadtest.Windows(r, n)
	calls := make([]randomCall, n)
	types := []histories.Type{histories.OK, histories.OK, histories.OK, histories.Info, histories.Fail}
	var holds []int64
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end = windows[i].Begin, windows[i].End
		c.typ = types[r.IntN(len(types))]
		if c.f = Read; r.IntN(2) == 0 {
			c.f, c.element = Add, 1+r.Int64N(5) // some element may be added twice
			if c.typ == histories.OK || c.typ == histories.Info && r.IntN(2) == 0 || r.IntN(8) == 0 {
				holds = append(slices.DeleteFunc(holds, func(e int64) bool { return e == c.element }), c.element)
			}
			continue
		}
		c.found = slices.Clone(holds)
		switch {
		case len(holds) > 0 && r.IntN(3) == 0:
			c.found = slices.Delete(c.found, 0, 1)
		case r.IntN(8) == 0:
			c.found = append(c.found, 1+r.Int64N(5))
		}
	}
	return calls
}

// named returns random calls as those of processes, sets and elements of the given
// names.
func named(random []randomCall, process func(int) int, set string, element func(int64) int64) []call {
	var calls []call
	for i, r := range random {
		c := call{
			Index: r.begin, Completion: r.end, Invoked: time.Duration(r.begin), Completed: time.Duration(r.end),
			Process: histories.Process(process(i)), F: r.f, Type: r.typ, In: input{set: set},
		}
		if r.f == Add {
			c.In.element = element(r.element)
		}
		if r.typ == histories.Info {
			c.Completed = histories.Never
		}
		if r.typ == histories.OK {
			for _, e := range r.found {
				c.Out.elements = append(c.Out.elements, element(e))
			}
		}
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b call) int { return a.Index - b.Index })
	return calls
}

func same[T any](x T) T { return x }

// TestAgreesWithBruteForce: the verdict is exact. That a read shows an element
// twice is nothing that orders could explain, and so is for the scripts.
func TestAgreesWithBruteForce(t *testing.T) {
	invalid, kinds := 0, map[string]int{}
	seeds := workloadtest.Cases(20_000)
	for seed := range uint64(seeds) {
		calls := named(randomCalls(rand.New(rand.NewPCG(seed, 1))), same, "s", same)
		r := judge(t.Context(), calls)
		twice := false
		for _, a := range r.Anomalies {
			kinds[a.Kind]++
			twice = twice || a.Kind == duplicated
			if !slices.IsSorted(a.Ops) || len(a.Ops) == 0 {
				t.Fatalf("seed %d: evidence %v", seed, a.Ops)
			}
		}
		got, want := r.Verdict != checker.Invalid, linearizable(nil, calls) && !twice
		if got != want {
			t.Fatalf("seed %d: linearizable: %v, but got %s%+v", seed, want, checkertest.Format(r), calls)
		}
		if !want {
			invalid++
		}
	}
	if !workloadtest.Raced && (invalid < seeds/10 || invalid > seeds*9/10) {
		t.Errorf("%d of %d are invalid", invalid, seeds)
	}
	for _, kind := range []string{lost, stale, reversed, fork, duplicated, phantom, refused, early} {
		if kinds[kind] < 10 && !workloadtest.Raced {
			t.Errorf("%s: %d", kind, kinds[kind])
		}
	}
}

// TestEvidenceIsEnough: what an anomaly names is an anomaly by itself.
func TestEvidenceIsEnough(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(20_000)) {
		calls := named(randomCalls(rand.New(rand.NewPCG(seed, 2))), same, "s", same)
		for _, a := range judge(t.Context(), calls).Anomalies {
			var part []call
			for _, c := range calls {
				if !slices.Contains(a.Ops, c.Index) {
					continue
				}
				if !slices.Contains(a.Ops, c.Completion) {
					c.Type, c.Completed, c.Completion = histories.Info, histories.Never, -1
				}
				part = append(part, c)
			}
			if r := judge(t.Context(), part); r.Verdict != checker.Invalid {
				t.Fatalf("seed %d: %v, but its evidence alone is %s", seed, a, checkertest.Format(r))
			}
		}
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(5000)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 3)))
		want := judge(t.Context(), named(calls, same, "s", same)).Verdict
		without := slices.DeleteFunc(slices.Clone(calls), func(c randomCall) bool { return c.typ == histories.Fail })
		for name, other := range map[string][]call{
			"other processes":      named(calls, func(i int) int { return 100 - i }, "s", same),
			"another set":          named(calls, same, "t", same),
			"other elements":       named(calls, same, "s", func(e int64) int64 { return -7 * e }),
			"without failed calls": named(without, same, "s", same),
		} {
			if got := judge(t.Context(), other).Verdict; got != want {
				t.Fatalf("seed %d: %s: got %v, want %v", seed, name, got, want)
			}
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid forgets how calls ended, and when.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	tried := 0
	for seed := range uint64(workloadtest.Cases(5000)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 4)))
		if judge(t.Context(), named(calls, same, "s", same)).Verdict == checker.Invalid {
			continue
		}
		for i := range calls {
			late, open := slices.Clone(calls), slices.Clone(calls)
			late[i].end = 3*len(calls) + 1
			open[i].typ = histories.Info
			for _, less := range [][]randomCall{late, open} {
				tried++
				if r := judge(t.Context(), named(less, same, "s", same)); r.Verdict == checker.Invalid {
					t.Fatalf("seed %d: less of call %d is known, and got %s", seed, i, checkertest.Format(r))
				}
			}
		}
	}
	if tried < 1000 && !workloadtest.Raced {
		t.Errorf("only %d were tried", tried)
	}
}

// BenchmarkCheck judges as many reads of as many elements as a long run has.
func BenchmarkCheck(b *testing.B) {
	const sets, elements = 500, 200
	var ops []histories.Op
	add := func(typ histories.Type, f string, value string) {
		ops = append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)), Type: typ, F: f, Value: json.RawMessage(value)})
	}
	for s := range sets {
		var c contents
		for e := range int64(elements) {
			c.elements = append(c.elements, e+1)
			element := fmt.Sprintf(`["s%d",%d]`, s, e+1)
			add(histories.Invoke, Add, element)
			add(histories.OK, Add, element)
			add(histories.Invoke, Read, fmt.Sprintf(`["s%d",null]`, s))
			add(histories.OK, Read, fmt.Sprintf(`["s%d",%s]`, s, list(c)))
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := checked(b, checker.Func(check), h); r.Verdict != checker.Valid {
			b.Fatal(checkertest.Format(r))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ops)), "ns/op-of-history")
}
