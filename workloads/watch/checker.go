package watch

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: each watcher is told of every event
// once and in order, and the run tried hard enough to say so: all of them came to the
// last revision. See check.
func Checker() checker.Checker {
	return workloads.Judge("watch", []string{Put, Delete, Compact, Status, Watch}, readBack,
		checker.Part{Name: "events", Checker: checker.Func(check)})
}

// call is an operation of the workload.
type call = histories.Call[Input, Output]

// check judges what watchers were told. An operation that was told everything from
// one revision to another covers them. These must hold:
//
//   - no two writes made the same revision, and what began after a revision was known
//     to somebody made, or saw, a later one;
//   - every event is of a write, as it was done, and is told by revision, once;
//   - no event is missing from what an operation covers: none of a write that was
//     acknowledged, and none that another watcher was told of;
//   - only what somebody asked to be compacted is refused for that reason.
//
// A write of unknown outcome may show or not. It is known from the event of it, a put
// by its value; who wants to know which delete it was would have to guess, and so
// there must only be as many as could have been.
func check(ctx context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	j, err := newJudgement(calls)
	if err != nil {
		return checker.Result{}, err
	}
	for _, w := range j.writes {
		j.write(w)
	}
	for i := range j.watches {
		j.told(&j.watches[i])
	}
	j.countDeletes()
	j.revisions = slices.Sorted(maps.Keys(j.changes))
	for i := range j.watches {
		if err := ctx.Err(); err != nil {
			return checker.Result{}, err
		}
		j.missing(&j.watches[i])
	}
	return j.result(), nil
}

// A judgement is one check of one history.
type judgement struct {
	calls       []call
	puts        map[string]*write // by value
	writes      []*write          // and looks at the present revision
	watches     []watch
	compactions []compaction // ascending by when they were asked for

	changes   map[uint64]*change // those that are known to have happened, by revision
	revisions []uint64           // of changes, ascending

	found     checker.Findings
	known     map[string]bool // ids of what was found
	latencies []time.Duration
	skipped   []string // what nobody asked for
	stated    int      // gaps that the system stated
	lacking   uint64   // revisions in them
}

// A floor is the greatest revision that was known to somebody before a call began,
// and who knew it.
type floor struct {
	revision uint64
	by       *call
}

// A write is a put or a delete, or a call that asked for the present revision.
type write struct {
	*call
	after floor
}

// A watch is an operation of a watcher.
type watch struct {
	*call
	expect uint64 // the revision from which its watcher had to go on; 0 for its first
}

// A change is what an event tells of.
type change struct {
	Event
	by    *call // nil: a delete, which is known only from who was told of it
	proof *call // who was told of it first, if its outcome is not known otherwise
}

// A compaction is the greatest revision that was asked for up to a time.
type compaction struct {
	invoked  time.Duration
	revision uint64
	by       *call
}

func newJudgement(calls []call) (*judgement, error) {
	j := &judgement{calls: calls, puts: map[string]*write{}, changes: map[uint64]*change{}, known: map[string]bool{}}
	floors := floors(calls)
	next := map[int]uint64{}
	for i := range calls {
		c := &calls[i]
		w := &write{c, floors[i]}
		switch {
		case c.F == Compact && c.Type != histories.Fail:
			asked := compaction{c.Invoked, c.In.Revision, c}
			if last := len(j.compactions) - 1; last >= 0 && j.compactions[last].revision > asked.revision {
				asked.revision, asked.by = j.compactions[last].revision, j.compactions[last].by
			}
			j.compactions = append(j.compactions, asked)
		case c.F == Watch && c.Type == histories.OK:
			j.watches = append(j.watches, watch{c, next[*c.In.Watcher]})
			next[*c.In.Watcher] = max(next[*c.In.Watcher], c.In.From, c.Out.To+1, c.Out.Compacted+1)
		case c.F == Put:
			if other := j.puts[c.In.Value]; other != nil {
				return nil, fmt.Errorf("ops %d and %d put the same value %q: nobody can tell who wrote it", other.Index, c.Index, c.In.Value)
			}
			j.puts[c.In.Value] = w
			j.writes = append(j.writes, w)
		case c.F == Delete || c.F == Status:
			j.writes = append(j.writes, w)
		}
	}
	return j, nil
}

// floors returns the floor of each call. Calls come in the order of their invocations.
func floors(calls []call) []floor {
	var returned []*call
	for i := range calls {
		if calls[i].Type == histories.OK {
			returned = append(returned, &calls[i])
		}
	}
	slices.SortFunc(returned, func(a, b *call) int { return cmp.Compare(a.Completed, b.Completed) })
	known := make([]floor, len(calls))
	var highest floor
	for i := range calls {
		for len(returned) > 0 && returned[0].Completed < calls[i].Invoked {
			if r := returned[0]; proven(r) > highest.revision {
				highest = floor{proven(r), r}
			}
			returned = returned[1:]
		}
		known[i] = highest
	}
	return known
}

// proven returns the greatest revision that the store had come to when c returned, as
// c shows.
func proven(c *call) uint64 {
	last := uint64(0)
	switch c.F {
	case Put, Delete, Status:
		last = c.Out.Revision
	case Watch:
		for _, e := range c.Out.Events {
			last = max(last, e.Revision)
		}
	}
	return last
}

// write asks whether an acknowledged write made a revision of its own, and in time.
func (j *judgement) write(w *write) {
	revision := w.Out.Revision
	if w.Type != histories.OK || w.F == Delete && revision == 0 {
		return
	}
	if w.F == Status {
		if revision < w.after.revision {
			j.report("revision went back", "", fmt.Sprintf("%s, but revision %d was known before: %s", did(w.call), w.after.revision, did(w.after.by)), w.after.by, w.call)
		}
		return
	}
	if revision <= w.after.revision {
		note := did(w.call)
		if w.after.by != nil {
			note += fmt.Sprintf(", but revision %d was known before: %s", w.after.revision, did(w.after.by))
		}
		j.report("revision went back", "", note, w.after.by, w.call)
	}
	if other := j.changes[revision]; other != nil {
		j.report("revision reused", "", fmt.Sprintf("%s, and %s: both made revision %d", did(other.by), did(w.call), revision), other.by, w.call)
		return
	}
	j.changes[revision] = &change{Event: Event{revision, w.F == Delete, w.In.Key, w.In.Value}, by: w.call}
}

// told asks whether what a watcher was told in one operation can have happened, and
// came in order; and whether a refusal was founded.
func (j *judgement) told(w *watch) {
	in, out := w.In, w.Out
	if w.expect > 0 && in.From > w.expect {
		j.skipped = append(j.skipped, fmt.Sprintf("watcher %d was not asked for revisions %d to %d", *in.Watcher, w.expect, in.From-1))
	}
	last := Event{}
	seen := map[uint64]bool{}
	for _, e := range out.Events {
		switch {
		case seen[e.Revision]:
			j.report("duplicated event", "", fmt.Sprintf("%s: %v twice", did(w.call), e), w.call)
		case e.Revision < in.From:
			j.report("duplicated event", "", fmt.Sprintf("%s: %v, which is before that", did(w.call), e), w.call)
		case e.Revision < last.Revision:
			j.report("events out of order", "", fmt.Sprintf("%s: %v came after %v", did(w.call), e, last), w.call)
		default:
			last = e
		}
		seen[e.Revision] = true
		j.credible(w, e)
	}
	if out.Compacted == 0 {
		return
	}
	j.stated++
	j.lacking += out.Compacted + 1 - min(out.Compacted+1, max(out.To+1, in.From))
	asked := compaction{}
	if i, _ := slices.BinarySearchFunc(j.compactions, w.Completed, func(c compaction, t time.Duration) int { return cmp.Compare(c.invoked, t) }); i > 0 {
		asked = j.compactions[i-1]
	}
	switch {
	case asked.revision < out.Compacted:
		note := did(w.call) + ": revisions before %d are compacted, but nobody had asked for that"
		if asked.by != nil {
			note += ": the furthest was that " + did(asked.by)
		}
		j.report("unfounded compaction", "", fmt.Sprintf(note, out.Compacted), asked.by, w.call)
	case out.Compacted < max(out.To+1, in.From): // who was told nothing may not say up to where
		j.report("unfounded compaction", "", fmt.Sprintf("%s: what comes from revision %d on is compacted, but no more than what is before %d", did(w.call), max(out.To+1, in.From), out.Compacted), w.call)
	}
}

// credible asks whether an event is of a write, as it was done. From that is known
// what writes of unknown outcome did.
func (j *judgement) credible(w *watch, e Event) {
	bad := func(kind, why string, others ...*call) {
		j.report(kind, fmt.Sprint(*w.In.Watcher, " ", e), fmt.Sprintf("%s: %v, %s", did(w.call), e, why), append(others, w.call)...)
	}
	if !w.In.contain(e.Key) {
		bad("wrong event", "of a key that was not asked for")
		return
	}
	if e.Revision == 0 {
		bad("wrong event", "which no write makes")
		return
	}
	known := j.changes[e.Revision]
	if known != nil && known.Event == e {
		switch by := known.by; {
		case by == nil: // a delete; see countDeletes
		case by.Invoked > w.Completed:
			bad("future event", "but only later "+did(by), by)
		case known.proof == nil:
			j.latencies = append(j.latencies, max(0, w.Completed-by.Completed))
		}
		return
	}
	var by *write
	if !e.Deleted {
		switch by = j.puts[e.Value]; {
		case by == nil:
			bad("phantom event", "a value that nobody put")
			return
		case by.Type == histories.Fail:
			bad("phantom event", "but that never took place: "+did(by.call), by.call)
			return
		case by.In.Key != e.Key:
			bad("wrong event", "but that value belongs to another key: "+did(by.call), by.call)
			return
		case by.Invoked > w.Completed:
			bad("future event", "but only later "+did(by.call), by.call)
			return
		case by.Type == histories.OK:
			bad("wrong event", "but "+did(by.call), by.call)
			return
		}
	}
	switch {
	case known != nil && known.proof != nil: // told to another
		bad("wrong event", fmt.Sprintf("but %v when %s", known.Event, did(known.proof)), known.proof)
		return
	case known != nil:
		bad("wrong event", "but then "+did(known.by), known.by)
		return
	case by == nil: // a delete; see countDeletes
		j.changes[e.Revision] = &change{Event: e, proof: w.call}
		return
	case e.Revision <= by.after.revision:
		bad("revision went back", fmt.Sprintf("which began when revision %d was known: %s", by.after.revision, did(by.after.by)), by.after.by, by.call)
		return
	case by.Out.Revision != 0:
		bad("wrong event", fmt.Sprintf("which was of revision %d before", by.Out.Revision), by.call)
		return
	}
	by.Out.Revision = e.Revision
	j.changes[e.Revision] = &change{Event: e, by: by.call, proof: w.call}
}

// countDeletes asks whether there are as many deletes of unknown outcome as events of
// which is known nothing else, for each key. A delete can have made any revision above
// its floor: so the events, in the order of their revisions, need one more each.
func (j *judgement) countDeletes() {
	floors, events := map[string][]uint64{}, map[string][]*change{}
	for _, w := range j.writes {
		if w.F == Delete && w.Type == histories.Info {
			floors[w.In.Key] = append(floors[w.In.Key], w.after.revision)
		}
	}
	for _, revision := range slices.Sorted(maps.Keys(j.changes)) {
		if c := j.changes[revision]; c.by == nil {
			events[c.Key] = append(events[c.Key], c)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(events)) {
		slices.Sort(floors[key])
		used := 0
		for _, c := range events[key] {
			if inTime, _ := slices.BinarySearch(floors[key], c.Revision); inTime > used {
				used++
				continue
			}
			j.report("phantom event", "", fmt.Sprintf("%s: %v, which nobody can have done", did(c.proof), c.Event), c.proof)
		}
	}
}

// missing asks whether a watcher was told everything that its operation covers.
func (j *judgement) missing(w *watch) {
	told := map[uint64]bool{}
	for _, e := range w.Out.Events {
		told[e.Revision] = true
	}
	from, _ := slices.BinarySearch(j.revisions, w.In.From)
	for _, revision := range j.revisions[from:] {
		if revision > w.Out.To {
			break
		}
		c := j.changes[revision]
		if told[revision] || !w.In.contain(c.Key) {
			continue
		}
		how, others := "", []*call{w.call}
		if c.by != nil {
			how, others = ", but "+did(c.by), append(others, c.by)
		}
		if c.proof != nil {
			how, others = how+", of which another was told: "+did(c.proof), append(others, c.proof)
		}
		j.report("lost event", fmt.Sprint(*w.In.Watcher, " ", revision), fmt.Sprintf("%s and not of %v%s", did(w.call), c.Event, how), others...)
	}
}

// report notes an anomaly, once for each id that is not empty.
func (j *judgement) report(kind, id, note string, calls ...*call) {
	if id != "" {
		id = kind + " " + id
		if j.known[id] {
			return
		}
		j.known[id] = true
	}
	var evidence []call
	for _, c := range calls {
		if c != nil {
			evidence = append(evidence, *c)
		}
	}
	j.found.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(evidence...)})
}

// maxSkipped bounds how many of the revisions are named that nobody asked for.
const maxSkipped = 3

// result says what was found.
func (j *judgement) result() checker.Result {
	r := checker.Result{Verdict: checker.Valid, Counts: map[string]int64{"changes": int64(len(j.changes))}}
	watchers := map[int]bool{}
	events, resumed := 0, 0
	for _, w := range j.watches {
		watchers[*w.In.Watcher] = true
		events += len(w.Out.Events)
		resumed += w.Out.Resumed
	}
	for _, c := range j.calls {
		r.Counts[c.Type.String()]++
	}
	r.Counts["watchers"], r.Counts["events"], r.Counts["resumptions"] = int64(len(watchers)), int64(events), int64(resumed)
	r.Counts["stated_gaps"], r.Counts["revisions_in_stated_gaps"] = int64(j.stated), int64(j.lacking)
	r.Note = fmt.Sprintf("changes: %d; events: %d, to %d watchers, whose streams were resumed %d times and met a compaction %d times", len(j.changes), events, len(watchers), resumed, j.stated)
	if n := len(j.latencies); n > 0 {
		slices.Sort(j.latencies)
		median, p99 := j.latencies[n/2], j.latencies[n*99/100]
		r.Counts["latency_median_us"], r.Counts["latency_p99_us"], r.Counts["latency_max_us"] = median.Microseconds(), p99.Microseconds(), j.latencies[n-1].Microseconds()
		r.Note += fmt.Sprintf("; from write to event: median %v, p99 %v", checker.Brief(median), checker.Brief(p99))
	}
	if len(j.skipped) > 0 {
		r.Verdict = checker.Unknown
		r.Note = strings.Join(j.skipped[:min(len(j.skipped), maxSkipped)], "; ") + "; " + r.Note
	}
	if len(j.watches) == 0 {
		r.Verdict, r.Note = checker.Unknown, "nothing to judge: no watcher was told anything"
	}
	j.found.Conclude(&r)
	return r
}

// did says what c did, for whom, and when: "process 3 put a=17 at n2 (revision 8, 1ms
// to 2ms)".
func did(c *call) string {
	what := c.F
	switch c.F {
	case Put:
		what += " " + c.In.Key + "=" + c.In.Value
	case Delete:
		what = "deleted " + c.In.Key
	case Compact:
		what = fmt.Sprintf("asked to compact what is before revision %d", c.In.Revision)
	case Status:
		what = "asked for the present revision"
	case Watch:
		what = fmt.Sprintf("was told, as watcher %d, of revisions %d to %d", *c.In.Watcher, c.In.From, c.Out.To)
	}
	if c.Type == histories.OK && c.F != Watch && c.F != Compact {
		return checker.Did(*c, what, fmt.Sprintf("revision %d", c.Out.Revision))
	}
	return checker.Did(*c, what)
}
