package linear

import (
	"cmp"
	"slices"
)

// Unknown is the version of an operation of which none is known.
const Unknown int64 = -1

// A Chain is the history of an object of any kind whose operations say which version of
// it they made, or saw: then there is nothing to search for. That is Theorem 4.13 of
// Gibbons and Korach (Testing Shared Memories, SIAM J. Comput. 26(4), 1997).
type Chain[S comparable] struct {
	Problem[S] // ReadOnly says who saw a version, and did not make it
	// Version is from 0, and Unknown of those that did not say. Versions need not
	// follow each other closely.
	Version []int64
}

// Decide decides c, with one sort. It asks more than whether the object is linearizable:
// also whether the versions are those of the operations in the order in which they took
// effect. If it is Illegal, the one or two operations that contradict each other are
// returned: two that made the same version; one that precedes another and has a later
// version; or one that cannot take effect where it stands, and who made what is there.
//
// The order is that of versions, who made one before those who saw it. Those do not
// change it, so if any order of them is right then that of their calls is.
//
// It is Undecided if an operation that returned did not say its version; and if one is
// not possible while there are indeterminate ones of unknown version, which may have made
// it so. These are left out otherwise.
func (c *Chain[S]) Decide() (Decision, []int32) {
	pure := func(op int32) bool { return c.ReadOnly != nil && c.ReadOnly(op) }
	order := make([]int32, 0, len(c.Call))
	missing := false
	for i, version := range c.Version {
		switch op := int32(i); {
		case version != Unknown:
			order = append(order, op)
		case c.Return[op] != Never:
			return Decision{At: -1}, nil
		default:
			missing = missing || !pure(op)
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		if by := cmp.Compare(c.Version[a], c.Version[b]); by != 0 || pure(a) == pure(b) {
			return by
		}
		if pure(a) {
			return 1
		}
		return -1
	})
	illegal := func(ops ...int32) (Decision, []int32) { return Decision{Verdict: Illegal, At: -1}, ops }
	latest, maker := int32(-1), int32(-1) // called of those before; of the last version
	for _, op := range order {
		if latest >= 0 && c.Return[op] < c.Call[latest] {
			return illegal(op, latest)
		}
		if latest < 0 || c.Call[op] > c.Call[latest] {
			latest = op
		}
		if pure(op) {
			continue
		}
		if maker >= 0 && c.Version[maker] == c.Version[op] {
			return illegal(maker, op)
		}
		maker = op
	}
	var wrong []int32
	for _, s := range c.Starts {
		if wrong = c.replay(s, order, pure); wrong == nil {
			return Decision{Verdict: Linearizable, Order: order, At: -1}, nil
		}
	}
	if missing {
		return Decision{At: -1}, nil
	}
	return illegal(wrong...)
}

// replay returns the first operation that is not possible in order, and before it who made
// the state there, if anybody did; nil if all are possible.
func (c *Chain[S]) replay(s S, order []int32, pure func(int32) bool) []int32 {
	maker := int32(-1)
	for _, op := range order {
		next, possible := c.Step(s, op)
		switch {
		case possible && pure(op):
		case possible:
			s, maker = next, op
		case maker < 0:
			return []int32{op}
		default:
			return []int32{maker, op}
		}
	}
	return nil
}
