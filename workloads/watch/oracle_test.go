package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// sound decides by trying every revision for every write of unknown outcome, and that
// it made none: then the changes are a list, and what each watcher was told must be
// a part of it. It shares with the checker nothing but the decoding.
func sound(calls []call) bool {
	top := uint64(0)
	for _, c := range calls {
		top = max(top, c.Out.Revision)
		for _, e := range c.Out.Events {
			top = max(top, e.Revision)
		}
	}
	return try(calls, top, 0)
}

func try(calls []call, top uint64, i int) bool {
	for i < len(calls) && (calls[i].Type != histories.Info || calls[i].F != Put && calls[i].F != Delete) {
		i++
	}
	if i == len(calls) {
		return agrees(calls)
	}
	for revision := range top + 1 { // 0: it made none
		assumed := slices.Clone(calls)
		assumed[i].Out.Revision = revision
		if try(assumed, top, i+1) {
			return true
		}
	}
	return false
}

// agrees says whether everything is as it should be if the writes made the revisions
// that they say.
func agrees(calls []call) bool {
	made := map[uint64]Event{}
	for _, c := range calls {
		happened := (c.F == Put || c.F == Delete) && c.Type != histories.Fail && c.Out.Revision > 0
		if c.F == Put && c.Type == histories.OK && c.Out.Revision == 0 {
			return false
		}
		if !happened {
			continue
		}
		if _, twice := made[c.Out.Revision]; twice {
			return false
		}
		made[c.Out.Revision] = Event{c.Out.Revision, c.F == Delete, c.In.Key, c.In.Value}
	}
	for _, before := range calls {
		knew := uint64(0)
		if before.Type == histories.OK {
			knew = proven(&before)
		}
		for _, c := range calls {
			if before.Completed >= c.Invoked {
				continue
			}
			if (c.F == Put || c.F == Delete) && c.Out.Revision > 0 && c.Out.Revision <= knew {
				return false
			}
			if c.F == Status && c.Type == histories.OK && c.Out.Revision < knew {
				return false
			}
		}
	}
	for _, c := range calls {
		if c.F != Watch || c.Type != histories.OK {
			continue
		}
		var want, got []Event
		for _, revision := range slices.Sorted(maps.Keys(made)) {
			if e := made[revision]; c.In.From <= revision && revision <= c.Out.To && c.In.contain(e.Key) {
				want = append(want, e)
			}
		}
		for i, e := range c.Out.Events {
			if e.Revision <= c.Out.To {
				got = append(got, e)
			} else if made[e.Revision] != e || !c.In.contain(e.Key) || i > 0 && c.Out.Events[i-1].Revision >= e.Revision {
				return false
			}
			for _, w := range calls {
				if w.Out.Revision == e.Revision && w.Type != histories.Fail && (w.F == Put || w.F == Delete) && w.Invoked > c.Completed {
					return false
				}
			}
		}
		if !slices.Equal(want, got) {
			return false
		}
		if compacted := c.Out.Compacted; compacted > 0 {
			founded := slices.ContainsFunc(calls, func(d call) bool {
				return d.F == Compact && d.Type != histories.Fail && d.Invoked < c.Completed && d.In.Revision >= compacted
			})
			if !founded || compacted <= c.Out.To {
				return false
			}
		}
	}
	return true
}

// randomOps plays a few calls against a store that makes a mistake now and then, or
// none; see [workloadtest.Scene].
func randomOps(r *rand.Rand, mistake string, lost float64) []histories.Op {
	m := newMemory(mistake)
	m.now = func(int) bool { return r.IntN(2) == 0 }
	m.lag = func() uint64 { return r.Uint64N(2) }
	value, next := 0, [2]uint64{1, 1}
	key := func() string { return string("ab"[r.IntN(2)]) }
	windows := workloadtest.Windows(r, 5+r.IntN(5))
	for i, w := range windows {
		if r.IntN(2) == 0 { // or too much is concurrent
			windows[i].Effect, windows[i].End = w.Begin+1, w.Begin+2
		}
	}
	choose := func() (op histories.Op) {
		var in Input
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			value++
			op.F, in = Put, Input{Keys: Keys{Key: key()}, Value: fmt.Sprint(value)}
		case 4, 5:
			op.F, in = Delete, Input{Keys: Keys{Key: key()}}
		case 6:
			op.F, in = Compact, Input{Revision: m.revision}
		case 7:
			op.F = Status
		default:
			w := r.IntN(2)
			op.F, in = Watch, Input{Watcher: &w, Keys: []Keys{{"a", "c"}, {Key: "a"}}[w], From: next[w]}
		}
		op.Value = in.payload()
		return op
	}
	return workloadtest.Scene{
		Windows: windows, Lost: lost, Choose: choose,
		Perform: func(op histories.Op) (workloads.Reply, error) {
			return Options{}.perform(context.Background(), m, op)
		},
		Done: func(op histories.Op) {
			if out, err := parseOutput(op.F, op.Value); err == nil && op.F == Watch && op.Type == histories.OK {
				next[*out.Watcher] = max(next[*out.Watcher], out.To+1, out.Compacted+1)
			}
		},
	}.Ops(r)
}

func historyOf(t testing.TB, ops []histories.Op) *histories.History {
	t.Helper()
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Index = i
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestVerdictsAgreeWithBruteForce(t *testing.T) {
	names := append(slices.Sorted(maps.Keys(mistakes)), "")
	for _, lost := range []float64{0, 0.2} {
		valid, invalid := 0, 0
		for seed := range uint64(workloadtest.Cases(600)) {
			r := rand.New(rand.NewPCG(seed, 1))
			mistake := names[r.IntN(len(names))]
			h := historyOf(t, randomOps(r, mistake, lost))
			calls, err := histories.Calls(h, ParseInput, parseOutput)
			if err != nil {
				t.Fatal(err)
			}
			got, want := judged(t, h), checker.Valid
			if got.Counts["watchers"] == 0 {
				continue // nothing to judge
			}
			if !sound(calls) {
				want = checker.Invalid
				invalid++
			} else {
				valid++
			}
			if got.Verdict != want {
				t.Fatalf("seed %d, %s, %v lost: want %v, got %s\n%s", seed, mistake, lost, want, checkertest.Format(got), workloadtest.Text(h))
			}
		}
		t.Logf("%v lost: %d valid, %d invalid", lost, valid, invalid)
		if !workloadtest.Raced && (valid < 60 || invalid < 60) {
			t.Errorf("%v lost: %d valid, %d invalid: the histories say little", lost, valid, invalid)
		}
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	names := append(slices.Sorted(maps.Keys(mistakes)), "", "")
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 3))
		mistake := names[r.IntN(len(names))]
		ops := randomOps(r, mistake, 0.1)
		want := judged(t, historyOf(t, ops)).Verdict
		changed := slices.Clone(ops)
		for i := range changed {
			changed[i].Process = 100 - changed[i].Process
		}
		if got := judged(t, historyOf(t, changed)).Verdict; got != want {
			t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
		}
		changed = slices.Clone(ops)
		for i := range changed {
			renamed := strings.NewReplacer(`"a"`, `"x"`, `"b"`, `"y"`, `"c"`, `"z"`, `"1"`, `"91"`, `"2"`, `"92"`).Replace(string(changed[i].Value))
			changed[i].Value = json.RawMessage(renamed)
		}
		if got := judged(t, historyOf(t, changed)).Verdict; got != want {
			t.Fatalf("seed %d: other keys and values: got %v, want %v", seed, got, want)
		}
		if mistake == "dirty" {
			continue // what failed and was done all the same is not to be left out
		}
		failed := map[histories.Process]bool{}
		for _, op := range ops {
			failed[op.Process] = failed[op.Process] || op.Type == histories.Fail
		}
		kept := slices.DeleteFunc(slices.Clone(ops), func(op histories.Op) bool { return failed[op.Process] })
		if got := judged(t, historyOf(t, kept)).Verdict; got != want {
			t.Fatalf("seed %d: without failed calls: got %v, want %v", seed, got, want)
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid forgets how calls ended.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 4))
		ops := randomOps(r, "", 0.2)
		for i, op := range ops {
			if op.Type != histories.OK {
				continue
			}
			open := slices.Clone(ops)
			open[i].Type = histories.Info
			if got := judged(t, historyOf(t, open)); got.Verdict == checker.Invalid {
				t.Fatalf("seed %d: op %d is indeterminate: got %s\n%s", seed, i, checkertest.Format(got), workloadtest.Text(historyOf(t, open)))
			}
		}
	}
}
