package checker

import (
	"context"
	"slices"

	"github.com/hacheck/hacheck/histories"
)

// shrink takes from x what it can do without: x must not be linearizable, and
// what is left is not either. It ends early with ctx.
//
// Not every smaller set that is not linearizable is evidence: without the write
// that a read saw, no read is explained, and any history would stand accused.
// So only what could be removed from a linearizable set without harm is removed:
// calls that leave the state as it is, and what the model says.
func (j *judgement[S, In, Out]) shrink(ctx context.Context, x excerpt[In, Out]) excerpt[In, Out] {
	for {
		before := len(x.calls)
		x = j.shrinkOnce(ctx, x)
		if len(x.calls) == before || ctx.Err() != nil {
			return x
		}
	}
}

// shrinkOnce tries each removable set, in chunks first: half of them at a time,
// a quarter, and so on.
func (j *judgement[S, In, Out]) shrinkOnce(ctx context.Context, x excerpt[In, Out]) excerpt[In, Out] {
	sets := j.removable(x.calls)
	removed := make([]bool, len(x.calls))
	for size := max(len(sets)/2, 1); size > 0; size /= 2 {
		for at := 0; at < len(sets) && ctx.Err() == nil; {
			chunk := sets[at:min(at+size, len(sets))]
			trial := slices.Clone(removed)
			for _, set := range chunk {
				for _, i := range set {
					trial[i] = true
				}
			}
			if !j.refuted(ctx, x.without(trial)) {
				at += size
				continue
			}
			removed = trial
			sets = slices.Delete(sets, at, at+len(chunk))
		}
	}
	return x.without(removed)
}

// removable returns the sets of calls, by position, that can be removed.
func (j *judgement[S, In, Out]) removable(calls []histories.Call[In, Out]) [][]int {
	var sets [][]int
	for i, c := range calls {
		if j.model.readOnly(c) {
			sets = append(sets, []int{i})
		}
	}
	if j.model.Removable != nil {
		sets = append(sets, j.model.Removable(calls)...)
	}
	return sets
}

// without returns x without the removed calls.
func (x excerpt[In, Out]) without(removed []bool) excerpt[In, Out] {
	var kept []histories.Call[In, Out]
	for i, c := range x.calls {
		if !removed[i] {
			kept = append(kept, c)
		}
	}
	return excerpt[In, Out]{x.whole, kept}
}
