package vm

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// The kinds of what [lost] finds.
const (
	lostMachine   = "lost machine"
	silentMachine = "machine recorded to run does not"
	unwantedStart = "started though not wanted"
	unwantedStop  = "stopped though wanted"
	stuck         = "stuck"
	lostWrite     = "lost guest write"
)

// stuckAfter is how long a machine has to be on the move, or not what it is wanted to be,
// after all faults have ended, for it to be stuck: longer than a leader that is lost, a
// migration that is given up and a start that is given up take one after the other, which
// is 16 s.
const stuckAfter = settleLimit - 2*time.Second

// lookGap is for how long at the most it counts as time to come to rest when nobody is answered who
// looks at all machines: a computer that was suspended gives none. The rest of stuckAfter is longer
// still than what has to come to its end.
const lookGap = 10 * time.Second

// lost judges whether what users were promised is there: all machines that were created and
// not deleted, wanted to be what users last asked for, and running if it is that, or with a
// word why not; and whether volumes have what guests were told that they have.
func lost(e *events, j *judgement) {
	all, err := calls(e.h)
	if err != nil {
		j.cannot("%v", err)
		return
	}
	promised := e.promised(all)
	looks := 0
	var before *look
	for i, l := range e.looks {
		if i > 0 {
			before = e.looks[i-1]
		}
		if !l.ok {
			continue
		}
		looks++
		for _, id := range slices.Sorted(maps.Keys(promised)) {
			l.keeps(promised[id], j)
		}
		if l.f == Rest {
			e.silent(before, l, j)
		}
	}
	for _, m := range e.each() {
		m.unwanted(j)
		m.fewer(j)
	}
	stuckOnes, why := e.stuck()
	for _, s := range stuckOnes {
		j.found(stuck, s.ops, "%s", s.what)
	}
	switch {
	case why != "":
		j.cannot("%s", why)
	case looks == 0 && len(stuckOnes) == 0:
		j.cannot("nobody saw all machines at rest in the end")
	}
	written := e.written(j)
	j.counts["machines"], j.counts["looks"], j.counts["writes"] = int64(len(promised)), int64(looks), int64(written)
	j.note("machines: %d, looks at all of them: %d, guests' writes on volumes: %d", len(promised), looks, written)
}

// A promise is a machine that has to be there.
type promise struct {
	id   string
	op   int   // from which on it is known to be there
	ops  []int // that show it
	stop int   // the op that first asked for it to be stopped or deleted; past the end: none
	del  int   // deleted
}

// promised returns the machines that were acknowledged, or recorded.
func (e *events) promised(all []call) map[string]*promise {
	promised := map[string]*promise{}
	add := func(id string, op int, ops ...int) {
		if p := promised[id]; p == nil || op < p.op {
			promised[id] = &promise{id: id, op: op, ops: ops, stop: e.h.Len(), del: e.h.Len()}
		}
	}
	for _, c := range all {
		if c.F == Create && c.Type == histories.OK && c.Out.ID != "" {
			add(c.Out.ID, c.Completion, c.Index, c.Completion)
		}
	}
	for _, m := range e.machines {
		if len(m.records) > 0 {
			add(m.id, m.records[0].op, m.records[0].op)
		}
	}
	for _, c := range all {
		p := promised[c.In.VM]
		if p == nil || c.Type == histories.Fail {
			continue
		}
		switch c.F {
		case Delete:
			p.del = min(p.del, c.Index)
			p.stop = min(p.stop, c.Index)
		case Stop:
			p.stop = min(p.stop, c.Index)
		}
	}
	return promised
}

// keeps judges whether a promise is kept by what a look saw.
func (l *look) keeps(p *promise, j *judgement) {
	v := l.machines[p.id]
	ops := append(slices.Clone(p.ops), l.invoked, l.op)
	switch {
	case p.op > l.invoked:
	case v == nil:
		j.found(lostMachine, ops, "%s was created, and is not there at the end", p.id)
	case p.del > l.op && (v.State == string(deleted) || v.Desired == string(deleted)):
		j.found(lostMachine, ops, "%s is %s, wanted %s, and nobody had asked for it to be deleted", p.id, v.State, v.Desired)
	case p.stop > l.op && v.Desired != string(running):
		j.found(lostMachine, ops, "%s is %s, wanted %s, and nobody had asked for it to be stopped", p.id, v.State, v.Desired)
	case !v.atRest(l.Snapshot):
		j.found(lostMachine, ops, "%s is wanted %s, and is %s at the end, for no reason that holds: %q", p.id, v.Desired, v.State, v.Reason)
	}
}

// silent finds machines that are recorded to run while all is at rest, and of which nobody
// gives a sign.
func (e *events) silent(before, l *look, j *judgement) {
	for i := range l.VMs {
		v := &l.VMs[i]
		since := l.stands(before, v)
		if v.State != string(running) || e.heard(since, l, v.ID, nil) {
			continue
		}
		if e.deaf(since, l, j) {
			return
		}
		j.found(silentMachine, []int{since.invoked, since.op, l.invoked, l.op}, "%s is recorded to run on %s in epoch %d, and gave no sign from %v to %v, when nobody did anything",
			v.ID, v.Host, v.Epoch, moment(since.from), moment(l.to))
	}
}

// stands returns the earlier one of two looks, if a machine was what it is in the later, and
// nobody did anything between them; else the later.
func (l *look) stands(before *look, v *VM) *look {
	if before == nil || !before.ok {
		return l
	}
	if was := before.machines[v.ID]; was == nil || was.State != v.State || was.Host != v.Host || was.Epoch != v.Epoch {
		return l
	}
	return before
}

// heard says that a guest of a machine ran between the beginning of a look and the end of
// another, one that is as wanted if that is not nil.
func (e *events) heard(since, l *look, id string, wanted func(*sign) bool) bool {
	m := e.machines[id]
	if m == nil {
		return false
	}
	signs := m.between(since.invoked, l.op)
	for i := range signs {
		if s := &signs[i]; s.runs() && (wanted == nil || wanted(s)) {
			return true
		}
	}
	return false
}

const (
	// quietLimit is for how long nobody may be heard of, when machines run, for silence to mean
	// something: else it was the tester that did not listen, and may not have caught up.
	quietLimit = 300 * time.Millisecond
	// healing is how long after a fault hosts may not yet have done what they were to: a guest
	// that stands is let go on, and one that has ended started again, when its agent is heard and
	// has heard, for which it tries again each second.
	healing = 1500 * time.Millisecond
)

// deaf says that silence between the beginning of a look and the end of another means nothing:
// signs were lost, or for some time none was heard at all, or a fault had only just ended.
func (e *events) deaf(since, l *look, j *judgement) bool {
	faults, err := e.faultsAfter(l.from - healing)
	switch quiet := e.quiet(since.from, l.to); {
	case e.lost > 0:
		j.cannot("%s lost, and so silence means nothing", checker.Count(int64(e.lost), "sign"))
	case quiet > quietLimit:
		j.cannot("no sign was heard at all for %v while all was at rest", checker.Brief(quiet))
	case err != nil:
		j.cannot("%v", err)
	case faults:
		j.cannot("a fault had only just ended when all was at rest, and so silence means nothing")
	default:
		return false
	}
	return true
}

// faultsAfter says that a fault was, or may have been, in force after some time.
func (e *events) faultsAfter(t time.Duration) (bool, error) {
	spans, err := e.h.Faults()
	return slices.ContainsFunc(spans, func(s histories.FaultSpan) bool {
		return (s.To > t || s.HealFailed != "") && (s.Failed == "" || s.Acted > 0)
	}), err
}

// unwanted finds machines that were placed when nobody wanted them to run, or became stopped or
// deleted when they were wanted to.
func (m *machine) unwanted(j *judgement) {
	ended := func(v *VM) bool { return v.State == string(stopped) || v.State == string(deleted) }
	for i := 1; i < len(m.records); i++ {
		was, now, ops := m.records[i-1].VM, m.records[i].VM, []int{m.records[i-1].op, m.records[i].op}
		switch wanted := was.Desired == string(running); {
		case wanted != (now.Desired == string(running)):
		case !wanted && was.Host == "" && now.Host != "":
			j.found(unwantedStart, ops, "%s was put on %s at revision %d, when it was wanted %s", m.id, now.Host, m.records[i].Revision, was.Desired)
		case wanted && !ended(was) && ended(now):
			j.found(unwantedStop, ops, "%s is %s at revision %d, and was %s on %s, when it was wanted running",
				m.id, now.State, m.records[i].Revision, was.State, cmp.Or(was.Host, "no host"))
		}
	}
}

// fewer finds guests that the volume told that it has fewer writes than it had acknowledged to
// them. What is written behind that takes the numbers of what is lost, so that a reading of the
// volume does not show it.
func (m *machine) fewer(j *judgement) {
	last, told := map[guest]*sign{}, map[guest]bool{}
	for i := range m.signs {
		s := &m.signs[i]
		if s.kind != Paused && !s.runs() {
			continue
		}
		g := s.guest()
		if was := last[g]; was != nil && s.Acked < was.Acked && !told[g] {
			told[g] = true
			j.found(lostWrite, []int{was.op, s.op}, "%s: %v was told that write %d was done, and later that %d is the last", m.id, g, was.Acked, s.Acked)
		}
		last[g] = s
	}
}

// A hang is a machine that does not come to rest.
type hang struct {
	vm   *VM // as it was last
	what string
	ops  []int
}

// stuck returns the machines that were not at rest in any look of at least [stuckAfter],
// after which nobody looked otherwise; or why that cannot be told.
func (e *events) stuck() (all []hang, why string) {
	var tries []*look
	for _, l := range e.looks {
		switch {
		case l.f == Settle && l.ok:
			tries = nil
		case l.f == Settle:
			tries = append(tries, l)
		}
	}
	if len(tries) == 0 {
		if len(e.looks) == 0 && e.blind > 0 {
			return nil, checker.Count(e.blind, "look") + " at all machines met nothing but errors"
		}
		return nil, ""
	}
	first, last := tries[0], tries[len(tries)-1]
	took := last.to - first.from
	for i := range len(tries) - 1 { // if the computer was suspended nobody could do anything
		took -= max(0, tries[i+1].from-tries[i].to-lookGap)
	}
	if took < stuckAfter {
		return nil, fmt.Sprintf("not all machines came to rest in %v, which is too short to say that they never do", checker.Brief(took))
	}
	recovery, ok := e.h.Recovery()
	faults, err := e.faultsAfter(first.from)
	switch {
	case err != nil:
		return nil, err.Error()
	case ok && recovery.Failed != "":
		return nil, "the system did not recover"
	case faults:
		return nil, "a fault was in force when machines were to come to rest"
	}
	for i := range last.VMs {
		v := &last.VMs[i]
		at := slices.IndexFunc(tries, func(l *look) bool { w := l.machines[v.ID]; return w == nil || w.atRest(l.Snapshot) })
		if at >= 0 {
			continue
		}
		was := first.machines[v.ID]
		all = append(all, hang{v, fmt.Sprintf("%s was %s and is %s %v later, wanted %s, on %s, in epoch %d",
			v.ID, described(was), described(v), checker.Brief(last.to-first.from), v.Desired, cmp.Or(v.Host, "no host"), v.Epoch),
			[]int{first.invoked, first.op, last.invoked, last.op}})
	}
	if len(all) == 0 {
		why = "not all machines came to rest, but not the same ones all the time"
	}
	return all, why
}

func described(v *VM) string {
	if v.Phase != "" {
		return v.State + " (" + v.Phase + ")"
	}
	return v.State
}

// A run of writes that a guest was told to be on its volume.
type acked struct {
	guest
	from, to uint64
	op       int // the sign that showed the last
}

// written judges, for each reading of volumes, whether it has what guests had been told by
// then, and returns how many writes the last one of each had.
//
// That a guest says more than it did before says that the writes in between were its own, of
// its epoch, but for the first time: then they may be what the volume told it when it was
// started, or what it was about to write when it migrated.
func (e *events) written(j *judgement) (total uint64) {
	last := map[string]uint64{}
	for _, r := range e.readings {
		for _, id := range slices.Sorted(maps.Keys(r.volumes)) {
			v := r.volumes[id]
			last[id] = v.Last
			if m := e.machines[id]; m != nil {
				m.kept(r, v, j)
			}
		}
	}
	for _, n := range last {
		total += n
	}
	return total
}

func (m *machine) kept(r reading, v Volume, j *judgement) {
	most, own := m.acked(r.invoked)
	if most != nil && most.Acked > v.Last {
		j.found(lostWrite, []int{most.op, r.invoked, r.op}, "%s: %v was told at %v that write %d was done, and the volume ends with %d",
			m.id, most.guest(), moment(most.at), most.Acked, v.Last)
	}
	if v.Sectors {
		return
	}
	for _, a := range own {
		i, _ := slices.BinarySearchFunc(v.Extents, a.from, func(x [3]uint64, n uint64) int { return cmp.Compare(x[2], n) })
		for next := a.from; next <= min(a.to, v.Last); i++ {
			if i == len(v.Extents) || v.Extents[i][1] > next {
				j.found(lostWrite, []int{a.op, r.invoked, r.op}, "%s: %v was told that write %d was done, and the volume does not have it", m.id, a.guest, next)
				break
			}
			if x := v.Extents[i]; x[0] != a.epoch {
				j.found(lostWrite, []int{a.op, r.invoked, r.op}, "%s: %v was told that write %d was done, and the volume has another by that number, of epoch %d",
					m.id, a.guest, next, x[0])
				break
			}
			next = v.Extents[i][2] + 1
		}
	}
}

// acked returns the sign, of those before an op, that tells of the most writes, and the
// writes that are known to be of the guests that tell of them.
func (m *machine) acked(before int) (most *sign, own []*acked) {
	type progress struct {
		known bool // it has said more than it did at first
		last  uint64
		run   *acked
	}
	of := map[guest]*progress{}
	for i := range m.before(before) {
		s := &m.signs[i]
		if s.kind != Paused && !s.runs() {
			continue
		}
		if most == nil || s.Acked > most.Acked {
			most = s
		}
		p := of[s.guest()]
		switch {
		case p == nil:
			of[s.guest()] = &progress{last: s.Acked}
			continue
		case s.Acked <= p.last:
			continue
		case !p.known:
			p.known = true
		case p.run == nil:
			p.run = &acked{s.guest(), p.last + 1, s.Acked, s.op}
			own = append(own, p.run)
		default:
			p.run.to, p.run.op = s.Acked, s.op
		}
		p.last = s.Acked
	}
	return most, own
}
