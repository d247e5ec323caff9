package lineartest

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// A QueueMix says what there is in a random history of a queue.
type QueueMix struct {
	Ops       int  // at most; at least one
	Open      int  // how many operations are open at once, about
	Unsure    bool // enqueues that never return
	Unseen    bool // dequeues that never return
	Ties      bool // events at the same time
	Unordered bool // any value comes out, and need not be the first
	Damage    int  // one in so many histories is as it should be; 0: all are
}

// RandomQueue returns the history of a queue on which operations took effect one by
// one, and then, perhaps, a queue that did wrong: that lost values, kept those that
// it gave, gave others first, or said that it was empty.
func RandomQueue(r *rand.Rand, m QueueMix) *linear.Queue {
	n := 1 + max(r.IntN(m.Ops), r.IntN(m.Ops))
	type op struct {
		kind         linear.QueueKind
		v            linear.Value
		begin, point int
		end          linear.Time
	}
	ops := make([]op, n)
	const gap = 6 // between two calls, on average
	for i := range ops {
		o := &ops[i]
		o.begin = r.IntN(gap * n)
		o.point = o.begin + r.IntN(gap*m.Open+1)
		o.end = linear.Time(o.point + r.IntN(gap*m.Open+1))
	}
	slices.SortFunc(ops, func(a, b op) int { return a.point - b.point })
	const (
		loses = iota
		repeats
		overtakes
		denies
		invents
		wrongs
	)
	often, does := 0, r.IntN(wrongs+1) // one of them, or all
	if m.Damage > 0 && r.IntN(m.Damage) > 0 {
		often = 1 + r.IntN(3)
	}
	wrong := func(kind int) bool { return often > 0 && (does == kind || does == wrongs) && r.IntN(often) == 0 }
	enqueues := 4 + r.IntN(4) // of ten
	var in []linear.Value
	next := linear.Value(0)
	for i := range ops {
		o := &ops[i]
		if r.IntN(10) < enqueues {
			o.kind, o.v = linear.Enqueue, next
			next++
			lost := m.Unsure && r.IntN(4) == 0
			if lost {
				o.end = linear.Never
			}
			if !(lost && r.IntN(2) == 0) && !wrong(loses) {
				in = append(in, o.v)
			}
			continue
		}
		lost := m.Unseen && r.IntN(5) == 0
		if lost {
			o.end = linear.Never
		}
		switch {
		case lost && r.IntN(2) == 0:
			o.kind = linear.Dequeue
		case len(in) == 0 || wrong(denies):
			o.kind, o.v = linear.Empty, linear.Nothing
		default:
			at := 0
			switch {
			case m.Unordered:
				at = r.IntN(len(in))
			case wrong(overtakes):
				at = len(in) - 1
			}
			o.kind, o.v = linear.Dequeue, in[at]
			if !wrong(repeats) {
				in = slices.Delete(in, at, at+1)
			}
			if wrong(invents) {
				o.v = linear.Value(r.IntN(int(next)+2) - 1)
			}
		}
	}
	if !m.Ties { // spread out, with every call and return at a time of its own
		for i := range ops {
			o := &ops[i]
			o.begin = o.begin*2*n + 2*i
			if o.end != linear.Never {
				o.end = o.end*linear.Time(2*n) + linear.Time(2*i) + 1
			}
		}
	}
	slices.SortStableFunc(ops, func(a, b op) int { return a.begin - b.begin })
	q := &linear.Queue{Unordered: m.Unordered}
	for _, o := range ops {
		q.Add(o.kind, o.v, linear.Time(o.begin), o.end)
	}
	q.Finish()
	return q
}

// BruteQueue says whether some order explains q, by trying every order, and every value
// that an indeterminate dequeue may take. It is for a dozen operations.
func BruteQueue(q *linear.Queue) bool {
	left := make([]int32, q.Len())
	for i := range left {
		left[i] = int32(i)
	}
	return bruteQueue(q, nil, left)
}

func bruteQueue(q *linear.Queue, in []linear.Value, left []int32) bool {
	first := linear.Never // return of those left
	for _, op := range left {
		first = min(first, q.Return[op])
	}
	if first == linear.Never {
		return true
	}
	for i, op := range left {
		if q.Call[op] > first {
			break
		}
		rest := slices.Delete(slices.Clone(left), i, i+1)
		switch q.Kind[op] {
		case linear.Enqueue:
			if bruteQueue(q, append(slices.Clone(in), q.Value[op]), rest) {
				return true
			}
		case linear.Empty:
			if len(in) == 0 && bruteQueue(q, in, rest) {
				return true
			}
		case linear.Dequeue:
			for at, v := range in {
				if q.Unordered || at == 0 {
					if q.Value[op] != v && q.Return[op] != linear.Never {
						continue
					}
					if bruteQueue(q, slices.Delete(slices.Clone(in), at, at+1), rest) {
						return true
					}
				}
			}
		}
	}
	return false
}

// PorcupineQueue asks porcupine the same of a queue that is not Unordered; Unknown if it
// has no answer in time. No time is all the time it takes.
func PorcupineQueue(q *linear.Queue, limit time.Duration) porcupine.CheckResult {
	ops := make([]porcupine.Operation, q.Len())
	for i := range ops {
		ops[i] = porcupine.Operation{Input: int32(i), Call: int64(q.Call[i]), Return: int64(q.Return[i])}
	}
	return porcupine.CheckOperationsTimeout(QueueModel(q), ops, limit)
}

// QueueModel is porcupine's model of a queue: a text of the values in it, four bytes for each. An
// indeterminate dequeue takes the first, if there is one; that it took none is that it did
// so when all else was over.
func QueueModel(q *linear.Queue) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			in, op := state.(string), input.(int32)
			v := q.Value[op]
			text := string([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
			switch {
			case q.Kind[op] == linear.Enqueue:
				return true, in + text
			case q.Kind[op] == linear.Empty:
				return in == "", in
			case in == "":
				return q.Return[op] == linear.Never, in
			}
			return q.Return[op] == linear.Never || v != linear.Nothing && in[:4] == text, in[4:]
		},
	}
}

// BusyQueue returns the history of a queue that is right, of about n operations: of so
// many producers, and as many consumers, which do one thing after the other. A part of
// what is done to it is indeterminate.
func BusyQueue(r *rand.Rand, n, clients int, indeterminate float64) *linear.Queue {
	const idle, called, done = 0, 1, 2
	type client struct {
		state int
		op    int32
	}
	all := make([]client, 2*clients)
	q := &linear.Queue{}
	var in []linear.Value
	next := linear.Value(0)
	for now := linear.Time(0); q.Len() < n || slices.ContainsFunc(all, func(c client) bool { return c.state != idle }); now++ {
		at := r.IntN(len(all))
		c, producer := &all[at], at < clients
		switch {
		case c.state == idle && q.Len() < n:
			c.state, c.op = called, int32(q.Len())
			if producer {
				q.Add(linear.Enqueue, next, now, linear.Never)
				next++
			} else {
				q.Add(linear.Dequeue, linear.Nothing, now, linear.Never)
			}
			if r.Float64() < indeterminate {
				if r.IntN(2) == 0 { // it happens, and nobody hears of it
					if producer {
						in = append(in, q.Value[c.op])
					} else if len(in) > 0 {
						in = in[1:]
					}
				}
				c.state = idle
			}
		case c.state == called:
			c.state = done
			switch {
			case producer:
				in = append(in, q.Value[c.op])
			case len(in) == 0:
				q.Kind[c.op] = linear.Empty
			default:
				q.Value[c.op], in = in[0], in[1:]
			}
		case c.state == done:
			q.Return[c.op] = now
			c.state = idle
		}
	}
	q.Finish()
	return q
}
