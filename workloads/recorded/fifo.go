package recorded

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unique"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// The functions of a queue, with one name or several.
const (
	Enqueue = "enqueue" // 5 or ["q",5]
	Dequeue = "dequeue" // null or ["q",null], completed by 5 or ["q",5]; null: it was empty
)

// FIFOQueueFunctions are what clients of a queue do.
func FIFOQueueFunctions() []string { return []string{Enqueue, Dequeue} }

// FIFOQueue returns the checker of queues that are empty at first, and of which what went
// in first comes out first. Values may go in more than once.
func FIFOQueue(b checker.Budget) checker.Checker { return judge("fifo-queue", fifo(), b) }

// A queueItem is the queue of a call, with the value that it enqueues, in JSON.
type queueItem struct{ queue, value string }

// A queueCall is a call on a queue; its Out is what it dequeued, null if nothing.
type queueCall = histories.Call[queueItem, string]

// A queue is what is in one, from the first to the last, each value with a newline at its
// end, which JSON that was spelt has none of. A long one is in three parts, so that what a
// call takes does not grow with it, or hardly: of each portion of values in the order in
// which they went in, head has what is left of the first, tail the last, which is not
// complete, and body those in between.
//
// Where the parts begin depends on how many values went in, not on when others came out.
// So after the same calls in another order, what has the same values in it is equal.
type queue struct {
	head, tail string
	body       unique.Handle[string]
	last       int // values that went into tail, also those that are out again
}

// portion is a compromise: tail is copied for each value that goes in, body for each
// portion.
const portion = 128

var noBody = unique.Make("")

// with returns q after value went in.
func (q queue) with(value string) queue {
	q.tail += value + "\n"
	if q.last++; q.last < portion {
		return q
	}
	if q.head == "" {
		q.head = q.tail
	} else {
		q.body = unique.Make(q.body.Value() + q.tail)
	}
	q.tail, q.last = "", 0
	return q
}

// first returns the value that comes out of q first, and q after that.
func (q queue) first() (value string, rest queue, some bool) {
	if q.head == "" {
		value, q.tail, some = strings.Cut(q.tail, "\n")
		return value, q, some
	}
	value, q.head, _ = strings.Cut(q.head, "\n")
	if body := q.body.Value(); q.head == "" && body != "" {
		at := 0
		for range portion {
			at += strings.IndexByte(body[at:], '\n') + 1
		}
		q.head, q.body = body[:at], unique.Make(body[at:])
	}
	return value, q, true
}

func (q queue) String() string {
	all := q.head + q.body.Value() + q.tail
	return "[" + strings.ReplaceAll(strings.TrimSuffix(all, "\n"), "\n", " ") + "]"
}

func fifo() checker.Model[queue, queueItem, string] {
	return checker.Model[queue, queueItem, string]{
		In: func(f string, value json.RawMessage) (queueItem, error) {
			queue, v := split(value)
			switch {
			case f == Dequeue:
				return queueItem{queue: queue}, nil
			case f != Enqueue:
				return queueItem{}, errors.New("is no function of a queue")
			case v == null:
				return queueItem{}, errors.New("nothing to enqueue")
			}
			return queueItem{queue, v}, nil
		},
		Out: func(f string, value json.RawMessage) (string, error) {
			if f == Enqueue {
				return "", nil
			}
			_, v := split(value)
			return v, nil
		},
		Key:  func(in queueItem) string { return in.queue },
		Init: queue{body: noBody},
		Step: func(q queue, c queueCall) (queue, bool) {
			if c.F == Enqueue {
				return q.with(c.In.value), true
			}
			first, rest, some := q.first()
			if !some {
				first = null
			}
			return rest, c.Type == histories.Info || c.Out == first
		},
		Decider:  &checker.Decider[queueItem, string]{Name: "queue", Decide: decideQueue},
		ReadOnly: foundEmpty,
		Explain:  explainQueue,
		Describe: func(c queueCall) string {
			if c.F == Enqueue {
				return "enqueue " + c.In.value
			}
			return "dequeue → " + c.Out
		},
		State: queue.String,
	}
}

// decideQueue decides a queue that no value goes into twice.
func decideQueue(calls []queueCall, limit linear.Limit) (linear.Decision, []queueCall) {
	var q linear.Queue
	values := map[string]linear.Value{}
	number := func(value string) linear.Value {
		if v, known := values[value]; known {
			return v
		}
		v := linear.Value(len(values))
		values[value] = v
		return v
	}
	for _, c := range calls {
		kind, v := linear.Dequeue, linear.Nothing
		switch {
		case c.F == Enqueue:
			kind, v = linear.Enqueue, number(c.In.value)
		case foundEmpty(c):
			kind = linear.Empty
		case took(c):
			v = number(c.Out)
		}
		call, ret := checker.Interval(c)
		q.Add(kind, v, call, ret)
	}
	q.Finish()
	d, wrong := q.Decide(limit)
	if wrong == nil {
		return d, nil
	}
	few := make([]queueCall, len(wrong.Ops))
	for i, op := range wrong.Ops {
		few[i] = calls[op]
	}
	return d, few
}

// foundEmpty says that c is a dequeue that found nothing.
func foundEmpty(c queueCall) bool { return took(c) && c.Out == null }

// took says that c is a dequeue that was ok.
func took(c queueCall) bool { return c.F == Dequeue && c.Type == histories.OK }

// explainQueue tells of what came out twice, from nowhere, too early, or not at all.
func explainQueue(v checker.Violation[queueItem, string]) checker.Anomaly {
	last := v.Last
	if !took(last) {
		return unexplained(v, didQueue)
	}
	var before, sources, failed []queueCall // dequeues and enqueues of what the last took
	for _, c := range v.Calls {
		switch {
		case c.Invoked > last.Completed:
		case took(c) && c.Out == last.Out && c.Index != last.Index && c.Completed < last.Completed:
			before = append(before, c)
		case c.F == Enqueue && c.In.value == last.Out && c.Type == histories.Fail:
			failed = append(failed, c)
		case c.F == Enqueue && c.In.value == last.Out:
			sources = append(sources, c)
		}
	}
	switch {
	case foundEmpty(last):
	case len(sources) == 0 && len(failed) > 0:
		return checker.Anomaly{
			Kind: "failed enqueue took effect", Ops: checker.Ops(failed[0]),
			Note: fmt.Sprintf("%s, but nobody had enqueued it, other than by a call that reported failure: %s", didQueue(last), didQueue(failed[0])),
		}
	case len(sources) == 0:
		return checker.Anomaly{Kind: "phantom value", Note: didQueue(last) + ", but nobody had enqueued it"}
	case len(before) >= len(sources):
		again := before[len(before)-1]
		return checker.Anomaly{
			Kind: "dequeued twice", Ops: checker.Ops(append(sources, before...)...),
			Note: fmt.Sprintf("%s, of which %d had gone in, but before that %s", didQueue(last), len(sources), didQueue(again)),
		}
	}
	if a, ok := passedOver(v, sources); ok {
		return a
	}
	return unexplained(v, didQueue)
}

// passedOver tells of a value that was in the queue for certain, before all that the last
// dequeue can have taken.
func passedOver(v checker.Violation[queueItem, string], sources []queueCall) (a checker.Anomaly, ok bool) {
	first := v.Last.Invoked // of what the last can have taken
	for _, c := range sources {
		first = min(first, c.Invoked)
	}
	taken := map[string]bool{v.Last.Out: true} // what may have been
	for _, c := range v.Calls {
		switch {
		case c.F != Dequeue || c.Invoked >= v.Last.Completed:
		case c.Type == histories.Info:
			return a, false // it may have been anything
		case took(c):
			taken[c.Out] = true
		}
	}
	for _, waiting := range v.Calls {
		if waiting.F != Enqueue || waiting.Type != histories.OK || waiting.Completed >= first || taken[waiting.In.value] {
			continue
		}
		a = checker.Anomaly{Kind: "out of order", Ops: checker.Ops(append(slices.Clone(sources), waiting)...)}
		if foundEmpty(v.Last) {
			a.Kind = "lost value"
		}
		a.Note = fmt.Sprintf("%s, but before that %s, and nobody had dequeued it yet", didQueue(v.Last), didQueue(waiting))
		return a, true
	}
	return a, false
}

func didQueue(c queueCall) string {
	queue := named(c.In.queue, "the queue")
	switch {
	case c.F == Enqueue:
		return checker.Did(c, "enqueued "+c.In.value+" in "+queue)
	case foundEmpty(c):
		return checker.Did(c, "found "+queue+" empty")
	}
	return checker.Did(c, "dequeued "+c.Out+" from "+queue)
}
