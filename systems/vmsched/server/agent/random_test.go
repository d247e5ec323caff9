package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// TestNoMachineRunsTwice: hosts are cut off, in one direction or both, the store is away, agents are restarted, hosts
// and guests killed, machines migrated, stopped and started, starts and migrations fail; no
// machine ever runs twice, or twice in an epoch, and in the end all run that are to.
func TestNoMachineRunsTwice(t *testing.T) {
	seeds := 5
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			on(t, "", names(3), func(r *rig) {
				random := rand.New(rand.NewPCG(seed, 0))
				r.create("vm1", "vm2", "vm3", "vm4")
				for begun := time.Now(); time.Since(begun) < 3*time.Minute; {
					r.harm(random)
					// Some come while what was before them is still under way, some when that is settled.
					time.Sleep(time.Duration(random.ExpFloat64() * float64(700*time.Millisecond)))
				}
				for _, n := range r.names {
					r.cut(n, false)
					if r.hosts[n].end == nil {
						r.boot(n)
					}
					r.w.host(n).set(func(h *hardware) { h.faults = faults{} })
				}
				for _, id := range []string{"vm1", "vm2", "vm3", "vm4"} {
					r.change(id, func(v state.VM) (state.VM, error) {
						if v.Desired == state.WantRunning && v.State == state.Failed {
							v, _ = v.Want(state.WantStopped)
						}
						return v.Want(state.WantRunning)
					})
				}
				r.until("all run", func(v *state.View) bool {
					for _, vm := range v.VMs {
						if vm.Value.State != state.Running || !r.runs(vm.Value) {
							return false
						}
					}
					return len(r.w.on("")) == len(v.VMs)
				})
				r.until("hosts say so", func(v *state.View) bool {
					told := 0
					for _, g := range v.Guests {
						for id, epoch := range g.Value.Epochs {
							if v.VMs[id].Value.Epoch == epoch {
								told++
							}
						}
					}
					return told == len(v.VMs)
				})
				if n := len(r.w.guests); n < 15 {
					t.Errorf("there were only %d guests", n)
				}
				r.well()
			})
		})
	}
}

// harm does something to the hosts, or has something done.
func (r *rig) harm(random *rand.Rand) {
	name := r.names[random.IntN(len(r.names))]
	h, hw := r.hosts[name], r.w.host(name)
	vm := fmt.Sprintf("vm%d", 1+random.IntN(4))
	switch random.IntN(13) {
	case 0, 1, 2:
		r.cut(name, !h.cut)
		if random.IntN(2) == 0 {
			return
		}
		// And in one direction alone, for a moment: answers are lost, or calls come late.
		link := cutBack(name)
		if random.IntN(2) == 0 {
			link = cutThere(name)
		}
		must(r.t, r.store.Cut(link))
		time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second))))
		must(r.t, r.store.Heal(link))
	case 3:
		if h.end != nil {
			r.halt(name)
		}
		if random.IntN(3) > 0 {
			r.boot(name)
		}
	case 4: // the host dies
		r.halt(name)
		for _, g := range r.w.on(name) {
			g.die()
		}
	case 5:
		if h.end == nil {
			r.boot(name)
		}
	case 6:
		if there := r.w.on(name); len(there) > 0 {
			there[random.IntN(len(there))].die()
		}
	case 12: // the store is away for a while, for all
		must(r.t, r.store.Stop("n1"))
		time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second))))
		must(r.t, r.store.Start("n1"))
	case 7, 8, 9:
		r.migrate(vm)
	case 10:
		want := []state.Desired{state.WantStopped, state.WantRunning, state.WantRunning}[random.IntN(3)]
		r.change(vm, func(v state.VM) (state.VM, error) { return v.Want(want) })
	case 11:
		hw.set(func(h *hardware) {
			h.faults = faults{}
			for _, n := range []*int{&h.failStart, &h.failSend, &h.failLate, &h.failResume} {
				*n = random.IntN(2)
			}
		})
	}
}
