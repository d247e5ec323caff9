package linear

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Accuses says why it does not follow that r is not linearizable if no order explains w, if
// so. Whoever found the witness, and however, has not to be believed: this shares nothing
// with [Shrink] but what is true of registers.
//
// W must say of its operations what r does, or less. Let it be from the first call to the
// last return of those that return in it. As with window, an order of r has a part in which
// all of these operations are, and no operation that returned before or was called after.
// Of that part let those of w remain, in their order. If nobody among them had found what an
// operation set that is left out, it explains them, from the value with which it began; that
// others of w are not in it is no matter, since they are indeterminate.
func (w *Witness) Accuses(r *Register) error {
	if err := w.Check(); err != nil {
		return err
	}
	if len(w.Ops) != w.Len() {
		return fmt.Errorf("it is %d operations, and says of %d which they are", w.Len(), len(w.Ops))
	}
	if err := w.repeats(r); err != nil {
		return err
	}
	start, end := Never, Time(-1)
	for i, op := range w.Ops {
		if w.Return[i] != Never {
			start, end = min(start, r.Call[op]), max(end, r.Return[op])
		}
	}
	if w.Whole {
		start = -1
	}
	if w.cornered(r) {
		return nil
	}
	l := w.observed(r, start, end)
	ops := w.Ops
	for op := range int32(l.end) {
		if len(ops) > 0 && ops[0] == op {
			ops = ops[1:]
			continue
		}
		if r.Return[op] >= start && !r.Kind[op].Pure() && l.found(op) {
			return fmt.Errorf("what operation %d set may have been found, and it is left out", op)
		}
	}
	return nil
}

// repeats returns an error unless every operation of w says what that of r says, or less:
// that it may have happened, or that a cas set something. Values have other numbers.
func (w *Witness) repeats(r *Register) error {
	ours, theirs := map[Value]Value{Nothing: Nothing}, map[Value]Value{Nothing: Nothing}
	same := func(a, b Value) bool {
		x, known := ours[a]
		y, has := theirs[b]
		ours[a], theirs[b] = b, a
		return known == has && (!known || x == b && y == a)
	}
	if w.Whole {
		same(Initial, Initial)
	}
	for i, op := range w.Ops {
		if op < 0 || int(op) >= r.Len() || i > 0 && op <= w.Ops[i-1] {
			return fmt.Errorf("operation %d is none, or out of order", op)
		}
		kind, a, b := r.Kind[op], r.A[op], r.B[op]
		if kind == CAS && w.Kind[i] == Write {
			kind, a = Write, b
		}
		switch {
		case w.Kind[i] != kind || !same(w.A[i], a) || kind == CAS && !same(w.B[i], b):
			return fmt.Errorf("operation %d is not what it is there", op)
		case w.Call[i] != r.Call[op] || w.Return[i] != r.Return[op] && w.Return[i] != Never:
			return errors.New("an operation was called or returned at another time")
		}
	}
	return nil
}

// cornered says that one of w found another value than it can have: before it something had
// set or found that one, which nothing else sets in all of r, and after it something found
// it.
func (w *Witness) cornered(r *Register) bool {
	for _, op := range w.Ops {
		if r.Kind[op] != Refused {
			continue
		}
		v, sources := r.A[op], 0
		if v == Initial {
			sources++
		}
		for other := range r.Kind {
			if set, sets := r.Sets(other); sets && set == v {
				sources++
			}
		}
		before, after := v == Initial, false
		for _, other := range w.Ops {
			set, sets := r.Sets(int(other))
			found := (r.Kind[other] == Read || r.Kind[other] == CAS) && r.A[other] == v
			before = before || (found || sets && set == v) && r.Return[other] < r.Call[op]
			after = after || found && r.Call[other] > r.Return[op] && r.Return[other] != Never
		}
		if sources == 1 && before && after {
			return true
		}
	}
	return false
}

// A lookout knows who of a witness can have found what.
type lookout struct {
	r *Register
	// Those who found a value, and those who found any other, by their calls.
	of  map[Value][]sight
	any []sight
	// Spare are the calls of indeterminate writes in the witness, ascending, of values of
	// which nobody says anything.
	spare []Time
	// Said are the values of which somebody in the witness says anything. Taken are those
	// that an operation sets, or somebody found other than by an indeterminate cas.
	said, taken map[Value]bool
	whole       bool

	first, end int // operations that are called in the time of the witness
	gone       []replaced
}

// A sight is somebody's call, and the last return of those who were called by then.
type sight struct{ call, until Time }

// replaced says when the first operation of some returned that show that a value was gone:
// what they found or, if v is [Nothing], set. The second did so for those who found v.
type replaced struct {
	v             Value
	first, second Time
}

func (w *Witness) observed(r *Register, start, end Time) *lookout {
	l := &lookout{r: r, of: map[Value][]sight{}, said: map[Value]bool{}, taken: map[Value]bool{}, whole: w.Whole}
	add := func(sights []sight, op int32) []sight {
		until := r.Return[op]
		if n := len(sights); n > 0 {
			until = max(until, sights[n-1].until)
		}
		return append(sights, sight{r.Call[op], until})
	}
	for i, op := range w.Ops {
		switch w.Kind[i] {
		case Read, CAS:
			l.of[r.A[op]] = add(l.of[r.A[op]], op)
			l.said[r.A[op]] = true
			l.taken[r.A[op]] = l.taken[r.A[op]] || w.Return[i] != Never
		case Refused:
			l.any = add(l.any, op)
			l.said[r.A[op]] = true
		}
	}
	for i, op := range w.Ops {
		if v, _ := r.Sets(int(op)); w.Kind[i] == Write && w.Return[i] == Never && !l.said[v] {
			l.spare = append(l.spare, r.Call[op])
		}
	}

	l.first = sort.Search(r.Len(), func(i int) bool { return r.Call[i] >= start })
	l.end = sort.Search(r.Len(), func(i int) bool { return r.Call[i] > end })
	for op := range l.end {
		if v, sets := r.Sets(op); sets && r.Return[op] >= start && len(l.any) > 0 { // else it is not asked for
			l.taken[v] = true
		}
	}
	l.gone = make([]replaced, max(l.end-l.first, 0)+1)
	at := replaced{Nothing, Never, Never}
	l.gone[len(l.gone)-1] = at
	for op := l.end - 1; op >= l.first; op-- {
		v, t := Nothing, r.Return[op]
		if r.Kind[op] == Read {
			v = r.A[op]
		}
		switch {
		case r.Kind[op] == Refused:
		case t < at.first:
			if v != at.v || v == Nothing {
				at.second = at.first
			}
			at.v, at.first = v, t
		case v != at.v || v == Nothing:
			at.second = min(at.second, t)
		}
		l.gone[op-l.first] = at
	}
	return l
}

// found says that somebody may have found what op had set. He did not return before it was
// called; nor did any operation, all after op and before him, change the register or find
// another value, since then what it set was gone.
//
// Who found that it was not some value misses nothing if an indeterminate write of another
// can take its place, for each of those who did: it was called by then, and nobody says
// anything of what it sets. Nor does he if op is a cas of what was there from the start, for
// nobody sets it, and nobody says anything of what op set: that may have been there instead.
// Nobody else can have found what was there, and be in the order, but by an indeterminate
// cas; and that would have been the first to change it.
func (l *lookout) found(op int32) bool {
	v, _ := l.r.Sets(int(op))
	until := Never
	if after := sort.Search(l.end, func(i int) bool { return l.r.Call[i] > l.r.Return[op] }); after >= l.first {
		if g := l.gone[after-l.first]; g.v == v && v != Nothing {
			until = g.second
		} else {
			until = g.first
		}
	}
	in := func(sights []sight) bool {
		i := sort.Search(len(sights), func(i int) bool { return sights[i].call > until }) - 1
		return i >= 0 && sights[i].until >= l.r.Call[op]
	}
	if in(l.of[v]) {
		return true
	}
	if !in(l.any) {
		return false
	}
	if earlier, _ := slices.BinarySearch(l.spare, l.r.Call[op]+1); earlier >= len(l.any) {
		return false
	}
	return l.whole || l.r.Kind[op] != CAS || l.said[v] || l.taken[l.r.A[op]]
}
