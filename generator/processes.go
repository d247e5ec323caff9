package generator

import (
	"slices"

	"github.com/hacheck/hacheck/histories"
)

// OnClients lets g run on client processes alone; it sees no others.
func OnClients(g Generator) Generator {
	return On(func(_ Context, p histories.Process) bool { return p >= 0 }, g)
}

// OnNemesis lets g run on the nemesis alone; it sees no others.
func OnNemesis(g Generator) Generator {
	return On(func(_ Context, p histories.Process) bool { return p == histories.Nemesis }, g)
}

// On lets g run on the processes in the given set alone. It sees no others: a
// phase inside ends when its own processes are idle.
func On(set func(Context, histories.Process) bool, g Generator) Generator {
	return &on{g: orNothing(g), in: set}
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
	done bool
	one  [1]histories.Process // reused
}

func (e *eachProcess) Next(c Context) Step {
	if e.done { // also for processes that are born later
		return Step{Done: true}
	}
	soonest, living := Step{}, false
	for _, p := range c.Free {
		g, ok := e.gs[p]
		if !ok {
			g = e.make(p)
			e.gs[p] = g
		}
		if g == nil {
			continue
		}
		switch s := g.Next(e.alone(c, p, false)); {
		case s.Op != nil:
			return s
		case s.Done:
			e.gs[p] = nil
		default:
			living = true
			soonest = sooner(soonest, s)
		}
	}
	for _, p := range c.Busy {
		g, ok := e.gs[p]
		living = living || g != nil || !ok // it may be busy for somebody else, and get its turn later
	}
	if living {
		return soonest
	}
	e.done = true
	return Step{Done: true}
}

// alone returns the context in which p is the only process.
func (e *eachProcess) alone(c Context, p histories.Process, busy bool) Context {
	e.one[0] = p
	c.Free, c.Busy = e.one[:], nil
	if busy {
		c.Free, c.Busy = nil, e.one[:]
	}
	return c
}

func (e *eachProcess) Update(c Context, op histories.Op) {
	if op.Type == histories.Info && op.Process >= 0 {
		delete(e.gs, op.Process) // the process is dead
		return
	}
	if g := e.gs[op.Process]; g != nil {
		g.Update(e.alone(c, op.Process, op.Type == histories.Invoke), op)
	}
}

// Independent runs n generators side by side, one for each key, and chooses among
// them at random for each op; when one is done, the next key takes its place. next
// returns the generator of key i = 0, 1, 2, ..., or nil if there are no more; more
// than n keys in a row that yield nothing are taken for the end, too. A key's
// generator sees the ops it yielded and no others: a phase inside ends when the
// key's own ops have completed.
//
// A history over many short-lived keys is checked key by key, which is what keeps
// checking easy.
func Independent(n int, next func(i int) Generator) Generator {
	return &independent{slots: n, next: next, owner: map[histories.Process]*key{}}
}

type independent struct {
	slots  int
	next   func(int) Generator // nil if there are no more
	begun  int
	active []*key
	turn   turn
	owner  map[histories.Process]*key // of the op outstanding on a process
}

type key struct {
	Generator
	busy []histories.Process // with an op of the key outstanding
	done bool
}

func (k *independent) Next(c Context) Step {
	for empty := 0; ; {
		k.active = slices.DeleteFunc(k.active, func(o *key) bool { return o.done })
		for len(k.active) < k.slots && k.next != nil {
			k.open()
		}
		if len(k.active) == 0 {
			return Step{Done: true}
		}
		s, done := k.ask(c)
		if s.Op != nil {
			k.turn.taken()
			return s
		}
		if done == 0 {
			return s
		}
		if empty += done; empty > 2*k.slots { // the ones that were old, and more than n new ones
			k.next = nil
		}
	}
}

// ask asks the active keys in turn until one yields an op, and says how many of
// them turned out to be done.
func (k *independent) ask(c Context) (soonest Step, done int) {
	first := k.turn.of(c, len(k.active))
	for i := range k.active {
		o := k.active[(first+i)%len(k.active)]
		c.Busy = o.busy
		s := o.Next(c)
		if s.Op != nil {
			o.busy = append(o.busy, s.Op.Process)
			k.owner[s.Op.Process] = o
			return s, done
		}
		if o.done = s.Done; s.Done {
			done++
			continue
		}
		soonest = sooner(soonest, s)
	}
	return soonest, done
}

// open begins the next key, if there is one.
func (k *independent) open() {
	g := k.next(k.begun)
	if g == nil {
		k.next = nil
		return
	}
	k.begun++
	k.active = append(k.active, &key{Generator: g})
}

func (k *independent) Update(c Context, op histories.Op) {
	o, ok := k.owner[op.Process]
	if !ok {
		return
	}
	if op.Type != histories.Invoke {
		delete(k.owner, op.Process)
		o.busy = slices.DeleteFunc(o.busy, func(p histories.Process) bool { return p == op.Process })
	}
	c.Busy = o.busy
	o.Update(c, op)
}
