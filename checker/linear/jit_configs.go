package linear

import (
	"maps"
	"math/bits"
	"slices"
)

// other is what a register holds, or a write sets, if no operation to come tells it from
// other values nobody asks for.
const other Value = -2

// An open operation has a slot, a bit in every set of operations, until it returns.
type slot struct {
	op           int32
	seq          int32 // its place among all calls
	deadline     int32 // its place among all returns; never if indeterminate, or not known
	class        int32 // of those that change the register, else -1
	kind         Kind
	a, b         Value
	maybe        bool  // it is indeterminate
	older, newer int32 // slots of the calls before and after it
}

const never int32 = 1<<31 - 1

// A class is open operations that can stand in for each other: writes of one value, or
// cas from one value to another. Which of them took effect is left open for as long as it
// can be: all that matters is how many did, and what that leaves for later. So list has
// the most precious first, and it is the last one that may be had that is taken:
//
//   - If returns are known, precious is who returns late. If an order takes the one with
//     the later deadline first, and the other one later or to no effect, swapping them
//     gives another order.
//   - Otherwise precious is who was called early. A mark then says that one of those up to
//     it took effect at a time when it had been called. When one returns that has no mark,
//     it is given that of the first one after it that does: whoever returns first has the
//     earliest deadline. The sets of operations that marks can be given to are those of a
//     nested matroid, of which the marks are the last basis, so nothing is lost; but where
//     it could have gone to a place that was too early for others, that is tried as well:
//     see [engine.elsewhere].
type class struct {
	kind Kind
	a, b Value
	list []int32 // slots
}

// A live value is one that open operations mention.
type live struct {
	v      Value
	refs   int32
	reads  bitset  // open reads of it
	denied bitset  // open Refused of it
	writes bitset  // open writes of it
	class  int32   // of the writes, or -1
	cas    []int32 // classes of cas from it
}

type bitset []uint64

func (b bitset) has(i int32) bool { return b[i>>6]>>(i&63)&1 != 0 }
func (b bitset) set(i int32)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) clear(i int32)    { b[i>>6] &^= 1 << (i & 63) }

// A config is one way in which everything up to now may have happened: what the register
// holds, the number of calls before the plain write that was appended last (its
// horizon), the record of how it came about, and two sets of open operations:
//
//   - taken are those that took effect.
//   - free are those that need not be asked about when they return: writes that may still
//     take effect unseen, because they were called before the horizon, or because the
//     register held their value when they were open; and all cas and indeterminate ones,
//     to which it does not apply.
//
// And its ends.
type config []uint64

func (c config) value() Value      { return Value(int32(uint32(c[0]))) }
func (c config) horizon() int32    { return int32(c[0] >> 32) }
func (c config) record() int32     { return int32(c[1]) }
func (c config) setRecord(r int32) { c[1] = uint64(uint32(r)) }
func (c config) setValue(v Value)  { c[0] = c[0]&^(1<<32-1) | uint64(uint32(v)) }
func (c config) setHorizon(seq int32) {
	c[0] = c[0]&(1<<32-1) | uint64(uint32(seq))<<32
}

const header = 2

// engine is what [JIT] and [Stream] share: a set of configurations, and the operations
// that are open.
type engine struct {
	ahead   bool // returns are known before they come
	width   int  // words of a set
	room    int  // how many ends there may be
	cramped bool // there were more
	slots   []slot
	spare   []int32
	open    bitset
	writes  bitset // open writes that will return
	changes bitset // open writes and cas
	plain   bitset // open writes
	denied  bitset // open Refused
	newest  int32  // slot of the latest call that is open, or -1
	calls   int32

	dense  []int32         // value+2 to live+1, if values are few
	sparse map[Value]int32 // otherwise
	live   []live
	idle   []int32
	class  []class
	unused []int32
	writ   []int32 // classes of writes that have some
	leave  []int32 // live values with open cas from them

	now, next configs
	scratch   []config
	horizons  []horizon
	reduced   int  // how many there were when each was compared with each
	dirty     bool // some may have become alike
	beam      int  // how many are kept when there are four times as many; 0 is all
	trimmed   bool // some were not
	limit     Limit
	work      int  // since it was asked
	stopped   bool // by it

	future *future
	log    *log
	path   []int32
	depth  int   // copies in use
	x      int32 // slot that returns
	spared int32 // slot whose mark x is not to have, or -1
}

type horizon struct {
	seq int32
	set bitset
}

// configs are one after the other.
type configs struct {
	words []uint64
	n     int
}

// canonical is v, unless nobody can tell it from others any more.
func (e *engine) canonical(v Value) Value {
	if e.future != nil && e.future.over(v) {
		return other
	}
	return v
}

func (e *engine) stride() int { return header + 2*e.width + e.room }

func (e *engine) at(s *configs, i int) config {
	n := e.stride()
	return config(s.words[i*n : (i+1)*n : (i+1)*n])
}

func (e *engine) taken(c config) bitset { return bitset(c[header : header+e.width]) }
func (e *engine) free(c config) bitset  { return bitset(c[header+e.width : header+2*e.width]) }
func (e *engine) ends(c config) []end   { return c[header+2*e.width:] }

func (e *engine) push(s *configs, c config) config {
	need := (s.n + 1) * e.stride()
	if need > len(s.words) {
		s.words = slices.Grow(s.words, need-len(s.words))
		s.words = s.words[:cap(s.words)]
	}
	s.n++
	d := e.at(s, s.n-1)
	copy(d, c)
	return d
}

// widen makes room for 64 more open operations.
func (e *engine) widen() {
	e.resize(e.width+1, e.room)
	grow := func(b *bitset) { *b = append(*b, 0) }
	grow(&e.open)
	grow(&e.writes)
	grow(&e.changes)
	grow(&e.plain)
	grow(&e.denied)
	for i := range e.live {
		l := &e.live[i]
		grow(&l.reads)
		grow(&l.denied)
		grow(&l.writes)
	}
}

// resize gives configurations sets of so many words, and room for so many ends.
func (e *engine) resize(width, room int) {
	was, n, w := e.now, e.stride(), e.width
	e.width, e.room = width, room
	e.now, e.next, e.scratch, e.horizons = configs{}, configs{}, nil, nil
	c := make(config, e.stride())
	for i := range was.n {
		old := was.words[i*n : (i+1)*n]
		copy(c, old[:header+w])
		copy(e.free(c), old[header+w:header+2*w])
		copy(c[header+2*width:], old[header+2*w:])
		e.push(&e.now, c)
	}
}

func (e *engine) lookup(v Value) *live {
	var i int32
	if e.dense != nil {
		i = e.dense[v+2]
	} else {
		i = e.sparse[v]
	}
	if i == 0 {
		return nil
	}
	return &e.live[i-1]
}

// mention returns v, alive.
func (e *engine) mention(v Value) *live {
	l := e.lookup(v)
	if l == nil {
		var i int32
		if n := len(e.idle); n > 0 {
			i, e.idle = e.idle[n-1], e.idle[:n-1]
		} else {
			i = int32(len(e.live))
			sets := make(bitset, 3*e.width)
			w := e.width
			e.live = append(e.live, live{reads: sets[:w:w], denied: sets[w : 2*w : 2*w], writes: sets[2*w:]})
		}
		l = &e.live[i]
		l.v, l.class = v, -1
		if e.dense != nil {
			e.dense[v+2] = i + 1
		} else {
			e.sparse[v] = i + 1
		}
	}
	l.refs++
	return l
}

func (e *engine) unmention(l *live) {
	if l.refs--; l.refs > 0 {
		return
	}
	var i int32
	if e.dense != nil {
		i, e.dense[l.v+2] = e.dense[l.v+2], 0
	} else {
		i = e.sparse[l.v]
		delete(e.sparse, l.v)
	}
	e.idle = append(e.idle, i-1)
}

func (e *engine) newClass(kind Kind, a, b Value) int32 {
	if n := len(e.unused); n > 0 {
		k := e.unused[n-1]
		e.unused = e.unused[:n-1]
		c := &e.class[k]
		c.kind, c.a, c.b = kind, a, b
		return k
	}
	e.class = append(e.class, class{kind: kind, a: a, b: b})
	return int32(len(e.class) - 1)
}

// join puts slot i in the class of such operations.
func (e *engine) join(i int32) {
	s := &e.slots[i]
	l := e.mention(s.a)
	k := int32(-1)
	if s.kind == Write {
		if l.class < 0 {
			l.class = e.newClass(Write, s.a, 0)
			e.writ = append(e.writ, l.class)
		}
		k = l.class
		if !s.maybe {
			l.writes.set(i)
		}
	} else {
		for _, c := range l.cas {
			if e.class[c].b == s.b {
				k = c
			}
		}
		if k < 0 {
			k = e.newClass(CAS, s.a, s.b)
			if len(l.cas) == 0 {
				e.leave = append(e.leave, e.liveIndex(l))
			}
			l.cas = append(l.cas, k)
		}
	}
	s.class = k
	list := append(e.class[k].list, i)
	at := len(list) - 1
	for ; at > 0 && e.before(s, &e.slots[list[at-1]]); at-- {
		list[at] = list[at-1]
	}
	list[at] = i
	e.class[k].list = list
}

func (e *engine) liveIndex(l *live) int32 {
	if e.dense != nil {
		return e.dense[l.v+2] - 1
	}
	return e.sparse[l.v] - 1
}

// before says that s is more precious than t.
func (e *engine) before(s, t *slot) bool {
	if e.ahead && s.deadline != t.deadline {
		return s.deadline > t.deadline
	}
	return s.seq < t.seq
}

// part takes slot i out of its class.
func (e *engine) part(i int32) {
	s := &e.slots[i]
	l := e.lookup(s.a)
	c := &e.class[s.class]
	at := len(c.list) - 1
	for c.list[at] != i {
		at--
	}
	c.list = slices.Delete(c.list, at, at+1)
	if s.kind == Write {
		l.writes.clear(i)
	}
	if len(c.list) == 0 {
		e.unused = append(e.unused, s.class)
		if s.kind == Write {
			l.class = -1
			drop(&e.writ, s.class)
		} else {
			drop(&l.cas, s.class)
			if len(l.cas) == 0 {
				drop(&e.leave, e.liveIndex(l))
			}
		}
	}
	s.class = -1
	e.unmention(l)
}

// drop removes v from a list in no order.
func drop(list *[]int32, v int32) {
	i, n := slices.Index(*list, v), len(*list)-1
	(*list)[i] = (*list)[n]
	*list = (*list)[:n]
}

// begin gives an operation that is called a slot, and takes it where it is pure and
// possible now.
func (e *engine) begin(op int32, kind Kind, a, b Value, maybe bool, deadline int32) int32 {
	if len(e.spare) == 0 {
		if len(e.slots) == 64*e.width {
			e.widen()
		}
		e.slots = append(e.slots, slot{})
		e.spare = append(e.spare, int32(len(e.slots)-1))
	}
	i := e.spare[len(e.spare)-1]
	e.spare = e.spare[:len(e.spare)-1]
	e.slots[i] = slot{op: op, seq: e.calls, deadline: deadline, class: -1, kind: kind, a: a, b: b, maybe: maybe}
	e.open.set(i)
	e.calls++
	if e.slots[i].older = e.newest; e.newest >= 0 {
		e.slots[e.newest].newer = i
	}
	e.slots[i].newer, e.newest = -1, i
	word, bit := int(i>>6), uint64(1)<<(i&63)
	stride := e.stride()
	switch kind {
	case Read, Refused:
		if kind == Refused {
			e.mention(a).denied.set(i)
			e.denied.set(i)
		} else if a != Nothing {
			e.mention(a).reads.set(i)
		}
		for c := e.now.words[:e.now.n*stride]; len(c) > 0; c = c[stride:] {
			if (config(c).value() == a) == (kind == Read) {
				c[header+word] |= bit
			}
		}
	default:
		e.changes.set(i)
		if kind == Write {
			e.plain.set(i)
		}
		if kind == Write && !maybe {
			e.writes.set(i)
		}
		e.join(i)
		always := kind == CAS || maybe
		for c := e.now.words[:e.now.n*stride]; len(c) > 0; c = c[stride:] {
			if always || config(c).value() == a {
				c[header+e.width+word] |= bit
			}
		}
	}
	return i
}

// end frees slot i, of which no configuration knows any more.
func (e *engine) end(i int32) {
	s := &e.slots[i]
	switch s.kind {
	case Read:
		if s.a != Nothing {
			l := e.lookup(s.a)
			l.reads.clear(i)
			e.unmention(l)
		}
	case Refused:
		l := e.lookup(s.a)
		l.denied.clear(i)
		e.denied.clear(i)
		e.unmention(l)
	default:
		e.part(i)
		e.writes.clear(i)
		e.changes.clear(i)
		e.plain.clear(i)
	}
	if s.newer >= 0 {
		e.slots[s.newer].older = s.older
	} else {
		e.newest = s.older
	}
	if s.older >= 0 {
		e.slots[s.older].newer = s.newer
	}
	e.open.clear(i)
	e.spare = append(e.spare, i)
}

// until returns the open operations that were called before seq.
func (e *engine) until(seq int32) bitset {
	for i := range e.horizons {
		if e.horizons[i].seq == seq {
			return e.horizons[i].set
		}
	}
	n := len(e.horizons)
	if n < cap(e.horizons) {
		e.horizons = e.horizons[:n+1]
	} else {
		e.horizons = append(e.horizons, horizon{})
	}
	h := &e.horizons[n]
	h.seq = seq
	h.set = append(h.set[:0], e.open...)
	for i := e.newest; i >= 0 && e.slots[i].seq >= seq; i = e.slots[i].older {
		h.set.clear(i)
	}
	return h.set
}

// dominates says that whatever can become of d can become of c: c can do all that d does.
//
// It holds the same value. What d has taken of pure operations, c has, and writes that d
// need not care for when they return c need not either. Its horizon is as good. Of each
// class, those that only d has left can be matched with ones that only c has left and
// that are as precious, and if d might hide those, c might hide these. What c has left
// over it need not use: writes are free, by the above, and a cas must be indeterminate.
// (Those that both have left are matched with themselves, so that what has to be used
// before it returns is used when d does.)
func (e *engine) dominates(c, d config) bool {
	if uint32(c[0]) != uint32(d[0]) {
		return false
	}
	w := e.width
	ct, cf, dt, df := c[header:header+w], c[header+w:header+2*w], d[header:header+w], d[header+w:header+2*w]
	differ := uint64(0)
	for i, t := range ct {
		if (dt[i]|df[i])&^(t|cf[i]) != 0 {
			return false
		}
		differ |= (t ^ dt[i]) & e.changes[i]
	}
	if h, g := c.horizon(), d.horizon(); h < g {
		ch, dh := e.until(h), e.until(g)
		for i := range dh {
			gone := uint64(0)
			if e.x >= 0 && int(e.x>>6) == i {
				gone = 1 << (e.x & 63)
			}
			if dh[i]&^ch[i]&^gone != 0 {
				return false
			}
		}
	}
	if !covers(e.ends(c), e.ends(d)) {
		return false
	}
	if differ == 0 {
		return true
	}
	last := int32(-1)
	for i, t := range ct {
		for m := (t ^ dt[i]) & e.changes[i]; m != 0; m &= m - 1 {
			k := e.slots[i<<6+bits.TrailingZeros64(m)].class
			if k == last {
				continue
			}
			last = k
			if !e.matches(k, c, d) {
				return false
			}
		}
	}
	return true
}

// matches says that what c has left of class k is as good as what d has.
func (e *engine) matches(k int32, c, d config) bool {
	cl := &e.class[k]
	ct, dt, cf := e.taken(c), e.taken(d), e.free(c)
	if !e.ahead {
		// Marks of c are fewer and later ones. Those that will return have to find one, or
		// be free, whoever has them in d.
		more, determinate := 0, false
		for _, i := range cl.list {
			if i == e.x {
				continue
			}
			if ct.has(i) {
				more++
			}
			if dt.has(i) {
				more--
			}
			if more > 0 {
				return false
			}
			if !e.slots[i].maybe {
				determinate = true
				if !cf.has(i) {
					return false
				}
			}
		}
		return cl.kind == Write || more == 0 || !determinate
	}
	lacks, over := 0, 0
	h := c.horizon()
	for _, i := range cl.list {
		switch {
		case ct.has(i) && !dt.has(i):
			lacks++
			over--
			if cl.kind == CAS && e.ends(d)[0] != 0 { // to be as good at any of them
				h = min(h, e.slots[i].seq)
			}
		case dt.has(i) && !ct.has(i):
			over++
		}
	}
	if over < 0 {
		return false
	}
	if cl.kind == Write {
		over = 0
	}
	more := 0
	for _, i := range cl.list {
		switch {
		case ct.has(i) && !dt.has(i):
			if more++; more > 0 {
				return false
			}
		case dt.has(i) && !ct.has(i):
			s := &e.slots[i]
			if over > 0 {
				if !s.maybe {
					return false
				}
				over--
				continue
			}
			if lacks > 0 && s.seq >= h {
				return false
			}
			more--
		}
	}
	return true
}

// add puts c among the next ones, and returns it, unless one of those dominates it. Those
// that c dominates leave.
func (e *engine) add(c config) config {
	e.worked(e.next.n / 16)
	for i := 0; i < e.next.n; i++ {
		if e.dominates(e.at(&e.next, i), c) {
			return nil
		}
	}
	for i := 0; i < e.next.n; {
		if o := e.at(&e.next, i); e.dominates(c, o) {
			e.next.n--
			copy(o, e.at(&e.next, e.next.n))
			continue
		}
		i++
	}
	if e.beam > 0 && e.next.n >= 4*e.beam {
		e.trim()
	}
	return e.push(&e.next, c)
}

// worked asks the limit whether to go on, after some configurations were looked at.
func (e *engine) worked(n int) {
	if e.work += n; e.work >= 1<<15 {
		e.work = 0
		e.stopped = e.stopped || !e.limit.allows(e.bytes())
	}
}

// trim keeps the most promising of the next configurations: those in which most pure
// operations and cas took effect, and fewest writes, and of each value some.
func (e *engine) trim() {
	type promise struct{ at, score, rank int }
	all := make([]promise, e.next.n)
	for i := range all {
		c := e.at(&e.next, i)
		score := 0
		for w, t := range e.taken(c) {
			score += 2*bits.OnesCount64(t&^e.changes[w]) + 2*bits.OnesCount64(t&e.changes[w]&^e.plain[w]) - bits.OnesCount64(t&e.plain[w])
		}
		all[i] = promise{at: i, score: score}
	}
	slices.SortStableFunc(all, func(a, b promise) int { return b.score - a.score })
	seen := map[Value]int{}
	for i := range all {
		v := e.at(&e.next, all[i].at).value()
		all[i].rank = seen[v]
		seen[v]++
	}
	slices.SortStableFunc(all, func(a, b promise) int { return a.rank - b.rank })
	old := configs{slices.Clone(e.next.words[:e.next.n*e.stride()]), e.next.n}
	e.next.n = 0
	for _, p := range all[:e.beam] {
		e.push(&e.next, e.at(&old, p.at))
	}
	e.trimmed = true
}

// reduce compares each with each.
func (e *engine) reduce() {
	e.next.n = 0
	e.horizons = e.horizons[:0]
	for i := range e.now.n {
		c := e.at(&e.now, i)
		e.prune(c)
		e.add(c)
	}
	e.now, e.next = e.next, e.now
	e.reduced, e.dirty = e.now.n, false
}

// forget makes v other, which nobody asks for any more.
func (e *engine) forget(v Value) {
	for i := range e.now.n {
		if c := e.at(&e.now, i); c.value() == v {
			c.setValue(other)
			e.dirty = true
		}
	}
	if l := e.lookup(v); l != nil && l.class >= 0 {
		for _, i := range slices.Clone(e.class[l.class].list) {
			e.part(i)
			e.slots[i].a = other
			e.join(i)
		}
		e.dirty = true
	}
	l := e.lookup(other)
	if l == nil || !e.dirty {
		return
	}
	for i := range e.now.n {
		if c := e.at(&e.now, i); c.value() == other {
			f := e.free(c)
			for w, m := range l.writes {
				f[w] |= m
			}
		}
	}
}

// expire forgets slot i, which is indeterminate.
func (e *engine) expire(i int32) {
	for k := range e.now.n {
		c := e.at(&e.now, k)
		e.taken(c).clear(i)
		e.free(c).clear(i)
	}
	e.end(i)
	e.dirty = true
}

func newEngine() *engine {
	e := &engine{newest: -1, x: -1, spared: -1, room: 1}
	e.widen()
	return e
}

// start adds the configuration in which nothing has happened.
func (e *engine) start(v Value, i int32) {
	c := make(config, e.stride())
	c.setValue(e.canonical(v))
	c.setRecord(-1 - i)
	e.push(&e.now, c)
}

// clone returns a copy that shares nothing with e. It is of one without a future.
func (e *engine) clone() *engine {
	f := *e
	f.slots, f.spare = slices.Clone(e.slots), slices.Clone(e.spare)
	f.open, f.writes, f.changes, f.plain, f.denied = slices.Clone(e.open), slices.Clone(e.writes), slices.Clone(e.changes), slices.Clone(e.plain), slices.Clone(e.denied)
	f.sparse = maps.Clone(e.sparse)
	f.live = slices.Clone(e.live)
	for i := range f.live {
		l := &f.live[i]
		l.reads, l.denied, l.writes, l.cas = slices.Clone(l.reads), slices.Clone(l.denied), slices.Clone(l.writes), slices.Clone(l.cas)
	}
	f.class = slices.Clone(e.class)
	for i := range f.class {
		f.class[i].list = slices.Clone(f.class[i].list)
	}
	f.idle, f.unused, f.writ, f.leave = slices.Clone(e.idle), slices.Clone(e.unused), slices.Clone(e.writ), slices.Clone(e.leave)
	f.now = configs{slices.Clone(e.now.words[:e.now.n*e.stride()]), e.now.n}
	f.next, f.scratch, f.horizons, f.path = configs{}, nil, nil, nil
	return &f
}

// bytes is how much e holds, about.
func (e *engine) bytes() int64 {
	n := 8*(cap(e.now.words)+cap(e.next.words)) + 48*cap(e.slots) + 4*len(e.dense)
	n += 112*cap(e.live) + 40*cap(e.class) + 24*len(e.sparse)
	for i := range e.live {
		l := &e.live[i]
		n += 8*(cap(l.reads)+cap(l.denied)+cap(l.writes)) + 4*cap(l.cas)
	}
	for i := range e.class {
		n += 4 * cap(e.class[i].list)
	}
	if f := e.future; f != nil {
		n += 4*(len(f.last)+len(f.place)) + 12*len(f.maybe)
	}
	if e.log != nil {
		n += 12 * cap(e.log.records)
	}
	return int64(n)
}
