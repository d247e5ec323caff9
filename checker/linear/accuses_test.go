package linear_test

import (
	"math/rand/v2"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// TestWhatAccusesIsNoLie makes of histories that are linearizable some that say less, with
// operations left out. If they would accuse, they are linearizable too.
func TestWhatAccusesIsNoLie(t *testing.T) {
	accuse, lies := 0, 0
	for seed := range uint64(100_000 * scale) {
		random := rand.New(rand.NewPCG(seed, 16))
		r := dense(random)
		if !lineartest.Brute(r, linear.Initial) {
			continue
		}
		w := &linear.Witness{Whole: random.IntN(2) == 0}
		for op := range r.Kind {
			if random.IntN(3) == 0 {
				continue
			}
			kind, a, ret := r.Kind[op], r.A[op], r.Return[op]
			if kind == linear.CAS && random.IntN(4) == 0 {
				kind, a = linear.Write, r.B[op]
			}
			if random.IntN(4) == 0 {
				ret = never
			}
			if w.Add(kind, a, r.B[op], r.Call[op], ret) {
				w.Ops = append(w.Ops, int32(op))
			}
		}
		w.Finish()
		wrong := illegal(w)
		if wrong {
			lies++
		}
		if w.Accuses(r) != nil {
			continue
		}
		accuse++
		if wrong {
			t.Fatalf("seed %d: %+v is linearizable, and accused by %+v", seed, r, w)
		}
	}
	t.Logf("%d would accuse, %d were lies", accuse, lies)
	if accuse < 1000*scale || lies < 1000*scale {
		t.Error("that says little")
	}
}

// TestWitnessesAccuse: what deciders and Shrink show need not be believed, and is not turned
// down.
func TestWitnessesAccuse(t *testing.T) {
	accuse := 0
	try := func(r *linear.Register, w *linear.Witness) {
		t.Helper()
		accuse++
		if err := w.Accuses(r); err != nil {
			t.Fatalf("%+v: %+v: %v", r, w, err)
		}
	}
	for _, size := range [][3]int{{8, 3, 3}, {40, 5, 4}, {200, 8, 5}} {
		for n, m := range mixes(size[0], size[1], size[2]) {
			for seed := range uint64(100 * scale) {
				r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(n))), m)
				d := linear.JIT(r, linear.JITOptions{})
				if d.Verdict != linear.Illegal {
					continue
				}
				w, ok := linear.Shrink(r, d.At, func(w *linear.Witness) bool {
					return linear.JIT(&w.Register, linear.JITOptions{Starts: w.Starts(), NoOrder: true}).Verdict == linear.Illegal
				})
				if !ok {
					t.Fatalf("%+v: there is no witness", r)
				}
				try(r, w)
				if d := linear.Zones(r, nil); d.Verdict == linear.Illegal {
					try(r, d.Witness)
				}
			}
		}
	}
	if t.Logf("%d witnesses", accuse); accuse < 1000*scale {
		t.Error("that says little")
	}
}
