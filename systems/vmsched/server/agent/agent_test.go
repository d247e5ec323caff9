package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

func TestMachineIsStartedAndStopped(t *testing.T) {
	on(t, "", names(2), func(r *rig) {
		r.create("vm1", "vm2")
		v := r.until("hosts say what they run", func(v *state.View) bool {
			return v.Guests["h1"].Value.Epochs["vm1"]+v.Guests["h2"].Value.Epochs["vm1"] == 1 &&
				v.Guests["h1"].Value.Epochs["vm2"]+v.Guests["h2"].Value.Epochs["vm2"] == 1
		})
		if h := v.VMs["vm1"].Value.Host; h == v.VMs["vm2"].Value.Host {
			t.Errorf("both are on %s", h)
		}
		r.change("vm1", func(v state.VM) (state.VM, error) { return v.Want(state.WantStopped) })
		v = r.until("vm1 is stopped", func(v *state.View) bool { return v.VMs["vm1"].Value.State == state.Stopped })
		if n := len(r.w.on("")); n != 1 {
			t.Errorf("%d guests are there", n)
		}
		for _, h := range v.Hosts {
			if _, there := h.Value.Reserved["vm1"]; there {
				t.Errorf("%s is reserved for what is stopped", h.Value.Name)
			}
		}
		r.change("vm1", func(v state.VM) (state.VM, error) { return v.Want(state.WantRunning) })
		if vm := r.running("vm1"); vm.Epoch != 2 {
			t.Errorf("it runs in epoch %d", vm.Epoch)
		}
		r.well()
	})
}

// TestHostThatIsCutOffFencesItself: its guests are gone before the lease has ended in the
// store, also if the host's clock goes slower by as much as it may. The bubble has one
// clock: so a host whose clock were slower would take ClockRate times as long.
func TestHostThatIsCutOffFencesItself(t *testing.T) {
	for name, c := range map[string]struct {
		stuck bool
		tuned float64
	}{
		"by itself": {}, "though the kernel was not told more": {stuck: true},
		"sooner": {tuned: 0.5}, "later": {tuned: 3}, "sooner, though the kernel was not told more": {stuck: true, tuned: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			stuck, config := c.stuck, Config{Timeouts: c.tuned}
			lease := config.scaled(LeaseTTL)
			onTuned(t, "", c.tuned, names(2), func(r *rig) {
				r.create("vm1")
				was := r.view().VMs["vm1"].Value
				time.Sleep(10 * time.Second)
				if !r.runs(was) {
					t.Fatal("it does not run on")
				}
				if stuck { // the agent is alone: the watchdogs do nothing
					r.w.host(was.Host).set(func(h *hardware) { h.stuck = true })
					for _, g := range r.w.on("") {
						g.watchdog.Stop()
					}
				}
				cut := time.Now()
				r.cut(was.Host, true)
				g := r.w.on(was.Host)[0]
				<-g.exited
				gone := time.Since(cut)
				if r.view().Alive[was.Host].Mod == 0 {
					t.Error("its lease has ended before")
				}
				if slow := time.Duration(float64(gone) * ClockRate); slow > lease {
					t.Errorf("it is gone after %v: by a clock that is slow that is %v", gone, slow)
				}
				if gone < permits(lease)-config.scaled(keepAliveEvery)-100*time.Millisecond {
					t.Errorf("it is gone after %v already", gone)
				}
				r.until("it runs elsewhere", func(v *state.View) bool {
					vm := v.VMs["vm1"].Value
					return vm.State == state.Running && vm.Host != was.Host && r.runs(vm)
				})
				if failover := time.Since(cut); failover < lease-config.scaled(keepAliveEvery)-100*time.Millisecond || failover > 2*lease {
					t.Errorf("that took %v", failover)
				}
				r.cut(was.Host, false)
				r.until("the host comes back", func(v *state.View) bool {
					return v.Lives(was.Host, was.Incarnation+1)
				})
				r.create("vm2")
				if vm := r.running("vm2"); vm.Host != was.Host {
					t.Errorf("the host that came back gets nothing: %+v", vm)
				}
				r.well()
			})
		})
	}
}

// TestFencedIsToldOnceAndThatIsTrue: when all guests are gone, however long that takes.
func TestFencedIsToldOnceAndThatIsTrue(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		h := r.hosts["h1"]
		r.halt("h1")
		h.pipe = filepath.Join(h.dir, "pipe")
		must(t, syscall.Mkfifo(h.pipe, 0o600))
		fd, err := syscall.Open(h.pipe, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
		must(t, err)
		defer func() { must(t, syscall.Close(fd)) }()
		told := func() string {
			b := make([]byte, 4096)
			n, _ := syscall.Read(fd, b) // EAGAIN: nothing
			return string(b[:max(n, 0)])
		}
		r.boot("h1")
		r.create("vm1", "vm2")
		const want = `{"kind":"fenced","host":"h1"}` + "\n"
		for _, lost := range []bool{false, true} { // the lease, too
			if told := told(); told != "" {
				t.Errorf("told before anything happened: %q", told)
			}
			// The kernel is of no help, and it takes time.
			r.w.host("h1").set(func(h *hardware) { h.slow, h.stuck = 300*time.Millisecond, true })
			there := r.w.on("h1")
			for _, g := range there {
				g.watchdog.Stop()
			}
			r.cut("h1", true)
			for {
				if told := told(); told != "" {
					if told != want {
						t.Errorf("told: %q", told)
					}
					break
				}
				time.Sleep(time.Millisecond)
			}
			for _, g := range there {
				if g.ended.IsZero() {
					t.Errorf("%s is not gone", g.spec.VM)
				}
			}
			if lost {
				r.until("the lease ends", func(v *state.View) bool { return v.Alive["h1"].Mod == 0 })
			}
			r.w.host("h1").set(func(h *hardware) { h.slow, h.stuck = 0, false })
			r.cut("h1", false)
			r.running("vm1")
			r.running("vm2")
		}
		if told := told(); told != "" {
			t.Errorf("told more: %q", told)
		}
		r.well()
	})
}

// TestWhatComesLatePermitsNothingMore: the agent is stopped between its reckoning and the word with
// the hypervisor, for longer than the lease lasts, and the machine is elsewhere when it goes on.
func TestWhatComesLatePermitsNothingMore(t *testing.T) {
	elsewhere := func(v *state.View) bool {
		vm := v.VMs["vm1"].Value
		return vm.State == state.Running && vm.Host == "h2"
	}
	t.Run("a start", func(t *testing.T) {
		on(t, "", names(2), func(r *rig) {
			r.w.host("h1").set(func(h *hardware) { h.late = 3 * LeaseTTL })
			r.change("vm1", func(state.VM) (state.VM, error) { return state.NewVM("vm1", "vm1", 1, "", nil), nil })
			r.until("it is to start", func(v *state.View) bool { return v.VMs["vm1"].Value.Host == "h1" })
			time.Sleep(lookEvery)
			r.cut("h1", true)
			r.until("it runs elsewhere", elsewhere)
			time.Sleep(3 * LeaseTTL)
			if all := r.w.of("vm1"); len(all) != 2 || all[1].hw.name != "h1" || all[1].ended.IsZero() {
				t.Errorf("there were %d guests, and the last was not the late one, or is there", len(all))
			}
			r.well()
		})
	})
	t.Run("a permit", func(t *testing.T) {
		on(t, "", names(2), func(r *rig) {
			r.create("vm1")
			r.w.host("h1").set(func(h *hardware) { h.slow = LeaseTTL / 2 }) // and each Kill
			time.Sleep(keepAliveEvery)
			r.cut("h1", true)
			r.until("it runs elsewhere", elsewhere)
			time.Sleep(3 * LeaseTTL)
			r.well()
		})
	})
}

// TestSlowGuestKeepsNobodyWaiting: one whose hypervisor takes long to answer is permitted all
// the same, and so are the others.
func TestSlowGuestKeepsNobodyWaiting(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1", "vm2")
		r.w.host("h1").set(func(h *hardware) { h.slow = 700 * time.Millisecond })
		time.Sleep(20 * time.Second)
		if n := len(r.w.of("vm1")) + len(r.w.of("vm2")); n != 2 || len(r.w.on("h1")) != 2 {
			t.Errorf("there were %d guests, and there are %d", n, len(r.w.on("h1")))
		}
		r.well()
	})
}

// TestFencedHostGoesOnWhoseLeaseLives: in the same incarnation, with guests of new epochs.
func TestFencedHostGoesOnWhoseLeaseLives(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1")
		was := r.view().VMs["vm1"].Value
		r.cut("h1", true)
		<-r.w.on("h1")[0].exited
		r.cut("h1", false)
		vm := r.running("vm1")
		if vm.Incarnation != was.Incarnation || vm.Epoch <= was.Epoch {
			t.Errorf("before: %+v, and after: %+v", was, vm)
		}
		r.well()
	})
}

func TestGuestsOutliveTheirAgent(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1", "vm2")
		for range 3 {
			r.halt("h1")
			time.Sleep(time.Second)
			r.boot("h1")
			time.Sleep(10 * time.Second)
		}
		if n := len(r.w.of("vm1")) + len(r.w.of("vm2")); n != 2 {
			t.Errorf("there were %d guests", n)
		}
		// They are watched over: without an agent, and with one that is cut off.
		r.halt("h1")
		r.boot("h1")
		time.Sleep(2 * time.Second)
		r.cut("h1", true)
		time.Sleep(4 * time.Second)
		if n := len(r.w.on("h1")); n != 0 {
			t.Errorf("%d guests run on", n)
		}
		r.cut("h1", false)
		r.running("vm1")
		r.halt("h1")
		time.Sleep(4 * time.Second)
		if n := len(r.w.on("h1")); n != 0 {
			t.Errorf("%d guests run on without an agent", n)
		}
		r.boot("h1")
		r.running("vm1")
		r.running("vm2")
		r.well()
	})
}

// TestAgentThatForgotBeginsAnew: what runs is killed, and the incarnation is another.
func TestAgentThatForgotBeginsAnew(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1")
		for _, content := range []string{"", "{", `{"incarnation":"x"}`} {
			was := r.view().Hosts["h1"].Value.Incarnation
			r.halt("h1")
			must(t, os.WriteFile(filepath.Join(r.hosts["h1"].dir, "agent.json"), []byte(content), 0o644))
			r.boot("h1")
			r.until("a new incarnation", func(v *state.View) bool { return v.Lives("h1", was+1) })
			r.running("vm1")
		}
		r.well()
	})
}

func TestGuestThatDiesIsStartedAgain(t *testing.T) {
	on(t, "", names(2), func(r *rig) {
		r.create("vm1")
		was := r.view().VMs["vm1"].Value
		died := time.Now()
		r.w.on("")[0].die()
		vm := r.running("vm1")
		if vm.Host != was.Host || vm.Epoch != was.Epoch+1 {
			t.Errorf("before: %+v, and after: %+v", was, vm)
		}
		if took := time.Since(died); took > time.Second {
			t.Errorf("that took %v", took)
		}
		r.well()
	})
}

func TestStartThatFailsIsTriedAnewAndThenNoMore(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.w.host("h1").set(func(h *hardware) { h.failStart = 2 })
		r.create("vm1")
		r.w.host("h1").set(func(h *hardware) { h.failStart = 3 })
		r.change("vm2", func(state.VM) (state.VM, error) { return state.NewVM("vm2", "vm2", 1, "", nil), nil })
		v := r.until("it fails", func(v *state.View) bool { return v.VMs["vm2"].Value.State == state.Failed })
		if why := v.VMs["vm2"].Value.Reason; why != "no image" {
			t.Errorf("why: %q", why)
		}
		r.well()
	})
}

func TestMachineMigrates(t *testing.T) {
	on(t, "", names(3), func(r *rig) {
		r.create("vm1", "vm2", "vm3")
		for range 5 {
			was := r.view().VMs["vm1"].Value
			r.migrate("vm1")
			vm := r.until("it has moved", func(v *state.View) bool {
				vm := v.VMs["vm1"].Value
				return vm.State == state.Running && vm.Host != was.Host && r.runs(vm)
			}).VMs["vm1"].Value
			if vm.Epoch != was.Epoch+1 {
				t.Errorf("before: %+v, and after: %+v", was, vm)
			}
			all := r.w.of("vm1")
			if last := all[len(all)-1]; last.begun.Sub(all[len(all)-2].ended) > 100*time.Millisecond {
				t.Errorf("it stood for long")
			}
		}
		if n := len(r.w.of("vm1")); n != 6 {
			t.Errorf("it had %d guests", n)
		}
		r.reserved()
		r.well()
	})
}

// reserved wants what is reserved to be what is there.
func (r *rig) reserved() {
	r.t.Helper()
	v := r.view()
	for _, h := range v.Hosts {
		for id := range h.Value.Reserved {
			if v.VMs[id].Value.Host != h.Value.Name {
				r.t.Errorf("%s is reserved for %s, which is on %q", h.Value.Name, id, v.VMs[id].Value.Host)
			}
		}
	}
}

// TestMigrationThatFails: whatever fails, and whoever dies, the machine runs once after
// it, where its record says.
func TestMigrationThatFails(t *testing.T) {
	source, target := "h1", "h2"
	at := func(r *rig, phases ...state.Phase) *state.View {
		return r.until("a phase", func(v *state.View) bool {
			m := v.VMs["vm1"].Value.Migration
			for _, p := range phases {
				if m != nil && m.Phase == p {
					return true
				}
			}
			return m == nil && v.VMs["vm1"].Value.Migrations > 0
		})
	}
	restart := func(r *rig, host string) {
		r.halt(host)
		r.boot(host)
	}
	kill := func(r *rig, host string) {
		r.halt(host)
		for _, g := range r.w.on(host) {
			g.die()
		}
	}
	for name, c := range map[string]struct {
		before func(r *rig)
		during func(r *rig)
		host   string // where it is in the end, if that is certain
	}{
		"the send":                  {before: func(r *rig) { r.w.host(source).set(func(h *hardware) { h.failSend = 1 }) }, host: source},
		"the send, at its end":      {before: func(r *rig) { r.w.host(source).set(func(h *hardware) { h.failLate = 1 }) }, host: source},
		"the resume":                {before: func(r *rig) { r.w.host(target).set(func(h *hardware) { h.failResume = 1 }) }, host: target},
		"source's agent, early":     {during: func(r *rig) { at(r, state.Preparing); restart(r, source) }},
		"source's agent, when sent": {during: func(r *rig) { at(r, state.Ready); restart(r, source) }},
		"source's agent, late": {during: func(r *rig) {
			at(r, state.Ready)
			time.Sleep(copyTime + copyTime/10)
			restart(r, source)
		}},
		"target's agent, early":     {during: func(r *rig) { at(r, state.Preparing); restart(r, target) }},
		"target's agent, when sent": {during: func(r *rig) { at(r, state.Ready); restart(r, target) }, host: source},
		"target's agent, late":      {during: func(r *rig) { at(r, state.Committed); restart(r, target) }, host: target},
		"the source":                {during: func(r *rig) { at(r, state.Ready); kill(r, source); r.boot(source) }},
		"the source, after it":      {during: func(r *rig) { at(r, state.Committed); kill(r, source); r.boot(source) }, host: target},
		"the target":                {during: func(r *rig) { at(r, state.Ready); kill(r, target); r.boot(target) }, host: source},
		"the target, after it":      {during: func(r *rig) { at(r, state.Committed); kill(r, target); r.boot(target) }, host: target},
		"the guest":                 {during: func(r *rig) { at(r, state.Ready); r.w.on(source)[0].die() }, host: source},
		"the source, for good":      {during: func(r *rig) { at(r, state.Ready); kill(r, source) }, host: target},
		"the target, for good":      {during: func(r *rig) { at(r, state.Committed); kill(r, target) }, host: source},
		"the source's link":         {during: func(r *rig) { at(r, state.Ready); r.cut(source, true) }, host: target},
		"the target's link":         {during: func(r *rig) { at(r, state.Ready); r.cut(target, true) }, host: source},
		"its user, who stops it": {during: func(r *rig) {
			at(r, state.Ready)
			r.change("vm1", func(v state.VM) (state.VM, error) { return v.Want(state.WantStopped) })
			r.until("it is stopped", func(v *state.View) bool {
				return v.VMs["vm1"].Value.State == state.Stopped && len(r.w.on("")) == 0
			})
			r.change("vm1", func(v state.VM) (state.VM, error) { return v.Want(state.WantRunning) })
		}},
		"the commit's answer, which is lost": {before: func(r *rig) {
			r.w.host(source).set(func(h *hardware) {
				h.sent = func() { // nothing comes back from the store for a while
					must(r.t, r.store.Cut(cutBack(source)))
					time.AfterFunc(1500*time.Millisecond, func() { must(r.t, r.store.Heal(cutBack(source))) })
				}
			})
		}, host: target},
		"the commit, which comes late": {before: func(r *rig) {
			r.w.host(source).set(func(h *hardware) {
				h.sent = func() { // nothing gets to the store for a while
					must(r.t, r.store.Cut(cutThere(source)))
					time.AfterFunc(1500*time.Millisecond, func() { must(r.t, r.store.Heal(cutThere(source))) })
				}
			})
		}, host: target},
	} {
		t.Run(name, func(t *testing.T) {
			on(t, "", names(2), func(r *rig) {
				r.create("vm1")
				if h := r.view().VMs["vm1"].Value.Host; h != source {
					t.Fatalf("it is on %s", h)
				}
				if c.before != nil {
					c.before(r)
				}
				r.migrate("vm1")
				if c.during != nil {
					c.during(r)
				}
				v := r.until("it runs", func(v *state.View) bool {
					vm := v.VMs["vm1"].Value
					return vm.State == state.Running && r.runs(vm) && v.Lives(vm.Host, vm.Incarnation)
				})
				time.Sleep(10 * time.Second)
				if vm := r.running("vm1"); c.host != "" && vm.Host != c.host {
					t.Errorf("it is on %s, and was soon after on %s", vm.Host, v.VMs["vm1"].Value.Host)
				}
				if n := len(r.w.on("")); n != 1 {
					t.Errorf("%d guests are there", n)
				}
				for addr, in := range r.w.incoming {
					if !in.gone {
						t.Errorf("somebody still waits at %s", addr)
					}
				}
				r.reserved()
				r.well()
			})
		})
	}
}

// TestForeignGuestIsKilled: what runs and is not to is killed.
func TestForeignGuestIsKilled(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1")
		r.halt("h1")
		r.w.mu.Lock()
		g := r.w.spawn(r.w.hosts["h1"], hypervisorSpec("vm9", "h1", 3), watchdog.Instant(10*time.Hour))
		r.w.mu.Unlock()
		r.boot("h1")
		<-g.exited
		r.running("vm1")
		r.well()
	})
}

// TestAnotherIncarnationEndsThisOne: whoever put it.
func TestAnotherIncarnationEndsThisOne(t *testing.T) {
	on(t, "", names(1), func(r *rig) {
		r.create("vm1")
		was := r.view().Hosts["h1"].Value.Incarnation
		g := r.w.on("h1")[0]
		if !r.txn(new(state.Change).Then(client.OpPut(state.AliveKey("h1"), state.Encode(state.Alive{Incarnation: 77})))) {
			t.Fatal("not done")
		}
		<-g.exited
		r.until("it registers", func(v *state.View) bool { return v.Lives("h1", was+1) })
		r.running("vm1")
		r.well()
	})
}
