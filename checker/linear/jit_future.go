package linear

import (
	"cmp"
	"maps"
	"slices"
)

// future is what is known of operations to come. Times are places in Register.Returns.
type future struct {
	r       *Register
	returns int32   // how many have passed; the one that is being looked at has not
	last    []int32 // by value: when the last operation returns that asks for it, or -1
	refused int32   // when the last Refused does, or -1
	place   []int32 // by operation: when it returns, or, if indeterminate, where it is in maybe
	late    []Value // values that are over not with the return of an operation that asks for them, by when
	maybe   []maybe // indeterminate operations, by when they are over
}

type maybe struct {
	op, slot int32 // -1 if not open
	last     int32 // until when it may do good
}

// look reads r to its end.
//
// A value is over when no operation to come asks for it: reads it, or is a cas from it, or
// a Refused. Then it cannot be told from others that are over, and all of them are other.
//
// An indeterminate operation does no good any more when what it sets is over, unless there
// are Refused to come: those may want to see whatever it is. Until then, an indeterminate
// cas asks for the value it changes.
func look(r *Register) *future {
	f := &future{r: r, refused: -1, last: make([]int32, r.Values), place: make([]int32, r.Len())}
	for v := range f.last {
		f.last[v] = -1
	}
	for j, op := range r.Returns {
		j := int32(j)
		f.place[op] = j
		if r.Kind[op] != Write && r.A[op] != Nothing {
			f.last[r.A[op]] = j
		}
		if r.Kind[op] == Refused {
			f.refused = j
		}
	}
	for op, t := range r.Return {
		if t == Never {
			f.maybe = append(f.maybe, maybe{op: int32(op), slot: -1})
		}
	}
	if len(f.maybe) == 0 {
		return f
	}
	f.extend()
	for i := range f.maybe {
		m := &f.maybe[i]
		m.last = f.until(f.sets(m.op))
	}
	slices.SortFunc(f.maybe, func(a, b maybe) int { return cmp.Compare(a.last, b.last) })
	for i, m := range f.maybe {
		f.place[m.op] = int32(i)
	}
	return f
}

// sets returns the value that op sets.
func (f *future) sets(op int32) Value {
	if f.r.Kind[op] == CAS {
		return f.r.B[op]
	}
	return f.r.A[op]
}

// until is when an indeterminate operation that sets v does no good any more.
func (f *future) until(v Value) int32 { return max(f.last[v], f.refused) }

// extend has indeterminate cas ask for the values they change. It goes by when they are
// over, the latest first, so that it looks at each value once.
func (f *future) extend() {
	from := map[Value][]Value{}
	for _, m := range f.maybe {
		if f.r.Kind[m.op] == CAS {
			from[f.r.B[m.op]] = append(from[f.r.B[m.op]], f.r.A[m.op])
		}
	}
	values := slices.SortedFunc(maps.Keys(from), func(a, b Value) int {
		return cmp.Or(cmp.Compare(f.until(b), f.until(a)), cmp.Compare(a, b))
	})
	done := map[Value]bool{}
	for _, v := range values {
		t := f.until(v)
		for todo := []Value{v}; len(todo) > 0; {
			v := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if done[v] {
				continue
			}
			done[v] = true
			for _, a := range from[v] {
				if f.last[a] < t {
					f.last[a] = t
					f.late = append(f.late, a)
					todo = append(todo, a)
				}
			}
		}
	}
	slices.SortFunc(f.late, func(a, b Value) int { return cmp.Compare(f.last[a], f.last[b]) })
}

// over says that nobody asks for v any more.
func (f *future) over(v Value) bool {
	return v == other || int(v) >= len(f.last) || f.last[v] < f.returns
}

// sees says that somebody may tell whether v was set, after what returns now.
func (f *future) sees(v Value) bool {
	return f.refused > f.returns || !f.over(v) && f.last[v] > f.returns
}
