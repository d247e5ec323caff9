package lock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// verdict returns what is said of h, but for whether the run tried enough.
func verdict(t *testing.T, h *histories.History, err error) checker.Result {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := checker.Compose("lock",
		checker.Part{Name: "fencing", Checker: fencing()},
		checker.Part{Name: "holders", Checker: checker.Func(holders)},
	).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for _, m := range []mistake{none, grantsHeld, neverFences, expiresEarly, losesWrites}[:workloadtest.Cases(5)] {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 7, Main: 4 * time.Second, Lost: 0.01, Refused: 0.05})
		want := verdict(t, h, nil).Verdict
		other, err := workloadtest.Renumbered(h, func(p histories.Process) histories.Process { return 100000 - p })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: other numbers: got %s", m, checkertest.Format(r))
		}
		other, err = workloadtest.Without(h, func(op histories.Op) bool { return workloads.RefusedAs(op.Meta) == "" })
		if r := verdict(t, other, err); r.Verdict != want {
			t.Errorf("mistake %d: without what failed: got %s", m, checkertest.Format(r))
		}
	}
}

func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for seed := range uint64(workloadtest.Cases(3)) {
		_, h := played(t, &system{}, workloadtest.Play{Seed: seed, Main: 4 * time.Second, Lost: 0.005})
		for _, n := range []int{1, 10, 100, 1000} {
			less, err := workloadtest.Forgetful(h, r, n)
			if got := verdict(t, less, err); got.Verdict == checker.Invalid {
				t.Errorf("seed %d, without %d: got %s", seed, n, checkertest.Format(got))
			}
		}
	}
}

// TestHoldsOverlapAsAllPairsSay compares with each against each.
func TestHoldsOverlapAsAllPairsSay(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	count := map[bool]int{}
	for range workloadtest.Cases(5000) {
		var holds []*hold
		for i := range 2 + r.IntN(4) {
			at := time.Duration(3 * r.IntN(40))
			c := call{F: Acquire, Type: histories.OK, Index: i, Invoked: at, Completed: at + 1 + time.Duration(3*r.IntN(8)), In: payload{Lock: "l"}}
			h := &hold{acquire: c, renewal: c}
			h.end = c.Completed + time.Duration(r.IntN(20))
			holds = append(holds, h)
		}
		wrong := false
		for _, a := range holds {
			for _, b := range holds {
				within := b.acquire.Invoked > a.acquire.Completed && b.acquire.Completed < a.end
				both := max(a.acquire.Completed, b.acquire.Completed) < min(a.end, b.end)
				wrong = wrong || a != b && (within || both)
			}
		}
		slices.SortFunc(holds, func(a, b *hold) int { return int(a.acquire.Completed - b.acquire.Completed) })
		for i := 1; i < len(holds); i++ { // of two at one time, which a history does not have, the order is open
			if holds[i].acquire.Completed == holds[i-1].acquire.Completed {
				wrong, holds = false, holds[:1]
			}
		}
		var found checker.Findings
		if heldTwice(&found, holds); found.Len() > 0 != wrong {
			t.Fatalf("got %d, want %v", found.Len(), wrong)
		}
		count[wrong]++
	}
	if !workloadtest.Raced && (count[true] < 250 || count[false] < 250) {
		t.Errorf("%v: the histories say little", count)
	}
}
