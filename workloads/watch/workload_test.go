package watch

import (
	"context"
	"math/rand/v2"
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
func performed(t testing.TB, main time.Duration, mistake string, lost float64, seed uint64) *histories.History {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	m := newMemory(mistake)
	m.lag = func() uint64 { return r.Uint64N(4) * r.Uint64N(10) }
	w := New(Options{Compact: 50 * time.Millisecond}, func(context.Context, int) (Store, error) { return m, nil })
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
	r.Name = "events"
	return r
}

func TestCorrectStoreIsValid(t *testing.T) {
	gaps := int64(0)
	for seed := range uint64(workloadtest.Cases(6)) {
		for _, lost := range []float64{0, 0.01, 0.2} {
			h := performed(t, time.Second, "", lost, seed)
			r := judged(t, h)
			if r.Verdict != checker.Valid {
				t.Fatalf("seed %d, %v lost: got %s", seed, lost, checkertest.Format(r))
			}
			gaps += r.Counts["stated_gaps"]
			if watchers, behind, err := readBack(h, 0); err != nil || watchers != DefaultWatchers || len(behind) > 0 {
				t.Fatalf("seed %d: %d watchers, behind: %v, %v", seed, watchers, behind, err)
			}
		}
	}
	if gaps < 3 && !workloadtest.Raced {
		t.Errorf("a compaction was met %d times", gaps)
	}
}

// TestMistakesAreFound: each shows by name, also if some outcomes are not known.
func TestMistakesAreFound(t *testing.T) {
	for mistake, want := range workloadtest.Some(mistakes) {
		found := false
		for seed := uint64(0); seed < 20 && !found; seed++ {
			r := judged(t, performed(t, 700*time.Millisecond, mistake, 0.02*float64(seed%2), seed))
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
	h := performed(b, 25*time.Second, "", 0.01, 1)
	for b.Loop() {
		if r := judged(b, h); r.Verdict != checker.Valid {
			b.Fatal(checkertest.Format(r))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(h.Len()/2), "ns/call")
}
