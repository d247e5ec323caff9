package linear

import "math"

// JITOptions say what [JIT] is asked for. The zero value is what is asked for mostly.
type JITOptions struct {
	Starts  []Value // one of which the register holds at first; none is Initial alone
	Limit   Limit
	NoOrder bool // a Linearizable one need not say in which order
	All     bool // find all violations, not only the first
}

// JIT decides whether a history is linearizable from one of some values, whatever it is.
// It goes through the history once, and keeps all configurations the register may be in,
// but those that another one is as good as. How many there are is bounded by what is open
// at once, so it takes time linear in the length of the history. It is exponential in what
// is open at worst: there are two or three configurations with ten clients, a hundred on
// average and thousands at times with a hundred clients and five values. So at first it
// keeps the most promising only. Those are enough to find an order, mostly; if they come
// to nothing it starts again with more, in the end with all.
//
// With All, what no order explains is left out: a pure operation altogether, and a cas is
// a plain write from its return on. A plain write is always possible.
//
// It is just-in-time linearization (Lowe, "Testing for linearizability", 2017), with what
// is special about registers; jit_steps.go says why it is exact.
func JIT(r *Register, o JITOptions) Decision { return jit(r, o, beam) }

// beam is how many configurations are kept at first when there are four times as many.
const beam = 32

func jit(r *Register, o JITOptions, beam int) Decision {
	explained := Time(math.MinInt32)
	for {
		d, sure := try(r, o, beam)
		if d.Verdict == Undecided {
			d.Explained = max(d.Explained, explained)
		}
		if sure {
			return d
		}
		explained = max(explained, d.Explained)
		if beam *= 8; beam > 1<<13 {
			beam = 0 // no bound
		}
	}
}

// try goes through the history once, with so many configurations. It is not sure if it
// left some out, and the others came to nothing.
func try(r *Register, o JITOptions, beam int) (d Decision, sure bool) {
	e := newEngine()
	e.ahead, e.beam, e.limit = true, beam, o.Limit
	e.future = look(r)
	e.dense = make([]int32, r.Values+2)
	if !o.NoOrder {
		e.log = &log{}
	}
	starts := o.Starts
	if len(starts) == 0 {
		starts = []Value{Initial}
	}
	for i, v := range starts {
		e.start(v, int32(i))
	}
	e.reduce()
	w := &walk{engine: e, r: r}
	d = Decision{At: -1, Explained: math.MinInt32}
	for _, x := range r.Returns {
		explained := w.next(x)
		switch {
		case e.stopped:
			if d.At >= 0 {
				d.Verdict = Illegal
			}
			return d, true
		case explained:
			if d.At < 0 {
				d.Explained = r.Return[x]
			}
		case e.trimmed:
			return d, false
		case !o.All:
			d.Verdict, d.At = Illegal, x
			return d, true
		default:
			if d.At < 0 {
				d.At, e.log = x, nil
			}
			d.Violations = append(d.Violations, x)
		}
	}
	if d.At >= 0 {
		d.Verdict = Illegal
		return d, true
	}
	if e.log != nil && !o.Limit.allows(e.bytes()+e.log.orderBytes(r)) {
		return d, true
	}
	d.Verdict = Linearizable
	if e.log != nil {
		d.Order = e.log.order(e.future, starts, e.at(&e.now, 0).record())
	}
	return d, true
}

// walk takes an engine through a register's history.
type walk struct {
	*engine
	r           *Register
	called      int // operations
	late, maybe int // how many of the future's are over
}

// next takes all steps to the return of x, and says whether anything explains that, unless
// it has to stop.
func (w *walk) next(x int32) bool {
	r, f := w.r, w.future
	for ; w.called < r.Len() && r.Call[w.called] <= r.Return[x]; w.called++ {
		w.call(int32(w.called))
	}
	if w.log != nil {
		w.log.at = f.returns
	}
	explained := w.returns(f.place[x])
	f.returns++
	if k := r.Kind[x]; k != Write && r.A[x] != Nothing && f.over(r.A[x]) {
		w.forget(r.A[x])
	}
	for ; w.late < len(f.late) && f.over(f.late[w.late]); w.late++ {
		w.forget(f.late[w.late])
	}
	for ; w.maybe < len(f.maybe) && f.maybe[w.maybe].last < f.returns; w.maybe++ {
		if m := f.maybe[w.maybe]; m.slot >= 0 {
			w.expire(m.slot)
		}
	}
	w.tidy()
	if w.log != nil {
		w.log.collect(w.engine)
	}
	w.worked(w.now.n)
	return explained
}

func (w *walk) call(op int32) {
	r, f := w.r, w.future
	kind, a, b := r.Kind[op], r.A[op], r.B[op]
	if kind == Write {
		a = w.canonical(a)
	}
	w.calls = op
	if r.Return[op] != Never {
		f.place[op] = w.begin(op, kind, a, b, false, f.place[op])
	} else if m := &f.maybe[f.place[op]]; m.last >= f.returns {
		m.slot = w.begin(op, kind, a, b, true, never)
	}
}
