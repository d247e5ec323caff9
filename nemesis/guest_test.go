package nemesis

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/cluster"
)

func TestGuestsAreKilled(t *testing.T) {
	for spec, want := range map[string]struct{ hosts, one, all int }{
		"guest-kill:n5": {1, 1, 2}, "guest-kill:one": {1, 1, 2}, "guest-kill:majority": {3, 3, 6}, "guest-kill:all": {4, 4, 8},
	} {
		ones, alls := 0, 0
		for seed := range uint64(20) {
			m, env := newEstate()
			before := m.running()
			b := breaker(t, GuestKill(), env, spec)
			d := b.Draw(drawing(seed)).(*Cull)
			h, err := b.Begin(t.Context(), encode(d))
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(m.running(), before) {
				t.Errorf("%s: a host has died with its guests", spec)
			}
			left := 0
			for _, host := range estate[1].Nodes {
				left += len(m.Guests(host))
			}
			n := want.all
			if alls++; d.Each == 1 {
				n, ones = want.one, ones+1
			}
			if nodes, part := nodesHit(h); len(nodes) != want.hosts || part != cluster.PartHost || left != 8-n {
				t.Errorf("%s hit %v of %s, and %d guests are left: %+v", spec, nodes, part, left, d)
			}
			back := h.Detail().(Cull).Nodes[0]
			killed := h.(*heldCull).culled[back][0]
			m.guests[back] = append(m.guests[back], cluster.Guest{Name: killed.Name, PID: 2000})
			acted, evidence, err := h.End(t.Context())
			if err != nil || acted != uint64(n) {
				t.Errorf("%s: acted %d, want %d: %v", spec, acted, n, err)
			}
			for host, all := range evidence.(map[string][]*Culled) {
				for _, c := range all {
					if again := host == back && c == all[0]; !c.Gone || c.PID < 1001 || c.Name == "" || c.Error != "" || (c.Again == 2000) != again {
						t.Errorf("%s: %s: %+v", spec, host, c)
					}
				}
			}
			if hosts, _ := env.part(cluster.PartHost); len(hosts.guard.holds) != 0 {
				t.Errorf("books: %v", hosts.guard.holds)
			}
		}
		if ones == 0 || ones == alls {
			t.Errorf("%s: one guest of each host was killed %d times of %d", spec, ones, alls)
		}
	}
}

// TestGuestsAreChosenByTheSeed among those that run, in whatever order they are named.
func TestGuestsAreChosenByTheSeed(t *testing.T) {
	chosen := map[string]bool{}
	for seed := range uint64(20) {
		guests := []cluster.Guest{{Name: "a", PID: 1}, {Name: "b", PID: 2}, {Name: "c", PID: 3}}
		first := Cull{Each: 1, Seed: seed}.among(guests, 0)
		slices.Reverse(guests)
		if again := (Cull{Each: 1, Seed: seed}).among(guests, 0); len(first) != 1 || !slices.Equal(first, again) {
			t.Errorf("seed %d: %v and %v", seed, first, again)
		}
		chosen[first[0].Name] = true
	}
	if len(chosen) != 3 {
		t.Errorf("chose only %v", chosen)
	}
}

func TestHostsWithoutGuestsAreLeftOut(t *testing.T) {
	m, env := newEstate()
	delete(m.guests, "n4")
	delete(m.guests, "n5")
	for seed := range uint64(10) {
		h, err := begin(t, breaker(t, GuestKill(), env, "guest-kill:one"), seed)
		if err != nil {
			t.Fatal(err)
		}
		if c := h.Detail().(Cull); c.Nodes[0] == "n4" || c.Nodes[0] == "n5" || len(c.Order) != 4 {
			t.Errorf("hit %v of %v", c.Nodes, c.Order)
		}
		m.guests["n6"], m.guests["n7"] = []cluster.Guest{{Name: "x", PID: 3000}}, []cluster.Guest{{Name: "y", PID: 3001}}
	}
	if _, err := begin(t, breaker(t, GuestKill(), env, "guest-kill:n4"), 1); err == nil {
		t.Error("it began on a host without guests")
	}
	m.fails["kill one of n6"], m.fails["kill one of n7"] = errors.New("no"), errors.New("no")
	if _, err := begin(t, breaker(t, GuestKill(), env, "guest-kill:all"), 1); err == nil || !strings.Contains(err.Error(), `"error":"no"`) {
		t.Errorf("it began, and killed nobody: %v", err)
	}
	clear(m.guests)
	if _, err := begin(t, breaker(t, GuestKill(), env, "guest-kill"), 1); err == nil || !strings.Contains(err.Error(), "no guest runs") {
		t.Errorf("it began without guests: %v", err)
	}
}

// TestAgentIsStartedAgainAndItsGuestsGoOn.
func TestAgentIsStartedAgainAndItsGuestsGoOn(t *testing.T) {
	m, env := newEstate()
	before := m.running()
	h, err := begin(t, breaker(t, AgentRestart(), env, "agent-restart:majority"), 1)
	if err != nil {
		t.Fatal(err)
	}
	hits, part := nodesHit(h)
	if len(hits) != 3 || part != cluster.PartHost {
		t.Errorf("hit %v of %s", hits, part)
	}
	var want []string
	for _, host := range hits {
		want = append(want, "kill one of "+host, "start "+host)
	}
	slices.Sort(want)
	if got := slices.Sorted(slices.Values(m.did)); !slices.Equal(got, want) {
		t.Errorf("did %v, want %v", got, want)
	}
	// All is over: others may have them.
	kill, err := begin(t, breaker(t, HostKill(), env, "host-kill:"+hits[0]), 1)
	if err != nil {
		t.Fatal(err)
	}
	acted, evidence, err := h.End(t.Context())
	if err != nil || acted != 3 {
		t.Errorf("acted %d, %v", acted, err)
	}
	for host, o := range evidence.(map[string]*Orphaning) {
		if o.PID != before[host] || !o.Exited || !o.Gone || o.Again == 0 || o.Again == o.PID || len(o.Lived) != 2 || len(o.Lost) != 0 || o.Error != "" {
			t.Errorf("%s: %+v", host, o)
		}
	}
	if _, _, err := kill.End(t.Context()); err != nil || len(m.running()) != 8 {
		t.Errorf("%v run: %v", m.running(), err)
	}
}

func TestAgentThatDoesNotStartIsTriedAgain(t *testing.T) {
	m, env := newEstate()
	m.fails["start n5"] = errors.New("out of order")
	h, err := begin(t, breaker(t, AgentRestart(), env, "agent-restart:n5"), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, breaker(t, HostKill(), env, "host-kill:n5"), 1); !errors.Is(err, errGuarded) {
		t.Errorf("another fault has what is not undone: %v", err)
	}
	if _, _, err := h.End(t.Context()); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("it ended: %v", err)
	}
	m.fails = nil
	acted, evidence, err := h.End(t.Context())
	o := evidence.(map[string]*Orphaning)["n5"]
	if err != nil || acted != 1 || o.Again != m.running()["n5"] || len(o.Lived) != 2 || !strings.Contains(o.Error, "out of order") {
		t.Errorf("acted %d, %+v: %v", acted, o, err)
	}

	// One that ends again at once is no business of this fault's: another may have the host.
	env.Start = func(host string) error {
		err := m.Start(host)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.end(host)
		return err
	}
	if h, err = begin(t, breaker(t, AgentRestart(), env, "agent-restart:n7"), 1); err != nil {
		t.Fatal(err)
	}
	m.did = nil
	acted, evidence, err = h.End(t.Context())
	if o := evidence.(map[string]*Orphaning)["n7"]; err != nil || acted != 1 || o.Again != 0 || len(m.did) != 0 {
		t.Errorf("acted %d, and did %v: %v", acted, m.did, err)
	}
	env.Start = m.Start

	// One that cannot be killed is not started, and has not acted.
	m.fails = map[string]error{"kill one of n6": errors.New("it does not die")}
	h, err = begin(t, breaker(t, AgentRestart(), env, "agent-restart:n6"), 1)
	if err != nil {
		t.Fatal(err)
	}
	acted, evidence, err = h.End(t.Context())
	if o := evidence.(map[string]*Orphaning)["n6"]; err != nil || acted != 0 || o.Again != 0 || o.Error != "it does not die" {
		t.Errorf("acted %d, %+v: %v", acted, o, err)
	}
}

// TestGuestThatDiesWithItsAgentIsNamed.
func TestGuestThatDiesWithItsAgentIsNamed(t *testing.T) {
	m, env := newEstate()
	env.Start = func(host string) error {
		m.guests[host] = m.guests[host][1:]
		return m.Start(host)
	}
	h, err := begin(t, breaker(t, AgentRestart(), env, "agent-restart:n4"), 1)
	if err != nil {
		t.Fatal(err)
	}
	_, evidence, err := h.End(t.Context())
	if o := evidence.(map[string]*Orphaning)["n4"]; err != nil || o.Lost["vm1"] != 1001 || o.Lived["vm2"] != 1002 || len(o.Lost)+len(o.Lived) != 2 {
		t.Errorf("got %+v, %v", o, err)
	}
}
