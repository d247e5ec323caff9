package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/workloads"
)

// faults shows when which fault held, and the wait for the system's recovery.
func (t *trace) faults(ctx context.Context) error {
	p := t.process("", nemesisProcess, atNemesis)
	spans, err := t.History.Faults()
	if err != nil {
		t.left = append(t.left, "the faults: "+err.Error())
	}
	slices.SortStableFunc(spans, func(a, b histories.FaultSpan) int { return cmp.Compare(a.From, b.From) })
	for _, s := range spans {
		switch {
		case s.HeldBack && s.Acted == 0 && s.HealFailed == "": // it did nothing
			t.open('i', t.track(p, s.Name), s.From)
			t.text("s", "t")
			t.text("name", report.Fault(s.Fault)+", held back")
			t.text("cat", "fault")
		case s.Failed != "":
			t.slice(t.lane(p, s.Name, s.From, s.To), s.From, s.To, report.Fault(s.Fault)+", if it began", "fault")
		default:
			t.slice(t.lane(p, s.Name, s.From, s.To), s.From, s.To, report.Fault(s.Fault), "fault")
		}
		t.beginArgs()
		t.number("fault", int64(s.ID))
		t.number("op", int64(s.Begin))
		t.number("acted", int64(s.Acted))
		t.payload("detail", s.Detail)
		t.payload("evidence", s.Evidence)
		t.told("error", s.Failed)
		t.told("heal error", s.HealFailed)
		if s.To == histories.Never {
			t.text("end", "it was not healed")
		}
		t.done()
	}
	if r, ok := t.History.Recovery(); ok {
		t.slice(t.track(p, "recovery"), r.From, r.To, "until the system answers", "recovery")
		t.beginArgs()
		t.number("op", int64(r.Invoked))
		t.told("error", r.Failed)
		t.done()
	}
	return ctx.Err()
}

// told writes a field that is empty as a rule.
func (t *trace) told(name, what string) {
	if what != "" {
		t.text(name, what)
	}
}

// observed shows what the nodes said of themselves and what the lab has measured of them.
func (t *trace) observed(ctx context.Context) error {
	o := observation{trace: t, nodes: map[string]*selfView{}, measured: map[string]measurement{}}
	for i, op := range t.History.All() {
		if err := ended(ctx, i); err != nil {
			return err
		}
		if op.Process != histories.Observer {
			continue
		}
		switch op.F {
		case histories.State:
			var s cluster.State
			if json.Unmarshal(op.Value, &s) == nil { // else it is another tool's
				o.state(op, s)
			}
		case histories.Gauges:
			var g map[string]cluster.Gauge
			if json.Unmarshal(op.Value, &g) == nil {
				o.gauges(op.Time, g)
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(o.nodes)) {
		o.close(node, t.duration)
	}
	return nil
}

// An observation is what is known of the nodes as time goes on.
type observation struct {
	*trace
	nodes    map[string]*selfView
	measured map[string]measurement
}

// A selfView is how a node saw itself from a time on; role is empty if it did not answer.
type selfView struct {
	role   cluster.Role
	term   uint64
	leader string
	from   time.Duration
	op     int
}

// state goes on to how nodes see themselves at the time of op. Those that are not in it did
// not answer, and that is all that is known of them until they do.
func (o *observation) state(op histories.Op, s cluster.State) {
	for node := range s {
		if o.nodes[node] == nil {
			o.nodes[node] = &selfView{from: -1}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(o.nodes)) {
		now, answered := s[node]
		view := selfView{now.Role, now.Term, now.Leader, op.Time, op.Index}
		if last := o.nodes[node]; last.from < 0 || last.role != view.role || last.term != view.term || last.leader != view.leader {
			o.close(node, op.Time)
			o.nodes[node] = &view
		}
		if answered {
			p := o.node(node)
			o.counter(p, op.Time, "commit", "index", float64(now.Commit))
			o.counter(p, op.Time, "applied", "index", float64(now.Applied))
			o.counter(p, op.Time, "log", "last index", float64(now.Last))
		}
	}
}

// close writes how a node has seen itself up to a time.
func (o *observation) close(node string, to time.Duration) {
	v := o.nodes[node]
	if v.from < 0 {
		return
	}
	name := fmt.Sprintf("%s, term %d", v.role, v.term)
	if v.role == "" {
		name = "no answer"
	}
	o.slice(o.track(o.trace.node(node), "role"), v.from, to, name, "role")
	o.beginArgs()
	o.number("op", int64(v.op))
	o.told("leader", v.leader)
	o.done()
}

// A measurement is a gauge with its time.
type measurement struct {
	at    time.Duration
	gauge cluster.Gauge
}

// gauges shows what was measured: of counters what they grew by, in the time since they were
// last read.
func (o *observation) gauges(at time.Duration, g map[string]cluster.Gauge) {
	for _, place := range slices.Sorted(maps.Keys(g)) {
		now := g[place]
		p := o.process("", clientsProcess, atClients)
		if place != cluster.Tester {
			p = o.trace.node(place)
		}
		if last, ok := o.measured[place]; ok && at > last.at {
			rate := func(name, unit string, from, to uint64) {
				if to >= from { // else it was set back, and nobody knows what it grew by
					o.counter(p, last.at, name, unit, math.Round(float64(to-from)/(at-last.at).Seconds()))
				}
			}
			rate("sent", "B/s", last.gauge.SentBytes, now.SentBytes)
			rate("received", "B/s", last.gauge.ReceivedBytes, now.ReceivedBytes)
			rate("lost", "packets/s", last.gauge.Lost, now.Lost)
		}
		o.measured[place] = measurement{at, now}
		if c := now.Clocks; c != nil {
			o.counter(p, at, "realtime clock", "ms off", float64(c.Realtime)/float64(time.Millisecond))
			o.counter(p, at, "monotonic clock", "ms off", float64(c.Monotonic)/float64(time.Millisecond))
		}
	}
}

// window is the time of which completions are counted together.
const window = 100 * time.Millisecond

// throughput shows how many operations ended how, per second. Of a history that is so short that
// its times are those of a counter, as a rule, it would say nothing.
func (t *trace) throughput(ctx context.Context) error {
	if t.duration < time.Millisecond {
		return nil
	}
	p := t.process("", clientsProcess, atClients)
	outcomes := []histories.Type{histories.OK, histories.Fail, histories.Info}
	var counted, shown [3]int64
	show := func(at time.Duration) {
		for i, outcome := range outcomes {
			if counted[i] != shown[i] || at == 0 {
				t.counter(p, at, outcome.String(), "op/s", float64(counted[i]*int64(time.Second/window)))
			}
		}
		shown, counted = counted, [3]int64{}
	}
	at := time.Duration(0) // where the window began that is counted
	for i, op := range t.History.All() {
		if err := ended(ctx, i); err != nil {
			return err
		}
		which := slices.Index(outcomes, op.Type)
		if op.Process < 0 || which < 0 {
			continue
		}
		if op.Time >= at+window {
			show(at)
			if began := op.Time.Truncate(window); began > at+window {
				show(at + window) // nothing, up to there
				at = began
			} else {
				at += window
			}
		}
		counted[which]++
	}
	show(at)
	if at+window < t.duration {
		show(at + window)
	}
	return nil
}

// tracks shows what the workload tells beside the ops.
func (t *trace) tracks(ctx context.Context) error {
	var s sieve
	for _, track := range t.Tracks {
		for _, slice := range track.Slices {
			if !slice.Bad {
				s.add(t.until(slice.To)-slice.From, sliceCost+int64(len(slice.Label)+len(slice.Class)))
			}
		}
	}
	shortest, dropped := s.cut((t.Limit - t.n) / 2)
	if dropped > 0 {
		t.left = append(t.left, fmt.Sprintf("%d of %d slices of %s, those that took less than %v", dropped, s.all(), strings.Join(groups(t.Tracks), ", "), shortest))
	}
	for i, track := range t.Tracks {
		if err := ended(ctx, i); err != nil {
			return err
		}
		p := t.process("group ", track.Group, atGroups)
		for _, slice := range track.Slices {
			if !slice.Bad && t.until(slice.To)-slice.From < shortest {
				continue
			}
			t.slice(t.lane(p, track.Name, slice.From, slice.To), slice.From, slice.To, slice.Label, slice.Class)
			if slice.Bad {
				t.text("cname", "terrible")
			}
			t.beginArgs()
			if slice.Op >= 0 {
				t.number("op", int64(slice.Op))
			}
			t.told("node", track.Node)
			if slice.Bad {
				t.text("bad", "it must not be")
			}
			t.done()
		}
	}
	return nil
}

// groups returns the names of the groups of tracks, each once, in their order.
func groups(tracks []workloads.Track) (names []string) {
	for _, track := range tracks {
		if !slices.Contains(names, track.Group) {
			names = append(names, track.Group)
		}
	}
	return names
}
