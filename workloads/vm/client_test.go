package vm

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// stub says what it is told, and notes what it was asked.
type stub struct {
	answer  VM
	looks   []Snapshot // one after the other, the last for ever
	volumes map[string]Volume
	err     error

	asked []string
}

var told = workloads.Said{Node: "n2", Revision: 5}

func (s *stub) ask(words ...string) (Answer, error) {
	s.asked = append(s.asked, strings.Join(words, " "))
	return Answer{s.answer, told}, s.err
}

func (s *stub) tell(words ...string) (workloads.Said, error) {
	a, err := s.ask(words...)
	return a.Said, err
}

func (s *stub) Create(_ context.Context, token string, spec Spec) (Answer, error) {
	return s.ask(Create, token, string(encode(spec)))
}
func (s *stub) Get(_ context.Context, vm string) (Answer, error)     { return s.ask(Get, vm) }
func (s *stub) Start(_ context.Context, vm string) (Answer, error)   { return s.ask(Start, vm) }
func (s *stub) Stop(_ context.Context, vm string) (Answer, error)    { return s.ask(Stop, vm) }
func (s *stub) Delete(_ context.Context, vm string) (Answer, error)  { return s.ask(Delete, vm) }
func (s *stub) Migrate(_ context.Context, vm string) (Answer, error) { return s.ask(Migrate, vm) }

func (s *stub) Drain(_ context.Context, h string) (workloads.Said, error)  { return s.tell(Drain, h) }
func (s *stub) Cordon(_ context.Context, h string) (workloads.Said, error) { return s.tell(Cordon, h) }
func (s *stub) Uncordon(_ context.Context, h string) (workloads.Said, error) {
	return s.tell(Uncordon, h)
}

func (s *stub) Look(context.Context) (Snapshot, workloads.Said, error) {
	said, err := s.tell("look")
	if len(s.looks) == 0 {
		return Snapshot{}, said, err
	}
	look := s.looks[0]
	s.looks = s.looks[min(1, len(s.looks)-1):]
	return look, said, err
}

func (s *stub) Volumes(_ context.Context, vms []string) (map[string]Volume, error) {
	_, err := s.ask(append([]string{Volumes}, vms...)...)
	return s.volumes, err
}

func (s *stub) Close() error { return nil }

func invoked(t *testing.T, s *stub, op histories.Op) (workloads.Reply, error) {
	t.Helper()
	w := New(Options{}, func(context.Context, int) (Cluster, error) { return s, nil }, checker.Budget{})
	c, err := w.Open(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return c.Invoke(t.Context(), op)
}

// TestOpsBecomeCalls: each op is one call, and what it says is what the history has.
func TestOpsBecomeCalls(t *testing.T) {
	vm7 := VM{ID: "vm7", Token: "t3", Size: 1, Desired: "running", State: "migrating", Host: "n4", Epoch: 2, Target: "n5", Phase: "ready"}
	const answer = `["t3",{"vm":"vm7","token":"t3","size":1,"desired":"running","state":"migrating","host":"n4","epoch":2,"target":"n5","phase":"ready"}]`
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		stub     stub

		asked, reply string
		err          error
		definite     bool
	}{
		{f: Create, value: `["t3",{"size":1,"group":"g0"}]`, stub: stub{answer: vm7}, asked: `create t3 {"size":1,"group":"g0"}`, reply: answer},
		{f: Create, value: `["t3",{"size":1}]`, asked: `create t3 {"size":1}`, reply: `["t3",null]`}, // no such answer may be
		{f: Get, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7}, asked: "get vm7", reply: answer},
		{f: Get, value: `["t3",{"vm":"vm7"}]`, asked: "get vm7", reply: `["t3",null]`},
		{f: Start, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7}, asked: "start vm7", reply: answer},
		{f: Stop, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7}, asked: "stop vm7", reply: answer},
		{f: Delete, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7}, asked: "delete vm7", reply: answer},
		{f: Migrate, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7}, asked: "migrate vm7", reply: answer},
		{f: Migrate, value: `["t3",{"vm":"vm7"}]`, stub: stub{answer: vm7, err: silent}, asked: "migrate vm7", err: silent},
		{f: Stop, value: `["t3",{"vm":"vm7"}]`, stub: stub{err: workloads.Definite(silent)}, asked: "stop vm7", err: silent, definite: true},
		{f: Drain, value: `{"host":"n4"}`, asked: "drain n4"},
		{f: Cordon, value: `{"host":"n4"}`, asked: "cordon n4"},
		{f: Uncordon, value: `{"host":"n4"}`, asked: "uncordon n4"},
		{f: Uncordon, value: `{"host":"n4"}`, stub: stub{err: silent}, asked: "uncordon n4", err: silent},
		{f: Settle, stub: stub{err: silent}, asked: "look", err: silent},
		{f: Rest, stub: stub{err: silent}, asked: "look", err: silent},
		{
			f: Volumes, value: `["vm1","vm7"]`, asked: "volumes vm1 vm7", reply: `{"vm7":{"last":33,"extents":[[1,1,20],[2,21,33]]}}`,
			stub: stub{volumes: map[string]Volume{"vm7": {Last: 33, Extents: [][3]uint64{{1, 1, 20}, {2, 21, 33}}}}},
		},
		{f: Volumes, value: `["vm7"]`, stub: stub{err: silent}, asked: "volumes vm7", err: silent},
	} {
		reply, err := invoked(t, &test.stub, histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		if got := strings.Join(test.stub.asked, "; "); got != test.asked || string(reply.Value) != test.reply {
			t.Errorf("%s %s: asked %q, replied %s; want %q, %s", test.f, test.value, got, reply.Value, test.asked, test.reply)
		}
		if !errors.Is(err, test.err) || workloads.IsDefinite(err) != test.definite {
			t.Errorf("%s %s: got %v", test.f, test.value, err)
		}
		if test.f != Volumes && (reply.Node != told.Node || string(reply.Meta) != `{"revision":5}`) {
			t.Errorf("%s %s: got %s of %q", test.f, test.value, reply.Meta, reply.Node)
		}
		in, err := parseInput(test.f, json.RawMessage(test.value))
		if got := string(in.payload(test.f)); err != nil || got != test.value {
			t.Errorf("%s %s: written anew it is %s: %v", test.f, test.value, got, err)
		}
	}
}

// TestUnreadable: nothing is asked for by an op that says nothing.
func TestUnreadable(t *testing.T) {
	for f, values := range map[string][]string{
		Create: {`7`, `["t3"]`, `["t3",7]`}, Get: {`["t3",{}]`, `["t3",null]`, `["t3",[]]`, `{}`},
		Drain: {`{}`, `7`}, Volumes: {`7`}, "read": {`["t3",null]`}, Record: {`{}`},
	} {
		for _, value := range values {
			s := &stub{}
			if _, err := invoked(t, s, histories.Op{F: f, Value: json.RawMessage(value)}); !workloads.IsDefinite(err) || len(s.asked) > 0 {
				t.Errorf("%s %s: asked %q, got %v", f, value, s.asked, err)
			}
		}
	}
}

// TestAtRest: what is at rest, and what is not.
func TestAtRest(t *testing.T) {
	room := Host{Name: "n4", Alive: true, Capacity: 4, Reserved: 3}
	full, dead, cordoned, draining := room, room, room, room
	full.Reserved, dead.Alive, cordoned.Cordoned, draining.Draining = 4, false, true, true
	pending := VM{ID: "vm1", Size: 1, Group: "g0", Desired: "running", State: "pending", Reason: "no host has room"}
	labelled, ssd := pending, room
	labelled.Labels, ssd.Labels = map[string]string{"disk": "ssd"}, map[string]string{"disk": "ssd"}
	for _, test := range []struct {
		vm   VM
		host Host
		with []VM
		want bool
	}{
		{vm: VM{Desired: "running", State: "running"}, want: true},
		{vm: VM{Desired: "stopped", State: "stopped"}, want: true},
		{vm: VM{Desired: "deleted", State: "deleted"}, want: true},
		{vm: VM{Desired: "running", State: "failed", Reason: "no image"}, want: true},
		{vm: VM{Desired: "running", State: "failed"}},
		{vm: VM{Desired: "deleted", State: "failed", Reason: "no image"}},
		{vm: VM{Desired: "running", State: "starting"}},
		{vm: VM{Desired: "running", State: "migrating", Phase: "ready"}},
		{vm: VM{Desired: "running", State: "running", Phase: "asked"}},
		{vm: VM{Desired: "running", State: "stopped"}},
		{vm: VM{Desired: "stopped", State: "running"}},
		{vm: VM{Desired: "stopped", State: "stopping"}},
		{vm: VM{Desired: "deleted", State: "stopped"}},
		{vm: VM{Desired: "running", State: "pending"}, host: full},
		{vm: pending, host: full, want: true},
		{vm: pending, host: dead, want: true},
		{vm: pending, host: cordoned, want: true},
		{vm: pending, host: draining, want: true},
		{vm: pending, host: room},
		{vm: labelled, host: room, want: true},
		{vm: labelled, host: ssd},
		{vm: pending, host: room, with: []VM{{ID: "vm2", Group: "g0", Host: "n4"}}, want: true},
		{vm: pending, host: room, with: []VM{{ID: "vm2", Group: "g0", Host: "n5", Target: "n4"}}, want: true},
		{vm: pending, host: room, with: []VM{{ID: "vm2", Group: "g1", Host: "n4"}, {ID: "vm3", Group: "g0", Host: "n5"}}},
	} {
		if got := test.vm.atRest(Snapshot{VMs: append(test.with, test.vm), Hosts: []Host{test.host}}); got != test.want {
			t.Errorf("%+v on %+v with %v: got %v", test.vm, test.host, test.with, got)
		}
	}
}

// TestLooks: a look that finds something on the move fails, says so, and keeps what it saw;
// a rest fails if something has changed, and only then.
func TestLooks(t *testing.T) {
	still := Snapshot{
		Revision: 7, VMs: []VM{{ID: "vm1", Desired: "running", State: "running", Host: "n4", Epoch: 3}, {ID: "vm2", Desired: "stopped", State: "stopped"}},
		Hosts: []Host{{Name: "n4", Alive: true, Capacity: 4, Reserved: 1, Guests: map[string]uint64{"vm1": 3}}},
	}
	changed := func(change func(*Snapshot)) Snapshot {
		s := still
		s.VMs, s.Hosts = slices.Clone(s.VMs), slices.Clone(s.Hosts)
		change(&s)
		return s
	}
	moves := changed(func(s *Snapshot) { s.VMs[0].State, s.VMs[0].Phase = "migrating", "ready" })
	crowd := changed(func(s *Snapshot) {
		s.VMs = slices.Repeat([]VM{{ID: "vm9", Desired: "stopped", State: "stopping"}}, 7)
	})
	for _, test := range []struct {
		f     string
		looks []Snapshot
		error string
	}{
		{f: Settle, looks: []Snapshot{still}},
		{f: Settle, looks: []Snapshot{moves}, error: "vm1 is migrating (ready), wanted running, on n4"},
		{f: Settle, looks: []Snapshot{crowd}, error: strings.Repeat("vm9 is stopping, wanted stopped; ", 5) + "and 2 more"},
		{f: Rest, looks: []Snapshot{moves, still}, error: "vm1 has changed"},
		{f: Rest, looks: []Snapshot{still, moves}, error: "vm1 is migrating (ready), wanted running, on n4; vm1 has changed"},
		{f: Rest, looks: []Snapshot{still, still}},
		{f: Rest, looks: []Snapshot{still, changed(func(s *Snapshot) { s.Revision = 8; slices.Reverse(s.VMs) })}},
		{f: Rest, looks: []Snapshot{still, changed(func(s *Snapshot) { s.VMs[0].Epoch++ })}, error: "vm1 has changed"},
		{f: Rest, looks: []Snapshot{still, changed(func(s *Snapshot) { s.VMs = s.VMs[:1] })}, error: "vm2 is gone"},
		{f: Rest, looks: []Snapshot{still, changed(func(s *Snapshot) { s.Hosts[0].Guests = nil })}, error: "n4 has changed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &stub{looks: test.looks}
			last := encode(test.looks[len(test.looks)-1])
			begun := time.Now()
			reply, err := invoked(t, s, histories.Op{F: test.f})
			if took := time.Since(begun); test.f == Rest && took != restPause || len(s.asked) != len(test.looks) {
				t.Errorf("%s: %d looks in %v", test.f, len(s.asked), took)
			}
			op := histories.Op{F: test.f, Type: histories.OK, Value: reply.Value, Meta: reply.Meta}
			if test.error != "" {
				op.Type, op.Value = histories.Fail, nil
				if !workloads.IsDefinite(err) || err.Error() != test.error || reply.Value != nil {
					t.Errorf("%s: got %v, %s; want %s", test.f, err, reply.Value, test.error)
				}
			} else if err != nil || string(reply.Meta) != `{"revision":5}` {
				t.Errorf("%s: got %v, %s", test.f, err, reply.Meta)
			}
			if got, ok, err := found(op); err != nil || !ok || string(encode(got)) != string(last) {
				t.Errorf("%s: found %s, %v, %v; want %s", test.f, encode(got), ok, err, last)
			}
		})
	}
}

// TestRestEnds: who waits for nothing to happen stops when there is no time left. That
// says nothing of what was there.
func TestRestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), restPause/2)
		defer cancel()
		begun := time.Now()
		reply, err := rest(ctx, &stub{})
		if !errors.Is(err, context.DeadlineExceeded) || workloads.IsDefinite(err) || time.Since(begun) != restPause/2 {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
		if _, ok, err := found(histories.Op{F: Rest, Type: histories.Info, Meta: reply.Meta}); ok || err != nil {
			t.Errorf("found something: %v", err)
		}
	})
}
