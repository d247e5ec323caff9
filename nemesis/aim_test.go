package nemesis

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func drawing(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// ruled is a system that n2 leads.
type ruled struct{}

func (ruled) Leader(context.Context) (string, error) { return "n2", nil }

func five() Env {
	return Env{Nodes: []string{"n1", "n2", "n3", "n4", "n5"}}.withBooks()
}

func TestAimsAreDrawnEvenlyAndAtTheLeaderTwiceAsOften(t *testing.T) {
	const draws = 12000
	for name, leader := range map[string]bool{"with a leader": true, "without": false} {
		e := five()
		want := map[string]float64{One: 1. / 4, Minority: 1. / 4, Majority: 1. / 4, AllNodes: 1. / 4}
		if leader {
			e.Leader = ruled{}
			want = map[string]float64{One: 1. / 6, Minority: 1. / 6, Majority: 1. / 6, AllNodes: 1. / 6, Leading: 2. / 6}
		}
		r := drawing(1)
		targets, first, counts := map[string]int{}, map[string]int{}, map[string]map[int]bool{}
		for range draws {
			a := e.drawAim(r, Fault{Targets: append(slices.Clone(anyNodes), Target{Name: Any, OnRequest: true})}, Spec{})
			targets[a.Target]++
			first[a.Order[0]]++
			if counts[a.Target] == nil {
				counts[a.Target] = map[int]bool{}
			}
			counts[a.Target][a.Count] = true
			if slices.Sort(a.Order); !slices.Equal(a.Order, e.Nodes) {
				t.Fatalf("%s: %v", name, a.Order)
			}
		}
		for target, part := range want {
			if got := float64(targets[target]) / draws; math.Abs(got-part) > 0.02 {
				t.Errorf("%s: %s is drawn in %.3f of the cases, want %.3f", name, target, got, part)
			}
		}
		if len(targets) != len(want) {
			t.Errorf("%s: got %v", name, targets)
		}
		for node, n := range first {
			if got := float64(n) / draws; math.Abs(got-1./5) > 0.02 {
				t.Errorf("%s: %s comes first in %.3f of the cases", name, node, got)
			}
		}
		for target, want := range map[string][]int{One: {1}, Minority: {1, 2}, Majority: {3}, AllNodes: {5}} {
			if got := counts[target]; len(got) != len(want) || !got[want[0]] || !got[want[len(want)-1]] {
				t.Errorf("%s: %s wants %v nodes", name, target, got)
			}
		}
	}
}

func TestAimIsAsAsked(t *testing.T) {
	e := five()
	e.Leader = ruled{}
	for target, want := range map[string]string{Leading: "n2", "n4": "n4"} {
		a := e.drawAim(drawing(1), Fault{Targets: anyNodes}, Spec{Target: target})
		release, err := e.claim(t.Context(), &a, stops)
		if err != nil || a.Target != target || !slices.Equal(a.Nodes, []string{want}) {
			t.Errorf("%s: got %+v, %v", target, a, err)
			continue
		}
		release()
	}
	for want := 1; want <= 5; want++ {
		if drawn := func() bool {
			for seed := range uint64(100) {
				if e.drawAim(drawing(seed), Fault{Targets: fewNodes}, Spec{Target: Any}).Count == want {
					return true
				}
			}
			return false
		}; !drawn() {
			t.Errorf("any is never %d nodes", want)
		}
	}
}

// TestSameAimHitsTheSameNodes: an aim that was recorded is one that can be repeated.
func TestSameAimHitsTheSameNodes(t *testing.T) {
	a := five().drawAim(drawing(7), Fault{Targets: anyNodes}, Spec{Target: Minority})
	var hit []string
	for range 2 {
		again := a
		if _, err := five().claim(t.Context(), &again, stops); err != nil {
			t.Fatal(err)
		}
		if hit != nil && !slices.Equal(hit, again.Nodes) {
			t.Errorf("got %v and %v", hit, again.Nodes)
		}
		hit = again.Nodes
		a.Nodes = []string{"n9"} // what is left of an earlier time does not matter
	}
}

func TestAimThatCannotBeIsRefused(t *testing.T) {
	for _, test := range []struct {
		env    Env
		target string
		want   string
	}{
		{Env{}, "", "there are no nodes"},
		{five(), Leading, "does not tell who leads"},
		{five(), "n6", "no node n6; the last one is n5"},
	} {
		if err := test.env.checkAim(Spec{Target: test.target}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.target, err, test.want)
		}
	}
	if err := five().checkAim(Spec{Target: "n5"}); err != nil {
		t.Error(err)
	}
}

func TestEveryTargetHasItsTurn(t *testing.T) {
	for seed := range uint64(50) {
		e := five()
		e.Leader = ruled{}
		r, large := drawing(seed), 0
		for range 6 {
			if a := e.drawAim(r, Fault{Targets: anyNodes}, Spec{Fault: "kill"}); a.Target == Majority || a.Target == AllNodes {
				large++
			}
		}
		if large != 2 {
			t.Errorf("seed %d: %d of 6 aims were at a majority", seed, large)
		}
	}
}
