package vm

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// The kinds of what [asRecorded] finds.
const (
	orphan   = "guest that should not run"
	ghost    = "record without a guest"
	misheard = "host says otherwise"
)

// strayTime is how long a guest has to be heard of during a Rest to have run then. What one
// did before that is gone is heard late at worst, and all at once: by whoever had to wait
// for his turn to read it. A time in which he waited once more does not count.
const strayTime = 200 * time.Millisecond

// asRecorded judges whether hosts run what the control plane says, and nothing else, when
// nobody does anything: by the signs of guests, and by what agents say that they run.
func asRecorded(e *events, j *judgement) {
	rests := 0
	var before *look
	for _, l := range e.looks {
		if l.ok && l.f == Rest {
			rests++
			e.ghosts(before, l, j)
			e.orphans(l, j)
			if before != nil && before.ok {
				l.misheard(before, j)
			}
		}
		before = l
	}
	if rests == 0 {
		j.cannot("nobody saw all machines at rest in the end")
	}
	j.counts["rests"] = int64(rests)
	j.note("looks at rest: %d", rests)
}

// ghosts finds machines that are recorded to run where no guest of them is.
func (e *events) ghosts(before, l *look, j *judgement) {
	for i := range l.VMs {
		v := &l.VMs[i]
		since := l.stands(before, v)
		if v.State != string(running) || e.heard(since, l, v.ID, v.is) {
			continue
		}
		if e.deaf(since, l, j) {
			return
		}
		j.found(ghost, []int{since.invoked, since.op, l.invoked, l.op}, "%s is recorded to run on %s in epoch %d, and no such guest gave a sign from %v to %v, when nobody did anything",
			v.ID, v.Host, v.Epoch, moment(since.from), moment(l.to))
	}
}

// is says that a sign is of the guest that a machine is recorded to be.
func (v *VM) is(s *sign) bool { return s.Host == v.Host && s.Epoch == v.Epoch }

// orphans finds guests that run and are not recorded to.
func (e *events) orphans(l *look, j *judgement) {
	for _, m := range e.each() {
		v := l.machines[m.id]
		first, told := map[guest]*sign{}, map[guest]bool{}
		signs := m.between(l.invoked, l.op)
		for i := range signs {
			s := &signs[i]
			g := s.guest()
			switch {
			case !s.runs() || told[g] || v != nil && v.State == string(running) && v.is(s):
			case first[g] == nil:
				first[g] = s
			case s.at-first[g].at-e.quiet(first[g].at, s.at) >= strayTime:
				told[g] = true
				what := "the control plane does not know it"
				if v != nil {
					what = "it is recorded to be " + v.State
					if v.Host != "" {
						what += fmt.Sprintf(" on %s in epoch %d", v.Host, v.Epoch)
					}
				}
				j.found(orphan, []int{l.invoked, first[g].op, s.op, l.op}, "%s: %v ran when nobody did anything, and %s", m.id, g, what)
			}
		}
	}
}

// misheard finds what hosts say that they run, or not, against what is recorded. They may
// say it a little late; so it has to have been so in the look before, too.
func (l *look) misheard(before *look, j *judgement) {
	was := before.differences()
	now := l.differences()
	for _, what := range slices.Sorted(maps.Keys(now)) {
		if was[what] {
			j.found(misheard, []int{before.invoked, before.op, l.invoked, l.op}, "%s", what)
		}
	}
}

// differences says in words where hosts that are alive run something else than is recorded,
// as they say; none, if none of them says anything.
func (l *look) differences() map[string]bool {
	if !slices.ContainsFunc(l.Hosts, func(h Host) bool { return len(h.Guests) > 0 }) {
		return nil
	}
	differ := map[string]bool{}
	alive := map[string]map[string]uint64{}
	for _, h := range l.Hosts {
		if !h.Alive {
			continue
		}
		alive[h.Name] = h.Guests
		for id, epoch := range h.Guests {
			if v := l.machines[id]; v == nil || v.State != string(running) || v.Host != h.Name || v.Epoch != epoch {
				differ[fmt.Sprintf("%s says that it runs %s in epoch %d, which is not recorded", h.Name, id, epoch)] = true
			}
		}
	}
	for _, v := range l.VMs {
		if guests, ok := alive[v.Host]; ok && v.State == string(running) && guests[v.ID] != v.Epoch {
			differ[fmt.Sprintf("%s is recorded to run on %s in epoch %d, which does not say so", v.ID, v.Host, v.Epoch)] = true
		}
	}
	return differ
}
