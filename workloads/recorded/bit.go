package recorded

import (
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// A bit is an object with two states: a lock that is held or is not, an element that is
// in a set or is not. Each of its calls is one on a register that holds false at first.
type bit struct {
	key    func(in string) string
	access func(c bitCall) checker.Access[bool]
	// did says in words what c did, and show in fewer; state what the object is.
	did   func(c bitCall) string
	show  func(c bitCall) string
	state func(s bool) string
	// words are what is wrong with a call that found true, or false, when it cannot have.
	words map[bool]bitWords
}

// bitWords are the words of a violation.
type bitWords struct {
	never string // the kind, if it never was so
	gone  string // the kind, if it was no longer so
	// Nobody had brought it about, or nobody can have since.
	nobody, since string
}

// A bitCall is a call with its key, or its element, and what it answered.
type bitCall = histories.Call[string, answer]

// An answer is what a call says, if it does.
type answer struct{ given, yes bool }

func (b *bit) model() checker.Model[bool, string, answer] {
	return checker.Model[bool, string, answer]{
		Key:      b.key,
		Step:     b.step,
		ReadOnly: func(c bitCall) bool { return b.access(c).Kind == linear.Read },
		Register: b.access,
		States:   func([]bitCall) []bool { return []bool{false, true} },
		Explain:  b.explain,
		Describe: b.show,
		State:    b.state,
	}
}

func (b *bit) step(s bool, c bitCall) (bool, bool) {
	a := b.access(c)
	switch {
	case a.Kind == linear.Write:
		return a.New, true
	case s != a.Old: // an indeterminate cas did nothing
		return s, c.Type == histories.Info
	case a.Kind == linear.CAS:
		return a.New, true
	}
	return s, true
}

// explain says what is wrong with the last call of a violation. It has found something,
// for a mere write can always come last.
func (b *bit) explain(v checker.Violation[string, answer]) checker.Anomaly {
	found := b.access(v.Last).Old
	words := b.words[found]
	if a, ok := b.after(v, found); ok {
		a.Kind = words.gone
		a.Note += ", and " + words.since
		return a
	}
	setters := b.setters(v, found)
	if !found {
		setters++ // as it was at first
	}
	switch took := b.takers(v, found); {
	case setters == 0:
		a := checker.Anomaly{Kind: words.never, Note: b.did(v.Last) + ", but " + words.nobody}
		for _, c := range v.Calls {
			if c.Type == histories.Fail && c.Invoked < v.Last.Completed && b.sets(c, found) {
				a.Note += fmt.Sprintf(", other than by a call that reported failure: %s", b.did(c))
				a.Ops = checker.Ops(c)
				break
			}
		}
		return a
	case len(took) > setters:
		return checker.Anomaly{
			Kind: words.gone,
			Note: fmt.Sprintf("%s, which makes %d that found it %s, but it came to be so no more than %d times",
				b.did(v.Last), len(took), b.state(found), setters),
			Ops: checker.Ops(took...),
		}
	}
	return unexplained(v, b.did)
}

// after tells of a call that shows that the object was not as the last one found it,
// before that began, if nothing can have changed it since.
func (b *bit) after(v checker.Violation[string, answer], found bool) (a checker.Anomaly, ok bool) {
	var latest bitCall
	for _, c := range v.Calls {
		if c.Completed < v.Last.Invoked && c.Type == histories.OK && b.leaves(c) != found && c.Invoked >= latest.Invoked {
			latest = c
		}
	}
	if latest.F == "" || slices.ContainsFunc(v.Calls, func(c bitCall) bool {
		return c.Type != histories.Fail && c.Index != v.Last.Index && b.sets(c, found) &&
			c.Invoked < v.Last.Completed && c.Completed > latest.Invoked
	}) {
		return a, false
	}
	a.Note = b.did(v.Last) + ", but before that " + b.did(latest)
	a.Ops = checker.Ops(latest)
	return a, true
}

// leaves returns what the object is right after a call that was ok.
func (b *bit) leaves(c bitCall) bool {
	if a := b.access(c); a.Kind != linear.Read {
		return a.New
	}
	return b.access(c).Old
}

// sets says that c makes the object what it may not have been.
func (b *bit) sets(c bitCall, to bool) bool {
	a := b.access(c)
	return a.Kind != linear.Read && a.New == to
}

// setters returns how many calls can have made the object what the last one found.
func (b *bit) setters(v checker.Violation[string, answer], found bool) (n int) {
	for _, c := range v.Calls {
		if c.Type != histories.Fail && c.Index != v.Last.Index && c.Invoked < v.Last.Completed && b.sets(c, found) {
			n++
		}
	}
	return n
}

// takers returns the calls up to the last that found the object so and changed it, if the
// last is one of them.
func (b *bit) takers(v checker.Violation[string, answer], found bool) (took []bitCall) {
	took = slices.DeleteFunc(slices.Clone(v.Calls), func(c bitCall) bool {
		a := b.access(c)
		return c.Type != histories.OK || c.Completed > v.Last.Completed || a.Kind != linear.CAS || a.Old != found
	})
	if b.access(v.Last).Kind != linear.CAS {
		return nil
	}
	return took
}
