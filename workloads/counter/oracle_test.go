package counter

import (
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
// need not have happened.
func linearizable(sum int64, calls []call) bool {
	done := true
	for _, c := range calls {
		done = done && c.Type != histories.OK
	}
	if done {
		return true
	}
	for i, c := range calls {
		possible := c.Type != histories.Fail && (c.F == Add || c.Type == histories.OK && c.Out.sum == sum)
		for _, d := range calls {
			possible = possible && (d.Type != histories.OK || d.Completed >= c.Invoked) // else d comes first
		}
		if possible && linearizable(sum+c.In.delta, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// A randomCall is a call of a random history: its ends are positions in time.
type randomCall struct {
	f          string
	delta      int64
	typ        histories.Type
	sum        int64
	begin, end int
}

// randomCalls plays calls against a counter, each taking effect at some time
// between its ends, and then lies about some of them.
func randomCalls(r *rand.Rand) []randomCall {
	n := 2 + r.IntN(6)
	windows := workloadtest.Windows(r, n)
	calls := make([]randomCall, n)
	types := []histories.Type{histories.OK, histories.OK, histories.OK, histories.OK, histories.Info, histories.Fail}
	deltas := []int64{-5, -2, -1, 0, 1, 1, 2, 3, 7}
	sum, last := int64(0), int64(0)
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end = windows[i].Begin, windows[i].End
		c.typ = types[r.IntN(len(types))]
		if c.f = Read; r.IntN(2) == 0 {
			c.f, c.delta = Add, deltas[r.IntN(len(deltas))]
			last = sum
			if c.typ == histories.OK && r.IntN(20) > 0 || c.typ == histories.Info && r.IntN(2) == 0 || r.IntN(20) == 0 {
				sum += c.delta
			}
			continue
		}
		if c.typ != histories.OK {
			continue
		}
		c.sum = sum
		switch r.IntN(10) {
		case 0:
			c.sum = last
		case 1:
			c.sum += deltas[r.IntN(len(deltas))]
		}
	}
	return calls
}

// named returns random calls as those of processes and counters of the given names,
// with all numbers multiplied.
func named(random []randomCall, process func(int) int, counter string, times int64) []call {
	var calls []call
	for i, r := range random {
		c := call{
			Index: r.begin, Completion: r.end, Invoked: time.Duration(r.begin), Completed: time.Duration(r.end),
			Process: histories.Process(process(i)), F: r.f, Type: r.typ,
			In: input{counter: counter, delta: times * r.delta}, Out: output{sum: times * r.sum},
		}
		if r.typ == histories.Info {
			c.Completed = histories.Never
		}
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b call) int { return a.Index - b.Index })
	return calls
}

func same[T any](x T) T { return x }

// TestAgreesWithBruteForce: the verdict is exact, as long as the search is not
// given up.
func TestAgreesWithBruteForce(t *testing.T) {
	invalid, kinds := 0, map[string]int{}
	seeds := workloadtest.Cases(20_000)
	for seed := range uint64(seeds) {
		calls := named(randomCalls(rand.New(rand.NewPCG(seed, 1))), same, "c", 1)
		r := judge(t.Context(), calls)
		for _, a := range r.Anomalies {
			kinds[a.Kind]++
			if !slices.IsSorted(a.Ops) || len(a.Ops) == 0 {
				t.Fatalf("seed %d: evidence %v", seed, a.Ops)
			}
		}
		got, want := r.Verdict != checker.Invalid, linearizable(0, calls)
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
	for _, kind := range []string{tooLow, tooHigh, impossible, step, unordered} {
		if kinds[kind] < 10 && !workloadtest.Raced {
			t.Errorf("%s: %d", kind, kinds[kind])
		}
	}
}

// TestReadsByThemselves: each is judged as one that stands alone among the adds.
func TestReadsByThemselves(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(5000)) {
		calls := named(randomCalls(rand.New(rand.NewPCG(seed, 5))), same, "c", 1)
		for _, o := range collect(calls) {
			o.eachRead(func(w *window) {
				alone := slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c.F == Read && c.Index != w.read.Index })
				// What is acknowledged later than the read need not have happened by then.
				for i, c := range alone {
					if c.F == Add && c.Type == histories.OK && c.Completed > w.read.Completed {
						alone[i].Type, alone[i].Completed = histories.Info, histories.Never
					}
				}
				if got, want := w.sums.contain(w.difference()), subsets(alone, *w.read); got != want || !w.sums.exact() {
					t.Fatalf("seed %d: %v, want %v: %+v in %+v", seed, got, want, *w.read, alone)
				}
			})
		}
	}
}

// subsets says whether a subset of the adds that can have happened before a read,
// with all that must have, makes its sum.
func subsets(calls []call, read call) bool {
	made := map[int64]bool{0: true}
	for _, c := range calls {
		if c.F == Read || c.Type == histories.Fail || c.Invoked > read.Completed {
			continue
		}
		next := map[int64]bool{}
		for sum := range made {
			next[sum+c.In.delta] = true
			if c.Completed > read.Invoked {
				next[sum] = true
			}
		}
		made = next
	}
	return made[read.Out.sum]
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(5000)) {
		calls := randomCalls(rand.New(rand.NewPCG(seed, 3)))
		want := judge(t.Context(), named(calls, same, "c", 1)).Verdict
		without := slices.DeleteFunc(slices.Clone(calls), func(c randomCall) bool { return c.typ == histories.Fail })
		for name, other := range map[string][]call{
			"other processes":      named(calls, func(i int) int { return 100 - i }, "c", 1),
			"another counter":      named(calls, same, "d", 1),
			"other numbers":        named(calls, same, "c", -1000),
			"without failed calls": named(without, same, "c", 1),
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
		if judge(t.Context(), named(calls, same, "c", 1)).Verdict == checker.Invalid {
			continue
		}
		for i := range calls {
			late, open := slices.Clone(calls), slices.Clone(calls)
			late[i].end = 3*len(calls) + 1
			open[i].typ = histories.Info
			for _, less := range [][]randomCall{late, open} {
				tried++
				if r := judge(t.Context(), named(less, same, "c", 1)); r.Verdict == checker.Invalid {
					t.Fatalf("seed %d: less of call %d is known, and got %s", seed, i, checkertest.Format(r))
				}
			}
		}
	}
	if tried < 1000 && !workloadtest.Raced {
		t.Errorf("only %d were tried", tried)
	}
}

// TestGivesUpAndSaysSo: where many adds of the same number are of unknown outcome,
// the reads are judged by themselves.
func TestGivesUpAndSaysSo(t *testing.T) {
	var calls []call
	now := 0
	do := func(f string, n int64, typ histories.Type) {
		c := call{F: f, Type: typ, Index: now, Completion: now + 1, Invoked: time.Duration(now), Completed: time.Duration(now + 1)}
		if c.In.delta = n; f == Read {
			c.In, c.Out.sum = input{}, n
		}
		if typ == histories.Info {
			c.Completed = histories.Never
		}
		calls = append(calls, c)
		now += 2
	}
	for range 40 {
		do(Add, 1, histories.Info)
	}
	do(Read, 20, histories.OK)
	do(Read, 20, histories.OK)
	r := judge(t.Context(), calls)
	if r.Verdict != checker.Valid || r.Counts["counters_ordered"] != 0 || r.Counts["reads_exact"] != 2 {
		t.Errorf("got %s%v", checkertest.Format(r), r.Counts)
	}
	do(Read, 41, histories.OK)
	if r := judge(t.Context(), calls); r.Verdict != checker.Invalid {
		t.Errorf("got %s", checkertest.Format(r))
	}
}
