package generator

import (
	"slices"

	"github.com/hacheck/hacheck/histories"
)

// OnClients lets g run on client processes alone; it sees no others.
func OnClients(g Generator) Generator {
	return &on{g: g, in: func(_ Context, p histories.Process) bool { return p >= 0 }}
}

// OnNemesis lets g run on the nemesis alone; it sees no others.
func OnNemesis(g Generator) Generator {
	return &on{g: g, in: func(_ Context, p histories.Process) bool { return p == histories.Nemesis }}
}

// On lets g run on the processes in the given set alone. It sees no others: a
// phase inside ends when its own processes are idle.
func On(set func(Context, histories.Process) bool, g Generator) Generator {
	return &on{g: g, in: set}
}

type on struct {
	g          Generator
	in         func(Context, histories.Process) bool
	free, busy []histories.Process // reused
}

func (o *on) Next(c Context) Step { return o.g.Next(o.restrict(c)) }

// Update passes on the ops of other processes too: a generator for the nemesis
// may react to what clients see.
func (o *on) Update(c Context, op histories.Op) { o.g.Update(o.restrict(c), op) }

func (o *on) restrict(c Context) Context {
	o.free = o.filter(c, o.free[:0], c.Free)
	o.busy = o.filter(c, o.busy[:0], c.Busy)
	c.Free, c.Busy = o.free, o.busy
	return c
}

func (o *on) filter(c Context, into, from []histories.Process) []histories.Process {
	for _, p := range from {
		if o.in(c, p) {
			into = append(into, p)
		}
	}
	return into
}

// A Part is a number of client workers and what they do.
type Part struct {
	Workers   int
	Generator Generator
}

// Reserve gives the first Workers client workers to the first part, the next to
// the second, and so on; rest gets those that remain. Each part sees only its
// own processes. It is done when all are.
func Reserve(rest Generator, parts ...Part) Generator {
	var gs []Generator
	from := 0
	for _, p := range parts {
		lo, hi := from, from+p.Workers
		gs = append(gs, On(func(c Context, p histories.Process) bool {
			return p >= 0 && c.Worker(p) >= lo && c.Worker(p) < hi
		}, p.Generator))
		from = hi
	}
	if rest != nil {
		lo := from
		gs = append(gs, On(func(c Context, p histories.Process) bool { return p >= 0 && c.Worker(p) >= lo }, rest))
	}
	return Any(gs...)
}

// EachProcess gives every process a generator of its own, which sees that process
// and its ops alone. A process that replaces a dead one begins afresh. It is done
// when the generators of all living processes are.
func EachProcess(make func(p histories.Process) Generator) Generator {
	return &eachProcess{make: make, gs: map[histories.Process]Generator{}}
}

type eachProcess struct {
	make func(histories.Process) Generator
	gs   map[histories.Process]Generator // nil where it is done
}

func (e *eachProcess) Next(c Context) Step {
	soonest, living := Step{}, false
	free, busy := c.Free, c.Busy
	for i, p := range free {
		g, ok := e.gs[p]
		if !ok {
			g = e.make(p)
			e.gs[p] = g
		}
		if g == nil {
			continue
		}
		c.Free, c.Busy = free[i:i+1], nil
		switch s := g.Next(c); {
		case s.Op != nil:
			return s
		case s.Done:
			e.gs[p] = nil
		default:
			living = true
			if s.Wait > 0 && (soonest.Wait == 0 || s.Wait < soonest.Wait) {
				soonest = s
			}
		}
	}
	if living || slices.ContainsFunc(busy, func(p histories.Process) bool { return e.gs[p] != nil }) {
		return soonest
	}
	return Step{Done: true}
}

func (e *eachProcess) Update(c Context, op histories.Op) {
	g := e.gs[op.Process]
	if g == nil {
		return
	}
	if op.Type == histories.Info && op.Process >= 0 {
		delete(e.gs, op.Process) // the process is dead
		return
	}
	g.Update(c, op)
}

// Independent runs n generators side by side, one for each key, and chooses among
// them at random for each op; when one is done, the next key takes its place. next
// returns the generator of key i = 0, 1, 2, ..., or nil if there are no more. A
// key's generator sees the ops it yielded and no others.
//
// A history over many short-lived keys is checked key by key, which is what keeps
// checking easy.
func Independent(n int, next func(i int) Generator) Generator {
	return &independent{slots: n, next: next, owner: map[histories.Process]Generator{}}
}

type independent struct {
	slots  int
	next   func(int) Generator
	begun  int
	active []Generator
	owner  map[histories.Process]Generator // of the op outstanding on a process
}

func (k *independent) Next(c Context) Step {
	if len(c.Free) == 0 {
		return Step{Done: k.next == nil && len(k.active) == 0}
	}
	for len(k.active) < k.slots && k.next != nil {
		k.open()
	}
	soonest := Step{}
	for tries := len(k.active); tries > 0; tries-- {
		at := c.Rand.IntN(tries)
		g := k.active[at]
		s := g.Next(c)
		if s.Op != nil {
			k.owner[s.Op.Process] = g
			return s
		}
		if s.Done {
			k.active = slices.Delete(k.active, at, at+1)
			if k.open(); len(k.active) >= tries {
				// The new key stands at the end; it is asked in this round too.
				last := len(k.active) - 1
				k.active[tries-1], k.active[last] = k.active[last], k.active[tries-1]
				tries++
			}
			continue
		}
		if s.Wait > 0 && (soonest.Wait == 0 || s.Wait < soonest.Wait) {
			soonest = s
		}
		// Asked, and not ready: out of this round's draw.
		k.active[at], k.active[tries-1] = k.active[tries-1], k.active[at]
	}
	if len(k.active) == 0 && k.next == nil {
		return Step{Done: true}
	}
	return soonest
}

// open begins the next key, if there is one.
func (k *independent) open() {
	if k.next == nil {
		return
	}
	g := k.next(k.begun)
	if g == nil {
		k.next = nil
		return
	}
	k.begun++
	k.active = append(k.active, g)
}

func (k *independent) Update(c Context, op histories.Op) {
	g, ok := k.owner[op.Process]
	if !ok {
		return
	}
	g.Update(c, op)
	if op.Type != histories.Invoke {
		delete(k.owner, op.Process)
	}
}
