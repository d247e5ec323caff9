package lineartest

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/hacheck/hacheck/checker/linear"
)

// A Load says what simulated clients do. Each waits for an answer before it goes on, so
// as many operations are open as there are clients, but for those that never return.
// Half of what they do are reads, three in ten are writes, the rest are cas.
type Load struct {
	Ops     int
	Clients int
	// Keys is how many registers there are, of which each operation takes one at random;
	// 0 is one.
	Keys int
	// Values is how many values are written; 0: every write sets a value of its own, and
	// a cas expects what its client last knew of.
	Values int
	// Shows says that a cas that fails says what it found.
	Shows bool
	// NoCAS says that there are reads and writes alone, and as many of the one as of the
	// other.
	NoCAS bool
	// Indeterminate is how many of the operations are writes that never return. Their
	// clients go on after 5 ms; half of them take effect, within 50 ms.
	Indeterminate int
	// Stale is the part of the operations after which one read finds what was there long
	// before; 0 is that none does. Where values are few it may be there again by then.
	Stale float64
}

// What the simulation assumes, in milliseconds.
const (
	median    = 1.0 // of how long an operation takes, which is log-normal
	sigma     = 0.5 // of the logarithm
	early     = 0.1 // part of an operation before which it does not take effect
	late      = 0.9 // and after which it does not
	thinks    = 0.1 // how long a client waits before the next one, on average
	timeout   = 5.0
	lingering = 50.0
)

// Simulate returns the history of one register under a load. Times are positions in it.
func Simulate(r *rand.Rand, l Load) *linear.Register {
	reg, _ := SimulateOrder(r, l)
	return reg
}

// SimulateOrder returns also the order in which operations took effect, which explains the
// history unless a read is stale.
func SimulateOrder(r *rand.Rand, l Load) (*linear.Register, []int32) {
	l.Keys = 1
	one := simulate(r, l)[0]
	return one.Register, one.order
}

// SimulateKeys returns the histories of all registers under a load. Times are positions,
// in each history its own.
func SimulateKeys(r *rand.Rand, l Load) []*linear.Register {
	l.Keys = max(l.Keys, 1)
	var regs []*linear.Register
	for _, k := range simulate(r, l) {
		regs = append(regs, k.Register)
	}
	return regs
}

func simulate(r *rand.Rand, l Load) []object {
	s := simulation{Load: l, Rand: r, keys: make([]object, l.Keys), clients: make([]client, l.Clients)}
	room := l.Ops / l.Keys
	if l.Keys > 1 {
		room += room / 8
	}
	for k := range s.keys {
		s.keys[k].order = make([]int32, 0, room)
		s.keys[k].Register = &linear.Register{
			Kind: make([]linear.Kind, 0, room),
			A:    make([]linear.Value, 0, room), B: make([]linear.Value, 0, room),
			Call: make([]linear.Time, 0, room), Return: make([]linear.Time, 0, room),
			Returns: make([]int32, 0, room),
			Values:  l.Values + 1,
		}
	}
	for c := range s.clients {
		s.clients[c].knows = make([]linear.Value, l.Keys)
		s.push(moment{at: r.ExpFloat64() * thinks, client: int32(c), what: call})
	}
	for len(s.next) > 0 {
		s.step()
	}
	return s.keys
}

// A simulation goes from moment to moment.
type simulation struct {
	Load
	*rand.Rand
	next    []moment // a heap: the first is the earliest
	keys    []object
	clients []client
	begun   int // operations
	lost    int // of them, to be never heard of
	lied    bool
}

// An object is a register while things happen to it.
type object struct {
	*linear.Register
	order  []int32 // that in which operations took effect
	now    linear.Time
	holds  linear.Value
	before []linear.Value // what it held, the latest last
}

// A client does one thing at a time.
type client struct {
	key   int32
	op    int32
	ends  float64        // when op returns
	knows []linear.Value // what it last heard, by key
}

// A moment is when something happens in what a client does; or when its lost write takes
// effect, of which it knows nothing.
type moment struct {
	at      float64
	client  int32
	key, op int32 // if lost
	what    event
}

type event uint8

const (
	call event = iota
	point
	ret
	lost
)

// step lets the first moment pass, and puts what follows from it in its place.
func (s *simulation) step() {
	m := s.next[0]
	c := &s.clients[m.client]
	switch m.what {
	case call:
		if s.begun == s.Ops {
			s.pop()
			return
		}
		if s.Keys > 1 {
			c.key = int32(s.IntN(s.Keys))
		}
		k := &s.keys[c.key]
		c.op = int32(k.Len())
		never := s.IntN(s.Ops-s.begun) < s.Indeterminate-s.lost
		s.begun++
		s.begin(k, c, never)
		if never {
			s.lost++
			if s.IntN(2) == 0 {
				s.push(moment{at: m.at + s.Float64()*lingering, client: m.client, key: c.key, op: c.op, what: lost})
			}
			m.at += timeout + s.ExpFloat64()*thinks
			break
		}
		takes := median * math.Exp(sigma*s.NormFloat64())
		c.ends = m.at + takes
		m.at += takes * (early + s.Float64()*(late-early))
		m.what = point
	case point:
		s.happens(&s.keys[c.key], c)
		m.at, m.what = c.ends, ret
	case ret:
		k := &s.keys[c.key]
		k.Return[c.op] = k.now
		k.Returns = append(k.Returns, c.op)
		k.now++
		m.at, m.what = m.at+s.ExpFloat64()*thinks, call
	case lost:
		k := &s.keys[m.key]
		k.order = append(k.order, m.op)
		s.set(k, k.A[m.op])
		s.pop()
		return
	}
	s.next[0] = m
	s.down()
}

// begin records the call of what c does next, which is a write if it is lost.
func (s *simulation) begin(k *object, c *client, never bool) {
	kind := linear.Write
	if roll := s.IntN(10); !never && roll < 5 {
		kind = linear.Read
	} else if !never && roll < 7 && !s.NoCAS {
		kind = linear.CAS
	}
	var a, b linear.Value
	switch kind {
	case linear.Write:
		a = s.fresh(k)
	case linear.CAS:
		a = c.knows[c.key]
		if s.Values > 0 {
			a = s.fresh(k)
		}
		b = s.fresh(k)
	}
	k.Kind = append(k.Kind, kind)
	k.A, k.B = append(k.A, a), append(k.B, b)
	k.Call, k.Return = append(k.Call, k.now), append(k.Return, linear.Never)
	k.now++
}

// fresh returns a value to write.
func (s *simulation) fresh(k *object) linear.Value {
	if s.Values > 0 {
		return 1 + linear.Value(s.IntN(s.Values))
	}
	k.Values++
	return linear.Value(k.Values - 1)
}

// happens lets what c does take effect.
func (s *simulation) happens(k *object, c *client) {
	op, found := c.op, k.holds
	k.order = append(k.order, op)
	switch k.Kind[op] {
	case linear.Read:
		if s.Stale > 0 && !s.lied && float64(s.begun) >= s.Stale*float64(s.Ops) {
			found = k.stale()
			s.lied = found != k.holds
		}
		k.A[op] = found
	case linear.Write:
		found = k.A[op]
		s.set(k, found)
	case linear.CAS:
		switch b := k.B[op]; {
		case found == k.A[op] && found != b:
			s.set(k, b)
			found = b
		case found == k.A[op] || s.Shows:
			k.Kind[op], k.A[op], k.B[op] = linear.Read, found, 0
		default:
			k.Kind[op], k.B[op] = linear.Refused, 0
			return // c is no wiser
		}
	}
	c.knows[c.key] = found
}

// set lets k hold v.
func (s *simulation) set(k *object, v linear.Value) {
	if long := 8 * s.Clients; s.Stale > 0 && !s.lied {
		if k.before = append(k.before, k.holds); len(k.before) == 2*long {
			k.before = slices.Delete(k.before, 0, long)
		}
	}
	k.holds = v
}

// stale returns what k has not held for the longest time, of what it held lately.
func (k *object) stale() linear.Value {
	last := map[linear.Value]int{k.holds: len(k.before)}
	for i, v := range slices.Backward(k.before) {
		if _, known := last[v]; !known {
			last[v] = i
		}
	}
	oldest := k.holds
	for v, i := range last {
		if i < last[oldest] {
			oldest = v
		}
	}
	return oldest
}

func (s *simulation) push(m moment) {
	s.next = append(s.next, m)
	i := len(s.next) - 1
	for i > 0 && s.next[(i-1)/2].at > m.at {
		s.next[i] = s.next[(i-1)/2]
		i = (i - 1) / 2
	}
	s.next[i] = m
}

func (s *simulation) pop() {
	n := len(s.next) - 1
	s.next[0] = s.next[n]
	s.next = s.next[:n]
	s.down()
}

// down puts the first moment where it belongs.
func (s *simulation) down() {
	n := len(s.next)
	if n == 0 {
		return
	}
	m, i := s.next[0], 0
	for {
		child := 2*i + 1
		if child >= n {
			break
		}
		if child+1 < n && s.next[child+1].at < s.next[child].at {
			child++
		}
		if s.next[child].at >= m.at {
			break
		}
		s.next[i], i = s.next[child], child
	}
	s.next[i] = m
}
