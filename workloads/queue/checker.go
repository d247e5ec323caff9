package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
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
// Where every dequeue has a known outcome, a queue without these is linearizable, and
// one with any of them is not (Henzinger, Sezgin, Vafeiadis: Aspect-oriented
// linearizability proofs, CONCUR 2013). An indeterminate dequeue may have taken any
// one value, at any time from its invocation on; so of values that nobody saw come
// out only as many are missed as these dequeues together cannot have taken.
func Checker(fifo bool) checker.Checker {
	return workloads.Judge(name(fifo), []string{Enqueue, Dequeue}, readBack,
		checker.Part{Name: "contents", Checker: contents(fifo)})
}

// maxNamed bounds the values that a note names, and of what is lost or skipped the
// operations that are evidence.
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
		tubes, err := tubes(calls)
		if err != nil {
			return checker.Result{}, err
		}
		f := findings{fifo: fifo, tubes: tubes, counts: map[string]int64{}}
		for _, t := range tubes {
			f.judge(t)
		}
		return f.result(), nil
	})
}

// A tube is all that is known of a queue, in the order of invocations.
type tube struct {
	name     string
	elements []*element
	empties  []call // dequeues that found nothing
	unsure   []call // dequeues of unknown outcome
	values   map[int64]*element
}

// An element is a value with the calls that put it in and took it out.
type element struct {
	value int64
	in    *call // nil if nobody did
	out   []call
}

// tubes sorts calls by their queues and values.
func tubes(calls []call) ([]*tube, error) {
	var tubes []*tube
	byName := map[string]*tube{}
	for i := range calls {
		c := &calls[i]
		t := byName[c.In.queue]
		if t == nil {
			t = &tube{name: c.In.queue, values: map[int64]*element{}}
			byName[t.name] = t
			tubes = append(tubes, t)
		}
		switch {
		case c.F == Enqueue:
			e := t.element(c.In.value)
			if e.in != nil {
				return nil, fmt.Errorf("op %d: %d is enqueued to %s for a second time: values must be unique", c.Index, e.value, t.name)
			}
			e.in = c
		case c.Type == histories.Info:
			t.unsure = append(t.unsure, *c)
		case c.Type == histories.Fail:
		case c.Out.empty:
			t.empties = append(t.empties, *c)
		default:
			e := t.element(c.Out.value)
			e.out = append(e.out, *c)
		}
	}
	return tubes, nil
}

func (t *tube) element(v int64) *element {
	e := t.values[v]
	if e == nil {
		e = &element{value: v}
		t.values[v] = e
		t.elements = append(t.elements, e)
	}
	return e
}

// unsureBefore returns how many dequeues of unknown outcome can have taken effect
// before a time.
func (t *tube) unsureBefore(at time.Duration) int {
	return sort.Search(len(t.unsure), func(i int) bool { return t.unsure[i].Invoked >= at })
}

// findings are what is wrong, and how much was looked at.
type findings struct {
	fifo   bool
	tubes  []*tube
	counts map[string]int64
	found  checker.Findings
	ins    map[int64]*call // the last enqueue of each value, to whichever queue
}

// add adds an anomaly of n values.
func (f *findings) add(kind string, n int, calls []call, note string, args ...any) {
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
// the rest is told of values that went in and came out, or did not, once.
func (f *findings) judge(t *tube) {
	f.counts["unsure"] += int64(len(t.unsure))
	f.counts["empty"] += int64(len(t.empties))
	var passed []*element // went in, and came out
	var missing []*element
	for _, e := range t.elements {
		if e.in != nil && e.in.Type == histories.OK {
			f.counts["enqueued"]++
		}
		if len(e.out) > 0 {
			f.counts["dequeued"]++
		}
		switch {
		case f.phantom(e):
		case len(e.out) > 1:
			f.add(duplicated, 1, append([]call{*e.in}, e.out[:2]...), "%s, and %s: it was enqueued once (%s)", did(e.out[0]), did(e.out[1]), did(*e.in))
		case len(e.out) == 1:
			passed = append(passed, e)
		case e.in.Type == histories.OK:
			missing = append(missing, e)
		}
	}
	slices.SortFunc(missing, func(a, b *element) int { return cmp.Compare(a.in.Completed, b.in.Completed) })
	slices.SortFunc(passed, func(a, b *element) int { return cmp.Compare(a.in.Invoked, b.in.Invoked) })
	isLost := f.lost(t, missing)
	if f.fifo {
		if !isLost {
			f.skipped(t, missing, passed)
		}
		f.order(passed)
	}
	f.empty(t, missing, passed)
}

// phantom tells of a value that came out and cannot have been in.
func (f *findings) phantom(e *element) bool {
	if len(e.out) == 0 {
		return false
	}
	out := slices.MinFunc(e.out, func(a, b call) int { return cmp.Compare(a.Completed, b.Completed) })
	switch {
	case e.in == nil:
		note, calls := "which nobody ever enqueued", []call{out}
		if elsewhere := f.enqueued(e.value); elsewhere != nil {
			note, calls = "where nobody had enqueued it: "+did(*elsewhere), append(calls, *elsewhere)
		}
		f.add(phantom, 1, calls, "%s, %s", did(out), note)
	case e.in.Type == histories.Fail:
		f.add(phantom, 1, []call{out, *e.in}, "%s, but that had not been enqueued: %s", did(out), did(*e.in))
	case e.in.Invoked > out.Completed:
		f.add(phantom, 1, []call{out, *e.in}, "%s, before anybody enqueued it: %s", did(out), did(*e.in))
	default:
		return false
	}
	return true
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

// lost tells, for the dequeue that found nothing which shows most of it, how many
// acknowledged values were gone that nobody can have taken. missing are the values
// that were acknowledged and not seen to come out, in the order of that.
//
// All that were in before the dequeue began were taken before it ended, each by an
// indeterminate dequeue invoked by then, or are lost.
func (f *findings) lost(t *tube, missing []*element) bool {
	most, many, few := call{}, 0, 0
	for _, c := range t.empties {
		gone := sort.Search(len(missing), func(i int) bool { return missing[i].in.Completed >= c.Invoked })
		taken := t.unsureBefore(c.Completed)
		if gone-taken > many-few {
			most, many, few = c, gone, taken
		}
	}
	if many == few {
		return false
	}
	f.add(lost, many-few, append(enqueues(missing[:few+1]), most), "%s: %s%s, but %s",
		values(missing[:many]), acknowledged(many), taken(few), did(most))
	return true
}

// skipped tells of values that must have come out, since others did that were
// enqueued later, and that nobody can have taken.
//
// Each missing value was taken before the first of these others was, so before
// that call ended, and by an indeterminate dequeue of its own, invoked by then. Any
// of those can have taken any value, so that counting is enough (Hall's theorem).
func (f *findings) skipped(t *tube, missing, passed []*element) {
	type due struct {
		*element
		before *element // the first to come out of those that were enqueued after it
	}
	first := make([]*element, len(passed)+1) // to come out of those from there on
	for i := len(passed) - 1; i >= 0; i-- {
		first[i] = passed[i]
		if next := first[i+1]; next != nil && next.out[0].Completed < passed[i].out[0].Completed {
			first[i] = next
		}
	}
	var dues []due
	for _, e := range missing {
		later := sort.Search(len(passed), func(i int) bool { return passed[i].in.Invoked > e.in.Completed })
		if first[later] != nil {
			dues = append(dues, due{e, first[later]})
		}
	}
	// Those that went in first are due first, so this is the order of that, too.
	most, many, few := -1, 0, 0
	for i, d := range dues {
		if taken := t.unsureBefore(d.before.out[0].Completed); i+1-taken > many-few {
			most, many, few = i, i+1, taken
		}
	}
	if most < 0 {
		return
	}
	gone := make([]*element, many)
	for i := range gone {
		gone[i] = dues[i].element
	}
	before := dues[most].before
	f.add(skipped, many-few, append(enqueues(gone[:few+1]), *before.in, before.out[0]), "%s: %s%s, but %s, which came after: %s",
		values(gone), acknowledged(many), taken(few), did(before.out[0]), did(*before.in))
}

// order tells of values that were overtaken: enqueued after others had been, and
// out again before anybody began to take those. passed is in the order of enqueues.
func (f *findings) order(passed []*element) {
	byEnd := slices.SortedFunc(slices.Values(passed), func(a, b *element) int { return cmp.Compare(a.in.Completed, b.in.Completed) })
	var last *element // to come out, of those that were in before
	i := 0
	for _, e := range passed {
		for ; byEnd[i].in.Completed < e.in.Invoked; i++ {
			if last == nil || byEnd[i].out[0].Invoked > last.out[0].Invoked {
				last = byEnd[i]
			}
		}
		if last != nil && last.out[0].Invoked > e.out[0].Completed {
			f.add(outOfOrder, 1, []call{*last.in, *e.in, e.out[0], last.out[0]}, "%s before %s, but in the other order they were enqueued: %s, then %s",
				did(e.out[0]), did(last.out[0]), did(*last.in), did(*e.in))
		}
	}
}

// A presence is the time in which an element was in the queue for certain: from when
// it was in to when the first began who can have taken it.
type presence struct {
	*element
	from, to time.Duration
}

// empty tells of dequeues that found nothing while at no time the queue was empty.
func (f *findings) empty(t *tube, missing, passed []*element) {
	var there []presence
	for _, e := range passed {
		there = append(there, presence{e, min(e.in.Completed, e.out[0].Completed), e.out[0].Invoked})
	}
	untaken := histories.Never
	if len(t.unsure) > 0 {
		untaken = t.unsure[0].Invoked
	}
	for _, e := range missing {
		there = append(there, presence{e, e.in.Completed, untaken})
	}
	there = slices.DeleteFunc(there, func(p presence) bool { return p.from >= p.to })
	slices.SortFunc(there, func(a, b presence) int { return cmp.Compare(a.from, b.from) })
	longest := make([]int, len(there)) // there, of those up to here, counted by when they end
	var full []presence                // the times without a gap
	for i, p := range there {
		longest[i] = i
		if i > 0 && there[longest[i-1]].to > p.to {
			longest[i] = longest[i-1]
		}
		if n := len(full); n > 0 && p.from < full[n-1].to {
			full[n-1].to = max(full[n-1].to, p.to)
		} else {
			full = append(full, p)
		}
	}
	for _, c := range t.empties {
		i := sort.Search(len(full), func(i int) bool { return full[i].from >= c.Invoked }) - 1
		if i < 0 || full[i].to <= c.Completed {
			continue
		}
		var chain []presence
		for at := c.Invoked; at <= c.Completed; at = chain[len(chain)-1].to {
			begun := sort.Search(len(there), func(i int) bool { return there[i].from >= at })
			chain = append(chain, there[longest[begun-1]])
		}
		if len(chain) == 1 && len(chain[0].out) == 0 {
			continue // it is lost, which was told
		}
		var calls []call
		var notes []string
		for _, p := range chain {
			calls = append(calls, *p.in)
			if len(p.out) > 0 {
				calls = append(calls, p.out[0])
			}
			if len(notes) == maxNamed {
				continue
			}
			note := fmt.Sprintf("%d was in it from %v on", p.value, p.from.Round(time.Microsecond))
			if len(p.out) > 0 {
				note += fmt.Sprintf(" until %v, when process %d began to take it", p.to.Round(time.Microsecond), p.out[0].Process)
			} else if len(t.unsure) > 0 {
				note += fmt.Sprintf(" until %v at least, when the first dequeue of unknown outcome began", p.to.Round(time.Microsecond))
			}
			notes = append(notes, note)
		}
		if more := len(chain) - len(notes); more > 0 {
			notes = append(notes, fmt.Sprintf("and %d more until it returned", more))
		}
		f.add(notEmpty, 1, append(calls, c), "%s, but it was not: %s", did(c), strings.Join(notes, "; "))
	}
}

// enqueues returns the calls by which elements went in, or the first of many.
func enqueues(elements []*element) []call {
	var calls []call
	for _, e := range elements[:min(len(elements), maxNamed)] {
		calls = append(calls, *e.in)
	}
	return calls
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

// taken says how many of them may have been taken unseen.
func taken(n int) string {
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
