package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// shows wants something to go wrong with a bug, and nothing to without.
func shows(t *testing.T, mistake, complaint string, hosts int, f func(r *rig)) {
	t.Run(mistake, func(t *testing.T) {
		for _, b := range []string{"", mistake} {
			on(t, b, names(hosts), func(r *rig) {
				f(r)
				if b == "" {
					r.well()
				} else if all := strings.Join(r.w.complaints(), "\n"); !strings.Contains(all, complaint) {
					t.Errorf("nothing shows: %q", all)
				}
			})
		}
	})
}

func TestBugsShow(t *testing.T) {
	const twice, epoch = "runs twice", "is started on"
	elsewhere := func(r *rig, host string) {
		r.until("it runs elsewhere", func(v *state.View) bool {
			vm := v.VMs["vm1"].Value
			return vm.State == state.Running && vm.Host != host
		})
	}
	shows(t, bug.AdoptUnwatched, twice, 2, func(r *rig) {
		r.create("vm1")
		r.halt("h1")
		r.boot("h1")
		time.Sleep(time.Second)
		r.cut("h1", true)
		elsewhere(r, "h1")
	})
	shows(t, bug.StaleRejoin, epoch, 2, func(r *rig) {
		r.create("vm1")
		r.cut("h1", true)
		elsewhere(r, "h1")
		r.cut("h1", false)
		r.until("it comes back", func(v *state.View) bool { return v.Lives("h1", 2) })
		time.Sleep(time.Second)
	})
	shows(t, bug.EpochKept, epoch, 1, func(r *rig) {
		r.create("vm1")
		r.w.on("h1")[0].die()
		time.Sleep(time.Second)
		r.running("vm1")
	})
	shows(t, bug.ResumeSource, twice, 2, func(r *rig) {
		r.create("vm1")
		r.w.host("h1").set(func(h *hardware) {
			h.sent = func() { // the answer takes a while
				must(r.t, r.store.Cut(cutBack("h1")))
				time.AfterFunc(500*time.Millisecond, func() { must(r.t, r.store.Heal(cutBack("h1"))) })
			}
		})
		r.migrate("vm1")
		elsewhere(r, "h1")
		time.Sleep(time.Second)
	})
	shows(t, bug.TargetLeft, twice, 2, func(r *rig) {
		r.create("vm1")
		sent := make(chan struct{})
		r.w.host("h1").set(func(h *hardware) {
			h.sent = func() { // and dies
				must(r.t, r.store.Cut(cutThere("h1")))
				close(sent)
			}
		})
		r.migrate("vm1")
		<-sent
		elsewhere(r, "h1")
		time.Sleep(time.Second)
	})
	t.Run(bug.DeleteResurrected, func(t *testing.T) {
		for _, b := range []string{"", bug.DeleteResurrected} {
			on(t, b, names(1), func(r *rig) {
				r.change("vm1", func(state.VM) (state.VM, error) { return state.NewVM("vm1", "vm1", 1, "", nil), nil })
				r.until("it starts", func(*state.View) bool { return len(r.w.on("h1")) > 0 })
				time.Sleep(2 * bootTime)
				r.change("vm1", func(v state.VM) (state.VM, error) { return v.Want(state.WantDeleted) })
				time.Sleep(3 * time.Second)
				if vm := r.view().VMs["vm1"].Value; (vm.State == state.Deleted && vm.Desired == state.WantDeleted) != (b == "") {
					t.Errorf("bug %q: %+v", b, vm)
				}
			})
		}
	})
}
