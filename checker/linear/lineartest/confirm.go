package lineartest

import (
	"errors"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// Confirm says why what a decider found of r need not be believed, if so: its order does
// not explain r; its witness is none, since it claims what r does not say, or porcupine
// explains it. A decider that found r Illegal must have a witness, by now. That it is
// undecided nobody has to believe.
func Confirm(r *linear.Register, d linear.Decision) error {
	switch d.Verdict {
	case linear.Linearizable:
		return r.Replay(linear.Initial, d.Order)
	case linear.Illegal:
		if d.Witness == nil {
			return errors.New("illegal, without a witness")
		}
		return Accuses(r, d.Witness)
	}
	return nil
}

// Accuses says why w is no witness that r is not linearizable, if so.
func Accuses(r *linear.Register, w *linear.Witness) error {
	if err := w.Check(); err != nil {
		return fmt.Errorf("a witness that is not normal: %w", err)
	}
	if len(w.Ops) != w.Len() {
		return fmt.Errorf("a witness of %d operations, which are those of %d", w.Len(), len(w.Ops))
	}
	values := names{theirs: map[linear.Value]linear.Value{}, ours: map[linear.Value]linear.Value{}}
	if w.Whole {
		values.same(linear.Initial, linear.Initial)
	}
	for i, op := range w.Ops {
		if err := values.says(r, w, i); err != nil {
			return fmt.Errorf("operation %d of the witness: %w", i, err)
		}
		for j, other := range w.Ops[:i] {
			if op == other {
				return fmt.Errorf("operation %d is in the witness twice", op)
			}
			if w.Return[i] < w.Call[j] && r.Return[op] >= r.Call[other] || w.Return[j] < w.Call[i] && r.Return[other] >= r.Call[op] {
				return fmt.Errorf("one of operations %d and %d precedes the other in the witness alone", other, op)
			}
		}
	}
	for _, start := range w.Starts() {
		if got := Porcupine(&w.Register, start, 0); got != porcupine.Illegal {
			return fmt.Errorf("porcupine explains the witness, if the register held %d", start)
		}
	}
	return nil
}

// names are the values of a history by those of a witness, which has numbers of its own
// for them, and the other way round.
type names struct{ theirs, ours map[linear.Value]linear.Value }

// same says that theirs can be ours, and holds to it.
func (n names) same(ours, theirs linear.Value) bool {
	if ours == linear.Nothing || theirs == linear.Nothing {
		return ours == theirs
	}
	a, known := n.theirs[ours]
	b, has := n.ours[theirs]
	n.theirs[ours], n.ours[theirs] = theirs, ours
	return known == has && (!known || a == theirs && b == ours)
}

// says returns an error unless what operation i of w says is what that of r says, or
// less: that it may have happened, or that a cas set something.
func (n names) says(r *linear.Register, w *linear.Witness, i int) error {
	op := w.Ops[i]
	if op < 0 || int(op) >= r.Len() {
		return fmt.Errorf("there is no operation %d", op)
	}
	kind, a, b := r.Kind[op], r.A[op], r.B[op]
	if kind == linear.CAS && w.Kind[i] == linear.Write {
		kind, a, b = linear.Write, b, 0
	}
	if w.Kind[i] != kind || !n.same(w.A[i], a) || kind == linear.CAS && !n.same(w.B[i], b) {
		return fmt.Errorf("%v %d %d, where operation %d is %v %d %d", w.Kind[i], w.A[i], w.B[i], op, r.Kind[op], r.A[op], r.B[op])
	}
	if w.Return[i] != linear.Never && r.Return[op] == linear.Never {
		return fmt.Errorf("it returned, where operation %d did not", op)
	}
	return nil
}
