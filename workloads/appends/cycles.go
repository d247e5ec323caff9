package appends

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/histories"
)

// A dependency is why one transaction comes before another. They are bits, so that
// several are a set.
type dependency uint8

const (
	ww dependency = 1 << iota // it appended what comes before what the other did
	wr                        // it appended what the other read
	rw                        // it read a list without what the other appended
	rt                        // it had completed before the other began
)

// An edge is a dependency, with where it shows.
type edge struct {
	from, to int32
	why      dependency
	key      int32
	element  int64 // that the later one read or appended; for wr, that the former did
}

// A class is a kind of cycles: in the notation of Adya (Weak Consistency, MIT 1999),
// as Elle uses it.
type class struct {
	name string
	why  dependency // of its edges
	// once says that, beside those, there is exactly one edge rw.
	once bool
}

// classes are in the order in which they are looked for: each has the cycles of
// those before it, too. One that needs to know that something had ended before
// something else began is worth less than one that does not.
var classes = []class{
	{"G0", ww, false},
	{"G1c", ww | wr, false},
	{"G-single", ww | wr, true},
	{"G2", ww | wr | rw, false},
	{"G0-realtime", ww | rt, false},
	{"G1c-realtime", ww | wr | rt, false},
	{"G-single-realtime", ww | wr | rt, true},
	{"G2-realtime", ww | wr | rw | rt, false},
}

// cycles tells of transactions each of which must come before the next and the last
// one before the first. Of each strongly connected component of the graph of
// dependencies it tells one cycle: of the first class that it has, the shortest.
func (f *findings) cycles() {
	g := newGraph(len(f.txns), f.dependencies())
	all := make([]int32, len(f.txns))
	for i := range all {
		all[i] = int32(i)
	}
	for _, component := range g.components(all, ww|wr|rw|rt) {
		for _, c := range classes {
			if cycle := g.cycle(component, c); cycle != nil {
				f.report(c.name, cycle)
				break
			}
		}
	}
}

// report tells of a cycle.
func (f *findings) report(kind string, cycle []edge) {
	names := map[int32]string{}
	var txns []int
	var who, why []string
	for i, e := range cycle {
		names[e.from] = fmt.Sprintf("T%d", i+1)
		txns = append(txns, int(e.from))
		who = append(who, names[e.from]+": "+f.did(int(e.from)))
	}
	for _, e := range cycle {
		from, to := names[e.from], names[e.to]
		switch e.why {
		case ww:
			why = append(why, fmt.Sprintf("%s came before %s, which appended %d to %s next", from, to, e.element, f.keys[e.key].name))
		case wr:
			why = append(why, fmt.Sprintf("%s before %s, which read its %d from %s", from, to, e.element, f.keys[e.key].name))
		case rw:
			why = append(why, fmt.Sprintf("%s before %s, whose %d it did not find in %s", from, to, e.element, f.keys[e.key].name))
		case rt:
			why = append(why, fmt.Sprintf("%s before %s, which began when it had ended", from, to))
		}
	}
	f.add(kind, txns, "no order explains these %d: %s. %s", len(cycle), strings.Join(why, "; "), strings.Join(who, "; "))
}

// dependencies returns the edges between transactions that were committed: those
// that are ok, and those of unknown outcome of which something was read.
func (f *findings) dependencies() []edge {
	var edges []edge
	for i, k := range f.keys {
		if !k.broken {
			edges = f.dataDependencies(edges, int32(i), k)
		}
	}
	return f.timeDependencies(edges)
}

// maxUnread bounds the edges from the readers of a list to those who appended what
// was not read, which are one from each to each.
const maxUnread = 1 << 16

func (f *findings) dataDependencies(edges []edge, at int32, k *key) []edge {
	add := func(from, to int, why dependency, e int64) {
		if from != to {
			edges = append(edges, edge{int32(from), int32(to), why, at, e})
		}
	}
	type appended struct {
		txn     int
		element int64
	}
	// What is lost is told; here it would be told again.
	committed := func(e int64) (appended, bool) {
		w := k.writes[e]
		if w == nil || w.lost || f.txns[w.txn].Type == histories.Fail {
			return appended{}, false
		}
		return appended{w.txn, e}, true
	}
	// next are the first elements, from each position on, that a transaction is
	// known to have appended.
	next := make([]*appended, len(k.order)+1)
	for i := len(k.order) - 1; i >= 0; i-- {
		next[i] = next[i+1]
		if a, ok := committed(k.order[i]); ok {
			if next[i+1] != nil {
				add(a.txn, next[i+1].txn, ww, next[i+1].element)
			}
			next[i] = &a
		}
	}
	// What was committed and not read yet comes after all that was.
	var unread []appended
	inOrder := make(map[int64]bool, len(k.order))
	for _, e := range k.order {
		inOrder[e] = true
	}
	for _, e := range elementsOf(k) {
		w := k.writes[e]
		if f.committed[w.txn].by != histories.Never && !w.lost && !inOrder[e] {
			unread = append(unread, appended{w.txn, e})
		}
	}
	if n := len(k.order); n > 0 {
		if last, ok := committed(k.order[n-1]); ok {
			for _, a := range unread {
				add(last.txn, a.txn, ww, a.element)
			}
		}
	}
	left := maxUnread
	for _, r := range k.reads {
		if !r.external {
			continue
		}
		n := len(r.list)
		if n > 0 {
			if a, ok := committed(r.list[n-1]); ok {
				add(a.txn, r.txn, wr, a.element)
			}
		}
		switch {
		case n < len(k.order):
			if next[n] != nil {
				add(r.txn, next[n].txn, rw, next[n].element)
			}
		case left >= len(unread):
			left -= len(unread)
			for _, a := range unread {
				add(r.txn, a.txn, rw, a.element)
			}
		}
	}
	return edges
}

// timeDependencies adds what had ended before what began. Only the last ones that
// had ended are told; those before them follow. So there are no more for each
// transaction than clients.
func (f *findings) timeDependencies(edges []edge) []edge {
	var ended []int // none of which had ended before another of them began
	byEnd := make([]int, 0, len(f.txns))
	for t, c := range f.txns {
		if c.Type == histories.OK {
			byEnd = append(byEnd, t)
		}
	}
	slices.SortFunc(byEnd, func(a, b int) int { return cmp.Compare(f.txns[a].Completed, f.txns[b].Completed) })
	for t, c := range f.txns {
		for len(byEnd) > 0 && f.txns[byEnd[0]].Completed < c.Invoked {
			last := byEnd[0]
			byEnd = byEnd[1:]
			ended = slices.DeleteFunc(ended, func(e int) bool { return f.txns[e].Completed < f.txns[last].Invoked })
			ended = append(ended, last)
		}
		if c.Type == histories.Fail {
			continue
		}
		for _, e := range ended {
			edges = append(edges, edge{from: int32(e), to: int32(t), why: rt})
		}
	}
	return edges
}

// A graph has its edges sorted by where they begin.
type graph struct {
	edges []edge
	first []int32 // of each node, in edges, and the end of them
	// What searches mark nodes with.
	within []int32 // the number of the last search that is confined to it
	search int32
	seen   []int32 // the number of the last walk that came by
	walk   int32
	by     []int32 // and by which edge
	// What the search for components knows of a node: when it came by, and the first
	// node, by that, which can be reached from there.
	index, low []int32
}

func newGraph(nodes int, edges []edge) *graph {
	g := &graph{
		edges: make([]edge, len(edges)), first: make([]int32, nodes+1),
		within: make([]int32, nodes), seen: make([]int32, nodes), by: make([]int32, nodes),
		index: make([]int32, nodes), low: make([]int32, nodes),
	}
	for _, e := range edges {
		g.first[e.from+1]++
	}
	for i := range nodes {
		g.first[i+1] += g.first[i]
	}
	place := slices.Clone(g.first)
	for _, e := range edges {
		g.edges[place[e.from]] = e
		place[e.from]++
	}
	return g
}

// confine makes nodes those that searches stay in.
func (g *graph) confine(nodes []int32) {
	g.search++
	for _, v := range nodes {
		g.within[v] = g.search
	}
}

// components returns the strongly connected components of more than one node, by
// edges of some kinds among nodes (Tarjan, without recursion).
func (g *graph) components(nodes []int32, why dependency) [][]int32 {
	g.confine(nodes)
	for _, v := range nodes {
		g.index[v] = 0
	}
	const known = -1 // in place of an index: its component is
	type visit struct{ node, edge int32 }
	var found [][]int32
	var path []visit
	var open []int32 // nodes whose component is not known
	came := int32(0)
	enter := func(v int32) {
		came++
		g.index[v], g.low[v] = came, came
		open = append(open, v)
		path = append(path, visit{v, g.first[v]})
	}
	for _, root := range nodes {
		if g.index[root] == 0 {
			enter(root)
		}
		for len(path) > 0 {
			at := &path[len(path)-1]
			v := at.node
			if at.edge < g.first[v+1] {
				e := g.edges[at.edge]
				at.edge++
				switch {
				case e.why&why == 0 || g.within[e.to] != g.search:
				case g.index[e.to] == 0:
					enter(e.to)
				case g.index[e.to] != known:
					g.low[v] = min(g.low[v], g.index[e.to])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				u := path[len(path)-1].node
				g.low[u] = min(g.low[u], g.low[v])
			}
			if g.low[v] != g.index[v] {
				continue
			}
			from := len(open) - 1
			for open[from] != v {
				from--
			}
			component := slices.Clone(open[from:])
			open = open[:from]
			for _, u := range component {
				g.index[u] = known
			}
			if len(component) > 1 {
				found = append(found, component)
			}
		}
	}
	return found
}

// maxSteps bounds the search for a shortest cycle among many: it takes the shortest
// that it has found by then.
const maxSteps = 1 << 22

// cycle returns a short cycle of a class among nodes, if there is one.
func (g *graph) cycle(nodes []int32, c class) []edge {
	why := c.why
	if c.once {
		why |= rw
	}
	var best []edge
	steps := maxSteps
	for _, component := range g.components(nodes, why) {
		g.confine(component)
		for _, v := range component {
			for i := g.first[v]; i < g.first[v+1] && steps > 0; i++ {
				e := g.edges[i]
				if g.within[e.to] != g.search || c.once && e.why != rw || !c.once && e.why&why == 0 {
					continue
				}
				if back := g.path(e.to, v, c.why, len(best)-1, &steps); back != nil {
					best = append([]edge{e}, back...)
				}
			}
		}
		// Another component is another cycle; one is enough.
		if best != nil {
			break
		}
	}
	return best
}

// path returns a shortest path from one node to another by edges of some kinds, if
// it is shorter than most; of any length if most is negative.
func (g *graph) path(from, to int32, why dependency, most int, steps *int) []edge {
	g.walk++
	g.seen[from] = g.walk
	layer := []int32{from}
	for length := 1; len(layer) > 0 && (most < 0 || length < most); length++ {
		var next []int32
		for _, v := range layer {
			for i := g.first[v]; i < g.first[v+1]; i++ {
				*steps--
				e := g.edges[i]
				if e.why&why == 0 || g.within[e.to] != g.search || g.seen[e.to] == g.walk {
					continue
				}
				g.seen[e.to], g.by[e.to] = g.walk, i
				if e.to == to {
					return g.back(from, to)
				}
				next = append(next, e.to)
			}
		}
		layer = next
	}
	return nil
}

// back returns the path that a walk took.
func (g *graph) back(from, to int32) []edge {
	var path []edge
	for v := to; v != from; {
		e := g.edges[g.by[v]]
		path = append(path, e)
		v = e.from
	}
	slices.Reverse(path)
	return path
}
