package linear

import (
	"slices"
	"sort"
)

// Shrink returns a small witness that r is Illegal, given the operation at whose return
// it became so: what had returned before is linearizable. Illegal must say that no order
// explains a witness from any of its [Witness.Starts]; what it cannot say is false. If it
// says so of nothing, there is no witness.
//
// Not every few operations that no order explains are evidence: without the write that a
// read saw, no read is explained. So whatever is done to a history here leaves one that is
// linearizable if that was; see window, unseen and weaken. A witness is not always the
// smallest: about a few million operations illegal is asked, and not about more, but for
// eight times as many as there are if nothing less than the whole history will do.
func Shrink(r *Register, at int32, illegal func(*Witness) bool) (*Witness, bool) {
	s := shrinker{illegal: illegal, left: effort}
	w := s.find(r, at)
	if w == nil {
		return nil, false
	}
	s.left = max(s.left, 8*int64(w.Len()))
	w = s.reduce(w)
	// A cas ties the values before and after it together. A plain write in its place may
	// allow more to be dropped; if not, what really happened is the better evidence.
	if v := s.reduce(s.weaken(w)); v.Len() < w.Len() {
		w = v
	}
	w.finish()
	return w, true
}

// effort is about how many operations illegal is asked, each once for every start.
const effort = 1 << 22

type shrinker struct {
	illegal func(*Witness) bool
	left    int64 // of effort
}

// asks says that w is illegal, if there is effort left.
func (s *shrinker) asks(w *Witness) bool {
	cost := w.cost()
	if cost > s.left {
		return false
	}
	s.left -= cost
	return s.illegal(w)
}

func (w *Witness) cost() int64 { return int64(w.Len()) * int64(len(w.Starts())) }

// find returns a window up to the return of at that is illegal from any start, or all that
// was called until then, or nil.
func (s *shrinker) find(r *Register, at int32) *Witness {
	end := r.Return[at]
	to := sort.Search(r.Len(), func(i int) bool { return r.Call[i] > end })
	for from, size := to, 8; from > 0; size *= 2 {
		if size < to-int(at) {
			continue // without at nothing is wrong
		}
		from = r.together(max(to-size, 0))
		w := r.window(from, to, end).withoutLost()
		if w.cost() > effort/16 {
			break
		}
		if s.asks(w) {
			return w
		}
	}
	w := r.window(0, to, end)
	w.Whole = true
	s.left = max(s.left, w.cost())
	if !s.asks(w) {
		return nil
	}
	return w
}

// reduce makes w smaller by all means but weaken.
func (s *shrinker) reduce(w *Witness) *Witness {
	for {
		v := s.cut(s.drop(w))
		if v.Len() == w.Len() {
			return v
		}
		w = v
	}
}

// cut returns the shortest window at the end of w that is illegal from any start, or w. A
// window in one that is legal is legal, so that bisection finds it.
func (s *shrinker) cut(w *Witness) *Witness {
	best := w
	sort.Search(w.Len(), func(i int) bool {
		v := w.window(w.together(i), w.Len(), Never-1).of(w)
		if !s.asks(v) {
			return true
		}
		best = v
		return false
	})
	return best
}

// together returns the first operation that was called when operation i was.
func (r *Register) together(i int) int {
	return sort.Search(i, func(j int) bool { return r.Call[j] >= r.Call[i] })
}

// window returns what there is to see of the operations from one that was called after
// the one before it up to, and without, the first that was called after end: those that
// returned before it starts are left out, and of those open when it starts or when it ends
// only the fact that they may have changed the register is kept.
//
// If r is linearizable, so is the window from some value. Take an order of r and cut it
// after the last one that returned before the window, and after the last one that returned
// by its end. Nothing before the first cut was called in the window, and nothing up to the
// second after it, or the order would be wrong; so what is left of the window between the
// cuts are all its operations but those that were open, which may be absent.
func (r *Register) window(from, to int, end Time) *Witness {
	w := &Witness{}
	if from < to {
		start := r.Call[from]
		for i, t := range r.Return[:from] {
			if t >= start && !r.Kind[i].Pure() {
				w.take(r, int32(i), r.Kind[i], Never)
			}
		}
	}
	for i := from; i < to; i++ {
		t := r.Return[i]
		if t > end {
			t = Never
		}
		w.take(r, int32(i), r.Kind[i], t)
	}
	w.finish()
	return w
}

// take appends an operation of r as one of a kind and with a return that say no more than
// it does: a cas may become a write, and it may be indeterminate; then, if it is pure, it
// is none.
func (w *Witness) take(r *Register, op int32, kind Kind, ret Time) {
	a := r.A[op]
	if kind == Write {
		a = r.sets(op)
	}
	if w.Add(kind, a, r.B[op], r.Call[op], ret) {
		w.Ops = append(w.Ops, op)
	}
}

// finish sorts the returns of w and numbers its values anew, in their order, so that few
// operations have few values.
func (w *Witness) finish() {
	w.Finish()
	values := append(make([]Value, 0, 2*w.Len()+1), Initial)
	for i, kind := range w.Kind {
		values = append(values, w.A[i])
		if kind == CAS {
			values = append(values, w.B[i])
		}
	}
	slices.Sort(values)
	values = slices.Compact(values)
	if values[0] == Nothing {
		values = values[1:]
	}
	for i, kind := range w.Kind {
		if w.A[i] != Nothing {
			n, _ := slices.BinarySearch(values, w.A[i])
			w.A[i] = Value(n)
		}
		if kind == CAS {
			n, _ := slices.BinarySearch(values, w.B[i])
			w.B[i] = Value(n)
		}
	}
	w.Values = len(values)
}

// sets returns the value that op, which is not pure, sets.
func (r *Register) sets(op int32) Value {
	v, _ := r.Sets(int(op))
	return v
}

// change returns w with some operations dropped, and some cas weakened to writes.
func (w *Witness) change(ops []int32, drop bool) *Witness {
	v := &Witness{Whole: w.Whole}
	for i := range int32(w.Len()) {
		kind := w.Kind[i]
		if len(ops) > 0 && ops[0] == i {
			ops = ops[1:]
			if drop {
				continue
			}
			kind = Write
		}
		v.take(&w.Register, i, kind, w.Return[i])
	}
	v.Finish()
	return v.of(w)
}

// of returns w, whose operations are named as those of another witness, with the names
// that they have there.
func (w *Witness) of(other *Witness) *Witness {
	for i, op := range w.Ops {
		w.Ops[i] = other.Ops[op]
	}
	return w
}

// withoutLost returns w without the indeterminate operations that nobody sees, of which
// there may be many more than of others.
func (w *Witness) withoutLost() *Witness {
	for {
		lost := slices.DeleteFunc(w.unseen(), func(i int32) bool { return w.Return[i] != Never })
		if len(lost) == 0 {
			w.finish()
			return w
		}
		w = w.change(lost, true)
	}
}

// drop drops operations until all that could be are needed.
func (s *shrinker) drop(w *Witness) *Witness { return s.change(w, (*Witness).unseen, true) }

// weaken makes plain writes of cas. A write of the same value can stand wherever the cas
// did.
func (s *shrinker) weaken(w *Witness) *Witness {
	return s.change(w, func(w *Witness) []int32 {
		var ops []int32
		for i, kind := range w.Kind {
			if kind == CAS {
				ops = append(ops, int32(i))
			}
		}
		return ops
	}, false)
}

// change changes all that it can of what there is to change in w, so that it remains
// illegal: many operations at once first, and then fewer.
func (s *shrinker) change(w *Witness, what func(*Witness) []int32, drop bool) *Witness {
	for size := w.Len(); size > 0; {
		ops := what(w)
		size = min(size, len(ops))
		best, done := w, []int32{}
		for chunk := range slices.Chunk(ops, max(size, 1)) {
			trial := slices.Concat(done, chunk)
			v := w.change(trial, drop)
			if v.cost() > s.left {
				return best
			}
			if s.asks(v) {
				best, done = v, trial
			}
		}
		if size > 1 || best == w {
			size /= 2
		}
		w = best
	}
	return w
}

// unseen returns operations, ascending, that nobody who stays sees in some order that
// explains w, if there is one: without them it is an order of those who stay, as everybody
// finds what was there before.
//
// One that is pure is seen by nobody. Whoever sees that d set v did not return before d was
// called; nor did any operation, all after d and before him, change the register or see
// another value, since then v was gone. A Refused is taken to see whatever was set before
// it.
//
// Indeterminate writes of values of which nobody says anything are as good as each other
// to a Refused, and each of them sees one. So as many of them as there are Refused are
// enough: those called first, which may stand wherever as many of the others did.
//
// An indeterminate cas of a value that nobody sets found what was there from the start.
// If no others but such cas care for that value, and nobody for what it sets, it may as well
// not happen, and what it sets be there from the start.
func (w *Witness) unseen() []int32 {
	const all Value = -2 // what a Refused sees
	type observer struct {
		v       Value
		called  Time
		returns Time // of it and those before it: the last
	}
	var observers []observer
	var taken []Value // those set, or cared for by others than indeterminate cas
	refused := 0
	for i, kind := range w.Kind {
		if !kind.Pure() {
			taken = append(taken, w.sets(int32(i)))
		}
		if kind == Read || kind == CAS && w.Return[i] != Never {
			taken = append(taken, w.A[i])
		}
		switch kind {
		case Read, CAS:
			observers = append(observers, observer{w.A[i], w.Call[i], w.Return[i]})
		case Refused:
			observers = append(observers, observer{all, w.Call[i], w.Return[i]}, observer{w.A[i], w.Call[i], always}) // the other sees none
			refused++
		}
	}
	slices.Sort(taken)
	slices.SortStableFunc(observers, func(a, b observer) int { return int(a.v - b.v) })
	for i := 1; i < len(observers); i++ {
		if a, b := observers[i-1], &observers[i]; a.v == b.v {
			b.returns = max(b.returns, a.returns)
		}
	}
	isTaken := func(v Value) bool {
		_, found := slices.BinarySearch(taken, v)
		return found
	}
	mentioned := func(v Value) bool {
		_, found := slices.BinarySearchFunc(observers, v, func(o observer, v Value) int { return int(o.v - v) })
		return found
	}
	// sees says that some observer of v was called by one time and returned from another on.
	sees := func(v Value, by, from Time) bool {
		i := sort.Search(len(observers), func(i int) bool {
			return observers[i].v > v || observers[i].v == v && observers[i].called > by
		}) - 1
		return i >= 0 && observers[i].v == v && observers[i].returns >= from
	}

	// The first return of the operations from i on, but for Refused: what was set before
	// one of these is gone by then, or seen by it, if it reads the same.
	gone := make([]Time, w.Len()+1)
	gone[w.Len()] = Never
	for i := w.Len() - 1; i >= 0; i-- {
		gone[i] = gone[i+1]
		if w.Kind[i] != Refused {
			gone[i] = min(gone[i], w.Return[i])
		}
	}

	var ops []int32
	for i, kind := range w.Kind {
		if kind.Pure() {
			ops = append(ops, int32(i))
			continue
		}
		v := w.sets(int32(i))
		last := gone[sort.Search(w.Len(), func(j int) bool { return w.Call[j] > w.Return[i] })]
		switch {
		case kind == Write && w.Return[i] == Never && !mentioned(v):
			if refused--; refused >= 0 {
				continue
			}
		case kind == CAS && w.Return[i] == Never && !w.Whole && !mentioned(v) && !isTaken(w.A[i]):
		case sees(v, last, w.Call[i]) || sees(all, last, w.Call[i]):
			continue
		}
		ops = append(ops, int32(i))
	}
	return ops
}
