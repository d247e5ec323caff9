package uniqueids

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestScripts runs the file of histories with what is said of them. Rewrite it
// with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "scripts.txt"), func(t *testing.T, d *datadriven.TestData) string {
		h, err := checkertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		r, err := check(t.Context(), h)
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		r.Name = d.Cmd
		return checkertest.Format(r)
	})
}

// random returns a history of calls, of which each ends in one of types and is
// given one of so many identifiers; both are named as one likes.
func random(t *testing.T, seed uint64, types []histories.Type, process func(int) int, id func(int) string) *histories.History {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	var ops []histories.Op
	add := func(op histories.Op) {
		op.Index, op.Time, op.F = len(ops), time.Duration(len(ops)), Generate
		ops = append(ops, op)
	}
	for i := range 1 + r.IntN(6) {
		p := histories.Process(process(i))
		typ, value := types[r.IntN(len(types))], id(r.IntN(12))
		add(histories.Op{Process: p, Type: histories.Invoke, Value: json.RawMessage("null")})
		if typ != histories.Fail { // failed calls were given nothing
			add(histories.Op{Process: p, Type: typ, Value: json.RawMessage(value)})
		} else {
			add(histories.Op{Process: p, Type: typ, Value: json.RawMessage("null")})
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestAgreesWithPairs compares all pairs, and changes what does not matter.
func TestAgreesWithPairs(t *testing.T) {
	mixed := []histories.Type{histories.OK, histories.OK, histories.Info, histories.Fail}
	invalid := 0
	const seeds = 200
	for seed := range uint64(seeds) {
		h := random(t, seed, mixed, func(i int) int { return i }, strconv.Itoa)
		pairs := 0
		for i, a := range h.All() {
			for j, b := range h.All() {
				if i < j && a.Type == histories.OK && b.Type == histories.OK && string(a.Value) == string(b.Value) {
					pairs++
				}
			}
		}
		got := checked(t, checker.Func(check), h)
		if (got.Verdict == checker.Invalid) != (pairs > 0) || len(got.Anomalies) > pairs {
			t.Fatalf("seed %d: %d pairs, but got %s", seed, pairs, checkertest.Format(got))
		}
		for _, a := range got.Anomalies {
			if len(a.Ops) != 4 || string(h.At(a.Ops[1]).Value) != string(h.At(a.Ops[3]).Value) {
				t.Fatalf("seed %d: evidence %v", seed, a)
			}
		}
		renamed := random(t, seed, mixed, func(i int) int { return 100 - i }, func(i int) string { return fmt.Sprintf(`"id-%d"`, i) })
		if other := checked(t, checker.Func(check), renamed); other.Verdict != got.Verdict {
			t.Fatalf("seed %d: with other names got %v, want %v", seed, other.Verdict, got.Verdict)
		}
		if pairs > 0 {
			invalid++
			continue
		}
		less := random(t, seed, []histories.Type{histories.Info, histories.OK, histories.Info, histories.Fail}, func(i int) int { return i }, strconv.Itoa)
		if r := checked(t, checker.Func(check), less); r.Verdict == checker.Invalid {
			t.Fatalf("seed %d: less is known, and got %s", seed, checkertest.Format(r))
		}
	}
	if invalid < seeds/10 || invalid > seeds*9/10 {
		t.Errorf("%d of %d are invalid", invalid, seeds)
	}
}

// memory hands out identifiers, and may forget the last ones when it fails.
type memory struct {
	next    int
	forgets bool
	calls   int
}

func (m *memory) Generate(context.Context) (Result, error) {
	m.calls++
	m.next++
	if m.forgets && m.calls%100 == 0 {
		m.next -= 3
	}
	return Result{ID: strconv.Itoa(m.next), Said: workloads.Said{Node: "n1"}}, nil
}

func (m *memory) Close() error { return nil }

const mainPhase = 5 * time.Second

func played(t *testing.T, w workloads.Workload, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(w, mainPhase, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestFindsMistakes(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		m := &memory{forgets: forgets}
		w := New(Options{}, func(context.Context, int) (IDs, error) { return m, nil })
		_, r, err := workloadtest.Play{Main: time.Second, Refused: 0.1, Lost: 0.1}.Judge(w)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]checker.Verdict{false: checker.Valid, true: checker.Invalid}[forgets]
		if r.Verdict != want || r.Parts[0].Counts["ids"] < 500 {
			t.Errorf("forgets: %v, and got %s", forgets, checkertest.Format(r))
		}
	}
}

// TestGenerators: all workers ask, at the rate that is wanted; in the end so many
// times until it succeeds, but not for ever.
func TestGenerators(t *testing.T) {
	const final = 30
	ops := played(t, New(Options{Rate: 200, FinalIDs: final}, nil), generatortest.Simulation{
		Outcome: generatortest.Mixed(time.Millisecond),
	})
	n, succeeded := 0, 0
	workers := map[histories.Process]bool{}
	for _, op := range ops {
		switch {
		case op.Type == histories.Invoke && op.Time < mainPhase:
			n++
			workers[op.Process%10] = true
		case op.Type == histories.OK && op.Time >= mainPhase:
			succeeded++
		}
	}
	if n < 900 || n > 1100 || len(workers) != 10 {
		t.Errorf("%d ops in %v by %d workers", n, mainPhase, len(workers))
	}
	if succeeded < final || succeeded > final+10 { // some of the main phase end late
		t.Errorf("%d succeeded in the end", succeeded)
	}
	ops = played(t, New(Options{FinalLimit: 2 * time.Second}, nil), generatortest.Simulation{
		Outcome: func(*rand.Rand, histories.Op) (histories.Type, time.Duration) {
			return histories.Fail, time.Millisecond
		},
	})
	if last := ops[len(ops)-1].Time - mainPhase; last < 1900*time.Millisecond || last > 2100*time.Millisecond {
		t.Errorf("they ended after %v", last)
	}
}

// stub says what it is told.
type stub struct {
	result Result
	err    error
}

func (s stub) Generate(context.Context) (Result, error) { return s.result, s.err }
func (s stub) Close() error                             { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	said := workloads.Said{Node: "n2", Revision: 5}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f    string
		stub stub

		reply, meta string
		failed      bool
		definite    bool
	}{
		{"generate", stub{result: Result{ID: `a"b`, Said: said}}, `"a\"b"`, `{"revision":5}`, false, false},
		{"generate", stub{result: Result{ID: ""}}, `""`, ``, false, false},
		{"generate", stub{result: Result{ID: "a\xff"}}, `[97,255]`, ``, false, false},
		{"generate", stub{result: Result{ID: "x", Said: said}, err: silent}, ``, `{"revision":5}`, true, false},
		{"generate", stub{err: workloads.Definite(silent)}, ``, ``, true, true},
		{"return", stub{}, ``, ``, true, true},
	} {
		w := New(Options{}, func(context.Context, int) (IDs, error) { return test.stub, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f})
		if string(reply.Value) != test.reply || string(reply.Meta) != test.meta || reply.Node != test.stub.result.Node {
			t.Errorf("%s %+v: got %s, %s of %q", test.f, test.stub, reply.Value, reply.Meta, reply.Node)
		}
		if (err != nil) != test.failed || workloads.IsDefinite(err) != test.definite {
			t.Errorf("%s %+v: got %v", test.f, test.stub, err)
		}
	}
}

func TestRange(t *testing.T) {
	ids := []string{`"b"`, `10`, `9`, `"11"`, `"a"`}
	slices.SortFunc(ids[1:4], compare)
	if got := fmt.Sprint(ids[1:4]); got != `[9 10 "11"]` {
		t.Errorf("got %s", got)
	}
	if compare(ids[0], ids[4]) <= 0 {
		t.Error("texts are not in the order of texts")
	}
}

func checked(t *testing.T, c checker.Checker, h *histories.History) checker.Result {
	t.Helper()
	r, err := c.Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
