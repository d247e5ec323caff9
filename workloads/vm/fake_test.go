package vm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/workloads"
)

// A mistake is one that a control plane makes.
type mistake int

const (
	none          mistake = iota
	createsTwice          // a create that is sent again makes another machine, now and then
	createsLate           // it makes one after it was refused
	staleGets             // now and then it tells of a machine as it was before it was changed
	losesStarts           // now and then it acknowledges a start, and does nothing
	revives               // now and then a machine that was deleted comes back
	epochsBack            // now and then it tells of an epoch that is over
	migratesAny           // it takes a migration of what is stopped
	forgetsGroups         // it makes machines of no group, and for all hosts
	others                // now and then it answers for another machine
)

// A plane is a control plane in memory, with its hosts: right but for one mistake. No time
// passes in it; each call lets all machines come one step further.
type plane struct {
	mistake
	chance   *rand.Rand
	refuses  float64 // the share of creates that it refuses
	deaf     bool    // it refuses all else that changes a machine
	revision uint64
	vms      []*VM
	was      map[string]VM // before they were last changed
	hosts    []Host
}

func newPlane(m mistake, seed uint64, hosts ...string) *plane {
	p := &plane{mistake: m, chance: rand.New(rand.NewPCG(seed, 3)), was: map[string]VM{}}
	for _, name := range hosts {
		p.hosts = append(p.hosts, Host{Name: name, Alive: true, Incarnation: 1, Capacity: 4, Labels: someHosts})
	}
	p.hosts[len(hosts)-1].Labels = nil
	return p
}

func (p *plane) open(context.Context, int) (Cluster, error) { return p, nil }

func (p *plane) Close() error { return nil }

// errs says that the mistake is made this time, which it is one time in so many.
func (p *plane) errs(m mistake, in int) bool { return p.mistake == m && p.chance.IntN(in) == 0 }

// place returns a host that has room for v.
func (p *plane) place(v *VM) string {
	s := p.snapshot()
	for _, i := range p.chance.Perm(len(s.Hosts)) {
		if h := s.Hosts[i]; h.Name != v.Host && s.hasRoom(h, *v) {
			return h.Name
		}
	}
	return ""
}

// pass lets every machine come one step further.
func (p *plane) pass() {
	p.revision++
	for _, v := range p.vms {
		switch {
		case v.State == "pending":
			if v.Host = p.place(v); v.Host == "" {
				v.Reason = "no host has room"
				continue
			}
			v.State, v.Reason = "starting", ""
			v.Epoch++
		case v.State == "starting" && v.Desired == "running":
			v.State = "running"
		case v.State == "migrating" && v.Target == "":
			if v.Target = p.place(v); v.Target == "" {
				v.State, v.Phase = "running", ""
			}
		case v.State == "migrating":
			v.State, v.Host, v.Target, v.Phase = "running", v.Target, "", ""
			v.Epoch++
		case v.State == "running" && v.Desired == "running":
			if p.draining(v.Host) {
				v.State, v.Phase = "migrating", "asked"
			}
		case v.State == "starting", v.State == "running":
			v.State = "stopping"
		case v.State == "stopping":
			v.Host = ""
			p.rest(v)
		case v.State == "deleted" && p.errs(revives, 100):
			v.Desired, v.State = "running", "pending"
		}
	}
}

func (p *plane) draining(host string) bool {
	return slices.ContainsFunc(p.hosts, func(h Host) bool { return h.Name == host && h.Draining })
}

// rest is what becomes of a machine that is nowhere.
func (p *plane) rest(v *VM) {
	if v.State = v.Desired; v.Desired == "running" {
		v.State = "pending"
	}
}

func (p *plane) Create(_ context.Context, token string, s Spec) (Answer, error) {
	p.pass()
	for _, v := range p.vms {
		if v.Token == token && !p.errs(createsTwice, 4) {
			return p.answer(v), nil
		}
	}
	refused := p.chance.Float64() < p.refuses
	if refused && p.mistake != createsLate {
		return Answer{}, workloads.Definite(errors.New("not now"))
	}
	v := &VM{
		ID: fmt.Sprintf("vm%d", len(p.vms)+1), Token: token, Size: s.Size, Group: s.Group, Labels: s.Labels, Desired: "running", State: "pending",
	}
	if p.mistake == forgetsGroups {
		v.Group, v.Labels = "", nil
	}
	p.vms = append(p.vms, v)
	if refused {
		return Answer{}, workloads.Definite(errors.New("not now"))
	}
	return p.answer(v), nil
}

func (p *plane) answer(v *VM) Answer {
	if p.errs(others, 20) {
		v = p.vms[p.chance.IntN(len(p.vms))]
	}
	a := Answer{VM: *v, Said: workloads.Said{Node: "n1", Revision: p.revision}}
	if v.Epoch > 0 && p.errs(epochsBack, 20) {
		a.VM.Epoch--
	}
	return a
}

func (p *plane) find(id string) (*VM, error) {
	p.pass()
	for _, v := range p.vms {
		if v.ID == id {
			return v, nil
		}
	}
	return nil, workloads.Definite(errors.New("no such machine"))
}

func (p *plane) Get(_ context.Context, id string) (Answer, error) {
	v, err := p.find(id)
	if err == nil && p.errs(staleGets, 10) && p.was[id].ID != "" {
		return p.answer(new(p.was[id])), nil
	}
	if err != nil || v.Desired == "deleted" {
		return Answer{}, nil
	}
	return p.answer(v), nil
}

func (p *plane) want(id, desired string) (Answer, error) {
	v, err := p.find(id)
	if err != nil {
		return Answer{}, err
	}
	if p.deaf {
		return Answer{}, workloads.Definite(errors.New("not now"))
	}
	if v.Desired == "deleted" && desired != "deleted" {
		return Answer{}, workloads.Definite(errors.New("it was deleted"))
	}
	if desired == "running" && p.errs(losesStarts, 2) {
		a := p.answer(v)
		a.VM.Desired = "running"
		return a, nil
	}
	if v.Desired != desired {
		p.was[id] = *v
		v.Desired = desired
	}
	if v.Host == "" {
		p.rest(v)
	}
	return p.answer(v), nil
}

func (p *plane) Start(_ context.Context, id string) (Answer, error)  { return p.want(id, "running") }
func (p *plane) Stop(_ context.Context, id string) (Answer, error)   { return p.want(id, "stopped") }
func (p *plane) Delete(_ context.Context, id string) (Answer, error) { return p.want(id, "deleted") }

func (p *plane) Migrate(_ context.Context, id string) (Answer, error) {
	v, err := p.find(id)
	switch {
	case err != nil:
		return Answer{}, err
	case p.mistake == migratesAny && v.Desired == "stopped":
		a := p.answer(v)
		a.VM.Desired = "running"
		return a, nil
	case v.State != "running" || v.Desired != "running" || p.deaf:
		return Answer{}, workloads.Definite(errors.New("it does not run"))
	}
	v.State, v.Phase = "migrating", "asked"
	return p.answer(v), nil
}

func (p *plane) host(name string, cordoned, draining bool) (workloads.Said, error) {
	p.pass()
	for i := range p.hosts {
		if p.hosts[i].Name == name {
			p.hosts[i].Cordoned, p.hosts[i].Draining = cordoned, draining
			return workloads.Said{Node: "n1", Revision: p.revision}, nil
		}
	}
	return workloads.Said{}, workloads.Definite(errors.New("no such host"))
}

func (p *plane) Drain(_ context.Context, host string) (workloads.Said, error) {
	return p.host(host, true, true)
}

func (p *plane) Cordon(_ context.Context, host string) (workloads.Said, error) {
	return p.host(host, true, false)
}

func (p *plane) Uncordon(_ context.Context, host string) (workloads.Said, error) {
	return p.host(host, false, false)
}

func (p *plane) Look(context.Context) (Snapshot, workloads.Said, error) {
	p.pass()
	return p.snapshot(), workloads.Said{Node: "n1", Revision: p.revision}, nil
}

func (p *plane) snapshot() Snapshot {
	s := Snapshot{Revision: p.revision, Hosts: slices.Clone(p.hosts)}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		h.Guests = map[string]uint64{}
		for _, v := range p.vms {
			if v.Host == h.Name || v.Target == h.Name {
				h.Reserved += v.Size
			}
			if v.Host == h.Name && (v.State == "running" || v.State == "migrating") {
				h.Guests[v.ID] = v.Epoch
			}
		}
	}
	for _, v := range p.vms {
		s.VMs = append(s.VMs, *v)
	}
	return s
}

func (p *plane) Volumes(_ context.Context, vms []string) (map[string]Volume, error) {
	volumes := map[string]Volume{}
	for _, id := range vms {
		volumes[id] = Volume{Last: 1, Extents: [][3]uint64{{1, 1, 1}}}
	}
	return volumes, nil
}
