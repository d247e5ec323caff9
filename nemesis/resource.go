package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// The variants of a shortage of resources.
const (
	resourceCPU    = "cpu"
	resourceMemory = "memory"
	resourceFiles  = "files"
)

// Resource lets nodes run short of what they use. Processes that end for want of it
// are started again when it is healed.
//
// Its evidence is what the nodes used, and how often the limits acted.
func Resource() Fault {
	f := Fault{
		Name:  "resource",
		About: "let nodes run short of time, memory or descriptors",
		Variants: []Variant{
			{Name: resourceCPU, About: "a small part of a core, up to a half"},
			{Name: resourceMemory, About: "about as much memory as is in use; whoever takes more is killed"},
			{Name: resourceFiles, About: "about as many file descriptors as are open"},
		},
		Targets: anyNodes,
		Needs:   []Need{NeedResources},
	}
	f.New = func(env Env, s Spec) (Breaker, error) { return newShortage(env, f, s) }
	return f
}

// A Shortage is the detail of a shortage of resources. What there is to be is drawn;
// what that comes to depends on what is in use when it begins.
type Shortage struct {
	Variant string `json:"variant"`
	Aim
	CPU    float64 `json:"cpu,omitempty"`    // the part of a core
	Memory float64 `json:"memory,omitempty"` // the part of what is in use
	Files  int     `json:"files,omitempty"`  // beside those that are open
	// Limits are those that it came to, by node.
	Limits map[string]cluster.Limit `json:"limits,omitempty"`
}

// limit is what the shortage leaves to a node that uses u.
func (s Shortage) limit(u cluster.Usage) cluster.Limit {
	switch s.Variant {
	case resourceCPU:
		return cluster.Limit{CPU: s.CPU}
	case resourceMemory:
		return cluster.Limit{Memory: max(1, int64(s.Memory*float64(u.Memory)))}
	}
	return cluster.Limit{Files: uint64(max(1, u.Files+s.Files))}
}

// A Short is what was seen of a shortage on a node: its evidence, by node.
type Short struct {
	Limit cluster.Limit `json:"limit"`
	// Seen is how often the limit acted, by what it did.
	Seen map[string]uint64 `json:"seen"`
	// Before and After are what was in use when it began, and just before it ended.
	Before cluster.Usage `json:"before"`
	After  cluster.Usage `json:"after"`
	// Core is the part of a core that the node had meanwhile, if it was the same
	// process all the time.
	Core float64 `json:"core,omitempty"`
	// Ended is the process that ended meanwhile, for whatever reason, and Again the one
	// that was started instead.
	Ended int `json:"ended,omitempty"`
	Again int `json:"again,omitempty"`
	// Error is why there was no shortage here.
	Error string `json:"error,omitempty"`
}

// A shortage is the breaker of such faults.
type shortage struct{ aiming }

func newShortage(env Env, f Fault, s Spec) (*shortage, error) {
	if env.Resources == nil {
		return nil, errors.New("the lab limits no resources")
	}
	if env.Processes == nil || env.Start == nil {
		return nil, errors.New("there are no processes")
	}
	a, err := newAiming(env, f, s)
	if err != nil {
		return nil, err
	}
	return &shortage{a}, nil
}

// Draw draws what is to be left. Memory and descriptors are a little more or less than
// what is in use, so that sometimes they are enough, sometimes they are not, and
// sometimes not for long. Of time small parts are as likely as large ones: many a node
// would never miss the rest.
func (b *shortage) Draw(r *rand.Rand) any {
	s := &Shortage{Variant: b.variant(r)}
	s.Aim = b.aim(r)
	switch s.Variant {
	case resourceCPU:
		s.CPU = hundredths(magnitude(r, 0.03, 0.5))
	case resourceMemory:
		s.Memory = hundredths(0.85 + 0.2*r.Float64())
	case resourceFiles:
		s.Files = r.IntN(5) - 3
	}
	return s
}

func (b *shortage) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var s Shortage
	if err := json.Unmarshal(detail, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", b.fault.Name, err)
	}
	// Who has no memory will be killed, and who is slow is only slow.
	h := slows
	if s.Variant == resourceMemory {
		h = stops
	}
	release, err := b.env.claimRunning(ctx, &s.Aim, h)
	if err != nil {
		return nil, err
	}
	s.Limits = map[string]cluster.Limit{}
	held := &heldShortage{shortage: s, env: b.env, release: release, own: h == stops, nodes: map[string]*shortNode{}}
	var errs []error
	for _, node := range s.Nodes {
		n := b.begin(s, node)
		held.nodes[node] = n
		if n.limit == nil {
			errs = append(errs, fmt.Errorf("%s %s: %s", b.fault.Name, node, n.seen.Error))
			continue
		}
		s.Limits[node] = n.seen.Limit
	}
	if len(errs) == len(s.Nodes) {
		release()
		return nil, errors.Join(errs...)
	}
	return held, nil
}

// begin limits a node, or says why it could not.
func (b *shortage) begin(s Shortage, node string) *shortNode {
	n := &shortNode{begun: time.Now(), seen: &Short{}}
	fail := func(why string) *shortNode {
		n.seen.Error, n.ended = why, true
		return n
	}
	p, running := b.env.Processes.Process(node)
	if !running {
		return fail("it runs nothing")
	}
	before, err := b.env.Resources.Usage(node)
	if err != nil {
		return fail(err.Error())
	}
	n.pid, n.seen.Before, n.seen.Limit = p.PID, before, s.limit(before)
	if n.limit, err = b.env.Resources.Limit(node, n.seen.Limit); err != nil {
		n.limit = nil
		return fail(err.Error())
	}
	return n
}

// A shortNode is a node that runs short.
type shortNode struct {
	pid   int
	begun time.Time
	limit cluster.Impairment // nil if there was none
	seen  *Short
	ended bool // there is none any more
}

// A heldShortage is a shortage in force.
type heldShortage struct {
	shortage Shortage
	env      Env
	release  func()
	// own says that no other fault may start the nodes.
	own   bool
	nodes map[string]*shortNode
}

func (h *heldShortage) Detail() any { return h.shortage }

func (h *heldShortage) End(ctx context.Context) (acted uint64, evidence any, err error) {
	var errs []error
	for _, node := range h.shortage.Nodes {
		if n := h.nodes[node]; n != nil {
			errs = append(errs, h.lift(ctx, node, n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return 0, nil, err
	}
	if err := h.revive(ctx); err != nil {
		return 0, nil, err
	}
	h.release()
	shorts := map[string]*Short{}
	for node, n := range h.nodes {
		shorts[node] = n.seen
		for _, times := range n.seen.Seen {
			acted += times
		}
	}
	return acted, shorts, nil
}

// lift notes what a node used and lifts its limit.
func (h *heldShortage) lift(ctx context.Context, node string, n *shortNode) error {
	if n.ended {
		return nil
	}
	after, err := h.env.Resources.Usage(node)
	if err != nil {
		return err
	}
	took := time.Since(n.begun)
	if err := n.limit.End(); err != nil {
		return err
	}
	n.seen.After, n.seen.Seen, n.ended = after, n.limit.Seen(), true
	ended := func() bool {
		p, running := h.env.Processes.Process(node)
		return !running || p.PID != n.pid
	}
	// Who was killed at the last moment is gone a little later, and would be missed.
	if ended() || n.seen.Seen["killed"] > 0 && poll(ctx, dieLimit, ended) {
		n.seen.Ended = n.pid
	} else if took > 0 {
		n.seen.Core = max(0, hundredths((after.CPU-n.seen.Before.CPU).Seconds()/took.Seconds()))
	}
	return nil
}

// dieLimit is how long one that was killed may take until it is gone. It may also have
// been another one of the node's.
const dieLimit = time.Second

// revive starts the nodes whose processes have ended.
func (h *heldShortage) revive(ctx context.Context) error {
	var errs []error
	for node, n := range h.nodes {
		if _, running := h.env.Processes.Process(node); running || n.seen.Ended == 0 {
			continue
		}
		if h.own {
			hit := &Hit{PID: n.pid}
			errs = append(errs, startAgain(ctx, h.env, node, hit))
			n.seen.Again = hit.Again
			continue
		}
		errs = append(errs, h.env.revive(node))
		if p, running := h.env.Processes.Process(node); running {
			n.seen.Again = p.PID
		}
	}
	return errors.Join(errs...)
}
