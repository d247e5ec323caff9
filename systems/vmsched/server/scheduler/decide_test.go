package scheduler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// said is what is decided, as text.
func said(p plan) string {
	var all []string
	for _, a := range p.actions {
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", a.what, a.vm, a.host)))
	}
	return strings.Join(all, ", ")
}

// A scene is a view in the making.
type scene struct {
	*state.View
	age map[string]time.Duration
	t   *testing.T
}

func (s *scene) host(name string, change func(*state.Host)) {
	h := s.Hosts[name].Value
	change(&h)
	made(s.View, (&state.Change{}).Host(s.Hosts[name], h))
}

func (s *scene) drain(name string) {
	s.host(name, func(h *state.Host) { h.Cordoned, h.Draining = true, true })
}

func (s *scene) dies(name string) { s.Revision++; delete(s.Alive, name) }

// vm makes a machine that is pending.
func (s *scene) vm(id string, size uint32, group string) {
	put(s.View, state.NewVM(id, "t"+id, size, group, nil))
}

// on makes one that runs.
func (s *scene) on(host, id string, size uint32, group string) {
	s.starts(host, id, size, group)
	made(s.View, agentOf(s.t, s.View, host, id))
}

// labelled makes one that runs, and is for hosts with a label, which that alone has.
func (s *scene) labelled(host, id string) {
	s.on(host, id, 1, "")
	vm := s.VMs[id].Value
	vm.Labels = map[string]string{"disk": "ssd"}
	put(s.View, vm)
	s.host(host, func(h *state.Host) { h.Labels = vm.Labels })
}

// starts makes one that is to be started.
func (s *scene) starts(host, id string, size uint32, group string) {
	vm, h, err := state.NewVM(id, "t"+id, size, group, nil).Place(s.Hosts[host].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	made(s.View, (&state.Change{}).VM(s.VMs[id], vm).Host(s.Hosts[host], h))
}

func (s *scene) want(id string, d state.Desired) {
	vm, err := s.VMs[id].Value.Want(d)
	if err != nil {
		s.t.Fatal(err)
	}
	put(s.View, vm)
}

// migrates has a machine be asked to migrate, and, unless the phase is Asked, prepared so
// far.
func (s *scene) migrates(id, target string, phase state.Phase) {
	vm, err := s.VMs[id].Value.Move(target)
	if err != nil {
		s.t.Fatal(err)
	}
	put(s.View, vm)
	if phase != state.Asked {
		made(s.View, decide(knowledge{View: s.View}, "").change)
	}
	for s.VMs[id].Value.Migration.Phase != phase {
		vm := s.VMs[id].Value
		by := vm.Host
		if vm.Migration.Phase == state.Preparing {
			by = vm.Migration.Target
		}
		made(s.View, agentOf(s.t, s.View, by, id))
	}
}

func TestDecide(t *testing.T) {
	for _, x := range []struct {
		name  string
		bug   string
		scene func(*scene)
		want  string // first what is decided, then again after each change until there is nothing to do
	}{
		{"nothing", "", func(s *scene) { s.on("h1", "vm1", 1, "") }, ""},
		{"most free first, by name if alike", "", func(s *scene) {
			s.on("h1", "vm1", 2, "")
			s.vm("vm2", 1, "")
			s.vm("vm3", 1, "")
			s.vm("vm4", 1, "")
			s.vm("vm10", 1, "")
		}, "place vm2 h2, place vm3 h3, place vm4 h2, place vm10 h3"},
		{"no host twice for a group", "", func(s *scene) {
			for i := range 4 {
				s.vm(fmt.Sprint("vm", i+1), 1, "g")
			}
		}, "place vm1 h1, place vm2 h2, place vm3 h3, wait vm4"},
		{"no more than there is", "", func(s *scene) {
			for i := range 4 {
				s.vm(fmt.Sprint("vm", i+1), 3, "")
			}
			s.vm("vm5", 5, "")
		}, "place vm1 h1, place vm2 h2, place vm3 h3, wait vm4, wait vm5"},
		{"overcommit", bug.OverCommit, func(s *scene) {
			s.vm("vm1", 3, "")
			s.vm("vm2", 3, "")
		}, "place vm1 h1, place vm2 h1"},
		{"labels, cordons, drains and the dead", "", func(s *scene) {
			s.host("h1", func(h *state.Host) { h.Labels = map[string]string{"disk": "ssd"}; h.Cordoned = true })
			s.dies("h3")
			s.vm("vm1", 1, "")
			labelled := state.NewVM("vm2", "t", 1, "", map[string]string{"disk": "ssd"})
			put(s.View, labelled)
		}, "place vm1 h2, wait vm2"},
		{"not where it did not start, if it can be", "", func(s *scene) {
			s.on("h2", "vm1", 1, "")
			s.on("h3", "vm2", 2, "")
			s.on("h3", "vm3", 1, "")
			for i, size := range []uint32{1, 3} {
				vm := state.NewVM(fmt.Sprint("vm", i+4), "t", size, "", nil)
				vm.NotOn = "h1" // which has most free
				put(s.View, vm)
			}
		}, "place vm4 h2, place vm5 h1"},
		{"a label", "", func(s *scene) {
			s.host("h3", func(h *state.Host) { h.Labels = map[string]string{"disk": "ssd"} })
			put(s.View, state.NewVM("vm2", "t", 1, "", map[string]string{"disk": "ssd"}))
		}, "place vm2 h3"},
		{"failover", "", func(s *scene) {
			s.on("h1", "vm1", 1, "g")
			s.on("h2", "vm2", 1, "g")
			s.starts("h1", "vm3", 1, "")
			s.dies("h1")
		}, "lose vm1 h1, lose vm3 h1; place vm1 h3, place vm3 h2"},
		{"an incarnation that is over", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.dies("h1")
			register(s.View, "h1")
		}, "lose vm1 h1; place vm1 h1"},
		{"what was to be stopped is, when its host dies", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.on("h1", "vm2", 1, "")
			s.want("vm1", state.WantStopped)
			s.want("vm2", state.WantDeleted)
			s.dies("h1")
		}, "lose vm1 h1, lose vm2 h1"},
		{"stop forgotten", bug.StopForgotten, func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.want("vm1", state.WantStopped)
			s.dies("h1")
		}, "lose vm1 h1; place vm1 h2"},
		{"stop", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.starts("h1", "vm2", 1, "")
			s.want("vm1", state.WantDeleted)
			s.want("vm2", state.WantStopped)
		}, "stop vm1 h1, stop vm2 h1"},
		{"a start that takes long", "", func(s *scene) {
			s.starts("h1", "vm1", 1, "")
			s.starts("h1", "vm2", 1, "")
			s.age["vm1"], s.age["vm2"] = startLimit+1, startLimit
		}, "stop vm1 h1"},
		{"migration to any", "", func(s *scene) {
			s.on("h1", "vm1", 1, "g")
			s.on("h2", "vm2", 1, "g")
			s.migrates("vm1", "", state.Asked)
		}, "prepare vm1 h3"},
		{"migration to one", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.on("h3", "vm2", 2, "")
			s.migrates("vm1", "h3", state.Asked)
		}, "prepare vm1 h3"},
		{"migration to one that has no place", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.on("h3", "vm2", 4, "")
			s.migrates("vm1", "h3", state.Asked)
		}, "abort vm1 h3"},
		{"the target dies", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Ready)
			s.dies("h3")
			register(s.View, "h3")
		}, "abort vm1 h3"},
		{"stuck", bug.StuckMigrating, func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Ready)
			s.dies("h3")
			s.age["vm1"] = migrationLimit + 1
		}, ""},
		{"a migration that takes long", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Preparing)
			s.age["vm1"] = migrationLimit + 1
		}, "abort vm1 h3"},
		{"a migration of what is not wanted", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Preparing)
			s.want("vm1", state.WantStopped)
		}, "abort vm1 h3; stop vm1 h1"},
		{"the source dies", "", func(s *scene) {
			s.on("h1", "vm1", 4, "")
			s.on("h2", "vm2", 4, "")
			s.migrates("vm1", "h3", state.Ready)
			s.dies("h1")
		}, "lose vm1 h1; place vm1 h3"},
		{"what was handed over is the target's", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Committed)
			s.age["vm1"] = migrationLimit + 1
			s.dies("h1")
		}, ""},
		{"and dies with it", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Committed)
			s.dies("h3")
		}, "lose vm1 h3; place vm1 h1"},
		{"drain", "", func(s *scene) {
			for i := range 4 {
				s.on("h1", fmt.Sprint("vm", i+1), 1, "")
			}
			s.drain("h1")
		}, "move vm1 h1, move vm2 h1; prepare vm1 h2, prepare vm2 h3"},
		{"a drain that goes nowhere", "", func(s *scene) {
			s.on("h1", "vm1", 1, "g")
			s.on("h2", "vm2", 1, "g")
			s.on("h3", "vm3", 1, "g")
			s.drain("h1")
		}, ""},
		{"affinity ignored", bug.AffinityIgnored, func(s *scene) {
			s.on("h1", "vm1", 1, "g")
			s.on("h2", "vm2", 1, "g")
			s.on("h3", "vm3", 1, "g")
			s.drain("h1")
		}, "move vm1 h1; prepare vm1 h2"},
		{"a label on a migration", "", func(s *scene) {
			s.labelled("h1", "vm1")
			s.migrates("vm1", "", state.Asked)
		}, "abort vm1"},
		{"labels ignored", bug.LabelsIgnored, func(s *scene) {
			s.labelled("h1", "vm1")
			s.migrates("vm1", "", state.Asked)
		}, "prepare vm1 h2"},
		{"a drain again, after a while", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.on("h1", "vm2", 1, "")
			s.drain("h1")
			for id, age := range map[string]time.Duration{"vm1": drainAgain - 1, "vm2": drainAgain} {
				vm := s.VMs[id].Value
				vm.Reason, s.age[id] = "it took too long", age
				put(s.View, vm)
			}
		}, "move vm2 h1; prepare vm2 h2"},
		{"a place for one that is not there", "", func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.host("h2", func(h *state.Host) { h.Reserved = map[string]state.Reservation{"vm1": {Size: 1}, "vm9": {Size: 1}} })
		}, "release vm1 h2, release vm9 h2"},
		{"leaked", bug.CapacityLeaked, func(s *scene) {
			s.on("h1", "vm1", 1, "")
			s.migrates("vm1", "h3", state.Preparing)
			s.age["vm1"] = migrationLimit + 1
		}, "abort vm1 h3"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := &scene{newView(3, 4), map[string]time.Duration{}, t}
			x.scene(s)
			var got []string
			for range 10 {
				p := decide(knowledge{View: s.View, age: s.age}, x.bug)
				if len(p.actions) == 0 {
					break
				}
				got = append(got, said(p))
				if again := decide(knowledge{View: s.View, age: s.age}, x.bug); said(again) != said(p) {
					t.Errorf("and then %s", said(again))
				}
				made(s.View, p.change)
			}
			if got := strings.Join(got, "; "); got != x.want {
				t.Errorf("got  %s\nwant %s", got, x.want)
			}
			if wrong := broken(s.View); (len(wrong) > 0) != slices.Contains([]string{bug.OverCommit, bug.CapacityLeaked, bug.AffinityIgnored, bug.LabelsIgnored}, x.bug) {
				t.Errorf("broken: %v", wrong)
			}
		})
	}
}

// TestDecideOfBugs that need to know more.
func TestDecideOfBugs(t *testing.T) {
	s := &scene{newView(3, 4), nil, t}
	s.on("h1", "vm1", 1, "")
	if got := said(decide(knowledge{View: s.View, silent: map[string]bool{"h1": true}}, bug.NoFence)); got != "lose vm1 h1" {
		t.Errorf("of a host that is silent: %s", got)
	}
	m := memory{bug: bug.SourceLost, vms: map[string]sighting{}}
	m.see(s.View, time.Now())
	s.migrates("vm1", "h2", state.Ready)
	m.see(s.View, time.Now())
	made(s.View, agentOf(t, s.View, "h1", "vm1"))
	made(s.View, agentOf(t, s.View, "h2", "vm1"))
	m.see(s.View, time.Now())
	k := knowledge{View: s.View, handed: m.handed()}
	if got := said(decide(k, bug.SourceLost)); got != "" {
		t.Errorf("while the source lives: %s", got)
	}
	s.dies("h1")
	p := decide(k, bug.SourceLost)
	made(s.View, p.change)
	if got := s.VMs["vm1"].Value; said(p) != "lose vm1 h2" || got.State != state.Stopped || got.Desired != state.WantRunning {
		t.Errorf("%s: %+v", said(p), got)
	}
	s.vm("vm2", 1, "")
	if got := said(decide(knowledge{View: s.View, deposed: true}, bug.TwoLeaders)); got != "place vm2 h3" {
		t.Errorf("of who was deposed: %s", got)
	}
}

// TestAges are of the same state, epoch and migration.
func TestAges(t *testing.T) {
	s := &scene{newView(2, 4), nil, t}
	begun := time.Now()
	m := memory{vms: map[string]sighting{}}
	at := func(after time.Duration) time.Duration {
		m.see(s.View, begun.Add(after))
		return m.ages(begun.Add(after))["vm1"]
	}
	s.starts("h1", "vm1", 1, "")
	if first, then := at(0), at(time.Second); first != 0 || then != time.Second {
		t.Errorf("starting for %v, then %v", first, then)
	}
	made(s.View, agentOf(t, s.View, "h1", "vm1"))
	if age := at(2 * time.Second); age != 0 {
		t.Errorf("running for %v", age)
	}
	s.migrates("vm1", "", state.Preparing)
	at(3 * time.Second)
	made(s.View, agentOf(t, s.View, "h2", "vm1"))
	if age := at(5 * time.Second); age != 2*time.Second {
		t.Errorf("migrating for %v", age)
	}
}

// A chance is a random history: users, hosts and agents do what they like, and the leader
// what it decides.
func chance(t *testing.T, seed uint64, mistake string) (v *state.View, wrong []string) {
	random := rand.New(rand.NewPCG(seed, 1))
	v = newView(4, 6)
	label := map[string]string{"disk": "ssd"}
	for _, host := range []string{"h1", "h2"} {
		(&scene{v, nil, t}).host(host, func(h *state.Host) { h.Labels = label })
	}
	names := slices.Sorted(maps.Keys(v.Hosts))
	may := func(vm state.VM, err error) {
		if err == nil {
			put(v, vm)
		}
	}
	agents := func(all bool) (did bool) {
		for _, id := range slices.SortedFunc(maps.Keys(v.VMs), older) {
			for _, host := range names {
				if all || random.IntN(3) == 0 {
					if c := agentOf(t, v, host, id); c != nil {
						made(v, c)
						did = true
					}
				}
			}
		}
		return did
	}
	leader := func(late bool) (did bool) {
		age := map[string]time.Duration{}
		for id := range v.VMs {
			if late {
				age[id] = time.Duration(random.Int64N(int64(10 * time.Second)))
			}
		}
		epochs := map[string]uint64{}
		for id, r := range v.VMs {
			epochs[id] = r.Value.Epoch
		}
		p := decide(knowledge{View: v, age: age}, mistake)
		made(v, p.change)
		for id, r := range v.VMs {
			if r.Value.Epoch < epochs[id] {
				wrong = append(wrong, fmt.Sprintf("the epoch of %s goes back", id))
			}
		}
		return len(p.actions) > 0
	}
	for range 150 {
		host := names[random.IntN(len(names))]
		id := fmt.Sprint("vm", 1+random.IntN(len(v.VMs)+1))
		vm := v.VMs[id]
		switch n := random.IntN(12); {
		case n < 2 && vm.Mod == 0 && len(v.VMs) < 12:
			put(v, state.NewVM(id, "t"+id, uint32(1+random.IntN(3)), []string{"", "", "a", "b"}[random.IntN(4)], []map[string]string{nil, nil, label}[random.IntN(3)]))
		case n == 2 && vm.Mod != 0:
			may(vm.Value.Want([]state.Desired{state.WantRunning, state.WantStopped, state.WantDeleted}[random.IntN(3)*random.IntN(2)]))
		case n == 3 && vm.Mod != 0:
			may(vm.Value.Move([]string{"", host}[random.IntN(2)]))
		case n == 4 && random.IntN(3) == 0:
			delete(v.Alive, host)
		case n == 5 && v.Alive[host].Mod == 0:
			register(v, host)
		case n == 6:
			(&scene{v, nil, t}).host(host, func(h *state.Host) {
				h.Draining = random.IntN(3) == 0
				h.Cordoned = h.Draining || random.IntN(4) == 0
			})
		case n < 9:
			leader(random.IntN(4) == 0)
		default:
			agents(false)
		}
		wrong = append(wrong, broken(v)...)
	}
	// At the end all is well, and all comes to rest.
	for _, host := range names {
		if v.Alive[host].Mod == 0 {
			register(v, host)
		}
		(&scene{v, nil, t}).host(host, func(h *state.Host) { h.Cordoned, h.Draining = false, false })
	}
	for range 50 {
		led, ran := leader(false), agents(true)
		wrong = append(wrong, broken(v)...)
		if !led && !ran {
			return v, wrong
		}
	}
	return v, append(wrong, "it does not come to rest")
}

// TestChance: whatever happens, capacity, labels and groups are kept, what is reserved is what is
// there, and in the end all machines are what they are to be.
func TestChance(t *testing.T) {
	running := 0
	for seed := range uint64(300) {
		v, wrong := chance(t, seed, "")
		for id, r := range v.VMs {
			vm := r.Value
			ok := false
			switch vm.State {
			case state.Running:
				ok = vm.Desired == state.WantRunning && v.Lives(vm.Host, vm.Incarnation)
				running++
			case state.Pending:
				_, found := (&draft{knowledge: knowledge{View: v}}).best(vm)
				ok = vm.Desired == state.WantRunning && vm.Reason == noPlace && !found
			case state.Stopped, state.Deleted:
				ok = vm.Desired == state.Desired(vm.State)
			}
			if !ok {
				wrong = append(wrong, fmt.Sprintf("at the end %s is %+v", id, vm))
			}
		}
		if len(wrong) > 0 {
			t.Fatalf("seed %d: %s", seed, strings.Join(wrong, "\n"))
		}
	}
	if running < 300 {
		t.Errorf("only %d machines ran", running)
	}
}

// TestChanceShowsBugs: the property is one that can be broken.
func TestChanceShowsBugs(t *testing.T) {
	for _, mistake := range []string{bug.OverCommit, bug.CapacityLeaked, bug.AffinityIgnored, bug.LabelsIgnored} {
		shown := 0
		for seed := range uint64(50) {
			if _, wrong := chance(t, seed, mistake); len(wrong) > 0 {
				shown++
			}
		}
		if shown == 0 {
			t.Errorf("%s does not show", mistake)
		}
		t.Logf("%s shows in %d of 50", mistake, shown)
	}
}
