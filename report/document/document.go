// Package document is what the page of a run shows, as one value: all that is read from a
// history and its verdict is worked out here, in Go, so that the page itself only draws.
//
// A [Document] is small, whatever the size of the history; it is JSON inside the page. The
// ops themselves are [Ops]: columns, compressed, in blocks of which a page holds as many as
// fit, and levels of detail for those that do not.
package document

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Time is a time of a history in whole units of its document, which are microseconds as a
// rule; see [Document].Unit. A page can compare them without a loss. [Open] stands for the
// end of what did not end.
type Time int64

const (
	// Open is the end of what has none.
	Open Time = -1
	// Unasked is how long it took until something that nobody waited for.
	Unasked Time = -2
)

// A unit is how long a Time is.
type unit time.Duration

// unitOf returns the unit of a history's times: a microsecond, but a nanosecond if all of it
// took less than a millisecond. What is so short has a counter for a clock, as a rule, and in
// microseconds there would be but few of its times.
func unitOf(h *histories.History) unit {
	if h.Duration() < time.Millisecond {
		return unit(time.Nanosecond)
	}
	return unit(time.Microsecond)
}

// of returns t as a Time.
func (u unit) of(t time.Duration) Time { return Time(t / time.Duration(u)) }

// A Document is all that a page says of a run, but for its ops.
type Document struct {
	// Title says what was run or read, on one line; Verdict is a word of checker.Verdict.
	Title   string `json:"title"`
	Verdict string `json:"verdict"`
	// Note is the verdict's own, and Trouble what was out of the ordinary beside it.
	Note    string   `json:"note,omitempty"`
	Trouble []string `json:"trouble,omitempty"`
	// Facts are what was asked for and found out, to be read: system, seed, versions.
	Facts []Fact `json:"facts"`
	// Began is when the run did, in RFC 3339; empty of a history that does not tell.
	Began string `json:"began,omitempty"`
	// Unit is how many nanoseconds a Time is: 1000, or 1 of a history that is so short that its
	// times are those of a counter, not of a clock.
	Unit int64 `json:"unit"`
	// Duration is the time of the last op.
	Duration Time `json:"duration"`

	Parts     []Part     `json:"parts"`     // of the verdict, a checker each
	Anomalies []Anomaly  `json:"anomalies"` // those that make it invalid
	Functions []Function `json:"functions"`
	Faults    []Fault    `json:"faults"`
	Tables    []Table    `json:"tables"` // what was measured, in rows
	Charts    []Chart    `json:"charts"`
	Strips    []Track    `json:"strips"`             // one line each above the timeline: who leads, which phase
	Tracks    []Track    `json:"tracks"`             // what went on beside the ops: machines, hosts, locks
	Again     []Command  `json:"again"`              // how to get it again, the most wanted first
	Schedule  string     `json:"schedule,omitempty"` // the faults as --schedule takes them, YAML
	Logs      []Log      `json:"logs"`
	Files     []File     `json:"files"` // other files of the run
	Ops       Index      `json:"ops"`
}

// A Fact is a name and what it is.
type Fact struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// A Part is what one checker found.
type Part struct {
	Name    string   `json:"name"`
	Verdict string   `json:"verdict"`
	Note    string   `json:"note,omitempty"`
	Remarks []string `json:"remarks,omitempty"` // anomalies that prove nothing
	// Counts are its coverage, for those who want the numbers.
	Counts map[string]int64 `json:"counts,omitempty"`
}

// An Anomaly is what must not happen, with the evidence.
type Anomaly struct {
	Checker string `json:"checker"` // the part that found it
	Kind    string `json:"kind"`
	Note    string `json:"note"`
	// Calls are those that prove it, in the order of their invocations: the last ones, where
	// it goes wrong. Earlier is how many before them were left out.
	Calls   []Call `json:"calls"`
	Earlier int    `json:"earlier,omitempty"`
	// From and To are what a drawing of it has to show.
	From Time `json:"from"`
	To   Time `json:"to"`
	// Key is the one that all of it is about, if there is one, and Around the full history
	// of that key about the evidence, the evidence in it.
	Key    string `json:"key,omitempty"`
	Around []Call `json:"around,omitempty"`
	// Cut says that Around is a part of the key's history.
	Cut bool `json:"cut,omitempty"`
	// Order is how far porcupine gets with putting the key's calls in order.
	Order *Order `json:"order,omitempty"`
	// Tracks are the lanes that show it: of hosts and epochs, for machines.
	Tracks []Track `json:"tracks,omitempty"`
	// Meanwhile are the positions in Document.Faults of those in force.
	Meanwhile []int `json:"meanwhile,omitempty"`
	// Artifact is the name of a file beside the page that draws it, if there is one.
	Artifact string `json:"artifact,omitempty"`
}

// A Call is an operation in words.
type Call struct {
	Invoke   int    `json:"invoke"`   // index of the op
	Complete int    `json:"complete"` // -1: none
	From     Time   `json:"from"`
	To       Time   `json:"to"` // Open: it is not known when, or whether, it took place
	Process  string `json:"process"`
	Node     string `json:"node,omitempty"`
	F        string `json:"f"`
	What     string `json:"what"`    // what it did and how it ended, as in the text of a verdict
	Outcome  string `json:"outcome"` // ok, fail, info, event
	Witness  bool   `json:"witness,omitempty"`
}

// An Order is how far the calls of one key can be put in order.
type Order struct {
	// Calls are all that the search was about.
	Calls []Call `json:"calls"`
	// Partials are the orders that go furthest, the longest first.
	Partials []Partial `json:"partials"`
}

// A Partial is an order that ends where nothing can come next.
type Partial struct {
	Initial string `json:"initial"` // the state before the first step
	Steps   []Step `json:"steps"`
	// Skipped is how many steps were left out at the front; Initial is the state behind them.
	Skipped int `json:"skipped,omitempty"`
	// Stuck are the calls that would have to come next and cannot, as positions in
	// Order.Calls.
	Stuck []int `json:"stuck"`
}

// A Step puts a call behind those before it.
type Step struct {
	Call  int    `json:"call"`  // position in Order.Calls
	State string `json:"state"` // of the model, after it
}

// A Function is what clients called, with outcomes and latencies.
type Function struct {
	Name   string `json:"name"`
	OK     int64  `json:"ok"`
	Fail   int64  `json:"fail"`
	Info   int64  `json:"info"`
	Median Time   `json:"median"` // of those that succeeded; Open if there are none
	P99    Time   `json:"p99"`
	// Faulty is how many succeeded while a fault held.
	Faulty int64 `json:"faulty"`
}

// A Fault is one that began.
type Fault struct {
	Name string `json:"name"` // as it is asked for: "partition:ring"
	What string `json:"what"` // with what it was aimed at
	From Time   `json:"from"`
	// To is Open if it was not healed, and From of one that could not begin, and that nothing
	// shows to have acted: it may have held for a while, but nothing says so.
	To Time `json:"to"`
	// Begin and End are the indices of its ops; -1: none.
	Begin int `json:"begin"`
	End   int `json:"end"`
	// Evidence says what it did, in words; Acted is whether it did anything.
	Evidence string `json:"evidence"`
	Acted    bool   `json:"acted"`
	Failed   string `json:"failed,omitempty"`
	// HeldBack says that it was not let begin, since other faults had what it needed.
	HeldBack bool `json:"held_back,omitempty"`
	// Ops counts what clients completed while it held, by outcome.
	OK   int64 `json:"ok"`
	Fail int64 `json:"fail"`
	Info int64 `json:"info"`
	// Nodes are those that it hit, if it says so.
	Nodes []string `json:"nodes,omitempty"`
	// Answer is how long it took from its begin until the system answered, and Recovery
	// from its heal; Open if that was not seen, and Unasked if it was not waited for, as of
	// what was healed after the main phase, or not at all.
	Answer   Time `json:"answer"`
	Recovery Time `json:"recovery"`
}

// A Table is rows of text with what they are about.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	// Align has a byte for each column: '<' or '>'.
	Align string `json:"align"`
}

// A Chart is lines, or points, over the time of the run.
type Chart struct {
	ID    string `json:"id"` // "latency", "throughput", "availability", "recovery", "clocks", "network", "loss", "coverage"
	Title string `json:"title"`
	Unit  string `json:"unit"` // of y: "µs", "op/s", "%", "B/s", "packets/s", "states"
	Log   bool   `json:"log,omitempty"`
	// X are the times that all lines share, strictly rising. Points has times of its own.
	X     []Time `json:"x"`
	Lines []Line `json:"lines"`
	// Points are a sample of what the lines sum up, such as single latencies.
	Points []Point `json:"points,omitempty"`
	// Note says what one would otherwise ask: that it is a sample, what a gap means.
	Note string `json:"note,omitempty"`
}

// A Line is a value for each of its chart's times; null is none.
type Line struct {
	Name   string     `json:"name"`
	Class  string     `json:"class"` // what colours it: an outcome, a node, a quantile
	Values []*float64 `json:"values"`
	Steps  bool       `json:"steps,omitempty"` // it holds until the next
	// Sparse says that null is only that nothing was measured then: it is drawn from one
	// value straight to the next.
	Sparse bool `json:"sparse,omitempty"`
}

// A Point is one op's value.
type Point struct {
	X     Time    `json:"x"`
	Y     float64 `json:"y"`
	Class string  `json:"class"` // the outcome; of faults what was waited for: "begin" or "heal"
	Op    int     `json:"op"`    // index of its invocation; of a fault its Begin or End
}

// A Track is what something was from time to time.
type Track struct {
	Group string `json:"group"` // "machines", "hosts", "leader"
	Name  string `json:"name"`
	// Subject is what it tells of, where Name says more: "vm3" of "vm3 by the control plane".
	Subject string `json:"subject,omitempty"`
	// Keys are names of Index.Keys that are about its subject, beside that: the tokens of a
	// machine. One may be about several.
	Keys   []string `json:"keys,omitempty"`
	Slices []Slice  `json:"slices"`
}

// A Slice is what it was from one time to another.
type Slice struct {
	From  Time   `json:"from"`
	To    Time   `json:"to"` // Open: to the end
	Label string `json:"label"`
	Class string `json:"class"`         // same class, same colour
	Bad   bool   `json:"bad,omitempty"` // it must not be: a second copy
	Op    int    `json:"op"`            // an op that says so; -1: none
}

// A Command is what to type for a purpose.
type Command struct {
	Purpose string `json:"purpose"`
	Command string `json:"command"`
}

// A Log is a file that a node printed, relative to the page.
type Log struct {
	Node string `json:"node"`
	Path string `json:"path"`
	// Lines are excerpts about moments of interest: where there is a time on a line. One
	// without a time has that of the line before it.
	Lines []LogLine `json:"lines,omitempty"`
	// Note says what is to be known of the times, such as that the node's clock was changed.
	Note string `json:"note,omitempty"`
}

// A LogLine is a line of a log.
type LogLine struct {
	Time   Time   `json:"time"`
	Number int    `json:"number"` // from 1
	Text   string `json:"text"`
}

// A File is another file of the run, relative to the page.
type File struct {
	Path  string `json:"path"`
	About string `json:"about"`
}

// An Index says what the columns of the ops stand for, and which blocks of them the page
// holds; see [Ops].
type Index struct {
	Total int `json:"total"` // ops of the history, invocations and completions
	Calls int `json:"calls"` // operations: pairs, invocations alone, events
	// The names that columns have numbers of.
	Functions []string `json:"functions"`
	Keys      []string `json:"keys"`   // those of ops without one are number -1. That of an event is the subject of a track
	Nodes     []string `json:"nodes"`  // so here
	Errors    []string `json:"errors"` // of those that differ in numbers alone, and are many, one with # for numbers
	// Others are the numbers of the names that stand for all there was no room for, as in
	// histories where each op has a key of its own.
	Others Others `json:"others"`
	// Blocks are the parts of the history, in order; the page holds the data of those that
	// say so, in this order.
	Blocks []Block `json:"blocks"`
	// Levels sum up all calls, for what is drawn before blocks are read, or instead.
	Levels []Level `json:"levels"`
	Left   string  `json:"left,omitempty"` // what was left out, in words, with where to find it
}

// Others are numbers of names, -1 where each name has its own.
type Others struct {
	Function int `json:"function"`
	Key      int `json:"key"`
	Node     int `json:"node"`
	Error    int `json:"error"`
}

// A Block is consecutive ops.
type Block struct {
	First int  `json:"first"` // index of its first op
	Ops   int  `json:"ops"`
	From  Time `json:"from"`
	To    Time `json:"to"`
	// Core and Detail are the lengths in bytes of its two compressed parts as they lie in
	// the page, one after the other; 0: left out.
	Core   int `json:"core"`
	Detail int `json:"detail"`
}

// A Level is how many calls of each outcome there were in a lane and a span of time: a
// picture of the whole run, a byte a cell on a logarithmic scale, that takes no op to draw.
type Level struct {
	By string `json:"by"` // "process", "key", "node"
	// Lanes are rows of processes by the names of those that are drawn in them, the keys that
	// have the most calls, or nodes. If there are many, the last lane is of all others.
	Lanes []string `json:"lanes"`
	Width Time     `json:"width"` // of a column
	// Columns is how many there are, and Bytes the length of its compressed part: for each
	// of ok, fail and info, for each lane, a byte a column. Of n calls that is 8 times the
	// logarithm of n+1 to the base 2. An event counts as ok, and what never ended as info.
	Columns int `json:"columns"`
	Bytes   int `json:"bytes"`
}
