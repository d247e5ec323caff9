package kv

import (
	"fmt"
	"math"
	"slices"

	"github.com/hacheck/hacheck/histories"
)

// A gap is a revision of which is not known what made it.
type gap struct {
	revision uint64
	// maybe: it lies before all that is known of, and need not have been one of ours.
	maybe bool
}

// findGaps finds them: between the revisions that are known, and as many below as
// writes of unknown outcome could have made before anybody looked. It stops when
// there are more than such writes: then that is the anomaly.
func (j *judgement) findGaps() {
	base, top := uint64(math.MaxUint64), uint64(0)
	for i := range j.calls {
		c := &j.calls[i]
		if c.Type != histories.OK {
			continue
		}
		top = max(top, c.Out.Revision)
		if len(changes(c)) > 0 {
			base = min(base, max(c.Out.Revision, 1)-1)
		} else if c.In.Mode == (Mode{}) {
			base = min(base, c.Out.Revision)
		}
	}
	made := func(revision uint64) bool {
		_, ok := slices.BinarySearchFunc(j.writes, revision, func(w *write, r uint64) int {
			switch {
			case w.revision < r:
				return -1
			case w.revision > r:
				return 1
			}
			return 0
		})
		return ok
	}
	base = min(base, top) // if there are only reads that say nothing of it
	for r := base; r > 0 && len(j.gaps) < len(j.open); r-- {
		if !made(r) {
			j.gaps = append(j.gaps, gap{r, true})
		}
	}
	slices.Reverse(j.gaps)
	for r, found := base+1, 0; r <= top && found <= len(j.open); r++ {
		if !made(r) {
			j.gaps = append(j.gaps, gap{r, false})
			found++
		}
	}
}

// maxPairs bounds the pairs of gaps and writes that are looked at.
const maxPairs = 1 << 22

// fill asks whether each gap can be filled by a write of unknown outcome of its own.
// If there are too many to try which fits which, it only counts.
func (j *judgement) fill() {
	var gaps []uint64
	for _, g := range j.gaps {
		if !g.maybe {
			gaps = append(gaps, g.revision)
		}
	}
	unfilled := j.count(gaps)
	if len(unfilled) == 0 && len(gaps)*len(j.open) <= maxPairs {
		unfilled = j.match(gaps)
	}
	if len(unfilled) > 0 {
		j.nobody(unfilled)
	}
}

// count returns the gaps for which there are too few writes of unknown outcome that
// began in time.
func (j *judgement) count(gaps []uint64) (unfilled []uint64) {
	var floors []uint64
	for _, w := range j.open {
		floors = append(floors, w.after.revision)
	}
	slices.Sort(floors)
	for i, g := range gaps {
		if inTime, _ := slices.BinarySearch(floors, g); inTime <= i-len(unfilled) {
			unfilled = append(unfilled, g)
		}
	}
	return unfilled
}

// match returns the gaps that are left when as many as possible have a write of their
// own that fits: a maximum matching in a bipartite graph, by augmenting paths.
func (j *judgement) match(gaps []uint64) (unfilled []uint64) {
	fits := make([][]int, len(gaps))
	for i, g := range gaps {
		for k, w := range j.open {
			if w.after.revision < g && slices.ContainsFunc(branches(w.call), func(b branch) bool { return j.could(g, b) }) {
				fits[i] = append(fits[i], k)
			}
		}
	}
	fills := make([]int, len(j.open)) // which gap, from 1
	tried := make([]int, len(j.open)) // for which gap last, from 1
	var assign func(i, turn int) bool
	assign = func(i, turn int) bool {
		for _, k := range fits[i] {
			if tried[k] == turn {
				continue
			}
			tried[k] = turn
			if fills[k] == 0 || assign(fills[k]-1, turn) {
				fills[k] = i + 1
				return true
			}
		}
		return false
	}
	for i, g := range gaps {
		if !assign(i, i+1) {
			unfilled = append(unfilled, g)
		}
	}
	return unfilled
}

// could says whether a gap can be what a branch has made.
func (j *judgement) could(g uint64, b branch) bool {
	effect := false
	for _, a := range b.actions {
		if a.F == Get {
			continue
		}
		_, open := slices.BinarySearch(j.on[a.Key].touch.gaps, g)
		if !open && a.F == Put {
			return false
		}
		effect = effect || open
	}
	return effect
}

// nobody reports revisions that no write can have made. The evidence is who made or
// saw the one before the first of them, and who first knew of a later one.
func (j *judgement) nobody(revisions []uint64) {
	g := revisions[0]
	var before, after *call
	for i := range j.calls {
		c := &j.calls[i]
		if c.Type != histories.OK {
			continue
		}
		if c.Out.Revision < g && (before == nil || c.Out.Revision > before.Out.Revision) {
			before = c
		}
		if c.Out.Revision >= g && (after == nil || c.Completed < after.Completed) {
			after = c
		}
	}
	note := fmt.Sprintf("revision %d", g)
	if more := len(revisions) - 1; more > 0 {
		note += fmt.Sprintf(", and at least %d more", more)
	}
	note += ", which nobody can have made: " + did(after)
	if before != nil {
		note += ", and before " + did(before)
	}
	note += fmt.Sprintf("; writes of unknown outcome that nobody saw: %d, and none is left that fits", len(j.open))
	j.report("revision nobody made", "", note, before, after)
}
