package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of clock faults.
const (
	clockJump      = "jump"
	clockSkew      = "skew"
	clockDrift     = "drift"
	clockMonotonic = "monotonic"
	clockStrobe    = "strobe"
)

// Clock makes nodes read wrong clocks: realtime, which people and other machines set,
// or the monotonic clock, which measures how long something takes and is only as
// exact as its quartz. Of realtime nothing is left when it is healed; a monotonic
// clock goes on from where it is, as it must.
//
// Its evidence is what nodes read.
func Clock() Fault {
	f := Fault{
		Name:  "clock",
		About: "make nodes read wrong clocks",
		Variants: []Variant{
			{Name: clockJump, About: "realtime jumps by 10 ms to 6 h to either side, on all that are hit by the same, and back in the end"},
			{Name: clockSkew, About: "realtime is off by up to 10 s, on each that is hit by another offset"},
			{Name: clockDrift, About: "realtime runs slow or fast: by a thousandth, up to half or twice as fast"},
			{Name: clockMonotonic, About: "the monotonic clock runs at 0.5 to 2 times its rate, and realtime is right"},
			{Name: clockStrobe, About: "realtime jumps by 10 ms to 6 h and back, one to a hundred times a second"},
		},
		Targets: anyNodes,
		Needs:   []Need{NeedClocks},
	}
	return f.madeBy(func(env Env, f Fault, s Spec) (Breaker, error) { return newClockFault(env, f, s) })
}

// A Warping is the detail of a clock fault.
type Warping struct {
	Variant string `json:"variant"`
	Aim
	// Drawn are how clocks are to differ from the true ones: the first for the node
	// that is hit first, and so on; the last one for all that remain.
	Drawn []cluster.Warp `json:"drawn"`
	// Every is how often a strobe sets them.
	Every time.Duration `json:"every,omitempty"`
	// Warps are what the nodes got.
	Warps map[string]cluster.Warp `json:"warps,omitempty"`
	// Read is what they read when they had it.
	Read map[string]cluster.Offsets `json:"read,omitempty"`
}

// A Warped is what was seen of a node's clocks: the evidence of such a fault, by node.
type Warped struct {
	// Begun, Held and Healed are by how much they were off when the fault had begun,
	// just before it was healed, and after that.
	Begun  cluster.Offsets `json:"begun"`
	Held   cluster.Offsets `json:"held"`
	Healed cluster.Offsets `json:"healed"`
	// Strobed is how often they were set.
	Strobed uint64 `json:"strobed,omitempty"`
}

// acted says whether the fault was seen to do what it was to.
func (w Warped) acted(warp cluster.Warp) bool {
	switch {
	case w.Strobed > 0:
		return true
	case warp.MonotonicDrift != 0:
		return (w.Held.Monotonic - w.Begun.Monotonic).Abs() > w.Held.Within+w.Begun.Within
	case warp.Drift != 0:
		return (w.Held.Realtime - w.Begun.Realtime).Abs() > w.Held.Within+w.Begun.Within
	}
	return w.Begun.Realtime.Abs() > w.Begun.Within
}

// clockBooks say whose clocks some fault has set: what they are set to is not added
// up, and the one that ends sets them right.
type clockBooks struct {
	mu   sync.Mutex
	held map[string]bool // by node
}

// errClockHeld is why a clock fault is not begun that has nobody to hit.
var errClockHeld = fmt.Errorf("%w: another fault has set the clocks", errGuarded)

// free returns those of nodes that no fault has.
func (b *clockBooks) free(nodes []string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return b.held[node] })
}

// take enters nodes, all or none.
func (b *clockBooks) take(nodes []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, node := range nodes {
		if b.held[node] {
			return fmt.Errorf("%w of %s", errClockHeld, node)
		}
	}
	if b.held == nil {
		b.held = map[string]bool{}
	}
	for _, node := range nodes {
		b.held[node] = true
	}
	return nil
}

func (b *clockBooks) release(nodes []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, node := range nodes {
		delete(b.held, node)
	}
}

// A clockFault is the breaker of clock faults.
type clockFault struct{ aiming }

func newClockFault(env Env, f Fault, s Spec) (*clockFault, error) {
	if env.Clocks == nil {
		return nil, errors.New("the nodes have no clocks of their own")
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &clockFault{a}, nil
}

// Draw draws how wrong the clocks are to be. What matters is the order of magnitude,
// since every system has other times that a clock must be exact to: so each is as
// likely as any other.
func (b *clockFault) Draw(r *rand.Rand) any {
	w := &Warping{Variant: b.variant(r)}
	w.Aim = b.aim(r)
	offset := func(most time.Duration) cluster.Warp {
		d := time.Duration(magnitude(r, float64(10*time.Millisecond), float64(most))).Round(time.Millisecond)
		return cluster.Warp{Offset: eitherWay(r, d)}
	}
	const most = 6 * time.Hour
	switch w.Variant {
	case clockJump:
		w.Drawn = []cluster.Warp{offset(most)}
	case clockStrobe:
		w.Drawn = []cluster.Warp{offset(most)}
		// Set twice for each jump, there and back.
		w.Every = time.Duration(magnitude(r, float64(5*time.Millisecond), float64(500*time.Millisecond))).Round(time.Millisecond)
	case clockSkew:
		for range w.Count {
			w.Drawn = append(w.Drawn, offset(10*time.Second))
		}
	case clockDrift:
		for range w.Count {
			drift := magnitude(r, .001, 1)
			if r.IntN(2) == 0 {
				drift = 1/(1+drift) - 1 // as slow as that is fast
			}
			w.Drawn = append(w.Drawn, cluster.Warp{Drift: millionths(drift)})
		}
	case clockMonotonic:
		for range w.Count {
			w.Drawn = append(w.Drawn, cluster.Warp{MonotonicDrift: b.monotonicDrift(r)})
		}
	}
	return w
}

// monotonicDrift draws that of one clock. However many faults set some, none runs faster
// than another by more than the system bears, if it says what that is.
func (b *clockFault) monotonicDrift(r *rand.Rand) float64 {
	bound := b.env.ClockRate
	if bound == 0 {
		bound = 4
	}
	rate := magnitude(r, 1/math.Sqrt(bound), math.Sqrt(bound))
	return math.Trunc((rate-1)*1e6) / 1e6 // to be read, and within
}

func (b *clockFault) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var w Warping
	if err := json.Unmarshal(detail, &w); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	if len(w.Drawn) == 0 {
		return nil, fmt.Errorf("clock: %s says nothing about clocks", detail)
	}
	release, err := b.claim(ctx, &w.Aim)
	if err != nil {
		return nil, err
	}
	h := &heldClocks{warping: w, clocks: b.env.Clocks, release: release, strobes: map[string]cluster.Impairment{}}
	h.warping.Warps = map[string]cluster.Warp{}
	for i, node := range w.Nodes {
		warp := w.Drawn[min(i, len(w.Drawn)-1)]
		h.warping.Warps[node] = warp
		if err == nil {
			err = h.begin(node, warp)
		}
	}
	if err == nil {
		h.warping.Read, err = h.clocks.Read(ctx, w.Nodes...)
	}
	if err != nil {
		// Nothing may be left in force, whatever ctx says. If that cannot be done now it
		// is in force, or nobody would try again.
		if h.right() != nil {
			return h, nil
		}
		release()
		return nil, err
	}
	return h, nil
}

// claim names the nodes that are hit, in a.
func (b *clockFault) claim(ctx context.Context, a *Aim) (release func(), err error) {
	order := a.Order // it is part of what was drawn
	a.Order = b.env.clocks.free(order)
	if len(a.Order) == 0 && len(order) > 0 {
		return nil, errClockHeld
	}
	releaseNodes, err := b.env.claimRunning(ctx, a, slows)
	a.Order = order
	if err != nil {
		return nil, err
	}
	if err := b.env.clocks.take(a.Nodes); err != nil {
		releaseNodes()
		return nil, err
	}
	nodes := slices.Clone(a.Nodes)
	return func() {
		b.env.clocks.release(nodes)
		releaseNodes()
	}, nil
}

// A heldClocks is a clock fault in force.
type heldClocks struct {
	warping Warping
	clocks  cluster.Clocks
	release func()
	strobes map[string]cluster.Impairment // by node
	held    map[string]cluster.Offsets    // read just before it was healed
}

func (h *heldClocks) begin(node string, w cluster.Warp) (err error) {
	if h.warping.Variant != clockStrobe {
		return h.clocks.Set(node, w)
	}
	s, err := h.clocks.Strobe(node, w, h.warping.Every)
	if err == nil {
		h.strobes[node] = s
	}
	return err
}

// right sets all clocks right.
func (h *heldClocks) right() error {
	var errs []error
	for _, node := range h.warping.Nodes {
		if s := h.strobes[node]; s != nil {
			errs = append(errs, s.End())
		} else {
			errs = append(errs, h.clocks.Set(node, cluster.Warp{}))
		}
	}
	return errors.Join(errs...)
}

func (h *heldClocks) Detail() any { return h.warping }

func (h *heldClocks) End(ctx context.Context) (acted uint64, evidence any, err error) {
	if h.held == nil {
		if h.held, err = h.clocks.Read(ctx, h.warping.Nodes...); err != nil {
			return 0, nil, errors.Join(err, h.right()) // which is more urgent than what was read
		}
	}
	if err := h.right(); err != nil {
		return 0, nil, err
	}
	healed, err := h.verify(ctx)
	if err != nil {
		return 0, nil, err
	}
	h.release()
	warped := map[string]Warped{}
	for node, warp := range h.warping.Warps {
		w := Warped{Begun: h.warping.Read[node], Held: h.held[node], Healed: healed[node]}
		if s := h.strobes[node]; s != nil {
			for _, times := range s.Seen() {
				w.Strobed += times
			}
		}
		warped[node] = w
		if w.acted(warp) {
			acted++
		}
	}
	return acted, warped, nil
}

// verify reads the clocks and returns an error if realtime is not right, or the
// monotonic clock still gains.
func (h *heldClocks) verify(ctx context.Context) (map[string]cluster.Offsets, error) {
	first, err := h.clocks.Read(ctx, h.warping.Nodes...)
	if err != nil {
		return nil, err
	}
	second, err := h.clocks.Read(ctx, h.warping.Nodes...)
	if err != nil {
		return nil, err
	}
	for _, node := range slices.Sorted(maps.Keys(second)) {
		a, b := first[node], second[node]
		if b.Realtime.Abs() > b.Within {
			return nil, fmt.Errorf("clock: %s was set right, and reads realtime that is off by %v", node, b.Realtime)
		}
		if gained := b.Monotonic - a.Monotonic; gained.Abs() > a.Within+b.Within {
			return nil, fmt.Errorf("clock: %s was set right, and its monotonic clock has gained %v since", node, gained)
		}
	}
	return second, nil
}
