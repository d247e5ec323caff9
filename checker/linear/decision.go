package linear

// A Verdict is what a decider says of a history. The zero Verdict is that it does not
// know.
type Verdict uint8

// The verdicts.
const (
	Undecided    Verdict = iota // it is beyond the decider, or beyond its limit
	Linearizable                // Decision.Order explains it
	Illegal                     // no order does
)

func (v Verdict) String() string {
	return [...]string{"undecided", "linearizable", "illegal"}[v]
}

// A Decision is what a decider found.
type Decision struct {
	Verdict Verdict
	// Order is that in which operations take effect, if Linearizable: all that returned,
	// and those indeterminate ones that happened.
	Order []int32
	// Witness is a few operations that no order explains, if the decider that found it
	// Illegal has them at hand; see [Shrink].
	Witness *Witness
	// At is the operation at whose return it became Illegal, if the decider goes by time:
	// what had returned before is linearizable, and with it it is not. Otherwise -1.
	At int32
	// Explained is how far a decider that goes by time came, if Undecided: what returned
	// up to then is linearizable.
	Explained Time
	// Violations are the operations, At among them, that no order explains even if those
	// before them are left out; only if asked for, and if Illegal.
	Violations []int32
}

// A Limit is asked by a decider every now and then, with how many bytes it holds, whether
// it may go on. Nil is no limit.
type Limit func(bytes int64) bool

func (l Limit) allows(bytes int64) bool { return l == nil || l(bytes) }

// A Witness is a few operations of a history that no order explains. It is a history of
// its own: what was open before it begins, or was when it ends, is indeterminate in it, a
// cas may be a plain write, and the values are numbered anew.
type Witness struct {
	Register
	// Ops are the operations of the history that those of the witness are.
	Ops []int32
	// Whole says that no order explains them from the initial value. Otherwise none does
	// whatever the register held before them.
	Whole bool
}

// Starts returns the values that the register may hold when the witness begins: one that
// it does not mention stands for all those.
func (w *Witness) Starts() []Value {
	if w.Whole {
		return []Value{Initial}
	}
	return w.Register.starts()
}

// starts returns every value that r mentions, and one that it does not.
func (r *Register) starts() []Value {
	known := map[Value]bool{Nothing: true}
	var starts []Value
	add := func(v Value) {
		if !known[v] {
			known[v] = true
			starts = append(starts, v)
		}
	}
	for i, kind := range r.Kind {
		if kind != Write { // what a write sets is not missed if it was there before
			add(r.A[i])
		}
	}
	return append(starts, Value(r.Values))
}
