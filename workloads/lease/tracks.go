package lease

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Tracks returns when each key was there, by who was granted it, as far as h tells: for sure
// from when its grant completed, or it was seen, for as long as its lease is sure to last or
// somebody saw it; and perhaps until it was revoked or seen to be gone. One that nobody knows
// to have been granted was perhaps there from when it was asked for. A key that came back is
// bad.
func Tracks(h *histories.History) ([]workloads.Track, error) {
	lives, err := livesOf(h)
	if err != nil {
		return nil, err
	}
	clocks, err := checker.TroubleBy(h, func(name string) bool { return strings.HasPrefix(name, "clock") })
	if err != nil {
		return nil, err
	}
	drawn := map[string][]workloads.Slice{}
	for _, l := range lives {
		if l.grant.F != "" {
			drawn[l.name] = l.draw(h, clocks)
		}
	}
	return workloads.Tracks("leases", drawn), nil
}

func (l *life) draw(h *histories.History, clocks checker.Trouble) (drawn []workloads.Slice) {
	class := fmt.Sprintf("process %d", l.grant.Process)
	label := class
	if lease, _ := l.lease(); lease != 0 {
		label += fmt.Sprintf(", lease %d", lease)
	}
	shows := newShows(l.calls)
	if l.began == histories.Never {
		end := shows.end(workloads.Answered(h, l.grant))
		what := label + ": nobody knows whether it was granted" + end.how
		return []workloads.Slice{workloads.Maybe(what, l.grant.Invoked, end.over, l.grant.Index)}
	}
	if l.grant.Type != histories.OK {
		drawn = append(drawn, workloads.Maybe(label+", until it was seen", l.grant.Invoked, l.began, l.grant.Index))
	}
	end := shows.end(l.began)
	sure := max(shows.seen(l.began, end.over), min(newKept(l).sure(end.over, clocks), end.over))
	drawn = append(drawn, workloads.Held(class, label, end.how, l.began, sure, end.over, l.first.Index)...)
	for {
		back, ok := shows.after(end.gone)
		if !ok {
			return drawn
		}
		end = shows.end(back.Completed)
		again := workloads.Held(class, label+", came back", end.how, back.Completed, shows.seen(back.Completed, end.over), end.over, back.Index)
		again[0].Bad = true
		drawn = append(drawn, again...)
	}
}

// sure returns until when the lease is sure to last by what was done before a time, if clocks
// are right and it is not revoked before; or 0.
func (k *kept) sure(before time.Duration, clocks checker.Trouble) time.Duration {
	i := k.before(before)
	if i < 0 {
		return 0
	}
	until := min(k.until[i], k.off)
	if clocks.Overlaps(k.calls[k.by[i]].Invoked, until) {
		return 0
	}
	return until
}

// shows are the calls that show whether a key is there, in the order of their invocations.
type shows struct{ alive, dead []call }

func newShows(calls []call) (s shows) {
	for _, c := range calls {
		switch {
		case alive(c):
			s.alive = append(s.alive, c)
		case dead(c):
			s.dead = append(s.dead, c)
		}
	}
	return s
}

// since returns those of calls that were invoked after a time.
func since(calls []call, at time.Duration) []call {
	return calls[sort.Search(len(calls), func(i int) bool { return calls[i].Invoked > at }):]
}

// An ending is when a key ended: by over nobody may rely on it any more, and by gone it was
// not there; or Never.
type ending struct {
	over, gone time.Duration
	how        string
}

// end returns how a key ended that was there at a time. It was revoked, or somebody did not
// find it.
func (s shows) end(at time.Duration) ending {
	e := ending{over: histories.Never, gone: histories.Never}
	for _, c := range since(s.dead, at) {
		if c.Invoked >= e.gone {
			break
		}
		e.gone = min(e.gone, c.Completed)
		switch revoked := c.F == Revoke && c.Type == histories.OK; {
		case revoked && c.Invoked < e.over:
			e.over, e.how = c.Invoked, ", until it was revoked"
		case !revoked && c.Completed < e.over:
			e.over, e.how = c.Completed, ", until it was seen to be gone"
		}
	}
	return e
}

// seen returns when a key was last sure to be there by those who saw it, between two times.
func (s shows) seen(from, to time.Duration) time.Duration {
	last := from
	for _, c := range since(s.alive, from) {
		if c.Invoked >= to {
			break
		}
		last = c.Invoked
	}
	return last
}

// after returns the first call that was invoked after a time and shows the key to be there.
func (s shows) after(at time.Duration) (call, bool) {
	later := since(s.alive, at)
	if len(later) == 0 {
		return call{}, false
	}
	return later[0], true
}
