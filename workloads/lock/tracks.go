package lock

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Tracks returns who held each lock, as far as h tells. A lock is held for sure as the
// checker reckons: from when its acquire completed, for as long as its lease is sure to last
// or something succeeded in its name, unless it was released or its holder was told that it
// lost it. Perhaps it was held until that is known, or another is known to have it. One that
// nobody knows to have been acquired or not was perhaps held from when it was asked for until
// another got it; it may have been granted later still, which is not drawn. What the checker
// finds to be held twice, and a token that is granted twice, is bad.
func Tracks(h *histories.History) ([]workloads.Track, error) {
	calls, clocks, err := callsOf(h)
	if err != nil {
		return nil, err
	}
	all := holds(calls)
	lost := map[*hold]call{} // the first refusal since it began
	byLock := map[string]*lockTrack{}
	of := func(c call) *lockTrack {
		if byLock[c.In.Lock] == nil {
			byLock[c.In.Lock] = &lockTrack{bad: map[*hold]bool{}}
		}
		return byLock[c.In.Lock]
	}
	for _, c := range calls {
		held := all[grant{c.In.Lock, cmp.Or(c.Out.Token, c.In.Token)}]
		switch {
		case c.F == Acquire && c.Type == histories.Info:
			of(c).unknown = append(of(c).unknown, c)
		case c.F == Acquire && c.Type == histories.OK:
			l := of(c)
			if held.acquire.Index != c.Index {
				held = &hold{acquire: c, renewal: c}
				l.bad[held] = true
			}
			held.settle(clocks)
			l.holds = append(l.holds, held)
		case refused(c) && held != nil && c.Invoked >= held.acquire.Completed:
			if first, told := lost[held]; !told || c.Completed < first.Completed {
				lost[held] = c
			}
		}
	}
	drawn := map[string][]workloads.Slice{}
	for name, l := range byLock {
		drawn[name] = l.draw(h, lost)
	}
	return workloads.Tracks("locks", drawn), nil
}

// A lockTrack is a lock to be drawn.
type lockTrack struct {
	holds   []*hold
	bad     map[*hold]bool
	unknown []call // acquires of which nobody knows how they ended
}

func (l *lockTrack) draw(h *histories.History, lost map[*hold]call) (drawn []workloads.Slice) {
	if len(l.holds) > 0 {
		for _, second := range overlaps(l.holds) {
			l.bad[second] = true
		}
	}
	next := l.next()
	for _, held := range l.holds {
		end := held.ending(lost[held], next[held])
		label := fmt.Sprintf("%s, token %d", holder(held.acquire), held.acquire.Out.Token)
		one := workloads.Held(holder(held.acquire), label, end.how, held.acquire.Completed, end.sure, end.over, held.acquire.Index)
		one[0].Bad = l.bad[held]
		drawn = append(drawn, one...)
	}
	for _, c := range l.unknown {
		given := workloads.Answered(h, c)
		to := histories.Never
		if i := sort.Search(len(l.holds), func(i int) bool { return l.holds[i].acquire.Completed > given }); i < len(l.holds) {
			to = l.holds[i].acquire.Completed
		}
		drawn = append(drawn, workloads.Maybe(holder(c)+": nobody knows whether it acquired it", c.Invoked, to, c.Index))
	}
	return drawn
}

// next returns of each hold when a greater token was first known to be granted.
func (l *lockTrack) next() map[*hold]time.Duration {
	next := map[*hold]time.Duration{}
	byToken := slices.SortedFunc(slices.Values(l.holds), func(a, b *hold) int { return cmp.Compare(b.acquire.Out.Token, a.acquire.Out.Token) })
	greater, same := histories.Never, histories.Never // of all greater ones, and with those of the present token
	for i, held := range byToken {
		if i > 0 && byToken[i-1].acquire.Out.Token != held.acquire.Out.Token {
			greater = same
		}
		next[held] = greater
		same = min(same, held.acquire.Completed)
	}
	return next
}

// An ending is when a hold ended: not before sure, and by over, if the holder knows.
type ending struct {
	sure, over time.Duration
	how        string
}

// ending returns how h ended. lost is the first refusal since it began, if there is one, and
// next when another token was known to be granted.
func (h *hold) ending(lost call, next time.Duration) ending {
	e := ending{sure: h.end, over: histories.Never}
	const told = ", until it was told that it lost it"
	if lost.F != "" {
		e.over, e.how = lost.Completed, told
		if h.lostBy(lost) && h.proof.Invoked <= lost.Completed {
			e.sure = lost.Completed
		}
	}
	perhaps := ""
	switch r := h.release; {
	case r.F == "" || r.Invoked >= e.over:
	case r.Type == histories.Info:
		perhaps = ", which it perhaps released"
	case r.Type == histories.Fail:
		e.over, e.how = min(e.over, r.Completed), told
	default:
		e.over, e.how = r.Invoked, ", until it released it"
	}
	if next > e.sure && next < e.over {
		e.over, e.how = next, ", until another had it"
	}
	e.how = perhaps + e.how
	return e
}

// holder names who made a call.
func holder(c call) string { return fmt.Sprintf("process %d", c.Process) }
