package checker

import (
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// staleness says how old what a call saw was at least, if it saw what had been replaced
// before it began: how many values had been set in the meantime, and how long ago the
// first of them was. It is "" if nothing is sure.
//
// This is the k of k-atomicity (Golab, Li and Shah: Analyzing consistency properties for
// fun and profit, PODC 2011), as far as it is sure for one read, whoever wrote its value
// last: a value that was set again has the time of its last write.
func (j *judgement[S, In, Out]) staleness(o *object[S, In, Out], last histories.Call[In, Out]) string {
	if o.register == nil {
		return ""
	}
	r := o.register
	call, _ := Interval(last)
	at, found := slices.BinarySearch(r.Call, call)
	if !found || r.Kind[at] != linear.Read && r.Kind[at] != linear.CAS {
		return ""
	}
	saw, until := r.A[at], r.Return[at]
	// Of each call that may have set it: when it had, for sure. If there is but one, it had
	// when somebody saw it.
	set, sources, seen := linear.Time(-1), 0, linear.Never
	if saw == linear.Initial {
		sources++
	}
	for op := range r.Kind {
		switch v, sets := r.Sets(op); {
		case sets && v == saw && r.Call[op] < until:
			sources++
			set = max(set, r.Return[op])
		case !sets && r.Kind[op] == linear.Read && r.A[op] == saw:
			seen = min(seen, r.Return[op])
		}
	}
	switch sources {
	case 0:
		return "" // it is not old, but was never there
	case 1:
		set = min(set, seen)
	}
	values, first := 0, linear.Never // what was set since, for sure
	for op := range r.Kind {
		if v, sets := r.Sets(op); sets && v != saw && r.Call[op] > set && r.Return[op] < call {
			values++
			first = min(first, r.Return[op])
		}
	}
	if values == 0 {
		return ""
	}
	return fmt.Sprintf("stale by at least %s and %v", Count(values, "value"), Brief(last.Invoked-j.history.At(int(first)).Time))
}
