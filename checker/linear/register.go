// Package linear decides whether histories are linearizable: of registers in linear
// time, of queues nearly so, of other objects by a search whose memory grows with how many
// operations are open at once, not with how many there are.
//
// It works on histories in normal form: numbers in flat arrays, one object at a time,
// with nothing in them that plays no part. What an operation of some workload is to a
// register, and which ops of the history show it, package checker knows.
//
// No verdict here has to be believed. Linearizable comes with an order of the
// operations, which can be replayed; Illegal comes with a few of them that no order
// explains, which any other checker can judge.
package linear

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Value is what a register holds. Values are numbered from 0, since all that matters
// of them is whether two are equal.
type Value int32

const (
	// Initial is what a register holds before anything is written.
	Initial Value = 0
	// Nothing is what no register ever holds: who saw it is wrong, whatever else
	// happened.
	Nothing Value = -1
)

// A Time is a position in a history. An operation precedes another if its Return is
// less than the other's Call; with equal times they are concurrent, so intervals are
// closed.
type Time int32

// Never is when an indeterminate operation returns: it may take effect at any time
// after its call, or not at all.
const Never Time = math.MaxInt32

// A Kind is what an operation is to a register. The zero Kind is none.
type Kind uint8

// The kinds of operations. Those that did not happen for sure, and indeterminate ones
// that change nothing, are not part of a normal form.
const (
	Read    Kind = iota + 1 // it found A: a read, or a cas that failed and said what was there
	Write                   // it set A
	CAS                     // it found A and set B, which is not A; if indeterminate, it did so or did nothing
	Refused                 // it found something other than A: a cas that failed and did not say what was there
)

var kindNames = [...]string{"none", "read", "write", "cas", "refused"}

func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Pure says that an operation of kind k leaves the register as it is.
func (k Kind) Pure() bool { return k == Read || k == Refused }

// A Register is a history of one register in normal form. Operation i is what stands at
// position i of each array; they are in the order of their calls.
type Register struct {
	Kind   []Kind
	A, B   []Value // B is meaningful of a CAS alone
	Call   []Time  // ascending
	Return []Time  // not before Call; Never if indeterminate, which pure ones are not
	// Returns are the operations that returned, in the order in which they did.
	Returns []int32
	// Values is how many values there are: all that are mentioned are less, but Nothing.
	Values int
}

// Len returns the number of operations.
func (r *Register) Len() int { return len(r.Kind) }

// Add appends an operation, which was not called before those that are there, unless it
// says nothing: then it returns false. A cas from a value to itself is a read of it.
// After the last one come [Register.Finish].
func (r *Register) Add(kind Kind, a, b Value, call, ret Time) bool {
	if kind == CAS && a == b {
		kind = Read
	}
	if kind != CAS {
		b = 0
	}
	if kind.Pure() && ret == Never {
		return false
	}
	r.Kind = append(r.Kind, kind)
	r.A, r.B = append(r.A, a), append(r.B, b)
	r.Call, r.Return = append(r.Call, call), append(r.Return, ret)
	r.Values = max(r.Values, int(a)+1, int(b)+1, 1)
	return true
}

// Finish sorts the returns.
func (r *Register) Finish() { r.Returns = sortReturns(r.Returns[:0], r.Return) }

// sortReturns appends the operations that returned to returns, in the order in which they
// did; of those that did at once the one called first comes first.
func sortReturns(returns []int32, at []Time) []int32 {
	returns = slices.Grow(returns, len(at))
	for i, t := range at {
		if t != Never {
			returns = append(returns, int32(i))
		}
	}
	// In the order of calls they are nearly sorted: each is out of place by about as
	// many as are open at once. That they are not is no reason to become quadratic.
	moves := 64 * len(returns)
	for i := 1; i < len(returns); i++ {
		op, k := returns[i], i
		for ; k > 0 && at[returns[k-1]] > at[op]; k-- {
			returns[k] = returns[k-1]
		}
		returns[k] = op
		if moves -= i - k; moves < 0 {
			slices.SortStableFunc(returns, func(i, j int32) int { return cmp.Compare(at[i], at[j]) })
			break
		}
	}
	return returns
}

// Check says why r is not in normal form, if so.
func (r *Register) Check() error {
	n := r.Len()
	if len(r.A) != n || len(r.B) != n || len(r.Call) != n || len(r.Return) != n {
		return errors.New("arrays of different lengths")
	}
	last, returned := Time(math.MinInt32), 0
	for i, kind := range r.Kind {
		switch {
		case kind < Read || kind > Refused:
			return fmt.Errorf("op %d is of no kind", i)
		case r.Call[i] < last:
			return fmt.Errorf("op %d was called before op %d", i, i-1)
		case r.Return[i] < r.Call[i]:
			return fmt.Errorf("op %d returned before it was called", i)
		case kind.Pure() && r.Return[i] == Never:
			return fmt.Errorf("op %d, a %v, says nothing", i, kind)
		case kind == CAS && r.A[i] == r.B[i]:
			return fmt.Errorf("op %d, a cas, changes nothing", i)
		case r.A[i] < Nothing || int(r.A[i]) >= r.Values || r.B[i] < Nothing || int(r.B[i]) >= r.Values:
			return fmt.Errorf("op %d mentions a value beyond %d", i, r.Values)
		case r.A[i] == Nothing && kind != Read:
			return fmt.Errorf("op %d, a %v, mentions nothing", i, kind)
		}
		last = r.Call[i]
		if r.Return[i] != Never {
			returned++
		}
	}
	if len(r.Returns) != returned {
		return fmt.Errorf("%d ops returned, and %d returns", returned, len(r.Returns))
	}
	for i, op := range r.Returns {
		if r.Return[op] == Never || i > 0 && r.Return[op] < r.Return[r.Returns[i-1]] {
			return fmt.Errorf("return %d is out of order", i)
		}
	}
	return nil
}

// Step returns what a register that holds v does when op takes effect: what it holds
// then, and whether that can be. An indeterminate cas can be only where it takes effect.
func (r *Register) Step(v Value, op int32) (Value, bool) {
	switch r.Kind[op] {
	case Write:
		return r.A[op], true
	case CAS:
		return r.B[op], v == r.A[op]
	case Read:
		return v, v == r.A[op]
	case Refused:
		return v, v != r.A[op]
	}
	return v, false
}

// Sets returns the value that op sets, and whether it sets one.
func (r *Register) Sets(op int) (Value, bool) {
	switch r.Kind[op] {
	case Write:
		return r.A[op], true
	case CAS:
		return r.B[op], true
	}
	return Nothing, false
}

// Phantom says that op found a value which nothing called by then had set. By itself that
// is a witness: nothing else that happened can be what is missing.
func (r *Register) Phantom(op int32) bool {
	if r.Kind[op] != Read && r.Kind[op] != CAS || r.A[op] == Initial {
		return false
	}
	for other, call := range r.Call {
		if call > r.Return[op] {
			break
		}
		if v, sets := r.Sets(other); sets && v == r.A[op] && int32(other) != op {
			return false
		}
	}
	return true
}

// Replay says why order does not explain r, if so: every operation that returned must be
// in it, once, those that did not return at most once; each must be possible where it
// stands; and none may stand before one that precedes it.
func (r *Register) Replay(start Value, order []int32) error {
	if err := Respects(r.Call, r.Return, order); err != nil {
		return err
	}
	v := start
	for _, op := range order {
		next, possible := r.Step(v, op)
		if !possible {
			return fmt.Errorf("op %d, %v %d, is not possible where the register holds %d", op, r.Kind[op], r.A[op], v)
		}
		v = next
	}
	return nil
}

// Respects says why order is not one in which operations with these calls and returns can
// have taken effect, whatever they do, if so. See [Register.Replay].
func Respects(call, ret []Time, order []int32) error {
	placed := make([]bool, len(call))
	latest := Time(math.MinInt32) // call of those placed
	for _, op := range order {
		if op < 0 || int(op) >= len(placed) || placed[op] {
			return fmt.Errorf("op %d stands in the order twice, or is none", op)
		}
		placed[op] = true
		if ret[op] < latest {
			return fmt.Errorf("op %d returned before an op was called that stands before it", op)
		}
		latest = max(latest, call[op])
	}
	for op, is := range placed {
		if !is && ret[op] != Never {
			return fmt.Errorf("op %d is not in the order", op)
		}
	}
	return nil
}
