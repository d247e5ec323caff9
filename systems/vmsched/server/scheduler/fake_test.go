package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// newView is one of n hosts that live, "h1" and so on, with room for so much each.
func newView(n int, capacity uint32) *state.View {
	v := &state.View{
		VMs: map[string]state.Record[state.VM]{}, Hosts: map[string]state.Record[state.Host]{},
		Alive: map[string]state.Record[state.Alive]{}, Guests: map[string]state.Record[state.Guests]{},
	}
	for i := range n {
		v.Hosts[fmt.Sprint("h", i+1)] = state.Record[state.Host]{Value: state.Host{Name: fmt.Sprint("h", i+1), Capacity: capacity}}
		register(v, fmt.Sprint("h", i+1))
	}
	return v
}

// register begins another incarnation of a host.
func register(v *state.View, name string) {
	v.Revision++
	h := v.Hosts[name].Value
	h.Incarnation++
	v.Hosts[name] = state.Record[state.Host]{Value: h, Mod: v.Revision}
	v.Alive[name] = state.Record[state.Alive]{Value: state.Alive{Incarnation: h.Incarnation}, Mod: v.Revision}
}

// made has a change take place in a view that nobody else changes.
func made(v *state.View, c *state.Change) {
	v.Revision++
	c.Apply(v, v.Revision)
}

// put puts a machine.
func put(v *state.View, vm state.VM) {
	made(v, (&state.Change{}).VM(v.VMs[vm.ID], vm))
}

// agentOf is what a host's agent does next for a machine, in all correctness and without a
// guest; nil: nothing. It changes what is there only if its lease has not ended.
func agentOf(t *testing.T, v *state.View, host, id string) *state.Change {
	t.Helper()
	r, alive, on := v.VMs[id], v.Alive[host], v.Hosts[host]
	if alive.Mod == 0 {
		return nil
	}
	vm, c := r.Value, (&state.Change{}).Alive(host, alive)
	here := vm.Host == host && vm.Incarnation == alive.Value.Incarnation
	m := vm.Migration
	var err error
	h := on.Value
	switch {
	case vm.State == state.Starting && here:
		vm, err = vm.Started()
	case vm.State == state.Stopping && here:
		vm, h, err = vm.Left(h)
		c.Host(on, h)
	case m == nil:
		return nil
	case m.Phase == state.Preparing && m.Target == host && m.Incarnation == alive.Value.Incarnation:
		vm, err = vm.Await(host + ":1")
	case m.Phase == state.Ready && here:
		vm, h, err = vm.Commit(h)
		c.Host(on, h)
	case m.Phase == state.Committed && here:
		vm, err = vm.Resumed()
	default:
		return nil
	}
	if err != nil {
		t.Errorf("the agent of %s: %v", host, err)
		return nil
	}
	return c.VM(r, vm)
}

// broken says what is wrong with a view, whatever has happened: capacity, groups, and that
// what is reserved is what is there or about to be.
func broken(v *state.View) (wrong []string) {
	for name, h := range v.Hosts {
		if h.Value.Taken() > h.Value.Capacity {
			wrong = append(wrong, fmt.Sprintf("%s is full beyond its capacity: %v", name, h.Value.Reserved))
		}
		groups := map[string]string{}
		for id, r := range h.Value.Reserved {
			if other, twice := groups[r.Group]; twice && r.Group != "" {
				wrong = append(wrong, fmt.Sprintf("%s and %s of group %s are on %s", id, other, r.Group, name))
			}
			groups[r.Group] = id
		}
		there := map[string]state.Reservation{}
		for id, r := range v.VMs {
			if r.Value.Host == name || reserves(r.Value) && r.Value.Migration.Target == name {
				there[id] = state.Reservation{Size: r.Value.Size, Group: r.Value.Group}
				for label, value := range r.Value.Labels {
					if h.Value.Labels[label] != value {
						wrong = append(wrong, fmt.Sprintf("%s is on %s, which is not labelled %s=%s", id, name, label, value))
					}
				}
			}
		}
		if !maps.Equal(there, h.Value.Reserved) {
			wrong = append(wrong, fmt.Sprintf("%s has reserved %v, and there are %v", name, h.Value.Reserved, there))
		}
	}
	slices.Sort(wrong)
	return wrong
}
