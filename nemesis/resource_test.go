package nemesis

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// A limitedMachine is one that runs short.
type limitedMachine struct {
	cluster.Limit
	node  string
	of    *machines
	acted uint64
}

func (l *limitedMachine) Seen() map[string]uint64 { return map[string]uint64{"acted": l.acted} }

func (l *limitedMachine) End() error {
	return l.of.do("lift", l.node, func() error { delete(l.of.limit, l.node); return nil })
}

func (m *machines) Limit(node string, l cluster.Limit) (cluster.Impairment, error) {
	i := &limitedMachine{Limit: l, node: node, of: m}
	return i, m.do("limit", node, func() error { m.limit[node] = i; return nil })
}

func (m *machines) Usage(node string) (cluster.Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used[node], nil
}

func (m *machines) Method() string { return "words" }

func TestShortagesAreOfWhatIsInUse(t *testing.T) {
	m, env := newMachines(5)
	for i, node := range env.Nodes {
		m.used[node] = cluster.Usage{Memory: int64(i+1) << 20, Files: 10 * (i + 1)}
	}
	drawn := map[string]int{}
	for seed := range uint64(60) {
		h, err := begin(t, breaker(t, Resource(), env, "resource"), seed)
		if err != nil {
			t.Fatal(err)
		}
		s := h.Detail().(Shortage)
		drawn[s.Variant]++
		if len(s.Limits) != len(s.Nodes) || !slices.Equal(slices.Sorted(maps.Keys(s.Limits)), slices.Sorted(slices.Values(s.Nodes))) {
			t.Fatalf("it hits %v, and limits %v", s.Nodes, s.Limits)
		}
		for node, l := range s.Limits {
			u := m.used[node]
			memory, files := float64(l.Memory)/float64(u.Memory), int(l.Files)-u.Files
			var ok bool
			switch s.Variant {
			case "cpu":
				ok = l == cluster.Limit{CPU: l.CPU} && l.CPU >= 0.03 && l.CPU <= 0.5
			case "memory":
				ok = l == cluster.Limit{Memory: l.Memory} && memory > 0.84 && memory < 1.16
			case "files":
				ok = l == cluster.Limit{Files: l.Files} && files >= -3 && files <= 3
			}
			if !ok || m.limit[node].Limit != l {
				t.Errorf("%s: of %+v %s has %+v, and in truth %+v", s.Variant, u, node, l, m.limit[node].Limit)
			}
		}
		if acted, _, err := h.End(t.Context()); err != nil || acted != 0 || len(m.limit) != 0 {
			t.Errorf("acted %d: %v; limits %v", acted, err, m.limit)
		}
	}
	if len(drawn) != 3 {
		t.Errorf("drawn: %v", drawn)
	}
}

func TestWhoeverEndsForWantOfSomethingIsStartedAgain(t *testing.T) {
	for _, spec := range []string{"resource:memory:n2", "resource:files:n2"} {
		m, env := newMachines(3)
		h, err := begin(t, breaker(t, Resource(), env, spec), 3)
		if err != nil {
			t.Fatal(err)
		}
		m.limit["n2"].acted = 4
		m.end("n2")
		m.did, m.fails["lift n2"] = nil, errors.New("not yet")
		if _, _, err := h.End(t.Context()); err == nil || m.running()["n2"] != 0 {
			t.Errorf("%s: it is still limited: %v; %v run", spec, err, m.running())
		}
		m.fails = nil
		acted, evidence, err := h.End(t.Context())
		short := evidence.(map[string]*Short)["n2"]
		if err != nil || acted != 4 || short.Ended != 2 || short.Again != m.running()["n2"] || short.Again == 0 || short.Seen["acted"] != 4 {
			t.Errorf("%s: acted %d, %v: %+v; %v run", spec, acted, err, short, m.running())
		}
		if got := m.did[len(m.did)-1]; got != "start n2" || len(env.guard.holds) != 0 {
			t.Errorf("%s: did %v; books: %v", spec, m.did, env.guard.holds)
		}
	}
}

// A slowDeath kills at the last moment, and what it kills takes its time to be gone.
type slowDeath struct{ *limitedMachine }

func (d slowDeath) Seen() map[string]uint64 { return map[string]uint64{"killed": 1} }

func (d slowDeath) End() error {
	time.AfterFunc(50*time.Millisecond, func() {
		d.of.mu.Lock()
		defer d.of.mu.Unlock()
		d.of.end(d.node)
	})
	return d.limitedMachine.End()
}

// slowMachines are those whose limits are slow deaths.
type slowMachines struct{ *machines }

func (m slowMachines) Limit(node string, l cluster.Limit) (cluster.Impairment, error) {
	i, err := m.machines.Limit(node, l)
	return slowDeath{i.(*limitedMachine)}, err
}

func TestWhoeverIsKilledAtTheLastMomentIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, env := newMachines(3)
		env.Resources = slowMachines{m}
		h, err := begin(t, breaker(t, Resource(), env, "resource:memory:n2"), 3)
		if err != nil {
			t.Fatal(err)
		}
		_, evidence, err := h.End(t.Context())
		short := evidence.(map[string]*Short)["n2"]
		time.Sleep(time.Second) // whoever is to die has
		if err != nil || short.Ended != 2 || short.Again == 0 || short.Again != m.running()["n2"] {
			t.Errorf("%v: %+v; %v run", err, short, m.running())
		}
	})
}

// TestOthersStartWhatTheyHold: who runs short of descriptors may be killed by another
// fault, which will start it.
func TestOthersStartWhatTheyHold(t *testing.T) {
	m, env := newMachines(3)
	short, err := begin(t, breaker(t, Resource(), env, "resource:files:n2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	kill, err := begin(t, breaker(t, Kill(), env, "kill:n2"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := short.End(t.Context()); err != nil || m.running()["n2"] != 0 {
		t.Errorf("%v; %v run", err, m.running())
	}
	if _, _, err := kill.End(t.Context()); err != nil || m.running()["n2"] == 0 {
		t.Errorf("%v; %v run", err, m.running())
	}

	// Who has no memory is for nobody else to kill.
	if short, err = begin(t, breaker(t, Resource(), env, "resource:memory:n2"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, breaker(t, Kill(), env, "kill:n2"), 1); !errors.Is(err, errGuarded) {
		t.Errorf("got %v", err)
	}
	if _, _, err := short.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestShortagesDoNotDependOnWhoIsAsked: what is drawn is one of the seed.
func TestShortagesDoNotDependOnWhoIsAsked(t *testing.T) {
	_, env := newMachines(3)
	b := breaker(t, Resource(), env, "resource:cpu")
	shares := map[float64]bool{}
	for seed := range uint64(20) {
		s := b.Draw(rand.New(rand.NewPCG(seed, 0))).(*Shortage)
		shares[s.CPU] = true
		if s.Memory != 0 || s.Files != 0 || fmt.Sprint(s.Limits) != "map[]" {
			t.Errorf("drawn: %+v", s)
		}
	}
	if len(shares) < 10 {
		t.Errorf("drawn: %v", shares)
	}
}
