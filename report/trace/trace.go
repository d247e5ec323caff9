// Package trace writes a run as a trace in Chrome's trace-event format, which Perfetto and
// chrome://tracing open: to look at a run with zoom, search and SQL that others have written.
//
// What it shows is laid out by the questions that people come with.
//
//   - "verdict": what was proven, a mark over all of the trace at the last op of its evidence,
//     and a track for each anomaly with just the calls that prove it. Arrows lead from one to
//     the next where they stand among all others.
//   - "nemesis": a track for each fault by name, with what it was and did.
//   - A process for each node: its role and term, how far its log is, what the lab has measured
//     of it, what it told, and a track for each client with what it was asked, or answered. So
//     what a node did stands below what it was, and that is compared. One client has as many
//     tracks as it went to nodes; they have one name.
//   - "clients": how many operations ended how, and those of which nobody knows at which node.
//   - "events": what somebody told of no one node, a track for each kind.
//   - A process for each group of tracks that the workload shows: machines, hosts, locks.
//
// A client is a sequence of processes of the history, of which one begins when another has
// done its last op, as workers go on after an indeterminate one. That keeps tracks few. It is
// called by the first of them.
// Slices of one track nest, as the format wants it: what overlaps, such as two faults of one
// name, has several tracks.
//
// An indeterminate operation is as long as its client waited. It may have taken effect later,
// which its name says; and what did not end goes on to the end of the history. Values are text,
// cut if they are long, with the index at which the history has all of it.
//
// Browsers open traces of some hundred megabytes. What does not fit is left out, the least
// telling first, and the trace says so at its end and on a track: at first the values of
// operations that are no evidence, then the shortest of these, which are too short to be seen
// in most views. The evidence, the faults and the counters stay.
package trace

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/workloads"
)

// A Source is what a trace is made of.
type Source struct {
	// Title says what was run or read, on one line.
	Title   string
	History *histories.History
	Result  checker.Result
	// Tracks are what the workload shows beside the ops.
	Tracks []workloads.Track
	// Nodes are the nodes in their order. Those that the history tells of beside them come
	// behind; without any it is the history that tells which there are.
	Nodes []string
	// Limit is about how many bytes to write; 0 is [DefaultLimit].
	Limit int64
}

// DefaultLimit is what a browser can be expected to open: it reads all of a trace before it
// shows any, and holds more than is in the file. A million operations fit.
const DefaultLimit = 200 << 20

// Write writes the trace of a run. Its memory does not grow with the ops, but with the
// processes of the history, the tracks and the evidence. When ctx ends it returns that error
// and has written a part, which is of no use.
func Write(ctx context.Context, w io.Writer, s Source) error {
	t := &trace{
		Source: s, encoder: newEncoder(w),
		duration: s.History.Duration(), processes: map[string]*process{}, evidence: map[int]bool{}, witnesses: map[int][]witness{},
	}
	t.Limit = cmp.Or(t.Limit, DefaultLimit)
	t.raw(`{"displayTimeUnit":"ms","traceEvents":[`)
	for _, step := range []func(context.Context) error{t.survey, t.verdict, t.faults, t.observed, t.throughput, t.tracks, t.operations} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	t.close()
	if t.err != nil {
		return t.err
	}
	return t.w.Flush()
}

// A trace is one as it is written.
type trace struct {
	Source
	*encoder
	duration time.Duration // of the history

	ids       int // the last one given to a process or a track
	processes map[string]*process
	last      map[histories.Process]int // the index of the last op of each client
	anomalies []report.Proven           // what was proven
	evidence  map[int]bool              // the indices of events and invocations
	witnesses map[int][]witness         // by the index of an invocation
	detail    detail
	left      []string // what was left out, in words
}

// A process is what the format calls so: a heading with tracks below.
type process struct {
	pid    int
	tracks map[string]track
	lanes  map[string][]lane // what overlaps, by name
}

// A track is what the format calls a thread. No two things have one number, since Perfetto
// tells threads apart by theirs alone.
type track struct{ pid, tid int }

// The order of processes. Nodes and groups stand in the order in which they come.
const (
	atVerdict = iota
	atNemesis
	atClients
	atEvents
	atNodes
	atGroups = 1 << 20
)

// The names of processes that are neither nodes nor groups.
const (
	verdictProcess = "verdict"
	nemesisProcess = "nemesis"
	clientsProcess = "clients"
	eventsProcess  = "events"
)

// process returns one by its name. kind keeps a node apart from a group of the same name.
func (t *trace) process(kind, name string, order int) *process {
	p := t.processes[kind+name]
	if p != nil {
		return p
	}
	t.ids++
	p = &process{pid: t.ids, tracks: map[string]track{}, lanes: map[string][]lane{}}
	if order == atNodes || order == atGroups {
		order += len(t.processes)
	}
	t.processes[kind+name] = p
	t.meta("process_name", track{pid: p.pid}, func() { t.text("name", name) })
	t.meta("process_sort_index", track{pid: p.pid}, func() { t.number("sort_index", int64(order)) })
	return p
}

func (t *trace) meta(name string, of track, args func()) {
	t.open('M', of, 0)
	t.text("name", name)
	t.beginArgs()
	args()
	t.done()
}

// node returns the process of a node; what is of no node is the clients' matter.
func (t *trace) node(name string) *process {
	if name == "" {
		return t.process("", clientsProcess, atClients)
	}
	return t.process("node ", name, atNodes)
}

// track returns one of a process by its name.
func (t *trace) track(p *process, name string) track {
	on, ok := p.tracks[name]
	if !ok {
		on = t.newTrack(p, name)
		p.tracks[name] = on
	}
	return on
}

func (t *trace) newTrack(p *process, name string) track {
	t.ids++
	on := track{pid: p.pid, tid: t.ids}
	t.meta("thread_name", on, func() { t.text("name", name) })
	t.meta("thread_sort_index", on, func() { t.number("sort_index", int64(on.tid)) })
	return on
}

// slice begins the event of something that took from one time to another; Never is the end
// of the history.
func (t *trace) slice(on track, from, to time.Duration, name, category string) {
	t.open('X', on, from)
	t.micros("dur", max(0, t.until(to)-from))
	t.text("name", name)
	t.text("cat", category)
}

func (t *trace) until(to time.Duration) time.Duration {
	if to == histories.Never {
		return t.duration
	}
	return to
}

// counter writes that something has a value from a time on. Its name goes before the unit in
// Perfetto.
func (t *trace) counter(of *process, at time.Duration, name, unit string, value float64) {
	t.open('C', track{pid: of.pid}, at)
	t.text("name", name)
	t.beginArgs()
	t.float(unit, value)
	t.done()
}

// A lane is a track on which slices may lie up to a time.
type lane struct {
	track
	end time.Duration
}

// lane returns a track of a process, by its name, on which nothing is from one time to another:
// "kill", or else "kill (2)". What is asked for under one name begins later and later, as a rule;
// if it does not, there are more tracks than it takes.
func (t *trace) lane(p *process, name string, from, to time.Duration) track {
	to = t.until(to)
	lanes := p.lanes[name]
	i := slices.IndexFunc(lanes, func(l lane) bool { return l.end <= from })
	if i < 0 {
		i = len(lanes)
		on := t.track(p, name)
		if i > 0 {
			on = t.newTrack(p, name+" ("+strconv.Itoa(i+1)+")")
		}
		lanes = append(lanes, lane{track: on})
		p.lanes[name] = lanes
	}
	lanes[i].end = to
	return lanes[i].track
}

// ended says, now and then, whether nobody waits for the trace any more.
func ended(ctx context.Context, i int) error {
	if i%(1<<12) == 0 {
		return ctx.Err()
	}
	return nil
}

// close ends the file, with what was left out.
func (t *trace) close() {
	if len(t.left) > 0 {
		t.slice(t.track(t.process("", verdictProcess, atVerdict), "left out"), 0, t.duration, "left out of this trace", "note")
		t.beginArgs()
		for i, what := range t.left {
			t.text(strconv.Itoa(i+1), what)
		}
		t.done()
	}
	t.raw("\n],\"otherData\":{")
	t.line, t.any = append(t.line[:0], '{'), false
	t.text("title", t.Title)
	t.text("verdict", t.Result.Verdict.String())
	t.text("note", t.Result.Note)
	t.name("left_out")
	t.line = append(t.line, '[')
	for i, what := range t.left {
		if i > 0 {
			t.line = append(t.line, ',')
		}
		t.line = appendText(t.line, what)
	}
	t.raw(string(t.line[1:]) + "]}}\n")
}

// verdict shows what was proven, and with what.
func (t *trace) verdict(ctx context.Context) error {
	p := t.process("", verdictProcess, atVerdict)
	for i, a := range t.anomalies {
		name := strconv.Itoa(i+1) + ": " + a.Kind
		at := time.Duration(0) // of the last op: by then it is plain
		for _, call := range t.calls(a.Anomaly) {
			invoked, done, to := t.call(call)
			t.slice(t.lane(p, name, invoked.Time, to), invoked.Time, to, sentence(invoked, done), outcome(invoked, done))
			t.describe(invoked, done, true)
		}
		for _, op := range a.Ops {
			if op >= 0 && op < t.History.Len() {
				at = max(at, t.History.At(op).Time)
			}
		}
		t.open('i', t.track(p, name), at)
		t.text("s", "g")
		t.text("name", a.Kind)
		t.text("cat", "anomaly")
		t.text("cname", "terrible")
		t.beginArgs()
		t.text("what", a.Note)
		t.done()
	}
	return ctx.Err()
}

// calls returns the indices of the ops that an anomaly's calls begin with, and of its events.
func (t *trace) calls(a checker.Anomaly) (calls []int) {
	for _, op := range a.Ops {
		if op < 0 || op >= t.History.Len() {
			continue
		}
		if typ := t.History.At(op).Type; typ != histories.Invoke && t.History.Pair(op) >= 0 {
			op = t.History.Pair(op)
		}
		calls = append(calls, op)
	}
	slices.Sort(calls)
	return slices.Compact(calls)
}

// A witness is the place of a call in the evidence of an anomaly.
type witness struct {
	anomaly     int // from 1
	first, last bool
}

// prove finds the evidence, and where its arrows go.
func (t *trace) prove() {
	t.anomalies = report.Proof(t.Result)
	for i, a := range t.anomalies {
		for _, op := range t.calls(a.Anomaly) {
			t.evidence[op] = true
		}
		calls := slices.DeleteFunc(t.calls(a.Anomaly), func(op int) bool { // only they are slices elsewhere, too
			return t.History.At(op).Type != histories.Invoke || t.History.At(op).Process < 0
		})
		for j, call := range calls {
			t.witnesses[call] = append(t.witnesses[call], witness{i + 1, j == 0, j == len(calls)-1})
		}
	}
}

// arrows leads from a call, whose slice has just begun on a track, to the next of its
// evidence.
func (t *trace) arrows(call int, on track, at time.Duration) {
	for _, w := range t.witnesses[call] {
		ph := byte('t')
		switch {
		case w.first && w.last:
			continue
		case w.first:
			ph = 's'
		case w.last:
			ph = 'f'
		}
		t.open(ph, on, at)
		t.text("name", "evidence")
		t.text("cat", "anomaly")
		t.number("id", int64(w.anomaly))
		if w.last {
			t.text("bp", "e") // the slice around it, not the next one
		}
		t.done()
	}
}
