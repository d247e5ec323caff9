package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// watches are clocks that are what they were set to.
type watches struct {
	set   map[string]cluster.Warp // those that are not right
	times map[string]uint64       // those that are strobed
	gain  time.Duration           // what each clock with a drift gains with each reading
	off   map[string]cluster.Offsets
	fails map[string]error // by operation and node, such as "set n1"
}

func newWatches(n int) (*watches, Env) {
	w := &watches{
		set: map[string]cluster.Warp{}, times: map[string]uint64{}, gain: time.Second,
		off: map[string]cluster.Offsets{}, fails: map[string]error{},
	}
	return w, Env{Nodes: nodes(n), Clocks: w}.withBooks()
}

func (c *watches) Set(node string, w cluster.Warp) error {
	if err := c.fails["set "+node]; err != nil {
		return err
	}
	c.set[node] = w
	if w == (cluster.Warp{}) {
		delete(c.set, node)
	}
	o := c.off[node]
	o.Realtime = w.Offset
	c.off[node] = o
	return nil
}

func (c *watches) Strobe(node string, w cluster.Warp, every time.Duration) (cluster.Impairment, error) {
	if every < 5*time.Millisecond || every > 500*time.Millisecond {
		return nil, fmt.Errorf("every %v", every)
	}
	if err := c.Set(node, w); err != nil {
		return nil, err
	}
	c.times[node] = 1
	return strobedWatch{c, node}, nil
}

func (c *watches) Read(_ context.Context, nodes ...string) (map[string]cluster.Offsets, error) {
	found := map[string]cluster.Offsets{}
	for _, node := range nodes {
		if err := c.fails["read "+node]; err != nil {
			return nil, err
		}
		o := c.off[node]
		o.Within = time.Microsecond
		o.Realtime += time.Duration(c.set[node].Drift * float64(c.gain))
		o.Monotonic += time.Duration(c.set[node].MonotonicDrift * float64(c.gain))
		c.off[node] = o
		found[node] = o
	}
	return found, nil
}

type strobedWatch struct {
	of   *watches
	node string
}

func (s strobedWatch) Seen() map[string]uint64 { return map[string]uint64{s.node: s.of.times[s.node]} }
func (s strobedWatch) End() error              { return s.of.Set(s.node, cluster.Warp{}) }

func TestClocksAreSetAndSetRight(t *testing.T) {
	c, env := newWatches(5)
	drawn := map[string]int{}
	for seed := range uint64(100) {
		h, err := begin(t, breaker(t, Clock(), env, "clock"), seed)
		if err != nil {
			t.Fatal(err)
		}
		w := h.Detail().(Warping)
		drawn[w.Variant]++
		if len(c.set) != len(w.Nodes) || len(w.Warps) != len(w.Nodes) || len(w.Read) != len(w.Nodes) {
			t.Errorf("%+v: %v are set", w, c.set)
		}
		for node, warp := range w.Warps {
			if c.set[node] != warp {
				t.Errorf("%+v: %s is set to %v", w, node, c.set[node])
			}
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted != uint64(len(w.Nodes)) || len(evidence.(map[string]Warped)) != len(w.Nodes) {
			t.Errorf("%+v: acted %d, %+v: %v", w, acted, evidence, err)
		}
		if len(c.set) > 0 {
			t.Fatalf("%+v: healed, %v are set", w, c.set)
		}
	}
	if len(drawn) != len(Clock().Variants) {
		t.Errorf("drawn: %v", drawn)
	}
}

// TestWhatDidNothingHasNotActed: clocks that nobody sees change.
func TestWhatDidNothingHasNotActed(t *testing.T) {
	for _, variant := range []string{clockJump, clockSkew, clockDrift, clockMonotonic} {
		c, env := newWatches(3)
		h, err := begin(t, breaker(t, Clock(), env, "clock:"+variant), 1)
		if err != nil {
			t.Fatal(err)
		}
		// As if they had been right all the time.
		clear(c.set)
		clear(c.off)
		held := h.(*heldClocks)
		held.warping.Read, err = c.Read(t.Context(), held.warping.Nodes...)
		if err != nil {
			t.Fatal(err)
		}
		if acted, _, err := h.End(t.Context()); acted != 0 || err != nil {
			t.Errorf("%s: acted %d, %v", variant, acted, err)
		}
	}
}

func TestClocksAreWrongByEveryMagnitude(t *testing.T) {
	_, env := newWatches(5)
	type bounds struct{ least, most float64 }
	want := map[string]bounds{
		clockJump: {.01, 6 * 3600}, clockStrobe: {.01, 6 * 3600}, clockSkew: {.01, 10},
		clockDrift: {-.5, 1}, clockMonotonic: {-.5, 1},
	}
	for variant, want := range want {
		b := breaker(t, Clock(), env, "clock:"+variant)
		r := rand.New(rand.NewPCG(7, 8))
		magnitudes, ahead, behind := map[int]bool{}, 0, 0
		for range 500 {
			w := b.Draw(r).(*Warping)
			if n := len(w.Drawn); n != 1 && n != w.Count {
				t.Fatalf("%+v: %d warps", w, n)
			}
			for _, warp := range w.Drawn {
				amount := warp.Offset.Abs().Seconds()
				if variant == clockDrift || variant == clockMonotonic {
					amount = warp.Drift + warp.MonotonicDrift
				}
				if amount < want.least || amount > want.most {
					t.Fatalf("%+v: %v is not from %v to %v", w, amount, want.least, want.most)
				}
				magnitudes[int(math.Floor(math.Log10(math.Abs(amount))))] = true
				if warp.Offset > 0 || warp.Drift > 0 || warp.MonotonicDrift > 0 {
					ahead++
				} else {
					behind++
				}
			}
		}
		if ahead < behind/2 || behind < ahead/2 {
			t.Errorf("%s: %d are ahead and %d behind", variant, ahead, behind)
		}
		if (variant == clockJump || variant == clockStrobe) && len(magnitudes) != 7 || variant == clockSkew && len(magnitudes) < 3 || variant == clockDrift && len(magnitudes) < 3 {
			t.Errorf("%s: of the magnitudes %v", variant, magnitudes)
		}
	}
	// Nodes that are skewed disagree.
	for seed := range uint64(20) {
		w := breaker(t, Clock(), env, "clock:skew:all").Draw(rand.New(rand.NewPCG(seed, 0))).(*Warping)
		slices.SortFunc(w.Drawn, func(a, b cluster.Warp) int { return int(a.Offset - b.Offset) })
		if len(slices.Compact(w.Drawn)) < 4 {
			t.Errorf("five nodes are off by %v", w.Drawn)
		}
	}
}

func TestOneFaultAtATimeSetsANodesClocks(t *testing.T) {
	c, env := newWatches(3)
	first, err := begin(t, breaker(t, Clock(), env, "clock:jump:majority"), 1)
	if err != nil {
		t.Fatal(err)
	}
	taken := first.Detail().(Warping).Warps
	// Another gets who is left, whatever it wants.
	second, err := begin(t, breaker(t, Clock(), env, "clock:drift:all"), 2)
	if err != nil {
		t.Fatal(err)
	}
	if w := second.Detail().(Warping); len(w.Nodes) != 1 || taken[w.Nodes[0]] != (cluster.Warp{}) || len(w.Order) != 3 {
		t.Errorf("%v are taken, and another gets %+v", taken, w)
	}
	for _, spec := range []string{"clock:skew", "clock:jump:n1"} {
		if _, err := begin(t, breaker(t, Clock(), env, spec), 3); !errors.Is(err, errClockHeld) {
			t.Errorf("%s, when all are taken: %v", spec, err)
		}
	}
	if _, _, err := first.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.set) != 1 {
		t.Errorf("one of two is healed, and %v are set", c.set)
	}
	for node := range taken {
		third, err := begin(t, breaker(t, Clock(), env, "clock:jump:"+node), 4)
		if err != nil {
			t.Errorf("%s is free, and not to be had: %v", node, err)
		} else if _, _, err := third.End(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := second.End(t.Context()); err != nil || len(c.set) != 0 {
		t.Errorf("all are healed, and %v are set: %v", c.set, err)
	}
}

func TestClocksThatCannotBeReadAreSetRight(t *testing.T) {
	c, env := newWatches(3)
	c.fails["read n2"] = errors.New("it is stuck")
	if _, err := begin(t, breaker(t, Clock(), env, "clock:jump:all"), 1); err == nil {
		t.Error("it began")
	}
	if len(c.set) > 0 {
		t.Errorf("%v are set", c.set)
	}
}

// TestClocksThatCanNeitherBeSetNorSetRightAreHealed: as a fault that is in force.
func TestClocksThatCanNeitherBeSetNorSetRightAreHealed(t *testing.T) {
	c, env := newWatches(3)
	c.fails["set n2"] = errors.New("it is stuck")
	h, err := begin(t, breaker(t, Clock(), env, "clock:jump:all"), 1)
	if err != nil {
		t.Fatalf("nobody will heal what is left of it: %v", err)
	}
	if _, _, err := h.End(t.Context()); err == nil {
		t.Error("it was healed, and is stuck")
	}
	delete(c.fails, "set n2")
	if _, _, err := h.End(t.Context()); err != nil || len(c.set) > 0 {
		t.Errorf("got %v, and %v are set", err, c.set)
	}
	if left := env.clocks.free(env.Nodes); len(left) != 3 {
		t.Errorf("of all clocks only those of %v are free", left)
	}
}

func TestClocksAreHealedAgainIfThatFails(t *testing.T) {
	c, env := newWatches(3)
	for _, what := range []string{"set n2", "read n2"} {
		h, err := begin(t, breaker(t, Clock(), env, "clock:jump:all"), 1)
		if err != nil {
			t.Fatal(err)
		}
		c.fails[what] = errors.New("it is stuck")
		if _, _, err := h.End(t.Context()); err == nil {
			t.Errorf("%s: it was healed", what)
		}
		if _, err := begin(t, breaker(t, Clock(), env, "clock:jump:n2"), 1); !errors.Is(err, errClockHeld) {
			t.Errorf("%s: a node is to be had that is not healed: %v", what, err)
		}
		delete(c.fails, what)
		acted, _, err := h.End(t.Context())
		if err != nil || len(c.set) > 0 {
			t.Errorf("%s: healed again, %v are set: %v", what, c.set, err)
		}
		if acted != 3 {
			t.Errorf("%s: acted %d", what, acted)
		}
	}
	// Clocks that were set right and are not are an error.
	h, err := begin(t, breaker(t, Clock(), env, "clock:monotonic:n1"), 1)
	if err != nil {
		t.Fatal(err)
	}
	held := h.(*heldClocks)
	held.clocks = stuckWatches{c}
	if _, _, err := h.End(t.Context()); err == nil {
		t.Error("a monotonic clock gains on, and it was healed")
	}
	held.clocks = c
	if _, _, err := h.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// stuckWatches say that they were set, and were not.
type stuckWatches struct{ *watches }

func (stuckWatches) Set(string, cluster.Warp) error { return nil }

func TestClockFaultsThatCannotBe(t *testing.T) {
	_, env := newWatches(3)
	for spec, env := range map[string]Env{
		"clock": {Nodes: nodes(3)}, "clock:jump:n4": env, "clock:skew:leader": env,
	} {
		specs, err := Parse([]Fault{Clock()}, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Clock().New(env, specs[0]); err == nil {
			t.Errorf("%s can be", spec)
		}
	}
	if _, err := breaker(t, Clock(), env, "clock").Begin(t.Context(), []byte(`{"variant":"jump"}`)); err == nil {
		t.Error("a fault began that says nothing about clocks")
	}
}
