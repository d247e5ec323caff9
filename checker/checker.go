// Package checker judges histories.
//
// A [Checker] takes a history and nothing else - not the cluster, not the
// options of the run - so that judging a recorded file again gives the verdict
// the run gave. [Linearizable] judges any sequential [Model], and has porcupine
// confirm it; a [Live] judges while a history is recorded; [Stats] and [Faults]
// ask whether the run tried hard enough to mean anything; [Compose] runs several
// checkers as one.
//
// Three rules hold for all of them. What was not judged is [Unknown], never
// [Valid]: that is what an error, a panic, a budget that ended and the zero
// Result come to. An [Invalid] verdict names its evidence as ops of the history.
// Checkers compute and write nothing; what is worth a file is an artifact of the
// result, written by whoever decides where.
package checker

import (
	"context"
	"fmt"
	"io"

	"github.com/hacheck/hacheck/histories"
)

// A Checker looks for anomalies in a history.
type Checker interface {
	// Check judges h. An error means that it could not: the verdict is Unknown.
	// When ctx ends it stops searching and says what it has found by then.
	Check(ctx context.Context, h *histories.History) (Result, error)
}

// Func makes a Checker of a function.
type Func func(context.Context, *histories.History) (Result, error)

// Check calls f.
func (f Func) Check(ctx context.Context, h *histories.History) (Result, error) { return f(ctx, h) }

// A Verdict says what a history shows.
type Verdict int

// The verdicts. What nobody judged is unknown, hence the zero value.
const (
	Unknown Verdict = iota // it could not be told, or the run did not try enough
	Valid                  // nothing wrong, within the coverage that the result states
	Invalid                // an anomaly is proven
)

var verdictNames = [...]string{Unknown: "unknown", Valid: "valid", Invalid: "invalid"}

// String returns the verdict as results.json spells it.
func (v Verdict) String() string {
	if v < Unknown || v > Invalid {
		return fmt.Sprintf("Verdict(%d)", int(v))
	}
	return verdictNames[v]
}

// MarshalText returns the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) {
	if v < Unknown || v > Invalid {
		return nil, fmt.Errorf("no such verdict: %d", int(v))
	}
	return []byte(verdictNames[v]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (v *Verdict) UnmarshalText(text []byte) error {
	for i, name := range verdictNames {
		if name == string(text) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("no such verdict: %q", text)
}

// And returns the verdict of two parts together. One anomaly is enough for
// Invalid, whatever else could not be judged; and Valid takes both.
func (v Verdict) And(w Verdict) Verdict {
	switch {
	case v == Invalid || w == Invalid:
		return Invalid
	case v == Unknown || w == Unknown:
		return Unknown
	}
	return Valid
}

// A Result is what a checker found.
type Result struct {
	// Name says which checker, or which part of one, it is.
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Note is one line for people: what was covered, or why it is unknown.
	Note string `json:"note,omitempty"`
	// Anomalies are the evidence of an Invalid verdict; beside another verdict
	// they are remarks. There may be more than are listed: Note tells.
	Anomalies []Anomaly `json:"anomalies,omitempty"`
	// Counts is the coverage in numbers, e.g. "keys", "ok"; a name carries its
	// unit where there is one, e.g. "median_us".
	Counts map[string]int64 `json:"counts,omitempty"`
	// Samples are what was measured, value by value, where these are few; a name carries its
	// unit, e.g. "begin_answer_us". They are for who goes on counting: people are told what
	// Counts and Table make of them. See [Result.Sample].
	Samples map[string][]int64 `json:"samples,omitempty"`
	// Table is what is best told in rows, such as what was measured; nil: nothing is.
	Table *Table `json:"table,omitempty"`
	// Parts are the results that this one is made of.
	Parts []Result `json:"parts,omitempty"`
	// Artifacts are files worth keeping beside the verdict, by name. Each is made
	// when it is written, and may be written more than once.
	Artifacts map[string]func(io.Writer) error `json:"-"`
}

// A Table is numbers with what they are of, to be read by people.
type Table struct {
	// Title is one line: what all rows are about.
	Title string `json:"title,omitempty"`
	// Columns are the names of columns, and Rows have as many cells each.
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// An Anomaly is something that must not happen, with its evidence.
type Anomaly struct {
	// Kind names what happened: "stale read", "lost write", ...
	Kind string `json:"kind"`
	// Note says it in words: who saw what, when, and why that cannot be.
	Note string `json:"note"`
	// Ops is the evidence: indices into the history, ascending.
	Ops []int `json:"ops,omitempty"`
	// Order says how far an order of the object's calls gets, for those who want to see
	// it; nil where nothing was searched for one. It takes a search of its own, of seconds at
	// the most, which is made once. It is an error if that came to no end, or is of too many
	// calls to be looked at.
	Order func(ctx context.Context) (Order, error) `json:"-"`
}

// An Order is how far the calls of an object can be put in order, of which no order
// explains all.
type Order struct {
	// Calls are what the search was about: indices of invocations, ascending. They are those
	// that tell something up to the violation, or the last of them; or, if that takes too
	// long, a few that prove it.
	Calls []int
	// Partials are the orders that go furthest, as porcupine finds them: a few, the longest
	// first.
	Partials []Partial
}

// A Partial is an order that cannot go on. The model permits each step, with the result that
// the call had, and no call comes before one that completed before it was invoked.
//
// Where Order.Calls are not all that the object was used for, it begins in any state. What was
// under way then may have come before: so a call that has no step, and that completed before one
// that has was invoked, did.
type Partial struct {
	Initial string // the model's state before the first step
	Steps   []PartialStep
	// Stuck are the calls of which one would have to come next: those that are left and were
	// invoked before any of these completed. The model permits none of them.
	Stuck []int
}

// A PartialStep puts a call behind those before it.
type PartialStep struct {
	Op    int    // the index of the call's invocation
	State string // of the model, after it
}
