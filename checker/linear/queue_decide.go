package linear

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sort"
)

// A QueueFault is what is wrong with a queue. The zero QueueFault is none.
type QueueFault uint8

// The faults of queues. A history of distinct values that has none of them is
// linearizable.
const (
	FromNowhere   QueueFault = iota + 1 // a value came out that nobody put in
	BeforeEnqueue                       // a value came out before anybody put it in
	DequeuedTwice                       // a value came out twice
	OutOfOrder                          // a value came out before one that was in first; not if unordered
	Skipped                             // a value came out, and some that were in first never did; not if unordered
	Lost                                // nothing was in, and some that had been put in never came out
	NotEmpty                            // nothing was in, it was said, while at each moment something was
)

var queueFaultNames = [...]string{
	"none", "from nowhere", "before its enqueue", "dequeued twice", "out of order", "skipped", "lost", "not empty",
}

func (f QueueFault) String() string {
	if int(f) >= len(queueFaultNames) {
		return fmt.Sprintf("QueueFault(%d)", uint8(f))
	}
	return queueFaultNames[f]
}

// A QueueViolation is a fault, and a few operations that show it.
type QueueViolation struct {
	Fault QueueFault
	// Op is the dequeue that shows it: of what came out and should not have, then or at
	// all, or the Empty. If DequeuedTwice, it is the second.
	Op int32
	// Values are whom it was done to: what came out of nowhere, unless it is Nothing, or
	// before its enqueue, or twice; what was overtaken; all that were Skipped or Lost, in the
	// order in which their enqueues returned; or those of which one or the other was in
	// while the Empty was open, from the earliest on.
	Values []Value
	// Takers are, if NotEmpty, the dequeues until whose calls these were in for sure; -1 if
	// nobody can have taken one.
	Takers []int32
	// Unseen is how many indeterminate dequeues may have taken values that were Skipped
	// or Lost: fewer than there are. If NotEmpty, it is how many may have taken Values
	// and those missing that were in before.
	Unseen int
	// Ops are operations that show it, ascending. The history of them alone, as [Queue.Part]
	// has it, is not linearizable, and that is why q is not: an explanation of q without some
	// of its values, and without an Empty, explains what is left. So of each value all the
	// operations are among them, or two dequeues; and of the indeterminate dequeues the
	// first Unseen, which are given to the values that nobody saw come out; see [Queue.Decide].
	Ops []int32
}

// Decide says whether q is linearizable. If it is Illegal, few operations show it, but not
// always the fewest. It is Undecided only if limit ended it, or if a value was enqueued twice.
//
// It takes linear time, and at most 48 bytes for each operation. To order what is Unordered
// takes O(n log n), and to name the values that fill the queue while an Empty is open as
// much for each Empty as there are such values.
//
// A complete history of distinct values is linearizable if and only if it has none of
// its bad patterns, as Henzinger, Sezgin and Vafeiadis proved (Aspect-oriented
// linearizability proofs, CONCUR 2013). What is indeterminate comes down to that. An
// enqueue whose value was seen to come out took effect before that did. One whose value
// was not is left out: take such a value out of an explanation, with both its operations,
// and it explains the rest. Indeterminate dequeues are given to the values that are
// missing, whose enqueues returned and which nobody saw come out: that which was called
// first to that whose enqueue returned first, and so on while there are both.
//
// If q has an explanation, it has one by which they are so given. For let v and w be
// missing, v's enqueue have returned no later than w's, and c be when the dequeue of one was
// called, Never if nobody took it. That matters twice. c may not be after the deadline of the
// value: the first return of a dequeue of what was put in after it; the deadline of w
// is no earlier, since it is of fewer. And the value is in for sure between the return of
// its enqueue and c, where no Empty can be explained. Now let v have the later c, and
// change them over. Then v has an earlier c; w has one that met v's deadline, so it meets
// its own; and where v and w are in for sure, v was. That is all: what nobody took stays
// behind what was given to somebody, since its enqueue returned later. If q is Unordered, there
// are no deadlines, and the rest is the same.
func (q *Queue) Decide(limit Limit) (Decision, *QueueViolation) {
	d := Decision{At: -1, Explained: math.MinInt32}
	const perOp = 48
	allowed := func() bool { return limit.allows(perOp * int64(q.Len())) }
	if !allowed() {
		return d, nil
	}
	s, distinct := q.survey()
	if !distinct || !allowed() {
		return d, nil
	}
	const few = 4 // operations, which are not worth a longer search
	var least *QueueViolation
	for v := range s.violations(false) {
		if least == nil || len(v.Ops) < len(least.Ops) {
			least = &v
		}
		if len(least.Ops) <= few || !allowed() {
			break
		}
	}
	switch {
	case least != nil:
		d.Verdict = Illegal
	case allowed():
		d.Verdict, d.Order = Linearizable, s.order()
	}
	return d, least
}

// Violations yields all that is wrong with q: each value that came out and should not have;
// of the others, each that overtook one, and each Empty that found nothing where something
// was; and once what was Skipped, and what was Lost, by the dequeue that shows most of it.
// Nothing is wrong if and only if q is linearizable. That a value was enqueued twice is an
// error: then nothing is known.
func (q *Queue) Violations() (iter.Seq[QueueViolation], error) {
	s, distinct := q.survey()
	if !distinct {
		return nil, errTwice
	}
	return s.violations(true), nil
}

var errTwice = errors.New("a value is enqueued twice")

// none is no operation, and no value.
const none = -1

// A fate is what became of a value.
type fate uint8

const (
	unknown fate = iota // nobody is known to have put it in, or it should not have come out
	passed              // it was put in, and came out
	taken               // it was put in, and given to an indeterminate dequeue
	kept                // it was put in, and none was left
)

// A queueSurvey is a queue by its values.
type queueSurvey struct {
	*Queue
	in, out []int32 // who put each in, and who took it, or was given it; none if nobody
	fates   []fate
	// from and to are between which times each is in for sure, if from is less: from the
	// return of its enqueue, or dequeue if that is earlier, to the call of its dequeue, or
	// enqueue if that is later.
	from, to []Time
	byFrom   []Value         // those of known fate
	missing  []Value         // those taken, and then those kept, by from
	again    map[Value]int32 // the second dequeue of each that has one
	nothings []int32         // dequeues that found what cannot be
	unseen   []int32         // indeterminate dequeues
	empties  []int32
}

// survey returns what became of each value, if none was enqueued twice.
func (q *Queue) survey() (s *queueSurvey, distinct bool) {
	n := q.Values
	ends := slices.Repeat([]int32{none}, 2*n)
	times := slices.Repeat([]Time{Never}, 2*n)
	s = &queueSurvey{Queue: q, in: ends[:n:n], out: ends[n:], from: times[:n:n], to: times[n:], fates: make([]fate, n)}
	for i, kind := range q.Kind {
		op, v := int32(i), q.Value[i]
		switch {
		case kind == Empty:
			s.empties = append(s.empties, op)
		case kind == Enqueue && s.in[v] != none:
			return nil, false
		case kind == Enqueue:
			s.in[v] = op
		case q.Return[i] == Never:
			s.unseen = append(s.unseen, op)
		case v == Nothing:
			s.nothings = append(s.nothings, op)
		case s.out[v] == none:
			s.out[v] = op
		default:
			if s.again == nil {
				s.again = map[Value]int32{}
			}
			if _, is := s.again[v]; !is {
				s.again[v] = op
			}
		}
	}
	known := 0
	for v := range s.fates {
		in, out := s.in[v], s.out[v]
		switch _, twice := s.again[Value(v)]; {
		case in == none || twice || out == none && q.Return[in] == Never:
		case out == none:
			s.fates[v] = kept
			known++
		case q.Call[in] <= q.Return[out]:
			s.fates[v] = passed
			s.to[v] = max(q.Call[in], q.Call[out])
			known++
		}
	}
	s.byFrom = make([]Value, 0, known)
	for _, op := range q.Returns {
		v := q.Value[op]
		if v == Nothing || s.fates[v] == unknown || s.from[v] != Never {
			continue
		}
		s.from[v] = q.Return[op]
		s.byFrom = append(s.byFrom, v)
		if s.fates[v] != kept {
			continue
		}
		if i := len(s.missing); i < len(s.unseen) {
			s.fates[v], s.out[v] = taken, s.unseen[i]
			s.to[v] = max(q.Call[s.in[v]], q.Call[s.out[v]])
		}
		s.missing = append(s.missing, v)
	}
	return s, true
}

// violations yields what is wrong: of what was Skipped or Lost, where most of it shows, or
// what shows it by the fewest operations.
func (s *queueSurvey) violations(most bool) iter.Seq[QueueViolation] {
	return func(yield func(QueueViolation) bool) {
		if !s.strays(yield) || !s.Unordered && !(s.overtaken(yield) && s.skipped(most, yield)) {
			return
		}
		gaps := s.gaps()
		_ = s.lost(most, gaps, yield) && s.full(gaps, yield)
	}
}

// strays yields what should not have come out, whatever else did.
func (s *queueSurvey) strays(yield func(QueueViolation) bool) bool {
	for _, op := range s.nothings {
		if !yield(QueueViolation{Fault: FromNowhere, Op: op, Ops: []int32{op}}) {
			return false
		}
	}
	for v, out := range s.out {
		if s.fates[v] != unknown || out == none {
			continue
		}
		in := s.in[v]
		fault, op, ops := BeforeEnqueue, out, []int32{in, out}
		switch {
		case in == none:
			fault, ops = FromNowhere, []int32{out}
		case s.Return[out] < s.Call[in]:
		default:
			op = s.again[Value(v)]
			fault, ops = DequeuedTwice, []int32{in, out, op}
		}
		slices.Sort(ops)
		if !yield(QueueViolation{Fault: fault, Op: op, Values: []Value{Value(v)}, Ops: ops}) {
			return false
		}
	}
	return true
}

// overtaken yields each value that came out before another began to, which was in before
// the one was put in. Of those others it is the last that is named.
func (s *queueSurvey) overtaken(yield func(QueueViolation) bool) bool {
	last, i := Value(none), 0
	for op, kind := range s.Kind {
		v := s.Value[op]
		if kind != Enqueue || s.fates[v] != passed {
			continue
		}
		for ; s.from[s.byFrom[i]] < s.Call[op]; i++ { // which ends at v itself, if not before
			if w := s.byFrom[i]; s.fates[w] == passed && (last == none || s.Call[s.out[w]] > s.Call[s.out[last]]) {
				last = w
			}
		}
		if last == none || s.Call[s.out[last]] <= s.Return[s.out[v]] {
			continue
		}
		ops := []int32{s.in[last], int32(op), s.out[v], s.out[last]}
		slices.Sort(ops)
		if !yield(QueueViolation{Fault: OutOfOrder, Op: s.out[v], Values: []Value{last}, Ops: ops}) {
			return false
		}
	}
	return true
}

// skipped yields what must have come out by some deadline, and for which there were too few
// dequeues that can have taken it: where most is to be seen, or least has to be shown.
//
// The missing values with deadlines are the first ones, in the order of their deadlines,
// and any dequeue called by a deadline can have met all from that on: so if of each so
// many first ones as many dequeues can have met the deadline, all are met.
func (s *queueSurvey) skipped(most bool, yield func(QueueViolation) bool) bool {
	due := make([]int32, len(s.missing)) // the dequeue that is each one's deadline, or none
	first := int32(none)
	op := s.Len() - 1
	for i, v := range slices.Backward(s.missing) {
		for ; op >= 0 && s.Call[op] > s.from[v]; op-- {
			if w := s.Value[op]; s.Kind[op] == Enqueue && s.fates[w] == passed && (first == none || s.Return[s.out[w]] < s.Return[first]) {
				first = s.out[w]
			}
		}
		due[i] = first
	}
	worst, unseen := none, 0
	for i, out := range due {
		if out == none {
			break
		}
		if n := s.unseenBy(s.Return[out]); i+1-n > 0 && (worst == none || i-n > worst-unseen) {
			worst, unseen = i, n
			if !most {
				break
			}
		}
	}
	if worst == none {
		return true
	}
	out := due[worst]
	return yield(QueueViolation{
		Fault: Skipped, Op: out, Values: s.missing[:worst+1], Unseen: unseen,
		Ops: s.show(unseen+1, unseen, s.in[s.Value[out]], out),
	})
}

// unseenBy returns how many indeterminate dequeues were called by a time.
func (s *queueSurvey) unseenBy(t Time) int {
	return sort.Search(len(s.unseen), func(i int) bool { return s.Call[s.unseen[i]] > t })
}

// show returns, in their order, some operations with the enqueues of the first missing
// values and the first indeterminate dequeues.
func (s *queueSurvey) show(missing, unseen int, ops ...int32) []int32 {
	for _, v := range s.missing[:missing] {
		ops = append(ops, s.in[v])
	}
	ops = append(ops, s.unseen[:unseen]...)
	slices.Sort(ops)
	return slices.Compact(ops)
}

// A gap is an Empty with the first moment in which it can take effect. It is not possible
// if that is after its return.
type gap struct {
	empty int32
	at    Time
}

// gaps returns the gap of each Empty, in their order, which is that of their moments, too.
func (s *queueSurvey) gaps() []gap {
	gaps := make([]gap, 0, len(s.empties))
	i := 0
	until := Time(math.MinInt32) // something was in from before the call, or nothing was
	for _, op := range s.empties {
		at := s.Call[op]
		for ; i < len(s.byFrom) && s.from[s.byFrom[i]] < max(at, until); i++ {
			until = max(until, s.to[s.byFrom[i]])
		}
		gaps = append(gaps, gap{op, max(at, until)})
	}
	return gaps
}

// lost yields what was gone when nothing was found, and cannot have been taken: where most
// is to be seen, or least has to be shown.
//
// All that were in when the Empty was called were taken before it returned, each by an
// indeterminate dequeue that was called by then.
func (s *queueSurvey) lost(most bool, gaps []gap, yield func(QueueViolation) bool) bool {
	v := QueueViolation{Fault: Lost, Op: none}
	for _, g := range gaps {
		gone, unseen := s.goneBy(g)
		if gone > unseen && (v.Op == none || most && gone-unseen > len(v.Values)-v.Unseen || !most && unseen < v.Unseen) {
			v.Op, v.Values, v.Unseen = g.empty, s.missing[:gone], unseen
		}
	}
	if v.Op == none {
		return true
	}
	v.Ops = s.show(v.Unseen+1, v.Unseen, v.Op)
	return yield(v)
}

// goneBy returns how many of the missing values were in when an Empty was called, and how
// many indeterminate dequeues were called before it returned.
func (s *queueSurvey) goneBy(g gap) (gone, unseen int) {
	gone = sort.Search(len(s.missing), func(i int) bool { return s.from[s.missing[i]] >= s.Call[g.empty] })
	return gone, s.unseenBy(s.Return[g.empty])
}

// full yields each Empty that took effect while the queue was not empty, but those for
// which something was lost.
func (s *queueSurvey) full(gaps []gap, yield func(QueueViolation) bool) bool {
	var seen, all *cover
	for _, g := range gaps {
		call, ret := s.Call[g.empty], s.Return[g.empty]
		gone, unseen := s.goneBy(g)
		if g.at <= ret || gone > unseen {
			continue
		}
		if seen == nil {
			seen = s.cover(func(v Value) bool { return s.fates[v] == passed })
			all = s.cover(func(Value) bool { return true })
		}
		chain := seen.chain(call, ret)
		if chain == nil {
			chain = all.chain(call, ret)
		}
		v := QueueViolation{Fault: NotEmpty, Op: g.empty, Values: chain}
		ops, missing := []int32{g.empty}, 0
		for i, w := range chain {
			if s.fates[w] == passed {
				ops = append(ops, s.in[w], s.out[w])
			} else {
				missing = 1 + s.nth(w)
				if missing > unseen { // so is the first of which that is so, in until after the return
					missing = unseen + 1
					chain[i] = s.missing[unseen]
				}
			}
			v.Takers = append(v.Takers, s.out[chain[i]])
		}
		v.Unseen = min(missing, unseen)
		v.Ops = s.show(missing, v.Unseen, ops...)
		if !yield(v) {
			return false
		}
	}
	return true
}

// nth returns the place of v among the missing.
func (s *queueSurvey) nth(v Value) int {
	i := sort.Search(len(s.missing), func(i int) bool { return s.from[s.missing[i]] >= s.from[v] })
	for s.missing[i] != v {
		i++
	}
	return i
}

// A cover is the times in which values are in for sure, by when they begin.
type cover struct {
	*queueSurvey
	values  []Value
	longest []Value // which of each and those before is in for longest
}

func (s *queueSurvey) cover(which func(Value) bool) *cover {
	c := &cover{queueSurvey: s}
	for _, v := range s.byFrom {
		if !which(v) || s.from[v] >= s.to[v] {
			continue
		}
		longest := v
		if n := len(c.longest); n > 0 && s.to[c.longest[n-1]] >= s.to[v] {
			longest = c.longest[n-1]
		}
		c.values, c.longest = append(c.values, v), append(c.longest, longest)
	}
	return c
}

// chain returns the fewest values of which one or the other is in from call to ret, if
// some are.
func (c *cover) chain(call, ret Time) []Value {
	var chain []Value
	for at := call; at <= ret; at = c.to[chain[len(chain)-1]] {
		begun := sort.Search(len(c.values), func(i int) bool { return c.from[c.values[i]] >= at })
		if begun == 0 || c.to[c.longest[begun-1]] <= at {
			return nil
		}
		chain = append(chain, c.longest[begun-1])
	}
	return chain
}

// order returns an order that explains s, in which nothing is wrong.
//
// The gaps cut it in blocks: a value belongs to the first that ends when it may be out,
// and since it is not in for sure where a block begins, it can be put in after that. No
// value of a block precedes one of an earlier block, whether they are put in or taken out.
func (s *queueSurvey) order() []int32 {
	gaps := s.gaps()
	if s.Unordered {
		return s.anyOrder(gaps)
	}
	line, ends := s.line(gaps)
	out := len(line) - s.stay() // how many values are taken out
	order := make([]int32, 0, s.Len())
	// Each operation takes effect as soon as it was called, all in line before it did, and
	// its block began. That is in time. Of two in line neither was put in, or taken out, before
	// the other was called that is before it; and by what was said of blocks.
	i, j := 0, 0
	enter, leave := Time(math.MinInt32), Time(math.MinInt32)
	for b, end := range ends {
		for i < end || j < min(end, out) {
			if i < end {
				enter = max(enter, s.Call[s.in[line[i]]])
			}
			if j < out {
				leave = max(leave, s.to[line[j]])
			}
			if i < end && (i == j || j >= out || enter <= leave) {
				order = append(order, s.in[line[i]])
				i++
			} else {
				order = append(order, s.out[line[j]])
				j++
			}
		}
		if b < len(gaps) {
			order = append(order, gaps[b].empty)
			enter, leave = max(enter, gaps[b].at), max(leave, gaps[b].at)
		}
	}
	return order
}

// line returns the values in the order in which they pass the queue, those that stay in it
// last, and where in it the blocks end.
//
// It is any order in which none stands before one whose enqueue or dequeue precedes its
// own. There is one: these are two interval orders, and if their union has a circle, it has
// one of two values. For let a be put in before b, b taken out before c, c put in before d,
// and d taken out before a, or so on to a longer circle. Of intervals, a before b and c
// before d, one is before the other's second: a is put in before d, and then b and c are not
// needed; or c before b, and these two are a circle.
func (s *queueSurvey) line(gaps []gap) (line []Value, ends []int) {
	total := len(s.byFrom)
	line = make([]Value, 0, total)
	ends = make([]int, 0, len(gaps)+1)
	const (
		half   = 1 << iota // none that is not placed is put in before it, or none is taken out
		placed             // it is in line
	)
	marks := make([]uint8, s.Values)
	ready := make([]Value, 0, total)
	release := func(v Value) {
		if marks[v]&half != 0 {
			ready = append(ready, v)
		}
		marks[v] |= half
	}
	byTo := s.byTo()
	// Of what is not placed: the next to be put in and taken out, by call, and the first to be so,
	// by return. Where one has reached the other's time, nothing precedes it.
	var nextIn, nextOut, firstIn, firstOut int
	for block := 0; len(line) < total-s.stay(); {
		for s.fates[s.byFrom[firstIn]] == kept || marks[s.byFrom[firstIn]]&placed != 0 {
			firstIn++
		}
		for ; nextIn < s.Len() && s.Call[nextIn] <= s.from[s.byFrom[firstIn]]; nextIn++ {
			if v := s.Value[nextIn]; s.Kind[nextIn] == Enqueue && (s.fates[v] == passed || s.fates[v] == taken) {
				release(v)
			}
		}
		limit := Never
		for ; firstOut < len(s.Returns); firstOut++ {
			op := s.Returns[firstOut]
			if s.Kind[op] == Dequeue && marks[s.Value[op]]&placed == 0 {
				limit = s.Return[op]
				break
			}
		}
		if block < len(gaps) {
			limit = min(limit, gaps[block].at)
		}
		for ; nextOut < len(byTo) && s.to[byTo[nextOut]] <= limit; nextOut++ {
			release(byTo[nextOut])
		}
		if len(ready) == len(line) {
			_ = gaps[block] // or what is said above is not so
			ends = append(ends, len(line))
			block++
			continue
		}
		v := ready[len(line)]
		marks[v] |= placed
		line = append(line, v)
	}
	for len(ends) < len(gaps) {
		ends = append(ends, len(line))
	}
	for op, kind := range s.Kind {
		if kind == Enqueue && s.fates[s.Value[op]] == kept {
			line = append(line, s.Value[op])
		}
	}
	return line, append(ends, len(line))
}

// stay returns how many values are never taken out.
func (s *queueSurvey) stay() int { return max(len(s.missing)-len(s.unseen), 0) }

// byCall yields the enqueues and dequeues of known values, and those that were given one, in the
// order of their calls.
func (s *queueSurvey) byCall() iter.Seq2[int32, Value] {
	return func(yield func(int32, Value) bool) {
		given := 0
		for op, kind := range s.Kind {
			v := s.Value[op]
			if kind == Dequeue && s.Return[op] == Never && given < len(s.missing) {
				v = s.missing[given]
				given++
			}
			if v != Nothing && s.fates[v] != unknown && !yield(int32(op), v) {
				return
			}
		}
	}
}

// byTo returns the values that are taken out by when that is possible.
func (s *queueSurvey) byTo() []Value {
	called := make([]bool, s.Values)
	byTo := make([]Value, 0, len(s.byFrom))
	for _, v := range s.byCall() {
		if called[v] {
			byTo = append(byTo, v)
		}
		called[v] = true
	}
	return byTo
}

// anyOrder is order if none is promised: in each block, operations are as they were called, but
// no dequeue is before its enqueue.
func (s *queueSurvey) anyOrder(gaps []gap) []int32 {
	blocks := make([][]int32, len(gaps)+1)
	called := make([]bool, s.Values)
	for op, v := range s.byCall() {
		b := sort.Search(len(gaps), func(i int) bool { return gaps[i].at >= s.to[v] })
		if s.Kind[op] == Enqueue || called[v] {
			blocks[b] = append(blocks[b], op)
		}
		if s.Kind[op] == Enqueue && called[v] {
			blocks[b] = append(blocks[b], s.out[v])
		}
		called[v] = true
	}
	order := make([]int32, 0, s.Len())
	for b, ops := range blocks {
		order = append(order, ops...)
		if b < len(gaps) {
			order = append(order, gaps[b].empty)
		}
	}
	return order
}
