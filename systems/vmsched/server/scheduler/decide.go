package scheduler

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// An action is one step in the life of a machine that is to be taken, and why.
type action struct {
	what verb
	vm   string
	host string // that it is about: where the machine is, or is to be
	why  string
}

// A verb is what a leader does.
type verb string

// All of them.
const (
	lose    verb = "lose"    // a machine's host has died
	place   verb = "place"   // one is to be started on a host
	wait    verb = "wait"    // there is no place for one
	stop    verb = "stop"    // one is not wanted any more, or does not come up
	move    verb = "move"    // one is to leave a host that is drained
	prepare verb = "prepare" // a migration has a target
	abort   verb = "abort"   // a migration is given up
	release verb = "release" // a host keeps a place for a machine that will not come
)

// A plan is what is to be done next. It is one transaction: it takes place as a whole, and
// only if all that was looked at is still so.
type plan struct {
	actions []action
	change  *state.Change
}

// What a leader knows, by which it decides.
type knowledge struct {
	*state.View
	// age is for how long it has seen a machine in the same state, epoch and migration.
	age map[string]time.Duration

	// These are of bugs.

	// silent are hosts that have not been heard of, and handed where machines were handed
	// over from in the epoch that they are in.
	silent map[string]bool
	handed map[string]site
	// deposed is who leads no more, and goes on.
	deposed bool
}

// drainsAtOnce is how many migrations there may be for a host to be drained: each takes
// bandwidth and a place on two hosts. drainAgain is how long a machine stays whose last
// migration came to nothing.
const (
	drainsAtOnce = 2
	drainAgain   = time.Second
)

// noPlace is why a machine is pending, or stays where it is.
const noPlace = "no host that lives has a place for it"

// decide says what is to be done. It depends on nothing else, and of the same says the same.
// Each machine takes one step at the most; what several do to one host is reckoned
// together.
func decide(k knowledge, mistake string) plan {
	d := &draft{
		knowledge: k, bug: mistake,
		vms: map[string]state.VM{}, hosts: map[string]state.Host{},
		alive: map[string]bool{}, read: map[string]bool{},
	}
	for _, r := range k.VMs {
		if r.Value.State == state.Migrating {
			d.migrations++
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(k.VMs), older) {
		d.next(k.VMs[id].Value)
	}
	for _, name := range slices.Sorted(maps.Keys(k.Hosts)) {
		d.tidy(name)
	}
	return plan{d.actions, d.change()}
}

// older has machines in the order in which they were made: "vm9" is before "vm10".
func older(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }

// A draft is what is known, and what has been decided already.
type draft struct {
	knowledge
	bug string

	actions []action
	// vms and hosts are those that change, as they are to be.
	vms   map[string]state.VM
	hosts map[string]state.Host
	// alive are the hosts, and read the machines, that must be as they were seen.
	alive, read map[string]bool
	migrations  int // how many there are
}

// next decides what becomes of a machine. What comes first is most urgent.
func (d *draft) next(v state.VM) {
	unwanted := v.Desired != state.WantRunning
	switch from, was := d.handed[v.ID]; {
	case v.Host != "" && !d.lives(v.Host, v.Incarnation):
		d.lose(v)
	case was && v.Host != "" && !d.lives(from.host, from.incarnation):
		d.forget(v)
	case v.State == state.Migrating && v.Migration.Phase != state.Committed:
		d.migrate(v)
	case unwanted && (v.State == state.Starting || v.State == state.Running):
		d.stop(v, "it is wanted "+string(v.Desired))
	case v.State == state.Starting && d.age[v.ID] > startLimit:
		d.stop(v, "it does not come up")
	case v.State == state.Pending:
		d.place(v)
	case v.State == state.Running && d.host(v.Host).Draining:
		d.drain(v)
	}
}

// lose takes a machine from a host that has died.
func (d *draft) lose(v state.VM) {
	var target state.Host
	if reserves(v) {
		target = d.host(v.Migration.Target)
	}
	now, from, target, err := v.Lose(d.host(v.Host), target)
	if err != nil {
		return
	}
	if d.bug == bug.StopForgotten && now.State == state.Stopped {
		now.State, now.Desired = state.Pending, state.WantRunning
	}
	if !d.silent[v.Host] {
		d.alive[v.Host] = true
	}
	d.does(action{lose, v.ID, v.Host, "its host has died"}, now, from, target)
}

// forget is [bug.SourceLost].
func (d *draft) forget(v state.VM) {
	now, from, _, err := v.Lose(d.host(v.Host), state.Host{})
	if err == nil {
		now.State = state.Stopped
		d.does(action{lose, v.ID, v.Host, "the source of its migration has died"}, now, from)
	}
}

// migrate sees a migration through that is not committed.
func (d *draft) migrate(v state.VM) {
	m := v.Migration
	died := m.Phase != state.Asked && !d.lives(m.Target, m.Incarnation)
	switch {
	case d.bug == bug.StuckMigrating && m.Phase != state.Asked && (died || d.age[v.ID] > migrationLimit):
	case v.Desired != state.WantRunning:
		d.abort(v, "it is wanted "+string(v.Desired))
	case died:
		d.abort(v, "the target has died")
	case d.age[v.ID] > migrationLimit:
		d.abort(v, "it took too long")
	case m.Phase == state.Asked:
		target, found := d.best(v)
		if !found {
			d.abort(v, noPlace)
			return
		}
		if now, target, err := v.Prepare(target); err == nil {
			d.alive[target.Name] = true
			d.does(action{prepare, v.ID, target.Name, ""}, now, target)
		}
	}
}

func (d *draft) abort(v state.VM, why string) {
	var target state.Host
	if reserves(v) {
		target = d.host(v.Migration.Target)
	}
	now, target, err := v.Abort(target, why)
	if err != nil {
		return
	}
	if d.bug == bug.CapacityLeaked {
		target = state.Host{}
	}
	d.migrations--
	d.does(action{abort, v.ID, v.Migration.Target, why}, now, target)
}

func (d *draft) stop(v state.VM, why string) {
	if now, err := v.Stop(); err == nil {
		d.does(action{stop, v.ID, v.Host, why}, now)
	}
}

// place finds a place for a machine that is pending, or has it say that there is none.
func (d *draft) place(v state.VM) {
	on, found := d.best(v)
	if !found {
		if v.Reason != noPlace {
			now := v
			now.Reason = noPlace
			d.does(action{wait, v.ID, "", noPlace}, now)
		}
		return
	}
	if now, on, err := v.Place(on); err == nil {
		d.alive[on.Name] = true
		d.does(action{place, v.ID, on.Name, ""}, now, on)
	}
}

// drain moves a machine away, if there is somewhere to move it and not too many are on their
// way.
func (d *draft) drain(v state.VM) {
	if d.migrations >= drainsAtOnce || v.Reason != "" && d.age[v.ID] < drainAgain {
		return
	}
	if _, found := d.best(v); !found {
		return
	}
	if now, err := v.Move(""); err == nil {
		d.migrations++
		d.does(action{move, v.ID, v.Host, "its host is drained"}, now)
	}
}

// tidy releases what a host keeps for machines that are not there, nor about to be.
func (d *draft) tidy(name string) {
	if d.bug == bug.CapacityLeaked {
		return
	}
	h := d.host(name)
	for _, id := range slices.SortedFunc(maps.Keys(h.Reserved), older) {
		v, changed := d.vms[id]
		if !changed {
			v = d.VMs[id].Value
		}
		if v.Host == name || reserves(v) && v.Migration.Target == name {
			continue
		}
		h.Reserved = maps.Clone(h.Reserved)
		delete(h.Reserved, id)
		d.hosts[name] = h
		d.read[id] = true
		d.actions = append(d.actions, action{release, id, name, "it is not there"})
	}
}

// reserves says whether a machine has a place on the target of its migration beside the
// one where it is.
func reserves(v state.VM) bool {
	return v.Migration != nil && (v.Migration.Phase == state.Preparing || v.Migration.Phase == state.Ready)
}

// best returns the host with most capacity free of those that a machine may be placed on, or
// moved to; of several the first by name. That where it did not start is the last choice.
func (d *draft) best(v state.VM) (best state.Host, found bool) {
	names := slices.Sorted(maps.Keys(d.Hosts))
	if d.deposed { // who sees something else finds another host best
		slices.Reverse(names)
	}
	var most uint64
	for _, name := range names {
		if asked := v.Migration; name == v.Host || asked != nil && asked.Target != "" && asked.Target != name {
			continue
		}
		free, fits := d.fits(v, name)
		if !fits || found && name == v.NotOn {
			continue
		}
		if !found || free > most || best.Name == v.NotOn {
			best, most, found = d.host(name), free, true
		}
	}
	return best, found
}

// fits says whether a machine may be on a host, and how much of it is free.
func (d *draft) fits(v state.VM, name string) (free uint64, fits bool) {
	h := d.host(name)
	if d.bug == bug.OverCommit {
		h = d.Hosts[name].Value
	}
	if h.Cordoned || h.Draining || !d.lives(name, h.Incarnation) {
		return 0, false
	}
	if migrates := v.Migration != nil; !v.Suits(h) && !(migrates && d.bug == bug.LabelsIgnored) {
		return 0, false
	}
	drained := d.bug == bug.AffinityIgnored && d.host(v.Host).Draining
	for id, r := range h.Reserved {
		if id == v.ID || v.Group != "" && r.Group == v.Group && !drained {
			return 0, false
		}
	}
	taken := uint64(h.Taken())
	if taken+uint64(v.Size) > uint64(h.Capacity) {
		return 0, false
	}
	return uint64(h.Capacity) - taken, true
}

// lives says whether an incarnation of a host lives.
func (d *draft) lives(host string, incarnation uint64) bool {
	return d.Lives(host, incarnation) && !d.silent[host]
}

// host returns a host as it is to be.
func (d *draft) host(name string) state.Host {
	if h, changed := d.hosts[name]; changed {
		return h
	}
	return d.Hosts[name].Value
}

// does notes an action, and what it makes of a machine and of hosts. Those without a name
// there are not.
func (d *draft) does(a action, v state.VM, hosts ...state.Host) {
	d.actions = append(d.actions, a)
	d.vms[v.ID] = v
	for _, h := range hosts {
		if h.Name != "" {
			d.hosts[h.Name] = h
		}
	}
}

// change returns the transaction.
func (d *draft) change() *state.Change {
	c := &state.Change{Blind: d.deposed}
	for _, id := range slices.Sorted(maps.Keys(d.vms)) {
		c.VM(d.VMs[id], d.vms[id])
	}
	for _, name := range slices.Sorted(maps.Keys(d.hosts)) {
		if d.bug == bug.OverCommit {
			c.HostAnyway(d.hosts[name])
			continue
		}
		c.Host(d.Hosts[name], d.hosts[name])
	}
	for _, name := range slices.Sorted(maps.Keys(d.alive)) {
		c.Alive(name, d.Alive[name])
	}
	for _, id := range slices.Sorted(maps.Keys(d.read)) {
		c.If(client.IfMod(state.VMKey(id), client.Equal, d.VMs[id].Mod))
	}
	return c
}
