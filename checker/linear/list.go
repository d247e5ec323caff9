package linear

import "slices"

// A List is the history of a list that is appended to, one element at a time, and read as
// a whole. It is empty at the start. Operation i is what stands at position i of each
// array; they are in the order of their calls.
//
// All that is kept of a read is how long the list was, as what was in it is the beginning
// of the longest that was read: or else no order explains both.
type List struct {
	Element []Value // appended by it, from 0; Nothing if it is a read
	Length  []int32 // of the list that it read; 0 if it is an append
	Call    []Time  // ascending
	Return  []Time  // not before Call; Never if indeterminate, which reads are not

	Longest   []Value // list that was read
	LongestBy int32   // that read it; -1 if there is no read
	Fork      []Value // list that was read, of which neither that nor Longest is the beginning
	ForkBy    int32   // that read it first; -1 if there is none
}

// Len returns the number of operations.
func (l *List) Len() int { return len(l.Call) }

// Append adds an append, which was not called before what is there.
func (l *List) Append(element Value, call, ret Time) { l.add(element, 0, call, ret) }

// Read adds a read of elements, which was not called before what is there, unless it
// returned Never and says nothing: then it returns false. It takes as long as to compare
// the elements, which it does not keep a reference to.
func (l *List) Read(elements []Value, call, ret Time) bool {
	if ret == Never {
		return false
	}
	op := int32(l.Len())
	l.add(Nothing, int32(len(elements)), call, ret)
	common := min(len(elements), len(l.Longest))
	switch {
	case !slices.Equal(elements[:common], l.Longest[:common]):
		if l.ForkBy < 0 {
			l.Fork, l.ForkBy = slices.Clone(elements), op
		}
	case l.LongestBy < 0 || len(elements) > common:
		l.Longest, l.LongestBy = append(l.Longest, elements[common:]...), op
	}
	return true
}

func (l *List) add(element Value, length int32, call, ret Time) {
	if l.Len() == 0 {
		l.LongestBy, l.ForkBy = -1, -1
	}
	l.Element, l.Length = append(l.Element, element), append(l.Length, length)
	l.Call, l.Return = append(l.Call, call), append(l.Return, ret)
}

// saw returns what a read saw. The second read that is none of the beginnings of Longest,
// and those that come after it, are not known any more.
func (l *List) saw(op int32) []Value {
	if op == l.ForkBy {
		return l.Fork
	}
	return l.Longest[:l.Length[op]]
}

// Decide decides l, in time linear in how many operations and elements there are. It is
// exact if no element is appended twice; else it may be Undecided. If it is Illegal, a few
// operations are returned that no order explains: [List.Project] makes a history of them.
//
// An element once read has its place, and as lists only grow, so has every read: after the
// append of the last element that it saw, and before the next one. What nobody read was
// appended after every read. So but for the order of reads between two appends, and of
// what nobody read, the order is known, and if any order is right then the one with these
// two by calls, since among those no operation stands before one that precedes it.
func (l *List) Decide() (Decision, []int32) {
	illegal := func(ops ...int32) (Decision, []int32) {
		slices.Sort(ops)
		return Decision{Verdict: Illegal, At: -1}, slices.Compact(slices.DeleteFunc(ops, func(op int32) bool { return op < 0 }))
	}
	most := Nothing
	for _, e := range l.Element {
		most = max(most, e)
	}
	by := make([]int32, most+1) // 1 + who appended it
	for op, e := range l.Element {
		if e == Nothing {
			continue
		}
		if by[e] != 0 {
			return Decision{At: -1}, nil
		}
		by[e] = int32(op) + 1
	}
	owner := func(e Value) int32 {
		if e < 0 || int(e) >= len(by) {
			return -1
		}
		return by[e] - 1
	}
	if l.Len() > 0 && l.ForkBy >= 0 { // they differ first at i, so none of the two elements comes before
		i := 0
		for l.Fork[i] == l.Longest[i] {
			i++
		}
		return illegal(l.LongestBy, l.ForkBy, owner(l.Fork[i]), owner(l.Longest[i]))
	}
	place := make([]int32, l.Len()) // of an append, in a longest list; or -1
	for op := range place {
		place[op] = -1
	}
	for i, e := range l.Longest {
		op := owner(e)
		if op < 0 || place[op] >= 0 { // nobody appended it, or it is there twice
			return illegal(l.LongestBy, op)
		}
		place[op] = int32(i)
	}
	order := l.order(place)
	latest := int32(-1) // called of those before
	for _, y := range order {
		if latest >= 0 && l.Return[y] < l.Call[latest] { // y precedes it, and stands after it
			return illegal(l.why(latest, y, owner)...)
		}
		if latest < 0 || l.Call[y] > l.Call[latest] {
			latest = y
		}
	}
	return Decision{Verdict: Linearizable, Order: order, At: -1}, nil
}

// order returns the only order there can be: reads of the empty list, the first append,
// reads of one element, and so on, and last what nobody read.
func (l *List) order(place []int32) []int32 {
	// The append at place i has group 2i+1, reads of i elements have group 2i.
	last := 2*len(l.Longest) + 1
	group := func(op int) int {
		switch {
		case l.Element[op] == Nothing:
			return 2 * int(l.Length[op])
		case place[op] >= 0:
			return 2*int(place[op]) + 1
		case l.Return[op] != Never:
			return last
		}
		return -1 // it need not have happened
	}
	from := make([]int32, last+2) // where each group begins
	for op := range l.Call {
		if g := group(op); g >= 0 {
			from[g+1]++
		}
	}
	for g := range last + 1 {
		from[g+1] += from[g]
	}
	order := make([]int32, from[last+1])
	for op := range l.Call {
		if g := group(op); g >= 0 {
			order[from[g]] = int32(op)
			from[g]++
		}
	}
	return order
}

// why returns the operations that show that x comes before y: an element that one of
// these has seen, or appended, and the other has not. The longest read has seen it if
// none of them is a read; it has not if it is of those that nobody read.
func (l *List) why(x, y int32, owner func(Value) int32) []int32 {
	ops := []int32{x, y}
	switch xRead, yRead := l.Element[x] == Nothing, l.Element[y] == Nothing; {
	case xRead && yRead:
		ops = append(ops, owner(l.Longest[l.Length[x]]))
	case !xRead && !yRead:
		ops = append(ops, l.LongestBy)
	}
	return ops
}

// Project returns the history of a few operations of l, and of the elements alone that
// these append, or that nobody does. If l is linearizable, so is that: leave the others
// out of the order, and the elements out of the lists.
func (l *List) Project(ops []int32) *List {
	gone := map[Value]bool{}
	for op, e := range l.Element {
		if e != Nothing && !slices.Contains(ops, int32(op)) {
			gone[e] = true
		}
	}
	p := &List{}
	for _, op := range ops {
		if e := l.Element[op]; e != Nothing {
			p.Append(e, l.Call[op], l.Return[op])
			continue
		}
		p.Read(slices.DeleteFunc(slices.Clone(l.saw(op)), func(e Value) bool { return gone[e] }), l.Call[op], l.Return[op])
	}
	return p
}
