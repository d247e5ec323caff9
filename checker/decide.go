package checker

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// decide finds the verdict of o by the engines of package linear, and has porcupine confirm
// it. It returns false if it could not, and it is for porcupine to say: where they do not
// agree, so that a mistake in an engine costs time, and never makes a verdict wrong.
func (j *judgement[S, In, Out]) decide(ctx context.Context, o *object[S, In, Out]) (done bool) {
	most, cancel := mostOf(ctx)
	defer cancel()
	m := j.guard.meter(most)
	defer m.done()
	return j.trust(o, func() bool {
		d, few := j.ask(o, m.limit)
		return j.believe(ctx, m, o, d, few)
	})
}

// trust returns whether engine has judged o, and if it panics that it has not.
func (j *judgement[S, In, Out]) trust(o *object[S, In, Out], engine func() bool) (done bool) {
	defer func() {
		if r := recover(); r != nil {
			o.doubt, done = fmt.Errorf("%s %w", o.by, &panicked{r, debug.Stack()}), false
		}
	}()
	return engine()
}

// believe makes d the verdict of o if it need not be believed.
func (j *judgement[S, In, Out]) believe(ctx context.Context, m *meter, o *object[S, In, Out], d linear.Decision, few []histories.Call[In, Out]) (done bool) {
	var doubt error
	switch d.Verdict {
	case linear.Linearizable:
		err := j.confirm(m, o, d.Order)
		if err == nil {
			o.verdict, o.confirmed = Valid, true
			return true
		}
		doubt = fmt.Errorf("%s found an order, but %w", o.by, err)
	case linear.Illegal:
		if d.At >= 0 {
			o.reached = int(o.ret[d.At])
		}
		if x, ok := j.convict(ctx, o, d, few); ok {
			o.verdict, o.confirmed, o.found = Invalid, true, &x
			o.violations, o.more = len(d.Violations), m.ended() != nil
			return true
		}
		doubt = fmt.Errorf("%s found no order, but nothing of which porcupine would say that there is none", o.by)
	case linear.Undecided:
		if m.ended() == nil {
			return false // it is beyond the engine
		}
		o.reached = int(d.Explained)
		if o.register == nil && j.nextWall(ctx, o, d.Explained) {
			o.verdict, o.confirmed = Invalid, true
			return true
		}
	}
	if o.err = m.ended(); o.err == nil {
		o.doubt = doubt // of which there is none if there was no time to agree
		return false
	}
	return true
}

// nextWall says that the first call that returned after what an engine could explain is
// one that no order does.
func (j *judgement[S, In, Out]) nextWall(ctx context.Context, o *object[S, In, Out], explained linear.Time) bool {
	o.after, o.before = explained, linear.Never
	for _, t := range o.ret {
		if t > explained && t < linear.Never {
			o.before = min(o.before, t+1)
		}
	}
	return j.wall(ctx, o)
}

// mostOf returns a context that ends before ctx does: what is left then is for looking
// whether what could not be decided as a whole is wrong at the place where that ended.
func mostOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, bounded := ctx.Deadline()
	if !bounded {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Until(end)/8*7, errTime)
}

// ask asks the engine that suits o best, and then the next if that cannot say. Few are the
// calls that a model's own decider accuses.
func (j *judgement[S, In, Out]) ask(o *object[S, In, Out], limit linear.Limit) (d linear.Decision, few []histories.Call[In, Out]) {
	if o.register != nil {
		return j.askRegister(o, limit), nil
	}
	calls := j.told(o)
	if decider := j.model.Decider; decider != nil {
		o.by = engine(decider.Name)
		switch d, few = decider.Decide(calls, limit); d.Verdict {
		case linear.Linearizable:
			return d, nil
		case linear.Illegal:
			return j.earliest(o, d, few, limit)
		}
	}
	o.by = bySearch
	return linear.Search(j.problem(calls, j.model.Init), limit), nil
}

// earliest returns what the model's decider says of what o's clients saw up to the return
// at which it became Illegal, and which that is; or, if there is no time to find it, what
// it has said of the whole.
func (j *judgement[S, In, Out]) earliest(o *object[S, In, Out], d linear.Decision, few []histories.Call[In, Out], limit linear.Limit) (linear.Decision, []histories.Call[In, Out]) {
	calls := j.told(o)
	end := excerpt[In, Out]{calls: few}.last().Completed
	var returns []int32
	for op, c := range calls {
		if c.Completed <= end {
			returns = append(returns, int32(op))
		}
	}
	slices.SortFunc(returns, func(a, b int32) int { return cmp.Compare(o.ret[a], o.ret[b]) })
	first := d
	sort.Search(len(returns), func(i int) bool {
		now, witness := j.model.Decider.Decide(j.model.upTo(calls, calls[returns[i]].Completed), limit)
		if now.Verdict != linear.Illegal {
			return false
		}
		first, few, first.At = now, witness, returns[i]
		return true
	})
	if !limit(0) {
		first.At = -1
	}
	return first, few
}

// askRegister asks those for registers.
func (j *judgement[S, In, Out]) askRegister(o *object[S, In, Out], limit linear.Limit) linear.Decision {
	o.by = byZones
	d := linear.Zones(o.register, limit)
	if d.Verdict == linear.Linearizable {
		return d
	}
	// What is not linearizable goes by time, too: to know how far all is well, and how much
	// is not.
	late := linear.JIT(o.register, linear.JITOptions{Starts: []linear.Value{linear.Initial}, Limit: limit, All: true})
	if d.Verdict == linear.Undecided || late.Verdict == linear.Linearizable {
		o.by = byJIT
		return late
	}
	late.Verdict, late.Witness = linear.Illegal, d.Witness
	return late
}

// problem returns calls as our own search takes them.
func (j *judgement[S, In, Out]) problem(calls []histories.Call[In, Out], starts ...S) linear.Problem[S] {
	t := j.model.trial(calls)
	return linear.Problem[S]{
		Call: t.call, Return: t.ret, Step: t.step, Starts: starts,
		ReadOnly: func(op int32) bool { return j.model.readOnly(calls[op]) },
	}
}

// convict returns an excerpt of o that porcupine finds not linearizable, small if d says
// where to look for it.
func (j *judgement[S, In, Out]) convict(ctx context.Context, o *object[S, In, Out], d linear.Decision, few []histories.Call[In, Out]) (x excerpt[In, Out], ok bool) {
	switch {
	case o.register != nil:
		return j.convictRegister(ctx, o, d)
	case o.by != bySearch:
		return j.convictFew(ctx, o, few)
	case d.At < 0:
		return x, false
	}
	calls := j.told(o)
	calls = j.model.upTo(calls, calls[d.At].Completed)
	if x, ok = j.tail(ctx, calls); !ok {
		x = excerpt[In, Out]{true, calls}
		ok = j.refuted(ctx, x)
	}
	if !ok { // it takes what calls that were open then returned later
		o.after, o.before = o.ret[d.At], linear.Never
		if x, ok = j.first(ctx, o); !ok {
			return x, false
		}
	}
	return j.shrink(ctx, x), true
}

// convictFew does so by what the model's decider accuses. Of these calls o's own are shown,
// with the results that they had.
func (j *judgement[S, In, Out]) convictFew(ctx context.Context, o *object[S, In, Out], few []histories.Call[In, Out]) (x excerpt[In, Out], ok bool) {
	if !j.refuted(ctx, excerpt[In, Out]{true, few}) {
		return x, false
	}
	x.whole = true
	for _, c := range few {
		op, known := slices.BinarySearch(o.call, linear.Time(c.Index))
		if !known {
			return x, false
		}
		own := j.at(o, int32(op))
		if c.Completed == histories.Never {
			own = opened(own)
		}
		x.calls = append(x.calls, own)
	}
	return x, true
}

// convictRegister does so for a register: by a witness among numbers.
func (j *judgement[S, In, Out]) convictRegister(ctx context.Context, o *object[S, In, Out], d linear.Decision) (x excerpt[In, Out], ok bool) {
	var w *linear.Witness
	switch {
	case d.At < 0:
	case o.register.Phantom(d.At):
		w = &linear.Witness{Ops: []int32{d.At}, Whole: true}
		w.Add(o.register.Kind[d.At], o.register.A[d.At], o.register.B[d.At], o.call[d.At], o.ret[d.At])
		w.Finish()
	default:
		m := j.guard.meter(ctx)
		defer m.done()
		w, _ = linear.Shrink(o.register, d.At, func(w *linear.Witness) bool {
			return linear.JIT(&w.Register, linear.JITOptions{Starts: w.Starts(), Limit: m.limit, NoOrder: true}).Verdict == linear.Illegal
		})
	}
	convicts := func(w *linear.Witness) bool {
		return w != nil && w.Accuses(o.register) == nil && j.convicts(ctx, w)
	}
	if !convicts(w) {
		if w = d.Witness; !convicts(w) {
			return x, false
		}
	}
	x.whole = w.Whole
	for i, op := range w.Ops {
		c := j.at(o, op)
		if w.Return[i] == linear.Never {
			c = opened(c)
		}
		x.calls = append(x.calls, c)
	}
	return x, true
}
