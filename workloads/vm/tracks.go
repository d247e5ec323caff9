package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// What the slices of a class have in common, where that is not a host, a machine, an epoch or
// the state of a machine.
const (
	classLost     = "lease ended"
	classFenced   = "fenced"
	classCordoned = "cordoned"
	classRefused  = "refused"
)

// Tracks returns what h tells of machines, hosts and volumes from time to time:
//
//   - "machines": of each, where its guests ran, from the first to the last sign of each; bad
//     are those that the checker finds to have run at once. Behind it, under the name of "vm3
//     by the control plane", what the control plane knew of it. Both have the tokens by which
//     clients name the machine, and the events that tell of it;
//   - "hosts": of each, the guests that ran there, which may overlap, and when it was cordoned or
//     to be drained; when its lease had ended, until it had another; and when its agent had
//     fenced it, until it had a lease again, or a guest was started there;
//   - "storage": of the volume of each machine, the epochs whose writes it took, and those that
//     it refused; bad are those behind a higher epoch;
//   - "migrations": of each machine, its migrations, from when one was asked for.
//
// The times are when the observer heard of it. A guest that still ran when nobody was heard of
// any more, and that is recorded to, has no end. An event that cannot be read is an error.
func Tracks(h *histories.History) ([]workloads.Track, error) {
	e, err := readEvents(context.Background(), h)
	if err != nil {
		return nil, err
	}
	var machines, storage, migrations []workloads.Track
	hosts := e.hosts()
	tokens := e.tokens()
	all := e.each()
	slices.SortFunc(all, func(a, b *machine) int { return byName(a.id, b.id) })
	for _, m := range all {
		runs := m.runs(e)
		ran := workloads.Track{Group: "machines", Name: m.id, Keys: tokens[m.id], Events: m.events()}
		for _, r := range runs {
			s := r.slice
			s.Label, s.Class = fmt.Sprintf("%s, epoch %d", r.host, r.epoch), r.host
			ran.Slices = append(ran.Slices, s)
			s.Label, s.Class = fmt.Sprintf("%s, epoch %d", m.id, r.epoch), m.id
			hosts[r.host] = append(hosts[r.host], s)
		}
		machines = add(machines, ran)
		known := ran
		known.Name, known.Subject, known.Slices = m.id+" by the control plane", m.id, m.recorded()
		machines = add(machines, known)
		storage = add(storage, m.volume())
		migrations = add(migrations, workloads.Track{Group: "migrations", Name: m.id, Slices: m.migrations()})
	}
	var of []workloads.Track
	for host, s := range hosts {
		of = add(of, workloads.Track{Group: "hosts", Name: host, Node: host, Slices: s})
	}
	slices.SortFunc(of, func(a, b workloads.Track) int { return byName(a.Name, b.Name) })
	return slices.Concat(machines, of, storage, migrations), nil
}

// add adds a track that has anything in it, and puts that in order.
func add(tracks []workloads.Track, t workloads.Track) []workloads.Track {
	if len(t.Slices) == 0 {
		return tracks
	}
	slices.SortStableFunc(t.Slices, func(a, b workloads.Slice) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Op, b.Op))
	})
	return append(tracks, t)
}

// tokens returns the tokens by which clients have called each machine, or it was asked for: one,
// unless something is wrong. What cannot be read tells of none.
func (e *events) tokens() map[string][]string {
	of := map[string][]string{}
	named := func(id, token string) {
		if id != "" && token != "" && !slices.Contains(of[id], token) {
			of[id] = append(of[id], token)
		}
	}
	for _, r := range e.records {
		if r.VM != nil {
			named(r.VM.ID, r.VM.Token)
		}
	}
	for _, op := range e.h.All() {
		if op.Process < 0 || !ofMachine(op.F) {
			continue
		}
		var v VM
		token, told, err := workloads.ParseKeyed(op.Value)
		if err != nil || json.Unmarshal(told, &v) != nil {
			continue
		}
		named(v.ID, token)
		named(v.ID, v.Token)
	}
	for _, tokens := range of {
		slices.SortFunc(tokens, byName)
	}
	return of
}

// events returns the indices of the events that tell of m.
func (m *machine) events() []int {
	ops := make([]int, 0, len(m.signs)+len(m.records))
	for i := range m.signs {
		ops = append(ops, m.signs[i].op)
	}
	for _, r := range m.records {
		ops = append(ops, r.op)
	}
	slices.Sort(ops)
	return ops
}

// byName compares names of one kind that end in numbers: vm2 comes before vm10.
func byName(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }

// A run is a guest from its first sign of running to its last, or until it was paused.
type run struct {
	guest
	slice workloads.Slice // without label and class
	last  *sign
}

// runs returns the runs of m's guests, by their beginnings.
func (m *machine) runs(e *events) (all []*run) {
	of := make([]*run, len(m.signs)) // which each sign is of
	open := map[guest]*run{}
	var last *run // that gave a sign
	for i := range m.signs {
		s := &m.signs[i]
		g := s.guest()
		r := open[g]
		switch {
		case s.kind == Paused:
			if r != nil && r == last { // else another went on before that was heard of
				r.slice.To = s.at
			}
			delete(open, g)
			if r == last {
				last = nil
			}
			continue
		case !s.runs():
			continue
		case r == nil:
			r = &run{guest: g, slice: workloads.Slice{From: s.at, Op: s.op}}
			open[g] = r
			all = append(all, r)
		}
		of[i], last = r, r
		r.slice.To, r.last = s.at, s
	}
	for o := range m.copies {
		of[o.after].slice.Bad, of[o.between].slice.Bad = true, true
	}
	if last != nil && m.goesOn(e, last) {
		last.slice.To = histories.Never
	}
	return all
}

// heard is for how long a guest that runs may have given no sign: it gives one every 20 ms,
// unless its computer is busy.
const heard = time.Second

// goesOn says that the guest that gave the last sign of m still ran when nobody was heard of any
// more: hardly before, and the last record of it says so too, as does none that its host is over
// or fenced.
func (m *machine) goesOn(e *events, r *run) bool {
	if len(m.records) == 0 || len(e.ran) == 0 || e.ran[len(e.ran)-1]-r.last.at > heard {
		return false
	}
	v := m.records[len(m.records)-1].VM
	if v.State != string(running) && v.State != migrating || v.Host != r.host || v.Epoch != r.epoch {
		return false
	}
	for _, f := range slices.Backward(e.fences) {
		if f.op < r.last.op {
			break
		}
		if f.Host == r.host {
			return false
		}
	}
	for _, record := range slices.Backward(e.records) {
		if record.op < r.last.op {
			break
		}
		if record.Ended != nil && record.Ended.Host == r.host {
			return false
		}
	}
	return true
}

// recorded returns what the control plane knew of m.
func (m *machine) recorded() (of []workloads.Slice) {
	for _, r := range m.records {
		v, n := r.VM, len(of)
		label := v.State
		switch {
		case v.State == migrating:
			label = fmt.Sprintf("migrating %s→%s, %s", v.Host, cmp.Or(v.Target, "?"), cmp.Or(v.Phase, "?"))
			if v.Phase == phaseCommitted {
				label = fmt.Sprintf("migrating to %s, %s", v.Host, v.Phase)
			}
		case v.Host != "":
			label = fmt.Sprintf("%s on %s", v.State, v.Host)
		}
		if v.Host != "" {
			label += fmt.Sprintf(", epoch %d", v.Epoch)
		}
		if n > 0 && of[n-1].To == histories.Never {
			if of[n-1].Label == label {
				continue
			}
			of[n-1].To = r.at
		}
		if v.State != string(deleted) {
			of = append(of, workloads.Slice{From: r.at, To: histories.Never, Label: label, Class: v.State, Op: r.op})
		}
	}
	return of
}

// volume returns the track of the epochs that the volume of m took writes of.
func (m *machine) volume() workloads.Track {
	t := workloads.Track{Group: "storage", Name: m.id}
	bad := map[int]bool{} // by op
	for _, s := range m.stale {
		bad[s.op] = true
	}
	took, refused := -1, -1 // the last of each
	var first, writes uint64
	for i := range m.signs {
		switch s := &m.signs[i]; s.kind {
		case Took:
			if took >= 0 {
				t.Slices[took].To = s.at
			}
			took, refused = len(t.Slices), -1
			t.Slices = append(t.Slices, workloads.Slice{
				From: s.at, To: histories.Never, Class: fmt.Sprintf("epoch %d", s.Epoch), Bad: bad[s.op], Op: s.op,
				Label: fmt.Sprintf("epoch %d, from write %d", s.Epoch, s.Seq),
			})
		case Refused:
			if refused < 0 || first != s.Epoch {
				refused, first, writes = len(t.Slices), s.Epoch, 0
				t.Slices = append(t.Slices, workloads.Slice{From: s.at, Class: classRefused, Op: s.op})
			}
			writes++
			r := &t.Slices[refused]
			if r.To, r.Label = s.at, fmt.Sprintf("refused %d writes of epoch %d", writes, s.Epoch); writes == 1 {
				r.Label = fmt.Sprintf("refused write %d of epoch %d", s.Seq, s.Epoch)
			}
		default:
			continue
		}
		if s := &m.signs[i]; t.Node == "" {
			t.Node = s.Host
		}
	}
	return t
}

// migrations returns those of m. One that nobody heard the end of has none.
func (m *machine) migrations() (of []workloads.Slice) {
	at := 0 // in the records
	for _, v := range m.moves() {
		s := workloads.Slice{From: v.asked.at, To: histories.Never, Class: "under way", Op: v.asked.op}
		from, to := v.asked.VM.Host, ""
		if v.asked == v.committed {
			from = "" // it was there already when somebody heard of it
		}
		for ; at < len(m.records) && m.records[at] != v.ended; at++ {
			if m.records[at].op >= v.asked.op {
				to = cmp.Or(m.records[at].VM.Target, to)
			}
		}
		switch {
		case v.committed != nil:
			s.Class, to = "committed", v.committed.VM.Host
		case v.ended != nil:
			s.Class = "aborted"
		}
		if v.ended != nil {
			s.To = v.ended.at
		}
		s.Label = fmt.Sprintf("%s: %s→%s, %s", m.id, cmp.Or(from, "?"), cmp.Or(to, "?"), s.Class)
		of = append(of, s)
	}
	return of
}

// hosts returns what is told of hosts themselves, by their names.
func (e *events) hosts() map[string][]workloads.Slice {
	of := map[string][]workloads.Slice{}
	type what struct{ host, class string }
	open := map[what]int{}
	begin := func(host, class, label string, at time.Duration, op int) {
		if _, is := open[what{host, class}]; is {
			return
		}
		open[what{host, class}] = len(of[host])
		of[host] = append(of[host], workloads.Slice{From: at, To: histories.Never, Label: label, Class: class, Op: op})
	}
	end := func(host, class string, at time.Duration) {
		if i, is := open[what{host, class}]; is {
			of[host][i].To = at
			delete(open, what{host, class})
		}
	}
	lives := map[string]uint64{} // the last incarnation that had a lease
	// In the order in which all of it was heard of.
	type event struct {
		op int
		do func()
	}
	var all []event
	for i := range e.fences {
		f := &e.fences[i]
		all = append(all, event{f.op, func() { begin(f.Host, classFenced, "fenced by its agent", f.at, f.op) }})
	}
	for _, m := range e.machines {
		for i := range m.signs {
			if s := &m.signs[i]; s.kind == Boot || s.kind == Resumed {
				all = append(all, event{s.op, func() { end(s.Host, classFenced, s.at) }})
			}
		}
	}
	for _, r := range e.records {
		all = append(all, event{r.op, func() {
			switch {
			case r.Ended != nil && r.Ended.Incarnation < lives[r.Ended.Host]: // it is known to live again
			case r.Ended != nil:
				begin(r.Ended.Host, classLost, fmt.Sprintf("lease of incarnation %d ended", r.Ended.Incarnation), r.at, r.op)
			case r.Alive != nil:
				lives[r.Alive.Host] = r.Alive.Incarnation
				end(r.Alive.Host, classLost, r.at)
				end(r.Alive.Host, classFenced, r.at)
			case r.Host == nil:
			case r.Host.Cordoned || r.Host.Draining:
				begin(r.Host.Name, classCordoned, classCordoned, r.at, r.op)
			default:
				end(r.Host.Name, classCordoned, r.at)
			}
		}})
	}
	slices.SortFunc(all, func(a, b event) int { return a.op - b.op })
	for _, event := range all {
		event.do()
	}
	return of
}
