package kv

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// linearizable decides by trying every order of every choice of the calls that need
// not have happened, from every revision that the store may have begun at. It knows
// what a store answers, and nothing of how the checker thinks.
func linearizable(calls []call) bool {
	top := uint64(0)
	for _, c := range calls {
		if c.Type == histories.OK {
			top = max(top, c.Out.Revision)
		}
	}
	for begin := range top + 1 {
		states := make([]map[string]KV, begin+1)
		for i := range states {
			states[i] = map[string]KV{}
		}
		if ordered(states, calls) {
			return true
		}
	}
	return false
}

func ordered(states []map[string]KV, calls []call) bool {
	if !slices.ContainsFunc(calls, func(c call) bool { return c.Type == histories.OK }) {
		return true
	}
	for i, c := range calls {
		if slices.ContainsFunc(calls, func(d call) bool { return d.Completed < c.Invoked }) {
			continue // d comes first
		}
		next, possible := after(states, c)
		if possible && ordered(next, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// after returns the states after c, and whether a store would have answered so.
func after(states []map[string]KV, c call) ([]map[string]KV, bool) {
	m := &memory{states: slices.Clone(states)}
	mode := c.In.Mode
	if c.Type == histories.OK && mode.Serializable {
		if c.Out.Revision > m.revision() {
			return nil, false
		}
		mode = Mode{At: c.Out.Revision}
		if c.Out.Revision == 0 { // which is no past that can be asked for: nothing was there
			return states, len(c.Out.KVs) == 0
		}
	}
	c.In.Mode = mode
	reply, err := perform(context.Background(), m, histories.Op{F: c.F, Value: c.In.payload()})
	if c.Type == histories.Info {
		return m.states, true
	}
	if err != nil {
		return nil, false
	}
	out, err := parseOutput(c.F, reply.Value)
	return m.states, err == nil && reflect.DeepEqual(out, c.Out)
}

// told returns the calls that say something.
func told(t *testing.T, h *histories.History) []call {
	t.Helper()
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(calls, func(c call) bool {
		return c.Type == histories.Fail || c.Type == histories.Info && (c.F == Get || c.F == Range)
	})
}

// randomOps plays a few calls against a store that makes a mistake now and then, or
// none; see [workloadtest.Scene].
func randomOps(r *rand.Rand, mistake string, lost float64) []histories.Op {
	m := newMemory(mistake)
	m.now = func(int) bool { return r.IntN(2) == 0 }
	keys := []string{"a", "b"}
	value, seen := 0, map[string]KV{}
	key := func() string { return keys[r.IntN(len(keys))] }
	unique := func() string { value++; return fmt.Sprint(value) }
	action := func(key string) Action {
		switch r.IntN(4) {
		case 0:
			return Action{F: Get, Key: key}
		case 1:
			return Action{F: Delete, Key: key}
		}
		return Action{Put, key, unique()}
	}
	choose := func() (op histories.Op) {
		var in Input
		switch r.IntN(9) {
		case 0, 1:
			op.F, in = Put, Input{Key: key(), Value: unique()}
		case 2:
			op.F, in = Delete, Input{Key: key()}
		case 3:
			op.F, in = Get, Input{Key: key()}
		case 4, 5:
			op.F = Range
		case 6:
			op.F, in = Compact, Input{Revision: m.revision()}
		default:
			op.F = Transact
			k := key()
			is := Compare{Key: k, By: Mod, Mod: seen[k].Mod}
			if r.IntN(2) == 0 && is.Mod > 0 {
				is = Compare{Key: k, By: Value, Value: seen[k].Value}
			}
			in.If = append(in.If, is)
			in.Then = append(in.Then, action("a"), action("b"))
			in.Else = append(in.Else, Action{F: Get, Key: k})
		}
		if op.F == Get || op.F == Range {
			switch r.IntN(5) {
			case 0:
				in.At = m.revision()
			case 1:
				in.Serializable = true
			}
		}
		op.Value = in.payload()
		return op
	}
	return workloadtest.Scene{
		Windows: workloadtest.Windows(r, 3+r.IntN(4)), Lost: lost, Choose: choose,
		Perform: func(op histories.Op) (workloads.Reply, error) {
			defer func() { maps.Copy(seen, m.states[m.revision()]) }()
			return perform(context.Background(), m, op)
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

// TestVerdictsAgreeWithBruteForce: they are the same if all outcomes are known; if
// some are not, what is called invalid is.
func TestVerdictsAgreeWithBruteForce(t *testing.T) {
	names := append(slices.Sorted(maps.Keys(mistakes)), "")
	for _, lost := range []float64{0, 0.25} {
		valid, invalid, missed := 0, 0, 0
		for seed := range uint64(workloadtest.Cases(800)) {
			r := rand.New(rand.NewPCG(seed, 1))
			mistake := names[r.IntN(len(names))]
			h := historyOf(t, randomOps(r, mistake, lost))
			calls := told(t, h)
			if !slices.ContainsFunc(calls, func(c call) bool { return c.Type == histories.OK && c.F != Compact }) {
				continue // which is nothing to judge
			}
			got, want := judged(t, h), linearizable(calls)
			switch {
			case want && got.Verdict != checker.Valid:
				t.Fatalf("seed %d, %s, %v lost: false alarm: %s\n%s", seed, mistake, lost, checkertest.Format(got), workloadtest.Text(h))
			case !want && got.Verdict == checker.Valid && lost == 0:
				t.Fatalf("seed %d, %s: missed\n%s", seed, mistake, workloadtest.Text(h))
			case !want && got.Verdict == checker.Valid:
				missed++
			case want:
				valid++
			default:
				invalid++
			}
		}
		t.Logf("%v lost: %d valid, %d invalid, %d missed", lost, valid, invalid, missed)
		if !workloadtest.Raced && (valid < 60 || invalid < 60 || missed > invalid/10) {
			t.Errorf("%v lost: %d valid, %d invalid, %d missed: the histories say little, or the checker does", lost, valid, invalid, missed)
		}
	}
}

// TestWhatPorcupineRefusesIsInvalid: who knows nothing of revisions must not see more.
func TestWhatPorcupineRefusesIsInvalid(t *testing.T) {
	names := slices.Sorted(maps.Keys(mistakes))
	refused := 0
	for seed := range uint64(workloadtest.Cases(400)) {
		r := rand.New(rand.NewPCG(seed, 2))
		h := historyOf(t, randomOps(r, names[r.IntN(len(names))], 0))
		p, err := checker.Linearizable(plain(), checker.Budget{}).Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != checker.Invalid {
			continue
		}
		refused++
		if got := judged(t, h); got.Verdict != checker.Invalid {
			t.Fatalf("seed %d: got %s\n%s", seed, checkertest.Format(got), workloadtest.Text(h))
		}
	}
	if refused < 20 && !workloadtest.Raced {
		t.Errorf("only %d refused", refused)
	}
}

// plain is a store without revisions: its state is its keys and values, as text.
// What compares revisions, or reads of the past, it leaves out.
func plain() checker.Model[string, Input, Output] {
	parse := func(s string) map[string]string {
		m := map[string]string{}
		if s != "" {
			if err := json.Unmarshal([]byte(s), &m); err != nil {
				panic(err)
			}
		}
		return m
	}
	return checker.Model[string, Input, Output]{
		In: ParseInput, Out: parseOutput,
		Step: func(s string, c call) (string, bool) {
			m, ok := parse(s), true
			do := func(a Action, r Result) {
				_, there := m[a.Key]
				switch a.F {
				case Put:
					m[a.Key] = a.Value
				case Delete:
					ok = ok && there == r.Deleted
					delete(m, a.Key)
				case Get:
					ok = ok && there == (r.KV != nil) && (r.KV == nil || r.KV.Value == m[a.Key])
				}
			}
			switch {
			case c.In.Mode != Mode{}:
			case c.F == Get || c.F == Range:
				n := 0
				for key := range m {
					if c.F == Range || key == c.In.Key {
						n++
					}
				}
				ok = n == len(c.Out.KVs)
				for _, kv := range c.Out.KVs {
					ok = ok && m[kv.Key] == kv.Value
				}
			case c.F == Transact:
				for _, is := range c.In.If {
					v, there := m[is.Key]
					holds := is.By == Value && there && v == is.Value || is.By == Mod && (is.Mod > 0) == there
					ok = ok && (holds || !c.Out.Succeeded)
				}
				for i, a := range c.In.branch(c.Out.Succeeded) {
					do(a, c.Out.Results[i])
				}
			default:
				do(Action{c.F, c.In.Key, c.In.Value}, Result{Deleted: c.Out.Deleted})
			}
			b, err := json.Marshal(m)
			if err != nil {
				panic(err)
			}
			return string(b), ok
		},
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
			renamed := strings.NewReplacer(`"a"`, `"x"`, `"b"`, `"y"`, `"1"`, `"91"`, `"2"`, `"92"`).Replace(string(changed[i].Value))
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
		if len(kept) == 0 {
			continue
		}
		if got := judged(t, historyOf(t, kept)).Verdict; got != want && got != checker.Unknown {
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
