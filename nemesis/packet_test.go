package nemesis

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/nemesis/nemesistest"
)

// A shaper keeps the books of what is done to packets, and does nothing.
type shaper struct {
	nemesistest.Network
	impaired map[string]cluster.Effect
	resets   int
	err      error
}

func (s *shaper) Impair(e cluster.Effect, links ...cluster.Link) (cluster.Impairment, error) {
	if s.err != nil {
		return nil, s.err
	}
	for _, l := range links {
		if s.impaired == nil {
			s.impaired = map[string]cluster.Effect{}
		}
		s.impaired[l.String()] = e
	}
	return &shaped{s, links}, nil
}

func (s *shaper) Reset(links ...cluster.Link) (map[string]uint64, error) {
	s.resets++
	time.Sleep(500 * time.Millisecond)
	return map[string]uint64{links[0].String(): 2}, s.err
}

type shaped struct {
	s     *shaper
	links []cluster.Link
}

func (s *shaped) Seen() map[string]uint64 { return map[string]uint64{s.links[0].String(): 7} }

func (s *shaped) End() error {
	for _, l := range s.links {
		delete(s.s.impaired, l.String())
	}
	return nil
}

func TestPacketsAreMangledOnLinksOfTheNodesThatAreHit(t *testing.T) {
	for _, test := range []struct {
		m    Mangling
		want string
	}{
		{Mangling{Clients: true}, "n1→n2 n2→n1 n2→n3 n2→tester n3→n2 tester→n2"},
		{Mangling{}, "n1→n2 n2→n1 n2→n3 n3→n2"},
		{Mangling{Direction: inward}, "n1→n2 n3→n2"},
		{Mangling{Direction: outward, Clients: true}, "n2→n1 n2→n3 n2→tester"},
	} {
		network := &shaper{}
		b := breaker(t, Packet(), Env{Nodes: nodes(3), Network: network}, "packet:loss:n2")
		test.m.Variant, test.m.Effect = packetLoss, cluster.Effect{Loss: 0.5}
		test.m.Aim = Aim{Target: "n2", Count: 1}
		h, err := b.Begin(t.Context(), encode(test.m))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(slices.Sorted(maps.Keys(network.impaired)), " ")
		told := h.Detail().(Mangling).Links
		slices.Sort(told)
		if got != test.want || strings.Join(told, " ") != test.want {
			t.Errorf("%+v: %s, and tells of %v; want %s", test.m, got, told, test.want)
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != 7 || len(evidence.(map[string]uint64)) != 1 || len(network.impaired) != 0 {
			t.Errorf("acted %d: %v, %v; left: %v", acted, evidence, err, network.impaired)
		}
	}
}

func TestWhatHappensToPacketsIsDrawnWithinBounds(t *testing.T) {
	env := Env{Nodes: nodes(5), Network: &shaper{}}
	for _, v := range Packet().Variants {
		b := breaker(t, Packet(), env, "packet:"+v.Name)
		drawn, directions := map[string]bool{}, map[string]bool{}
		for seed := range uint64(100) {
			m := b.Draw(rand.New(rand.NewPCG(seed, 1))).(*Mangling)
			drawn[string(encode(m.Effect))+m.Every.String()] = true
			directions[m.Direction] = true
			e := m.Effect
			e.Seed = 0
			within := map[string]bool{
				packetDelay:         e == cluster.Effect{Delay: e.Delay} && e.Delay >= 5*time.Millisecond && e.Delay <= 500*time.Millisecond,
				packetJitter:        e == cluster.Effect{Jitter: e.Jitter} && e.Jitter >= 10*time.Millisecond && e.Jitter <= 200*time.Millisecond,
				packetLoss:          e == cluster.Effect{Loss: e.Loss} && e.Loss >= 0.01 && e.Loss <= 0.5,
				packetDuplicate:     e == cluster.Effect{Duplicate: e.Duplicate} && e.Duplicate >= 0.05 && e.Duplicate <= 0.5,
				packetReorder:       e == cluster.Effect{Reorder: e.Reorder, ReorderBy: e.ReorderBy} && e.Reorder >= 0.05 && e.ReorderBy >= time.Millisecond,
				packetRate:          e == cluster.Effect{Rate: e.Rate} && e.Rate >= 16<<10 && e.Rate <= 4<<20,
				packetCorrupt:       e == cluster.Effect{Corrupt: e.Corrupt} && e.Corrupt >= 0.005 && e.Corrupt <= 0.1,
				packetCorruptSilent: e == cluster.Effect{CorruptSilently: e.CorruptSilently} && e.CorruptSilently >= 0.001 && e.CorruptSilently <= 0.05,
				packetReset:         e == cluster.Effect{} && m.Every >= time.Second && m.Every <= 5*time.Second,
			}
			if m.Variant != v.Name || !within[v.Name] {
				t.Fatalf("%s: drew %+v", v.Name, m)
			}
		}
		if len(drawn) < 50 || len(directions) != 3 {
			t.Errorf("%s: %d different ones in 100, of %d directions", v.Name, len(drawn), len(directions))
		}
	}
}

// TestSilentCorruptionHasToBeNamed, for it is not what a network does.
func TestSilentCorruptionHasToBeNamed(t *testing.T) {
	b := breaker(t, Packet(), Env{Nodes: nodes(3), Network: &shaper{}}, "packet")
	drawn := map[string]bool{}
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		drawn[b.Draw(r).(*Mangling).Variant] = true
	}
	if drawn[packetCorruptSilent] || len(drawn) != len(Packet().Variants)-1 {
		t.Errorf("drew %v", drawn)
	}
}

func TestConnectionsAreResetUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &shaper{}
		b := breaker(t, Packet(), Env{Nodes: nodes(3), Network: network}, "packet:reset:n1")
		m := Mangling{Variant: packetReset, Aim: Aim{Target: "n1", Count: 1}, Direction: inward, Every: 2 * time.Second}
		h, err := b.Begin(t.Context(), encode(m))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(6100 * time.Millisecond) // the fourth is under way
		acted, evidence, err := h.End(t.Context())
		if acted != 8 || err != nil {
			t.Errorf("%d connections: %v, %v", acted, evidence, err)
		}
		time.Sleep(time.Minute)
		if network.resets != 4 {
			t.Errorf("it was done %d times", network.resets)
		}
	})
}

func TestWhatPacketsLackIsSaid(t *testing.T) {
	for _, test := range []struct {
		env  Env
		want string
	}{
		{Env{Nodes: nodes(3)}, "the network does nothing to single packets"},
		{Env{Nodes: nodes(3), Network: &nemesistest.Network{}}, "the network does nothing to single packets"},
		{Env{Network: &shaper{}}, "there are no nodes"},
	} {
		if _, err := Packet().New(test.env, Spec{Fault: "packet"}); err == nil || err.Error() != test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
	network := &shaper{err: errors.New("it is stuck")}
	b := breaker(t, Packet(), Env{Nodes: nodes(3), Network: network}, "packet:loss")
	if _, err := begin(t, b, 1); !errors.Is(err, network.err) {
		t.Errorf("got %v", err)
	}
	if _, err := b.Begin(t.Context(), []byte(`[]`)); err == nil || !strings.HasPrefix(err.Error(), "packet: ") {
		t.Error(fmt.Errorf("a list is a detail: %w", err))
	}
}
