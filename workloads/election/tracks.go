package election

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Tracks returns who led each election, as far as h tells: for sure from when its campaign
// completed, or it was seen to lead, until something was last invoked that succeeded in its
// term or saw that; and perhaps until it resigned, or is known to lead no more, since it was
// refused, a later term was seen, or no leader. A candidate of which nobody knows whether it
// was elected led perhaps from when it campaigned until another was elected, or until it was
// seen to lead itself; it may have been elected later still, which is not drawn. A second
// leader of the same term is bad.
func Tracks(h *histories.History) ([]workloads.Track, error) {
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		return nil, err
	}
	byElection := map[string][]call{}
	for _, c := range calls {
		byElection[c.In.Election] = append(byElection[c.In.Election], c)
	}
	drawn := map[string][]workloads.Slice{}
	for name, calls := range byElection {
		if all := newRace(calls).draw(h); len(all) > 0 {
			drawn[name] = all
		}
	}
	return workloads.Tracks("leaders", drawn), nil
}

// A race is an election with what is known of its terms.
type race struct {
	reigns  []*reign // in the order of the calls that first tell of them
	unknown []call   // campaigns of which nobody knows how they ended

	shown map[uint64]time.Duration   // when a term was first known to have begun
	over  map[uint64]ended           // when a term was first known to be over, by what is said of it
	proof map[uint64][]time.Duration // when calls were invoked that show a term to last, ascending
	free  []call                     // observations of no leader
}

// A reign is a term of a leader.
type reign struct {
	leader string
	term   uint64
	by     call // the first that tells of it
	from   time.Duration
	second bool // the term had another leader
	won    bool // it was told so itself
}

type ended struct {
	at  time.Duration
	how string
}

// or returns what came first.
func (e ended) or(other ended) ended {
	if other.at < e.at {
		return other
	}
	return e
}

var neverEnded = ended{at: histories.Never}

func newRace(calls []call) *race {
	r := &race{shown: map[uint64]time.Duration{}, over: map[uint64]ended{}, proof: map[uint64][]time.Duration{}}
	type name struct {
		leader string
		term   uint64
	}
	known := map[name]*reign{}
	led := map[uint64]bool{}
	for _, c := range calls {
		switch {
		case c.Type == histories.Info && c.F == Campaign:
			r.unknown = append(r.unknown, c)
		case c.Type == histories.Fail && workloads.RefusedAs(c.Meta) == deposed:
			r.ends(c.In.Term, ended{c.Completed, ", until it was told that its term is over"})
		case c.Type == histories.OK:
			r.tells(c)
		}
		if c.Type != histories.OK || c.F != Campaign && c.F != Observe || c.Out.Leader == "" {
			continue
		}
		n := name{c.Out.Leader, c.Out.Term}
		one := known[n]
		if one == nil || c.F == Campaign && one.won { // which the same one wins twice is told twice
			one = &reign{leader: n.leader, term: n.term, by: c, from: c.Completed, second: led[n.term]}
			known[n], led[n.term] = one, true
			r.reigns = append(r.reigns, one)
		}
		one.won = one.won || c.F == Campaign
		if c.Completed < one.from {
			one.from, one.by = c.Completed, c
		}
	}
	return r
}

// tells takes in what a call that succeeded says of terms.
func (r *race) tells(c call) {
	term := c.Out.Term
	switch {
	case c.F == Resign:
		r.ends(term, ended{c.Invoked, ", until it resigned"})
	case c.F == Observe && term == 0:
		r.free = append(r.free, c)
	case c.F != Campaign:
		r.proof[term] = append(r.proof[term], c.Invoked)
	}
	if at, ok := r.shown[term]; !ok || c.Completed < at {
		r.shown[term] = c.Completed
	}
}

func (r *race) ends(term uint64, e ended) {
	if was, ok := r.over[term]; ok {
		e = was.or(e)
	}
	r.over[term] = e
}

// later returns of each term that was shown when a greater one was first.
func (r *race) later() map[uint64]time.Duration {
	terms := make([]uint64, 0, len(r.shown))
	for term := range r.shown {
		terms = append(terms, term)
	}
	slices.Sort(terms)
	later, first := map[uint64]time.Duration{}, histories.Never
	for _, term := range slices.Backward(terms) {
		later[term] = first
		first = min(first, r.shown[term])
	}
	return later
}

// earliest returns of each observation of no leader when it, or one of those after it, first
// completed.
func (r *race) earliest() []time.Duration {
	earliest := make([]time.Duration, len(r.free))
	first := histories.Never
	for i, c := range slices.Backward(r.free) {
		first = min(first, c.Completed)
		earliest[i] = first
	}
	return earliest
}

func (r *race) draw(h *histories.History) (drawn []workloads.Slice) {
	later, vacant := r.later(), r.earliest()
	seen := map[string]*reign{} // the first of a leader who was not told
	var began []time.Duration
	for _, one := range r.reigns {
		end := neverEnded
		if e, ok := r.over[one.term]; ok && e.at > one.from {
			end = e
		}
		end = end.or(ended{later[one.term], ", until there was a later term"})
		if i := sort.Search(len(r.free), func(i int) bool { return r.free[i].Invoked >= one.from }); i < len(r.free) {
			end = end.or(ended{vacant[i], ", until nobody was seen to lead"})
		}
		proof := r.proof[one.term]
		sure := one.from
		if i := sort.Search(len(proof), func(i int) bool { return proof[i] >= end.at }); i > 0 {
			sure = proof[i-1]
		}
		held := workloads.Held(one.leader, fmt.Sprintf("%s, term %d", one.leader, one.term), end.how, one.from, sure, end.at, one.by.Index)
		held[0].Bad = one.second
		drawn = append(drawn, held...)
		began = append(began, one.from)
		if first := seen[one.leader]; !one.won && (first == nil || one.from < first.from) {
			seen[one.leader] = one
		}
	}
	slices.Sort(began)
	for _, c := range r.unknown {
		to, what := histories.Never, ": nobody knows whether it was elected"
		if one := seen[c.In.Leader]; one != nil && one.from > c.Invoked {
			to, what = one.from, ", until it was seen to lead"
		} else if i, _ := slices.BinarySearch(began, workloads.Answered(h, c)+1); i < len(began) {
			to = began[i]
		}
		drawn = append(drawn, workloads.Maybe(c.In.Leader+what, c.Invoked, to, c.Index))
	}
	return drawn
}
