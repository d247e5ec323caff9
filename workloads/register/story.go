package register

import (
	"sort"
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

	// Before the last call began: from each write on, which of those was the last known to
	// have happened; which cas had taken a value; and from each look on, which came first.
	replaced pairs
	took     map[Value]int32
	looked   pairs
}

// pairs say of each position of a list which one from there on is best, and which of those
// that are of another value than that; -1 is none.
type pairs [][2]int32

// choose returns the pairs of a list of n, of values, in which each may be better than one
// after it.
func choose(n int, value func(i int32) Value, counts func(i int32) bool, better func(i, than int32) bool) pairs {
	p := make(pairs, n+1)
	p[n] = [2]int32{-1, -1}
	for i := int32(n - 1); i >= 0; i-- {
		best := p[i+1]
		switch {
		case !counts(i):
		case best[0] < 0 || better(i, best[0]):
			if best[0] >= 0 && value(i) != value(best[0]) {
				best[1] = best[0]
			}
			best[0] = i
		case value(i) != value(best[0]) && (best[1] < 0 || better(i, best[1])):
			best[1] = i
		}
		p[i] = best
	}
	return p
}

// A look is a call that saw a value.
type look struct {
	*call
	saw Value
}

// An effect is a write or a cas, with the time by which it had happened for sure:
// when it returned, or before, when another call had seen what only it sets. If
// neither came about, that is never.
type effect struct {
	*call
	by    time.Duration
	proof *call // the one that saw it, if that is how it is known
}

// ops returns what e rests on.
func (e effect) ops() []int {
	if e.proof == nil {
		return checker.Ops(*e.call)
	}
	return checker.Ops(*e.call, *e.proof)
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
	case e.proof != nil:
		return did(*e.call) + ", seen when " + did(*e.proof)
	}
	return did(*e.call)
}

func newStory(v checker.Violation[Input, Value], first Value) *story {
	s := &story{first: first, last: v.Last, saw: unknown, sources: map[Value]int{first: 1}}
	if saw, ok := seen(v.Last); ok {
		s.saw = saw
	}
	firstLook := map[Value]look{} // the first to return
	for i := range v.Calls {
		c := &v.Calls[i]
		if saw, ok := seen(*c); ok {
			l := look{c, saw}
			s.looks = append(s.looks, l)
			if f, ok := firstLook[saw]; !ok || l.Completed < f.Completed {
				firstLook[saw] = l
			}
		}
		switch {
		case c.F == Read || c.In.Old == c.In.New && c.F == CAS: // sets nothing
		case c.Type == histories.Fail:
			s.failed = append(s.failed, *c)
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
	s.weigh()
	return s
}

// weigh prepares what is asked of each of many writes.
func (s *story) weigh() {
	before := func(i int32) bool { return s.writes[i].by < s.last.Invoked }
	s.replaced = choose(len(s.writes), func(i int32) Value { return s.writes[i].In.New }, before, s.later)
	s.took = map[Value]int32{}
	for i := range int32(len(s.writes)) {
		if x := &s.writes[i]; x.F == CAS && x.Type == histories.OK && s.sources[x.In.Old] == 1 && before(i) {
			if other, ok := s.took[x.In.Old]; !ok || s.later(i, other) {
				s.took[x.In.Old] = i
			}
		}
	}
	s.looked = choose(len(s.looks), func(i int32) Value { return s.looks[i].saw },
		func(i int32) bool { return s.looks[i].Completed < s.last.Invoked }, func(i, than int32) bool { return true })
}

// later says that a write was known to have happened later than another, or is the first of
// both in the order of their invocations.
func (s *story) later(i, than int32) bool {
	a, b := s.writes[i].by, s.writes[than].by
	return a > b || a == b && i < than
}

// setBy returns what could have set v before the last call returned.
func (s *story) setBy(v Value) []effect {
	var sources []effect
	if v == s.first {
		sources = append(sources, effect{call: &call{In: Input{New: v}}, by: -1})
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
func (s *story) successor(w effect) (latest effect, ok bool) {
	at := sort.Search(len(s.writes), func(i int) bool { return s.writes[i].Invoked > w.by })
	best := s.replaced[at][0]
	if best >= 0 && s.writes[best].In.New == w.In.New {
		best = s.replaced[at][1]
	}
	if x, took := s.took[w.In.New]; took && (best < 0 || s.later(x, best)) {
		best = x
	}
	if best < 0 {
		return latest, false
	}
	return s.writes[best], true
}

// otherLook returns a look before the last call that found another value than
// w's, which had been there.
func (s *story) otherLook(w effect) (l look, ok bool) {
	at := sort.Search(len(s.looks), func(i int) bool { return s.looks[i].Invoked > w.by })
	first := s.looked[at][0]
	if first >= 0 && s.looks[first].saw == w.In.New {
		first = s.looked[at][1]
	}
	if first < 0 {
		return l, false
	}
	return s.looks[first], true
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
