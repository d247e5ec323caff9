package nemesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

// estate are the parts of a system of eight nodes.
var estate = []cluster.Part{
	{Name: cluster.PartControl, Nodes: nodes(8)[:3]},
	{Name: cluster.PartHost, Nodes: nodes(8)[3:7]},
	{Name: cluster.PartStorage, Nodes: nodes(8)[7:]},
}

// ofHosts are the faults of other parts than the first.
var ofHosts = []Fault{
	HostKill(), HostPause(), HostRestart(), HostClock(), HostPartition(), GuestKill(), AgentRestart(), StorageKill(), StorageDisk(),
}

// newEstate returns what there is to break of that system. On each host run two guests.
func newEstate() (*machines, Env) {
	p, env := newPlates(8)
	clocks, _ := newWatches(8)
	for i, host := range estate[1].Nodes {
		p.guests[host] = []cluster.Guest{{Name: fmt.Sprintf("vm%d", 2*i+1), PID: 1001 + 2*i}, {Name: fmt.Sprintf("vm%d", 2*i+2), PID: 1002 + 2*i}}
	}
	return p.machines, Env{
		System: "estate", Nodes: estate[0].Nodes, Parts: estate, Processes: p.machines, Start: p.Start,
		Network: &nemesistest.Network{}, Disks: p, Clocks: clocks, Resources: env.Resources, Guests: p.machines,
	}.withBooks()
}

// Guests implements cluster.Hosting.
func (m *machines) Guests(host string) []cluster.Guest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.guests[host])
}

// A cast says by role who plays it; of a role that "" plays, nobody has.
type cast map[string]string

func (c cast) Roles() []string { return slices.Sorted(maps.Keys(c)) }
func (c cast) Plays(_ context.Context, role string) (string, error) {
	if c[role] == "" {
		return "", errors.New("nobody has played it")
	}
	return c[role], nil
}

// nodesHit returns the nodes that a fault in force has hit, and their part.
func nodesHit(h Held) ([]string, string) { return hit(encode(h.Detail())) }

// TestFaultsHitThePartThatTheyAreOf, and what is drawn is the seed's.
func TestFaultsHitThePartThatTheyAreOf(t *testing.T) {
	for _, f := range append([]Fault{Kill(), Pause(), Clock(), Disk()}, ofHosts...) {
		in, of := nodesOf(estate, cmp.Or(f.Part, cluster.PartControl)), map[string]bool{}
		for seed := range uint64(40) {
			_, env := newEstate()
			b := breaker(t, f, env, f.Name)
			detail := encode(b.Draw(drawing(seed)))
			_, other := newEstate()
			if again := encode(breaker(t, f, other, f.Name).Draw(drawing(seed))); !slices.Equal(detail, again) {
				t.Fatalf("%s: seed %d drew\n%s and\n%s", f.Name, seed, detail, again)
			}
			h, err := b.Begin(t.Context(), detail)
			if err != nil {
				t.Fatalf("%s: %s: %v", f.Name, detail, err)
			}
			hits, part := nodesHit(h)
			if s, ok := h.Detail().(Strike); ok && s.Variant == restartRolling {
				hits, part = s.Order, f.Part
			}
			if len(hits) == 0 || part != f.Part {
				t.Errorf("%s hits %v of the part %q", f.Name, hits, part)
			}
			for _, node := range hits {
				of[node] = true
				if !slices.Contains(in, node) {
					t.Errorf("%s hits %s", f.Name, node)
				}
			}
			if _, _, err := h.End(t.Context()); err != nil {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
		if want := len(in); len(of) != want && f.Name != "disk" { // which keeps to a minority
			t.Errorf("%s hits only %v", f.Name, of)
		}
	}
}

// TestLabIsTakenApart: what a system says of itself is what there is to break.
func TestLabIsTakenApart(t *testing.T) {
	m, _ := newEstate()
	e := NewEnv(emptyLab{nodes: 8}, whole{emptySystem{}, m, cast{Source: "n4"}}).withBooks()
	if e.System != "empty" || !slices.Equal(e.Nodes, nodes(3)) || !reflect.DeepEqual(e.Parts, estate) || e.Guests == nil || e.Cast == nil || e.ClockRate != 1.5 || !e.Steps {
		t.Errorf("got %+v", e)
	}
	host, err := e.part(cluster.PartHost)
	if err != nil || !slices.Equal(host.Nodes, nodes(8)[3:7]) || host.guard == e.guard || host.cuts != e.cuts || host.clocks != e.clocks {
		t.Errorf("got %+v, %v", host, err)
	}
	e = NewEnv(emptyLab{nodes: 8}, emptySystem{})
	if !slices.Equal(e.Nodes, nodes(8)) || e.Parts != nil || e.Guests != nil || e.Cast != nil || e.ClockRate != 0 || e.Steps {
		t.Errorf("got %+v", e)
	}
}

type emptyLab struct {
	cluster.Lab
	nodes int
}

func (l emptyLab) Nodes() (all []cluster.Node) {
	for _, name := range nodes(l.nodes) {
		all = append(all, cluster.Node{Name: name})
	}
	return all
}
func (emptyLab) Network() cluster.Network     { return nil }
func (emptyLab) Disks() cluster.Disks         { return nil }
func (emptyLab) Clocks() cluster.Clocks       { return nil }
func (emptyLab) Resources() cluster.Resources { return nil }

type emptySystem struct{ cluster.System }

func (emptySystem) Name() string { return "empty" }

type whole struct {
	emptySystem
	cluster.Hosting
	cluster.Cast
}

func (whole) Parts() []cluster.Part                               { return estate }
func (whole) ClockRate() float64                                  { return 1.5 }
func (whole) Tell(context.Context, func(string, any) error) error { return nil }

// TestPartsHaveBooksOfTheirOwn: a host that is down is no reason to leave a control node
// alone, and hosts are no quorum, but one fault at a time has a host's processes.
func TestPartsHaveBooksOfTheirOwn(t *testing.T) {
	m, env := newEstate()
	all := map[string]Held{}
	for f, spec := range map[string]string{"kill": "kill:majority", "host-kill": "host-kill:all", "storage-kill": "storage-kill"} {
		h, err := begin(t, breaker(t, *find(append(ofHosts, Kill()), f), env, spec), 1)
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		all[f] = h
	}
	if n := len(m.running()); n != 1 {
		t.Errorf("%d nodes run", n)
	}
	for _, spec := range []string{"host-pause", "host-kill:n5", "agent-restart", "storage-disk:power", "pause:all", "host-restart:down:one", "host-clock:jump"} {
		f := *find(append(ofHosts, Pause()), strings.Split(spec, ":")[0])
		if _, err := begin(t, breaker(t, f, env, spec), 1); !errors.Is(err, errGuarded) {
			t.Errorf("%s beside faults that hold all: %v", spec, err)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(all)) {
		if acted, _, err := all[f].End(t.Context()); err != nil || acted == 0 {
			t.Errorf("%s: acted %d, %v", f, acted, err)
		}
	}
	if n := len(m.running()); n != 8 {
		t.Errorf("%d nodes run", n)
	}

	// Several faults have each a part of the hosts: more than a minority together.
	var held []Held
	for _, spec := range []string{"host-kill:n4", "host-pause:n5", "host-kill:n6", "host-pause:n7"} {
		h, err := begin(t, breaker(t, *find(ofHosts, strings.Split(spec, ":")[0]), env, spec), 1)
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		held = append(held, h)
	}
	for _, h := range held {
		if acted, _, err := h.End(t.Context()); err != nil || acted != 1 {
			t.Errorf("acted %d, %v", acted, err)
		}
	}
	for _, e := range env.each() {
		if len(e.guard.holds) != 0 {
			t.Errorf("the books of %q: %v", e.of, e.guard.holds)
		}
	}
}

// TestWhoHasEndedIsStartedAgainInEveryPart, when no fault holds it any more.
func TestWhoHasEndedIsStartedAgainInEveryPart(t *testing.T) {
	m, env := newEstate()
	for _, spec := range []string{"kill:n2", "host-kill:n5", "storage-kill:n8"} {
		h, err := begin(t, breaker(t, *find(append(ofHosts, Kill()), strings.Split(spec, ":")[0]), env, spec), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.End(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"n2", "n5", "n6", "n8"} {
		if err := m.Kill(node); err != nil {
			t.Fatal(err)
		}
	}
	m.fails["start n2"] = errors.New("out of order")
	p := &performer{env: env}
	if got, err := p.Revive(); !slices.Equal(got, []string{"n5", "n8"}) || err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("started %v, %v", got, err) // n6 was not hit, and one that fails is in nobody's way
	}
	m.fails = nil
	if got, err := p.Revive(); !slices.Equal(got, []string{"n2"}) || err != nil {
		t.Errorf("started %v, %v", got, err)
	}
}

// TestOneNodeIsAPart: it is drawn as one, and there is no minority of it.
func TestOneNodeIsAPart(t *testing.T) {
	m, env := newEstate()
	for seed := range uint64(20) {
		for _, spec := range []string{"storage-kill", "storage-disk:power", "storage-disk:full", "storage-disk:slow"} {
			h, err := begin(t, breaker(t, *find(ofHosts, strings.Split(spec, ":")[0]), env, spec), seed)
			if err != nil {
				t.Fatalf("%s: %v", spec, err)
			}
			if nodes, part := nodesHit(h); !slices.Equal(nodes, []string{"n8"}) || part != cluster.PartStorage {
				t.Errorf("%s hits %v of %s", spec, nodes, part)
			}
			if acted, _, err := h.End(t.Context()); err != nil || acted == 0 || m.running()["n8"] == 0 {
				t.Errorf("%s: acted %d, %v", spec, acted, err)
			}
		}
	}
	env.Parts[1].Nodes = env.Parts[1].Nodes[:1:1]
	defer func() { env.Parts[1].Nodes = nodes(8)[3:7] }()
	b := breaker(t, HostKill(), env, "host-kill")
	for range 20 {
		if s := b.Draw(drawing(1)).(*Strike); s.Count != 1 || s.Target == Minority {
			t.Errorf("of one host, drew %+v", s)
		}
	}
}

func TestFaultsOfPartsAreRefusedWhereTheyCannotBe(t *testing.T) {
	_, full := newEstate()
	with := func(change func(e *Env)) Env {
		e := full
		change(&e)
		return e
	}
	bare := Env{System: "raftkv", Nodes: nodes(3), Processes: full.Processes, Start: full.Start, Network: full.Network}.withBooks()
	for _, test := range []struct {
		env        Env
		spec, want string
	}{
		{bare, "host-kill", "raftkv has no hosts"},
		{bare, "host-partition:storage", "raftkv has no hosts"},
		{bare, "guest-kill:source", "raftkv has no hosts"},
		{bare, "agent-restart:n2", "raftkv has no hosts"},
		{bare, "storage-kill", "raftkv has no storage nodes"},
		{Env{Nodes: nodes(3)}, "host-kill", "the system has no hosts"},
		{bare, "kill:scheduler", "raftkv has no scheduler"},
		{full, "kill:scheduler", "estate has no scheduler"},
		{full, "host-kill:source", "estate has no source"},
		{full, "host-kill:n2", "n2 is no host; there are n4, n5, n6, n7"},
		{full, "kill:n5", "n5 is no control node; there are n1, n2, n3"},
		{full, "storage-kill:n7", "n7 is no storage node; there are n8"},
		{with(func(e *Env) { e.Guests = nil }), "guest-kill", "does not tell what guests run"},
		{with(func(e *Env) { e.Guests = nil }), "agent-restart", "does not tell what guests run"},
		{with(func(e *Env) { e.Processes = nil }), "guest-kill", "there are no processes"},
		{with(func(e *Env) { e.Network = nil }), "host-partition", "there is no network"},
		{with(func(e *Env) { e.Clocks = nil }), "host-clock", "no clocks"},
		{with(func(e *Env) { e.Parts = estate[:2] }), "host-partition:storage", "estate has no storage nodes"},
		{with(func(e *Env) { e.Parts = estate[1:] }), "host-partition:management", "estate has no control nodes"},
		{with(func(e *Env) { e.Limits = map[string]string{"storage-disk:full": ""} }), "storage-disk:full", ""},
	} {
		specs, err := Parse(append(ofHosts, Kill()), test.spec)
		if err != nil {
			t.Fatal(err)
		}
		_, err = find(append(ofHosts, Kill()), specs[0].Fault).New(test.env, specs[0])
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.spec, err, test.want)
		}
	}
	for _, spec := range []string{"host-kill:leader", "kill:source", "storage-kill:minority", "storage-disk:eio", "host-partition:ring"} {
		if _, err := Parse(append(ofHosts, Kill()), spec); err == nil {
			t.Errorf("%s can be asked for", spec)
		}
	}
}

// TestAllKnowsNothingOfOtherSystems: what a system has no part for is not left out.
func TestAllKnowsNothingOfOtherSystems(t *testing.T) {
	_, env := newEstate()
	table := append([]Fault{Kill(), Leader()}, ofHosts...)
	names := func(env Env) (all, left []string) {
		m := &making{faults: table, env: env, performer: &performer{breakers: map[string]Breaker{}}}
		_, asked, leftOut, err := m.specs([]Spec{{Fault: All}})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range asked {
			all = append(all, a.spec.Fault)
		}
		return all, leftOut
	}
	all, left := names(env)
	if len(all) != len(table)-1 || len(left) != 1 || !strings.Contains(left[0], "leader") {
		t.Errorf("of estate, all is %v without %v", all, left)
	}
	env.Parts, env.guards = nil, nil
	all, left = names(env)
	if !slices.Equal(all, []string{"kill"}) || len(left) != 1 || !strings.Contains(left[0], "leader") {
		t.Errorf("of a system without parts, all is %v without %v", all, left)
	}
	for _, f := range table {
		if f.In(nil) != (f.Part == "") || !f.In(estate) {
			t.Errorf("%s is in a system without parts, or not in estate", f.Name)
		}
	}
}

func TestRolesAreWhoPlaysThemWhenAFaultBegins(t *testing.T) {
	m, env := newEstate()
	plays := cast{Scheduler: "n2", Source: "n5", Destination: ""}
	env.Cast = plays
	hits := func(spec string) (string, error) {
		f := *find(append(ofHosts, Kill(), Clock()), strings.Split(spec, ":")[0])
		h, err := begin(t, breaker(t, f, env, spec), 3)
		if err != nil {
			return "", err
		}
		defer func() {
			if _, _, err := h.End(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		nodes, _ := nodesHit(h)
		return strings.Join(nodes, " "), nil
	}
	expect := func(spec, want string) {
		t.Helper()
		if got, err := hits(spec); got != want || err != nil {
			t.Errorf("%s hit %q, want %q: %v", spec, got, want, err)
		}
	}
	fails := func(spec, want string) {
		t.Helper()
		if got, err := hits(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s hit %q: %v, want %s", spec, got, err, want)
		}
	}
	expect("kill:scheduler", "n2")
	expect("guest-kill:source", "n5")
	expect("host-kill:source", "n5")
	expect("clock:jump:scheduler", "n2")
	expect("agent-restart:source", "n5")
	expect("host-partition:both:source", "n5")
	fails("host-kill:target", "find the target: nobody has played it")
	plays[Source], plays[Destination], plays[Scheduler] = "n7", "n4", "n8"
	expect("host-pause:source", "n7")
	expect("host-kill:target", "n4")
	fails("kill:scheduler", `find the scheduler: "n8" is no control node`)

	// They are drawn, if there are any.
	drawn := map[string]int{}
	b, r := breaker(t, HostKill(), env, "host-kill"), drawing(1)
	for range 60 {
		drawn[b.Draw(r).(*Strike).Target]++
	}
	if want := (map[string]int{One: 10, Minority: 10, Majority: 10, AllNodes: 10, Source: 10, Destination: 10}); !maps.Equal(drawn, want) {
		t.Errorf("drew %v", drawn)
	}
	env.Cast = nil
	b = breaker(t, HostKill(), env, "host-kill")
	for range 60 {
		if s := b.Draw(r).(*Strike); s.Target == Source || s.Target == Destination {
			t.Errorf("drew %v of a system without roles", s.Target)
		}
	}
	if n := len(m.running()); n != 8 {
		t.Errorf("%d nodes run", n)
	}
}

// TestNobodyWaitsForARole for long.
func TestNobodyWaitsForARole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, env := newEstate()
		env.Cast = mute{}
		begun := time.Now()
		_, err := begin(t, breaker(t, HostKill(), env, "host-kill:source"), 1)
		if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took != leaderLimit {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

type mute struct{}

func (mute) Roles() []string { return []string{Source} }
func (mute) Plays(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// TestMonotonicClocksKeepWithinWhatASystemBears, be they those of several faults.
func TestMonotonicClocksKeepWithinWhatASystemBears(t *testing.T) {
	_, env := newEstate()
	for bound, want := range map[float64]float64{1.25: 1.25, 1.0001: 1.0001, 0: 4} {
		env.ClockRate = bound
		slow, fast := 1., 1.
		r := drawing(9)
		for _, f := range []Fault{Clock(), HostClock()} {
			b := breaker(t, f, env, f.Name+":monotonic")
			for range 500 {
				for _, w := range b.Draw(r).(*Warping).Drawn {
					slow, fast = min(slow, 1+w.MonotonicDrift), max(fast, 1+w.MonotonicDrift)
				}
			}
		}
		if ratio := fast / slow; ratio > want || ratio < 1+(want-1)*.95 {
			t.Errorf("bound %v: clocks run at %v to %v, which is %v", bound, slow, fast, ratio)
		}
	}
}

// TestDetailOfAPartIsAimedAtIt, or refused before anything begins.
func TestDetailOfAPartIsAimedAtIt(t *testing.T) {
	_, env := newEstate()
	env.Cast = cast{Source: "n5"}
	for _, test := range []struct{ fault, target, detail, want string }{
		{"host-kill", "", `{"target":"one","order":["n4","n7"],"count":1}`, ""},
		{"host-kill", "source", `{"target":"source","count":1}`, ""},
		{"host-kill", "", `{"target":"one","order":["n4","n3"],"count":1}`, "n3 is no host"},
		{"host-kill", "", `{"target":"target","count":1}`, "estate has no target"},
		{"storage-kill", "", `{"target":"one","order":["n7"],"count":1}`, "n7 is no storage node"},
		{"host-partition", "", `{"variant":"storage","target":"n4","count":1,"direction":"inbound"}`, ""},
		{"host-partition", "", `{"variant":"air","target":"n4","count":1}`, `"air" is no plane`},
		{"host-partition", "", `{"variant":"both","target":"n4","count":1,"direction":"up"}`, `"up" is no direction`},
		{"guest-kill", "", `{"target":"n4","count":1,"each":1,"sead":3}`, `unknown field "sead"`},
	} {
		_, err := New(ofHosts, env, Options{
			Interval: time.Second, Timetable: []Entry{{Spec: Spec{Fault: test.fault, Target: test.target}, Detail: []byte(test.detail)}},
		})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: got %v, want %q", test.fault, test.detail, err, test.want)
		}
	}
}

// TestPolicyChoosesAmongRoles that there are.
func TestPolicyChoosesAmongRoles(t *testing.T) {
	_, env := newEstate()
	m := &making{faults: ofHosts, env: env, performer: &performer{breakers: map[string]Breaker{}}}
	roles := func() int {
		a, err := m.asked(Spec{Fault: "host-kill"})
		if err != nil {
			t.Fatal(err)
		}
		return len(m.roles(a))
	}
	if n := roles(); n != 4 {
		t.Errorf("without a cast, hosts have %d roles", n)
	}
	m.env.Cast = cast{Source: "n4", Destination: "n5"}
	if n := roles(); n != 6 {
		t.Errorf("with a cast, hosts have %d roles", n)
	}
}

// TestTimetableNamesPartsRolesAndSteps, and who has none of them is told which.
func TestTimetableNamesPartsRolesAndSteps(t *testing.T) {
	entries, err := ReadTimetable(ofHosts, strings.NewReader(`
- {on: migration-committed, fault: "host-kill:source", for: 2s}
- {on: migration-copying +0..20ms, fault: "host-partition:management", target: target}
- {at: 1s, fault: guest-kill, target: n5}
`), "plan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, env := newEstate()
	env.Cast, env.Steps = cast{Source: "n4", Destination: "n5"}, true
	if _, err := New(ofHosts, env, Options{Interval: time.Second, Timetable: entries}); err != nil {
		t.Error(err)
	}
	var written strings.Builder
	if err := WriteTimetable(&written, entries); err != nil {
		t.Fatal(err)
	}
	if again, err := ReadTimetable(ofHosts, strings.NewReader(written.String()), "plan.yaml"); err != nil || !reflect.DeepEqual(again, entries) {
		t.Errorf("wrote\n%s\nand read %+v, %v", written.String(), again, err)
	}
	env.Steps = false
	if _, err := New(ofHosts, env, Options{Interval: time.Second, Timetable: entries}); err == nil || err.Error() != "fault host-kill:source on migration-committed: estate tells no steps" {
		t.Errorf("got %v", err)
	}
	env.Parts = nil
	if _, err := New(ofHosts, env, Options{Interval: time.Second, Timetable: entries[2:]}); err == nil || err.Error() != "fault guest-kill:n5: estate has no hosts" {
		t.Errorf("got %v", err)
	}
}
