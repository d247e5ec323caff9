package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
	"github.com/hacheck/hacheck/systems/vmsched/server/agent"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// A plane is a control plane on a store in memory, with the hosts' parts played.
type plane struct {
	t     *testing.T
	store *raftkvtest.Cluster
	kv    *client.Client
	bug   string
	tuned float64 // the factor of time-outs

	schedulers []*Scheduler
	hosts      map[string]*fakeHost
	all        sync.WaitGroup
	life       context.Context
	audit      *audit
}

// with runs f with three schedulers that answer, and hosts "h1" and so on that live. None
// leads yet.
func with(t *testing.T, mistake string, hosts int, f func(t *testing.T, p *plane)) {
	t.Helper()
	withTuned(t, mistake, 0, hosts, f)
}

// withTuned is with, with a factor on the schedulers' time-outs.
func withTuned(t *testing.T, mistake string, tuned float64, hosts int, f func(t *testing.T, p *plane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := raftkvtest.New(3, "", 1)
		must(t, err)
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		must(t, c.Ready(t.Context()))
		life, end := context.WithCancel(t.Context())
		p := &plane{t: t, store: c, bug: mistake, tuned: tuned, hosts: map[string]*fakeHost{}, life: life}
		defer p.all.Wait()
		defer end()
		p.kv = p.client(0)
		for i := range 3 {
			p.schedulers = append(p.schedulers, New(
				Config{Node: fmt.Sprint("n", i+1), Bug: mistake, Timeouts: tuned},
				Deps{Store: p.client(i), Lead: p.client(i), Log: slog.New(slog.DiscardHandler)},
			))
		}
		p.audit = p.watch()
		for i := range hosts {
			p.host(fmt.Sprint("h", i+1))
		}
		f(t, p)
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client returns a client of the store, which begins with another node.
func (p *plane) client(first int) *client.Client {
	names := []string{"n1", "n2", "n3"}
	c, err := p.store.Client(cluster.Tester, append(names[first:], names[:first]...)...)
	must(p.t, err)
	return c
}

// lead has a scheduler stand for election until it is told to stop.
func (p *plane) lead(i int) (stop func()) {
	ctx, cancel := context.WithCancel(p.life)
	var done sync.WaitGroup
	run := func() { p.schedulers[i].Lead(ctx) }
	done.Go(run)
	p.all.Go(done.Wait)
	return func() { cancel(); done.Wait() }
}

// create makes a machine.
func (p *plane) create(token string, size uint32, group string) *api.VM {
	p.t.Helper()
	out, err := p.schedulers[0].CreateVM(p.life, &api.CreateVMRequest{Token: token, Size: size, Group: group})
	must(p.t, err)
	return out.GetVm()
}

// get reads a machine.
func (p *plane) get(id string) *api.VM {
	p.t.Helper()
	out, err := p.schedulers[2].GetVM(p.life, &api.VMRequest{Id: id})
	must(p.t, err)
	return out.GetVm()
}

// until waits until what the store holds is as it is to be, and says how long that took.
func (p *plane) until(what string, ok func(v *state.View) bool) time.Duration {
	p.t.Helper()
	begun := time.Now()
	for {
		v, err := state.Load(p.life, p.kv)
		must(p.t, err)
		if ok(v) {
			return time.Since(begun)
		}
		if time.Since(begun) > time.Minute {
			p.t.Fatalf("it does not come: %s: %+v", what, v.VMs)
		}
		time.Sleep(5 * time.Millisecond) // virtual
	}
}

// running waits until machines run.
func (p *plane) running(ids ...string) time.Duration {
	p.t.Helper()
	return p.until("running", func(v *state.View) bool {
		return !slices.ContainsFunc(ids, func(id string) bool {
			vm := v.VMs[id].Value
			return vm.State != state.Running || !v.Lives(vm.Host, vm.Incarnation)
		})
	})
}

// depose ends the lease of who leads, who does not know. It says who that was.
func (p *plane) depose() string {
	p.t.Helper()
	l, err := p.kv.Observe(p.life, state.Election)
	must(p.t, err)
	if l.Term == 0 {
		return ""
	}
	r, err := p.kv.Range(p.life, client.Prefix("election/"), client.RangeOptions{})
	must(p.t, err)
	for _, kv := range r.KVs {
		_, _, err := p.kv.Revoke(p.life, kv.Lease)
		must(p.t, err)
	}
	return l.Value
}

// A fakeHost plays an agent's part, by records alone.
type fakeHost struct {
	p     *plane
	name  string
	store *client.Client
	lease client.Lease
	// refuses says what it does not do; nil: it does everything.
	refuses atomic.Pointer[func(state.VM) bool]
	quiet   atomic.Bool // it keeps its lease alive no more
	end     func()
}

// host has a host register, and live until it is told to die.
func (p *plane) host(name string) *fakeHost {
	p.t.Helper()
	h := &fakeHost{p: p, name: name, store: p.client(1)}
	ctx, cancel := context.WithCancel(p.life)
	var err error
	h.lease, err = h.store.Grant(ctx, agent.LeaseTTL)
	must(p.t, err)
	for registered := false; !registered; {
		v, err := state.Load(ctx, h.store)
		must(p.t, err)
		was := v.Hosts[name]
		now := was.Value
		now.Name, now.Capacity = name, 6
		now.Incarnation++
		change := (&state.Change{}).Alive(name, v.Alive[name]).Host(was, now).
			Then(client.OpPutLeased(state.AliveKey(name), state.Encode(state.Alive{Incarnation: now.Incarnation}), h.lease.ID))
		r, err := h.store.Txn(ctx, change.Txn())
		must(p.t, err)
		registered = r.Succeeded
	}
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			pause(ctx, 400*time.Millisecond)
			if !h.quiet.Load() {
				_, _ = h.store.KeepAlive(ctx, h.lease.ID) // once it has ended, so be it
			}
		}
	})
	both.Go(func() { h.work(ctx) })
	p.all.Go(both.Wait)
	h.end = func() { cancel(); both.Wait() }
	p.hosts[name] = h
	return h
}

// dies has it die, and its lease end at once: that the lease lasts is for the store to see
// to, not for us.
func (h *fakeHost) dies() {
	h.p.t.Helper()
	h.end()
	_, _, err := h.p.kv.Revoke(h.p.life, h.lease.ID)
	must(h.p.t, err)
}

// work does what is to be done, whatever comes.
func (h *fakeHost) work(ctx context.Context) {
	v, err := state.Load(ctx, h.store)
	if err != nil {
		return
	}
	w := h.store.Watch(ctx, client.Prefix(state.Root), v.Revision+1)
	defer w.Close()
	for ctx.Err() == nil {
		for _, id := range slices.SortedFunc(maps.Keys(v.VMs), older) {
			if refuses := h.refuses.Load(); refuses != nil && (*refuses)(v.VMs[id].Value) {
				continue
			}
			if c := agentOf(h.p.t, v, h.name, id); c != nil {
				if r, err := h.store.Txn(ctx, c.Txn()); err == nil && r.Succeeded {
					c.Apply(v, r.Revision)
				}
			}
		}
		b, err := w.Next(ctx)
		if err == nil {
			err = v.Apply(b)
		}
		if err != nil && ctx.Err() == nil {
			h.p.t.Error(err)
			return
		}
	}
}

// An audit looks at every revision of the store.
type audit struct {
	mu    sync.Mutex
	wrong []string
	seen  uint64
}

func (p *plane) watch() *audit {
	a := &audit{}
	v, err := state.Load(p.life, p.kv)
	must(p.t, err)
	w := p.kv.Watch(p.life, client.Prefix(state.Root), v.Revision+1)
	p.all.Go(func() {
		defer w.Close()
		for {
			b, err := w.Next(p.life)
			if err != nil || b.Compacted > 0 {
				if p.life.Err() == nil {
					p.t.Error(err, b.Compacted)
				}
				return
			}
			a.mu.Lock()
			for len(b.Events) > 0 {
				mod := b.Events[0].KV.Mod
				n := slices.IndexFunc(b.Events, func(e client.Event) bool { return e.KV.Mod != mod })
				if n < 0 {
					n = len(b.Events)
				}
				a.look(v, client.Batch{Revision: mod, Events: b.Events[:n]})
				b.Events = b.Events[n:]
			}
			a.seen = b.Revision
			a.mu.Unlock()
		}
	})
	return a
}

// look looks at one revision.
func (a *audit) look(v *state.View, b client.Batch) {
	tell := func(format string, args ...any) {
		a.wrong = append(a.wrong, fmt.Sprintf("%d: ", b.Revision)+fmt.Sprintf(format, args...))
	}
	before, lived := maps.Clone(v.VMs), maps.Clone(v.Alive)
	if err := v.Apply(b); err != nil {
		tell("%v", err)
	}
	for id, r := range v.VMs {
		was, is := before[id].Value, r.Value
		if is.Epoch < was.Epoch {
			tell("the epoch of %s goes back: %+v, %+v", id, was, is)
		}
		moved := was.Host != is.Host || was.Incarnation != is.Incarnation
		dead := lived[was.Host].Value.Incarnation != was.Incarnation
		committed := is.State == state.Migrating && is.Migration.Phase == state.Committed
		notStarted := was.State == state.Starting && is.Failures > was.Failures
		if moved && was.Host != "" && !dead && was.State != state.Stopping && !committed && !notStarted {
			tell("%s is taken from a host that lives: %+v, %+v", id, was, is)
		}
		if moved && is.Host != "" && is.Epoch == was.Epoch {
			tell("%s is elsewhere in the same epoch: %+v, %+v", id, was, is)
		}
	}
	for _, w := range broken(v) {
		tell("%s", w)
	}
}

// found returns what was wrong up to now.
func (p *plane) found() []string {
	r, err := p.kv.Range(p.life, client.Key(state.CounterKey), client.RangeOptions{})
	must(p.t, err)
	for {
		p.audit.mu.Lock()
		seen, wrong := p.audit.seen, slices.Clone(p.audit.wrong)
		p.audit.mu.Unlock()
		if seen >= r.Revision {
			return wrong
		}
		time.Sleep(10 * time.Millisecond) // virtual
	}
}

// sound complains of what was wrong.
func (p *plane) sound() {
	p.t.Helper()
	if wrong := p.found(); len(wrong) > 0 {
		p.t.Errorf("%d things are wrong, first:\n%s", len(wrong), strings.Join(wrong[:min(5, len(wrong))], "\n"))
	}
}

// refused says whether err is definite, and for a reason.
func refused(err error, reason api.Reason) bool {
	e, ok := errors.AsType[*api.Error](err)
	return ok && e.Definite && e.Reason == reason
}

func TestAPI(t *testing.T) {
	with(t, "", 2, func(t *testing.T, p *plane) {
		s, ctx := p.schedulers[0], t.Context()
		for _, in := range []*api.CreateVMRequest{{Token: "t"}, {Size: 1}} {
			if _, err := s.CreateVM(ctx, in); !refused(err, api.Reason_REASON_INVALID) {
				t.Errorf("%v: %v", in, err)
			}
		}
		calls := map[string]func(id string) (*api.VMResponse, error){
			"start":   func(id string) (*api.VMResponse, error) { return s.StartVM(ctx, &api.VMRequest{Id: id}) },
			"stop":    func(id string) (*api.VMResponse, error) { return s.StopVM(ctx, &api.VMRequest{Id: id}) },
			"delete":  func(id string) (*api.VMResponse, error) { return s.DeleteVM(ctx, &api.VMRequest{Id: id}) },
			"get":     func(id string) (*api.VMResponse, error) { return s.GetVM(ctx, &api.VMRequest{Id: id}) },
			"migrate": func(id string) (*api.VMResponse, error) { return s.MigrateVM(ctx, &api.MigrateVMRequest{Id: id}) },
		}
		for name, call := range calls {
			if _, err := call("vm1"); !refused(err, api.Reason_REASON_NOT_FOUND) {
				t.Errorf("%s of none: %v", name, err)
			}
		}
		made, err := s.CreateVM(ctx, &api.CreateVMRequest{Token: "t", Size: 2, Group: "g", Labels: map[string]string{"a": "b"}})
		must(t, err)
		if vm := made.GetVm(); vm.GetId() != "vm1" || vm.GetState() != "pending" || vm.GetDesired() != "running" || vm.GetLabels()["a"] != "b" || made.GetNode() != "n1" {
			t.Errorf("made: %v", made)
		}
		same, err := p.schedulers[1].CreateVM(ctx, &api.CreateVMRequest{Token: "t", Size: 2})
		must(t, err)
		if same.GetVm().GetId() != "vm1" || same.GetNode() != "n2" {
			t.Errorf("made again: %v", same)
		}
		if vm := p.create("t2", 1, ""); vm.GetId() != "vm2" {
			t.Errorf("another: %v", vm)
		}
		started, err := calls["start"]("vm1")
		must(t, err)
		if again, err := calls["get"]("vm1"); err != nil || again.GetRevision() != started.GetRevision() {
			t.Errorf("to start what is to run changed something: %v, %v, %v", started, again, err)
		}
		if _, err := calls["migrate"]("vm1"); !refused(err, api.Reason_REASON_CONFLICT) {
			t.Errorf("migrate what does not run: %v", err)
		}
		if _, err := s.MigrateVM(ctx, &api.MigrateVMRequest{Id: "vm1", Target: "h9"}); !refused(err, api.Reason_REASON_NOT_FOUND) {
			t.Errorf("migrate to nowhere: %v", err)
		}
		stopped, err := calls["stop"]("vm1")
		must(t, err)
		if vm := stopped.GetVm(); vm.GetState() != "stopped" || stopped.GetRevision() != again(t, p, "vm1") {
			t.Errorf("stopped: %v", stopped)
		}
		deleted, err := calls["delete"]("vm1")
		must(t, err)
		if vm := deleted.GetVm(); vm.GetState() != "deleted" {
			t.Errorf("deleted: %v", deleted)
		}
		for _, name := range []string{"start", "stop", "migrate"} {
			if _, err := calls[name]("vm1"); !refused(err, api.Reason_REASON_NOT_FOUND) {
				t.Errorf("%s of one that is deleted: %v", name, err)
			}
		}
		for _, name := range []string{"delete", "get"} {
			if out, err := calls[name]("vm1"); err != nil || out.GetVm().GetState() != "deleted" {
				t.Errorf("%s of one that is deleted: %v, %v", name, out, err)
			}
		}
		vms, err := s.ListVMs(ctx, &api.ListVMsRequest{})
		must(t, err)
		if len(vms.GetVms()) != 2 || vms.GetVms()[0].GetId() != "vm1" || vms.GetVms()[1].GetId() != "vm2" {
			t.Errorf("all: %v", vms)
		}

		if _, err := s.DrainHost(ctx, &api.HostRequest{Host: "h9"}); !refused(err, api.Reason_REASON_NOT_FOUND) {
			t.Errorf("drain of none: %v", err)
		}
		drained, err := s.DrainHost(ctx, &api.HostRequest{Host: "h1"})
		must(t, err)
		if h := drained.GetHost(); !h.GetDraining() || !h.GetCordoned() || !h.GetAlive() || h.GetIncarnation() != 1 || h.GetCapacity() != 6 {
			t.Errorf("drained: %v", drained)
		}
		if again, err := s.CordonHost(ctx, &api.HostRequest{Host: "h1"}); err != nil || !again.GetHost().GetDraining() {
			t.Errorf("cordoned while it is drained: %v, %v", again, err)
		}
		p.hosts["h1"].dies()
		hosts, err := s.ListHosts(ctx, &api.ListHostsRequest{})
		must(t, err)
		if all := hosts.GetHosts(); len(all) != 2 || all[0].GetAlive() || !all[1].GetAlive() || !all[0].GetDraining() {
			t.Errorf("all: %v", hosts)
		}
		if h, err := s.UncordonHost(ctx, &api.HostRequest{Host: "h1"}); err != nil || h.GetHost().GetDraining() || h.GetHost().GetCordoned() {
			t.Errorf("uncordoned: %v, %v", h, err)
		}
		if l, err := s.Leading(ctx, &api.LeadingRequest{}); err != nil || l.GetScheduler() != "" {
			t.Errorf("leading: %v, %v", l, err)
		}
		p.lead(1)
		p.running("vm2")
		if l, err := s.Leading(ctx, &api.LeadingRequest{}); err != nil || l.GetScheduler() != "n2" {
			t.Errorf("leading: %v, %v", l, err)
		}
	})
}

// again is the revision of a machine's record.
func again(t *testing.T, p *plane, id string) uint64 {
	t.Helper()
	v, err := state.Load(t.Context(), p.kv)
	must(t, err)
	return v.VMs[id].Mod
}

// TestStoreThatDoesNotAnswer: a change may have been made, and here it was; a read is nothing
// but refused.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	with(t, "", 1, func(t *testing.T, p *plane) {
		p.create("t", 1, "")
		var answers []cluster.Link
		for _, node := range []string{"n1", "n2", "n3"} {
			answers = append(answers, cluster.Link{From: node, To: cluster.Tester})
		}
		s := p.schedulers[0]
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		was, _, err := s.vm(ctx, "vm1")
		must(t, err)
		now, err := was.Value.Want(state.WantStopped)
		must(t, err)
		must(t, p.store.Cut(answers...))
		_, _, err = s.transact(ctx, (&state.Change{}).VM(was, now))
		if e := api.Understand(err); e == nil || e.Definite || e.Reason != api.Reason_REASON_UNAVAILABLE {
			t.Errorf("change: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := s.GetVM(ctx, &api.VMRequest{Id: "vm1"}); !refused(err, api.Reason_REASON_UNAVAILABLE) {
			t.Errorf("read: %v", err)
		}
		must(t, p.store.Heal(answers...))
		p.until("stopped", func(v *state.View) bool { return v.VMs["vm1"].Value.State == state.Stopped })
	})
}

// TestCreatesWithOneToken make one machine, whoever is asked.
func TestCreatesWithOneToken(t *testing.T) {
	for _, mistake := range []string{"", bug.CreateTwice} {
		with(t, mistake, 1, func(t *testing.T, p *plane) {
			var mu sync.Mutex
			ids := map[string]bool{}
			var all sync.WaitGroup
			for i := range 12 {
				all.Go(func() {
					out, err := p.schedulers[i%3].CreateVM(t.Context(), &api.CreateVMRequest{Token: fmt.Sprint("t", i%2), Size: 1})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					ids[out.GetVm().GetId()] = true
				})
			}
			all.Wait()
			vms, err := p.schedulers[0].ListVMs(t.Context(), &api.ListVMsRequest{})
			must(t, err)
			if one := len(ids) == 2 && len(vms.GetVms()) == 2; one != (mistake == "") {
				t.Errorf("bug %q: %v, %v", mistake, ids, vms)
			}
		})
	}
}

// TestFailover: the machines of a host that dies run elsewhere at once.
func TestFailover(t *testing.T) {
	with(t, "", 4, func(t *testing.T, p *plane) {
		p.lead(0)
		p.lead(1)
		var ids []string
		for i := range 12 {
			ids = append(ids, p.create(fmt.Sprint("t", i), 1, fmt.Sprint("g", i%4)).GetId())
		}
		p.running(ids...)
		v, err := state.Load(t.Context(), p.kv)
		must(t, err)
		lost := v.Hosts["h2"].Value.Reserved
		if len(lost) != 3 {
			t.Errorf("on h2 are %v", lost)
		}
		p.hosts["h2"].dies()
		took := p.until("placed", func(v *state.View) bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return v.VMs[id].Value.Host == "" || v.VMs[id].Value.Host == "h2" })
		})
		if took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		p.running(ids...)
		for id := range lost {
			if vm := p.get(id); vm.GetEpoch() != 2 {
				t.Errorf("%v", vm)
			}
		}
		// A machine that was to be stopped when its host died is not started again.
		all := func(state.VM) bool { return true }
		for _, h := range p.hosts {
			h.refuses.Store(&all)
		}
		vm := p.get("vm1")
		_, err = p.schedulers[1].StopVM(t.Context(), &api.VMRequest{Id: "vm1"})
		must(t, err)
		p.until("stopping", func(v *state.View) bool { return v.VMs["vm1"].Value.State == state.Stopping })
		p.hosts[vm.GetHost()].dies()
		p.until("stopped", func(v *state.View) bool { return v.VMs["vm1"].Value.State == state.Stopped })
		p.sound()
	})
}

// TestMigration: one that is asked for is done; one whose target dies is given up.
func TestMigration(t *testing.T) {
	with(t, "", 3, func(t *testing.T, p *plane) {
		p.lead(0)
		vm := p.create("t", 1, "")
		p.running("vm1")
		from := p.get("vm1").GetHost()
		migrate := func(target string) {
			t.Helper()
			_, err := p.schedulers[1].MigrateVM(t.Context(), &api.MigrateVMRequest{Id: vm.GetId(), Target: target})
			must(t, err)
		}
		migrate("")
		p.running("vm1")
		there := p.get("vm1")
		if there.GetHost() == from || there.GetEpoch() != 2 {
			t.Errorf("it was on %s, and is %v", from, there)
		}
		waits := func(v state.VM) bool { return v.State == state.Migrating && v.Migration.Phase == state.Preparing }
		p.hosts[from].refuses.Store(&waits)
		migrate(from)
		p.until("preparing", func(v *state.View) bool { return waits(v.VMs["vm1"].Value) })
		if got := p.get("vm1"); got.GetPhase() != "preparing" || got.GetTarget() != from {
			t.Errorf("%v", got)
		}
		p.hosts[from].dies()
		if took := p.running("vm1"); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if vm := p.get("vm1"); vm.GetHost() != there.GetHost() || vm.GetReason() != "the target has died" || vm.GetEpoch() != 2 {
			t.Errorf("%v", vm)
		}
		// One that comes to no end is given up, too.
		for _, h := range p.hosts {
			h.refuses.Store(&waits)
		}
		migrate("")
		p.until("preparing", func(v *state.View) bool { return waits(v.VMs["vm1"].Value) })
		if took := p.running("vm1"); took < migrationLimit-time.Second || took > migrationLimit+time.Second {
			t.Errorf("it took %v", took)
		}
		p.sound()
	})
}

// TestDrain empties a host, while those who lead change.
func TestDrain(t *testing.T) {
	with(t, "", 4, func(t *testing.T, p *plane) {
		stop := p.lead(0)
		var ids []string
		for i := range 12 {
			ids = append(ids, p.create(fmt.Sprint("t", i), 1, fmt.Sprint("g", i%6)).GetId())
		}
		p.running(ids...)
		_, err := p.schedulers[0].DrainHost(t.Context(), &api.HostRequest{Host: "h1"})
		must(t, err)
		stop()
		p.lead(1)
		p.lead(2)
		p.until("half empty", func(v *state.View) bool { return len(v.Hosts["h1"].Value.Reserved) <= 2 })
		p.depose()
		p.until("empty", func(v *state.View) bool { return len(v.Hosts["h1"].Value.Reserved) == 0 })
		p.running(ids...)
		for _, id := range ids {
			if vm := p.get(id); vm.GetState() != "running" || vm.GetEpoch() > 2 {
				t.Errorf("%v", vm)
			}
		}
		p.sound()
	})
}

// TestNewLeader: what the old one left undone, another does, soon after it is gone.
func TestNewLeader(t *testing.T) {
	with(t, "", 2, func(t *testing.T, p *plane) {
		stop := p.lead(0)
		p.create("t", 1, "")
		p.running("vm1")
		p.lead(1)
		stop()
		p.create("u", 1, "")
		if took := p.running("vm2"); took > time.Second {
			t.Errorf("who resigned was followed after %v", took)
		}
		if l, err := p.kv.Observe(t.Context(), state.Election); err != nil || l.Value != "n2" {
			t.Errorf("%v, %v", l, err)
		}
	})
}

// TestLeadershipLastsAsLongAsItIsTold, and longer if it is renewed.
func TestLeadershipLastsAsLongAsItIsTold(t *testing.T) {
	for tuned, want := range map[float64]time.Duration{0: leaderTTL, 0.5: leaderTTL / 2, 3: 3 * leaderTTL} {
		withTuned(t, "", tuned, 2, func(t *testing.T, p *plane) {
			p.lead(0)
			p.lead(1)
			p.create("t", 1, "")
			p.running("vm1")
			was, err := p.kv.Observe(t.Context(), state.Election)
			must(t, err)
			time.Sleep(5 * want) // virtual
			is, err := p.kv.Observe(t.Context(), state.Election)
			if err != nil || is.Term != was.Term {
				t.Errorf("factor %v: %+v led, and %+v leads, %v", tuned, was, is, err)
			}
			r, err := p.kv.Range(t.Context(), client.Prefix(""), client.RangeOptions{})
			must(t, err)
			var id uint64
			for _, kv := range r.KVs {
				if kv.Create == is.Term {
					id = kv.Lease
				}
			}
			lease, err := p.kv.Describe(t.Context(), id)
			if err != nil || lease.TTL != want || lease.Left < want/2 {
				t.Errorf("factor %v: it lasts so: %+v, %v; want %v", tuned, lease, err, want)
			}
		})
	}
}

// TestStoreWithoutLeader for longer than a scheduler leads that is not heard of: nobody else can
// lead meanwhile, and when it is back the same one goes on, at once.
func TestStoreWithoutLeader(t *testing.T) {
	with(t, "", 2, func(t *testing.T, p *plane) {
		p.lead(0)
		p.create("t", 1, "")
		p.running("vm1")
		p.lead(1)
		was, err := p.kv.Observe(t.Context(), state.Election)
		must(t, err)
		var links []cluster.Link
		for _, from := range []string{"n1", "n2", "n3"} {
			for _, to := range []string{"n1", "n2", "n3"} {
				if from != to {
					links = append(links, cluster.Link{From: from, To: to})
				}
			}
		}
		must(t, p.store.Cut(links...))
		time.Sleep(3 * leaderTTL) // virtual
		must(t, p.store.Heal(links...))
		p.create("u", 1, "") // when it is back
		if took := p.until("placed", func(v *state.View) bool { return v.VMs["vm2"].Value.Epoch > 0 }); took > leaderTTL/2 {
			t.Errorf("it was placed after %v", took)
		}
		if is, err := p.kv.Observe(t.Context(), state.Election); err != nil || is.Term != was.Term {
			t.Errorf("%+v led, and %+v leads, %v", was, is, err)
		}
	})
}

// TestNoFence: the machines of a host that is silent, but whose lease has not ended, stay.
func TestNoFence(t *testing.T) {
	for _, mistake := range []string{"", bug.NoFence} {
		with(t, mistake, 2, func(t *testing.T, p *plane) {
			p.lead(0)
			p.create("t", 1, "")
			p.running("vm1")
			time.Sleep(time.Second) // virtual
			p.hosts[p.get("vm1").GetHost()].quiet.Store(true)
			time.Sleep(2500 * time.Millisecond)
			if shown := len(p.found()) > 0; shown != (mistake != "") {
				t.Errorf("bug %q: %v", mistake, p.found())
			}
		})
	}
}

// TestTwoLeaders at once do no harm: of those who were deposed and do not know, the store
// takes nothing.
func TestTwoLeaders(t *testing.T) {
	for _, mistake := range []string{"", bug.TwoLeaders} {
		with(t, mistake, 4, func(t *testing.T, p *plane) {
			for i := range 3 {
				p.lead(i)
			}
			random := rand.New(rand.NewPCG(1, 2))
			var ids []string
			for i := range 12 {
				if i%3 == 2 {
					p.depose()
				}
				vm := p.create(fmt.Sprint("t", i), 1, fmt.Sprint("g", i%4))
				ids = append(ids, vm.GetId())
				time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			}
			if mistake == "" {
				p.running(ids...)
			}
			if shown := len(p.found()) > 0; shown != (mistake != "") {
				t.Errorf("bug %q: %v", mistake, p.found())
			}
		})
	}
}

// TestStorm: users, hosts that die and come back, and leaders that are deposed, all at once.
func TestStorm(t *testing.T) {
	for seed := range uint64(4) {
		with(t, "", 4, func(t *testing.T, p *plane) {
			for i := range 3 {
				p.lead(i)
			}
			users, done := context.WithTimeout(p.life, 20*time.Second)
			defer done()
			var all sync.WaitGroup
			for worker := range 3 {
				random := rand.New(rand.NewPCG(seed, uint64(worker)))
				s := p.schedulers[worker]
				all.Go(func() {
					for n := 0; users.Err() == nil; n++ {
						ctx, cancel := context.WithTimeout(p.life, 3*time.Second)
						id := fmt.Sprint("vm", 1+random.IntN(10))
						host := fmt.Sprint("h", 1+random.IntN(4))
						var err error
						switch random.IntN(10) {
						case 0, 1, 2:
							if n < 60 {
								_, err = s.CreateVM(ctx, &api.CreateVMRequest{
									Token: fmt.Sprint(worker, "-", n/6), Size: uint32(1 + random.IntN(3)), Group: []string{"", "a", "b"}[random.IntN(3)],
								})
							}
						case 3:
							_, err = s.StopVM(ctx, &api.VMRequest{Id: id})
						case 4, 5:
							_, err = s.StartVM(ctx, &api.VMRequest{Id: id})
						case 6:
							_, err = s.MigrateVM(ctx, &api.MigrateVMRequest{Id: id})
						case 7:
							_, err = s.DrainHost(ctx, &api.HostRequest{Host: host})
						case 8:
							_, err = s.UncordonHost(ctx, &api.HostRequest{Host: host})
						case 9:
							if random.IntN(5) == 0 {
								_, err = s.DeleteVM(ctx, &api.VMRequest{Id: id})
							}
						}
						cancel()
						if e := api.Understand(err); e != nil && e.Reason == api.Reason_REASON_UNSPECIFIED {
							t.Error(err)
						}
						pause(users, time.Duration(random.IntN(300))*time.Millisecond)
					}
				})
			}
			random := rand.New(rand.NewPCG(seed, 9))
			for users.Err() == nil {
				pause(users, time.Duration(500+random.IntN(1500))*time.Millisecond)
				name := fmt.Sprint("h", 1+random.IntN(4))
				if random.IntN(3) == 0 {
					p.depose()
					continue
				}
				p.hosts[name].dies()
				pause(users, time.Duration(random.IntN(500))*time.Millisecond)
				p.host(name)
			}
			all.Wait()
			for name := range p.hosts {
				_, err := p.schedulers[0].UncordonHost(t.Context(), &api.HostRequest{Host: name})
				must(t, err)
			}
			p.until("rest", func(v *state.View) bool {
				for _, r := range v.VMs {
					vm := r.Value
					switch vm.State {
					case state.Running:
						if vm.Desired != state.WantRunning {
							return false
						}
					case state.Pending:
						if vm.Reason != noPlace {
							return false
						}
					case state.Starting, state.Stopping, state.Migrating:
						return false
					}
				}
				return len(decide(knowledge{View: v}, "").actions) == 0
			})
			v, err := state.Load(t.Context(), p.kv)
			must(t, err)
			if len(v.VMs) < 5 || v.Revision < 100 {
				t.Errorf("only %d machines, and revision %d", len(v.VMs), v.Revision)
			}
			p.sound()
		})
	}
}

// TestNodeThatIsCutOff has nothing to tell to a leader that watches it: the leader goes to
// another.
func TestNodeThatIsCutOff(t *testing.T) {
	with(t, "", 2, func(t *testing.T, p *plane) {
		nodes := []string{"n1", "n2", "n3"}
		leader, err := p.store.Leader(t.Context())
		must(t, err)
		i := slices.IndexFunc(nodes, func(node string) bool { return node != leader })
		p.lead(i) // and it is the node that it asks first
		p.create("t", 1, "")
		p.running("vm1")
		var links []cluster.Link
		for _, other := range nodes {
			if other != nodes[i] {
				links = append(links, cluster.Link{From: nodes[i], To: other}, cluster.Link{From: other, To: nodes[i]})
			}
		}
		must(t, p.store.Cut(links...))
		for n := range 3 {
			vm := p.create(fmt.Sprint("u", n), 1, "")
			took := p.until("placed", func(v *state.View) bool { return v.VMs[vm.GetId()].Value.Host != "" })
			if took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		}
	})
}
