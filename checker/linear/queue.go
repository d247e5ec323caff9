package linear

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A QueueKind is what an operation is to a queue. The zero QueueKind is none.
type QueueKind uint8

// The kinds of operations of a queue. Those that did not happen for sure are not part of
// a normal form.
const (
	Enqueue QueueKind = iota + 1 // it put Value in
	Dequeue                      // it took Value out; if indeterminate, nobody knows which, or whether any
	Empty                        // it was told that nothing was in
)

var queueKindNames = [...]string{"none", "enqueue", "dequeue", "empty"}

func (k QueueKind) String() string {
	if int(k) >= len(queueKindNames) {
		return fmt.Sprintf("QueueKind(%d)", uint8(k))
	}
	return queueKindNames[k]
}

// A Queue is a history of one queue in normal form, which is empty when it begins.
// Operation i is what stands at position i of each array; they are in the order of their
// calls. Values are numbered from 0 and none of them is special.
type Queue struct {
	Kind   []QueueKind
	Value  []Value // Nothing of an Empty, and of a Dequeue that is indeterminate
	Call   []Time  // ascending
	Return []Time  // not before Call; Never if indeterminate, which an Empty is not
	// Returns are the operations that returned, in the order in which they did.
	Returns []int32
	// Values is how many values there are: all that are mentioned are less.
	Values int
	// Unordered says that no order is promised: any value that is in may come out.
	Unordered bool
}

// Len returns the number of operations.
func (q *Queue) Len() int { return len(q.Kind) }

// Add appends an operation, which was not called before those that are there. After the
// last one comes [Queue.Finish].
func (q *Queue) Add(kind QueueKind, v Value, call, ret Time) {
	if kind == Empty && ret == Never {
		kind = Dequeue
	}
	if kind == Empty || kind == Dequeue && ret == Never {
		v = Nothing
	}
	q.Kind, q.Value = append(q.Kind, kind), append(q.Value, v)
	q.Call, q.Return = append(q.Call, call), append(q.Return, ret)
	q.Values = max(q.Values, int(v)+1)
}

// Finish sorts the returns, unless whoever made q did so on the way.
func (q *Queue) Finish() {
	q.Returns = q.Returns[:0]
	for i, t := range q.Return {
		if t != Never {
			q.Returns = append(q.Returns, int32(i))
		}
	}
	slices.SortStableFunc(q.Returns, func(i, j int32) int { return cmp.Compare(q.Return[i], q.Return[j]) })
}

// Check says why q is not in normal form, if so.
func (q *Queue) Check() error {
	n := q.Len()
	if len(q.Value) != n || len(q.Call) != n || len(q.Return) != n {
		return errors.New("arrays of different lengths")
	}
	last, returned := Time(math.MinInt32), 0
	for i, kind := range q.Kind {
		nameless := kind == Empty || kind == Dequeue && q.Return[i] == Never
		switch {
		case kind < Enqueue || kind > Empty:
			return fmt.Errorf("op %d is of no kind", i)
		case q.Call[i] < last:
			return fmt.Errorf("op %d was called before op %d", i, i-1)
		case q.Return[i] < q.Call[i]:
			return fmt.Errorf("op %d returned before it was called", i)
		case kind == Empty && q.Return[i] == Never:
			return fmt.Errorf("op %d, an empty, says nothing", i)
		case nameless && q.Value[i] != Nothing:
			return fmt.Errorf("op %d has no value, and mentions one", i)
		case q.Value[i] < Nothing || int(q.Value[i]) >= q.Values:
			return fmt.Errorf("op %d mentions a value beyond %d", i, q.Values)
		case kind == Enqueue && q.Value[i] == Nothing:
			return fmt.Errorf("op %d enqueues nothing", i)
		}
		last = q.Call[i]
		if q.Return[i] != Never {
			returned++
		}
	}
	if len(q.Returns) != returned {
		return fmt.Errorf("%d ops returned, and %d returns", returned, len(q.Returns))
	}
	for i, op := range q.Returns {
		if q.Return[op] == Never || i > 0 && q.Return[op] < q.Return[q.Returns[i-1]] {
			return fmt.Errorf("return %d is out of order", i)
		}
	}
	return nil
}

// Part returns the history of the given operations alone, which are ascending.
func (q *Queue) Part(ops []int32) *Queue {
	part := &Queue{Unordered: q.Unordered}
	for _, op := range ops {
		part.Add(q.Kind[op], q.Value[op], q.Call[op], q.Return[op])
	}
	part.Finish()
	return part
}

// Replay says why order does not explain q, if so: every operation that returned must be
// in it, once, those that did not return at most once; each must be possible where it
// stands; and none may stand before one that precedes it.
//
// An indeterminate dequeue takes the first value, if there is one. If q is Unordered, it
// takes one that nobody is seen to take, and there must be one, or none at all.
func (q *Queue) Replay(order []int32) error {
	seen := make([]bool, q.Values) // to come out
	for i, kind := range q.Kind {
		if kind == Dequeue && q.Value[i] != Nothing {
			seen[q.Value[i]] = true
		}
	}
	placed := make([]bool, q.Len())
	in := make([]int, q.Values) // how often, if unordered
	var line []Value            // if not
	size, unseen := 0, 0        // how many are in, and how many of those nobody sees come out
	latest := Time(math.MinInt32)
	for _, op := range order {
		if op < 0 || int(op) >= len(placed) || placed[op] {
			return fmt.Errorf("op %d stands in the order twice, or is none", op)
		}
		placed[op] = true
		if q.Return[op] < latest {
			return fmt.Errorf("op %d returned before an op was called that stands before it", op)
		}
		latest = max(latest, q.Call[op])
		v, possible := q.Value[op], true
		switch {
		case q.Kind[op] == Enqueue:
			size++
			if !q.Unordered {
				line = append(line, v)
			} else if in[v]++; !seen[v] {
				unseen++
			}
		case q.Kind[op] == Empty:
			possible = size == 0
		case q.Return[op] == Never && size == 0:
		case q.Return[op] == Never && q.Unordered:
			possible = unseen > 0
			size, unseen = size-1, unseen-1
		case size == 0 || v == Nothing && q.Return[op] != Never:
			possible = false
		case q.Unordered:
			possible = in[v] > 0
			size, in[v] = size-1, in[v]-1
		default:
			possible = q.Return[op] == Never || line[0] == v
			size, line = size-1, line[1:]
		}
		if !possible {
			return fmt.Errorf("op %d, %v %d, is not possible where it stands", op, q.Kind[op], v)
		}
	}
	for op, is := range placed {
		if !is && q.Return[op] != Never {
			return fmt.Errorf("op %d is not in the order", op)
		}
	}
	return nil
}
