package checkertest

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// Orders says what is wrong with the orders that the anomalies of r come with, if anything,
// where [checker.Linearizable] has judged h by m: each must be one that the model and time
// permit, with calls that ended as the history has it, and none of the calls that may be next
// may be possible. It returns how many partial orders it has looked at. An anomaly without an
// order is an error.
func Orders[S comparable, In, Out any](ctx context.Context, h *histories.History, m checker.Model[S, In, Out], r checker.Result) (n int, err error) {
	calls, err := told(h, m)
	if err != nil {
		return 0, err
	}
	for _, a := range r.Anomalies {
		if a.Order == nil {
			return n, fmt.Errorf("%s %v has no order", a.Kind, a.Ops)
		}
		order, err := a.Order(ctx)
		if err != nil {
			return n, fmt.Errorf("%s %v: %w", a.Kind, a.Ops, err)
		}
		if again, err := a.Order(ctx); err != nil || !reflect.DeepEqual(order, again) {
			return n, fmt.Errorf("%s %v: the order was %v, and then %v, %v", a.Kind, a.Ops, order, again, err)
		}
		if err := checkOrder(m, calls, order); err != nil {
			return n, fmt.Errorf("%s %v: %w\nthe order is %+v", a.Kind, a.Ops, err, order)
		}
		n += len(order.Partials)
	}
	return n, nil
}

// told returns the calls that m judges and that tell something, by their invocations.
func told[S comparable, In, Out any](h *histories.History, m checker.Model[S, In, Out]) (map[int]histories.Call[In, Out], error) {
	calls := map[int]histories.Call[In, Out]{}
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.Invoke || m.Functions != nil && !slices.Contains(m.Functions, op.F) {
			continue
		}
		c, err := histories.CallAt(h, i, m.In, m.Out)
		if err != nil {
			return nil, err
		}
		tells := true
		switch {
		case c.Type == histories.Fail && m.Refused != nil:
			c, tells = m.Refused(c)
		case c.Type == histories.Fail:
			tells = false
		}
		if tells {
			calls[i] = c
		}
	}
	return calls, nil
}

func checkOrder[S comparable, In, Out any](m checker.Model[S, In, Out], all map[int]histories.Call[In, Out], order checker.Order) error {
	key := func(c histories.Call[In, Out]) string {
		if m.Key == nil {
			return ""
		}
		return m.Key(c.In)
	}
	calls := map[int]histories.Call[In, Out]{}
	var in []histories.Call[In, Out]
	for _, i := range order.Calls {
		c, known := all[i]
		if !known || key(c) != key(all[order.Calls[0]]) {
			return fmt.Errorf("op %d is no call of the object that tells something", i)
		}
		calls[i], in = c, append(in, c)
	}
	whole := true // as its calls begin with the object's first
	for i, c := range all {
		whole = whole && (i >= order.Calls[0] || key(c) != key(in[0]))
	}
	const mostCalls, mostPartials = 200, 8
	switch {
	case len(in) > mostCalls || len(order.Partials) == 0 || len(order.Partials) > mostPartials:
		return fmt.Errorf("there are %d calls and %d partial orders", len(in), len(order.Partials))
	case !slices.IsSorted(order.Calls):
		return fmt.Errorf("the calls %v are in no order", order.Calls)
	}
	starts := []S{m.Init}
	if m.States != nil {
		starts = append(starts, m.States(in)...)
	}
	for n, p := range order.Partials {
		if n > 0 && len(p.Steps) > len(order.Partials[n-1].Steps) {
			return fmt.Errorf("partial order %d is longer than the one before", n)
		}
		err := fmt.Errorf("no state is %q", p.Initial)
		for _, start := range starts {
			if state(m, start) == p.Initial {
				if err = checkPartial(m, calls, p, start, whole); err == nil {
					break
				}
			}
		}
		if err != nil {
			return fmt.Errorf("partial order %d: %w", n, err)
		}
	}
	return nil
}

// checkPartial plays p from s. If what it is about is not all that the object was used for,
// some of the calls may have come before.
func checkPartial[S comparable, In, Out any](m checker.Model[S, In, Out], calls map[int]histories.Call[In, Out], p checker.Partial, s S, whole bool) error {
	left := map[int]histories.Call[In, Out]{}
	for i, c := range calls {
		left[i] = c
	}
	for n, step := range p.Steps {
		c, there := left[step.Op]
		if !there {
			return fmt.Errorf("step %d: op %d has been, or is none of the calls", n, step.Op)
		}
		delete(left, step.Op)
		for i, other := range left {
			switch completed := completion(other); {
			case completed > c.Index:
			case whole || slices.ContainsFunc(p.Steps, func(s checker.PartialStep) bool { return s.Op == i }):
				return fmt.Errorf("step %d: op %d completed before op %d began, and does not come before it", n, i, c.Index)
			default:
				delete(left, i) // it came before all
			}
		}
		next, possible := m.Step(s, c)
		if !possible {
			return fmt.Errorf("step %d: op %d is not possible in %v", n, c.Index, s)
		}
		if s = next; step.State != state(m, s) {
			return fmt.Errorf("step %d: after op %d it is %q, not %q", n, c.Index, state(m, s), step.State)
		}
	}
	if len(p.Stuck) == 0 {
		return fmt.Errorf("nothing is stuck")
	}
	first := never
	for i, c := range left {
		if whole || slices.Contains(p.Stuck, i) {
			first = min(first, completion(c))
		}
	}
	for i, c := range left {
		_, possible := m.Step(s, c)
		switch is := slices.Contains(p.Stuck, i); {
		case is && possible:
			return fmt.Errorf("op %d is stuck, and possible in %v", i, s)
		case is && i > first:
			return fmt.Errorf("op %d is stuck, and would not have to be next: another completed at op %d", i, first)
		case !is && i < first && whole:
			return fmt.Errorf("op %d may be next, and is not stuck", i)
		}
	}
	for _, i := range p.Stuck {
		if _, there := left[i]; !there {
			return fmt.Errorf("op %d is stuck, and has its place", i)
		}
	}
	return nil
}

const never = 1 << 62

// completion returns the op by which c completed.
func completion[In, Out any](c histories.Call[In, Out]) int {
	if c.Completed == histories.Never {
		return never
	}
	return c.Completion
}

func state[S comparable, In, Out any](m checker.Model[S, In, Out], s S) string {
	if m.State != nil {
		return m.State(s)
	}
	return fmt.Sprint(s)
}
