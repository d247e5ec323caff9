package set

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: every set is linearizable, and the
// run tried hard enough to say so.
func Checker() checker.Checker {
	return workloads.Judge("set", []string{Add, Read}, readBack,
		checker.Part{Name: "elements", Checker: checker.Func(check)})
}

// The kinds of anomalies.
const (
	// lost: known to be there, and missing in every read from some moment on.
	lost = "lost element"
	// stale: known to be there when a read began, and missing in it, but not for good.
	stale = "stale read"
	// reversed: missing in a read that shows an element whose add began when the
	// missing one was known to be there. Jepsen tests databases for it under the
	// name of causal reverse.
	reversed = "causal reverse"
	// fork: two reads each show an element that the other does not.
	fork = "long fork"
	// duplicated: twice in one read.
	duplicated = "duplicated element"
	// phantom: read, though nobody ever added it.
	phantom = "phantom element"
	// refused: read, though its add is known to have failed.
	refused = "failed add read"
	// early: read before its add was invoked.
	early = "early read"
)

// check judges a history.
func check(ctx context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	return judge(ctx, calls), nil
}

// judge judges every set that calls are on.
//
// Sets of elements that are added once, read linearizably, are simple enough for
// an exact verdict in time that is linear in all that was read. A read takes
// effect after it began, and after the adds of all that it shows began. An element
// is known to be there when its add was acknowledged, or a read that shows it has
// returned. So there is an order that explains everything if and only if
//
//   - reads show nothing that nobody can have added yet, and nothing twice,
//   - each shows all that was known before it took effect, at the earliest,
//   - of any two, one shows all that the other does.
//
// These are necessary. Given them, put the reads in the order of what they show,
// and where they show the same, of when they can take effect at the earliest. Let
// each take effect as early as this order permits, and each element be added
// between the first read that shows it and the one before. A read that takes effect
// too late, after its return or the acknowledgement of what it misses, comes after
// one that shows no more, and that can take effect no earlier: which must have
// missed something that was known then.
func judge(ctx context.Context, calls []call) checker.Result {
	f := findings{counts: map[string]int64{}}
	for _, s := range collect(calls) {
		if ctx.Err() != nil {
			f.unjudged++
			continue
		}
		f.judge(s)
	}
	return f.result()
}

// call is an operation on a set.
type call = histories.Call[input, contents]

// A timeline is what is known of one element.
type timeline struct {
	element int64
	add     *call // the first one that did not fail; nil if there is none
	failed  *call // one that did
	acked   bool  // some add was acknowledged

	known   time.Duration // since when it is known to be there; never if it is not
	proof   *call         // the add or read that had returned then
	lastSaw *read         // the last read that shows it
	seen    time.Duration // when the last of those that show it returned

	next     int   // the position of the read that has to show it next
	missed   *read // the first one that had to, and does not
	lastMiss *read // the last one
	mark     int   // the last of findings.marks that it was given
}

// A read is one that succeeded.
type read struct {
	*call
	begin time.Duration // it did not take effect before
	shows []*timeline   // each once, and what could not be there left out
}

// An object is one set, with its calls.
type object struct {
	set      string
	elements map[int64]*timeline
	order    []*timeline // in the order in which the elements were first added
	reads    []*read
}

// collect sorts calls by their sets.
func collect(calls []call) []*object {
	var objects []*object
	bySet := map[string]*object{}
	for i := range calls {
		c := &calls[i]
		o := bySet[c.In.set]
		if o == nil {
			o = &object{set: c.In.set, elements: map[int64]*timeline{}}
			bySet[c.In.set] = o
			objects = append(objects, o)
		}
		if c.F == Add {
			o.add(c)
		} else if c.Type == histories.OK {
			o.reads = append(o.reads, &read{call: c, begin: c.Invoked})
		}
	}
	return objects
}

func (o *object) add(c *call) {
	t := o.elements[c.In.element]
	if t == nil {
		t = &timeline{element: c.In.element, known: histories.Never}
		o.elements[t.element] = t
		o.order = append(o.order, t)
	}
	switch {
	case c.Type == histories.Fail:
		t.failed = c
		return
	case t.add == nil:
		t.add = c
	}
	if c.Type == histories.OK {
		t.acked = true
		if c.Completed < t.known {
			t.known, t.proof = c.Completed, c
		}
	}
}

// findings are what was found in all sets.
type findings struct {
	counts   map[string]int64
	found    checker.Findings
	unjudged int

	stableLatency, lostLatency []time.Duration

	marks int // how many lists of elements were looked at: who has this mark was in the last one
}

// add adds an anomaly whose evidence are calls.
func (f *findings) add(kind, note string, evidence ...call) {
	f.found.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(evidence...)})
}

// judge judges one set.
func (f *findings) judge(o *object) {
	before := f.found.Len()
	for _, r := range o.reads {
		f.look(o, r)
	}
	slices.SortStableFunc(o.reads, func(a, b *read) int { return cmp.Compare(a.begin, b.begin) })
	o.miss()
	f.classify(o)
	if f.found.Len() == before { // or else it may have that reason, too
		f.compare(o)
	}
	f.counts["sets"]++
	f.counts["reads"] += int64(len(o.reads))
}

// look finds what a read shows that it should not, and learns from the rest.
func (f *findings) look(o *object, r *read) {
	f.marks++
	var twice, never, failed, earlies []*timeline // of what it shows, each kind apart
	r.shows = make([]*timeline, 0, len(r.Out.elements))
	for _, e := range r.Out.elements {
		t := o.elements[e]
		if t == nil {
			t = &timeline{element: e}
			o.elements[e] = t
		}
		if t.mark == f.marks {
			twice = append(twice, t)
			continue
		}
		t.mark = f.marks
		switch {
		case t.add == nil && t.failed == nil:
			never = append(never, t)
		case t.add == nil:
			failed = append(failed, t)
		case t.add.Invoked > r.Completed:
			earlies = append(earlies, t)
		default:
			r.shows = append(r.shows, t)
			r.begin = max(r.begin, t.add.Invoked)
			if r.Completed < t.known {
				t.known, t.proof = r.Completed, r.call
			}
			t.seen = max(t.seen, r.Completed)
		}
	}
	if len(r.shows) == len(r.Out.elements) && len(r.Out.garbage) == 0 {
		return
	}
	found := name(o.set) + ": " + did(r.call) + " and found "
	if len(twice) > 0 {
		f.counts["duplicated"] += int64(len(twice))
		f.add(duplicated, found+some(twice)+" more than once", *r.call)
	}
	if len(never) > 0 {
		f.counts["phantom"] += int64(len(never))
		f.add(phantom, found+some(never)+", which nobody ever added", *r.call)
	}
	if g := r.Out.garbage; len(g) > 0 {
		f.counts["phantom"] += int64(len(g))
		f.add(phantom, fmt.Sprintf("%s%q%s, which nobody can have added", found, g[0], others(len(g)-1)), *r.call)
	}
	if len(failed) > 0 {
		f.counts["failed_read"] += int64(len(failed))
		f.add(refused, found+some(failed)+", though the add had failed, and nobody else added it: "+did(failed[0].failed), *r.call, *failed[0].failed)
	}
	if len(earlies) > 0 {
		f.counts["early"] += int64(len(earlies))
		f.add(early, found+some(earlies)+", before "+did(earlies[0].add), *r.call, *earlies[0].add)
	}
}

// miss finds what reads do not show, but should. It looks only at what they do
// show: between two of those, counted from when the element is known, are those
// that miss it.
func (o *object) miss() {
	for _, t := range o.order {
		t.next, _ = slices.BinarySearchFunc(o.reads, t.known, func(r *read, known time.Duration) int {
			if r.begin <= known {
				return -1
			}
			return 1
		})
	}
	for at, r := range o.reads {
		for _, t := range r.shows {
			t.lastSaw = r
			if at >= t.next {
				o.missed(t, at)
				t.next = at + 1
			}
		}
	}
	for _, t := range o.order {
		if t.lostFrom(o) == nil {
			o.missed(t, len(o.reads))
		}
	}
}

// missed notes that the reads from t.next up to the one at the given position,
// without that, do not show t.
func (o *object) missed(t *timeline, to int) {
	if t.next == to {
		return
	}
	if t.missed == nil {
		t.missed = o.reads[t.next]
	}
	t.lastMiss = o.reads[to-1]
}

// lostFrom returns the first of the reads that miss t for good; nil if it is not
// lost. The last of them must have begun when t was known, and when all that find
// it had returned.
func (t *timeline) lostFrom(o *object) *read {
	if t.next == len(o.reads) || o.reads[len(o.reads)-1].Invoked <= max(t.known, t.seen) {
		return nil
	}
	return o.reads[t.next]
}

// classify says what became of each element, and reports by reads what is missing
// in them: who has lost one element has mostly lost others.
func (f *findings) classify(o *object) {
	type miss struct {
		kind string
		read *read // the first that misses them
	}
	missing := map[miss][]*timeline{}
	var order []miss
	for _, t := range o.order {
		if t.add != nil {
			f.counts["elements"]++
		}
		if t.acked {
			f.counts["acknowledged"]++
		}
		if t.known == histories.Never {
			continue
		}
		var m miss
		if r := t.lostFrom(o); r != nil {
			m = miss{lost, r}
			f.counts["lost"]++
			visible := time.Duration(0)
			if t.lastSaw != nil {
				visible = max(0, t.lastSaw.begin-t.known)
			}
			f.lostLatency = append(f.lostLatency, visible)
		} else {
			f.remains(t)
			if t.missed == nil {
				continue
			}
			m = miss{stale, t.missed}
			if t.missed.Invoked < t.known {
				m.kind = reversed
			}
		}
		if missing[m] == nil {
			order = append(order, m)
		}
		missing[m] = append(missing[m], t)
	}
	for _, m := range order {
		f.missing(o, m.kind, m.read, missing[m])
	}
}

// remains counts an element that is known and not lost.
func (f *findings) remains(t *timeline) {
	if t.lastSaw == nil {
		f.counts["never_read"]++
		return
	}
	f.counts["stable"]++
	latency := time.Duration(0)
	if t.lastMiss != nil {
		f.counts["stale"]++
		latency = max(0, t.lastMiss.begin-t.known)
	}
	f.stableLatency = append(f.stableLatency, latency)
}

// missing reports elements that r does not show.
func (f *findings) missing(o *object, kind string, r *read, elements []*timeline) {
	t := elements[0]
	evidence := []call{*t.add, *t.proof, *r.call}
	note := fmt.Sprintf("%s: %s and did not find %s, though %s", name(o.set), did(r.call), some(elements), did(t.add))
	switch {
	case t.proof == t.add:
	case t.proof.F == Add:
		note += " and " + did(t.proof)
	default:
		note += " and " + did(t.proof) + " and found it"
	}
	if r.Invoked < t.known {
		later := slices.MaxFunc(r.shows, func(a, b *timeline) int { return cmp.Compare(a.add.Invoked, b.add.Invoked) })
		note += fmt.Sprintf("; and it found %d, which came later: %s", later.element, did(later.add))
		evidence = append(evidence, *later.add)
	}
	if kind == lost {
		if t.lastSaw == nil {
			note += "; nobody ever found it"
		} else {
			note += "; it was last found when " + did(t.lastSaw.call)
			evidence = append(evidence, *t.lastSaw.call)
		}
		if last := o.reads[len(o.reads)-1]; last != r {
			note += ", and it was still missing when " + did(last.call)
			evidence = append(evidence, *last.call)
		}
	}
	f.add(kind, note, evidence...)
}

// compare looks for two reads of which neither shows all that the other does. In
// the order of how much they show, it is enough to compare neighbours.
func (f *findings) compare(o *object) {
	bySize := slices.Clone(o.reads)
	slices.SortStableFunc(bySize, func(a, b *read) int { return cmp.Compare(len(a.shows), len(b.shows)) })
	for i := 1; i < len(bySize); i++ {
		a, b := bySize[i-1], bySize[i]
		if x := f.without(a, b); x != nil {
			y := f.without(b, a)
			f.counts["forks"]++
			f.add(fork, fmt.Sprintf("%s: %s and found %d without %d, and %s and found %d without %d: whichever was added first, one of them is wrong (%s; %s)",
				name(o.set), did(a.call), x.element, y.element, did(b.call), y.element, x.element, did(x.add), did(y.add)),
				*a.call, *b.call, *x.add, *y.add)
		}
	}
}

// without returns an element that a shows and b does not; nil if there is none.
func (f *findings) without(a, b *read) *timeline {
	f.marks++
	for _, t := range b.shows {
		t.mark = f.marks
	}
	for _, t := range a.shows {
		if t.mark != f.marks {
			return t
		}
	}
	return nil
}

// result sums up.
func (f *findings) result() checker.Result {
	r := checker.Result{Verdict: checker.Valid, Counts: f.counts}
	quantiles(r.Counts, "stable_latency", f.stableLatency)
	quantiles(r.Counts, "lost_latency", f.lostLatency)
	r.Note = fmt.Sprintf("sets: %d; elements: %d, acknowledged: %d, stable: %d, lost: %d, never read: %d; reads: %d",
		r.Counts["sets"], r.Counts["elements"], r.Counts["acknowledged"],
		r.Counts["stable"], r.Counts["lost"], r.Counts["never_read"], r.Counts["reads"])
	if f.unjudged > 0 {
		r.Note += fmt.Sprintf("; sets not judged: %d", f.unjudged)
	}
	if !f.found.Conclude(&r) && (r.Counts["stable"] == 0 || f.unjudged > 0) {
		r.Verdict = checker.Unknown // no read was put to the test, or there was no time for all
	}
	return r
}

// quantiles adds those of a latency, as far as there is one. The latency of a
// stable element is how long after it was known a read still missed it: 0 if all
// is well. That of a lost one is for how long it could still be read.
func quantiles(counts map[string]int64, name string, latencies []time.Duration) {
	if len(latencies) == 0 {
		return
	}
	slices.Sort(latencies)
	for _, q := range []struct {
		name    string
		percent int
	}{{"median", 50}, {"p95", 95}, {"p99", 99}, {"max", 100}} {
		at := min(len(latencies)*q.percent/100, len(latencies)-1)
		counts[name+"_"+q.name+"_us"] = latencies[at].Microseconds()
	}
}

// did says who did what, where and when.
func did(c *call) string {
	if c.F == Add {
		return checker.Did(*c, fmt.Sprintf("added %d", c.In.element))
	}
	return checker.Did(*c, "read")
}

// some names the first of some elements.
func some(elements []*timeline) string {
	return fmt.Sprint(elements[0].element) + others(len(elements)-1)
}

// others says that there are n more.
func others(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" and %d more", n)
}
