package linear

// What may happen by a return. Let x be the operation that returns, at time T. Where it
// took effect, nothing has to. Otherwise:
//
// Append: cas, one after the other, from what the register holds, until x is possible. Or
// a plain write, which leaves an end, and cas from what it sets. If x is a write, it is the
// plain write, and that is all.
//
// Hide: a plain write and cas from what it sets, until x is possible, all called before
// the horizon, right before the plain write that was appended last. That leaves an end.
// If x is a write, it is the plain write, and that is all.
//
// At an end: cas from its value, until x is possible, all called before it. That leaves
// an end where they end.
//
// That is enough. Take any order that explains the history.
//
//  1. Changes can wait for the next return that needs them (Lowe's just-in-time
//     linearization), and a pure operation can move to the first place after its call
//     where it is possible: it changes nothing.
//  2. So each burst of changes ends with what returns then, and of the operations from
//     the last plain write z on, the first one returns at the time at which z was
//     appended: all that were called by then can go before z. They can do so late, when
//     one of them returns. Those called after cannot. What z overwrites nobody sees.
//  3. Of two plain writes in a burst, the first and the cas on it can be hidden before
//     the second.
//  4. Cas from a value that was overwritten, by z or by a hidden group before it, can go
//     there for as long as what was held at that end is known, since what follows is a
//     plain write; and which of them do need not be known before one returns or something
//     that returns needs what they set. Then it may as well be found out: those that took
//     effect earlier in the order would have done no more by then.
//  5. A write of what the register holds changes nothing, and need not be asked about
//     when it returns. Neither need a write that was called before the horizon. But it
//     may do some good before it goes, hidden or appended: both are tried.
//  6. To append a write that is free, and whose value nobody sees from now on, does none:
//     all it buys is a later horizon. The first operation that needs that, hidden, can be
//     appended instead, which buys one that is later still, and whatever hides before x
//     hides there; cas at the end that x leaves can be appended, too. Only an operation
//     that must not see what is then held could tell; so this is left out only if there
//     are none of those to come.

//  7. If returns are not known, x may have the mark of m, which was called after it. It
//     may as well take effect where m could not, and leave m its mark: at an end from
//     before m was called, or hidden before such a horizon. Anywhere else m could be in
//     its place. Only cas have to be asked for that: a write that has a mark is free, and
//     so is m, which may be had again.

// consumed says that slot i took effect in c.
func (e *engine) consumed(c config, i int32) bool {
	t := e.taken(c)
	if t.has(i) {
		return true
	}
	if e.ahead {
		return false
	}
	m := e.marked(t, i)
	return m >= 0 && m != e.spared
}

// marked returns the first slot with a mark that was called after slot i, of its class; if
// there is none it is -1.
func (e *engine) marked(t bitset, i int32) int32 {
	s := &e.slots[i]
	if s.class < 0 {
		return -1
	}
	list := e.class[s.class].list
	found := int32(-1)
	for at := len(list) - 1; list[at] != i; at-- {
		if t.has(list[at]) {
			found = list[at]
		}
	}
	return found
}

// settle takes slot i, which returns, out of c.
func (e *engine) settle(c config, i int32) {
	t := e.taken(c)
	if !t.has(i) && !e.ahead {
		if m := e.marked(t, i); m >= 0 {
			t.clear(m)
		}
	}
	t.clear(i)
	e.free(c).clear(i)
}

// take marks an operation of class k that was called before the horizon, if c has one
// left, and returns its slot, or -1.
func (e *engine) take(c config, k, horizon int32) int32 {
	t, list := e.taken(c), e.class[k].list
	for at := len(list) - 1; at >= 0; at-- {
		if i := list[at]; !t.has(i) && e.slots[i].seq < horizon {
			t.set(i)
			return i
		}
	}
	return -1
}

// enter is what follows from c holding v: pure operations that may, take effect, and
// writes of it are free.
func (e *engine) enter(c config, v Value) {
	l := e.lookup(v)
	if l == nil {
		if w := e.canonical(v); w != v {
			v, l = w, e.lookup(w)
		}
	}
	c.setValue(v)
	t := e.taken(c)
	if l == nil {
		for i, m := range e.denied {
			t[i] |= m
		}
		return
	}
	f := e.free(c)
	for i, m := range e.denied {
		t[i] |= l.reads[i] | m&^l.denied[i]
		f[i] |= l.writes[i]
	}
}

// glimpse is what follows from v being held right before the last plain write of c.
func (e *engine) glimpse(c config, v Value, old bitset) {
	t := e.taken(c)
	l := e.lookup(v)
	for i, m := range e.denied {
		if l != nil {
			m = m&^l.denied[i] | l.reads[i]
		}
		t[i] |= m & old[i]
	}
}

// fork returns a copy of c to try something with; [engine.undo] gives it back.
func (e *engine) fork(c config) config {
	// the copies that are in use must not move
	if e.depth == len(e.scratch) {
		e.scratch = append(e.scratch, nil)
	}
	d := e.scratch[e.depth]
	if len(d) != len(c) {
		d = make(config, len(c))
		e.scratch[e.depth] = d
	}
	e.depth++
	copy(d, c)
	return d
}

func (e *engine) undo() { e.depth-- }

func (e *engine) step(slot int32) { e.path = append(e.path, e.slots[slot].op) }
func (e *engine) back()           { e.path = e.path[:len(e.path)-1] }

// emit adds c, in which x took effect or need not, in some way that p says.
func (e *engine) emit(c config, p place) {
	d := e.fork(c)
	e.settle(d, e.x)
	e.prune(d)
	if o := e.add(d); o != nil && e.log != nil && len(e.path) > 0 {
		o.setRecord(e.log.add(o.record(), e.path, p))
	}
	e.undo()
}

// leads says that x is possible where v is held, or may be after some cas.
func (e *engine) leads(v Value) bool {
	switch s := &e.slots[e.x]; s.kind {
	case Refused:
		if v != s.a {
			return true
		}
	case Read, CAS:
		if v == s.a {
			return true
		}
	}
	l := e.lookup(v)
	return l != nil && len(l.cas) > 0
}

// explain adds all that may become of c, in which x did not take effect, by its return.
func (e *engine) explain(c config) {
	s := &e.slots[e.x]
	if s.a == Nothing {
		return
	}
	old := s.seq < c.horizon()
	if s.kind == Write {
		free := e.free(c).has(e.x)
		if old {
			e.hideWrite(c, s.class)
		} else if free {
			e.emit(c, place{})
		}
		if !free || e.future == nil || e.future.sees(s.a) {
			e.appendWrite(c, s.class)
		}
		return
	}
	e.chain(c, c.value(), place{before: e.calls})
	e.explainAtEnds(c, e.calls)
	for _, k := range e.writ {
		if e.leads(e.class[k].a) {
			if old {
				e.hideWrite(c, k)
			}
			e.appendWrite(c, k)
		}
	}
}

// explainAtEnds adds what may become of c if x takes effect at one of its ends up to then.
func (e *engine) explainAtEnds(c config, then int32) {
	for i, d := range e.ends(c) {
		if v, before := endOf(d); e.slots[e.x].seq < before && before <= then {
			d := e.fork(c)
			e.withdraw(d, i)
			e.chain(d, v, place{hidden: true, end: true, before: before})
			e.undo()
		}
	}
}

// A place is where changes may take effect.
type place struct {
	hidden bool  // before some plain write, rather than after all
	end    bool  // at an end
	before int32 // of how many calls
}

// chain tries cas one after the other, at a place where v is held, until x is possible. If
// deadlines are known, of a class it tries the one with the earliest, and then those that
// were called later: to swap two is possible only if either may stand where the other
// does, and what was called early may be needed at an end, or hidden.
func (e *engine) chain(c config, v Value, p place) {
	l := e.lookup(v)
	if l == nil || e.stopped {
		return
	}
	for _, k := range l.cas {
		list := e.class[k].list
		newest := int32(-1)
		for at := len(list) - 1; at >= 0; at-- {
			i := list[at]
			s := &e.slots[i]
			if s.seq >= p.before || s.seq <= newest || e.taken(c).has(i) {
				continue
			}
			if newest = s.seq; e.stopped {
				return
			}
			e.worked(1)
			d := e.fork(c)
			e.taken(d).set(i)
			e.step(i)
			e.reach(d, e.class[k].b, p)
			e.back()
			e.undo()
			if !e.ahead {
				break
			}
		}
	}
}

// reach has v held at a place, and goes on from there if x was not possible yet.
func (e *engine) reach(c config, v Value, p place) {
	if p.hidden {
		e.glimpse(c, v, e.until(p.before))
	} else {
		e.enter(c, v)
	}
	if !e.consumed(c, e.x) {
		e.chain(c, v, p)
		return
	}
	if p.hidden {
		e.offer(c, v, p.before)
	}
	e.emit(c, p)
}

// elsewhere adds what may become of c if x takes effect where the one whose mark it has could
// not.
func (e *engine) elsewhere(c config) {
	s := &e.slots[e.x]
	if e.ahead || s.kind != CAS || e.taken(c).has(e.x) {
		return
	}
	m := e.marked(e.taken(c), e.x)
	called := e.slots[m].seq
	e.spared = m
	e.explainAtEnds(c, called)
	if h := c.horizon(); s.seq < h && h <= called {
		for _, k := range e.writ {
			if e.leads(e.class[k].a) {
				e.hideWrite(c, k)
			}
		}
	}
	e.spared = -1
}

func (e *engine) appendWrite(c config, k int32) {
	d := e.fork(c)
	if i := e.take(d, k, e.calls); i >= 0 {
		e.step(i)
		e.offer(d, c.value(), e.calls)
		d.setHorizon(e.calls)
		f := e.free(d)
		for w, m := range e.writes {
			f[w] |= m
		}
		e.reach(d, e.class[k].a, place{before: e.calls})
		e.back()
	}
	e.undo()
}

func (e *engine) hideWrite(c config, k int32) {
	d := e.fork(c)
	if i := e.take(d, k, c.horizon()); i >= 0 {
		e.step(i)
		e.reach(d, e.class[k].a, place{hidden: true, before: c.horizon()})
		e.back()
	}
	e.undo()
}

// returns makes slot x return, and says whether anything explains that. If nothing does,
// x is left out: as if it had not been called, or, if it is a cas, as if it were a write.
func (e *engine) returns(x int32) bool {
	if e.slots[x].kind == CAS {
		e.dirty = true // ends nobody wants any more
	}
	explained := e.survive(x)
	if !explained {
		if e.slots[x].kind == CAS {
			e.weaken(x)
			e.survive(x)
		} else {
			for i := range e.now.n {
				e.settle(e.at(&e.now, i), x)
			}
		}
	}
	e.end(x)
	return explained
}

// survive leaves those configurations in which x took effect by its return. If there are
// none, it leaves all as it is.
func (e *engine) survive(x int32) bool {
	all := true
	for i := range e.now.n {
		c := e.at(&e.now, i)
		all = all && (e.taken(c).has(x) || e.consumed(c, x) && e.slots[x].kind != CAS)
	}
	if all {
		for i := range e.now.n {
			e.settle(e.at(&e.now, i), x)
		}
		return true
	}
	e.x = x
	for e.cramped = true; e.cramped; {
		e.cramped, e.next.n = false, 0
		e.horizons = e.horizons[:0]
		for i := range e.now.n {
			if c := e.at(&e.now, i); e.consumed(c, x) {
				e.settle(e.push(&e.next, c), x)
			}
		}
		for i := 0; i < e.now.n && !e.cramped && !e.stopped; i++ {
			if c := e.at(&e.now, i); e.consumed(c, x) {
				e.elsewhere(c)
			} else {
				e.explain(c)
			}
		}
		if e.cramped {
			e.resize(e.width, 2*e.room)
		}
	}
	e.x = -1
	if e.next.n == 0 || e.stopped {
		return e.stopped
	}
	e.now, e.next = e.next, e.now
	return true
}

// weaken makes slot x, a cas in no configuration, a write of what it set.
func (e *engine) weaken(x int32) {
	e.part(x)
	s := &e.slots[x]
	s.kind, s.a = Write, e.canonical(s.b)
	e.join(x)
	e.writes.set(x)
	e.plain.set(x)
	for i := range e.now.n {
		c := e.at(&e.now, i)
		if s.seq >= c.horizon() && c.value() != s.a {
			e.free(c).clear(x)
		}
	}
}

// tidy compares all with all where it may have become worth while.
func (e *engine) tidy() {
	if e.now.n > 1 && (e.dirty || e.now.n > 2*e.reduced) {
		e.reduce()
	}
	e.dirty = false
}
