package counter

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: every read of a counter returns a
// sum that it can have had, in an order of all calls, and the run tried hard enough
// to say so.
func Checker() checker.Checker {
	return workloads.Judge("counter", []string{Add, Read}, readBack,
		checker.Part{Name: "sums", Checker: checker.Func(check)})
}

// The kinds of anomalies.
const (
	// tooLow and tooHigh: beyond what any of the adds can have made of the sum.
	tooLow  = "sum too low"
	tooHigh = "sum too high"
	// impossible: between those bounds, but no subset of the adds makes it.
	impossible = "impossible sum"
	// step: possible by itself, but not after what was read before.
	step = "impossible step"
	// unordered: each read is possible by itself and after any one other, but no
	// order of the calls explains all of them.
	unordered = "not linearizable"
	// noNumber: what was read is none.
	noNumber = "no number"
)

// check judges a history.
func check(ctx context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	return judge(ctx, calls), nil
}

// judge judges every counter that calls are on: first each read by itself, which
// takes no time; then, if nothing was found, whether there is an order that explains
// all reads. That is NP-complete, and is given up where it takes too long: then the
// verdict rests on the reads by themselves, and the note says so.
func judge(ctx context.Context, calls []call) checker.Result {
	f := findings{counts: map[string]int64{}}
	for _, o := range collect(calls) {
		f.counts["counters"]++
		if ctx.Err() != nil {
			f.unjudged++
			continue
		}
		f.judge(ctx, o)
	}
	return f.result()
}

// call is an operation on a counter.
type call = histories.Call[input, output]

// An object is one counter, with its calls in the order of their invocations, and
// what happened to them in the order of time.
type object struct {
	counter string
	calls   []*call
	events  []event
}

// An event is an invocation of a call, or its end; what is indeterminate has none.
// Adds that failed have neither, nor have reads that do not say what they saw.
type event struct {
	call *call
	end  bool
}

// op returns the index of the event in the history.
func (e event) op() int {
	if e.end {
		return e.call.Completion
	}
	return e.call.Index
}

// collect sorts calls by their counters.
func collect(calls []call) []*object {
	var objects []*object
	byCounter := map[string]*object{}
	for i := range calls {
		c := &calls[i]
		o := byCounter[c.In.counter]
		if o == nil {
			o = &object{counter: c.In.counter}
			byCounter[c.In.counter] = o
			objects = append(objects, o)
		}
		o.calls = append(o.calls, c)
		if !sees(c) && (c.F == Read || c.Type == histories.Fail) {
			continue
		}
		o.events = append(o.events, event{call: c})
		if c.Type == histories.OK {
			o.events = append(o.events, event{call: c, end: true})
		}
	}
	for _, o := range objects {
		slices.SortFunc(o.events, func(a, b event) int { return cmp.Compare(a.op(), b.op()) })
	}
	return objects
}

// sees says that c is a read that returned a sum.
func sees(c *call) bool { return c.F == Read && c.Type == histories.OK && c.Out.garbage == "" }

// findings are what was found in all counters.
type findings struct {
	counts   map[string]int64
	found    checker.Findings
	unjudged int
}

// add adds an anomaly whose evidence are calls.
func (f *findings) add(kind, note string, evidence ...call) {
	f.found.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(evidence...)})
}

// judge judges one counter. Of the reads that are impossible by themselves it
// reports the first: what was wrong once is mostly so ever after.
func (f *findings) judge(ctx context.Context, o *object) {
	before := f.found.Len()
	for _, c := range o.calls {
		if c.F == Read && c.Out.garbage != "" {
			f.add(noNumber, fmt.Sprintf("%s: %s, and that is no number", name(o.counter), did(c)), *c)
		}
	}
	wrong := 0
	o.eachRead(func(r *window) {
		f.counts["reads"]++
		if r.sums.exact() {
			f.counts["reads_exact"]++
		}
		if r.sums.contain(r.difference()) {
			return
		}
		if wrong++; wrong == 1 {
			f.impossible(o, r)
		}
	})
	f.counts["impossible_reads"] += int64(wrong)
	if f.found.Len() > before {
		return
	}
	switch verdict, read := o.order(ctx); verdict {
	case explained:
		f.counts["counters_ordered"]++
	case refuted:
		f.counts["counters_ordered"]++
		f.unordered(o, read)
	}
}

// A window is a read with what can have happened before and while it was open.
type window struct {
	read *call
	base int64   // what the adds make that were acknowledged before it began
	adds []*call // the acknowledged ones that were open while it was
	sums *sums   // what those can make, with the indeterminate ones, when it has returned
}

// difference is what adds in the window would have to make.
func (w *window) difference() int64 { return w.read.Out.sum - w.base }

// eachRead calls f with each read, in the order of their returns.
func (o *object) eachRead(f func(*window)) {
	base := int64(0)
	indeterminate := newSums()
	var adds []*call // that are open and will be acknowledged
	var reads []*window
	for _, e := range o.events {
		c := e.call
		switch {
		case c.F == Add && c.Type == histories.Info:
			indeterminate.add(c.In.delta)
		case c.F == Add && !e.end:
			adds = append(adds, c)
			for _, w := range reads {
				w.adds = append(w.adds, c)
			}
		case c.F == Add:
			base += c.In.delta
			adds = slices.DeleteFunc(adds, func(a *call) bool { return a == c })
		case !e.end:
			reads = append(reads, &window{read: c, base: base, adds: slices.Clone(adds)})
		default:
			at := slices.IndexFunc(reads, func(w *window) bool { return w.read == c })
			w := reads[at]
			reads = slices.Delete(reads, at, at+1)
			w.sums = indeterminate.clone()
			for _, a := range w.adds {
				w.sums.add(a.In.delta)
			}
			f(w)
		}
	}
}

// impossible reports a read that returned what no adds can have made.
func (f *findings) impossible(o *object, w *window) {
	kind := impossible
	switch d := w.difference(); {
	case d < w.sums.lo:
		kind = tooLow
	case d > w.sums.hi:
		kind = tooHigh
	}
	note := fmt.Sprintf("%s: %s, but what was acknowledged before makes %d, and ", name(o.counter), did(w.read), w.base)
	if w.sums.lo == 0 && w.sums.hi == 0 {
		note += "nothing else can have been added"
	} else {
		note += fmt.Sprintf("what else can have been added makes it %d to %d", w.base+w.sums.lo, w.base+w.sums.hi)
	}
	if kind == impossible {
		note += " in steps that do not lead there"
	}
	evidence := []call{*w.read}
	if how, add := o.asIf(w); add != nil {
		note += "; it is as if " + how + ": " + did(add)
		evidence = append(evidence, *add)
	}
	f.add(kind, note, evidence...)
}

// asIf looks for the one add by which an impossible read could be explained; there
// is none if many could. That is no proof.
func (o *object) asIf(w *window) (how string, add *call) {
	if !w.sums.exact() {
		return "", nil
	}
	explanations := 0
	try := func(words string, c *call, n int64) {
		if w.sums.contain(w.difference() - n) {
			explanations++
			how, add = words, c
		}
	}
	for _, c := range o.calls {
		switch {
		case c.F == Read || c.Invoked > w.read.Completed || c.In.delta == 0:
		case c.Type == histories.Fail:
			try("this had not failed", c, c.In.delta)
		case c.Completed < w.read.Invoked:
			try("this was lost", c, -c.In.delta)
			try("this had happened twice", c, c.In.delta)
		default:
			try("this had happened twice", c, c.In.delta)
		}
	}
	if explanations != 1 {
		return "", nil
	}
	return how, add
}

const (
	// maxBefore bounds how many earlier reads are looked at for an explanation.
	maxBefore = 32
	// maxShown bounds the calls that are shown where there is none.
	maxShown = 8
)

// unordered reports the first read that no order explains, if possible with one
// before that cannot be followed by it. Else it shows what was open meanwhile.
func (f *findings) unordered(o *object, read *call) {
	var before []*call
	for _, c := range o.calls {
		if sees(c) && c.Completed < read.Invoked {
			before = append(before, c)
		}
	}
	slices.SortFunc(before, func(a, b *call) int { return cmp.Compare(b.Completed, a.Completed) })
	for _, b := range before[:min(len(before), maxBefore)] {
		certain, between := o.between(b, read)
		if d := read.Out.sum - b.Out.sum - certain; !between.contain(d) {
			f.add(step, fmt.Sprintf("%s: %s, but before that %s; what was added between for certain makes %d, and what else may have been added %d to %d, and that does not lead there",
				name(o.counter), did(read), did(b), certain, between.lo, between.hi), *b, *read)
			return
		}
	}
	evidence := []call{*read}
	for _, c := range o.calls {
		if c != read && c.Type == histories.OK && c.Completed > read.Invoked && c.Invoked < read.Completed && len(evidence) < maxShown {
			evidence = append(evidence, *c)
		}
	}
	f.add(unordered, fmt.Sprintf("%s: %s, and no order of the calls up to there explains that", name(o.counter), did(read)), evidence...)
}

// between returns what the adds make that took effect between two reads, one after
// the other: what those make that did so for certain, and what others can.
func (o *object) between(first, second *call) (certain int64, others *sums) {
	others = newSums()
	for _, c := range o.calls {
		switch {
		case c.F == Read || c.Type == histories.Fail || c.Completed < first.Invoked || c.Invoked > second.Completed:
		case c.Invoked > first.Completed && c.Completed < second.Invoked:
			certain += c.In.delta
		default:
			others.add(c.In.delta)
		}
	}
	return certain, others
}

// result sums up.
func (f *findings) result() checker.Result {
	r := checker.Result{Verdict: checker.Valid, Counts: f.counts}
	n := r.Counts
	r.Note = fmt.Sprintf("counters: %d, their order judged: %d; reads: %d, judged exactly: %d",
		n["counters"], n["counters_ordered"], n["reads"], n["reads_exact"])
	if f.unjudged > 0 {
		r.Note += fmt.Sprintf("; counters not judged: %d", f.unjudged)
	}
	if !f.found.Conclude(&r) && (n["reads"] == 0 || f.unjudged > 0) {
		r.Verdict = checker.Unknown // nothing was put to the test, or there was no time for all
	}
	return r
}

// did says who did what, where and when.
func did(c *call) string {
	switch {
	case c.F == Add:
		return checker.Did(*c, fmt.Sprintf("added %d", c.In.delta))
	case c.Out.garbage != "":
		return checker.Did(*c, fmt.Sprintf("read %q", c.Out.garbage))
	}
	return checker.Did(*c, fmt.Sprintf("read %d", c.Out.sum))
}
