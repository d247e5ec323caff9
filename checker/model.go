package checker

import (
	"encoding/json"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// A Model is the sequential specification of an object: what it does when one
// client at a time uses it. [Linearizable] asks whether concurrent clients could
// take it for that. Its functions are pure: they change none of their arguments.
//
// S is the state. Equal states behave alike; a state that == cannot compare, such
// as a list, is given as a string or a hash of it.
type Model[S comparable, In, Out any] struct {
	// Functions are those whose calls it judges; what else clients did plays no part. If nil
	// it judges all.
	Functions []string

	// In and Out decode the payloads of the workload's functions, as
	// [histories.Calls] wants them.
	In  func(f string, value json.RawMessage) (In, error)
	Out func(f string, value json.RawMessage) (Out, error)

	// Key says which object a call is on; each is judged apart, and a history is
	// linearizable if each of them is. If nil there is one object.
	Key func(In) string

	// Init is the state of every object before its first call.
	Init S

	// Step returns the state after c, and whether c may have happened in s.
	//
	// An indeterminate call (Type Info) need not have happened, so it must be
	// possible in every state; where it could happen it does, with the state that
	// its ok twin leaves. This says both: one that did not happen is a call that
	// happens after everything else.
	Step func(s S, c histories.Call[In, Out]) (S, bool)

	// Refused makes of a call that failed the observation it is, if it is one: a
	// cas that the system refused because of a value it names. Step then meets it
	// with Type Fail and what it saw in Out. If nil no failed call says anything.
	Refused func(c histories.Call[In, Out]) (histories.Call[In, Out], bool)

	// Register says what a call that tells something is to a register that holds an S, if
	// the object is one: then no search is needed to judge it, however many calls there are
	// and however many of them are open at once. It says of a call what Step does, which
	// has the last word. If nil the object is not a register.
	Register func(c histories.Call[In, Out]) Access[S]

	// Decider decides objects of this kind as package linear can, without a search. It is
	// asked first, unless the object is a register. If nil there is none.
	Decider *Decider[In, Out]

	// ReadOnly says whether c leaves every state as it is in which it is possible: Step
	// returns just that. If it is indeterminate it is left out, for it constrains nothing.
	// If nil no call is known to.
	ReadOnly func(c histories.Call[In, Out]) bool

	// The rest serves the evidence, not the verdict.

	// States returns the states that calls could begin in: for every state there
	// must be one here in which no fewer orders of calls are possible. With it,
	// evidence can do without everything that came before. If nil it begins with
	// Init, that is with the object's first call.
	States func(calls []histories.Call[In, Out]) []S

	// Removable returns sets of calls, by position, each of which can be taken out
	// with what remains still linearizable if all of it was; and any of them
	// together. Read-only calls are, without being named. If nil nothing else is.
	Removable func(calls []histories.Call[In, Out]) [][]int

	// Explain says in words what is wrong. Ops are what it refers to beside the
	// witness. If nil, the anomaly is "not linearizable" and no more is said.
	Explain func(v Violation[In, Out]) Anomaly

	// Describe and State render calls and states for the picture. If nil they are
	// rendered by fmt.
	Describe func(c histories.Call[In, Out]) string
	State    func(s S) string
}

// A Decider decides whether objects of some kind are linearizable, where it can. Its word
// is not taken for it: Step and porcupine are asked about the order or the witness.
type Decider[In, Out any] struct {
	// Name is what results call it.
	Name string

	// Decide decides calls on one object in its initial state, those that tell something,
	// in the order of their invocations; [Interval] has their times. It may leave them
	// Undecided, as it has to if limit ends it: then they are searched.
	//
	// If they are Illegal it returns a few of them, also in the order of their invocations,
	// that no order explains. These must be linearizable if all calls are: so where some
	// are left out, the results of those that remain may have to be without what came of
	// them.
	Decide func(calls []histories.Call[In, Out], limit linear.Limit) (linear.Decision, []histories.Call[In, Out])
}

// An Access is what a call is to a register. Without a kind it says nothing.
type Access[S comparable] struct {
	Kind linear.Kind
	// Old is what was found there, or expected by a cas; of a [linear.Refused] it is what
	// was not there. New is what a write or a cas sets.
	Old, New S
	// Impossible says that no state allows it, whatever it saw.
	Impossible bool
}

// A Violation is what a model explains.
type Violation[In, Out any] struct {
	// Key is the object.
	Key string
	// Witness is a small set of its calls that no order explains, in the order of
	// their invocations. Calls in it that had not returned when the violation
	// showed are indeterminate.
	Witness []histories.Call[In, Out]
	// Whole says that this holds if the initial state came before them. Otherwise
	// it does whatever came before.
	Whole bool
	// Last is the call of the witness that returned last: up to there everything
	// could be explained.
	Last histories.Call[In, Out]
	// Stale says how old what Last saw was, if it was sure to be; of registers only.
	Stale string
	// Calls are all calls on the object, in the order of their invocations, also
	// those that play no part in the verdict: the failed ones, the reads of which
	// nothing is known.
	Calls []histories.Call[In, Out]
}

func (m *Model[S, In, Out]) judges(f string) bool {
	return m.Functions == nil || slices.Contains(m.Functions, f)
}

func (m *Model[S, In, Out]) key(in In) string {
	if m.Key == nil {
		return ""
	}
	return m.Key(in)
}

func (m *Model[S, In, Out]) readOnly(c histories.Call[In, Out]) bool {
	return m.ReadOnly != nil && m.ReadOnly(c)
}

// tells returns c as the verdict has to take it, and whether it has to.
func (m *Model[S, In, Out]) tells(c histories.Call[In, Out]) (histories.Call[In, Out], bool) {
	switch c.Type {
	case histories.Fail:
		if m.Refused == nil {
			return c, false
		}
		return m.Refused(c)
	case histories.Info:
		return c, !m.readOnly(c)
	}
	return c, true
}
