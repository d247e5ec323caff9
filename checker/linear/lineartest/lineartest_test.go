package lineartest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// TestTwoJudgesAgree: what all else is compared with has to be right itself.
func TestTwoJudgesAgree(t *testing.T) {
	for i := range 32 {
		m := Mix{
			Ops: 8, Values: 3 * (i & 1), Open: 3, CAS: i&2 > 0, Refused: i&4 > 0, Indeterminate: i&8 > 0, Ties: i&16 > 0, Damage: 3,
		}
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			illegal := 0
			for seed := range uint64(1000) {
				r := Random(rand.New(rand.NewPCG(seed, uint64(i))), m)
				if err := r.Check(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				want := Brute(r, linear.Initial)
				got := Porcupine(r, linear.Initial, 0)
				if want != (got == porcupine.Ok) {
					t.Fatalf("seed %d: brute force says %v, porcupine %v", seed, want, got)
				}
				if !want {
					illegal++
				}
			}
			if illegal < 50 || illegal > 950 {
				t.Errorf("%d of 1000 are illegal: the histories say little", illegal)
			}
		})
	}
}

// TestRightHistoriesAreLinearizable: without lies every history is.
func TestRightHistoriesAreLinearizable(t *testing.T) {
	for seed := range uint64(1000) {
		r := Random(rand.New(rand.NewPCG(seed, 77)), Mix{Ops: 8, Values: 3, Open: 3, CAS: true, Refused: true, Indeterminate: true})
		if !Brute(r, linear.Initial) {
			t.Fatalf("seed %d is not", seed)
		}
	}
}
