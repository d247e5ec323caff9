package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// A failover is what a machine went through when the incarnation of the host that it was on
// ended. The times are 0 of what did not happen, or was not heard of.
type failover struct {
	vm       string
	from, to string // hosts
	fault    time.Duration
	detect   time.Duration // the lease was recorded to have ended, or a new incarnation to have begun
	fence    time.Duration // the old host's guests had been stopped: its agent said so, or the lease had ended
	decide   time.Duration // the machine was taken from the host
	place    time.Duration // and given to another, or to the same in a new incarnation
	boot     time.Duration
	last     time.Duration // its last sign before
	write    time.Duration // the guest was told that a write was done which nobody was told of before
	outage   time.Duration // from its last sign to its next
	since    int           // the op of detect
	// full says that no host had room for it at first, as the system said.
	full bool
	// givenUp says that its user did not want it to run any more before it was through, and
	// unwanted is when.
	givenUp  bool
	unwanted time.Duration
}

// failover returns the part that measures what machines went through when their hosts died,
// and when they migrated. It judges nothing.
func (r *reader) failover() checker.Checker {
	return checker.Func(func(ctx context.Context, h *histories.History) (checker.Result, error) {
		e, err := r.events(ctx, h)
		if err != nil {
			return checker.Result{}, err
		}
		spans, err := h.Faults()
		if err != nil {
			return checker.Result{}, err
		}
		return e.measured(spans), nil
	})
}

// A leg is what is measured between two moments of all failovers.
type leg struct {
	title, name string
	took        []time.Duration
	least       []time.Duration // of what had not ended when nobody watched any more, or was given up
}

// waits adds that something had not ended after so long.
func (l *leg) waits(least time.Duration) { l.least = append(l.least, max(0, least)) }

// measured returns what was measured.
func (e *events) measured(spans []histories.FaultSpan) checker.Result {
	all := e.failovers(spans)
	legs := []*leg{
		{title: "detect: from the fault to the end of the lease", name: "detect"},
		{title: "fence: until its guests are stopped for certain", name: "fence"},
		{title: "decide: until the machine is taken from the host", name: "decide"},
		{title: "place: until it has another", name: "place"},
		{title: "boot: until its guest runs", name: "boot"},
		{title: "write: until the guest's first write is done", name: "write"},
		{title: "all of a failover", name: "failover"},
		{title: "the same, where no host had room at first", name: "failover_full"},
		{title: "outage: without a sign of the machine", name: "failover_outage"},
	}
	var moved, unfinished, givenUp int64
	watched := e.watched()
	for _, f := range all {
		moments := []time.Duration{f.fault, f.detect, max(f.fence, f.detect), f.decide, f.place, f.boot, f.write}
		if f.full {
			moments = moments[:4] // for how long hosts have no room is not the system's doing
		}
		reached := 1
		for ; reached < len(moments) && moments[reached] > 0; reached++ {
			legs[reached-1].took = append(legs[reached-1].took, max(0, moments[reached]-moments[reached-1]))
		}
		until := watched
		if f.givenUp { // the slower a system, the more of them: they count as far as they came
			until = f.unwanted
		}
		switch {
		case f.write > 0:
		case f.full:
			legs[7].waits(until - f.fault)
		default:
			if slices.Max(moments[reached:]) == 0 { // else a step was taken of which nobody heard
				legs[reached-1].waits(until - moments[reached-1])
			}
			legs[6].waits(until - f.fault)
			if f.boot == 0 {
				legs[8].waits(until - f.last)
			}
		}
		if f.to != "" && f.to != f.from {
			moved++
		}
		switch {
		case f.givenUp:
			givenUp++
		case f.write == 0:
			unfinished++
		case f.full:
			legs[7].took = append(legs[7].took, f.write-f.fault)
		default:
			legs[6].took = append(legs[6].took, f.write-f.fault)
		}
		if f.outage > 0 && !f.full {
			legs[8].took = append(legs[8].took, f.outage)
		}
	}
	down := &leg{title: "downtime of a live migration", name: "downtime"}
	var asked, committed, aborted int64
	for _, m := range e.each() {
		for _, v := range m.moves() {
			asked++
			switch {
			case v.committed != nil:
				committed++
			case v.ended != nil:
				aborted++
			}
			if d, ok := v.downtime(); ok && v.after.kind == Resumed {
				down.took = append(down.took, d)
			}
		}
	}
	outage, who, over := e.outage()
	counts := map[string]int64{
		"failovers": int64(len(all)), "moved": moved, "failovers_unfinished": unfinished, "failovers_given_up": givenUp,
		"outage_max_ms": outage.Milliseconds(),
		"migrations":    asked, "migrations_committed": committed, "migrations_aborted": aborted,
	}
	result := checker.Result{Verdict: checker.Valid, Counts: counts}
	// A host whose death nobody noticed has no failover: this is where it shows.
	switch {
	case outage > 0 && over:
		result.Sample("outage", []time.Duration{outage}, nil)
	case outage > 0:
		result.Sample("outage", nil, []time.Duration{outage})
	}
	table := &checker.Table{Columns: []string{"", "n", "p50", "p99", "max"}}
	for _, s := range append(legs, down) {
		result.Sample(s.name, s.took, s.least)
		if len(s.took) == 0 {
			continue
		}
		slices.Sort(s.took)
		row := []string{s.title, fmt.Sprint(len(s.took))}
		for _, q := range []struct {
			as string
			at int
		}{{"p50", 50}, {"p99", 99}, {"max", 100}} {
			d := s.took[(len(s.took)*q.at+99)/100-1]
			counts[s.name+"_"+q.as+"_ms"] = d.Milliseconds()
			row = append(row, checker.Brief(d))
		}
		table.Rows = append(table.Rows, row)
	}
	switch {
	case e.signs == 0 && len(e.records) == 0:
		result.Note = "nothing was told of machines"
		return result
	case len(all) == 0:
		result.Note = "no host was lost with a machine"
	default:
		counts["moved_permille"] = moved * 1000 / int64(len(all))
		result.Note = fmt.Sprintf("%s, %d %% of them to another host", checker.Count(counts["failovers"], "failover"), counts["moved_permille"]/10)
		if unfinished > 0 {
			result.Note += fmt.Sprintf(", %d not to their end", unfinished)
		}
		if givenUp > 0 {
			result.Note += fmt.Sprintf(", %d stopped or deleted by their users before that", givenUp)
		}
	}
	if outage > 0 {
		result.Note += fmt.Sprintf("; longest outage %s, of %s", checker.Brief(outage), who)
	}
	result.Note += fmt.Sprintf("; migrations: %d, committed %d, aborted %d", asked, committed, aborted)
	if len(table.Rows) > 0 {
		table.Title = fmt.Sprintf("machines: %d failed over, %d of them to another host; %d of %d migrations committed", len(all), moved, committed, asked)
		result.Table = table
	}
	return result
}

// failovers returns those of all incarnations that ended, of machines that ran there then and
// were wanted to. One that was about to be stopped fails over nowhere, and one that had not
// been started there yet is none that a fault has taken down.
func (e *events) failovers(spans []histories.FaultSpan) (all []*failover) {
	on := map[place]map[string]*record{} // by place, the machines that are there
	is := map[string]*record{}
	open := map[string]*failover{} // those whose machine has not been placed again
	epochs := map[*failover]uint64{}
	ends := func(p place, r *record) {
		for _, id := range slices.Sorted(maps.Keys(on[p])) {
			if v := on[p][id].VM; v.Desired == string(running) && v.State != stopping && open[id] == nil {
				f := &failover{vm: id, from: p.host, detect: r.at, since: r.op}
				open[id], epochs[f] = f, v.Epoch
				all = append(all, f)
			}
		}
	}
	incarnation := map[string]uint64{}
	for group := range e.transactions() {
		for _, r := range group {
			switch {
			case r.Ended != nil:
				ends(place{r.Ended.Host, r.Ended.Incarnation}, r)
			case r.Alive != nil:
				ends(place{r.Alive.Host, incarnation[r.Alive.Host]}, r)
				incarnation[r.Alive.Host] = r.Alive.Incarnation
			}
		}
		for _, r := range group {
			if r.VM == nil {
				continue
			}
			v := r.VM
			if was := is[v.ID]; was != nil && was.VM.Host != "" {
				delete(on[was.VM.at()], v.ID)
			}
			is[v.ID] = r
			if v.Host != "" {
				if on[v.at()] == nil {
					on[v.at()] = map[string]*record{}
				}
				on[v.at()][v.ID] = r
			}
			f := open[v.ID]
			switch {
			case f == nil:
			case v.Desired != string(running):
				delete(open, v.ID)
			case v.Host == "" && f.decide == 0:
				f.decide = r.at
			case v.Host != "" && v.Epoch > epochs[f]:
				f.place, f.to = r.at, v.Host
				if f.decide == 0 {
					f.decide = r.at
				}
				delete(open, v.ID)
			}
		}
	}
	faults := faultsOf(spans, e)
	var went []*failover
	for _, f := range all {
		ran := e.machines[f.vm].follow(f, epochs[f])
		f.full = e.machines[f.vm].waited(f)
		if ran {
			went = append(went, f)
		}
		for _, s := range e.fences {
			// Who decides has not waited for one that comes later: the lease had ended.
			if s.Host == f.from && s.at >= f.fault && (f.decide == 0 || s.at <= f.decide) {
				f.fence = s.at
			}
		}
		f.last, f.fault = f.fault, faults.begin(f)
	}
	return went
}

// follow fills in what signs tell of a failover of the guest of an epoch, and says whether
// there was one. It ends with a guest that runs in a higher epoch, wherever that was placed:
// the host that it was given first may have died as well. Fault is the last sign before that.
// What its user does not want any more is not followed further.
func (m *machine) follow(f *failover, epoch uint64) (ran bool) {
	unwanted := slices.IndexFunc(m.records, func(r *record) bool { return r.op > f.since && r.VM.Desired != string(running) })
	var most uint64
	for i := range m.signs {
		s := &m.signs[i]
		switch {
		case unwanted >= 0 && s.op > m.records[unwanted].op:
			f.givenUp, f.unwanted = true, m.records[unwanted].at
			return ran
		case !s.runs():
		case s.Epoch < epoch:
			most = max(most, s.Acked)
		case s.Epoch == epoch:
			ran, f.fault, most = true, s.at, max(most, s.Acked)
		default:
			if f.boot == 0 {
				f.boot, f.outage = s.at, s.at-f.fault
				if at := slices.IndexFunc(m.records, func(r *record) bool { return r.VM.Epoch == s.Epoch && r.VM.Host != "" }); at >= 0 {
					f.place, f.to = max(f.place, m.records[at].at), m.records[at].VM.Host
				}
			}
			if s.Acked > most {
				f.write = s.at
				return ran
			}
		}
	}
	if unwanted >= 0 {
		f.givenUp, f.unwanted = true, m.records[unwanted].at
	}
	return ran
}

// waited says that the system has found no place for a machine during a failover: of one that was
// nowhere already it said why.
func (m *machine) waited(f *failover) bool {
	for i := 1; i < len(m.records); i++ {
		was, r := m.records[i-1].VM, m.records[i]
		if r.op > f.since && (f.boot == 0 || r.at < f.boot) &&
			was.State == pending && r.VM.State == pending && r.VM.Reason != "" && r.VM.Reason != was.Reason {
			return true
		}
	}
	return false
}

// A hit is a fault as it met one host.
type hit struct{ from, to time.Duration }

type hits map[string][]hit

// faultsOf returns by host the faults that met it, as their details say.
func faultsOf(spans []histories.FaultSpan, e *events) hits {
	of := hits{}
	for _, s := range spans {
		if s.Failed != "" && s.Acted == 0 {
			continue
		}
		var d struct {
			Nodes  []string   `json:"nodes"`
			Node   string     `json:"node"`
			Groups [][]string `json:"groups"`
		}
		if json.Unmarshal(s.Detail, &d) != nil {
			continue
		}
		nodes := d.Nodes
		switch {
		case len(nodes) == 0 && d.Node != "":
			nodes = []string{d.Node}
		case len(nodes) == 0 && len(d.Groups) > 1: // all but the largest are cut off
			largest := slices.MaxFunc(d.Groups, func(a, b []string) int { return cmp.Compare(len(a), len(b)) })
			for _, group := range d.Groups {
				if !slices.Equal(group, largest) {
					nodes = append(nodes, group...)
				}
			}
		}
		begun := s.From
		if i := e.h.Pair(s.Begin); i >= 0 {
			begun = min(begun, e.h.At(i).Time)
		}
		for _, node := range nodes {
			of[node] = append(of[node], hit{begun, s.To})
		}
	}
	return of
}

// begin returns when the fault began that a failover is of: the last that its host was hit by,
// if it still held when the machine was heard of last, which is what is returned else.
func (of hits) begin(f *failover) time.Duration {
	for _, h := range slices.Backward(of[f.from]) {
		if h.from <= f.detect && h.to >= f.fault {
			return h.from
		}
	}
	return f.fault
}

// watched returns until when a guest would have been heard of: until one was heard of last, or, where
// none runs any more, until the end of the main phase.
func (e *events) watched() time.Duration {
	_, until, _ := checker.MainPhase(e.h)
	if n := len(e.ran); n > 0 {
		until = max(until, e.ran[n-1])
	}
	return until
}

// outage returns the longest time in which a machine that was wanted to run gave no sign,
// since it had given one first; which it was; and whether it was over before nobody watched any
// more.
func (e *events) outage() (longest time.Duration, who string, over bool) {
	end := e.watched()
	for _, m := range e.each() {
		since := time.Duration(-1) // its last sign, if it was wanted to run all the time since
		gap := func(to time.Duration, ends bool) {
			if since >= 0 && to-since > longest {
				longest, who, over = to-since, m.id, ends
			}
		}
		records := m.records
		for i := range m.signs {
			s := &m.signs[i]
			for ; len(records) > 0 && records[0].op < s.op; records = records[1:] {
				if records[0].VM.Desired != string(running) {
					since = -1
				}
			}
			if s.runs() {
				gap(s.at, true)
				since = s.at
			}
		}
		if !slices.ContainsFunc(records, func(r *record) bool { return r.VM.Desired != string(running) }) {
			gap(end, false)
		}
	}
	return longest, who, over
}
