package lineartest

import (
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
)

// Contended returns the history of a register of two to four values, of one to so many
// operations, most of them cas, many of which are equal. Some are open for long, and many
// never return. Two in three are of a register, on which operations took effect one by
// one, with a lie or two in every other of these; in the rest they saw anything. There all
// that matters is which of the equal ones took effect where.
func Contended(r *rand.Rand, most int) *linear.Register {
	type op struct {
		kind              linear.Kind
		a, b              linear.Value
		begin, point, end int
		lost              bool
	}
	var (
		ops       = make([]op, 1+r.IntN(most))
		values    = 2 + r.IntN(3)
		long      = 20 * (1 + r.IntN(8))
		lost      = []float64{0, 0, 0.1, 0.3, 0.6}[r.IntN(5)]
		cas       = 40 + r.IntN(50) // of a hundred
		writes    = r.IntN(101 - cas)
		anything  = r.IntN(3) == 0
		something = func() linear.Value { return linear.Value(r.IntN(values)) }
		another   = func(v linear.Value) linear.Value {
			return (v + 1 + linear.Value(r.IntN(values-1))) % linear.Value(values)
		}
	)
	for i := range ops {
		o := &ops[i]
		o.begin = r.IntN(15 * len(ops))
		takes := 20
		if r.IntN(3) == 0 {
			takes = long
			o.begin /= 1 + r.IntN(4)
		}
		o.end = o.begin + r.IntN(takes)
		o.point = o.begin + r.IntN(o.end-o.begin+1)
		o.lost = r.Float64() < lost
	}
	slices.SortStableFunc(ops, func(a, b op) int { return a.point - b.point })
	holds := linear.Initial
	for i := range ops {
		o := &ops[i]
		happens := !o.lost || r.IntN(2) == 0
		switch roll := r.IntN(100); {
		case roll < cas:
			o.kind, o.a = linear.CAS, something()
			if r.IntN(3) > 0 {
				o.a = holds
			}
			o.b = another(o.a)
			switch {
			case anything:
			case o.a == holds && happens:
				holds = o.b
			case o.a != holds && !o.lost:
				o.kind, o.b = linear.Refused, 0
			}
		case roll < cas+writes:
			o.kind, o.a = linear.Write, something()
			if happens {
				holds = o.a
			}
		default:
			o.kind, o.a = linear.Read, holds
			switch {
			case anything:
				o.kind, o.a = linear.Read+linear.Kind(3*r.IntN(2)), something()
			case r.IntN(2) == 0:
				o.kind, o.a = linear.Refused, another(holds)
			}
		}
	}
	for range max(0, r.IntN(4)-1) {
		if o := &ops[r.IntN(len(ops))]; r.IntN(2) == 0 {
			o.a = something()
		} else {
			o.end = o.begin + r.IntN(o.end-o.begin+1)
		}
	}
	slices.SortStableFunc(ops, func(a, b op) int { return a.begin - b.begin })
	reg := &linear.Register{}
	for _, o := range ops {
		end := linear.Time(o.end)
		if o.lost {
			end = linear.Never
		}
		reg.Add(o.kind, o.a, o.b, linear.Time(o.begin), end)
	}
	reg.Finish()
	return reg
}
