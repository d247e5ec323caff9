package register

import (
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A story is what is known of a register around the last call of a violation.
type story struct {
	first  Value // what was there at first
	last   call
	saw    Value    // by last, unknown if it does not say
	writes []effect // and cas, that happened or may have, in the order of their invocations
	failed []call   // and cas, that did not
	looks  []look   // at the register, of all calls that say what they saw

	sources map[Value]int // how many of writes set it; what was there first counts for one
}

// A look is a call that saw a value.
type look struct {
	call
	saw Value
}

// An effect is a write or a cas, with the time by which it had happened for sure:
// when it returned, or before, when another call had seen what only it sets. If
// neither came about, that is never.
type effect struct {
	call
	by    time.Duration
	proof call // the one that saw it, if that is how it is known
}

// initial says that e is no call but what was there first.
func (e effect) initial() bool { return e.F == "" }

// String says what happened, and how it is known.
func (e effect) String() string {
	switch {
	case e.initial():
		if e.In.New != Absent {
			return "at first it held " + e.In.New.String()
		}
		return "at first nothing was there"
	case e.proof.F != "":
		return did(e.call) + ", seen when " + did(e.proof)
	}
	return did(e.call)
}

func newStory(v checker.Violation[Input, Value], first Value) *story {
	s := &story{first: first, last: v.Last, saw: unknown, sources: map[Value]int{first: 1}}
	if saw, ok := seen(v.Last); ok {
		s.saw = saw
	}
	firstLook := map[Value]look{} // the first to return
	for _, c := range v.Calls {
		if saw, ok := seen(c); ok {
			l := look{c, saw}
			s.looks = append(s.looks, l)
			if f, ok := firstLook[saw]; !ok || l.Completed < f.Completed {
				firstLook[saw] = l
			}
		}
		switch {
		case c.F == Read || c.In.Old == c.In.New && c.F == CAS: // sets nothing
		case c.Type == histories.Fail:
			s.failed = append(s.failed, c)
		default:
			s.writes = append(s.writes, effect{call: c, by: c.Completed})
			s.sources[c.In.New]++
		}
	}
	for i := range s.writes {
		w := &s.writes[i]
		if l, ok := firstLook[w.In.New]; ok && s.sources[w.In.New] == 1 && l.Completed < w.by {
			w.by, w.proof = l.Completed, l.call
		}
	}
	return s
}

// setBy returns what could have set v before the last call returned.
func (s *story) setBy(v Value) []effect {
	var sources []effect
	if v == s.first {
		sources = append(sources, effect{call: call{In: Input{New: v}}, by: -1})
	}
	for _, w := range s.writes {
		if w.In.New == v && w.Invoked < s.last.Completed {
			sources = append(sources, w)
		}
	}
	return sources
}

// successor returns a write that replaced what w had set before the last call
// began: one that began after w had happened; or a cas that took w's value,
// which was nobody else's. Of several it returns the one that was last known to
// have happened.
func (s *story) successor(w effect) (effect, bool) {
	v := w.In.New
	var latest effect
	for _, x := range s.writes {
		took := s.sources[v] == 1 && x.F == CAS && x.Type == histories.OK && x.In.Old == v
		if x.In.New != v && x.by < s.last.Invoked && (w.by < x.Invoked || took) && x.by > latest.by {
			latest = x
		}
	}
	return latest, latest.F != ""
}

// otherLook returns a look before the last call that found another value than
// w's, which had been there.
func (s *story) otherLook(w effect) (look, bool) {
	for _, l := range s.looks {
		if l.saw != w.In.New && l.Invoked > w.by && l.Completed < s.last.Invoked {
			return l, true
		}
	}
	return look{}, false
}

// possible returns the values that may have been there when the last call ran:
// the right one, and others of which less is known than could be.
func (s *story) possible() []Value {
	var values []Value
	known := map[Value]bool{}
	for _, w := range append(s.setBy(s.first), s.writes...) {
		if w.Invoked > s.last.Completed || known[w.In.New] {
			continue
		}
		_, replaced := s.successor(w)
		_, gone := s.otherLook(w)
		if !replaced && !gone {
			known[w.In.New] = true
			values = append(values, w.In.New)
		}
	}
	return values
}
