package vm

import (
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// The kinds of what [atomic] finds.
const (
	bothRan        = "source and target both ran"
	neitherRan     = "neither source nor target ran"
	memoryLost     = "memory lost in migration"
	longPause      = "long pause of a migration"
	stuckMigrating = "stuck migrating"
)

// pauseLimit is how long a machine may stand still for a migration when nothing is broken.
// What is left to send takes milliseconds, and the transaction that hands it over a few round
// trips, and a sync or two: but on a computer that is short of time the store may elect a
// leader meanwhile, for whom it waits, and more than once.
const pauseLimit = 5 * time.Second

// settled is how long after a fault has ended it is to blame for what is slow, be it by an
// election.
const settled = 5 * time.Second

// A move is a migration, as records and guests tell of it.
type move struct {
	vm    *machine
	epoch uint64 // of the source
	// asked is the record that asked for it, committed the one that handed the machine to the
	// target, ended the first of another state; nil: there is none.
	asked, committed, ended *record
	// paused is what the source said when it was stopped, before is its last sign of running
	// until then, and after the first of the one that went on; nil: there is none.
	paused, before, after *sign
}

// moves returns the migrations of m.
func (m *machine) moves() (all []*move) {
	var open *move
	for _, r := range m.records {
		switch v := r.VM; {
		case v.State != migrating:
			if open != nil {
				open.ended = r
			}
			open = nil
		case open == nil:
			open = &move{vm: m, asked: r, epoch: v.Epoch}
			if v.Phase == phaseCommitted { // it had begun before anybody looked
				open.epoch--
				open.committed = r
			}
			all = append(all, open)
		case v.Phase == phaseCommitted && open.committed == nil:
			open.committed = r
		}
	}
	m.pauses(all)
	return all
}

// pauses finds for each migration the signs of its last pause.
func (m *machine) pauses(all []*move) {
	byEpoch := map[uint64][]*move{}
	for _, v := range all {
		byEpoch[v.epoch] = append(byEpoch[v.epoch], v)
	}
	var ran *sign // the last that ran
	var open *move
	for i := range m.signs {
		s := &m.signs[i]
		switch {
		case s.kind == Paused:
			open = nil
			// Several migrations of one epoch are those that were aborted, and the last: of
			// them it is the last that was asked for before the pause.
			for _, v := range byEpoch[s.Epoch] {
				if v.asked.op < s.op || open == nil {
					open = v
				}
			}
			if open != nil {
				open.paused, open.after, open.before = s, nil, nil
				if ran != nil && ran.Epoch == s.Epoch && ran.Host == s.Host {
					open.before = ran
				}
			}
		case s.runs():
			if open != nil && open.after == nil {
				open.after = s
			}
			ran = s
		}
	}
}

// atomic judges whether each migration is one step: of source and target exactly one runs
// after it, with what it had in memory, and soon; and whether each comes to an end.
func atomic(e *events, j *judgement) {
	spans, err := e.h.Faults()
	if err != nil {
		j.cannot("%v", err)
		return
	}
	n := map[string]int64{}
	for _, m := range e.each() {
		m.twice(j)
		for _, v := range m.moves() {
			n["migrations"]++
			switch {
			case v.committed != nil:
				n["committed"]++
			case v.ended != nil:
				n["aborted"]++
			default:
				n["unfinished"]++
			}
			v.remembers(j)
			v.pause(e, spans, j)
			v.goesOn(e, j)
		}
	}
	hangs, _ := e.stuck()
	for _, h := range hangs {
		if h.vm.State == migrating {
			j.found(stuckMigrating, h.ops, "%s", h.what)
		}
	}
	j.counts = n
	if n["migrations"] == 0 {
		j.cannot("nothing migrated")
	}
	j.note("migrations: %d, committed: %d, aborted: %d, unfinished: %d", n["migrations"], n["committed"], n["aborted"], n["unfinished"])
	if n["unfinished"] > 0 && len(hangs) == 0 {
		for _, l := range e.looks {
			if l.ok {
				return // it saw them end, or there were none left then
			}
		}
		j.cannot("nobody saw all migrations ended")
	}
}

// twice finds guests that were paused for a migration and ran again after another had gone
// on, or without what they had in memory. Only what they say at these two moments is compared:
// a beat may be told a moment after it was counted.
func (m *machine) twice(j *judgement) {
	paused, told := map[guest]*sign{}, map[guest]bool{}
	var last *sign // that ran
	for i := range m.signs {
		s := &m.signs[i]
		g := s.guest()
		if s.kind == Paused {
			paused[g] = s
		}
		if !s.runs() {
			continue
		}
		if p := paused[g]; p != nil && s.kind == Continued && s.Count < p.Count && s.Count > 0 {
			j.found(memoryLost, []int{p.op, s.op}, "%s: %v had counted to %d when it was paused, and went on with %d", m.id, g, p.Count, s.Count)
		}
		if p := paused[g]; p != nil && last != nil && last.op > p.op && last.guest() != g && !told[g] {
			told[g] = true
			j.found(bothRan, []int{p.op, last.op, s.op}, "%s was paused for a migration, %v; then %v went on, and then the first as well", m.id, g, last.guest())
		}
		last = s
	}
}

// remembers judges whether the target goes on where the source was stopped. It does not have
// to go on at all: then it is started in another epoch.
func (v *move) remembers(j *judgement) {
	if v.paused == nil || v.committed == nil {
		return
	}
	epoch := v.committed.VM.Epoch
	signs := v.vm.signs[v.vm.before(v.paused.op):]
	for i := range signs {
		s := &signs[i]
		switch {
		case !s.runs() || s.Epoch != epoch:
		case s.kind == Boot:
			j.found(memoryLost, []int{v.paused.op, v.committed.op, s.op}, "%s was handed over to %s in epoch %d, and was started anew there in that epoch", v.vm.id, s.Host, epoch)
			return
		case s.Count > 0:
			if s.Count < v.paused.Count {
				j.found(memoryLost, []int{v.paused.op, s.op}, "%s had counted to %d when it was paused, %v, and went on with %d, %v",
					v.vm.id, v.paused.Count, v.paused.guest(), s.Count, s.guest())
			}
			return
		}
	}
}

// downtime returns how long nothing of the machine ran, if it went on by the migration.
func (v *move) downtime() (d time.Duration, ok bool) {
	if v.paused == nil || v.after == nil || v.after.kind != Resumed && v.after.kind != Continued {
		return 0, false
	}
	from := v.paused
	if v.before != nil {
		from = v.before
	}
	return v.after.at - from.at, true
}

// pause judges how long the machine stood still, if nothing was broken. A time in which
// nobody was heard of is not counted: it was the tester that stood still. Nor is a pause in
// which the control plane was slow to answer anybody: it was without a leader, or its computer
// had too much to do, as it may without a fault.
func (v *move) pause(e *events, spans []histories.FaultSpan, j *judgement) {
	d, ok := v.downtime()
	if !ok || d <= pauseLimit {
		return
	}
	from, to := v.after.at-d, v.after.at
	for _, s := range spans {
		until := s.To
		if s.HealFailed != "" {
			until = histories.Never
		}
		if s.From <= to && (until == histories.Never || until+settled >= min(from, v.asked.at)) {
			return
		}
	}
	if d-e.quiet(from, to) <= pauseLimit || e.slow(from, to) {
		return
	}
	j.found(longPause, []int{v.paused.op, v.after.op}, "%s stood still for %v for a migration, %v without faults", v.vm.id, checker.Brief(d), pauseLimit)
}

// slowAnswer is what an answer takes of a control plane that is not well: else it is some
// milliseconds. A machine is handed over by a few of them, and who waits for one gives up soon.
const slowAnswer = 500 * time.Millisecond

// slow says that somebody waited for a slow answer at some moment between two.
func (e *events) slow(from, to time.Duration) bool {
	for i, op := range e.h.All() {
		if op.Process < 0 || op.Type != histories.Invoke || op.F == Rest || op.Time > to {
			continue
		}
		until := histories.Never
		if done := e.h.Pair(i); done >= 0 {
			until = e.h.At(done).Time
		}
		if until >= from && until-op.Time >= slowAnswer {
			return true
		}
	}
	return false
}

// goesOn judges whether a machine that is recorded to run after a migration, and was still
// when all was at rest, has run since.
func (v *move) goesOn(e *events, j *judgement) {
	if v.ended == nil || v.ended.VM.State != string(running) {
		return
	}
	is := v.ended.VM
	for _, l := range e.looks {
		if !l.ok || l.f != Rest || l.invoked < v.ended.op {
			continue
		}
		at := l.machines[v.vm.id]
		if at == nil || at.State != is.State || at.Host != is.Host || at.Epoch != is.Epoch {
			return // something else came of it
		}
		since := v.vm.between(v.ended.op, l.op)
		if slices.ContainsFunc(since, func(s sign) bool { return s.runs() && at.is(&s) }) || e.deaf(l, l, j) {
			return
		}
		j.found(neitherRan, []int{v.asked.op, v.ended.op, l.invoked, l.op}, "the migration of %s ended on %s in epoch %d, and it gave no sign since", v.vm.id, is.Host, is.Epoch)
		return
	}
}
