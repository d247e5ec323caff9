package checker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

const (
	// pictureTime bounds the search for the partial orders that a picture shows.
	pictureTime = time.Second
	// maxPartials bounds the orders that are told.
	maxPartials = 8
)

// A reach is how far calls can be put in order, as porcupine found it.
type reach[S comparable, In, Out any] struct {
	shown excerpt[In, Out] // the calls
	// partials are orders that porcupine could not go on with, the longest first; those of
	// all starts together.
	partials []partial[S]
	// info is what porcupine tells of those that begin as the first does, in the same order.
	info porcupine.LinearizationInfo
	// err says why an order may go further than these: the search did not come to its end,
	// or found one that explains all of shown.
	err error
}

// A partial is an order of some calls, by their positions.
type partial[S comparable] struct {
	start S
	ops   []int
}

// longest orders partials by their lengths, and then in some way that is always the same.
func longest(a, b []int) int { return cmp.Or(cmp.Compare(len(b), len(a)), slices.Compare(a, b)) }

// errOrdered says that there is an order, of calls that are too few to show that of all there
// is none.
var errOrdered = errors.New("what is shown can be put in order")

// A viewer lets people look at a reach, one at a time.
type viewer[S comparable, In, Out any] func(ctx context.Context, look func(*reach[S, In, Out]) error) error

// reaching returns a viewer of how far an order of o's calls gets, up to the violation that x
// shows. The search is made when somebody looks first, and no more than once.
func (j *judgement[S, In, Out]) reaching(o *object[S, In, Out], x excerpt[In, Out]) viewer[S, In, Out] {
	turn := make(chan struct{}, 1)
	var known *reach[S, In, Out]
	return func(ctx context.Context, look func(*reach[S, In, Out]) error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		defer func() { <-turn }()
		if known == nil {
			r := j.reach(ctx, o, x)
			if ctx.Err() != nil {
				return context.Cause(ctx) // who asks next may have more time
			}
			known = r
		}
		return look(known)
	}
}

// reach finds how far an order gets of what happened up to the violation that x shows. If that
// takes too long, or begins too late to show the violation, it is asked of x alone.
func (j *judgement[S, In, Out]) reach(ctx context.Context, o *object[S, In, Out], x excerpt[In, Out]) *reach[S, In, Out] {
	wide := j.pictured(o, x)
	if len(wide.calls) > maxPictured && len(x.calls) < len(wide.calls) {
		wide = x
	}
	r := j.reachOf(ctx, wide)
	if r.err != nil && len(x.calls) < len(wide.calls) {
		if narrow := j.reachOf(ctx, x); narrow.err == nil {
			return narrow
		}
	}
	return r
}

// reachOf finds how far an order of x gets, from whatever it can begin with.
func (j *judgement[S, In, Out]) reachOf(ctx context.Context, x excerpt[In, Out]) *reach[S, In, Out] {
	const enough = 4 * maxPartials // of which some may come to the same
	ctx, done := context.WithTimeoutCause(ctx, pictureTime, errTime)
	defer done()
	r := &reach[S, In, Out]{shown: x}
	for _, start := range j.starts(x) {
		s := j.search(start, j.model.trial(x.calls))
		ops, _ := drawn(s, x.calls)
		info, linearizable, err := s.partials(ctx, ops)
		found := info.PartialLinearizations()[0]
		slices.SortFunc(found, longest) // in place, for the picture as well
		if len(found) == 0 {
			found = [][]int{nil} // nothing can come first
		}
		if len(r.partials) == 0 || longest(found[0], r.partials[0].ops) < 0 {
			r.info = info
		}
		for _, ops := range found[:min(len(found), enough)] {
			r.partials = append(r.partials, partial[S]{start, ops})
		}
		slices.SortStableFunc(r.partials, func(a, b partial[S]) int { return longest(a.ops, b.ops) })
		r.partials = r.partials[:min(len(r.partials), enough)]
		switch {
		case err != nil:
			r.err = err
			return r
		case linearizable:
			r.err = errOrdered
			return r
		}
	}
	return r
}

// order returns the Order of an anomaly of o.
func (j *judgement[S, In, Out]) order(o *object[S, In, Out], reaching viewer[S, In, Out]) func(context.Context) (Order, error) {
	return func(ctx context.Context) (order Order, err error) {
		defer func() {
			if r := recover(); r != nil { // the model does
				err = &panicked{r, debug.Stack()}
			}
			if err != nil {
				order, err = Order{}, fmt.Errorf("order of %s: %w", o.name(), err)
			}
		}()
		err = reaching(ctx, func(r *reach[S, In, Out]) error {
			if r.err != nil {
				return fmt.Errorf("how far one gets is not known: %w", r.err)
			}
			if n := len(r.shown.calls); n > maxPictured {
				return fmt.Errorf("it takes %d calls to show that there is none, more than %d", n, maxPictured)
			}
			if order = j.orderOf(o, r); len(order.Partials) == 0 {
				return errOrdered
			}
			return nil
		})
		return order, err
	}
}

// orderOf tells of r, with calls as they ended: what of them was taken to be indeterminate,
// for porcupine, may be known.
func (j *judgement[S, In, Out]) orderOf(o *object[S, In, Out], r *reach[S, In, Out]) Order {
	x := r.shown
	l := layout[S, In, Out]{model: j.model, cut: make([]bool, len(x.calls)), before: make([]bool, len(x.calls))}
	last := x.last().Completion
	var order Order
	for i, c := range x.calls {
		if op, known := slices.BinarySearch(o.call, linear.Time(c.Index)); known {
			own := j.at(o, int32(op))
			l.cut[i] = c.Completed == histories.Never && own.Completed != histories.Never
			l.before[i] = l.cut[i] && !x.whole && own.Completion <= last
			c = own
		}
		l.calls = append(l.calls, c)
		order.Calls = append(order.Calls, c.Index)
	}
	for _, p := range r.partials {
		if told, stuck := l.lay(p); stuck {
			order.Partials = append(order.Partials, told)
		}
	}
	slices.SortStableFunc(order.Partials, func(a, b Partial) int { return longest(a.ops(), b.ops()) })
	order.Partials = slices.CompactFunc(order.Partials, func(a, b Partial) bool {
		return a.Initial == b.Initial && slices.Equal(a.Steps, b.Steps)
	})
	order.Partials = order.Partials[:min(len(order.Partials), maxPartials)]
	return order
}

func (p Partial) ops() []int {
	ops := make([]int, len(p.Steps))
	for i, s := range p.Steps {
		ops[i] = s.Op
	}
	return ops
}

// A layout puts calls in an order step by step, as the model and time permit.
type layout[S comparable, In, Out any] struct {
	model *Model[S, In, Out]
	calls []histories.Call[In, Out] // as they ended, in the order of their invocations
	// cut are those that porcupine was given without their results, and before those of
	// them that may have happened before all that is shown.
	cut, before []bool

	state S
	done  []bool // those that have their place, or came before all others
	steps []PartialStep
}

// lay puts calls in the order p, leaves out what their results do not permit there, and then
// goes on as long as one can. It says whether that has come to an end with calls left, as it
// must.
func (l *layout[S, In, Out]) lay(p partial[S]) (told Partial, stuck bool) {
	l.state, l.steps, l.done = p.start, nil, make([]bool, len(l.calls))
	for _, i := range p.ops {
		if l.done[i] || l.place(i) || l.cut[i] {
			continue
		}
		break
	}
	next := l.next()
	for slices.ContainsFunc(next, l.place) {
		next = l.next()
	}
	told = Partial{Initial: l.model.state(p.start), Steps: l.steps}
	for _, i := range next {
		if !l.before[i] {
			told.Stuck = append(told.Stuck, l.calls[i].Index)
		}
	}
	return told, len(told.Stuck) > 0
}

// next returns the calls that can be next as far as time goes: those that were invoked before
// the first of the calls that are left completed. What may have come before all does not have
// to be next.
func (l *layout[S, In, Out]) next() (next []int) {
	end := linear.Never
	for i, c := range l.calls {
		if _, ret := Interval(c); !l.done[i] && !l.before[i] {
			end = min(end, ret)
		}
	}
	for i, c := range l.calls {
		if call, _ := Interval(c); !l.done[i] && call < end {
			next = append(next, i)
		}
	}
	return next
}

// place puts a call behind the others, if it may be there.
func (l *layout[S, In, Out]) place(i int) bool {
	if !slices.Contains(l.next(), i) {
		return false
	}
	state, possible := l.model.Step(l.state, l.calls[i])
	if !possible {
		return false
	}
	call, _ := Interval(l.calls[i])
	for other, c := range l.calls {
		if _, ret := Interval(c); l.before[other] && ret < call {
			l.done[other] = true // it came before all
		}
	}
	l.done[i], l.state = true, state
	l.steps = append(l.steps, PartialStep{l.calls[i].Index, l.model.state(state)})
	return true
}
