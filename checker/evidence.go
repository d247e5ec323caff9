package checker

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// explain finds evidence that o, of which these are all calls, is not linearizable, and
// words for it; without the calls only what can be said by the witness. Whatever goes wrong
// meanwhile, the verdict stands.
func (j *judgement[S, In, Out]) explain(ctx context.Context, o *object[S, In, Out], calls []histories.Call[In, Out]) (a Anomaly, picture func(io.Writer) error) {
	defer func() {
		if r := recover(); r != nil {
			a = Anomaly{
				Kind: notLinearizable,
				Note: fmt.Sprintf("%s; explaining it %v", o.name(), &panicked{r, debug.Stack()}),
				Ops:  []int{max(o.reached, 0)},
			}
			if o.found != nil {
				a.Ops = o.found.ops()
			}
		}
	}()
	if o.found == nil {
		x, ok := j.first(ctx, o)
		if !ok {
			return Anomaly{
				Kind: notLinearizable,
				Note: fmt.Sprintf("%s: no order explains its calls; there was no time to find out which, but all is well up to op %d", o.name(), o.reached),
				Ops:  []int{o.reached},
			}, nil
		}
		x = j.shrink(ctx, x)
		o.found = &x
	}
	x := *o.found
	v := Violation[In, Out]{Key: o.key, Witness: x.calls, Whole: x.whole, Last: x.last(), Calls: calls}
	v.Stale = j.staleness(o, v.Last)
	if j.model.Explain != nil && calls != nil {
		a = j.model.Explain(v)
	} else {
		a = Anomaly{Kind: notLinearizable, Note: fmt.Sprintf("%s: no order explains %s", o.name(), Count(len(x.calls), "call"))}
	}
	if calls == nil {
		a.Note += fmt.Sprintf("; to say why takes more time or memory, with %s", Count(len(o.call), "call"))
	}
	a.Ops = append(a.Ops, x.ops()...)
	slices.Sort(a.Ops)
	a.Ops = slices.Compact(a.Ops)
	reaching := j.reaching(o, x)
	picture = j.picture(o, x.last(), a, reaching)
	a.Order = j.order(o, reaching)
	return a, picture
}

const notLinearizable = "not linearizable"

// An excerpt is some of an object's calls, which are linearizable if all of them
// are: from the initial state if whole, or else from one of the model's States.
// So an excerpt that is not linearizable proves that the object is not.
type excerpt[In, Out any] struct {
	whole bool                      // nothing was cut off at the front
	calls []histories.Call[In, Out] // in the order of their invocations
}

// starts returns the states that x can begin in. Fewer calls tell fewer states
// apart, so that this depends on what is left of x.
func (j *judgement[S, In, Out]) starts(x excerpt[In, Out]) []S {
	if x.whole {
		return []S{j.model.Init}
	}
	return j.model.States(x.calls)
}

// refuted says that x is not linearizable, as porcupine says. If ctx ends first it is not
// known. Our own search, which is faster, is asked before.
func (j *judgement[S, In, Out]) refuted(ctx context.Context, x excerpt[In, Out]) bool {
	starts := j.starts(x)
	if !j.budget.Porcupine {
		m := j.guard.meter(ctx)
		defer m.done()
		if linear.Search(j.problem(x.calls, starts...), m.limit).Verdict == linear.Linearizable {
			return false
		}
	}
	t := j.model.trial(x.calls)
	for _, start := range starts {
		if linearizable, err := j.search(start, t).answer(ctx); linearizable || err != nil {
			return false
		}
	}
	return true
}

// last returns the call that returned last.
func (x excerpt[In, Out]) last() histories.Call[In, Out] {
	var last histories.Call[In, Out]
	for _, c := range x.calls {
		if c.Completed != histories.Never && c.Completed > last.Completed {
			last = c
		}
	}
	return last
}

// ops returns the ops that x rests on: of calls taken as indeterminate only the
// invocation.
func (x excerpt[In, Out]) ops() []int {
	var ops []int
	for _, c := range x.calls {
		ops = append(ops, c.Index)
		if c.Completed != histories.Never {
			ops = append(ops, c.Completion)
		}
	}
	return ops
}

// first returns an excerpt that ends with the first call that cannot be
// explained: the smallest prefix of what o's clients saw that is not
// linearizable, or an end of that. It finds none if ctx ends first.
//
// The prefix is found by bisection, since a prefix of a linearizable history is
// linearizable; and the search has left close bounds for it.
func (j *judgement[S, In, Out]) first(ctx context.Context, o *object[S, In, Out]) (found excerpt[In, Out], ok bool) {
	returns := j.suspects(o)
	sort.Search(len(returns), func(i int) bool {
		calls := j.model.upTo(j.told(o), returns[i])
		x, refuted := j.tail(ctx, calls)
		if !refuted {
			x = excerpt[In, Out]{true, calls}
			refuted = j.refuted(ctx, x)
		}
		if refuted {
			found, ok = x, true
		}
		return refuted
	})
	return found, ok
}

// suspects returns when the calls returned that the search of o could not get
// over, ascending: one of these was the first that nothing explains, if there is
// one.
func (j *judgement[S, In, Out]) suspects(o *object[S, In, Out]) []time.Duration {
	var returns []linear.Time
	for _, t := range o.ret {
		if o.after < t && t < o.before {
			returns = append(returns, t)
		}
	}
	slices.Sort(returns)
	at := make([]time.Duration, len(returns))
	for i, t := range returns {
		at[i] = j.history.At(int(t)).Time
	}
	return at
}

// wall says that o is not linearizable for what happened just where the search
// of it ended.
func (j *judgement[S, In, Out]) wall(ctx context.Context, o *object[S, In, Out]) bool {
	for _, t := range j.suspects(o) {
		if x, ok := j.tail(ctx, j.model.upTo(j.told(o), t)); ok {
			x = j.shrink(ctx, x)
			o.found = &x
			return true
		}
	}
	return false
}

// tail returns an excerpt of the last few calls that is not linearizable, if
// there is one. The search among a few dozen calls is quick where that among
// thousands, which find their places in some order or other, is not.
func (j *judgement[S, In, Out]) tail(ctx context.Context, calls []histories.Call[In, Out]) (excerpt[In, Out], bool) {
	if j.model.States == nil {
		return excerpt[In, Out]{}, false
	}
	for n := 2; n <= 128 && n < len(calls); n *= 2 {
		x := excerpt[In, Out]{calls: j.model.since(calls, calls[len(calls)-n].Invoked)}
		if j.refuted(ctx, x) {
			return x, true
		}
	}
	return excerpt[In, Out]{}, false
}

// upTo returns calls as they stood at time t, a return included: what had not
// returned was indeterminate.
//
// Linearizable calls leave linearizable ones: of an order of all of them keep
// the start that ends with the last one that returned by t. Nothing in it was
// invoked after t, or it would come after that one.
func (m *Model[S, In, Out]) upTo(calls []histories.Call[In, Out], t time.Duration) []histories.Call[In, Out] {
	var kept []histories.Call[In, Out]
	for _, c := range calls {
		if c.Invoked > t {
			break
		}
		if c.Completed > t {
			if m.readOnly(c) {
				continue
			}
			c = opened(c)
		}
		kept = append(kept, c)
	}
	return kept
}

// since returns the calls that returned after time t; those invoked before it as
// indeterminate, since they may have happened by then.
//
// Linearizable calls leave ones that are linearizable from some state: of an
// order of all of them drop the start that ends with the last one that returned
// before t. Everything invoked after t remains.
func (m *Model[S, In, Out]) since(calls []histories.Call[In, Out], t time.Duration) []histories.Call[In, Out] {
	var kept []histories.Call[In, Out]
	for _, c := range calls {
		if c.Completed < t {
			continue
		}
		if c.Invoked < t {
			if m.readOnly(c) {
				continue
			}
			c = opened(c)
		}
		kept = append(kept, c)
	}
	return kept
}

// opened returns c as if it had not returned.
func opened[In, Out any](c histories.Call[In, Out]) histories.Call[In, Out] {
	c.Type, c.Completed = histories.Info, histories.Never
	return c
}
