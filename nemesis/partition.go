package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// Partition cuts links between nodes, or between nodes and the tester.
//
// Unless the shape says otherwise clients still reach every node. That is what
// brings errors to light: a deposed leader that answers reads from its own state
// is only seen by a client that can ask it.
//
// Its evidence is the number of packets that each link dropped.
func Partition() Fault {
	f := Fault{
		Name:  "partition",
		About: "cut links of the network",
	}
	for _, s := range shapes {
		f.Variants = append(f.Variants, s.Variant)
	}
	f.New = func(env Env, s Spec) (Breaker, error) { return newPartition(env, s.Variant) }
	return f
}

// A kind is what shapes have in common that bring the same errors to light.
type kind int

const (
	apart    kind = iota // groups that see nothing of each other
	overlap              // groups that share nodes
	oneway               // a node that hears and is not heard, or the other way round
	outside              // between nodes all is well
	flapping             // links that come and go
)

// A shape is a way to part the nodes.
type shape struct {
	Variant
	kind  kind
	nodes int // it needs at least so many
	// cut fills in what c cuts among at least so many nodes.
	cut func(c *Cut, r *rand.Rand, nodes []string)
}

var shapes = []shape{
	{Variant{Name: "isolate", About: "one node from all others"}, apart, 2, isolate},
	{Variant{Name: Leading, About: "the leader from all others"}, apart, 2, isolate},
	{Variant{Name: "halves", About: "the last nodes, a minority, from the first"}, apart, 2, halves},
	{Variant{Name: "random-halves", About: "two halves, drawn"}, apart, 2, randomHalves},
	{Variant{Name: "ring", About: "every node sees a majority, and no two the same"}, overlap, 3, ring},
	{Variant{Name: "bridge", About: "two halves that only one node between them sees both of"}, overlap, 3, bridge},
	{Variant{Name: "chain", About: "a line in which every node sees its neighbours alone"}, overlap, 3, chain},
	{Variant{Name: "quorum-loss", About: "one node sees all others, and they see only it"}, overlap, 3, quorumLoss},
	{Variant{Name: "one-way", About: "inbound or outbound"}, oneway, 2, oneWay},
	{Variant{Name: "inbound", About: "one node hears none of the others"}, oneway, 2, inbound},
	{Variant{Name: "outbound", About: "none of the others hears one node"}, oneway, 2, outbound},
	{Variant{Name: "client", About: "up to half of the nodes from the clients: both ways, or one"}, outside, 1, clients},
	{Variant{Name: "flapping", About: "one node's links, or one of them, are cut and healed again and again"}, flapping, 2, flap},
}

// A Cut is the detail of a partition.
type Cut struct {
	Shape string `json:"shape"`
	// Aim is "leader" if Node changes places with whoever leads when it begins.
	Aim string `json:"aim,omitempty"`
	// Node is the one that it is about, if there is one. Of halves it is one of the
	// lesser; of a bridge's one that is not the bridge, since a leader that everybody
	// sees would notice nothing.
	Node string `json:"node,omitempty"`
	// Direction is that of a cut that goes one way, as the node sees it.
	Direction string `json:"direction,omitempty"`
	// Groups are the nodes that still see each other. They may overlap; those of a
	// ring are what each node sees, itself first.
	Groups [][]string `json:"groups,omitempty"`
	// Every is how long links that flap are cut, and how long they are whole.
	Every time.Duration `json:"every,omitempty"`
	// Links are what is cut, as [cluster.Link] prints.
	Links []string `json:"links,omitempty"`
}

// The directions of a cut that goes one way.
const (
	inward  = "inbound"
	outward = "outbound"
)

// among cuts every link that no group has both ends of.
func (c *Cut) among(nodes []string, groups ...[]string) {
	c.Groups = groups
	for _, from := range nodes {
		for _, to := range nodes {
			together := func(g []string) bool { return slices.Contains(g, from) && slices.Contains(g, to) }
			if from != to && !slices.ContainsFunc(groups, together) {
				c.link(from, to)
			}
		}
	}
}

// around cuts the links between the node and peers, or those of one direction.
func (c *Cut) around(peers []string) {
	for _, peer := range peers {
		if peer == c.Node {
			continue
		}
		if c.Direction != outward {
			c.link(peer, c.Node)
		}
		if c.Direction != inward {
			c.link(c.Node, peer)
		}
	}
}

func (c *Cut) link(from, to string) {
	c.Links = append(c.Links, cluster.Link{From: from, To: to}.String())
}

// parse returns the links of c.
func (c *Cut) parse() ([]cluster.Link, error) {
	var links []cluster.Link
	for _, s := range c.Links {
		from, to, ok := strings.Cut(s, "→")
		if !ok {
			return nil, fmt.Errorf("%q is no link", s)
		}
		links = append(links, cluster.Link{From: from, To: to})
	}
	return links, nil
}

// aimAt lets node take the place of c.Node, and the other way round.
func (c *Cut) aimAt(node string) {
	swap := func(n string) string {
		switch n {
		case c.Node:
			return node
		case node:
			return c.Node
		}
		return n
	}
	for _, g := range c.Groups {
		for i := range g {
			g[i] = swap(g[i])
		}
	}
	for i, l := range c.Links {
		from, to, _ := strings.Cut(l, "→")
		c.Links[i] = cluster.Link{From: swap(from), To: swap(to)}.String()
	}
	c.Node = node
}

func isolate(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	c.Node = drawn[0]
	c.among(nodes, drawn[:1], drawn[1:])
}

func halves(c *Cut, _ *rand.Rand, nodes []string) {
	majority := min(len(nodes)/2+1, len(nodes)-1)
	c.Node = nodes[majority]
	c.among(nodes, nodes[:majority], nodes[majority:])
}

func randomHalves(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	half := len(drawn) / 2
	c.Node = drawn[0]
	c.among(nodes, drawn[:half], drawn[half:])
}

func bridge(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	half := len(drawn) / 2 // where the bridge is
	c.Node = drawn[0]
	c.among(nodes, drawn[:half+1], drawn[half:])
}

// ring puts the nodes on a circle, where each sees as many neighbours to either
// side as make a majority with itself. Among three everybody would see everybody:
// there it is a chain.
func ring(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	n := len(drawn)
	side := (n/2 + 1) / 2 // of a majority without the node itself, rounded up
	sees := func(a, b int) bool {
		distance := (b - a + n) % n
		return min(distance, n-distance) <= side && (n > 3 || a+b != 2)
	}
	for a, node := range drawn {
		group := []string{node}
		for b, other := range drawn {
			switch {
			case a == b:
			case sees(a, b):
				group = append(group, other)
			default:
				c.link(node, other)
			}
		}
		c.Groups = append(c.Groups, group)
	}
}

// chain puts the nodes in a line. Those at its ends lack more than all others.
func chain(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	var pairs [][]string
	for i := range len(drawn) - 1 {
		pairs = append(pairs, drawn[i:i+2:i+2])
	}
	c.Node = drawn[0]
	c.among(nodes, pairs...)
}

// quorumLoss leaves one node that could lead, and it is not the one that it is
// about: a leader in the middle would notice nothing.
func quorumLoss(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	var pairs [][]string
	for _, node := range drawn[1:] {
		pairs = append(pairs, []string{drawn[0], node})
	}
	c.Node = drawn[1]
	c.among(nodes, pairs...)
}

// flap lets the links of a node come and go, all at once, or those to one other. It
// is too short for anybody to get used to, and too long to be slept through.
func flap(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	c.Node = drawn[0]
	if peers := drawn[1:]; r.IntN(2) == 0 {
		c.around(peers)
	} else {
		c.around(peers[:1])
	}
	c.Every = time.Duration(50+r.IntN(450)) * time.Millisecond
}

func oneWay(c *Cut, r *rand.Rand, nodes []string) {
	if r.IntN(2) == 0 {
		inbound(c, r, nodes)
	} else {
		outbound(c, r, nodes)
	}
}

func inbound(c *Cut, r *rand.Rand, nodes []string) {
	c.Node, c.Direction = pick(r, nodes), inward
	c.around(nodes)
}

func outbound(c *Cut, r *rand.Rand, nodes []string) {
	c.Node, c.Direction = pick(r, nodes), outward
	c.around(nodes)
}

// clients cuts up to half of the nodes off, and outward as often as otherwise: what
// was done and not acknowledged is what clients take wrongly.
func clients(c *Cut, r *rand.Rand, nodes []string) {
	drawn := shuffled(r, nodes)
	drawn = drawn[:1+r.IntN((len(nodes)+1)/2)]
	c.Direction = pick(r, []string{"", inward, outward, outward})
	for _, c.Node = range drawn {
		c.around([]string{cluster.Tester})
	}
	c.Node = drawn[0]
	if len(drawn) > 1 {
		c.Groups = [][]string{{cluster.Tester}, drawn}
	}
}

// A partition is the breaker of partitions.
type partition struct {
	env    Env
	shapes []shape // to draw among
	// aims says that most cuts about some node are about the leader, since most of
	// what goes wrong goes wrong there.
	aims bool
	deck []kind // those of the next draws
}

func newPartition(env Env, name string) (*partition, error) {
	if env.Network == nil {
		return nil, errors.New("there is no network to cut")
	}
	p := &partition{env: env.withBooks(), aims: name == "" && env.Leader != nil}
	for _, s := range shapes {
		if name != "" && s.Name != name {
			continue
		}
		err := p.lacks(s)
		if err != nil && name != "" {
			return nil, err
		}
		if err == nil {
			p.shapes = append(p.shapes, s)
		}
	}
	if len(p.shapes) == 0 {
		return nil, errors.New("there are no nodes")
	}
	return p, nil
}

// lacks says why shape s cannot be cut, if so.
func (p *partition) lacks(s shape) error {
	if len(p.env.Nodes) < s.nodes {
		return tooFew(s.nodes, p.env.Nodes)
	}
	if s.Name == Leading && p.env.Leader == nil {
		return errors.New("the system does not tell who leads")
	}
	return nil
}

// Draw draws a kind and one of its shapes. All kinds have had their turn before one
// comes again, so that the few partitions of a short run are not all alike; the
// first kind has two, since more errors need it than any other.
func (p *partition) Draw(r *rand.Rand) any {
	var drawn []shape
	for len(drawn) == 0 {
		if len(p.deck) == 0 {
			p.deck = []kind{apart, apart, overlap, oneway, outside, flapping}
			r.Shuffle(len(p.deck), func(i, j int) { p.deck[i], p.deck[j] = p.deck[j], p.deck[i] })
		}
		for _, s := range p.shapes {
			if s.kind == p.deck[0] {
				drawn = append(drawn, s)
			}
		}
		p.deck = p.deck[1:]
	}
	s := drawn[r.IntN(len(drawn))]
	c := &Cut{Shape: s.Name}
	s.cut(c, r, p.env.Nodes)
	if s.Name == Leading || p.aims && c.Node != "" && r.IntN(4) > 0 {
		c.Aim = Leading
	}
	return c
}

func (p *partition) Begin(ctx context.Context, detail json.RawMessage) (Held, error) {
	var c Cut
	if err := json.Unmarshal(detail, &c); err != nil {
		return nil, fmt.Errorf("partition: %w", err)
	}
	if c.Aim == Leading {
		node, err := p.env.leader(ctx)
		if err != nil {
			return nil, err
		}
		c.aimAt(node)
	}
	links, err := c.parse()
	if err != nil {
		return nil, fmt.Errorf("partition: %w", err)
	}
	release, err := p.env.guard.part(c.cutOff(p.env.Nodes))
	if err != nil {
		return nil, err
	}
	h := &heldCut{cut: c, links: links, cuts: p.env.cuts, release: release}
	if err := h.cuts.begin(h); err != nil {
		release()
		return nil, err
	}
	if c.Every > 0 {
		return newFlap(h), nil
	}
	return h, nil
}

// cutOff returns the nodes that cannot talk with a majority, themselves included.
func (c *Cut) cutOff(nodes []string) (off []string) {
	for _, node := range nodes {
		sees := 0
		for _, other := range nodes {
			if !slices.Contains(c.Links, cluster.Link{From: node, To: other}.String()) &&
				!slices.Contains(c.Links, cluster.Link{From: other, To: node}.String()) {
				sees++
			}
		}
		if sees <= len(nodes)/2 {
			off = append(off, node)
		}
	}
	return off
}

// A heldCut is a partition in force.
type heldCut struct {
	cut   Cut
	links []cluster.Link
	cuts  *cuts
	// release tells the guard that the nodes are together again.
	release func()
}

func (h *heldCut) Detail() any { return h.cut }

func (h *heldCut) End(context.Context) (acted uint64, evidence any, err error) {
	dropped, err := h.cuts.end(h)
	if err != nil {
		return 0, nil, err
	}
	h.release()
	acted, evidence = evidenceOf(dropped)
	return acted, evidence, nil
}

func evidenceOf(dropped map[cluster.Link]uint64) (acted uint64, byLink map[string]uint64) {
	byLink = map[string]uint64{}
	for l, n := range dropped {
		byLink[l.String()] = n
		acted += n
	}
	return acted, byLink
}

// A heldFlap is a cut in force that is healed and made again all the time, by a
// goroutine that End waits for.
type heldFlap struct {
	*heldCut
	stop func()
	done chan struct{}

	// Of the goroutine, and of End after it.
	isCut   bool
	dropped map[cluster.Link]uint64
}

// newFlap lets a cut flap that has been made.
func newFlap(h *heldCut) *heldFlap {
	stop := make(chan struct{})
	f := &heldFlap{
		heldCut: h, stop: sync.OnceFunc(func() { close(stop) }), done: make(chan struct{}),
		isCut: true, dropped: map[cluster.Link]uint64{},
	}
	go func() {
		defer close(f.done)
		tick := time.NewTicker(h.cut.Every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if f.isCut {
				_ = f.heal() // or at the next tick, or by End
			} else {
				f.isCut = f.cuts.begin(h) == nil
			}
		}
	}()
	return f
}

// heal heals what is cut and adds up what was dropped.
func (f *heldFlap) heal() error {
	dropped, err := f.cuts.end(f.heldCut)
	if err != nil {
		return err
	}
	f.isCut = false
	for l, n := range dropped {
		f.dropped[l] += n
	}
	return nil
}

func (f *heldFlap) End(context.Context) (acted uint64, evidence any, err error) {
	f.stop()
	<-f.done
	if f.isCut {
		if err := f.heal(); err != nil {
			return 0, nil, err
		}
	}
	f.release()
	acted, evidence = evidenceOf(f.dropped)
	return acted, evidence, nil
}
