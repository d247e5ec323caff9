package linear

import (
	"hash/maphash"
	"math/bits"
	"reflect"
)

// A Problem is the history of an object of any kind, with what that is when one client at
// a time uses it. S is the state of the object: equal states behave alike.
type Problem[S comparable] struct {
	// Call and Return are of the operations, in the order of their calls. One that
	// returns Never is indeterminate.
	Call, Return []Time
	// Step returns the state after op, and whether op can take effect in s. An
	// indeterminate op need not have happened, so where it cannot Step may just as well
	// say that it can and changes nothing. It has no effects.
	Step func(s S, op int32) (S, bool)
	// ReadOnly says that op leaves every state as it is in which it can take effect. If
	// nil no operation is known to.
	ReadOnly func(op int32) bool
	// Class are numbers from 0: operations of one class do the same in every state. If
	// nil no two are known to.
	Class []int32
	// Starts are the states that the object may be in at the start.
	Starts []S
}

// Search decides p by trying in which order operations took effect: the search of Wing
// and Gong (Testing and Verifying Concurrent Objects, JPDC 1993) with the memo of Lowe
// (Testing for Linearizability, CCPE 2017). It is exact for every object, and as every
// such search it may take time exponential in how many operations are open at once. If
// it is Illegal, [Decision.At] is known, and there is no witness.
//
// A node of the search is the set of operations taken so far, and the state they led to.
// Next comes one that has not been taken and was called by the first return of all that
// have not. What makes it fast, and why that is exact: below, a completion of a node is
// a sequence of operations that leads from it to the end, and each rule leaves for each
// completion of a node one that is no longer.
//
//   - Window: up to the first return that is not taken, all that returned is taken, and
//     nothing that was called after. So that return and the set of those taken that were
//     open then tell nodes apart, in as many bits as operations are open at once.
//   - Eager: a read-only operation that can be taken is taken, and nothing else is tried.
//     It returns, so every completion has it, and can as well begin with it.
//   - Idle: an indeterminate operation that changes nothing is not taken: a completion
//     that begins with it is one without it.
//   - Twins: of a class only the operation is tried that returns first. Let a completion
//     begin with x, and y be of its class and return before x. They can change places, or
//     y take that of x if it has none: what stands between them did not wait for x to
//     return, so it does not wait for y.
//   - Less is more: a node is given up if a node was visited that differs only in that
//     some indeterminate operations, or none, are not taken: every completion of the one
//     completes the other.
//
// The last says that each completion of a node given up is one of a node visited. So if
// all nodes visited were left without success, and some of them had completions, take
// one with the shortest: a first step of it was tried, or of one no longer, and led to a
// node visited, or given up for one visited, with a shorter one. Contradiction.
//
// All the same holds for completions that lead only so far as to take all that returned
// up to some time: that is why it is known at which return the history became Illegal.
//
// Memory is a few numbers for each operation, the states on the way, and the memo. Of
// that those entries are forgotten that lie far behind, as most searches never go back
// there; one that does remembers everything from then on. It visits no node more than
// twice then: once before, and once after.
func Search[S comparable](p Problem[S], limit Limit) Decision {
	w := newWindow(p, limit)
	for _, start := range p.Starts {
		switch w.search(start) {
		case Linearizable:
			return Decision{Verdict: Linearizable, Order: w.order, At: -1}
		case Undecided:
			return Decision{At: -1, Explained: p.Return[w.returns[w.furthest]] - 1}
		}
	}
	if len(p.Starts) == 0 {
		return Decision{Verdict: Illegal, At: -1}
	}
	return Decision{Verdict: Illegal, At: w.returns[w.furthest]}
}

// Problem is the question what [Search] answers of r, from any of the starts.
func (r *Register) Problem(starts ...Value) Problem[Value] {
	return Problem[Value]{
		Call: r.Call, Return: r.Return, Step: r.Step, Starts: starts,
		ReadOnly: func(op int32) bool { return r.Kind[op].Pure() },
	}
}

// A window is a search at some node.
type window[S comparable] struct {
	Problem[S]
	limit Limit

	returns []int32 // the operations that returned, in the order in which they did
	rank    []int32 // where an operation stands there; those that did not come after all
	slot    []int32 // its bit in sets: its own for as long as it is open
	pure    []bool  // it is read-only

	// The operations that were called by the first return that is not taken, and are not
	// taken, make a ring by rank. It begins after root; fence stands before those that
	// never return. An operation taken keeps its neighbours, to be put back between them.
	next, prev  []int32
	root, fence int32
	first       int      // rank of the first return that is not taken
	called      int      // how many operations were called by then
	set         []uint64 // the slots of those of them that are taken
	certain     int      // words of set for operations that return; the rest are for others

	order  []int32 // that in which operations were taken
	before []S     // the states before those in it that are not read-only

	marks []uint64 // classes met by the walk through the ring that is marked so
	mark  uint64

	memo, old *memo[S]
	forgotten int // greatest first of the nodes forgotten, or -1
	all       bool
	seed      maphash.Seed

	furthest int
	steps    int // since the limit was asked
}

const (
	// forgetful is how many nodes the memo holds before old ones are forgotten.
	forgetful = 1 << 15
	// askEvery is how many operations are tried between two questions to the limit.
	askEvery = 1 << 12
)

func newWindow[S comparable](p Problem[S], limit Limit) *window[S] {
	n := len(p.Call)
	numbers := make([]int32, 6*n+4)
	take := func(n int) []int32 {
		t := numbers[:n:n]
		numbers = numbers[n:]
		return t
	}
	w := &window[S]{
		Problem: p, limit: limit,
		returns: sortReturns(take(n)[:0], p.Return), rank: take(n), slot: take(n),
		next: take(n + 2), prev: take(n + 2), root: int32(n), fence: int32(n) + 1,
		order: take(n)[:0], pure: make([]bool, n+2),
		forgotten: -1, seed: maphash.MakeSeed(), steps: askEvery, // it is asked at once
	}
	never := int32(len(w.returns))
	for op, t := range p.Return {
		if t == Never {
			w.rank[op] = never
			never++
		}
		w.pure[op] = p.ReadOnly != nil && p.ReadOnly(int32(op))
	}
	for rank, op := range w.returns {
		w.rank[op] = int32(rank)
	}
	w.pure[w.fence] = true // no operation, and passed over as those are
	w.next[w.root], w.next[w.fence] = w.fence, w.root
	w.prev[w.root], w.prev[w.fence] = w.fence, w.root
	w.assignSlots()
	if p.Class != nil {
		most := int32(-1)
		for _, class := range p.Class {
			most = max(most, class)
		}
		w.marks = make([]uint64, most+1)
	}
	w.memo, w.old = newMemo[S](len(w.set)), newMemo[S](len(w.set))
	w.enter()
	return w
}

// assignSlots gives each operation the slot of one that has returned before its call, or
// a new one. Those that never return have words of their own.
func (w *window[S]) assignSlots() {
	var free []int32
	slots, never, returned := int32(0), int32(0), 0
	for op, call := range w.Call {
		if w.Return[op] == Never {
			w.slot[op] = never
			never++
			continue
		}
		for ; w.Return[w.returns[returned]] < call; returned++ {
			free = append(free, w.slot[w.returns[returned]])
		}
		if last := len(free) - 1; last >= 0 {
			w.slot[op], free = free[last], free[:last]
			continue
		}
		w.slot[op] = slots
		slots++
	}
	w.certain = (int(slots) + 63) / 64
	for op, t := range w.Return {
		if t == Never {
			w.slot[op] += int32(w.certain) * 64
		}
	}
	w.set = make([]uint64, w.certain+(int(never)+63)/64)
}

// search goes on from the root of the search with a state.
func (w *window[S]) search(s S) Verdict {
	w.observe(s)
	for {
		if w.first == len(w.returns) {
			return Linearizable
		}
		last := w.root // operation that was tried at this node
		if w.visited(s) {
			last = w.back(&s)
		}
		for {
			if last < 0 {
				return Illegal
			}
			if w.steps >= askEvery {
				w.steps = 0
				if !w.limit.allows(w.bytes()) {
					return Undecided
				}
			}
			op, after, ok := w.choose(s, last)
			if ok {
				w.before = append(w.before, s)
				w.take(op)
				w.observe(after)
				s = after
				break
			}
			last = w.back(&s)
		}
	}
}

// choose returns the operation to try at a node after the last one that was, or root, and
// the state that it leads to. Read-only ones have been looked at before. The order is
// that of the returns; but if what returns first cannot be taken now, those go before all
// others after which it can. That is what Lowe's just-in-time linearization does to the
// search: nothing happens before a return needs it.
func (w *window[S]) choose(s S, last int32) (op int32, after S, ok bool) {
	head := w.next[w.root]
	if !w.pure[head] && w.possible(s, head) {
		return w.scan(s, last, func(S) bool { return true })
	}
	helps := func(after S) bool { return w.possible(after, head) }
	if last == w.root || helps(w.after(s, last)) {
		if op, after, ok = w.scan(s, last, helps); ok {
			return op, after, true
		}
		last = w.root
	}
	return w.scan(s, last, func(after S) bool { return !helps(after) })
}

func (w *window[S]) possible(s S, op int32) bool {
	w.steps++
	_, ok := w.Step(s, op)
	return ok
}

func (w *window[S]) after(s S, op int32) S {
	w.steps++
	after, _ := w.Step(s, op)
	return after
}

// scan returns the first operation after one in the ring that can be taken in s, is worth
// it, and leads to a state as wanted.
func (w *window[S]) scan(s S, last int32, wanted func(S) bool) (op int32, after S, ok bool) {
	op = w.next[last]
	if w.marks != nil {
		w.mark++
		for y := w.next[w.root]; y != op; y = w.next[y] {
			if !w.pure[y] {
				w.marks[w.Class[y]] = w.mark
			}
		}
	}
	for ; op != w.root; op = w.next[op] {
		if w.pure[op] {
			continue
		}
		if w.marks != nil {
			if w.marks[w.Class[op]] == w.mark {
				continue
			}
			w.marks[w.Class[op]] = w.mark
		}
		w.steps++
		after, ok = w.Step(s, op)
		if ok && (after != s || int(w.rank[op]) < len(w.returns)) && wanted(after) {
			return op, after, true
		}
	}
	return op, after, false
}

// observe takes all read-only operations that can be taken in s.
func (w *window[S]) observe(s S) {
	open := w.called
	for op := w.next[w.root]; op != w.fence; op = w.next[op] {
		if w.pure[op] && int(op) < open {
			w.try(s, op)
		}
	}
	for ; open < w.called; open++ { // what has been called by the first return now
		if op := int32(open); w.pure[op] && w.Return[op] != Never {
			w.try(s, op)
		}
	}
}

func (w *window[S]) try(s S, op int32) {
	w.steps++
	if _, ok := w.Step(s, op); ok {
		w.take(op)
	}
}

// take takes op.
func (w *window[S]) take(op int32) {
	w.order = append(w.order, op)
	w.unlink(op)
	slot := w.slot[op]
	if int(w.rank[op]) != w.first {
		w.set[slot/64] |= 1 << (slot % 64)
		return
	}
	for w.first++; w.first < len(w.returns); w.first++ {
		op := w.returns[w.first]
		slot := w.slot[op]
		if w.set[slot/64]&(1<<(slot%64)) == 0 { // nor is it set if op has not been called
			w.enter()
			return
		}
		w.set[slot/64] &^= 1 << (slot % 64)
	}
}

// enter puts into the ring what was called by the first return.
func (w *window[S]) enter() {
	if w.first == len(w.returns) {
		return
	}
	for until := w.Return[w.returns[w.first]]; w.called < len(w.Call) && w.Call[w.called] <= until; w.called++ {
		op := int32(w.called)
		at := w.root // the one that op comes before
		if w.Return[op] != Never {
			for at = w.fence; w.prev[at] != w.root && w.rank[w.prev[at]] > w.rank[op]; {
				at = w.prev[at]
			}
		}
		w.next[op], w.prev[op] = at, w.prev[at]
		w.link(op)
	}
}

// back undoes the last operation that was not read-only, with all since, and returns it,
// and the state before; or -1 if there is none.
func (w *window[S]) back(s *S) int32 {
	for last := len(w.order) - 1; last >= 0; last-- {
		op := w.order[last]
		w.order = w.order[:last]
		w.untake(op)
		if w.pure[op] {
			continue
		}
		last := len(w.before) - 1
		*s, w.before = w.before[last], w.before[:last]
		w.all = w.all || w.first <= w.forgotten
		return op
	}
	w.all = w.all || w.forgotten >= 0
	return -1
}

// untake undoes the last take, which was of op.
func (w *window[S]) untake(op int32) {
	slot := w.slot[op]
	if int(w.rank[op]) > w.first {
		w.set[slot/64] &^= 1 << (slot % 64)
		w.link(op)
		return
	}
	for until := w.Return[op]; w.called > 0 && w.Call[w.called-1] > until; w.called-- {
		w.unlink(int32(w.called - 1))
	}
	for w.first--; w.first > int(w.rank[op]); w.first-- {
		slot := w.slot[w.returns[w.first]]
		w.set[slot/64] |= 1 << (slot % 64)
	}
	w.link(op)
}

func (w *window[S]) unlink(op int32) {
	w.next[w.prev[op]], w.prev[w.next[op]] = w.next[op], w.prev[op]
}

// link puts op between its neighbours.
func (w *window[S]) link(op int32) {
	w.next[w.prev[op]], w.prev[w.next[op]] = op, op
}

// visited says whether the search need not go on from here, as it did so from a node
// that is as good. If not it has now.
func (w *window[S]) visited(s S) bool {
	h := uint64(w.first)
	for _, word := range w.set[:w.certain] {
		h = mix(h ^ word)
	}
	h = mix(h ^ maphash.Comparable(w.seed, s))
	if w.memo.has(h, int32(w.first), w.set, w.certain, s) || w.old.has(h, int32(w.first), w.set, w.certain, s) {
		return true
	}
	w.furthest = max(w.furthest, w.first)
	// What the older half holds is forgotten if all of it lies behind.
	if len(w.memo.nodes) >= forgetful && !w.all && int(w.old.furthest) < w.first {
		w.forgotten = max(w.forgotten, int(w.old.furthest))
		w.memo, w.old = w.old, w.memo
		w.memo.clear()
	}
	w.memo.add(h, int32(w.first), w.set, s)
	return false
}

// bytes is what the search holds, without what its states point to.
func (w *window[S]) bytes() int64 {
	state := int64(reflect.TypeFor[S]().Size())
	flat := int64(len(w.Call))*(6*4+1) + int64(cap(w.before))*state + int64(len(w.marks))*8
	return flat + w.memo.bytes() + w.old.bytes()
}

// A memo is a set of nodes: a hash table with open addressing.
type memo[S comparable] struct {
	table    []uint64 // upper half of the hash, and 1 + the position in nodes; or 0
	nodes    []node[S]
	sets     []uint64 // width words for each of nodes
	width    int
	furthest int32 // greatest first in it, or -1
}

type node[S comparable] struct {
	first int32
	state S
}

func newMemo[S comparable](width int) *memo[S] { return &memo[S]{width: width, furthest: -1} }

// has says whether m has a node that differs from this, if at all, in that fewer
// operations are in its set after the first words.
func (m *memo[S]) has(hash uint64, first int32, set []uint64, words int, s S) bool {
	if len(m.table) == 0 {
		return false
	}
	mask := len(m.table) - 1
search:
	for i := m.place(hash); m.table[i] != 0; i = (i + 1) & mask {
		if m.table[i]>>32 != hash>>32 {
			continue
		}
		at := int(uint32(m.table[i])) - 1
		if n := &m.nodes[at]; n.first != first || n.state != s {
			continue
		}
		other := m.sets[at*m.width : (at+1)*m.width]
		for k, word := range set {
			if other[k]&^word != 0 || k < words && other[k] != word {
				continue search
			}
		}
		return true
	}
	return false
}

// place is where in the table a search for a hash begins: its uppermost bits.
func (m *memo[S]) place(hash uint64) int {
	return int(hash >> (64 - bits.TrailingZeros(uint(len(m.table)))))
}

func (m *memo[S]) add(hash uint64, first int32, set []uint64, s S) {
	if 2*len(m.nodes) >= len(m.table) {
		m.grow()
	}
	m.furthest = max(m.furthest, first)
	m.nodes = append(m.nodes, node[S]{first, s})
	m.sets = append(m.sets, set...)
	m.insert(hash>>32<<32 | uint64(len(m.nodes)))
}

func (m *memo[S]) insert(entry uint64) {
	i, mask := m.place(entry), len(m.table)-1
	for m.table[i] != 0 {
		i = (i + 1) & mask
	}
	m.table[i] = entry
}

// grow doubles the table.
func (m *memo[S]) grow() {
	old := m.table
	m.table = make([]uint64, max(16, 2*len(old)))
	for _, entry := range old {
		if entry != 0 {
			m.insert(entry)
		}
	}
}

func (m *memo[S]) clear() {
	clear(m.table)
	clear(m.nodes) // what states point to
	m.nodes, m.sets, m.furthest = m.nodes[:0], m.sets[:0], -1
}

func (m *memo[S]) bytes() int64 {
	return int64(cap(m.table))*8 + int64(cap(m.nodes))*int64(reflect.TypeFor[node[S]]().Size()) + int64(cap(m.sets))*8
}

// mix is the finalizer of MurmurHash3.
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
