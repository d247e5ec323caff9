package register

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// explain says what is wrong with the last call of a violation. Whatever it says
// is true of the history; of several true things it says the simplest. The last
// call has seen a value, or that one was not there: a mere write can always come last.
func (s Semantics) explain(v checker.Violation[Input, Value]) checker.Anomaly {
	told := newStory(v, s.Initial)
	if _, ok := seen(v.Last); !ok {
		return told.neverElse(len(v.Witness))
	}
	for _, tell := range []func() (checker.Anomaly, bool){
		told.wrongRefusal, told.nobodyWrote, told.lostUpdate, told.overwritten, told.contradiction,
	} {
		a, ok := tell()
		if ok && v.Stale != "" {
			a.Note += "; " + v.Stale
		}
		if ok {
			return a
		}
	}
	return told.unexplained(len(v.Witness))
}

// wrongRefusal tells of a cas that was refused because of the value it expected.
func (s *story) wrongRefusal() (a checker.Anomaly, ok bool) {
	c := s.last
	if c.Type != histories.Fail || c.Out != c.In.Old {
		return a, false
	}
	return checker.Anomaly{Kind: "wrong refusal", Note: did(c) + ", just the value that it expected"}, true
}

// neverElse tells of a cas that was refused when the register can have held nothing
// but what it expected.
func (s *story) neverElse(witness int) checker.Anomaly {
	if p := s.possible(); len(p) != 1 || p[0] != s.last.In.Old {
		return s.unexplained(witness)
	}
	return checker.Anomaly{Kind: "wrong refusal", Note: did(s.last) + fmt.Sprintf(", though it can have held nothing but %v", s.last.In.Old)}
}

// nobodyWrote tells of a value that was seen and that nothing could have set.
func (s *story) nobodyWrote() (a checker.Anomaly, ok bool) {
	if len(s.setBy(s.saw)) > 0 {
		return a, false
	}
	for _, c := range s.failed {
		if c.In.New == s.saw && c.Invoked < s.last.Completed {
			return checker.Anomaly{
				Kind: "failed write took effect",
				Note: fmt.Sprintf("%s, but nothing was to set %v other than a %s that reported failure: %s", did(s.last), s.saw, c.F, did(c)),
				Ops:  checker.Ops(c),
			}, true
		}
	}
	a = checker.Anomaly{Kind: "phantom value", Note: fmt.Sprintf("%s, but nobody wrote %v", did(s.last), s.saw)}
	for _, w := range s.writes {
		if w.In.New == s.saw {
			a.Note = fmt.Sprintf("%s, but only later did anybody write it: %s", did(s.last), did(*w.call))
			a.Ops = checker.Ops(*w.call)
			break
		}
	}
	return a, true
}

// lostUpdate tells of more cas that took the value away than there were writes
// of it.
func (s *story) lostUpdate() (a checker.Anomaly, ok bool) {
	if s.last.F != CAS || s.last.Type != histories.OK || s.last.In.Old == s.last.In.New {
		return a, false
	}
	var took []string
	for _, w := range s.writes {
		if w.F == CAS && w.Type == histories.OK && w.In.Old == s.saw && w.Completed <= s.last.Completed {
			took = append(took, did(*w.call))
			a.Ops = append(a.Ops, checker.Ops(*w.call)...)
		}
	}
	sources := len(s.setBy(s.saw))
	if len(took) <= sources {
		return a, false
	}
	a.Kind = "lost update"
	a.Note = fmt.Sprintf("%s, though %v came to be there %s", strings.Join(took, ", and "), s.saw, times(sources))
	return a, true
}

// overwritten tells of what had replaced, before the call began, what it saw.
func (s *story) overwritten() (a checker.Anomaly, ok bool) {
	sources := s.setBy(s.saw)
	var over effect
	for _, w := range sources {
		x, ok := s.successor(w)
		if !ok {
			return a, false
		}
		if x.by > over.by {
			over = x
		}
	}
	if a, ok := s.lost(over); ok {
		return a, true
	}
	a = checker.Anomaly{Kind: "stale read", Ops: over.ops()}
	if s.last.F == CAS && s.last.Type == histories.OK {
		a.Kind = "stale cas"
	}
	a.Note = fmt.Sprintf("%s, but %v had replaced it: %s", did(s.last), over.In.New, over)
	if w := sources[0]; len(sources) == 1 && !w.initial() {
		a.Note += ", after " + w.String()
		a.Ops = append(a.Ops, w.ops()...)
	}
	return a, true
}

// lost tells that it is not this call that saw too little, but that the
// acknowledged write x was forgotten: nobody ever saw it, and two calls or more
// that began after it saw what was there before, which nothing set again.
func (s *story) lost(x effect) (a checker.Anomaly, ok bool) {
	var after []call
	for _, l := range s.looks {
		switch {
		case l.saw == x.In.New:
			return a, false
		case l.saw == s.saw && l.Invoked > x.by:
			after = append(after, *l.call)
		}
	}
	setAgain := s.sources[s.saw] > len(s.setBy(s.saw))
	if len(after) < 2 || setAgain || x.Type != histories.OK {
		return a, false
	}
	a.Kind = "lost write"
	a.Note = fmt.Sprintf("%s, and it was acknowledged, but nobody ever saw %v: %d calls that began later still found %v, the first: %s",
		did(*x.call), x.In.New, len(after), s.saw, did(after[0]))
	a.Ops = checker.Ops(*x.call, after[0], after[1])
	return a, true
}

// contradiction tells that the value was there, then another was, then it was
// back without anything that set it again.
func (s *story) contradiction() (a checker.Anomaly, ok bool) {
	sources := s.setBy(s.saw)
	latest := slices.MaxFunc(sources, func(a, b effect) int { return cmp.Compare(a.by, b.by) })
	l, ok := s.otherLook(latest)
	if !ok {
		return a, false
	}
	a.Kind = "contradictory reads"
	a.Note = fmt.Sprintf("%s, then %s, then %s, though nothing had set it again", latest, did(*l.call), did(s.last))
	a.Ops = append(latest.ops(), checker.Ops(*l.call)...)
	return a, true
}

// unexplained says the little that is always true.
func (s *story) unexplained(witness int) checker.Anomaly {
	a := checker.Anomaly{
		Kind: "not linearizable",
		Note: fmt.Sprintf("no order of these %d calls explains that %s", witness, did(s.last)),
	}
	var others []string
	for _, v := range s.possible() {
		if v != s.saw {
			others = append(others, v.String())
		}
	}
	const most = 5
	if len(others) > 0 && len(others) <= most {
		a.Note += "; it could only hold " + strings.Join(others, " or ")
	}
	return a
}

// did says what a call did, in words.
func did(c call) string {
	it, is := c.In.Key, c.In.Key+" = "
	if c.In.Key == "" {
		it, is = "it", ""
	}
	switch {
	case c.F == Read:
		return checker.Did(c, "read "+is+c.Out.String())
	case c.F == Write:
		return checker.Did(c, "wrote "+is+c.In.New.String())
	}
	cas := fmt.Sprintf("set %s from %v to %v", it, c.In.Old, c.In.New)
	switch saw, ok := seen(c); {
	case c.Type != histories.Fail:
	case ok:
		cas = fmt.Sprintf("could not %s because it held %v", cas, saw)
	case c.Out == unknown:
		cas = "could not " + cas
	}
	return checker.Did(c, cas)
}

func times(n int) string {
	switch n {
	case 1:
		return "only once"
	case 2:
		return "only twice"
	}
	return fmt.Sprintf("only %d times", n)
}
