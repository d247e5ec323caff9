package document

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// Seen is what one pass over a history takes out of it: of each call of a client that
// completed a few numbers, and what the observer saw.
type seen struct {
	// done are the calls that completed, by outcome, in the order of their completions.
	done   [outcomes][]done
	nodes  []string         // that clients name, as done numbers them
	faulty map[string]int64 // by function, what succeeded while a fault held
	leads  leads
	gauges gauges
}

// The outcomes of calls.
const (
	ok = iota
	fail
	info
	outcomes
)

var outcomeNames = [outcomes]string{ok: "ok", fail: "fail", info: "info"}

// A done is a call that completed, in 24 bytes: there may be millions.
type done struct {
	at, took time.Duration
	invoke   int32
	node     int16 // a number of seen.nodes; -1: none, or one too many
	answered bool
}

// gather passes over the history.
func (b *builder) gather() {
	held := checker.Held(b.spans)
	numbers := map[string]int16{}
	b.faulty = map[string]int64{}
	for i, op := range b.History.All() {
		if op.Process < 0 {
			if op.Process == histories.Observer {
				b.observe(op)
			}
			continue
		}
		var outcome int
		switch op.Type {
		case histories.OK:
			outcome = ok
		case histories.Fail:
			outcome = fail
		case histories.Info:
			outcome = info
		default:
			continue
		}
		from := b.History.Pair(i)
		invoked := b.History.At(from)
		d := done{at: op.Time, took: op.Time - invoked.Time, invoke: int32(from), node: -1, answered: checker.Answered(op)}
		if name := cmp.Or(op.Node, invoked.Node); name != "" {
			number, known := numbers[name]
			if !known && len(b.nodes) < maxNodes {
				number, known = int16(len(b.nodes)), true
				numbers[name] = number
				b.nodes = append(b.nodes, name)
			}
			if known {
				d.node = number
			}
		}
		b.done[outcome] = append(b.done[outcome], d)
		if outcome == ok && held(op.Time) {
			b.faulty[op.F]++
		}
	}
}

// observe takes in an event of the observer.
func (b *builder) observe(op histories.Op) {
	switch op.F {
	case histories.State:
		var s cluster.State
		if json.Unmarshal(op.Value, &s) == nil {
			b.leads.see(b.unit.of(op.Time), op, s)
		}
	case histories.Gauges:
		var g map[string]cluster.Gauge
		if json.Unmarshal(op.Value, &g) == nil {
			b.gauges.add(op.Time, g)
		}
	}
}

// calls returns how many calls completed.
func (s *seen) calls() (n int) {
	for _, d := range s.done {
		n += len(d)
	}
	return n
}

// within returns how many calls of an outcome completed from one time to another.
func (s *seen) within(outcome int, from, to time.Duration) int64 {
	d := s.done[outcome]
	first, _ := slices.BinarySearchFunc(d, from, func(d done, t time.Duration) int { return cmp.Compare(d.at, t) })
	end, exact := slices.BinarySearchFunc(d, to, func(d done, t time.Duration) int { return cmp.Compare(d.at, t) })
	if exact {
		end++
	}
	return int64(max(0, end-first))
}

// byName compares names that end in numbers, as those of nodes do: n2 comes before n10.
func byName(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// maxGauges bounds the measurements that are held. Where there are more, every second one
// is left out, as often as it takes.
const maxGauges = 2_048

// Gauges are what the lab has measured from time to time.
type gauges struct {
	all   []gauged
	every int // of which one is held; 0 is 1
	count int
}

// A gauged is one measurement, by place.
type gauged struct {
	at time.Duration
	by map[string]cluster.Gauge
}

func (g *gauges) add(at time.Duration, by map[string]cluster.Gauge) {
	g.every = max(g.every, 1)
	if g.count++; (g.count-1)%g.every != 0 {
		return
	}
	if len(g.all) == maxGauges {
		for i := range maxGauges / 2 {
			g.all[i] = g.all[2*i]
		}
		clear(g.all[maxGauges/2:])
		g.all, g.every = g.all[:maxGauges/2], 2*g.every
	}
	g.all = append(g.all, gauged{at, by})
}

// places returns the places that were measured, the first maxNodes of them.
func (g *gauges) places() []string {
	var places []string
	named := map[string]bool{}
	for _, m := range g.all {
		for place := range m.by {
			if !named[place] {
				named[place] = true
				places = append(places, place)
			}
		}
	}
	slices.SortFunc(places, byName)
	return places[:min(len(places), maxNodes)]
}
