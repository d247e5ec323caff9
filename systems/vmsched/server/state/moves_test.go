package state

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/systems/raftkv/client"
)

// A moment is a machine, and the hosts that it may be on: h1, and h2, where it migrates to.
type moment struct {
	vm     VM
	h1, h2 Host
}

func (m moment) host(name string) Host {
	return map[string]Host{"h1": m.h1, "h2": m.h2}[name]
}

func (m moment) with(vm VM, hosts ...Host) moment {
	m.vm = vm
	for _, h := range hosts {
		switch h.Name {
		case "h1":
			m.h1 = h
		case "h2":
			m.h2 = h
		}
	}
	return m
}

// moves are all that may become of a machine.
var moves = map[string]func(m moment) (moment, error){
	"want running": func(m moment) (moment, error) { v, err := m.vm.Want(WantRunning); return m.with(v), err },
	"want stopped": func(m moment) (moment, error) { v, err := m.vm.Want(WantStopped); return m.with(v), err },
	"want deleted": func(m moment) (moment, error) { v, err := m.vm.Want(WantDeleted); return m.with(v), err },
	"place":        func(m moment) (moment, error) { v, h, err := m.vm.Place(m.h1); return m.with(v, h), err },
	"started":      func(m moment) (moment, error) { v, err := m.vm.Started(); return m.with(v), err },
	"not started": func(m moment) (moment, error) {
		v, h, err := m.vm.NotStarted(m.h1, "no image")
		return m.with(v, h), err
	},
	"again": func(m moment) (moment, error) { v, err := m.vm.Again(); return m.with(v), err },
	"stop":  func(m moment) (moment, error) { v, err := m.vm.Stop(); return m.with(v), err },
	"left":  func(m moment) (moment, error) { v, h, err := m.vm.Left(m.h1); return m.with(v, h), err },
	"lose": func(m moment) (moment, error) {
		var target Host
		if x := m.vm.Migration; x != nil && x.Phase != Committed {
			target = m.host(x.Target)
		}
		v, from, target, err := m.vm.Lose(m.host(m.vm.Host), target)
		return m.with(v, from, target), err
	},
	"move":    func(m moment) (moment, error) { v, err := m.vm.Move("h2"); return m.with(v), err },
	"prepare": func(m moment) (moment, error) { v, h, err := m.vm.Prepare(m.h2); return m.with(v, h), err },
	"await":   func(m moment) (moment, error) { v, err := m.vm.Await("h2:1"); return m.with(v), err },
	"commit":  func(m moment) (moment, error) { v, h, err := m.vm.Commit(m.h1); return m.with(v, h), err },
	"resumed": func(m moment) (moment, error) { v, err := m.vm.Resumed(); return m.with(v), err },
	"abort": func(m moment) (moment, error) {
		var target Host
		if x := m.vm.Migration; x != nil && x.Phase != Asked {
			target = m.host(x.Target)
		}
		v, target, err := m.vm.Abort(target, "no more")
		return m.with(v, target), err
	},
}

// after makes one move after the other, each of which must be legal.
func after(t *testing.T, steps ...string) moment {
	t.Helper()
	m := moment{NewVM("vm1", "t", 2, "g", nil), Host{Name: "h1", Incarnation: 3, Capacity: 4}, Host{Name: "h2", Incarnation: 5, Capacity: 4}}
	for _, step := range steps {
		was := fmt.Sprintf("%+v", m)
		next, err := moves[step](m)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if is := fmt.Sprintf("%+v", m); is != was {
			t.Errorf("%s has changed what it took: %s, %s", step, was, is)
		}
		m = next
	}
	return m
}

// String is what matters of a moment: state and what is wanted, host@incarnation/epoch, who has
// a place reserved.
func (m moment) String() string {
	v := m.vm
	s := fmt.Sprintf("%s wanted %s", v.State, v.Desired)
	if v.Migration != nil {
		s += fmt.Sprintf(" %s->%s@%d", v.Migration.Phase, v.Migration.Target, v.Migration.Incarnation)
	}
	if v.Host != "" {
		s += fmt.Sprintf(" on %s@%d", v.Host, v.Incarnation)
	}
	s += fmt.Sprintf(" epoch %d", v.Epoch)
	for _, h := range []Host{m.h1, m.h2} {
		if len(h.Reserved) > 0 {
			s += fmt.Sprintf(" [%s %d]", h.Name, h.Taken())
		}
	}
	return s
}

// TestMoves makes every move from every state: it is as the table says, or refused, and changes
// nothing then.
func TestMoves(t *testing.T) {
	wants := map[string]string{"want running": "", "want stopped": "", "want deleted": ""} // legal, and looked at below
	for _, x := range []struct {
		steps string
		is    string
		legal map[string]string // beside wants
	}{
		{"", "pending wanted running epoch 0", map[string]string{
			"place": "starting wanted running on h1@3 epoch 1 [h1 2]",
		}},
		{"want stopped", "stopped wanted stopped epoch 0", nil},
		{"place", "starting wanted running on h1@3 epoch 1 [h1 2]", map[string]string{
			"started":     "running wanted running on h1@3 epoch 1 [h1 2]",
			"not started": "pending wanted running epoch 1",
			"stop":        "stopping wanted running on h1@3 epoch 1 [h1 2]",
			"lose":        "pending wanted running epoch 1",
		}},
		{"place, want stopped", "starting wanted stopped on h1@3 epoch 1 [h1 2]", map[string]string{
			"started":     "running wanted stopped on h1@3 epoch 1 [h1 2]",
			"not started": "stopped wanted stopped epoch 1",
			"stop":        "stopping wanted stopped on h1@3 epoch 1 [h1 2]",
			"lose":        "stopped wanted stopped epoch 1",
		}},
		{"place, not started, place, not started, place", "starting wanted running on h1@3 epoch 3 [h1 2]", map[string]string{
			"started":     "running wanted running on h1@3 epoch 3 [h1 2]",
			"not started": "failed wanted running epoch 3",
			"stop":        "stopping wanted running on h1@3 epoch 3 [h1 2]",
			"lose":        "pending wanted running epoch 3",
		}},
		{"place, not started, place, not started, place, not started", "failed wanted running epoch 3", nil},
		{"place, not started, place, not started, place, not started, want stopped, want running", "pending wanted running epoch 3", map[string]string{
			"place": "starting wanted running on h1@3 epoch 4 [h1 2]",
		}},
		{"place, started", "running wanted running on h1@3 epoch 1 [h1 2]", map[string]string{
			"again": "starting wanted running on h1@3 epoch 2 [h1 2]",
			"stop":  "stopping wanted running on h1@3 epoch 1 [h1 2]",
			"lose":  "pending wanted running epoch 1",
			"move":  "migrating wanted running asked->h2@0 on h1@3 epoch 1 [h1 2]",
		}},
		{"place, started, want deleted", "running wanted deleted on h1@3 epoch 1 [h1 2]", map[string]string{
			"again": "starting wanted deleted on h1@3 epoch 2 [h1 2]",
			"stop":  "stopping wanted deleted on h1@3 epoch 1 [h1 2]",
			"lose":  "deleted wanted deleted epoch 1",
		}},
		{"place, started, stop", "stopping wanted running on h1@3 epoch 1 [h1 2]", map[string]string{
			"left": "pending wanted running epoch 1",
			"lose": "pending wanted running epoch 1",
		}},
		{"place, started, want stopped, stop", "stopping wanted stopped on h1@3 epoch 1 [h1 2]", map[string]string{
			"left": "stopped wanted stopped epoch 1",
			"lose": "stopped wanted stopped epoch 1",
		}},
		{"place, started, want deleted, stop, left", "deleted wanted deleted epoch 1", nil},
		{"place, started, move", "migrating wanted running asked->h2@0 on h1@3 epoch 1 [h1 2]", map[string]string{
			"prepare": "migrating wanted running preparing->h2@5 on h1@3 epoch 1 [h1 2] [h2 2]",
			"abort":   "running wanted running on h1@3 epoch 1 [h1 2]",
			"lose":    "pending wanted running epoch 1",
		}},
		{"place, started, move, prepare", "migrating wanted running preparing->h2@5 on h1@3 epoch 1 [h1 2] [h2 2]", map[string]string{
			"await": "migrating wanted running ready->h2@5 on h1@3 epoch 1 [h1 2] [h2 2]",
			"abort": "running wanted running on h1@3 epoch 1 [h1 2]",
			"lose":  "pending wanted running epoch 1",
		}},
		{"place, started, move, prepare, await", "migrating wanted running ready->h2@5 on h1@3 epoch 1 [h1 2] [h2 2]", map[string]string{
			"commit": "migrating wanted running committed->h2@5 on h2@5 epoch 2 [h2 2]",
			"abort":  "running wanted running on h1@3 epoch 1 [h1 2]",
			"lose":   "pending wanted running epoch 1",
		}},
		{"place, started, move, prepare, await, commit", "migrating wanted running committed->h2@5 on h2@5 epoch 2 [h2 2]", map[string]string{
			"resumed": "running wanted running on h2@5 epoch 2 [h2 2]",
			"again":   "starting wanted running on h2@5 epoch 3 [h2 2]",
			"lose":    "pending wanted running epoch 2",
		}},
	} {
		var steps []string
		if x.steps != "" {
			steps = strings.Split(x.steps, ", ")
		}
		m := after(t, steps...)
		if m.String() != x.is {
			t.Errorf("after %q: %s, want %s", x.steps, m, x.is)
		}
		for _, name := range slices.Sorted(maps.Keys(moves)) {
			got, err := moves[name](m)
			want, legal := x.legal[name]
			if _, ok := wants[name]; ok {
				if deleted := m.vm.Desired == WantDeleted && name != "want deleted"; (err != nil) != deleted {
					t.Errorf("after %q, %s: %v", x.steps, name, err)
				}
				continue
			}
			switch {
			case legal && err != nil:
				t.Errorf("after %q, %s: %v", x.steps, name, err)
			case legal && got.String() != want:
				t.Errorf("after %q, %s: %s, want %s", x.steps, name, got, want)
			case !legal && err == nil:
				t.Errorf("after %q, %s is legal: %s", x.steps, name, got)
			case !legal && !reflect.DeepEqual(got.vm, m.vm):
				t.Errorf("after %q, %s was refused and did something: %s", x.steps, name, got)
			}
		}
	}
}

// TestMovesRemember what is to be counted and said.
func TestMovesRemember(t *testing.T) {
	m := after(t, "place", "not started")
	if m.vm.Failures != 1 || m.vm.Reason != "no image" || m.vm.NotOn != "h1" {
		t.Errorf("%+v", m.vm)
	}
	if m = after(t, "place", "not started", "place", "started"); m.vm.Failures != 0 || m.vm.Reason != "" || m.vm.NotOn != "" {
		t.Errorf("%+v", m.vm)
	}
	for steps, notOn := range map[string]string{
		"place, stop, left":                                   "h1", // it did not come up
		"place, started, stop, left":                          "",
		"place, want stopped, stop, left":                     "",
		"place, lose":                                         "",
		"place, not started, want stopped, want running":      "",
		"place, not started, place, lose":                     "h1",
		"place, not started, place, want stopped, stop, left": "h1",
	} {
		if m = after(t, strings.Split(steps, ", ")...); m.vm.NotOn != notOn {
			t.Errorf("after %q it is %+v, and is to be not on %q", steps, m.vm, notOn)
		}
	}
	m = after(t, "place", "started", "move", "abort")
	if m.vm.Migrations != 1 || m.vm.Reason != "no more" {
		t.Errorf("%+v", m.vm)
	}
	m = after(t, "place", "started", "move", "abort", "move")
	if m.vm.Migrations != 2 || m.vm.Migration.ID != 2 || m.vm.Migration.Source != "h1" || m.vm.Reason != "" {
		t.Errorf("%+v %+v", m.vm, m.vm.Migration)
	}
	for _, steps := range [][]string{
		{"place", "started", "move", "abort", "lose"}, {"place", "started", "move", "abort", "stop", "left"},
	} {
		if m = after(t, steps...); m.vm.State != Pending || m.vm.Reason != "" {
			t.Errorf("after %q it is %+v", steps, m.vm)
		}
	}
	if _, err := after(t, "place", "started").vm.Move("h1"); err == nil {
		t.Error("it is moved to where it is")
	}
}

// TestViewIsNotTakenBack by what comes late.
func TestViewIsNotTakenBack(t *testing.T) {
	v := &View{Revision: 5, VMs: map[string]Record[VM]{}, Hosts: map[string]Record[Host]{}, Alive: map[string]Record[Alive]{}, Guests: map[string]Record[Guests]{}}
	vm := NewVM("vm1", "t", 1, "", nil)
	put := func(mod uint64, d Desired) client.Event {
		vm.Desired = d
		return client.Event{KV: client.KeyValue{Key: VMKey("vm1"), Value: Encode(vm), Mod: mod}}
	}
	alive := func(mod uint64) client.Event {
		return client.Event{KV: client.KeyValue{Key: AliveKey("h1"), Value: Encode(Alive{Incarnation: mod}), Mod: mod}}
	}
	tell := func(revision uint64, events ...client.Event) {
		t.Helper()
		if err := v.Apply(client.Batch{Revision: revision, Events: events}); err != nil {
			t.Fatal(err)
		}
	}
	tell(4, put(4, WantRunning), alive(3))
	if len(v.VMs) > 0 || len(v.Alive) > 0 || v.Revision != 5 {
		t.Errorf("what is older than the view: %+v", v)
	}
	(&Change{}).VM(Record[VM]{}, vm).Apply(v, 8)
	tell(7, put(6, WantStopped), put(7, WantDeleted), alive(7))
	if got := v.VMs["vm1"]; got.Mod != 8 || got.Value.Desired != WantRunning || !v.Lives("h1", 7) || v.Revision != 7 {
		t.Errorf("what is older than a record: %+v", v)
	}
	tell(10, put(9, WantStopped), client.Event{Deleted: true, KV: client.KeyValue{Key: AliveKey("h1"), Mod: 10}})
	if got := v.VMs["vm1"]; got.Mod != 9 || got.Value.Desired != WantStopped || v.Lives("h1", 7) {
		t.Errorf("what is new: %+v", v)
	}
	if err := v.Apply(client.Batch{Revision: 11, Events: []client.Event{{KV: client.KeyValue{Key: HostKey("h1"), Value: []byte("?"), Mod: 11}}}}); err == nil {
		t.Error("a record that is damaged is read")
	}
}
