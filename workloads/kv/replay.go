package kv

import (
	"fmt"
	"slices"
	"sort"

	"github.com/hacheck/hacheck/histories"
)

// prepare finds out which of the gaps could have changed a key.
//
// A key whose mod revision is m in the state of revision s was changed by none of
// the revisions between. That is what most gaps are known by.
func (j *judgement) prepare(key string, r *record) {
	for _, l := range r.looks {
		if l.kv != nil && l.kv.Mod < l.at {
			r.quiet = append(r.quiet, span{l.kv.Mod, l.at})
		}
	}
	r.quiet = r.quiet.merged()
	r.lastSeen = map[uint64]*call{}
	for _, l := range r.looks {
		e, _ := r.at(l.at)
		seen := !e.put && !l.present
		if l.kv != nil {
			e.revision, seen = l.kv.Mod, true
		}
		if last := r.lastSeen[e.revision]; seen && (last == nil || last.Completed < l.Completed) {
			r.lastSeen[e.revision] = l.call
		}
	}
	for _, g := range j.gaps {
		if !r.quiet.contain(g.revision) {
			r.touch.gaps = append(r.touch.gaps, g.revision)
		}
	}
	for _, w := range j.open {
		var puts, deletes bool
		for _, b := range branches(w.call) {
			for _, a := range b.actions {
				puts = puts || a.Key == key && a.F == Put
				deletes = deletes || a.Key == key && a.F == Delete
			}
		}
		if puts {
			r.touch.puts = append(r.touch.puts, w.after.revision)
		}
		if deletes {
			r.touch.deletes = append(r.touch.deletes, w.after.revision)
		}
	}
	slices.Sort(r.touch.puts)
	slices.Sort(r.touch.deletes)
}

// Touches are the changes of a key that nobody has seen, but that may have happened:
// the gaps that could have, and the floors of the writes of unknown outcome, which
// can only have made a revision above theirs.
type touches struct{ gaps, puts, deletes []uint64 }

// within returns the gaps in (after, upTo].
func (t *touches) within(after, upTo uint64) []uint64 {
	from := sort.Search(len(t.gaps), func(i int) bool { return t.gaps[i] > after })
	to := sort.Search(len(t.gaps), func(i int) bool { return t.gaps[i] > upTo })
	return t.gaps[from:max(from, to)]
}

// mayPut returns how often the key may have been put in (after, upTo].
func (t *touches) mayPut(after, upTo uint64) int {
	gaps := t.within(after, upTo)
	if len(gaps) == 0 {
		return 0
	}
	return min(len(gaps), sort.Search(len(t.puts), func(i int) bool { return t.puts[i] >= gaps[len(gaps)-1] }))
}

// mayDelete says whether the key may have been deleted in (after, upTo].
func (t *touches) mayDelete(after, upTo uint64) bool {
	gaps := t.within(after, upTo)
	return len(gaps) > 0 && len(t.deletes) > 0 && t.deletes[0] < gaps[len(gaps)-1]
}

// A state is what is known of a key's history at an event.
type state struct {
	known           bool // the rest is
	create, version uint64
}

// replay computes create revisions and versions from the events of a key, and
// compares them with what was seen of each. What unseen changes leave open, the first
// look settles.
func (j *judgement) replay(key string, r *record) {
	pins := map[uint64][]look{} // of each mod revision those that differ
	for _, l := range r.looks {
		if l.kv != nil && !slices.ContainsFunc(pins[l.kv.Mod], func(o look) bool { return *o.kv == *l.kv }) {
			pins[l.kv.Mod] = append(pins[l.kv.Mod], l)
		}
	}
	var quiet spans
	before, last := state{known: true}, uint64(0)
	for _, e := range r.events {
		now := state{known: true}
		if e.put {
			exact := before.known && r.touch.mayPut(last, e.revision-1) == 0 && !r.touch.mayDelete(last, e.revision-1)
			if now = before.next(e.revision); !exact {
				now = state{}
			}
			for _, l := range pins[e.revision] {
				seen := state{true, l.kv.Create, l.kv.Version}
				if !now.known && r.touch.allow(before, last, e.revision, seen) {
					now = seen
				}
				if seen != now {
					j.wrong(key, r, e, l, now, before, last)
				}
			}
			if !exact && before.known && before.version > 0 && now == before.next(e.revision) {
				quiet = append(quiet, span{last, e.revision - 1})
			}
		}
		before, last = now, e.revision
	}
	if len(quiet) > 0 { // the events stand in order, and so do these
		r.touch.gaps = slices.DeleteFunc(slices.Clone(r.touch.gaps), quiet.contain)
	}
}

// next returns the state after a put that follows s.
func (s state) next(revision uint64) state {
	switch {
	case !s.known:
		return s
	case s.version == 0:
		return state{true, revision, 1}
	}
	return state{true, s.create, s.version + 1}
}

// allow says whether a put at a revision, the next known event after that of revision
// last, which left the key as before says, can have led to what was seen.
func (t *touches) allow(before state, last, revision uint64, seen state) bool {
	puts, deleted := uint64(t.mayPut(last, revision-1)), t.mayDelete(last, revision-1)
	fresh := !before.known || before.version == 0 || deleted // it may have had to be made anew
	switch {
	case seen.create > revision || seen.version == 0:
		return false
	case seen.create == revision:
		return seen.version == 1 && fresh
	case !before.known && seen.create <= last:
		return seen.version <= revision-seen.create+1
	case seen.create > last: // one of the unseen puts made it
		after := uint64(len(t.within(seen.create-1, revision-1)))
		_, isGap := slices.BinarySearch(t.gaps, seen.create)
		return fresh && isGap && puts > 0 && seen.version >= 2 && seen.version <= 1+min(puts, after)
	}
	return seen.create == before.create && seen.version > before.version && seen.version <= before.version+1+puts
}

// wrong reports a look at what e put with another create revision or version than
// it can have.
func (j *judgement) wrong(key string, r *record, e event, l look, now, before state, last uint64) {
	kind, id := "wrong version", fmt.Sprint(key, " ", e.revision)
	could := now
	could.version = l.kv.Version
	if !now.known {
		could = before.next(e.revision)
	}
	if could.known && could.create != l.kv.Create {
		kind = "wrong create revision"
	}
	why := fmt.Sprintf("but then it was created at revision %d, and it is version %d", now.create, now.version)
	if !now.known {
		why = "but no changes that may have happened lead to that"
	}
	calls := append([]*call{l.call}, e.evidence()...)
	for _, p := range r.events { // what came before it
		if p.revision == last {
			why += fmt.Sprintf("; before, %v", p.write)
			calls = append(calls, p.evidence()...)
			break
		}
	}
	j.report(kind, id, fmt.Sprintf("%s and saw %s; %v, %s", did(l.call), shown(*l.kv), e.write, why), calls...)
}

// at returns the last event at or before a revision.
func (r *record) at(revision uint64) (event, bool) {
	i := sort.Search(len(r.events), func(i int) bool { return r.events[i].revision > revision })
	if i == 0 {
		return event{}, false
	}
	return r.events[i-1], true
}

// compare asks whether what was seen of a key is what the last event had left.
func (j *judgement) compare(key string, r *record, l look) {
	e, any := r.at(l.at)
	switch {
	case l.kv != nil:
		if any && e.revision > l.kv.Mod {
			j.missing(key, r, e, l)
		}
	case l.present:
		if !e.put && r.touch.mayPut(e.revision, l.at) == 0 {
			note := did(l.call) + ", but there was nothing: "
			if any {
				note += e.String()
			} else {
				note += "nobody had put it"
			}
			j.report("phantom delete", "", note, append(e.calls(), l.call)...)
		}
	case any && e.put && !r.touch.mayDelete(e.revision, l.at):
		j.missing(key, r, e, l)
	}
}

// calls returns the evidence of e, if it is one.
func (e event) calls() []*call {
	if e.write == nil {
		return nil
	}
	return e.evidence()
}

// missing reports a look at a state in which e should have been, and was not.
func (j *judgement) missing(key string, r *record, e event, l look) {
	saw := "no " + key
	if l.kv != nil {
		saw = shown(*l.kv)
	}
	note := fmt.Sprintf("%s and saw %s in the state of revision %d, though %v", did(l.call), saw, l.at, e.write)
	calls := append(e.calls(), l.call)
	id := fmt.Sprint(key, " ", e.revision)
	if len(e.done) > 1 && l.sees(e.revision) {
		j.report("non-atomic txn", id, note+": some of that it saw", calls...)
		return
	}
	if after := r.lastSeen[e.revision]; after != nil && after.Completed > l.Completed {
		j.report("stale read", id, note+"; it was there when "+did(after), append(calls, after)...)
		return
	}
	if e.Type == histories.Info {
		j.report("dirty read", id, note, calls...)
		return
	}
	j.report("lost write", id, note, calls...)
}

// sees says whether c saw something that a revision changed.
func (l look) sees(revision uint64) bool {
	for _, kv := range l.Out.KVs {
		if kv.Mod == revision {
			return true
		}
	}
	for _, r := range l.Out.Results {
		if r.KV != nil && r.KV.Mod == revision {
			return true
		}
	}
	return false
}

// An answer is what is known of a condition.
type answer int

const (
	maybe answer = iota
	no
	yes
)

// decide asks whether a transaction's conditions came out as they should.
func (j *judgement) decide(t test) {
	all := yes
	for _, c := range t.In.If {
		is, e := j.holds(c, t.at)
		if is == no && t.held {
			j.report("wrong compare", "", fmt.Sprintf("%s, for which %s had to hold: %s", did(t.call), condition(c), e.story()), append(e.calls(), t.call)...)
			return
		}
		if is != yes {
			all = maybe
		}
	}
	if all != yes || t.held {
		return
	}
	note, calls := did(t.call)+", though all it asked for held", []*call{t.call}
	for _, c := range t.In.If {
		_, e := j.holds(c, t.at)
		note += fmt.Sprintf(": %s: %s", condition(c), e.story())
		calls = append(calls, e.calls()...)
	}
	j.report("wrong compare", "", note, calls...)
}

// story says what e is.
func (e event) story() string {
	if e.write == nil {
		return "nobody had put it"
	}
	return e.String()
}

// holds says whether a condition holds in the state of a revision, and which event
// that rests on.
func (j *judgement) holds(c Compare, at uint64) (answer, event) {
	r := j.on[c.Key]
	if r == nil {
		r = &record{}
	}
	e, _ := r.at(at)
	var is bool
	switch {
	case c.By == Value:
		is = e.put && e.value == c.Value
	case c.Mod == 0:
		is = !e.put
	default:
		is = e.put && e.revision == c.Mod
	}
	put, deleted := r.touch.mayPut(e.revision, at) > 0, r.touch.mayDelete(e.revision, at)
	switch {
	case is && !put && !deleted:
		return yes, e
	case is:
		return maybe, e
	case c.By == Mod && c.Mod == 0 && deleted:
		return maybe, e
	case c.By == Mod && c.Mod > e.revision && c.Mod <= at && r.touch.mayPut(c.Mod-1, c.Mod) > 0:
		return maybe, e
	case c.By == Value && put:
		if s := j.puts[c.Value]; s != nil && s.key == c.Key && s.Type == histories.Info && s.revision == 0 {
			return maybe, e
		}
	}
	return no, e
}

// A span is the revisions after one and up to another.
type span struct{ after, upTo uint64 }

// spans are disjoint once they are merged, and ascending.
type spans []span

func (s spans) merged() spans {
	slices.SortFunc(s, func(a, b span) int {
		if a.after < b.after {
			return -1
		}
		return 1
	})
	var merged spans
	for _, x := range s {
		if last := len(merged) - 1; last >= 0 && x.after <= merged[last].upTo {
			merged[last].upTo = max(merged[last].upTo, x.upTo)
			continue
		}
		merged = append(merged, x)
	}
	return merged
}

func (s spans) contain(revision uint64) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].upTo >= revision })
	return i < len(s) && s[i].after < revision
}
