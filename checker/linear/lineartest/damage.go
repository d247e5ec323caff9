package lineartest

import (
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
)

// A Damage is what a system may do wrong. It shows in what its operations found: they are
// executed again, in an order that is not right.
type Damage struct {
	Name string
	// Wrong returns an order that is not as it should be, from one that is, or nil.
	Wrong func(r *rand.Rand, reg *linear.Register, order []int32) []int32
}

// Damages returns those that there are.
func Damages() []Damage {
	return []Damage{
		{"stale read", func(r *rand.Rand, reg *linear.Register, order []int32) []int32 {
			i, found := some(r, order, func(op int32) bool { return reg.Kind[op] == linear.Read })
			if !found || i == 0 {
				return nil
			}
			wrong := slices.Delete(slices.Clone(order), i, i+1)
			return slices.Insert(wrong, r.IntN(i), order[i])
		}},
		{"lost write", func(r *rand.Rand, reg *linear.Register, order []int32) []int32 {
			i, found := some(r, order, func(op int32) bool { return !reg.Kind[op].Pure() })
			if !found {
				return nil
			}
			return slices.Delete(slices.Clone(order), i, i+1)
		}},
		{"swapped order", func(r *rand.Rand, _ *linear.Register, order []int32) []int32 {
			if len(order) < 2 {
				return nil
			}
			i := r.IntN(len(order) - 1)
			wrong := slices.Clone(order)
			wrong[i], wrong[i+1] = wrong[i+1], wrong[i]
			return wrong
		}},
	}
}

// some returns the place in order of an operation that is as asked for.
func some(r *rand.Rand, order []int32, is func(op int32) bool) (place int, found bool) {
	var places []int
	for i, op := range order {
		if is(op) {
			places = append(places, i)
		}
	}
	if len(places) == 0 {
		return 0, false
	}
	return places[r.IntN(len(places))], true
}

// Execute returns the history that r would be if operations had taken effect in that
// order, and those that are not in it in none. A cas that fails says what it found.
func Execute(r *linear.Register, order []int32) *linear.Register {
	other := Clone(r)
	v := linear.Initial
	for _, op := range order {
		next, possible := r.Step(v, op)
		if !possible && r.Return[op] != linear.Never {
			other.Kind[op], other.A[op], other.B[op] = linear.Read, v, 0
		}
		if possible {
			v = next
		}
	}
	return other
}

// Clone returns a copy of r.
func Clone(r *linear.Register) *linear.Register {
	return &linear.Register{
		Kind: slices.Clone(r.Kind), A: slices.Clone(r.A), B: slices.Clone(r.B),
		Call: slices.Clone(r.Call), Return: slices.Clone(r.Return), Returns: slices.Clone(r.Returns), Values: r.Values,
	}
}
