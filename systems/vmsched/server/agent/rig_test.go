package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// lookEvery is how often the scheduler looks.
const lookEvery = 30 * time.Millisecond

// A rig is a control plane of which all but the agents is simple: a store of one node, in
// memory, and a scheduler that looks at everything every so often.
type rig struct {
	t     *testing.T
	store *raftkvtest.Cluster
	kv    *client.Client
	w     *world
	bug   string
	tuned float64 // the factor of time-outs
	names []string
	hosts map[string]*hosted
	stop  context.CancelFunc
	idle  chan struct{}
}

// A hosted is a host, with an agent or without.
type hosted struct {
	dir   string
	pipe  string // the observer's, or empty
	cut   bool
	end   context.CancelFunc // nil: no agent runs
	ended chan error
}

// on runs f with as many hosts as are named, a scheduler, and a machine, vm1, if any are
// wanted.
func on(t *testing.T, mistake string, names []string, f func(r *rig)) {
	onTuned(t, mistake, 0, names, f)
}

// onTuned is on, with a factor on the hosts' time-outs.
func onTuned(t *testing.T, mistake string, tuned float64, names []string, f func(r *rig)) {
	dirs := map[string]*hosted{}
	for _, n := range names {
		dirs[n] = &hosted{dir: t.TempDir()}
	}
	synctest.Test(t, func(t *testing.T) {
		store, err := raftkvtest.New(1, "", 1)
		must(t, err)
		defer func() { must(t, store.Close()) }()
		must(t, store.Ready(t.Context()))
		kv, err := store.Client(cluster.Tester, "n1")
		must(t, err)
		defer func() { must(t, kv.Close()) }()
		r := &rig{t: t, store: store, kv: kv, w: newWorld(), bug: mistake, tuned: tuned, names: names, hosts: dirs}
		ctx, stop := context.WithCancel(t.Context())
		r.stop, r.idle = stop, make(chan struct{})
		go r.schedule(ctx)
		for _, n := range names {
			r.boot(n)
		}
		defer func() {
			stop()
			<-r.idle
			for _, n := range names {
				r.halt(n)
			}
			for _, g := range r.w.on("") {
				g.die()
			}
			for _, in := range r.w.incoming {
				in.die()
			}
		}()
		f(r)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boot starts a host's agent.
func (r *rig) boot(name string) {
	r.t.Helper()
	h := r.hosts[name]
	kv, err := r.store.Client(name, "n1")
	must(r.t, err)
	teller, err := probe.Open(h.pipe)
	must(r.t, err)
	ctx, end := context.WithCancel(context.Background())
	h.end, h.ended = end, make(chan error, 1)
	a := New(Config{Host: name, Dir: h.dir, Capacity: 100, Bug: r.bug, Timeouts: r.tuned}, Deps{
		Store: kv, Hypervisor: r.w.host(name), Now: r.w.now, Probe: teller,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)).With("host", name),
	})
	go func() { h.ended <- errors.Join(a.Run(ctx), kv.Close(), teller.Close()) }()
}

// halt ends a host's agent, and nothing else.
func (r *rig) halt(name string) {
	r.t.Helper()
	h := r.hosts[name]
	if h.end == nil {
		return
	}
	h.end()
	h.end = nil
	must(r.t, <-h.ended)
}

// cut cuts a host off from the store, or heals that.
func (r *rig) cut(name string, cut bool) {
	r.t.Helper()
	h := r.hosts[name]
	if h.cut == cut {
		return
	}
	h.cut = cut
	links := []cluster.Link{{From: name, To: "n1"}, {From: "n1", To: name}}
	if cut {
		must(r.t, r.store.Cut(links...))
	} else {
		must(r.t, r.store.Heal(links...))
	}
}

// view reads everything.
func (r *rig) view() *state.View {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	v, err := state.Load(ctx, r.kv)
	must(r.t, err)
	return v
}

// until waits for something, for half a minute.
func (r *rig) until(what string, holds func(v *state.View) bool) *state.View {
	r.t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		v := r.view()
		if holds(v) {
			return v
		}
		if time.Since(begun) > 30*time.Second {
			r.t.Fatalf("not within half a minute: %s; there is %+v", what, v.VMs)
		}
	}
}

// change changes a machine, whatever comes between.
func (r *rig) change(vm string, how func(state.VM) (state.VM, error)) bool {
	r.t.Helper()
	for {
		v := r.view()
		next, err := how(v.VMs[vm].Value)
		if err != nil {
			return false
		}
		if r.txn(new(state.Change).VM(v.VMs[vm], next)) {
			return true
		}
	}
}

func (r *rig) txn(c *state.Change) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := r.kv.Txn(ctx, c.Txn())
	return err == nil && out.Succeeded
}

// create makes machines and waits for them to run.
func (r *rig) create(ids ...string) {
	r.t.Helper()
	for _, id := range ids {
		r.change(id, func(state.VM) (state.VM, error) { return state.NewVM(id, id, 1, "", nil), nil })
	}
	for _, id := range ids {
		r.running(id)
	}
}

// running waits for a machine to run as its record says, and returns that.
func (r *rig) running(id string) state.VM {
	r.t.Helper()
	v := r.until(id+" runs", func(v *state.View) bool {
		vm := v.VMs[id].Value
		return vm.State == state.Running && r.runs(vm)
	})
	return v.VMs[id].Value
}

// runs says whether a machine runs where its record says, and nowhere else.
func (r *rig) runs(vm state.VM) bool {
	there := 0
	for _, g := range r.w.on("") {
		if g.spec.VM == vm.ID {
			if g.hw.name != vm.Host || g.spec.Epoch != vm.Epoch || g.Standing() {
				return false
			}
			there++
		}
	}
	return there == 1
}

// well wants nothing to have gone wrong.
func (r *rig) well() {
	r.t.Helper()
	for _, c := range r.w.complaints() {
		r.t.Error(c)
	}
}

// schedule is the scheduler.
func (r *rig) schedule(ctx context.Context) {
	defer close(r.idle)
	since := map[string]time.Time{} // when a record was first seen as it is
	mods := map[string]uint64{}
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, time.Second)
		v, err := state.Load(within, r.kv)
		cancel()
		if err != nil {
			continue
		}
		for id, vm := range v.VMs {
			if mods[id] != vm.Mod {
				mods[id], since[id] = vm.Mod, time.Now()
			}
			c, err := r.step(v, vm, time.Since(since[id]))
			if err != nil {
				r.t.Error(err)
			} else if c != nil {
				r.txn(c)
				break // what was read is old now
			}
		}
		if takes(ctx, lookEvery) != nil {
			return
		}
	}
}

// step returns what the scheduler changes of a machine, which has been as it is for so long; nil:
// nothing.
func (r *rig) step(v *state.View, was state.Record[state.VM], age time.Duration) (*state.Change, error) {
	vm, c := was.Value, new(state.Change)
	if vm.Host != "" && !v.Lives(vm.Host, vm.Incarnation) {
		from, target := v.Hosts[vm.Host], state.Record[state.Host]{}
		m := vm.Migration
		moving := m != nil && m.Phase != state.Asked && m.Phase != state.Committed
		if moving {
			target = v.Hosts[m.Target]
		}
		next, f, t, err := vm.Lose(from.Value, target.Value)
		c.VM(was, next).Host(from, f).Alive(vm.Host, v.Alive[vm.Host])
		if moving {
			c.Host(target, t)
		}
		return c, err
	}
	switch {
	case vm.State == state.Pending, vm.State == state.Migrating && vm.Migration.Phase == state.Asked:
		if names := r.pick(v, vm); len(names) > 0 {
			name, h := names[0], v.Hosts[names[0]]
			var err error
			var on state.Host
			if vm.State == state.Pending {
				vm, on, err = vm.Place(h.Value)
			} else {
				vm, on, err = vm.Prepare(h.Value)
			}
			return c.VM(was, vm).Host(h, on).Alive(name, v.Alive[name]), err
		}
		if vm.State == state.Migrating && age > time.Second {
			next, _, err := vm.Abort(state.Host{}, "nowhere to go")
			return c.VM(was, next), err
		}
	case vm.State == state.Migrating && vm.Migration.Phase != state.Committed &&
		(vm.Desired != state.WantRunning || age > 8*time.Second || !v.Lives(vm.Migration.Target, vm.Migration.Incarnation)):
		h := v.Hosts[vm.Migration.Target]
		next, target, err := vm.Abort(h.Value, "it took too long")
		return c.VM(was, next).Host(h, target), err
	case (vm.State == state.Running || vm.State == state.Starting) && vm.Desired != state.WantRunning,
		vm.State == state.Starting && age > 6*time.Second:
		next, err := vm.Stop()
		return c.VM(was, next), err
	}
	return nil, nil
}

// pick returns hosts that live, but for the one where a machine is; those with the fewest
// first, and the one that its migration names alone if it does.
func (r *rig) pick(v *state.View, vm state.VM) []string {
	var names []string
	for _, n := range r.names {
		if v.Alive[n].Mod == 0 || n == vm.Host || !v.Lives(n, v.Hosts[n].Value.Incarnation) {
			continue
		}
		if m := vm.Migration; m != nil && m.Target != "" && m.Target != n {
			continue
		}
		if len(names) > 0 && len(v.Hosts[n].Value.Reserved) < len(v.Hosts[names[0]].Value.Reserved) {
			names = append([]string{n}, names...)
		} else {
			names = append(names, n)
		}
	}
	return names
}

// migrate asks for a migration.
func (r *rig) migrate(vm string) bool {
	r.t.Helper()
	return r.change(vm, func(v state.VM) (state.VM, error) { return v.Move("") })
}

// names returns h1, h2, ...
func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("h%d", i+1))
	}
	return all
}

// cutThere and cutBack are the links between a host and the store.
func cutThere(host string) cluster.Link { return cluster.Link{From: host, To: "n1"} }
func cutBack(host string) cluster.Link  { return cluster.Link{From: "n1", To: host} }

func hypervisorSpec(vm, host string, epoch uint64) hypervisor.Spec {
	return hypervisor.Spec{VM: vm, Host: host, Epoch: epoch}
}
