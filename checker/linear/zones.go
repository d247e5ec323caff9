package linear

import (
	"cmp"
	"math"
	"slices"
)

// Zones decides whether r is linearizable if every value is written by at most one
// operation and nobody writes Initial; otherwise it is Undecided. It takes linear time
// but for one sort of what is nearly sorted. With Refused operations it is Undecided
// once in a while, since it tries few orders of the others only.
//
// It is the zone check of Gibbons and Korach (Testing Shared Memories, SIAM Journal on
// Computing 26, 1997), with chains of cas, and with one sort in place of the search for
// zones that overlap. A cluster is the operation that sets a value, its owner, with
// those that read it. Whatever order explains r, between a cluster's operations nothing
// else changes the register, since the value would never come back; and a cas joins its
// cluster to that of the value it found. So
//
//   - a block, which is the clusters from a plain write along the cas that follow,
//     stands in one piece, and all in it but the reads of one value is in a known order;
//   - if an operation of block a precedes one of block b, all of a comes before all of b.
//     There are such operations if first(a) < last(b), where first is the first return in
//     the block, and last the last call.
//
// Blocks are sorted by first+last. If then first(b) >= last(a) for all a before b, they
// are in an order that explains r. If not, there are a before b with first(b) < last(a),
// so that first(a) <= first(b)+last(b)-last(a) < last(b), and each must come before the
// other.
//
// Indeterminate operations happened if their value was observed, and then before their
// observers returned, which bounds their block. The others are left out of the order, as
// if they had not happened; no witness rests on that.
func Zones(r *Register, limit Limit) Decision {
	z := zones{r: r, limit: limit}
	if !z.decide() {
		return z.decision()
	}
	order, ok := z.order()
	if !ok {
		return z.decision()
	}
	return Decision{Verdict: Linearizable, Order: order, At: -1}
}

// always is before all times.
const always Time = math.MinInt32

const nobody int32 = -1

// A cluster is what there is to one value.
type cluster struct {
	owner int32 // the operation that sets it, if there is one; nobody owns Initial
	next  int32 // the cas that found it and set another, if there is one
	reads int32 // how many
	end   int32 // of its reads in the order
	first Time  // return of a read, Never if there is none
	last  Time  // call of a read, always if there is none
}

// A block is a chain of clusters, the root's first.
type block struct {
	root        Value
	first, last Time // return, call; the first of the block of Initial is always
}

type zones struct {
	r        *Register
	limit    Limit
	bytes    int64
	clusters []cluster // of each value
	open     []int32   // indeterminate cas
	writes   int       // plain ones
	links    int       // cas that happened, and were not met in a block so far
	blocks   []block   // but that of Initial
	start    block     // that of Initial
	refused  int
	witness  *Witness // if r is Illegal

	// For witnesses: of each value the read that returned first and the one that was
	// called last. See lookUp.
	early, late []int32
}

func (z *zones) decision() Decision {
	if z.witness != nil {
		return Decision{Verdict: Illegal, Witness: z.witness, At: -1}
	}
	return Decision{At: -1}
}

// hold asks whether so many bytes more are allowed.
func (z *zones) hold(bytes int) bool {
	z.bytes += int64(bytes)
	return z.limit.allows(z.bytes)
}

// decide says that r but for the Refused is linearizable, and that none of these is
// impossible by itself. If not there is a witness, or z has no answer.
func (z *zones) decide() bool {
	if z.r.Len() > 0 && z.r.Call[0] == always {
		return false
	}
	return z.gather() && z.settle() && z.owned() && z.link() && z.compare() && z.refute()
}

// gather fills the clusters with what is certain.
func (z *zones) gather() bool {
	r := z.r
	if !z.hold(24 * r.Values) { // a cluster each
		return false
	}
	z.clusters = make([]cluster, max(r.Values, 1))
	for v := range z.clusters {
		z.clusters[v] = cluster{owner: nobody, next: nobody, first: Never, last: always}
	}
	saw, rivals := nobody, [2]int32{nobody, nobody}
	for i, kind := range r.Kind {
		if i&(1<<20-1) == 0 && !z.limit.allows(z.bytes) {
			return false
		}
		v := r.A[i]
		if kind == CAS {
			if r.Return[i] == Never {
				z.open = append(z.open, int32(i))
			} else if c := &z.clusters[v]; c.next == nobody {
				c.next = int32(i)
				z.links++
			} else {
				rivals = [2]int32{c.next, int32(i)}
			}
			v = r.B[i]
		}
		switch kind {
		case Write, CAS:
			c := &z.clusters[v]
			if c.owner != nobody || v == Initial {
				return false
			}
			c.owner = int32(i)
			if kind == Write {
				z.writes++
			}
		case Read:
			if v == Nothing {
				saw = int32(i)
				continue
			}
			c := &z.clusters[v]
			c.reads++
			c.first, c.last = min(c.first, r.Return[i]), r.Call[i]
		case Refused:
			z.refused++
		}
	}
	// Only now it is known that every value has one owner.
	switch {
	case saw != nobody:
		return z.illegal([]int32{saw})
	case rivals[0] != nobody:
		return z.illegal(rivals[:])
	}
	return true
}

// observed says that c's value was there: somebody read it, or a cas found it that is
// known to have happened.
func (c *cluster) observed() bool { return c.reads > 0 || c.next != nobody }

// settle finds the indeterminate cas that happened, as their values were observed: then
// what they found was there, too, which may prove another.
func (z *zones) settle() bool {
	r := z.r
	for _, op := range z.open {
		for z.clusters[r.B[op]].observed() {
			c := &z.clusters[r.A[op]]
			if c.next == op {
				break
			}
			if c.next != nobody {
				return z.illegal(z.prove(z.prove([]int32{c.next, op}, c.next), op))
			}
			c.next = op
			z.links++
			if o := c.owner; o != nobody && r.Kind[o] == CAS && r.Return[o] == Never {
				op = o
			}
		}
	}
	return true
}

// owned says that somebody wrote every value that was observed.
func (z *zones) owned() bool {
	for v := range z.clusters {
		c := &z.clusters[v]
		if c.owner != nobody || !c.observed() || Value(v) == Initial {
			continue
		}
		if c.reads > 0 {
			z.lookUp()
			return z.illegal([]int32{z.early[v]})
		}
		return z.illegal(z.prove([]int32{c.next}, c.next))
	}
	return true
}

// link makes the blocks. That the order within one is possible is seen from the last
// call up to each operation, which it must not have returned before. Reads of one value
// are in the order of their calls.
func (z *zones) link() bool {
	r := z.r
	if !z.hold(12 * z.writes) { // a block each
		return false
	}
	z.blocks = make([]block, 0, z.writes)
	chain := func(root Value) (block, bool) {
		b := block{root: root, first: Never, last: always}
		for v := root; ; {
			c := &z.clusters[v]
			if c.owner == nobody {
				b.first = always
			} else {
				if r.Return[c.owner] < b.last {
					return b, z.backwards(v, c.owner)
				}
				b.last = max(b.last, r.Call[c.owner])
				b.first = min(b.first, r.Return[c.owner])
			}
			if c.first < b.last {
				z.lookUp()
				return b, z.backwards(v, z.early[v])
			}
			b.last = max(b.last, c.last)
			b.first = min(b.first, c.first)
			if c.next == nobody {
				return b, true
			}
			v = r.B[c.next]
			z.links--
		}
	}
	var ok bool
	if z.start, ok = chain(Initial); !ok {
		return false
	}
	for i, kind := range r.Kind { // in this order they are nearly sorted
		if kind != Write {
			continue
		}
		c := &z.clusters[r.A[i]]
		if r.Return[i] == Never && !c.observed() {
			continue
		}
		b, ok := chain(r.A[i])
		if !ok {
			return false
		}
		z.blocks = append(z.blocks, b)
	}
	return z.links == 0 || z.circle()
}

// compare sorts the blocks, and says that nothing in one was over before something in an
// earlier one was called.
func (z *zones) compare() bool {
	if !z.limit.allows(z.bytes) {
		return false
	}
	sortBlocks(z.blocks)
	latest := z.start
	for _, b := range z.blocks {
		if b.first < latest.last {
			return z.entangled(latest, b)
		}
		if b.last > latest.last {
			latest = b
		}
	}
	return true
}

// sortBlocks sorts by first+last, with insertions while these are few.
func sortBlocks(blocks []block) {
	key := func(b block) int64 { return int64(b.first) + int64(b.last) }
	budget := 32 * len(blocks)
	for i := 1; i < len(blocks); i++ {
		b := blocks[i]
		k, j := key(b), i
		for ; j > 0 && key(blocks[j-1]) > k; j-- {
			blocks[j] = blocks[j-1]
		}
		blocks[j] = b
		if budget -= i - j; budget < 0 {
			slices.SortFunc(blocks, func(a, b block) int { return cmp.Compare(key(a), key(b)) })
			return
		}
	}
}

// refute says that no Refused is impossible by itself: that it comes after one
// operation that saw or set what it did not find, and before another that found it.
func (z *zones) refute() bool {
	r := z.r
	if z.refused == 0 {
		return true
	}
	for i, kind := range r.Kind {
		if kind != Refused {
			continue
		}
		v := r.A[i]
		c := &z.clusters[v]
		before := c.owner // or no operation: Initial is there from the start
		switch {
		case before == nobody && v == Initial || before != nobody && r.Return[before] < r.Call[i]:
		case c.first < r.Call[i]:
			z.lookUp()
			before = z.early[v]
		default:
			continue
		}
		after := c.next
		switch {
		case after != nobody && r.Return[i] < r.Call[after]:
		case r.Return[i] < c.last:
			z.lookUp()
			after = z.late[v]
		default:
			continue
		}
		kept := []int32{int32(i), after}
		if before != nobody && r.Kind[before] == Read { // an owner is in the witness anyway
			kept = append(kept, before)
		}
		return z.illegal(z.prove(kept, after))
	}
	return true
}

// order returns an order that explains r, unless it finds no place for a Refused.
func (z *zones) order() ([]int32, bool) {
	r := z.r
	if !z.hold(4 * r.Len()) {
		return nil, false
	}
	order := make([]int32, r.Len())
	n := int32(0)
	place := func(b block) {
		for v := b.root; ; {
			c := &z.clusters[v]
			if c.owner != nobody {
				order[n] = c.owner
				n++
			}
			c.end = n
			n += c.reads
			if c.next == nobody {
				return
			}
			v = r.B[c.next]
		}
	}
	place(z.start)
	for _, b := range z.blocks {
		place(b)
	}
	for i, kind := range r.Kind {
		if kind == Read {
			c := &z.clusters[r.A[i]]
			order[c.end] = int32(i)
			c.end++
		}
	}
	order = order[:n]
	if z.refused == 0 {
		return order, true
	}
	return z.insert(order)
}

// insert puts the Refused into order, each at the first place where it may stand: this
// is exact for those in the order of their calls, as an earlier place of one leaves more
// to those that it precedes.
//
// Place k is before order[k]. There may stand what was called when nothing from there on
// had returned, and returned when all before had been called. Both bounds grow with k.
// If what it did not find is there at all such places, a Refused is a misfit: it goes to
// the first one all the same, for mend to see to it.
func (z *zones) insert(order []int32) ([]int32, bool) {
	r, n := z.r, len(order)
	if !z.hold(16 * r.Len()) {
		return nil, false
	}
	called, returns := make([]Time, n+1), make([]Time, n+1)
	called[0], returns[n] = always, Never
	for k, op := range order {
		called[k+1] = max(called[k], r.Call[op])
	}
	for k := n - 1; k >= 0; k-- {
		returns[k] = min(returns[k+1], r.Return[order[k]])
	}
	places := make([]int32, r.Len())
	ops := make([]int32, 0, z.refused)
	var misfits []int32
	from := int32(0)  // where the returns are late enough
	after := int32(0) // places of the Refused that precede this one
	done := 0         // of r.Returns
	for i, kind := range r.Kind {
		if kind != Refused {
			continue
		}
		for ; r.Return[r.Returns[done]] < r.Call[i]; done++ {
			after = max(after, places[r.Returns[done]])
		}
		for returns[from] < r.Call[i] {
			from++
		}
		first := max(from, after)
		k := first
		if c := &z.clusters[r.A[i]]; c.end > 0 || r.A[i] == Initial { // else it is not in the order
			if c.end-c.reads <= k && k <= c.end {
				k = c.end + 1
			}
		}
		if int(k) > n || called[k] > r.Return[i] {
			k = first
			misfits = append(misfits, int32(i))
		}
		places[i] = k
		ops = append(ops, int32(i))
	}
	slices.SortStableFunc(ops, func(i, j int32) int { return int(places[i] - places[j]) })
	all := make([]int32, 0, n+len(ops)+len(misfits))
	var wrong []int // where the misfits are
	for k := range n + 1 {
		for len(ops) > 0 && int(places[ops[0]]) == k {
			if _, is := slices.BinarySearch(misfits, ops[0]); is {
				wrong = append(wrong, len(all))
				all = append(all, nobody)
			}
			all = append(all, ops[0])
			ops = ops[1:]
		}
		if k < n {
			all = append(all, order[k])
		}
	}
	if !z.mend(all, wrong) {
		return nil, false
	}
	if len(wrong) > 0 {
		all = slices.DeleteFunc(all, func(op int32) bool { return op == nobody })
	}
	return all, true
}

const (
	mendMost   = 512     // operations on either side of a misfit that mend orders anew, about
	mendLittle = 1 << 14 // operations that it may look at in any case
)

// mend looks for an order of what is around each misfit in which all are possible. In
// front of each there is room for one operation: wrong says where.
//
// In all nothing stands before what precedes it, and all but the misfits are possible. So
// operations that stand together, and that a plain write follows, or nothing, can be
// ordered anew whatever else there is: what stands before them, and after, still does, and
// does not see what they leave. [Search] tries. Among them may also be plain writes that
// are indeterminate, that nobody saw, and that were called before the misfit was: no
// operation after it can have returned by then.
//
// That is how it nearly always is, but there are orders that differ in more. So if it
// finds none that says nothing.
func (z *zones) mend(all []int32, wrong []int) bool {
	if len(wrong) == 0 {
		return true
	}
	r := z.r
	var spare []int32 // the writes that nobody saw, and that are not in use
	for i, kind := range r.Kind {
		if kind == Write && r.Return[i] == Never && !z.clusters[r.A[i]].observed() {
			spare = append(spare, int32(i))
		}
	}
	budget := mendLittle + len(all)/8
	mended := 0 // what stands before is possible
	for _, at := range wrong {
		for around := 8; at >= mended; around *= 4 {
			i, j := z.cut(all, at-around, -1), z.cut(all, at+around, 1)
			if budget -= j - i; budget < 0 || around > mendMost {
				return false
			}
			n, rooms := 0, 0
			for _, op := range all[i:j] {
				if op == nobody {
					rooms++
				}
			}
			for n < min(rooms, len(spare)) && r.Call[spare[n]] <= r.Call[all[at+1]] {
				n++
			}
			if order, ok := z.reorder(all[:i], all[i:j], spare[:n]); ok {
				unused := n
				for k := n - 1; k >= 0; k-- {
					if !slices.Contains(order, spare[k]) {
						unused--
						spare[unused] = spare[k]
					}
				}
				spare = spare[unused:]
				for ; len(order) < j-i; order = append(order, nobody) {
				}
				copy(all[i:j], order)
				mended = j
			}
		}
	}
	return true
}

// cut returns the first place from at on, in some direction, where a plain write stands,
// or where all begins or ends.
func (z *zones) cut(all []int32, at, direction int) int {
	for ; at > 0 && at < len(all) && (all[at] == nobody || z.r.Kind[all[at]] != Write); at += direction {
	}
	return min(max(at, 0), len(all))
}

// reorder returns an order of operations that explains them, with some or none of others,
// after those before.
func (z *zones) reorder(before, ops, others []int32) ([]int32, bool) {
	r := z.r
	held := Initial
	for k := len(before) - 1; k >= 0; k-- {
		if op := before[k]; op != nobody && r.Kind[op] != Refused {
			held, _ = r.Step(r.A[op], op)
			break
		}
	}
	ops = slices.DeleteFunc(slices.Concat(ops, others), func(op int32) bool { return op == nobody })
	slices.Sort(ops) // by their calls
	p := Problem[Value]{
		Call: make([]Time, len(ops)), Return: make([]Time, len(ops)), Starts: []Value{held},
		Step:     func(v Value, i int32) (Value, bool) { return r.Step(v, ops[i]) },
		ReadOnly: func(i int32) bool { return r.Kind[ops[i]].Pure() },
	}
	for i, op := range ops {
		p.Call[i], p.Return[i] = r.Call[op], r.Return[op]
	}
	asked := 0
	d := Search(p, func(bytes int64) bool {
		asked++
		return asked <= 4 && z.limit.allows(z.bytes+bytes)
	})
	for i, op := range d.Order {
		d.Order[i] = ops[op]
	}
	return d.Order, d.Verdict == Linearizable
}

// illegal makes a witness of operations, and of the owners of what they saw; these, and
// the others that are given, as plain writes where a cas is not among kept.
//
// It is sound with whatever operations: take an order that explains r, and leave out all
// others. Between an operation that sees a value and the owner of that nothing changed
// the register, so that it sees the same as before; and one that sees Initial comes
// before all changes. Of Refused see refute: where one is kept, it is between two that
// leave it no other value.
func (z *zones) illegal(kept []int32, writes ...int32) bool {
	r := z.r
	for _, op := range kept {
		if v := r.A[op]; v != Nothing && r.Kind[op] != Write && z.clusters[v].owner != nobody {
			writes = append(writes, z.clusters[v].owner)
		}
	}
	z.witness = &Witness{Whole: true}
	ops := slices.Concat(kept, writes)
	slices.Sort(ops)
	for _, op := range slices.Compact(ops) {
		kind := r.Kind[op]
		if !slices.Contains(kept, op) {
			kind = Write
		}
		z.witness.take(r, op, kind, r.Return[op])
	}
	z.witness.finish()
	return false
}

// prove appends what proves that op happened, which it did: those that follow it up to
// the first that returned.
func (z *zones) prove(kept []int32, op int32) []int32 {
	z.lookUp()
	for z.r.Return[op] == Never {
		v := z.r.sets(op)
		if z.clusters[v].reads > 0 {
			return append(kept, z.early[v])
		}
		op = z.clusters[v].next
		kept = append(kept, op)
	}
	return kept
}

// lookUp finds the reads that clusters only have the times of.
func (z *zones) lookUp() {
	if z.early != nil {
		return
	}
	z.early, z.late = make([]int32, len(z.clusters)), make([]int32, len(z.clusters))
	for v := range z.early {
		z.early[v], z.late[v] = nobody, nobody
	}
	for i, kind := range z.r.Kind {
		if v := z.r.A[i]; kind == Read && v != Nothing {
			if z.early[v] == nobody || z.r.Return[i] < z.r.Return[z.early[v]] {
				z.early[v] = int32(i)
			}
			z.late[v] = int32(i)
		}
	}
}

// backwards makes a witness of op, of the cluster of v, and of the nearest one before it
// in its block that was called only after op had returned, with the cas in between.
func (z *zones) backwards(v Value, op int32) bool {
	r := z.r
	z.lookUp()
	later := func(other int32) bool { return other != nobody && r.Call[other] > r.Return[op] }
	kept := []int32{op}
	for u := v; ; u = r.A[z.clusters[u].owner] {
		owner := z.clusters[u].owner
		switch {
		case u != v && later(z.late[u]):
			return z.illegal(append(kept, z.late[u]))
		case later(owner):
			return z.illegal(kept, owner)
		}
		kept = append(kept, owner)
	}
}

// circle makes a witness of cas each of which found what another set.
func (z *zones) circle() bool {
	r := z.r
	reached := make([]bool, len(z.clusters))
	follow := func(v Value) {
		for reached[v] = true; z.clusters[v].next != nobody; reached[v] = true {
			v = r.B[z.clusters[v].next]
		}
	}
	follow(Initial)
	for _, b := range z.blocks {
		follow(b.root)
	}
	// What is not reached has a cas as its owner, which found what is not reached.
	root := Value(slices.IndexFunc(z.clusters, func(c cluster) bool {
		return c.next != nobody && !reached[r.A[c.next]]
	}))
	var kept []int32
	proof := nobody // that all of them happened, if none returned
	z.lookUp()
	for v := root; len(kept) == 0 || v != root; {
		if z.early[v] != nobody {
			proof = z.early[v]
		}
		kept = append(kept, z.clusters[v].next)
		v = r.B[z.clusters[v].next]
	}
	if proof != nobody && !slices.ContainsFunc(kept, func(op int32) bool { return r.Return[op] != Never }) {
		kept = append(kept, proof)
	}
	return z.illegal(kept)
}

// entangled makes a witness of two blocks of which each must come before the other.
func (z *zones) entangled(a, b block) bool {
	z.lookUp()
	one := z.span(a.root, b.first, b.last)
	other := z.span(b.root, one.returned, one.called)
	return z.illegal(append(one.kept, other.kept...), append(one.writes, other.writes...)...)
}

// A span is two operations of a block, with the cas between their values.
type span struct {
	kept, writes []int32
	returned     Time // when one returned
	called       Time // when the other was called
}

// span looks in the block of root for an operation that returned before one time, and for
// one that was called after another time; near each other, so that what is between is
// little.
func (z *zones) span(root Value, after, before Time) span {
	r := z.r
	chain := []Value{root}
	for c := &z.clusters[root]; c.next != nobody; c = &z.clusters[chain[len(chain)-1]] {
		chain = append(chain, r.B[c.next])
	}
	type found struct {
		nth int   // of the chain
		op  int32 // nobody is what set Initial
	}
	none := found{nth: -1}
	x, y := none, none // the last that returned in time, and that was called so late
	var first, second found
	best := len(chain)
	for nth, v := range chain {
		owner, early, late := z.clusters[v].owner, z.early[v], z.late[v]
		switch {
		case owner != nobody && r.Call[owner] > after:
			y = found{nth, owner}
		case late != nobody && r.Call[late] > after:
			y = found{nth, late}
		}
		switch {
		case owner == nobody || r.Return[owner] < before:
			x = found{nth, owner}
		case y == found{nth, late} && late != nobody && r.Return[late] < before:
			x = y
		case early != nobody && r.Return[early] < before:
			x = found{nth, early}
		}
		if d := max(x.nth-y.nth, y.nth-x.nth); x != none && y != none && d < best {
			best, first, second = d, x, y
		}
	}
	s := span{returned: always, called: r.Call[second.op]}
	if first.op != nobody {
		s.returned = r.Return[first.op]
	}
	for _, v := range chain[min(first.nth, second.nth)+1 : max(first.nth, second.nth)+1] {
		s.kept = append(s.kept, z.clusters[v].owner)
	}
	for _, f := range []found{first, second} {
		switch f.op {
		case nobody:
		case z.clusters[chain[f.nth]].owner:
			s.writes = append(s.writes, f.op)
		default:
			s.kept = append(s.kept, f.op)
		}
	}
	if first.nth < second.nth { // else the one that returned proves the other
		s.kept = z.prove(s.kept, second.op)
	}
	return s
}
