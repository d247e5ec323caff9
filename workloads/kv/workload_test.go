package kv

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// performed returns what becomes of the workload on a memory in some time, with a
// share of the answers lost.
func performed(t testing.TB, o Options, main time.Duration, mistake string, lost float64, seed uint64) *histories.History {
	t.Helper()
	m := newMemory(mistake)
	w := New(o, func(context.Context, int) (Store, error) { return m, nil })
	h, err := workloadtest.Play{Seed: seed, Main: main, Lost: lost}.History(w)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func judged(t testing.TB, h *histories.History) checker.Result {
	t.Helper()
	r, err := check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	r.Name = "linearizable"
	return r
}

func TestCorrectStoreIsValid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(4)) {
		for _, lost := range []float64{0, 0.01, 0.2} {
			h := performed(t, Options{}, time.Second, "", lost, seed)
			if r := judged(t, h); r.Verdict != checker.Valid {
				t.Fatalf("seed %d, %v lost: got %s", seed, lost, checkertest.Format(r))
			}
			if keys, unread, err := readBack(h, 0); err != nil || keys != DefaultKeys || len(unread) > 0 {
				t.Fatalf("seed %d: %d keys, unread: %v, %v", seed, keys, unread, err)
			}
		}
	}
}

// TestMistakesAreFound: each shows by name, also if some outcomes are not known.
func TestMistakesAreFound(t *testing.T) {
	for mistake, want := range workloadtest.Some(mistakes) {
		found := false
		for seed := uint64(0); seed < 4 && !found; seed++ {
			r := judged(t, performed(t, Options{}, 700*time.Millisecond, mistake, 0.02*float64(seed%2), seed))
			for _, a := range r.Anomalies {
				found = found || a.Kind == want
				if len(a.Ops) == 0 || !slices.IsSorted(a.Ops) || a.Note == "" {
					t.Errorf("%s: evidence: %+v", mistake, a)
				}
			}
			if len(r.Anomalies) > 0 != (r.Verdict == checker.Invalid) {
				t.Errorf("%s: %v by %v", mistake, r.Verdict, r.Anomalies)
			}
		}
		if !found {
			t.Errorf("%s: no %s", mistake, want)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, lost := range []float64{0, 0.01} {
		b.Run(fmt.Sprint(lost), func(b *testing.B) {
			h := performed(b, Options{}, 25*time.Second, "", lost, 1)
			for b.Loop() {
				if r := judged(b, h); r.Verdict != checker.Valid {
					b.Fatal(checkertest.Format(r))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()/2), "ns/call")
		})
	}
}
