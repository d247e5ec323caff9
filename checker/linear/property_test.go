package linear_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// A weakening makes of a history one that says less, or says it in other words.
type weakening struct {
	name string
	// of returns another history, or nil if there is nothing to do.
	of func(r *rand.Rand, reg *linear.Register) *linear.Register
	// same says that it says no less.
	same bool
}

var weakenings = []weakening{
	{"other values", func(r *rand.Rand, reg *linear.Register) *linear.Register {
		names := append([]int{0}, r.Perm(reg.Values+2)...) // some are not in use
		for i := range names[1:] {
			names[i+1]++
		}
		name := func(v linear.Value) linear.Value {
			if v == linear.Nothing {
				return v
			}
			return linear.Value(names[v])
		}
		other := &linear.Register{}
		for i, kind := range reg.Kind {
			other.Add(kind, name(reg.A[i]), name(reg.B[i]), reg.Call[i], reg.Return[i])
		}
		other.Finish()
		return other
	}, true},
	{"later times", func(r *rand.Rand, reg *linear.Register) *linear.Register {
		// The order of times is all that they say.
		scale, shift := linear.Time(1+r.IntN(5)), linear.Time(r.IntN(2000)-1000)
		other := lineartest.Clone(reg)
		for i := range other.Call {
			other.Call[i] = scale*other.Call[i] + shift
			if other.Return[i] != linear.Never {
				other.Return[i] = scale*other.Return[i] + shift
			}
		}
		return other
	}, true},
	{"wider intervals", func(r *rand.Rand, reg *linear.Register) *linear.Register {
		type times struct{ call, ret linear.Time }
		wider, ops := make([]times, reg.Len()), make([]int32, reg.Len())
		for i := range ops {
			ops[i] = int32(i)
			wider[i] = times{reg.Call[i], reg.Return[i]}
			if r.IntN(3) == 0 {
				wider[i].call -= linear.Time(r.IntN(reg.Len() * 10))
			}
			if wider[i].ret != linear.Never && r.IntN(3) == 0 {
				wider[i].ret += linear.Time(r.IntN(reg.Len() * 10))
			}
		}
		slices.SortStableFunc(ops, func(i, j int32) int { return cmp.Compare(wider[i].call, wider[j].call) })
		other := &linear.Register{}
		for _, op := range ops {
			other.Add(reg.Kind[op], reg.A[op], reg.B[op], wider[op].call, wider[op].ret)
		}
		other.Finish()
		return other
	}, false},
	{"indeterminate", func(r *rand.Rand, reg *linear.Register) *linear.Register {
		other := lineartest.Clone(reg)
		for i, kind := range reg.Kind {
			if !kind.Pure() && r.IntN(4) == 0 {
				other.Return[i] = linear.Never
			}
		}
		other.Finish()
		return other
	}, false},
	{"without some that change nothing", func(r *rand.Rand, reg *linear.Register) *linear.Register {
		other := &linear.Register{}
		for i, kind := range reg.Kind {
			if !kind.Pure() || r.IntN(3) > 0 {
				other.Add(kind, reg.A[i], reg.B[i], reg.Call[i], reg.Return[i])
			}
		}
		other.Finish()
		return other
	}, false},
}

// TestWeakerHistories: a history that says less is explained by what explained it. No
// decider may think otherwise, and none may think of the same in other words otherwise.
func TestWeakerHistories(t *testing.T) {
	mixes := everyMix()
	for _, w := range weakenings {
		t.Run(w.name, func(t *testing.T) {
			explained, rescued := make([]atomic.Int64, len(deciders)), make([]atomic.Int64, len(deciders))
			tryAll(t, lineartest.Cases(10*len(mixes)), func(seed uint64) error {
				m := mixes[seed%uint64(len(mixes))]
				m.Ops = 30
				r := rand.New(rand.NewPCG(seed, 4))
				reg := lineartest.Random(r, m)
				other := w.of(r, reg)
				if err := other.Check(); err != nil {
					return err
				}
				for i, d := range deciders {
					before, after := d.decide(reg), d.decide(other)
					if before.Verdict == linear.Linearizable && after.Verdict == linear.Illegal || w.same && after.Verdict != before.Verdict {
						return fmt.Errorf("%s says it is %v, and %v after%s\n%s", d.name, before.Verdict, after.Verdict, written(reg), written(other))
					}
					if before.Verdict == linear.Linearizable {
						explained[i].Add(1)
					} else if after.Verdict == linear.Linearizable {
						rescued[i].Add(1)
					}
				}
				return nil
			})
			for i, d := range deciders {
				if explained[i].Load() == 0 || !w.same && rescued[i].Load() == 0 {
					t.Errorf("%s was not tried: %d were linearizable, %d became so", d.name, explained[i].Load(), rescued[i].Load())
				}
			}
		})
	}
}
