package vm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// The kinds of what [placement] finds.
const (
	overCapacity  = "over capacity"
	groupTogether = "group on one host"
	notReserved   = "placed without reservation"
	leaked        = "reservation leaked"
	onClosed      = "placed on a closed host"
	unlabelled    = "host without its label"
)

// placement judges, at every revision, whether hosts have no more reserved than they have,
// nothing of two machines of a group, nothing for machines whose labels they lack, and
// nothing new when they are closed; whether what is placed, or about to migrate, has its
// reservation in the same transaction, and what is not has none at rest. And it judges, at
// every sign, whether what runs on a host fits there, may be there, and is of different
// groups: what is recorded may be right and what is done not.
func placement(e *events, j *judgement) {
	p := &plan{vms: map[string]*record{}, hosts: map[string]*record{}}
	changes := 0
	for group := range e.transactions() {
		var affected []string // machines
		for _, r := range group {
			switch {
			case r.VM != nil:
				p.vms[r.VM.ID] = r
				affected = append(affected, r.VM.ID)
			case r.Host != nil:
				affected = append(affected, p.released(r)...)
				p.closed(r, j)
				p.hosts[r.Host.Name] = r
				changes++
			}
		}
		for _, r := range group {
			if r.Host != nil {
				p.fits(r, j)
			}
		}
		slices.Sort(affected)
		for _, id := range slices.Compact(affected) {
			p.reserved(id, j)
		}
	}
	for _, l := range e.looks {
		if l.f == Rest && l.ok {
			l.given(j)
		}
	}
	e.crowds(p, j)
	j.counts["hosts"], j.counts["host_records"] = int64(len(p.hosts)), int64(changes)
	j.note("hosts: %d, records of them: %d", len(p.hosts), changes)
}

// A plan is the last record of each machine and each host.
type plan struct{ vms, hosts map[string]*record }

// fits judges a record of a host.
func (p *plan) fits(r *record, j *judgement) {
	h := r.Host
	taken := uint32(0)
	groups := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(h.Reservations)) {
		taken += h.Reservations[id]
		v := p.vms[id]
		if v == nil {
			continue
		}
		if !h.suits(*v.VM) {
			j.found(unlabelled, []int{v.op, r.op}, "%s, which is for hosts with %s, has a place on %s at revision %d, which has %s",
				id, labels(v.VM.Labels), h.Name, r.Revision, labels(h.Labels))
		}
		if v.VM.Group == "" {
			continue
		}
		if other := groups[v.VM.Group]; other != "" {
			j.found(groupTogether, []int{p.vms[other].op, v.op, r.op}, "%s and %s, both of group %s, are reserved on %s at revision %d", other, id, v.VM.Group, h.Name, r.Revision)
		}
		groups[v.VM.Group] = id
	}
	if taken > h.Capacity {
		j.found(overCapacity, []int{r.op}, "%d are reserved on %s at revision %d, which has %d", taken, h.Name, r.Revision, h.Capacity)
	}
}

// labels says them in the order of their names.
func labels(of map[string]string) string {
	if len(of) == 0 {
		return "none"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, name+"="+of[name])
	}
	return strings.Join(all, " and ")
}

// closed judges whether a record of a host that is drained or cordoned, and was so before, has a
// reservation that it did not have.
func (p *plan) closed(r *record, j *judgement) {
	was, h := p.hosts[r.Host.Name], r.Host
	if was == nil || !h.Cordoned && !h.Draining || !was.Host.Cordoned && !was.Host.Draining {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(h.Reservations)) {
		if _, had := was.Host.Reservations[id]; !had {
			j.found(onClosed, []int{was.op, r.op}, "%s got a place on %s at revision %d, which was closed", id, h.Name, r.Revision)
		}
	}
}

// released returns the machines that have no reservation any more by a record of a host.
func (p *plan) released(r *record) (ids []string) {
	if was := p.hosts[r.Host.Name]; was != nil {
		for id := range was.Host.Reservations {
			if _, still := r.Host.Reservations[id]; !still {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// reserved judges whether a machine has its reservations: where it is, and where it is about
// to migrate.
func (p *plan) reserved(id string, j *judgement) {
	r := p.vms[id]
	if r == nil {
		return
	}
	places := []string{r.VM.Host}
	if r.VM.State == migrating && r.VM.Phase != phaseAsked && r.VM.Phase != phaseCommitted {
		places = append(places, r.VM.Target)
	}
	for _, name := range places {
		h := p.hosts[name]
		if h == nil {
			continue // it is nowhere, or nothing was told of that host
		}
		if _, ok := h.Host.Reservations[id]; !ok {
			j.found(notReserved, []int{r.op, h.op}, "%s is %s on %s at revision %d, or about to be, and has no reservation there",
				id, r.VM.State, name, max(r.Revision, h.Revision))
		}
	}
}

// given judges what is reserved when all is at rest.
func (l *look) given(j *judgement) {
	taken := map[string]uint32{}
	for _, v := range l.VMs {
		if v.Host != "" {
			taken[v.Host] += v.Size
		}
	}
	for _, h := range l.Hosts {
		switch is, ops := taken[h.Name], []int{l.invoked, l.op}; {
		case h.Reserved > is:
			j.found(leaked, ops, "%d are reserved on %s at rest, and what is there takes %d", h.Reserved, h.Name, is)
		case h.Reserved < is:
			j.found(notReserved, ops, "%d are reserved on %s at rest, and what is there takes %d", h.Reserved, h.Name, is)
		}
	}
}

// A stretch is a time in which a guest ran: it gave signs at its beginning and its end, and
// was not paused in between.
type stretch struct {
	vm          *machine
	host        string
	first, last int // ops
}

// stretches returns those of all guests, by host.
func (e *events) stretches() map[string][]*stretch {
	all := map[string][]*stretch{}
	for _, m := range e.each() {
		open := map[guest]*stretch{}
		for i := range m.signs {
			s := &m.signs[i]
			switch {
			case s.kind == Paused:
				delete(open, s.guest())
			case !s.runs():
			case open[s.guest()] != nil:
				open[s.guest()].last = s.op
			default:
				r := &stretch{m, s.Host, s.op, s.op}
				open[s.guest()] = r
				all[s.Host] = append(all[s.Host], r)
			}
		}
	}
	return all
}

// crowds judges what runs on each host at the same time, whenever something begins to.
func (e *events) crowds(p *plan, j *judgement) {
	for name, all := range e.stretches() {
		slices.SortFunc(all, func(a, b *stretch) int { return cmp.Compare(a.first, b.first) })
		var on []*stretch // that have not ended
		var crowded, together bool
		for _, s := range all {
			on = slices.DeleteFunc(on, func(o *stretch) bool { return o.last < s.first })
			on = append(on, s)
			if h := p.hosts[name]; h != nil && !crowded {
				vms, ops, size := map[*machine]bool{}, []int{}, uint32(0)
				for _, o := range on {
					if v := p.vms[o.vm.id]; v != nil && !vms[o.vm] {
						size += v.VM.Size
						vms[o.vm] = true
						ops = append(ops, o.first, o.last)
					}
				}
				if crowded = size > h.Host.Capacity; crowded {
					j.found(overCapacity, ops, "%s ran %d machines at once, of size %d, and has room for %d", name, len(vms), size, h.Host.Capacity)
				}
			}
			v := p.vms[s.vm.id]
			if h := p.hosts[name]; h != nil && v != nil && !h.Host.suits(*v.VM) {
				j.found(unlabelled, []int{s.first, s.last}, "%s, which is for hosts with %s, ran on %s, which has %s",
					s.vm.id, labels(v.VM.Labels), name, labels(h.Host.Labels))
			}
			if v == nil || v.VM.Group == "" || together {
				continue
			}
			for _, o := range on {
				if other := p.vms[o.vm.id]; other != nil && o.vm != s.vm && other.VM.Group == v.VM.Group {
					together = true
					j.found(groupTogether, []int{o.first, o.last, s.first, s.last}, "%s and %s, both of group %s, ran on %s at once", o.vm.id, s.vm.id, v.VM.Group, name)
					break
				}
			}
		}
	}
}
