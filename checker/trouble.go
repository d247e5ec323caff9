package checker

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Trouble is the time in which faults may have been in force: from the invocation
// of the op that began one to the completion of the one that ended it, or without
// end. It is for verdicts that rest on how long something took. The zero Trouble is
// none.
type Trouble struct{ times timeline }

// TroubleBy returns the trouble by those faults of a history whose names count.
func TroubleBy(h *histories.History, counts func(name string) bool) (Trouble, error) {
	spans, err := h.Faults()
	if err != nil {
		return Trouble{}, err
	}
	var all timeline
	for _, s := range spans {
		if !counts(s.Name) {
			continue
		}
		held := interval{s.From, histories.Never}
		if begun := h.Pair(s.Begin); begun >= 0 { // the op's other half
			held.from = min(held.from, h.At(begun).Time)
		}
		if s.End >= 0 && s.HealFailed == "" {
			held.to = h.At(h.Pair(s.End)).Time
		}
		all = append(all, held)
	}
	slices.SortFunc(all, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	var t Trouble
	for _, held := range all {
		if last := len(t.times) - 1; last >= 0 && held.from <= t.times[last].to {
			t.times[last].to = max(t.times[last].to, held.to)
			continue
		}
		t.times = append(t.times, held)
	}
	return t, nil
}

// Overlaps says whether there was trouble at some time from from to to, the ends
// included.
func (t Trouble) Overlaps(from, to time.Duration) bool {
	i := t.after(from)
	return i < len(t.times) && t.times[i].from <= to
}

// CalmSince returns since when there was no trouble before at: at itself if there
// was some just then, 0 if there had been none.
func (t Trouble) CalmSince(at time.Duration) time.Duration {
	switch i := t.after(at); {
	case i < len(t.times) && t.times[i].from <= at:
		return at
	case i > 0:
		return t.times[i-1].to
	}
	return 0
}

// after returns the position of the first trouble that ended at the given time or
// after it.
func (t Trouble) after(at time.Duration) int {
	return sort.Search(len(t.times), func(i int) bool { return t.times[i].to >= at })
}
