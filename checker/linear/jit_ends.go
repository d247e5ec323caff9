package linear

// An end is where a plain write overwrote what the register held, a value, in the upper
// half of the word, at a time, in the lower one, by the number of calls before. Cas that
// were called by then may still take effect there, one after the other, unseen: what is
// overwritten does not matter, and what follows returned later. So it need not be decided
// which do, and which of several, until one of them returns, or something that saw what
// they set. Each end is good for one chain of cas; what they set last is its end then.
//
// A configuration has its ends in descending order, then zeros. One is there only as long
// as an open cas may take it.
type end = uint64

func makeEnd(v Value, before int32) end { return uint64(uint32(v))<<32 | uint64(uint32(before)) }

func endOf(d end) (v Value, before int32) { return Value(int32(d >> 32)), int32(uint32(d)) }

// covers says that for each end of d there is one of c of the same value, and as late.
func covers(c, d []end) bool {
	i := 0
	for _, b := range d {
		if b == 0 {
			break
		}
		for i < len(c) && c[i]>>32 > b>>32 {
			i++
		}
		if i == len(c) || c[i] < b || c[i]>>32 != b>>32 {
			return false
		}
		i++
	}
	return true
}

// offer says that v was overwritten in c, where those called before could still follow.
func (e *engine) offer(c config, v Value, before int32) {
	if e.wanted(c, v, before, -1) == 0 {
		return
	}
	ends, d := e.ends(c), makeEnd(v, before)
	if ends[len(ends)-1] != 0 {
		e.cramped = true
		return
	}
	i := 0
	for ends[i] > d {
		i++
	}
	copy(ends[i+1:], ends[i:])
	ends[i] = d
}

// wanted returns how many open cas from v, called before, are left in c, but slot x.
func (e *engine) wanted(c config, v Value, before, x int32) int {
	l := e.lookup(v)
	if l == nil {
		return 0
	}
	n, t := 0, e.taken(c)
	for _, k := range l.cas {
		for _, i := range e.class[k].list {
			if i != x && !t.has(i) && e.slots[i].seq < before {
				n++
			}
		}
	}
	return n
}

// withdraw takes an end from c.
func (e *engine) withdraw(c config, at int) {
	ends := e.ends(c)
	copy(ends[at:], ends[at+1:])
	ends[len(ends)-1] = 0
}

// prune takes the ends from c that nobody wants. Each end that is used is used by another
// cas first, so those of one value that can be used are those that can be given one each.
// Later ones are good for more, so it is those that are kept, from the latest on, as long
// as of them up to each there are no more than cas for it.
func (e *engine) prune(c config) {
	ends := e.ends(c)
	if ends[0] == 0 {
		return
	}
	first, n := 0, 0 // of the same value, and the first after those that are kept
	for _, d := range ends {
		if n == first || ends[first]>>32 != d>>32 {
			first = n
		}
		v, before := endOf(d)
		if d == 0 || e.wanted(c, v, before, e.x) == 0 {
			continue
		}
		fits := true
		for i, k := range ends[first:n] {
			_, before := endOf(k)
			fits = fits && n-first-i+1 <= e.wanted(c, v, before, e.x)
		}
		if fits {
			ends[n] = d
			n++
		}
	}
	clear(ends[n:])
}
