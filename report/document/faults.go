package document

import (
	"encoding/json"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
)

// faults adds the faults, with what clients met while each held.
func (b *builder) faults() {
	if more := len(b.spans) - maxFaults; more > 0 {
		b.trouble("of %d faults the first %d are shown", len(b.spans), maxFaults)
		b.spans = b.spans[:maxFaults]
	}
	answers := checker.AnsweredIn(b.History)
	after := func(since time.Duration) Time {
		if since > b.mainEnd {
			return Unasked
		}
		if took, seen := answers.After(since); seen {
			return b.unit.of(took)
		}
		return Open
	}
	for _, s := range b.spans {
		f := Fault{
			Name: s.Name, What: clip(report.Fault(s.Fault), maxWords), From: b.unit.of(s.From), To: Open, Begin: s.Begin, End: s.End,
			Evidence: b.Did(s.Name, int64(s.Acted)), Acted: s.Acted > 0, Failed: s.Failed, HeldBack: s.HeldBack && s.Acted == 0 && s.HealFailed == "",
			Nodes: checker.Hit(s.Fault), Answer: Unasked, Recovery: Unasked,
		}
		if healed(s) {
			f.To = b.unit.of(s.To)
		} else if s.HealFailed != "" {
			f.Failed = "it could not be healed: " + s.HealFailed
		}
		if !held(s) {
			f.To = f.From
		} else {
			f.OK, f.Fail, f.Info = b.within(ok, s.From, until(s)), b.within(fail, s.From, until(s)), b.within(info, s.From, until(s))
			f.Answer = after(s.From)
			if healed(s) {
				f.Recovery = after(b.healedAt(s))
			}
		}
		b.doc.Faults = append(b.doc.Faults, f)
	}
}

// held says whether a fault was in force at all, as far as anybody knows.
func held(s histories.FaultSpan) bool { return s.Failed == "" || s.Acted > 0 }

// healed says whether it is known to have ended.
func healed(s histories.FaultSpan) bool { return s.To != histories.Never && s.HealFailed == "" }

// until returns up to when it held, for all anybody knows.
func until(s histories.FaultSpan) time.Duration {
	if healed(s) {
		return s.To
	}
	return histories.Never
}

// healedAt returns when the heal of a fault that was healed had come to its end.
func (b *builder) healedAt(s histories.FaultSpan) time.Duration {
	return b.History.At(b.History.Pair(s.End)).Time
}

// A reading is what a node's clocks were off by.
type reading struct {
	at   time.Duration
	node string
	cluster.Offsets
}

// readings returns what the faults of clocks have read, when they had begun, before they
// were healed and after that; and what the lab has measured.
func (b *builder) readings() (all []reading) {
	for _, s := range b.spans {
		if !held(s) {
			continue
		}
		var detail struct {
			Read map[string]cluster.Offsets `json:"read"`
		}
		if json.Unmarshal(s.Detail, &detail) == nil {
			for node, o := range detail.Read {
				all = append(all, reading{s.From, node, o})
			}
		}
		if !healed(s) {
			continue
		}
		var evidence map[string]struct {
			Held   *cluster.Offsets `json:"held"`
			Healed *cluster.Offsets `json:"healed"`
		}
		if json.Unmarshal(s.Evidence, &evidence) != nil {
			continue
		}
		for node, e := range evidence {
			if e.Held != nil {
				all = append(all, reading{s.To, node, *e.Held})
			}
			if e.Healed != nil {
				all = append(all, reading{b.healedAt(s), node, *e.Healed})
			}
		}
	}
	for _, m := range b.gauges.all {
		for node, g := range m.by {
			if g.Clocks != nil {
				all = append(all, reading{m.at, node, *g.Clocks})
			}
		}
	}
	return all
}
