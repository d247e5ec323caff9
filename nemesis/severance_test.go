package nemesis

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

// linksOf returns those from some nodes to others.
func linksOf(from, to []string) (links []string) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				links = append(links, cluster.Link{From: a, To: b}.String())
			}
		}
	}
	return links
}

func TestHostsAreCutOffFromAPlane(t *testing.T) {
	control, hosts, storage := estate[0].Nodes, estate[1].Nodes, estate[2].Nodes
	for _, test := range []struct {
		variant string
		hit     []string
		peers   []string
	}{
		{planeManagement, []string{"n5"}, control},
		{planeStorage, []string{"n5", "n6"}, storage},
		{planeBoth, []string{"n4"}, slices.Concat(control, hosts, storage)},
		{planeBoth, []string{"n4", "n7"}, slices.Concat(control, hosts, storage)}, // which share two links
	} {
		for _, direction := range []string{"", inward, outward} {
			var want []string
			if direction != outward {
				want = append(want, linksOf(test.peers, test.hit)...)
			}
			if direction != inward {
				want = append(want, linksOf(test.hit, test.peers)...)
			}
			slices.Sort(want)
			want = slices.Compact(want)
			_, env := newEstate()
			network := env.Network.(*nemesistest.Network)
			b := breaker(t, HostPartition(), env, "host-partition")
			h, err := b.Begin(t.Context(), encode(Severance{
				Variant: test.variant, Direction: direction, Aim: Aim{Target: Minority, Order: test.hit, Count: len(test.hit)},
			}))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(slices.Values(h.Detail().(Severance).Links)); !slices.Equal(got, want) {
				t.Errorf("%s %s of %v cuts\n%v, want\n%v", test.variant, direction, test.hit, got, want)
			}
			dropped := 0
			for _, from := range append(nodes(8), cluster.Tester) {
				for _, to := range append(nodes(8), cluster.Tester) {
					arrives := network.Deliver(from, to)
					if cut := slices.Contains(want, cluster.Link{From: from, To: to}.String()); arrives == cut {
						t.Errorf("%s %s of %v: %s→%s arrives: %v", test.variant, direction, test.hit, from, to, arrives)
					}
					if !arrives {
						dropped++
					}
				}
			}
			acted, evidence, err := h.End(t.Context())
			if err != nil || acted != uint64(dropped) || network.Down() != 0 {
				t.Errorf("%s: acted %d, and %d links are down: %v", test.variant, acted, network.Down(), err)
			}
			if got := slices.Sorted(maps.Keys(evidence.(map[string]uint64))); !slices.Equal(got, want) {
				t.Errorf("%s: the evidence is of %v", test.variant, got)
			}
		}
	}
}

// TestCutOfHostsIsDrawn both ways half of the time.
func TestCutOfHostsIsDrawn(t *testing.T) {
	_, env := newEstate()
	b, r := breaker(t, HostPartition(), env, "host-partition"), drawing(4)
	const draws = 1200
	seen := map[string]int{}
	for range draws {
		s := b.Draw(r).(*Severance)
		seen[s.Variant]++
		seen["direction "+s.Direction]++
		if len(s.Links) > 0 || s.check() != nil {
			t.Errorf("drew %+v", s)
		}
	}
	for what, want := range map[string]int{
		planeManagement: draws / 3, planeStorage: draws / 3, planeBoth: draws / 3,
		"direction ": draws / 2, "direction " + inward: draws / 4, "direction " + outward: draws / 4,
	} {
		if n := seen[what]; n < want*8/10 || n > want*12/10 {
			t.Errorf("%s: %d of %d", what, n, draws)
		}
	}
	env.Parts = estate[:2]
	for range 50 {
		if s := breaker(t, HostPartition(), env, "host-partition").Draw(r).(*Severance); s.Variant == planeStorage {
			t.Error("hosts are to be cut off from storage, and there is none")
		}
	}
}

// TestCutsOfHostsOverlap, with each other, and with what does not concern them.
func TestCutsOfHostsOverlap(t *testing.T) {
	_, env := newEstate()
	network := env.Network.(*nemesistest.Network)
	first, err := begin(t, breaker(t, HostPartition(), env, "host-partition:both:all"), 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := begin(t, breaker(t, HostPartition(), env, "host-partition:management:n4"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, breaker(t, Kill(), env, "kill:majority"), 2); err != nil {
		t.Errorf("hosts are cut off, and control nodes are left alone: %v", err)
	}
	links := second.Detail().(Severance).Links
	if _, _, err := first.End(t.Context()); err != nil || network.Down() != len(links) {
		t.Errorf("%d links are down, and one has cut %v: %v", network.Down(), links, err)
	}
	from, to, _ := strings.Cut(links[0], "→")
	network.Deliver(from, to)
	network.Fail(errors.New("no"))
	if _, _, err := second.End(t.Context()); err == nil {
		t.Error("what could not be healed is said to be")
	}
	network.Fail(nil)
	if acted, evidence, err := second.End(t.Context()); err != nil || acted != 1 || fmt.Sprint(evidence) != fmt.Sprintf("map[%s:1]", links[0]) {
		t.Errorf("acted %d, %v: %v", acted, evidence, err)
	}
	network.Fail(errors.New("no"))
	if _, err := begin(t, breaker(t, HostPartition(), env, "host-partition"), 1); err == nil {
		t.Error("it began, and nothing was cut")
	}
	host, _ := env.part(cluster.PartHost)
	if len(host.guard.holds) != 0 {
		t.Errorf("books: %v", host.guard.holds)
	}
}
