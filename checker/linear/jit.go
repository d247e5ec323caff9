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
// is open at worst; there are two or three configurations with ten clients, about a
// hundred with a hundred clients and five values.
//
// It is Lowe's just-in-time linearization ("Testing for linearizability", 2017), with what
// is special about registers: see jit_steps.go for why it is exact.
func JIT(r *Register, o JITOptions) Decision {
	e := newEngine()
	e.ahead = true
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
	d := Decision{Verdict: Linearizable, At: -1}
	for j, x := range r.Returns {
		if j&1023 == 0 && !o.Limit.allows(w.bytes()) {
			d.Explained = math.MinInt32
			if j > 0 {
				d.Explained = r.Return[r.Returns[j-1]]
			}
			if d.Verdict != Illegal {
				d.Verdict = Undecided
			}
			return d
		}
		if w.next(x) {
			continue
		}
		if d.Verdict != Illegal {
			d.Verdict, d.At = Illegal, x
			e.log = nil
		}
		if !o.All {
			return d
		}
		d.Violations = append(d.Violations, x)
	}
	if d.Verdict == Linearizable && e.log != nil {
		d.Order = e.log.order(e.future, starts, e.at(&e.now, 0).record())
	}
	return d
}

// walk takes an engine through a register's history.
type walk struct {
	*engine
	r           *Register
	called      int // operations
	late, maybe int // how many of the future's are over
}

// next takes all steps to the return of x, and says whether anything explains that.
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
	return explained
}

func (w *walk) call(op int32) {
	r, f := w.r, w.future
	kind, a, b := r.Kind[op], r.A[op], r.B[op]
	if kind == Write {
		a = w.canonical(a)
	}
	if r.Return[op] != Never {
		f.place[op] = w.begin(op, kind, a, b, false, f.place[op])
	} else if m := &f.maybe[f.place[op]]; m.last >= f.returns {
		m.slot = w.begin(op, kind, a, b, true, never)
	}
}
