package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// name returns the workload's name.
func name(fifo bool) string {
	if fifo {
		return "queue"
	}
	return "total-queue"
}

// Checker returns the checker of the workload. It looks for what no queue does, in
// O(n log n) of its operations: values that come out of nowhere, or twice; that are
// lost; a queue that says it is empty while something is in it; and if fifo, values
// that overtake others.
//
// A queue without these is linearizable, and one with any of them is not, whatever
// became of the operations of unknown outcome; see [linear.Queue.Decide] for why.
func Checker(fifo bool) checker.Checker {
	return workloads.Judge(name(fifo), []string{Enqueue, Dequeue}, readBack,
		checker.Part{Name: "contents", Checker: contents(fifo)})
}

// maxNamed bounds the values that a note names.
const maxNamed = 8

// The kinds of anomalies.
const (
	phantom    = "phantom element"
	duplicated = "duplicated element"
	lost       = "lost element"
	skipped    = "skipped element"
	outOfOrder = "out of order"
	notEmpty   = "impossible empty"
)

// contents returns the checker of what goes into queues and comes out of them.
func contents(fifo bool) checker.Checker {
	return checker.Func(func(_ context.Context, h *histories.History) (checker.Result, error) {
		calls, err := histories.Calls(h, parseInput, parseOutput)
		if err != nil {
			return checker.Result{}, err
		}
		tubes, err := tubes(calls, fifo)
		if err != nil {
			return checker.Result{}, err
		}
		f := findings{tubes: tubes, counts: map[string]int64{}}
		for _, t := range tubes {
			if err := f.judge(t); err != nil {
				return checker.Result{}, err
			}
		}
		return f.result(), nil
	})
}

// A tube is all that is known of a queue.
type tube struct {
	name     string
	ops      linear.Queue // at positions of the history
	calls    []*call      // those of ops
	elements []*element   // by their numbers in ops
	values   map[int64]linear.Value
	missing  []*element // acknowledged, and not seen to come out, in the order of that
	unsure   []*call    // dequeues of unknown outcome
}

// An element is a value with the calls that put it in and took it out.
type element struct {
	value int64
	in    *call // nil if nobody did
	out   *call // the first; nil if nobody did
}

// tubes sorts calls by their queues and values.
func tubes(calls []call, fifo bool) ([]*tube, error) {
	var tubes []*tube
	byName := map[string]*tube{}
	for i := range calls {
		c := &calls[i]
		t := byName[c.In.queue]
		if t == nil {
			t = &tube{name: c.In.queue, values: map[int64]linear.Value{}, ops: linear.Queue{Unordered: !fifo}}
			byName[t.name] = t
			tubes = append(tubes, t)
		}
		switch {
		case c.F == Enqueue:
			v := t.number(c.In.value)
			e := t.elements[v]
			if e.in != nil {
				return nil, fmt.Errorf("op %d: %d is enqueued to %s for a second time: values must be unique", c.Index, e.value, t.name)
			}
			e.in = c
			if c.Type != histories.Fail {
				t.add(linear.Enqueue, v, c)
			}
		case c.Type == histories.Info:
			t.unsure = append(t.unsure, c)
			t.add(linear.Dequeue, linear.Nothing, c)
		case c.Type == histories.Fail:
		case c.Out.empty:
			t.add(linear.Empty, linear.Nothing, c)
		default:
			v := t.number(c.Out.value)
			if e := t.elements[v]; e.out == nil {
				e.out = c
			}
			t.add(linear.Dequeue, v, c)
		}
	}
	for _, t := range tubes {
		t.ops.Finish()
		for _, op := range t.ops.Returns {
			if t.ops.Kind[op] == linear.Enqueue {
				if e := t.elements[t.ops.Value[op]]; e.out == nil {
					t.missing = append(t.missing, e)
				}
			}
		}
	}
	return tubes, nil
}

// number returns the number of a value.
func (t *tube) number(value int64) linear.Value {
	v, is := t.values[value]
	if !is {
		v = linear.Value(len(t.elements))
		t.values[value] = v
		t.elements = append(t.elements, &element{value: value})
	}
	return v
}

func (t *tube) add(kind linear.QueueKind, v linear.Value, c *call) {
	end := linear.Never
	if c.Type == histories.OK {
		end = linear.Time(c.Completion)
	}
	t.ops.Add(kind, v, linear.Time(c.Index), end)
	t.calls = append(t.calls, c)
}

// named returns the elements of the given numbers.
func (t *tube) named(values []linear.Value) []*element {
	elements := make([]*element, len(values))
	for i, v := range values {
		elements[i] = t.elements[v]
	}
	return elements
}

// findings are what is wrong, and how much was looked at.
type findings struct {
	tubes  []*tube
	counts map[string]int64
	found  checker.Findings
	ins    map[int64]*call // the last enqueue of each value, to whichever queue
}

// add adds an anomaly of n values, with the operations that show it. Dequeues of unknown
// outcome that it allows for are not shown: they are why there is not more.
func (f *findings) add(kind string, n int, t *tube, v linear.QueueViolation, note string, args ...any) {
	var calls []call
	for _, op := range v.Ops {
		if c := t.calls[op]; c.F == Enqueue || c.Type != histories.Info {
			calls = append(calls, *c)
		}
	}
	f.show(kind, n, calls, note, args...)
}

func (f *findings) show(kind string, n int, calls []call, note string, args ...any) {
	f.found.AddMany(n, checker.Anomaly{Kind: kind, Note: fmt.Sprintf(note, args...), Ops: checker.Ops(calls...)})
}

func (f *findings) result() checker.Result {
	r := checker.Result{Name: "contents", Verdict: checker.Valid, Counts: f.counts}
	f.counts["queues"] = int64(len(f.tubes))
	r.Note = fmt.Sprintf("queues: %d, enqueued: %d, dequeued: %d, dequeues of unknown outcome: %d",
		f.counts["queues"], f.counts["enqueued"], f.counts["dequeued"], f.counts["unsure"])
	if !f.found.Conclude(&r) && f.counts["dequeued"]+f.counts["empty"] == 0 {
		r.Verdict, r.Note = checker.Unknown, "nothing came out, so nothing is known; "+r.Note
	}
	return r
}

// judge looks at one queue. What is wrong with a value by itself says enough of it:
// the rest is told of values that went in and came out, or did not, once. What is lost is
// skipped, too, by what comes after it, and that is not told again.
func (f *findings) judge(t *tube) error {
	for _, e := range t.elements {
		if e.in != nil && e.in.Type == histories.OK {
			f.counts["enqueued"]++
		}
		if e.out != nil {
			f.counts["dequeued"]++
		}
	}
	f.counts["unsure"] += int64(len(t.unsure))
	for _, kind := range t.ops.Kind {
		if kind == linear.Empty {
			f.counts["empty"]++
		}
	}
	violations, err := t.ops.Violations()
	if err != nil {
		return fmt.Errorf("queue %s: %w", t.name, err)
	}
	var isLost, isSkipped linear.QueueViolation
	for v := range violations {
		out := t.calls[v.Op]
		switch v.Fault {
		case linear.FromNowhere, linear.BeforeEnqueue:
			f.phantom(t.elements[v.Values[0]], out)
		case linear.DequeuedTwice:
			e := t.elements[v.Values[0]]
			f.add(duplicated, 1, t, v, "%s, and %s: it was enqueued once (%s)", did(*e.out), did(*out), did(*e.in))
		case linear.OutOfOrder:
			e, last := t.elements[t.values[out.Out.value]], t.elements[v.Values[0]]
			f.add(outOfOrder, 1, t, v, "%s before %s, but in the other order they were enqueued: %s, then %s",
				did(*out), did(*last.out), did(*last.in), did(*e.in))
		case linear.Skipped:
			isSkipped = v
		case linear.Lost:
			isLost = v
		case linear.NotEmpty:
			f.add(notEmpty, 1, t, v, "%s, but it was not: %s", did(*out), t.presence(v))
		}
	}
	switch n := len(isLost.Values); {
	case isLost.Fault != 0:
		f.add(lost, n-isLost.Unseen, t, isLost, "%s: %s%s, but %s",
			values(t.named(isLost.Values)), acknowledged(n), unseen(isLost.Unseen), did(*t.calls[isLost.Op]))
	case isSkipped.Fault != 0:
		n, before := len(isSkipped.Values), t.calls[isSkipped.Op]
		f.add(skipped, n-isSkipped.Unseen, t, isSkipped, "%s: %s%s, but %s, which came after: %s",
			values(t.named(isSkipped.Values)), acknowledged(n), unseen(isSkipped.Unseen), did(*before),
			did(*t.elements[t.values[before.Out.value]].in))
	}
	return nil
}

// phantom tells of a value that came out and cannot have been in.
func (f *findings) phantom(e *element, out *call) {
	switch {
	case e.in == nil:
		note, calls := "which nobody ever enqueued", []call{*out}
		if elsewhere := f.enqueued(e.value); elsewhere != nil {
			note, calls = "where nobody had enqueued it: "+did(*elsewhere), append(calls, *elsewhere)
		}
		f.show(phantom, 1, calls, "%s, %s", did(*out), note)
	case e.in.Type == histories.Fail:
		f.show(phantom, 1, []call{*out, *e.in}, "%s, but that had not been enqueued: %s", did(*out), did(*e.in))
	default:
		f.show(phantom, 1, []call{*out, *e.in}, "%s, before anybody enqueued it: %s", did(*out), did(*e.in))
	}
}

// enqueued returns the call that enqueued v to some queue.
func (f *findings) enqueued(v int64) *call {
	if f.ins == nil {
		f.ins = map[int64]*call{}
		for _, t := range f.tubes {
			for _, e := range t.elements {
				if e.in != nil {
					f.ins[e.value] = e.in
				}
			}
		}
	}
	return f.ins[v]
}

// presence says which values were in while a dequeue was told that there are none.
func (t *tube) presence(v linear.QueueViolation) string {
	var notes []string
	for i, e := range t.named(v.Values) {
		if i == maxNamed {
			notes = append(notes, fmt.Sprintf("and %d more until it returned", len(v.Values)-i))
			break
		}
		from := e.in.Completed
		if e.out != nil {
			from = min(from, e.out.Completed)
		}
		who, until := fmt.Sprint(e.value), ""
		n := slices.Index(t.missing, e) + 1 // 0 if it came out
		switch {
		case n == 0:
			until = fmt.Sprintf(" until %v, when process %d began to take it", e.out.Invoked.Round(time.Microsecond), e.out.Process)
		case n == 1 && v.Takers[i] >= 0:
			until = fmt.Sprintf(" until %v at least, when the first dequeue of unknown outcome began", t.calls[v.Takers[i]].Invoked.Round(time.Microsecond))
		case n > 1 && v.Takers[i] >= 0:
			until = fmt.Sprintf(" until %v at least, when as many dequeues of unknown outcome had begun", t.calls[v.Takers[i]].Invoked.Round(time.Microsecond))
		case n > 1:
			until = ", since there are fewer dequeues of unknown outcome"
		}
		if n > 1 { // those before may have been taken, or this in place of one
			who = "one of " + values(t.missing[:n])
		}
		notes = append(notes, fmt.Sprintf("%s was in it from %v on%s", who, from.Round(time.Microsecond), until))
	}
	return strings.Join(notes, "; ")
}

// values names elements, or the first of many.
func values(elements []*element) string {
	var names []string
	for _, e := range elements[:min(len(elements), maxNamed)] {
		names = append(names, fmt.Sprint(e.value))
	}
	if more := len(elements) - maxNamed; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func acknowledged(n int) string {
	if n == 1 {
		return "it was enqueued, which was acknowledged, and never came out"
	}
	return "they were enqueued, which was acknowledged, and never came out"
}

// unseen says how many of them may have been taken unseen.
func unseen(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " (one may have been taken by a dequeue of unknown outcome)"
	}
	return fmt.Sprintf(" (%d may have been taken by dequeues of unknown outcome)", n)
}

// did says what a call did, in words.
func did(c call) string {
	switch {
	case c.F == Enqueue:
		return checker.Did(c, fmt.Sprintf("enqueued %d to %s", c.In.value, c.In.queue))
	case c.Out.empty:
		return checker.Did(c, fmt.Sprintf("was told that %s is empty", c.In.queue))
	}
	return checker.Did(c, fmt.Sprintf("dequeued %d from %s", c.Out.value, c.In.queue))
}
