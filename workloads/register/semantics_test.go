package register

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// allSemantics are those that others may have, in every combination.
func allSemantics() (all []Semantics) {
	for _, initial := range []Value{Absent, Of(1)} {
		for _, nilUnknown := range []bool{false, true} {
			for _, observes := range []bool{false, true} {
				all = append(all, Semantics{initial, nilUnknown, observes})
			}
		}
	}
	return all
}

// telling returns the calls of h that say something to who has semantics s.
func telling(t *testing.T, s Semantics, h *histories.History) []call {
	t.Helper()
	calls := relevant(t, h)
	if s.NilUnknown {
		calls = slices.DeleteFunc(calls, func(c call) bool {
			return c.F == Read && c.Type == histories.OK && c.Out == Absent
		})
	}
	all, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if s.FailedCASObserves && c.F == CAS && c.Type == histories.Fail && len(c.Meta) == 0 {
			c.Out = unknown
			calls = append(calls, c)
		}
	}
	return calls
}

func TestSemanticsAgreeWithBruteForce(t *testing.T) {
	for _, s := range allSemantics() {
		cases, valid, differ := workloadtest.Cases(800), 0, 0
		for seed := range uint64(cases) {
			h := history(t, randomCalls(rand.New(rand.NewPCG(seed, 7))), same, "x")
			calls := telling(t, s, h)
			if !slices.ContainsFunc(calls, func(c call) bool { return c.Type != histories.Info }) {
				continue // nothing is known
			}
			var found checker.Violation[Input, Value]
			m := s.model()
			m.Explain = func(v checker.Violation[Input, Value]) checker.Anomaly {
				found = v
				return s.explain(v)
			}
			r, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			want := checker.Invalid
			if linearizable(s.Initial, calls) {
				want = checker.Valid
				valid++
			}
			if r.Verdict != want {
				t.Fatalf("%+v, seed %d: got %v, want %v\n%s", s, seed, r.Verdict, want, workloadtest.Text(h))
			}
			if linearizable(Absent, relevant(t, h)) != (want == checker.Valid) {
				differ++
			}
			if want == checker.Invalid {
				if err := convicts(s.Initial, calls, found); err != nil {
					t.Fatalf("%+v, seed %d: %v\n%s", s, seed, err, workloadtest.Text(h))
				}
				if _, err := checkertest.Orders(t.Context(), h, m, r); err != nil {
					t.Fatalf("%+v, seed %d: %v\n%s", s, seed, err, workloadtest.Text(h))
				}
			}
		}
		if !workloadtest.Raced && (valid < cases/10 || valid > cases*9/10 || s != Semantics{} && differ == 0) {
			t.Errorf("%+v: %d of %d valid, %d of them otherwise than to us", s, valid, cases, differ)
		}
	}
}

// TestAccessSaysWhatStepDoes of every call there is.
func TestAccessSaysWhatStepDoes(t *testing.T) {
	found := append(slices.Clone(values), unknown)
	for _, f := range []string{Read, Write, CAS} {
		for _, typ := range []histories.Type{histories.OK, histories.Info, histories.Fail} {
			for _, old := range values {
				for _, v := range values {
					for _, out := range found {
						c := call{F: f, Type: typ, In: Input{"x", v, old}, Out: out}
						if typ == histories.Fail && f != CAS || typ == histories.Info && readOnly(c) {
							continue // it is left out
						}
						a := access(c)
						for _, holds := range values {
							after, possible := step(holds, c)
							want, may := holds, true
							switch a.Kind {
							case linear.Read:
								may = holds == a.Old && !a.Impossible
							case linear.Refused:
								may = holds != a.Old
							case linear.Write:
								want = a.New
							case linear.CAS:
								if holds == a.Old {
									want = a.New
								} else {
									may = typ == histories.Info
								}
							}
							if after != want || possible != may {
								t.Fatalf("%v %s on %v: step says %v, %t; as a register %v, %t", typ, describe(c), holds, after, possible, want, may)
							}
						}
					}
				}
			}
		}
	}
}
