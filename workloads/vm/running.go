package vm

import "github.com/hacheck/hacheck/checker"

// The kinds of what [oneCopy] finds.
const (
	twoCopies  = "two running copies"
	staleWrite = "stale write taken"
)

// oneCopy judges whether at most one guest of a machine runs at a time. A guest that gave a
// sign before and after another gave one was alive then; but one that was Paused for its
// migration stands still, and that is no sign of running. It takes one pass.
//
// Nor may a volume take writes of an epoch when it has taken one of a higher epoch.
func oneCopy(e *events, j *judgement) {
	guests := 0
	for _, m := range e.each() {
		guests += m.overlaps(j)
		m.taken(j)
	}
	j.counts["machines"], j.counts["guests"], j.counts["signs"] = int64(len(e.machines)), int64(guests), int64(e.signs)
	j.note("machines: %d, guests: %d, signs: %d", len(e.machines), guests, e.signs)
	if e.lost > 0 {
		j.counts["signs_lost"] = int64(e.lost)
		j.note("%s lost", checker.Count(int64(e.lost), "sign"))
	}
	for _, r := range e.readings {
		for id, volume := range r.volumes {
			for i := 1; i < len(volume.Extents); i++ {
				if was, is := volume.Extents[i-1], volume.Extents[i]; is[0] < was[0] {
					j.found(staleWrite, []int{r.invoked, r.op},
						"the volume of %s has writes %d to %d of epoch %d, behind some of epoch %d", id, is[1], is[2], is[0], was[0])
				}
			}
		}
	}
}

// overlaps finds the guests of m that ran at the same time, and returns how many there were.
func (m *machine) overlaps(j *judgement) int {
	all := map[guest]bool{}
	for i := range m.signs {
		if s := &m.signs[i]; s.runs() {
			all[s.guest()] = true
		}
	}
	told := map[[2]guest]bool{}
	for o := range m.copies {
		before, between, after := &m.signs[o.before], &m.signs[o.between], &m.signs[o.after]
		g, other := after.guest(), between.guest()
		if told[[2]guest{g, other}] {
			continue
		}
		told[[2]guest{g, other}], told[[2]guest{other, g}] = true, true
		j.found(twoCopies, []int{before.op, between.op, after.op},
			"%s ran twice: %v gave signs at %v and at %v, and so did, at %v in between, %v",
			m.id, g, moment(before.at), moment(after.at), moment(between.at), other)
	}
	return len(all)
}

// An overlap is a proof that two guests of a machine ran at once, by positions in its signs: one
// gave signs before and after, and was not paused meanwhile, and another did between.
type overlap struct{ before, between, after int }

// copies yields the overlaps of m's guests, in the order in which they showed: one for each
// sign that a guest gave when another had been the last to give one.
func (m *machine) copies(yield func(overlap) bool) {
	last := -1               // of whoever ran
	since := map[guest]int{} // the last sign of each guest that has not been paused since
	for i := range m.signs {
		s := &m.signs[i]
		g := s.guest()
		if s.kind == Paused {
			delete(since, g)
		}
		if !s.runs() {
			continue
		}
		if before, ran := since[g]; ran && m.signs[last].guest() != g && !yield(overlap{before, last, i}) {
			return
		}
		since[g], last = i, i
	}
}

// taken finds the writes that the volume of m took after one of a higher epoch.
func (m *machine) taken(j *judgement) {
	for highest, s := range m.stale {
		j.found(staleWrite, []int{highest.op, s.op},
			"the volume of %s took write %d of epoch %d, after write %d of epoch %d", m.id, s.Seq, s.Epoch, highest.Seq, highest.Epoch)
	}
}

// stale yields what the volume of m took when it had taken a write of a higher epoch, after
// the highest of those.
func (m *machine) stale(yield func(highest, s *sign) bool) {
	var highest *sign
	for i := range m.signs {
		s := &m.signs[i]
		switch {
		case s.kind != Took:
		case highest == nil || s.Epoch >= highest.Epoch:
			highest = s
		case !yield(highest, s):
			return
		}
	}
}
