// Package histories holds what a run recorded: ops, the journal that writes
// them, and the history that reads them back.
//
// A history is a file of JSON lines, one [Op] a line, in the order of the
// [Journal]'s one lock. Client ops come in pairs, an invocation and at most one
// completion; [Calls] gives the pairs with their payloads decoded. [Read]
// validates, so whoever holds a [History] may rely on its rules:
//
//   - indices are dense from 0 and times strictly increase;
//   - a process has at most one op outstanding, and a completion names the
//     function of its invocation;
//   - a client process does nothing after an indeterminate op.
//
// A [Builder] makes a History of what other tools recorded, which keeps fewer of them.
//
// The package knows nothing of clients, nodes, workloads or checkers.
package histories

import (
	"encoding/json"
	"strconv"
	"time"
)

// An Op is one event of a history: an invocation, its completion, or an
// observation. Field names on disk are Jepsen's, in lower case.
type Op struct {
	// Index is the op's position in its history, dense from 0.
	Index int
	// Time is the time since the run began; strictly increasing with Index.
	Time time.Duration
	// Process is the logical, single-threaded process that the op belongs to.
	Process Process
	// Type says which kind of event this is.
	Type Type
	// F is the function: "read", "write", "partition", ...
	F string
	// Value is the argument or the result, in the workload's own shape. Keyed
	// operations carry [key, v]; ops of the nemesis carry a [Fault].
	Value json.RawMessage
	// Error says why a completion is not ok. For people: no verdict rests on it.
	Error string
	// Node is where the op was sent, for people and plots; empty if the client
	// chose for itself.
	Node string
	// Meta is what else the system said: revision, term, the value that made a
	// cas fail. Evidence that a checker may use and must not require.
	Meta json.RawMessage
}

// A Process is a logical single-threaded actor of a history. Clients are >= 0.
type Process int

// The processes that are no clients.
const (
	Nemesis  Process = -1 // injects and heals faults
	Observer Process = -2 // records events that nobody invoked
)

// State is the function of the observer's events: how the nodes of the system saw
// themselves, when that was not as it had been before.
const State = "state"

// Step is the function of the observer's events that faults may be tied to: that something
// which takes several steps has come to one of them. Their value is {"step":"..."}.
const Step = "step"

// Gauges is the function of the observer's events that tell what the lab itself has measured,
// such as traffic and clocks. No verdict rests on them.
const Gauges = "gauges"

func (p Process) String() string {
	switch p {
	case Nemesis:
		return "nemesis"
	case Observer:
		return "observer"
	}
	return strconv.Itoa(int(p))
}

// Type is the kind of an event. The zero Type is none of them.
type Type uint8

// The types of events.
const (
	Invoke Type = iota + 1 // an operation begins
	OK                     // it took place
	Fail                   // it did not, and never will
	Info                   // indeterminate: it may have taken place, or may yet
	Event                  // an observation, unpaired
)

var typeNames = [...]string{Invoke: "invoke", OK: "ok", Fail: "fail", Info: "info", Event: "event"}

// String returns the type as a history file spells it.
func (t Type) String() string {
	if t < Invoke || t > Event {
		return "Type(" + strconv.Itoa(int(t)) + ")"
	}
	return typeNames[t]
}

// parseType is the inverse of String for the five types, and 0 for other text.
func parseType(b []byte) Type {
	for t := Invoke; t <= Event; t++ {
		if string(b) == typeNames[t] {
			return t
		}
	}
	return 0
}

// String returns the op as a person reads it in a listing.
func (op Op) String() string {
	s := op.Process.String() + " " + op.Type.String() + " " + op.F
	if len(op.Value) > 0 {
		s += " " + string(op.Value)
	}
	if op.Error != "" {
		s += " (" + op.Error + ")"
	}
	return s
}
