package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// strips adds the lines above the timeline: the phases of the run, and who leads.
func (b *builder) strips() {
	if phases := b.phases(); len(phases) > 0 {
		b.doc.Strips = append(b.doc.Strips, Track{Group: "phase", Name: "phase", Slices: phases})
	}
	if l := b.leads.first; len(l.slices) > 0 {
		b.doc.Strips = append(b.doc.Strips, Track{Group: "leader", Name: "leader", Slices: l.slices})
	}
	if l := b.leads.also; len(l.slices) > 0 {
		b.doc.Strips = append(b.doc.Strips, Track{Group: "leader", Name: "also leads", Slices: l.slices})
	}
	if n := b.leads.first.more + b.leads.also.more; n > 0 {
		b.trouble("leaders changed more often than can be shown: %s left out", checker.Count(n, "change"))
	}
}

// phases returns the phases of a run that waited for its recovery; others do not tell them.
func (b *builder) phases() []Slice {
	recovery, waited := b.History.Recovery()
	if !waited || b.mainEnd == 0 {
		return nil
	}
	from := recovery.From
	slice := func(name string, from, to time.Duration, op int) Slice {
		return Slice{From: b.unit.of(from), To: b.unit.of(to), Label: name, Class: name, Op: op}
	}
	phases := []Slice{slice("main", 0, b.mainEnd, -1)}
	if from > b.mainEnd {
		phases = append(phases, slice("heal", b.mainEnd, from, -1))
	}
	last := slice("recover", from, recovery.To, recovery.Invoked)
	if recovery.Completed < 0 {
		last.To = Open
		return append(phases, last)
	}
	phases = append(phases, last)
	if recovery.To < b.duration() {
		final := slice("final", recovery.To, 0, -1)
		final.To = Open
		phases = append(phases, final)
	}
	return phases
}

// maxLeads bounds the slices of a strip.
const maxLeads = 5_000

// Leads are who said that they lead, one state of the cluster after the other. Where
// several do at a time, the one of the highest term is the first.
type leads struct {
	first, also strip
}

// A strip is what it was from time to time, as it goes on.
type strip struct {
	slices []Slice
	open   bool // the last one
	more   int  // slices that there was no room for
}

// see takes in a state, which op tells of at a time, and which holds until the next.
func (l *leads) see(at Time, op histories.Op, s cluster.State) {
	type claim struct {
		node string
		term uint64
	}
	var claims []claim
	for node, n := range s {
		if n.Role == cluster.RoleLeader {
			claims = append(claims, claim{node, n.Term})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.term, a.term), byName(a.node, b.node))
	})
	var labels []string
	for _, c := range claims {
		labels = append(labels, fmt.Sprintf("%s, term %d", c.node, c.term))
	}
	switch {
	case len(claims) == 0:
		l.first.be(at, op, "", "")
		l.also.be(at, op, "", "")
	case len(claims) == 1:
		l.first.be(at, op, labels[0], claims[0].node)
		l.also.be(at, op, "", "")
	default:
		l.first.be(at, op, labels[0], claims[0].node)
		l.also.be(at, op, strings.Join(labels[1:], "; "), claims[1].node)
	}
}

// be says what it is from an op on; without a label it is nothing.
func (s *strip) be(at Time, op histories.Op, label, class string) {
	last := len(s.slices) - 1
	if s.open && s.slices[last].Label == label {
		return
	}
	if s.open {
		s.slices[last].To = at
		s.open = false
	}
	switch {
	case label == "":
	case len(s.slices) == maxLeads:
		s.more++
	default:
		s.slices = append(s.slices, Slice{From: at, To: Open, Label: label, Class: class, Op: op.Index})
		s.open = true
	}
}

// tracks returns what went on beside the ops.
func (b *builder) tracks(all []workloads.Track) (shown []Track) {
	room := maxSlices
	for _, t := range all {
		if len(t.Slices) > room {
			b.trouble("there is more beside the ops than can be shown: of %s the first %d", checker.Count(len(all), "track"), len(shown))
			break
		}
		room -= len(t.Slices) + 1
		shown = append(shown, b.track(t))
	}
	return shown
}

func (b *builder) track(t workloads.Track) Track {
	shown := Track{Group: t.Group, Name: t.Name, Subject: t.Subject}
	for _, s := range t.Slices {
		to := Open
		if s.To != histories.Never {
			to = b.unit.of(s.To)
		}
		shown.Slices = append(shown.Slices, Slice{From: b.unit.of(s.From), To: to, Label: s.Label, Class: s.Class, Bad: s.Bad, Op: s.Op})
	}
	return shown
}
