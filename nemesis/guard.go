package nemesis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A harm is what a fault does to the nodes that it hits.
type harm int

const (
	// slows: they go on, if badly. Any number of faults may do that to any nodes.
	slows harm = iota
	// parts: they see less than a majority, for a while.
	parts
	// stops: their processes do not run, for a while. One fault at a time may do
	// that to a node, for it will start there what is to run.
	stops
	// damages: as stops, and what they have on disk is not what it was. Nobody
	// survives that on a majority of the nodes, be it one after the other.
	damages
	// leaves: as stops, and they are no members. To change that takes a majority of
	// the others.
	leaves
)

// errGuarded is why a fault is not begun that the guard does not let begin.
var errGuarded = errors.New("held back")

// A guard keeps the books of whom faults have in hold, so that they do not start
// what another holds down, and, unless it is off, so that together they do not
// take more from a system than it can bear:
//
//   - A majority may be stopped or parted by a fault that was aimed at one, since
//     that heals. Others add to what is disturbed only up to a minority, or hit
//     who is disturbed already; else nothing would ever be done in between.
//   - Damage is done to the same minority for the whole run. While nodes have left,
//     those of it that have not must be a minority of the members.
//   - A node leaves only if all that is disturbed, and it, are a minority; and none is
//     aimed at a majority until it is back, which takes one.
//
// Where clients change members, too, damage and leaving are reckoned as if they had as many
// nodes leave as they may: of those that are members then it has to be a minority.
//
// Nodes of another part than the first are no quorum. Their guard is off: any number of them
// may be disturbed, since all of it heals.
type guard struct {
	nodes  []string
	absent int // see [Env]
	off    bool

	mu      sync.Mutex
	holds   []*hold
	damaged []string // in this run
	touched []string // those whose processes some fault has had in hold
}

// A hold is what a fault has on nodes.
type hold struct {
	nodes []string
	harm  harm
}

// claim chooses the nodes that a aims at, enters them into the books, and names them
// in a.Nodes and their part in a.Part. What it returns takes them out again; calling
// that twice is harmless. An error wraps errGuarded if it is others' faults that forbid
// it.
func (e Env) claim(ctx context.Context, a *Aim, h harm) (release func(), err error) {
	a.Part = e.of
	node := a.Target
	switch {
	case a.Target == Leading:
		node, err = e.leader(ctx)
	case isRole(a.Target):
		node, err = e.plays(ctx, a.Target)
	case !isNode(a.Target):
		return e.guard.claim(a, a.Order, h)
	}
	if err != nil {
		return nil, err
	}
	return e.guard.claim(a, []string{node}, h)
}

func (g *guard) claim(a *Aim, order []string, h harm) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	large := a.Count > g.few() && (h == parts || h == stops) && !g.off && (a.Target == Majority || a.Target == AllNodes)
	if large && g.large() {
		return nil, fmt.Errorf("%w: another fault has a majority of the nodes", errGuarded)
	}
	if large && g.changing() {
		return nil, fmt.Errorf("%w: it takes a majority for a member to come back", errGuarded)
	}
	a.Nodes = nil
	known := slices.DeleteFunc(slices.Clone(order), func(node string) bool { return !slices.Contains(g.nodes, node) })
	switch {
	case a.Count < 1 || len(order) == 0:
		return nil, errors.New("it is aimed at no node")
	case len(known) == 0:
		return nil, fmt.Errorf("there is no node %s", order[0])
	}
	for _, node := range known {
		if len(a.Nodes) == a.Count {
			break
		}
		if slices.Contains(a.Nodes, node) || h >= stops && g.stopped(node) {
			continue
		}
		if !g.off && !large && a.Target != Any && !g.bears(append(slices.Clone(a.Nodes), node), h) {
			continue
		}
		a.Nodes = append(a.Nodes, node)
	}
	switch {
	case len(a.Nodes) > 0:
	case g.off:
		return nil, fmt.Errorf("%w: other faults have %s in hold", errGuarded, strings.Join(known, ", "))
	case h >= damages && g.fewest() == 0:
		return nil, noMinority(g.nodes, g.absent)
	case h == damages && len(g.damaged) >= g.fewest():
		return nil, fmt.Errorf("%w: of those that it may damage, %v, it can hit none now", errGuarded, g.damaged)
	default:
		return nil, fmt.Errorf("%w: other faults have as many nodes as this system can do without", errGuarded)
	}
	if h == damages {
		g.damaged = union(g.damaged, a.Nodes)
	}
	if h >= stops {
		g.touched = union(g.touched, a.Nodes)
	}
	return g.enter(&hold{slices.Clone(a.Nodes), h}), nil
}

// replace enters a node that a fault aimed at target has damaged as one that leaves, until
// it is a member again.
func (g *guard) replace(node, target string) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.off && target != Any && !g.bears([]string{node}, leaves) {
		return nil, fmt.Errorf("%w: to replace %s takes a majority, and %v are disturbed", errGuarded, node, g.disturbed())
	}
	return g.enter(&hold{[]string{node}, leaves}), nil
}

// part enters nodes that see less than a majority. As long as nothing is stopped,
// partitions may add up as they like: all of it heals at once.
func (g *guard) part(nodes []string) (release func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	down := slices.ContainsFunc(g.holds, func(h *hold) bool { return h.harm >= stops })
	disturbed := g.disturbed()
	if all := union(disturbed, nodes); !g.off && down && len(all) > len(disturbed) && len(all) > g.few() {
		return nil, fmt.Errorf("%w: %v are stopped or cut off", errGuarded, disturbed)
	}
	return g.enter(&hold{nodes, parts}), nil
}

func (g *guard) enter(h *hold) (release func()) {
	g.holds = append(g.holds, h)
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.holds = slices.DeleteFunc(g.holds, func(other *hold) bool { return other == h })
	}
}

// bears says whether a system can do without nodes beside those that are disturbed.
func (g *guard) bears(nodes []string, h harm) bool {
	few := g.few()
	if h == slows {
		return true
	}
	if h == damages && !g.bearsDamage(nodes) {
		return false
	}
	disturbed := g.disturbed()
	all := union(disturbed, nodes)
	switch {
	case h == leaves:
		return len(all) <= g.fewest()
	case len(all) == len(disturbed):
		return true
	}
	return len(all) <= max(few, 1) // where there is no minority, one at a time
}

// bearsDamage says whether those that have been damaged are still few if nodes are, too:
// of all nodes, and of those that are members now. Who comes back to them has learnt
// anew what it had.
func (g *guard) bearsDamage(nodes []string) bool {
	damaged := union(g.damaged, nodes)
	left := g.held(leaves)
	members := len(g.nodes) - g.absent - len(left)
	among := 0
	for _, node := range damaged {
		if !slices.Contains(left, node) {
			among++
		}
	}
	return len(damaged) <= g.fewest() && among <= fewOf(members)
}

// few is the number of the largest minority.
func (g *guard) few() int { return fewOf(len(g.nodes)) }

// fewest is the number of the largest minority when clients have had as many leave as they
// may.
func (g *guard) fewest() int { return fewOf(len(g.nodes) - g.absent) }

func fewOf(nodes int) int { return (nodes - 1) / 2 }

// noMinority is why nothing is done that may be done to a minority of the members only.
func noMinority(nodes []string, absent int) error {
	if absent > 0 {
		return fmt.Errorf("it may hit a minority only, which takes 3 members, and clients may keep no more than %d of %d nodes", len(nodes)-absent, len(nodes))
	}
	return fmt.Errorf("it may hit a minority only, which takes 3 nodes, and there are %d", len(nodes))
}

// disturbed returns the nodes that do not take part, and some that are about to
// again.
func (g *guard) disturbed() []string { return g.held(parts) }

// held returns the nodes to which a fault does this much harm, or more.
func (g *guard) held(least harm) []string {
	var nodes []string
	for _, h := range g.holds {
		if h.harm >= least {
			nodes = union(nodes, h.nodes)
		}
	}
	return nodes
}

// large says whether one fault alone has a majority.
func (g *guard) large() bool {
	return slices.ContainsFunc(g.holds, func(h *hold) bool { return h.harm >= parts && len(h.nodes) > len(g.nodes)/2 })
}

// changing says whether a node has left that a majority has to take back.
func (g *guard) changing() bool {
	return slices.ContainsFunc(g.holds, func(h *hold) bool { return h.harm == leaves })
}

// leaderless says whether nobody can lead, since faults have stopped a majority.
func (g *guard) leaderless() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.held(stops)) > len(g.nodes)/2
}

// stopped says whether a fault has a node's processes in hold.
func (g *guard) stopped(node string) bool {
	return slices.ContainsFunc(g.holds, func(h *hold) bool { return h.harm >= stops && slices.Contains(h.nodes, node) })
}

// hit returns the nodes whose processes some fault has had in hold.
func (g *guard) hit() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.touched)
}

// unlessStopped calls f while no fault has the node's processes in hold, or not at
// all.
func (g *guard) unlessStopped(node string, f func() error) error {
	g.mu.Lock()
	if g.stopped(node) {
		g.mu.Unlock()
		return nil
	}
	release := g.enter(&hold{[]string{node}, stops})
	g.mu.Unlock()
	defer release()
	return f()
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
