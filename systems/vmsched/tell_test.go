package vmsched

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis"
	store "github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// recorded returns a record that writes down what it is given, a line each.
func recorded(lines *[]string) func(string, any) error {
	return func(event string, value any) error {
		b, err := json.Marshal(value)
		*lines = append(*lines, event+" "+string(b))
		return err
	}
}

func same(t *testing.T, got []string, want string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.TrimSpace(want); g != w {
		t.Errorf("told:\n%s\nwant:\n%s", g, w)
	}
}

// TestRecords follows a machine through its life, as the store tells it.
func TestRecords(t *testing.T) {
	var told []string
	s := &System{cast: cast{plays: map[string]string{}}}
	known, revision := newTold(), uint64(10)
	at := func(events ...store.Event) {
		t.Helper()
		revision++
		for i := range events {
			events[i].KV.Mod = revision
		}
		must(t, s.tellBatch(known, store.Batch{Revision: revision, Events: events}, recorded(&told)))
	}
	put := func(key string, value []byte) store.Event {
		return store.Event{KV: store.KeyValue{Key: key, Value: value}}
	}
	machine := func(v state.VM) store.Event { return put(state.VMKey(v.ID), state.Encode(v)) }
	plays := func(role, want string) {
		t.Helper()
		got, err := s.Plays(t.Context(), role)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v; want %q", role, got, err, want)
		}
	}
	next := func(v state.VM, err error) state.VM {
		t.Helper()
		must(t, err)
		return v
	}
	n4 := state.Host{Name: "n4", Capacity: 8, Incarnation: 1}
	n5 := state.Host{Name: "n5", Capacity: 8, Incarnation: 3, Draining: true}

	at(put(state.AliveKey("n4"), state.Encode(state.Alive{Incarnation: 1})), put(state.HostKey("n4"), state.Encode(n4)))
	at(put(state.AliveKey("n4"), state.Encode(state.Alive{Incarnation: 1}))) // nothing new
	at(put(state.GuestsKey("n4"), state.Encode(state.Guests{Incarnation: 1})), put(state.TokenKey("t1"), []byte("vm1")))
	v := state.NewVM("vm1", "t1", 2, "g", nil)
	at(machine(v))
	v, n4, err := v.Place(n4)
	must(t, err)
	at(machine(v), put(state.HostKey("n4"), state.Encode(n4)))
	plays(nemesis.Source, "")
	v = next(v.Started())
	v = next(v.Move(""))
	at(machine(v))
	plays(nemesis.Source, "n4")
	plays(nemesis.Destination, "")
	v, _, err = v.Prepare(n5)
	must(t, err)
	at(machine(v))
	plays(nemesis.Destination, "n5")
	v = next(v.Await("10.0.0.5:1"))
	at(machine(v))
	v, _, err = v.Commit(n4)
	must(t, err)
	at(machine(v))
	v = next(v.Resumed())
	at(machine(v))
	plays(nemesis.Source, "n4")
	at(store.Event{Deleted: true, KV: store.KeyValue{Key: state.AliveKey("n4")}})
	at(put(state.AliveKey("n5"), state.Encode(state.Alive{Incarnation: 3})))
	at(put(state.AliveKey("n5"), state.Encode(state.Alive{Incarnation: 4}))) // in the place of the old one
	same(t, told, `
record {"revision":11,"more":true,"alive":{"host":"n4","incarnation":1}}
record {"revision":11,"host":{"host":"n4","alive":false,"incarnation":1,"capacity":8,"reserved":0}}
record {"revision":14,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"pending"}}
record {"revision":15,"more":true,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"starting","host":"n4","epoch":1,"incarnation":1}}
step {"step":"vm-placed"}
record {"revision":15,"host":{"host":"n4","alive":false,"incarnation":1,"capacity":8,"reserved":2,"reservations":{"vm1":2}}}
record {"revision":16,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"migrating","host":"n4","epoch":1,"phase":"asked","incarnation":1}}
step {"step":"migration-asked"}
record {"revision":17,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"migrating","host":"n4","epoch":1,"target":"n5","phase":"preparing","incarnation":1}}
step {"step":"migration-preparing"}
record {"revision":18,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"migrating","host":"n4","epoch":1,"target":"n5","phase":"ready","incarnation":1}}
step {"step":"migration-copying"}
record {"revision":19,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"migrating","host":"n5","epoch":2,"target":"n5","phase":"committed","incarnation":3}}
step {"step":"migration-committed"}
record {"revision":20,"vm":{"vm":"vm1","token":"t1","size":2,"group":"g","desired":"running","state":"running","host":"n5","epoch":2,"incarnation":3}}
step {"step":"migration-ended"}
record {"revision":21,"ended":{"host":"n4","incarnation":1}}
step {"step":"host-lost"}
record {"revision":22,"alive":{"host":"n5","incarnation":3}}
record {"revision":23,"more":true,"ended":{"host":"n5","incarnation":3}}
record {"revision":23,"alive":{"host":"n5","incarnation":4}}
`)
	garbled := store.Batch{Revision: 30, Events: []store.Event{put(state.VMKey("vm1"), []byte("{"))}}
	if err := s.tellBatch(known, garbled, recorded(&told)); err == nil {
		t.Error("what nobody can read is no error")
	}
	failed := errors.New("the file is full")
	if err := s.tellBatch(known, store.Batch{Events: []store.Event{machine(v)}}, func(string, any) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("after %v: %v", failed, err)
	}
}

func TestSigns(t *testing.T) {
	s := &System{beating: beating{last: map[int]beat{}}}
	path := filepath.Join(t.TempDir(), "probe")
	var err error
	s.pipe, err = makePipe(path)
	must(t, err)
	defer func() { must(t, s.pipe.Close()) }()
	teller, err := probe.Open(path)
	must(t, err)
	defer func() { must(t, teller.Close()) }()

	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	heard := make(chan struct{}, 10)
	ended := make(chan error)
	go func() {
		ended <- s.tellSigns(ctx, func(event string, value any) error {
			heard <- struct{}{}
			return recorded(&told)(event, value)
		})
	}()
	teller.Tell(probe.Event{Kind: probe.Boot, VM: "vm1", Host: "n4", Epoch: 1, PID: 77})
	teller.Tell(probe.Event{Kind: probe.Took, VM: "vm1", Host: "n8", Epoch: 1, Seq: 1})
	for range 2 {
		<-heard
	}
	if got := fmt.Sprint(s.Guests("n4"), s.Guests("n5")); got != "[{vm1 77}] []" {
		t.Errorf("guests are %s", got)
	}
	cancel()
	// What is in the pipe when it ends is told.
	_, err = s.pipe.WriteString(`{"kind":"beat","vm":"vm1","host":"n4","pid":78,"count":5,"acked":4,"lost":3}` + "\n")
	must(t, err)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n := len(told); n == 2 { // it was faster; then it is told to who asks next
		must(t, s.pipe.SetReadDeadline(time.Time{}))
		must(t, s.tellSigns(ctx, recorded(&told)))
	}
	same(t, told, `
boot {"vm":"vm1","host":"n4","epoch":1,"pid":77}
took {"vm":"vm1","host":"n8","epoch":1,"seq":1}
missed {"vm":"vm1","host":"n4","pid":78,"lost":3}
beat {"vm":"vm1","host":"n4","pid":78,"count":5,"acked":4}
`)
	for _, line := range []string{"{\n", `{"kind":"other"}` + "\n"} {
		_, err := s.pipe.WriteString(line)
		must(t, err)
		must(t, s.pipe.SetReadDeadline(time.Time{}))
		if err := s.tellSigns(ctx, recorded(&told)); err == nil {
			t.Errorf("told %q, it said nothing", line)
		}
	}
}

func TestWhoIsSilentIsNoGuest(t *testing.T) {
	s := &System{beating: beating{last: map[int]beat{}}}
	now := time.Now()
	s.beating.told(probe.Event{Kind: probe.Beat, VM: "vm1", Host: "n4", PID: 1}, now.Add(-2*silence))
	s.beating.told(probe.Event{Kind: probe.Beat, VM: "vm2", Host: "n4", PID: 2}, now)
	s.beating.told(probe.Event{Kind: probe.Resumed, VM: "vm3", Host: "n4", PID: 3}, now)
	s.beating.told(probe.Event{Kind: probe.Beat, VM: "vm4", Host: "n4", PID: 4}, now)
	s.beating.told(probe.Event{Kind: probe.Paused, VM: "vm4", Host: "n4", PID: 4}, now)
	got := s.Guests("n4")
	slices.SortFunc(got, func(a, b cluster.Guest) int { return a.PID - b.PID })
	if !slices.Equal(got, []cluster.Guest{{Name: "vm2", PID: 2}, {Name: "vm3", PID: 3}}) {
		t.Errorf("guests are %v", got)
	}
}
