package vm

import (
	"cmp"
	"slices"
)

// The kinds of what [epochs] finds.
const (
	epochSkipped  = "epoch skipped"
	epochShared   = "epoch shared"
	epochUnknown  = "epoch of nobody"
	oldEpochStart = "old epoch started"
	backFromDead  = "deleted machine came back"
)

// epochs judges whether the epoch of a machine rises by one with each place that it is given
// and each time that it is started, never falls, and is of one place only; whether guests
// run in epochs that a record gave them, and are not started in one that is over.
//
// That a deleted machine is nothing else again is judged here, too: it would run in an
// epoch that was to be the last.
func epochs(e *events, j *judgement) {
	rises := 0
	for _, m := range e.each() {
		for i := 1; i < len(m.records); i++ {
			rises += m.rise(m.records[i-1], m.records[i], j)
		}
		m.places(j)
		m.starts(j)
	}
	e.unrecorded(j)
	j.counts["epochs"] = int64(rises)
	j.note("machines: %d, epochs: %d", len(e.machines), rises)
}

// rise judges one change of a record, and returns by how many epochs it rose.
func (m *machine) rise(before, after *record, j *judgement) int {
	was, now, ops := before.VM, after.VM, []int{before.op, after.op}
	starts := now.State == starting && was.State != starting
	switch {
	case was.State == string(deleted) && now.State != string(deleted):
		j.found(backFromDead, ops, "%s was deleted, and is %s at revision %d", m.id, now.State, after.Revision)
	case now.Epoch < was.Epoch:
		j.found(epochBack, ops, "%s was in epoch %d, and is in %d at revision %d", m.id, was.Epoch, now.Epoch, after.Revision)
	case now.Epoch > was.Epoch+1:
		j.found(epochSkipped, ops, "%s was in epoch %d, and is in %d at revision %d, when it had been given one place", m.id, was.Epoch, now.Epoch, after.Revision)
	case now.Epoch > was.Epoch:
		return 1
	case now.Host != "" && (starts || was.at() != now.at()):
		j.found(epochShared, ops, "%s is %s on %v at revision %d in epoch %d, as it was before, %s on %s",
			m.id, now.State, now.at(), after.Revision, now.Epoch, was.State, cmp.Or(was.Host, "no host"))
	}
	return 0
}

// places finds guests that ran on another host than the one that their epoch is of.
func (m *machine) places(j *judgement) {
	of := map[uint64]*record{}
	for _, r := range m.records {
		if r.VM.Host != "" && of[r.VM.Epoch] == nil {
			of[r.VM.Epoch] = r
		}
	}
	told := map[guest]bool{}
	for i := range m.signs {
		s := &m.signs[i]
		r := of[s.Epoch]
		if s.runs() && r != nil && r.VM.Host != s.Host && !told[s.guest()] {
			told[s.guest()] = true
			j.found(epochShared, []int{r.op, s.op}, "%s ran on %s in epoch %d, which is that of its place on %s", m.id, s.Host, s.Epoch, r.VM.Host)
		}
	}
}

// starts finds guests that were started in an epoch lower than that of one that had run
// before, or in that of another: who sees a guest end takes a new epoch for the next.
func (m *machine) starts(j *judgement) {
	var highest *sign
	first := map[uint64]*sign{} // the first start in each epoch
	for i := range m.signs {
		s := &m.signs[i]
		if !s.runs() {
			continue
		}
		if s.kind == Boot || s.kind == Resumed {
			switch other := first[s.Epoch]; {
			case highest != nil && s.Epoch < highest.Epoch:
				j.found(oldEpochStart, []int{highest.op, s.op}, "%s was started on %s in epoch %d, after it had run in epoch %d on %s", m.id, s.Host, s.Epoch, highest.Epoch, highest.Host)
			case other == nil:
				first[s.Epoch] = s
			case other.guest() != s.guest():
				j.found(epochShared, []int{other.op, s.op}, "%s was started twice in epoch %d: %v, and %v", m.id, s.Epoch, other.guest(), s.guest())
			}
		}
		if highest == nil || s.Epoch > highest.Epoch {
			highest = s
		}
	}
}

// unrecorded finds guests that ran in an epoch that their machine had not come to: somebody
// who asked later found it in a lower one.
func (e *events) unrecorded(j *judgement) {
	seen, err := sights(e.h)
	if err != nil {
		j.cannot("%v", err)
		return
	}
	rises := map[string][]*sign{} // of each machine, the first of each epoch higher than all before
	for _, m := range e.machines {
		for i := range m.signs {
			s, of := &m.signs[i], rises[m.id]
			if s.runs() && (len(of) == 0 || s.Epoch > of[len(of)-1].Epoch) {
				rises[m.id] = append(of, s)
			}
		}
	}
	told := map[*sign]bool{}
	for _, s := range seen {
		of := rises[s.ID]
		i, _ := slices.BinarySearchFunc(of, s.from, func(r *sign, op int) int { return r.op - op })
		if i == 0 || of[i-1].Epoch <= s.Epoch || told[of[i-1]] {
			continue
		}
		ran := of[i-1]
		told[ran] = true
		j.found(epochUnknown, []int{ran.op, s.from, s.to},
			"%s ran in epoch %d on %s, and who asked after that was told that it had come to epoch %d", s.ID, ran.Epoch, ran.Host, s.Epoch)
	}
}
