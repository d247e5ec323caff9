//go:build linux

package vmsched

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/cluster/clustertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/systems/vmsched/server/agent"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/qemu"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/vm"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m.Run, nodeProgram)) }

// nodeProgram is a part of vmsched in a lab.
func nodeProgram(args []string) (mine bool, status int) {
	if len(args) != 3 || args[0] != "node" || args[1] != Name {
		return false, 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := RunNode(ctx, args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return true, 1
	}
	return true, 0
}

// An event is one that was told.
type event struct {
	f     string
	value any
}

// events are what was told, for who waits for more.
type events struct {
	mu   sync.Mutex
	all  []event
	news chan struct{} // closed with the next
}

func (e *events) record(f string, value any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event{f, value})
	close(e.news)
	e.news = make(chan struct{})
	return nil
}

// await waits until something was told.
func (e *events) await(t *testing.T, what string, is func(event) bool) event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for from := 0; ; {
		e.mu.Lock()
		all, news := e.all, e.news
		e.mu.Unlock()
		if i := slices.IndexFunc(all[from:], is); i >= 0 {
			return all[from+i]
		}
		from = len(all)
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("%s: it did not happen; of %d events the last that are no beats:\n%s", what, len(all), e.last(20))
		}
	}
}

func (e *events) last(n int) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var lines []string
	for _, e := range slices.Backward(e.all) {
		if e.f == vm.Beat {
			continue
		}
		if c, ok := e.value.(vm.Change); ok && c.VM != nil {
			lines = append(lines, fmt.Sprintf("%s %d %+v", e.f, c.Revision, *c.VM))
			continue
		}
		if lines = append(lines, fmt.Sprintf("%s %+v", e.f, e.value)); len(lines) >= n {
			break
		}
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

func (e *events) steps() (steps []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, e := range e.all {
		if e.f == histories.Step {
			steps = append(steps, e.value.(cluster.Step).Name)
		}
	}
	return steps
}

// These play a life: a machine is created, its host dies, it comes back elsewhere, and
// is moved to the host that came back.
func TestSystem(t *testing.T) { playLife(t, HypervisorProcess) }

func TestSystemOnQEMU(t *testing.T) {
	if err := qemu.Installed(); err != nil {
		t.Skip(err)
	}
	playLife(t, HypervisorQEMU)
}

// A rig is a system that runs in a lab, with two hosts, and what it tells.
type rig struct {
	*System
	seen *events
	// stop ends the telling, and returns how that ended; once.
	stop func() error
}

// newRig starts one in the lab that the test is in.
func newRig(t *testing.T, hypervisor string) *rig {
	t.Helper()
	lab, err := cluster.NewLocal(cluster.Options{Nodes: controlNodes + 3, Dir: t.TempDir()})
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range lab.Nodes() {
				t.Logf("%s printed:\n%s", n.Name, strings.Join(lab.Log(n.Name, 20), "\n"))
			}
		}
		must(t, lab.Close())
	})
	s, err := New(lab, Options{Hypervisor: hypervisor})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })

	telling, stop := context.WithCancel(t.Context())
	r := &rig{System: s, seen: &events{news: make(chan struct{})}}
	told := make(chan error, 1)
	go func() { told <- s.Tell(telling, r.seen.record) }()
	r.stop = sync.OnceValue(func() error {
		stop()
		return <-told
	})
	t.Cleanup(func() { _ = r.stop() }) // who wants to know has called it before

	for _, n := range lab.Nodes() {
		must(t, s.Start(n.Name))
	}
	r.ready(t)
	return r
}

func (r *rig) ready(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, r.Ready(ctx))
}

// beats waits until a machine beats that has written something.
func (r *rig) beats(t *testing.T, id string, where func(vm.Sign) bool) vm.Sign {
	t.Helper()
	return r.seen.await(t, id+" beats", func(e event) bool {
		sign, ok := e.value.(vm.Sign)
		return ok && e.f == vm.Beat && sign.VM == id && sign.Acked > 0 && where(sign)
	}).value.(vm.Sign)
}

func playLife(t *testing.T, hypervisor string) {
	t.Parallel() // they wait for most of the time
	if !clustertest.InLab(t) {
		return
	}
	s := newRig(t, hypervisor)
	leads, err := s.Plays(t.Context(), nemesis.Scheduler)
	if err != nil || !slices.Contains(s.Parts()[0].Nodes, leads) {
		t.Errorf("%q leads, %v", leads, err)
	}

	user, err := s.OpenVM(t.Context(), 1)
	must(t, err)
	defer func() { must(t, user.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	made, err := user.Create(ctx, "t1", vm.Spec{Size: 1})
	must(t, err)
	id := made.VM.ID
	runs := func(where func(vm.Sign) bool) vm.Sign {
		t.Helper()
		return s.beats(t, id, where)
	}
	first := runs(func(vm.Sign) bool { return true })
	if guests := s.Guests(first.Host); !slices.Contains(guests, cluster.Guest{Name: id, PID: first.PID}) {
		t.Errorf("on %s run %v, and not process %d", first.Host, guests, first.PID)
	}

	must(t, s.lab.Kill(first.Host))
	if err := s.Ready(ctx); err == nil || !strings.Contains(err.Error(), first.Host+": its process has exited") {
		t.Errorf("with %s dead it is ready: %v", first.Host, err)
	}
	second := runs(func(b vm.Sign) bool { return b.Host != first.Host && b.Acked > first.Acked })
	if second.Epoch <= first.Epoch {
		t.Errorf("it runs in epoch %d after %d", second.Epoch, first.Epoch)
	}

	must(t, s.Start(first.Host))
	s.ready(t)
	if _, err := user.Migrate(ctx, id); err != nil {
		t.Fatal(err)
	}
	third := runs(func(b vm.Sign) bool { return b.Host == first.Host && b.Epoch > second.Epoch && b.Acked > second.Acked })
	third = runs(func(b vm.Sign) bool { return b.Epoch == third.Epoch && b.Acked > third.Acked+1 }) // written there
	s.seen.await(t, "the migration ends", func(e event) bool { return e.value == any(cluster.Step{Name: nemesis.MigrationEnded}) })
	for role, want := range map[string]string{nemesis.Source: second.Host, nemesis.Destination: first.Host} {
		if got, err := s.Plays(ctx, role); got != want || err != nil {
			t.Errorf("%s is %q, %v, want %q", role, got, err, want)
		}
	}

	if got, err := user.Get(ctx, id); err != nil || got.VM.Host != first.Host || got.VM.State != "running" || got.Node == "" || got.Revision == 0 {
		t.Errorf("it is %+v, %v", got, err)
	}
	if got, err := user.Get(ctx, "vm99"); err != nil || got.VM.ID != "" {
		t.Errorf("what is not there is %+v, %v", got, err)
	}
	if _, err := user.Stop(ctx, "vm99"); !workloads.IsDefinite(err) {
		t.Errorf("what is not there is stopped: %v", err)
	}
	all, _, err := user.Look(ctx)
	if err != nil || len(all.VMs) != 1 || len(all.Hosts) != 2 || all.Revision == 0 {
		t.Errorf("there are %+v, %v", all, err)
	}
	labels := map[string]map[string]string{}
	for _, h := range all.Hosts {
		labels[h.Name] = h.Labels
	}
	if last := s.hosts[1].Name; len(s.Labels()) == 0 || !maps.Equal(labels[s.hosts[0].Name], s.Labels()) || len(labels[last]) > 0 {
		t.Errorf("hosts are labelled %v, some with %v, and not the last", labels, s.Labels())
	}
	volumes, err := user.Volumes(ctx, []string{id})
	if v := volumes[id]; err != nil || v.Last < third.Acked || v.Sectors != (hypervisor == HypervisorQEMU) || !v.Sectors && len(v.Extents) < 3 {
		t.Errorf("on its volume is %+v, %v", v, err)
	}
	if _, err := user.Drain(ctx, first.Host); err != nil {
		t.Error(err)
	}

	if err := s.stop(); err != nil {
		t.Errorf("not all was told: %v", err)
	}
	want := []string{
		nemesis.VMPlaced, nemesis.HostLost, nemesis.VMPlaced, nemesis.MigrationAsked, nemesis.MigrationPreparing, nemesis.MigrationCopying, nemesis.MigrationCommitted, nemesis.MigrationEnded,
	}
	if got := s.seen.steps(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("the steps were %v", got)
	}
	var revision uint64
	drained := false
	for _, e := range s.seen.all {
		if c, ok := e.value.(vm.Change); ok {
			if c.Revision < revision {
				t.Errorf("revision %d is told behind %d", c.Revision, revision)
			}
			revision = c.Revision
			drained = drained || c.Host != nil && c.Host.Name == first.Host && c.Host.Draining
		}
	}
	if !drained {
		t.Error("the last that was done was not told")
	}
}

// TestPlanes cuts a host off from one plane for longer than its lease lasts, and then from the
// other. Without storage what runs there goes on, and nobody takes it for lost; without
// management it has stopped before it runs elsewhere, although it could write all the time, and
// is not there again when the host is back.
func TestPlanes(t *testing.T) {
	t.Parallel() // they wait for most of the time
	if !clustertest.InLab(t) {
		return
	}
	s := newRig(t, HypervisorProcess)
	user, err := s.OpenVM(t.Context(), 1)
	must(t, err)
	defer func() { must(t, user.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	made, err := user.Create(ctx, "t1", vm.Spec{Size: 1})
	must(t, err)
	id := made.VM.ID
	first := s.beats(t, id, func(vm.Sign) bool { return true })
	between := func(host string, others ...string) (links []cluster.Link) {
		for _, other := range others {
			links = append(links, cluster.Link{From: host, To: other}, cluster.Link{From: other, To: host})
		}
		return links
	}

	storage := between(first.Host, s.Parts()[2].Nodes...)
	must(t, s.lab.Network().Cut(storage...))
	const second = 200 // of what a guest counts, at the most
	cut := s.beats(t, id, func(b vm.Sign) bool { return b.Count > first.Count+second/2 })
	before := s.beats(t, id, func(b vm.Sign) bool { return b.Count > cut.Count+second*uint64(agent.LeaseTTL/time.Second+1) })
	if before.Acked != cut.Acked {
		t.Errorf("without storage it wrote: %+v became %+v", cut, before)
	}
	must(t, s.lab.Network().Heal(storage...))
	after := s.beats(t, id, func(b vm.Sign) bool { return b.Acked > before.Acked+1 })
	if after.PID != first.PID || after.Epoch != first.Epoch {
		t.Errorf("without storage %+v became %+v", first, after)
	}

	management := between(first.Host, s.Parts()[0].Nodes...)
	must(t, s.lab.Network().Cut(management...))
	alone := s.beats(t, id, func(b vm.Sign) bool { return b.Count > after.Count+second/2 })
	if alone.PID != first.PID || alone.Acked <= after.Acked {
		t.Errorf("without management, with storage, %+v became %+v", after, alone)
	}
	moved := s.beats(t, id, func(b vm.Sign) bool { return b.Host != first.Host && b.Acked > alone.Acked })
	must(t, s.lab.Network().Heal(management...))
	s.seen.await(t, first.Host+" is back", func(e event) bool {
		c, ok := e.value.(vm.Change)
		return ok && c.Alive != nil && c.Alive.Host == first.Host && c.Alive.Incarnation > 1
	})
	s.beats(t, id, func(b vm.Sign) bool { return b.PID == moved.PID && b.Count > moved.Count+second })

	must(t, s.stop())
	lastOld, firstNew := 0, len(s.seen.all)
	for i, e := range s.seen.all {
		switch sign, ok := e.value.(vm.Sign); {
		case !ok || sign.VM != id:
		case sign.PID == first.PID:
			lastOld = i
		case sign.PID == moved.PID:
			firstNew = min(firstNew, i)
		case sign.PID != 0:
			t.Errorf("a third guest gave a sign: %+v", sign)
		}
	}
	if lastOld > firstNew {
		t.Errorf("it ran twice: %+v, and behind that %+v", s.seen.all[firstNew], s.seen.all[lastOld])
	}
}

// TestSchedulerResigns stops the node whose scheduler leads, in order: another is not to wait for
// the end of its lease.
func TestSchedulerResigns(t *testing.T) {
	t.Parallel() // they wait for most of the time
	if !clustertest.InLab(t) {
		return
	}
	s := newRig(t, HypervisorProcess)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leads, err := s.Plays(ctx, nemesis.Scheduler)
	must(t, err)
	must(t, s.lab.Stop(ctx, leads))
	log := strings.Join(s.lab.Log(leads, 50), "\n")
	if !strings.Contains(log, "leads no more") || strings.Contains(log, "cannot resign") {
		t.Errorf("%s was stopped, and printed:\n%s", leads, log)
	}
	must(t, s.await(ctx, s.others(leads)[0], "another does not lead", func(ctx context.Context) error {
		next, err := s.Plays(ctx, nemesis.Scheduler)
		if err == nil && next == leads {
			err = fmt.Errorf("%s still leads", next)
		}
		return err
	}))
}

// others are the nodes of the control plane but one.
func (r *rig) others(but string) []string {
	return slices.DeleteFunc(names(r.control), func(n string) bool { return n == but })
}

func TestNew(t *testing.T) {
	lab := someOf{nodes: make([]cluster.Node, MinNodes-1)}
	for want, o := range map[string]Options{
		"no bug":        {Bug: "none"},
		"no hypervisor": {Hypervisor: "xen"},
		"needs 5 nodes": {},
		"from 0.5 to 3": {Timeouts: 0.4},
		"not 3.1":       {Timeouts: 3.1},
	} {
		if _, err := New(lab, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func TestParts(t *testing.T) {
	var nodes []cluster.Node
	for n := range DefaultNodes {
		nodes = append(nodes, cluster.Node{Name: fmt.Sprint("n", n+1), Dir: fmt.Sprintf("%s/n%d/data", t.TempDir(), n+1)})
	}
	s, err := New(someOf{nodes: nodes}, Options{})
	must(t, err)
	if got := fmt.Sprint(s.Parts()); got != "[{control [n1 n2 n3]} {host [n4 n5 n6 n7]} {storage [n8]}]" {
		t.Errorf("the parts are %s", got)
	}
	if err := s.Start("n9"); err == nil {
		t.Error("a node that is not there was started")
	}
	must(t, s.Close())
	if err := RunNode(t.Context(), "{}"); err == nil {
		t.Error("it runs what is no part")
	}
}
