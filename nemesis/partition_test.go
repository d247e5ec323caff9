package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

func nodes(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	return names
}

// A view is what a cut leaves of a network: who hears whom.
type view map[cluster.Link]bool // what is cut

// sees returns the nodes that node hears and is heard by, itself among them.
func (v view) sees(node string, all []string) []string {
	var seen []string
	for _, other := range all {
		if !v[cluster.Link{From: node, To: other}] && !v[cluster.Link{From: other, To: node}] {
			seen = append(seen, other)
		}
	}
	return seen
}

// between returns how many links between nodes are cut, and how many to or from
// the tester.
func (v view) between() (nodes, tester int) {
	for l := range v {
		if l.From == cluster.Tester || l.To == cluster.Tester {
			tester++
		} else {
			nodes++
		}
	}
	return nodes, tester
}

// draw draws a cut of the shape.
func draw(t *testing.T, env Env, shape string, seed uint64) (Cut, view) {
	t.Helper()
	p, err := newPartition(env, shape)
	if err != nil {
		t.Fatal(err)
	}
	c := *p.Draw(rand.New(rand.NewPCG(seed, 0))).(*Cut)
	links, err := c.parse()
	if err != nil {
		t.Fatal(err)
	}
	v := view{}
	for _, l := range links {
		if v[l] {
			t.Fatalf("%v is named twice: %+v", l, c)
		}
		v[l] = true
	}
	return c, v
}

// TestShapesHoldTheirPromise draws each shape among every possible number of nodes.
func TestShapesHoldTheirPromise(t *testing.T) {
	holds := map[string]func(c Cut, v view, all []string) string{
		"isolate": isolated,
		"leader":  isolated,
		"halves": func(_ Cut, v view, all []string) string {
			majority := v.sees("n1", all)
			if len(all) > 2 && len(majority) <= len(all)/2 {
				return fmt.Sprintf("n1 sees %v, which is no majority", majority)
			}
			return parted(v, all)
		},
		"random-halves": func(c Cut, v view, all []string) string {
			if n := len(v.sees("n1", all)); n != len(all)/2 && n != len(all)-len(all)/2 {
				return fmt.Sprintf("n1 sees %d", n)
			}
			if n := len(v.sees(c.Node, all)); n > len(all)/2 {
				return fmt.Sprintf("%s is with the majority", c.Node)
			}
			return parted(v, all)
		},
		"ring": func(c Cut, v view, all []string) string {
			seen := map[string]bool{}
			for i, n := range c.Groups {
				got := v.sees(n[0], all)
				if len(got) <= len(all)/2 {
					return fmt.Sprintf("%s sees %v, which is no majority", n[0], got)
				}
				if seen[fmt.Sprint(got)] {
					return fmt.Sprintf("two nodes see %v", got)
				}
				seen[fmt.Sprint(got)] = true
				if slices.Sort(c.Groups[i]); !slices.Equal(c.Groups[i], got) {
					return fmt.Sprintf("says %v, and it is %v", c.Groups[i], got)
				}
			}
			if len(seen) != len(all) {
				return fmt.Sprintf("tells what %d nodes see", len(seen))
			}
			return ""
		},
		"bridge": func(c Cut, v view, all []string) string {
			var both []string
			for _, n := range c.Groups[0] {
				if slices.Contains(c.Groups[1], n) {
					both = append(both, n)
				}
			}
			if len(both) != 1 || both[0] == c.Node {
				return fmt.Sprintf("%v are in both halves", both)
			}
			if got := v.sees(both[0], all); len(got) != len(all) {
				return fmt.Sprintf("the bridge %s sees %v", both[0], got)
			}
			return parted(v, slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == both[0] }))
		},
		"chain": func(c Cut, v view, all []string) string {
			if len(c.Groups) != len(all)-1 {
				return fmt.Sprintf("tells of %d pairs", len(c.Groups))
			}
			ends := 0
			for _, n := range all {
				switch got := v.sees(n, all); {
				case len(got) == 2:
					ends++
				case len(got) != 3:
					return fmt.Sprintf("%s sees %v", n, got)
				}
			}
			if ends != 2 || len(v.sees(c.Node, all)) != 2 {
				return fmt.Sprintf("has %d ends, and %s is one", ends, c.Node)
			}
			// What is not a line but a shorter one and a circle is in two parts.
			reached := []string{c.Node}
			for i := 0; i < len(reached); i++ {
				reached = union(reached, v.sees(reached[i], all))
			}
			if len(reached) != len(all) {
				return fmt.Sprintf("is broken: %v", reached)
			}
			return ""
		},
		"quorum-loss": func(c Cut, v view, all []string) string {
			middle := 0
			for _, n := range all {
				switch got := v.sees(n, all); {
				case len(got) == len(all) && n != c.Node:
					middle++
				case len(got) != 2:
					return fmt.Sprintf("%s sees %v", n, got)
				}
			}
			if middle != 1 {
				return fmt.Sprintf("%d see all", middle)
			}
			return ""
		},
		"flapping": func(c Cut, v view, all []string) string {
			if one := len(v) == 2 && len(v.sees(c.Node, all)) == len(all)-1; !one {
				if wrong := around(c, v, all, 1, 1); wrong != "" {
					return wrong
				}
			}
			if c.Every < 50*time.Millisecond || c.Every > 500*time.Millisecond {
				return fmt.Sprintf("flaps every %v", c.Every)
			}
			return ""
		},
		"inbound":  func(c Cut, v view, all []string) string { return around(c, v, all, 1, 0) },
		"outbound": func(c Cut, v view, all []string) string { return around(c, v, all, 0, 1) },
		"one-way": func(c Cut, v view, all []string) string {
			if c.Direction == inward {
				return around(c, v, all, 1, 0)
			}
			return around(c, v, all, 0, 1)
		},
		"client": func(c Cut, v view, all []string) string {
			between, tester := v.between()
			cut := []string{c.Node}
			if c.Groups != nil {
				cut = c.Groups[1]
			}
			if want := map[string]int{"": 2, inward: 1, outward: 1}[c.Direction] * len(cut); between != 0 || tester != want {
				return fmt.Sprintf("cuts %d links between nodes, and %d of the tester", between, tester)
			}
			if len(cut) > (len(all)+1)/2 || !slices.Contains(cut, c.Node) {
				return fmt.Sprintf("cuts off %v", cut)
			}
			for _, n := range cut {
				if c.Direction == inward && !v[cluster.Link{From: cluster.Tester, To: n}] {
					return "cuts the wrong way"
				}
			}
			return ""
		},
	}
	for _, s := range shapes {
		for n := 1; n <= 9; n++ {
			env := Env{Nodes: nodes(n), Network: &nemesistest.Network{}, Leader: leads("n1")}
			if _, err := newPartition(env, s.Name); (err == nil) != (n >= s.nodes) {
				t.Errorf("%s of %d nodes: %v", s.Name, n, err)
			}
			if n < s.nodes {
				continue
			}
			for seed := range uint64(50) {
				c, v := draw(t, env, s.Name, seed)
				wrong := holds[s.Name](c, v, env.Nodes)
				if _, tester := v.between(); wrong == "" && s.Name != "client" && tester > 0 {
					wrong = "clients are cut off"
				}
				if wrong == "" && len(v) == 0 {
					wrong = "nothing is cut"
				}
				if wrong != "" {
					t.Fatalf("%s of %d nodes, seed %d: %s: %+v", s.Name, n, seed, wrong, c)
				}
			}
		}
	}
}

// isolated says what is wrong unless the node sees nobody, and all others each other.
func isolated(c Cut, v view, nodes []string) string {
	for _, n := range nodes {
		want := len(nodes) - 1
		if n == c.Node {
			want = 1
		}
		if got := v.sees(n, nodes); len(got) != want {
			return fmt.Sprintf("%s sees %v", n, got)
		}
	}
	return ""
}

// parted says what is wrong unless nodes are two groups that see all of
// themselves and none of each other, as equal as their number lets them.
func parted(v view, nodes []string) string {
	first := v.sees(nodes[0], nodes)
	for _, n := range nodes {
		got := v.sees(n, nodes)
		if slices.Contains(first, n) && !slices.Equal(got, first) || !slices.Contains(first, n) && len(got) != len(nodes)-len(first) {
			return fmt.Sprintf("%s sees %v, %s sees %v", nodes[0], first, n, got)
		}
	}
	if len(first) == len(nodes) {
		return "nobody is parted"
	}
	return ""
}

// around says what is wrong unless of each link between the node and another so
// many are cut.
func around(c Cut, v view, nodes []string, inbound, outbound int) string {
	in, out := 0, 0
	for l := range v {
		switch c.Node {
		case l.To:
			in++
		case l.From:
			out++
		}
	}
	others := len(nodes) - 1
	if in != inbound*others || out != outbound*others || len(v) != in+out {
		return fmt.Sprintf("%d in and %d out of %d are cut", in, out, len(v))
	}
	return ""
}

func TestShapesDrawDifferently(t *testing.T) {
	env := Env{Nodes: nodes(5), Network: &nemesistest.Network{}, Leader: leads("n1")}
	for _, s := range shapes {
		drawn := map[string]bool{}
		for seed := range uint64(50) {
			c, _ := draw(t, env, s.Name, seed)
			drawn[strings.Join(c.Links, " ")] = true
		}
		fixed := s.Name == "halves"
		if many := len(drawn) >= 5; many == fixed {
			t.Errorf("%s: %d different cuts in 50", s.Name, len(drawn))
		}
	}
}

func TestPartitionDrawsAmongWhatIsPossible(t *testing.T) {
	for _, test := range []struct {
		nodes  int
		leader cluster.Leader
		want   string
	}{
		{1, leads("n1"), "client"},
		{2, nil, "client flapping halves inbound isolate one-way outbound random-halves"},
		{5, leads("n1"), "bridge chain client flapping halves inbound isolate leader one-way outbound quorum-loss random-halves ring"},
	} {
		env := Env{Nodes: nodes(test.nodes), Network: &nemesistest.Network{}, Leader: test.leader}
		drawn := map[string]bool{}
		for seed := range uint64(300) {
			c, _ := draw(t, env, "", seed)
			drawn[c.Shape] = true
		}
		var got []string
		for s := range drawn {
			got = append(got, s)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%d nodes: got %v, want %s", test.nodes, got, test.want)
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	network := &nemesistest.Network{}
	for _, test := range []struct {
		env    Env
		target string
		want   string
	}{
		{Env{Nodes: nodes(5)}, "", "there is no network to cut"},
		{Env{Network: network}, "", "there are no nodes"},
		{Env{Network: network, Nodes: nodes(2)}, "ring", "it takes 3 nodes, and there are 2"},
		{Env{Network: network, Nodes: nodes(5)}, "leader", "the system does not tell who leads"},
	} {
		if _, err := newPartition(test.env, test.target); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestLeaderIsAskedWhenThePartitionBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &nemesistest.Network{}
		leader := "n1"
		env := Env{Nodes: nodes(3), Network: network, Leader: leaderFunc(func() (string, error) { return leader, nil })}
		p, err := newPartition(env, "leader")
		if err != nil {
			t.Fatal(err)
		}
		c := Cut{Shape: "random-halves", Aim: Leading, Node: "n3"}
		c.among(env.Nodes, []string{"n3"}, []string{"n1", "n2"})
		leader = "n2"
		held, err := p.Begin(t.Context(), encode(c))
		if err != nil {
			t.Fatal(err)
		}
		const want = `{"shape":"random-halves","aim":"leader","node":"n2","groups":[["n2"],["n1","n3"]],"links":["n1→n2","n3→n2","n2→n1","n2→n3"]}`
		if got := string(encode(held.Detail())); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if network.Down() != 4 || network.Deliver("n2", "n3") || !network.Deliver("n1", "n3") {
			t.Errorf("%d links are cut", network.Down())
		}
	})
}

// TestShortRunSeesEveryKind of partition.
func TestShortRunSeesEveryKind(t *testing.T) {
	kinds := map[string]kind{}
	for _, s := range shapes {
		kinds[s.Name] = s.kind
	}
	for seed := range uint64(50) {
		p, err := newPartition(Env{Nodes: nodes(5), Network: &nemesistest.Network{}}, "")
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 0))
		var drawn []kind
		for range 18 {
			drawn = append(drawn, kinds[p.Draw(r).(*Cut).Shape])
		}
		for round := range slices.Chunk(drawn, 6) {
			slices.Sort(round)
			if want := []kind{apart, apart, overlap, oneway, outside, flapping}; !slices.Equal(round, want) {
				t.Errorf("seed %d: %v", seed, drawn)
			}
		}
	}
}

// TestLeaderIsAimedAt: in most cuts that are about a node, and in every one
// that is asked for so, and never where no system knows of a leader.
func TestLeaderIsAimedAt(t *testing.T) {
	for _, test := range []struct {
		target   string
		leader   cluster.Leader
		min, max int // of 1000
	}{
		{"", leads("n1"), 600, 800},
		{"leader", leads("n1"), 1000, 1000},
		{"isolate", leads("n1"), 0, 0},
		{"", nil, 0, 0},
	} {
		aimed := 0
		for seed := range uint64(1000) {
			c, _ := draw(t, Env{Nodes: nodes(5), Network: &nemesistest.Network{}, Leader: test.leader}, test.target, seed)
			if c.Aim == Leading {
				aimed++
			}
		}
		if aimed < test.min || aimed > test.max {
			t.Errorf("%q: %d of 1000", test.target, aimed)
		}
	}
}

func TestNoLeaderIsNoPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &nemesistest.Network{}
		env := Env{Nodes: nodes(3), Network: network, Leader: leaderFunc(func() (string, error) {
			return "", errors.New("there is an election")
		})}
		p, err := newPartition(env, "leader")
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Begin(t.Context(), json.RawMessage(`{"shape":"leader","aim":"leader"}`))
		if err == nil || err.Error() != "find the leader: there is an election" || network.Down() != 0 {
			t.Errorf("got %v, %d links are cut", err, network.Down())
		}
	})
}

func TestOverlappingPartitionsAreUndoneExactly(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 9; n++ {
		network := &nemesistest.Network{}
		p, err := newPartition(Env{Nodes: nodes(n), Network: network, Leader: leads("n1")}, "")
		if err != nil {
			t.Fatal(err)
		}
		var held []Held
		for range 20 {
			h, err := p.Begin(t.Context(), encode(p.Draw(r)))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, h)
		}
		r.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		for i, h := range held {
			if network.Down() == 0 {
				t.Errorf("%d nodes: all is healed, but %d partitions are in force", n, len(held)-i)
			}
			if _, _, err := h.End(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if network.Down() != 0 {
			t.Errorf("%d nodes: %d links are still cut", n, network.Down())
		}
	}
}

// TestEvidenceIsWhatWasDroppedOnItsAccount: where two faults cut a link it is the
// first that acts; the second takes over when that is healed.
func TestEvidenceIsWhatWasDroppedOnItsAccount(t *testing.T) {
	network := &nemesistest.Network{}
	p, err := newPartition(Env{Nodes: nodes(3), Network: network}, "")
	if err != nil {
		t.Fatal(err)
	}
	begin := func(links ...string) Held {
		h, err := p.Begin(t.Context(), encode(Cut{Links: links}))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	send := func(from, to string, times int) {
		for range times {
			network.Deliver(from, to)
		}
	}
	first := begin("n1→n2", "n2→n1", "n1→n3")
	send("n1", "n2", 3)
	second := begin("n1→n2")
	send("n1", "n2", 4)
	send("n2", "n1", 1)
	send("n2", "n3", 9)
	third := begin("n1→n2", "n2→n3")
	send("n2", "n3", 2)
	end := func(h Held, want string) {
		t.Helper()
		acted, evidence, err := h.End(t.Context())
		if got := fmt.Sprintf("%d %s", acted, encode(evidence)); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	end(first, `8 {"n1→n2":7,"n2→n1":1}`)
	send("n1", "n2", 6)
	end(third, `2 {"n2→n3":2}`)
	end(second, `6 {"n1→n2":6}`)
	send("n1", "n2", 5)
	if acted, _, err := begin("n1→n2").End(t.Context()); acted != 0 || err != nil {
		t.Errorf("got %d, %v of a link that nobody used", acted, err)
	}
}

func TestFlappingLinksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &nemesistest.Network{}
		p, err := newPartition(Env{Nodes: nodes(3), Network: network}, "flapping")
		if err != nil {
			t.Fatal(err)
		}
		c := p.Draw(rand.New(rand.NewPCG(1, 2))).(*Cut)
		h, err := p.Begin(t.Context(), encode(c))
		if err != nil {
			t.Fatal(err)
		}
		from, to, _ := strings.Cut(c.Links[0], "→")
		begun := time.Now()
		var arrived strings.Builder // one message in the middle of each time
		for i := range 6 {
			time.Sleep(time.Until(begun.Add(time.Duration(i)*c.Every + c.Every/2)))
			if network.Deliver(from, to) {
				arrived.WriteByte('1')
			} else {
				arrived.WriteByte('0')
			}
		}
		if arrived.String() != "010101" {
			t.Errorf("arrived %s", &arrived)
		}
		time.Sleep(c.Every) // it is cut again
		network.Fail(errors.New("it is stuck"))
		time.Sleep(c.Every) // and is not healed
		if _, _, err := h.End(t.Context()); err == nil {
			t.Error("what could not be healed was")
		}
		network.Fail(nil)
		acted, evidence, err := h.End(t.Context())
		if got := fmt.Sprintf("%d %s", acted, encode(evidence)); err != nil || got != fmt.Sprintf(`3 {"%s":3}`, c.Links[0]) {
			t.Errorf("got %s, %v", got, err)
		}
		time.Sleep(c.Every * 3 / 2)
		if network.Down() != 0 {
			t.Errorf("%d links are cut", network.Down())
		}
	})
}

type leaderFunc func() (string, error)

func (f leaderFunc) Leader(context.Context) (string, error) { return f() }

func leads(node string) cluster.Leader {
	return leaderFunc(func() (string, error) { return node, nil })
}
