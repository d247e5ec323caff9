package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of what happens to packets.
const (
	packetDelay         = "delay"
	packetJitter        = "jitter"
	packetLoss          = "loss"
	packetDuplicate     = "duplicate"
	packetReorder       = "reorder"
	packetRate          = "rate"
	packetCorrupt       = "corrupt"
	packetCorruptSilent = "corrupt-silent"
	packetReset         = "reset"
)

// Packet makes the links of nodes bad ones, to and from other nodes and sometimes
// the clients. They still carry something, so that nobody is given up for dead, and
// what depends on being in time is not.
//
// Its evidence is the number of packets, or connections, that it touched on each link.
func Packet() Fault {
	f := Fault{
		Name:  "packet",
		About: "delay, lose, double, reorder or corrupt packets, or reset connections",
		Variants: []Variant{
			{Name: packetDelay, About: "packets arrive 5 to 500 ms later"},
			{Name: packetJitter, About: "packets arrive at odd times, up to 200 ms later"},
			{Name: packetLoss, About: "1 to 50 % of the packets are lost"},
			{Name: packetDuplicate, About: "5 to 50 % of the packets arrive twice"},
			{Name: packetReorder, About: "5 to 50 % of the packets are overtaken"},
			{Name: packetRate, About: "16 KiB to 4 MiB pass a second"},
			{Name: packetCorrupt, About: "bits are flipped in 0.5 to 10 % of the packets, and checksums tell"},
			{Name: packetReset, About: "connections are reset, every 1 to 5 s"},
			{Name: packetCorruptSilent, About: "bits are flipped in 0.1 to 5 % of the packets, and checksums are right",
				OnRequest: "what has no checksums of its own cannot bear it"},
		},
		Targets: anyNodes,
	}
	f.New = func(env Env, s Spec) (Breaker, error) { return newMangler(env, f, s) }
	return f
}

// A Mangling is the detail of what happens to packets.
type Mangling struct {
	Variant string `json:"variant"`
	Aim
	// Direction is that of the packets, as the nodes see it, if it is only one.
	Direction string `json:"direction,omitempty"`
	// Clients says that it happens between nodes and the tester, too.
	Clients bool           `json:"clients,omitempty"`
	Effect  cluster.Effect `json:"effect,omitzero"`
	// Every is how often connections are reset.
	Every time.Duration `json:"every,omitempty"`
	// Links are those that it came to.
	Links []string `json:"links,omitempty"`
}

// A mangler is the breaker of packets.
type mangler struct {
	aiming
	network cluster.Shaper
}

func newMangler(env Env, f Fault, s Spec) (*mangler, error) {
	network, ok := env.Network.(cluster.Shaper)
	if !ok {
		return nil, errors.New("the network does nothing to single packets")
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &mangler{a, network}, nil
}

// Draw draws what happens, to whom, and how much: the small as often as the large,
// for what is too much of one system goes unnoticed by another.
func (b *mangler) Draw(r *rand.Rand) any {
	m := &Mangling{Variant: b.variant(r)}
	m.Aim = b.aim(r)
	m.Direction = pick(r, []string{"", "", inward, outward})
	m.Clients = len(b.env.Nodes) == 1 || r.IntN(2) == 0
	e := &m.Effect
	switch m.Variant {
	case packetDelay:
		e.Delay = between(r, 5*time.Millisecond, 500*time.Millisecond)
	case packetJitter:
		e.Jitter = between(r, 10*time.Millisecond, 200*time.Millisecond)
	case packetLoss:
		e.Loss = chance(r, 0.01, 0.5)
	case packetDuplicate:
		e.Duplicate = chance(r, 0.05, 0.5)
	case packetReorder:
		e.Reorder, e.ReorderBy = chance(r, 0.05, 0.5), between(r, time.Millisecond, 50*time.Millisecond)
	case packetRate:
		e.Rate = int64(magnitude(r, 16<<10, 4<<20))
	case packetCorrupt:
		e.Corrupt = chance(r, 0.005, 0.1)
	case packetCorruptSilent:
		e.CorruptSilently = chance(r, 0.001, 0.05)
	case packetReset:
		m.Every = between(r, time.Second, 5*time.Second)
		return m
	}
	e.Seed = uint64(r.Uint32())
	return m
}

// links returns the links that m happens on, among all nodes.
func (m *Mangling) links(nodes []string) (links []cluster.Link) {
	peers := slices.Clone(nodes)
	if m.Clients {
		peers = append(peers, cluster.Tester)
	}
	add := func(from, to string) {
		if l := (cluster.Link{From: from, To: to}); !slices.Contains(links, l) {
			links = append(links, l)
		}
	}
	for _, node := range m.Nodes {
		for _, peer := range peers {
			if peer == node {
				continue
			}
			if m.Direction != outward {
				add(peer, node)
			}
			if m.Direction != inward {
				add(node, peer)
			}
		}
	}
	return links
}

func (b *mangler) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var m Mangling
	if err := json.Unmarshal(detail, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	release, err := b.env.claim(ctx, &m.Aim, slows)
	if err != nil {
		return nil, err
	}
	links := m.links(b.env.Nodes)
	m.Links = nil
	for _, l := range links {
		m.Links = append(m.Links, l.String())
	}
	h := &heldMangling{mangling: m, release: release}
	if m.Variant == packetReset {
		h.impairment = newResets(b.network, links, m.Every)
	} else if h.impairment, err = b.network.Impair(m.Effect, links...); err != nil {
		release()
		return nil, err
	}
	return h, nil
}

// A heldMangling is one in force.
type heldMangling struct {
	mangling   Mangling
	impairment cluster.Impairment
	release    func()
}

func (h *heldMangling) Detail() any { return h.mangling }

func (h *heldMangling) End(context.Context) (acted uint64, evidence any, err error) {
	if err := h.impairment.End(); err != nil {
		return 0, nil, err
	}
	h.release()
	seen := h.impairment.Seen()
	for _, n := range seen {
		acted += n
	}
	return acted, seen, nil
}

// resets are connections that are reset again and again. A goroutine does it, since a
// reset takes its time, and End waits for it.
type resets struct {
	stop func()
	done chan struct{}

	mu   sync.Mutex
	seen map[string]uint64
	err  error // of the last one
}

func newResets(network cluster.Shaper, links []cluster.Link, every time.Duration) *resets {
	stop := make(chan struct{})
	r := &resets{stop: sync.OnceFunc(func() { close(stop) }), done: make(chan struct{}), seen: map[string]uint64{}}
	go func() {
		defer close(r.done)
		again := time.NewTicker(max(every, time.Millisecond))
		defer again.Stop()
		for {
			seen, err := network.Reset(links...)
			r.add(seen, err)
			select {
			case <-stop:
				return
			case <-again.C:
			}
		}
	}()
	return r
}

func (r *resets) add(seen map[string]uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	for link, n := range seen {
		r.seen[link] += n
	}
}

// Seen implements [cluster.Impairment].
func (r *resets) Seen() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]uint64{}
	for link, n := range r.seen {
		seen[link] = n
	}
	return seen
}

// End implements [cluster.Impairment]. There is nothing to undo, so that what went
// wrong is an error the first time only.
func (r *resets) End() error {
	r.stop()
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.err
	r.err = nil
	return err
}
