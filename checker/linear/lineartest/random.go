// Package lineartest makes histories to test deciders with, and judges them by means that
// share nothing with those: by brute force, and by porcupine.
package lineartest

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
)

// A Mix says what there is in a random history. The more of it there is, the more a
// decider has to get right.
type Mix struct {
	Ops           int  // at most; at least one
	Values        int  // how many, or 0: every write sets a value of its own
	Open          int  // how many operations are open at once, about
	CAS           bool // compare and set, those that fail and say what they saw among them
	Refused       bool // cas that fail and do not say what they saw
	Indeterminate bool // operations that never return
	Ties          bool // events at the same time
	Damage        int  // one in so many histories is as it should be; others see wrong values; 0: all are right
}

// Random returns the history of a register on which operations took effect one by one,
// and then, perhaps, with lies in it.
func Random(r *rand.Rand, m Mix) *linear.Register {
	n := 1 + r.IntN(m.Ops)
	type op struct {
		kind         linear.Kind
		a, b         linear.Value
		begin, point int
		end          linear.Time
	}
	ops := make([]op, n)
	const gap = 6 // between two calls, on average
	for i := range ops {
		o := &ops[i]
		o.begin = r.IntN(gap * n)
		o.point = o.begin + r.IntN(gap*m.Open+1)
		o.end = linear.Time(o.point + r.IntN(gap*m.Open+1))
	}
	// With equal points, those called first are first: they may be made to precede below.
	slices.SortFunc(ops, func(a, b op) int { return cmp.Or(a.point-b.point, a.begin-b.begin) })
	lies := m.Damage > 0 && r.IntN(m.Damage) > 0
	holds, unique := linear.Initial, linear.Value(0)
	some := func() linear.Value {
		if m.Values > 0 {
			return linear.Value(r.IntN(m.Values))
		}
		return linear.Value(r.IntN(int(unique) + 2))
	}
	fresh := func() linear.Value {
		if m.Values > 0 {
			return some()
		}
		unique++
		return unique
	}
	for i := range ops {
		o := &ops[i]
		lost := m.Indeterminate && r.IntN(5) == 0
		happens := !lost || r.IntN(2) == 0
		switch roll := r.IntN(10); {
		case roll < 4:
			o.kind, o.a = linear.Read, holds
		case roll < 7 || !m.CAS && !m.Refused:
			o.kind, o.a = linear.Write, fresh()
			if happens {
				holds = o.a
			}
		case (roll < 9 || !m.Refused) && m.CAS:
			o.kind, o.a = linear.CAS, holds
			if r.IntN(3) == 0 {
				o.a = some()
			}
			o.b = fresh()
			switch {
			case o.a == holds && happens:
				holds = o.b
			case !lost: // it fails, and says why
				o.kind, o.a = linear.Read, holds
			}
		default:
			o.kind, o.a = linear.Refused, some()
			if o.a == holds {
				o.kind = linear.Read
			}
		}
		if lost {
			o.end = linear.Never
		}
		if lies && r.IntN(3) == 0 {
			switch o.kind {
			case linear.Write:
				if m.Values > 0 {
					o.a = some()
				}
			default:
				o.a = some()
				if o.kind != linear.CAS && r.IntN(12) == 0 {
					o.kind, o.a = linear.Read, linear.Nothing
				}
			}
		}
	}
	slices.SortStableFunc(ops, func(a, b op) int { return a.begin - b.begin })
	reg := &linear.Register{}
	for i, o := range ops {
		if !m.Ties { // spread out, with every call and return at a time of its own
			o.begin = o.begin*2*n + 2*i
			if o.end != linear.Never {
				o.end = o.end*linear.Time(2*n) + linear.Time(2*i) + 1
			}
		}
		ops[i] = o
	}
	slices.SortStableFunc(ops, func(a, b op) int { return a.begin - b.begin })
	for _, o := range ops {
		reg.Add(o.kind, o.a, o.b, linear.Time(o.begin), o.end)
	}
	reg.Finish()
	return reg
}
