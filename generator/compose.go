package generator

import (
	"reflect"
	"slices"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Any yields from whichever of gs can go first; a tie is broken at random, so
// that none starves. It is done when all are. Each keeps its own pace: a fast
// one never holds back a slow one.
func Any(gs ...Generator) Generator { return &anyOf{gs: slices.Clone(gs)} }

type anyOf struct {
	gs   []Generator // nil where it is done
	turn turn
}

func (a *anyOf) Next(c Context) Step {
	n := len(a.gs)
	if n == 0 {
		return Step{Done: true}
	}
	soonest := Step{}
	first := a.turn.of(c, n)
	done := 0
	for i := range n {
		at := (first + i) % n
		if a.gs[at] == nil {
			done++
			continue
		}
		switch s := a.gs[at].Next(c); {
		case s.Op != nil:
			a.turn.taken()
			return s
		case s.Done:
			a.gs[at] = nil
			done++
		default:
			soonest = sooner(soonest, s)
		}
	}
	if done == n {
		a.gs = nil
		return Step{Done: true}
	}
	return soonest
}

func (a *anyOf) Update(c Context, op histories.Op) {
	for _, g := range a.gs {
		if g != nil {
			g.Update(c, op)
		}
	}
}

// sooner returns the one of two answers without an op that asks to be asked
// again first.
func sooner(a, b Step) Step {
	if a.Wait == 0 || (b.Wait > 0 && b.Wait < a.Wait) {
		return b
	}
	return a
}

// A turn says at random who of several is asked first. It stands until it is
// taken: how often somebody was asked in vain must not change what happens next,
// or a seed would fix nothing.
type turn struct {
	at  int
	set bool
}

func (t *turn) of(c Context, n int) int {
	if !t.set {
		t.at, t.set = c.Rand.IntN(n), true
	}
	return t.at % n
}

func (t *turn) taken() { t.set = false }

// Mix yields from one of gs at random, chosen anew for each op, and waits for the
// chosen one if it must, so that the proportions hold. It is done when all are.
// Name a generator twice to have it twice as often.
func Mix(gs ...Generator) Generator {
	m := &mix{}
	for _, g := range gs {
		if g == nil {
			continue
		}
		mixed := &g
		for _, other := range m.gs { // one that is named twice is one still
			if reflect.ValueOf(g).Comparable() && *other == g {
				mixed = other
			}
		}
		m.gs = append(m.gs, mixed)
	}
	return m
}

type mix struct {
	gs     []*Generator
	chosen *Generator // until it yields
}

func (m *mix) Next(c Context) Step {
	for len(m.gs) > 0 {
		if m.chosen == nil {
			m.chosen = m.gs[c.Rand.IntN(len(m.gs))]
		}
		s := (*m.chosen).Next(c)
		if s.Done {
			m.gs = slices.DeleteFunc(m.gs, func(g *Generator) bool { return g == m.chosen })
		}
		if s.Op != nil || s.Done {
			m.chosen = nil
		}
		if !s.Done {
			return s
		}
	}
	return Step{Done: true}
}

func (m *mix) Update(c Context, op histories.Op) {
	for i, g := range m.gs {
		if !slices.Contains(m.gs[:i], g) {
			(*g).Update(c, op)
		}
	}
}

// Phases yields from each of gs to its end, one after the other; the next begins
// when no op of the one before is outstanding.
func Phases(gs ...Generator) Generator { return &phases{gs: gs} }

type phases struct{ gs []Generator }

func (p *phases) Next(c Context) Step {
	for len(p.gs) > 0 {
		if s := orNothing(p.gs[0]).Next(c); !s.Done {
			return s
		}
		if len(c.Busy) > 0 {
			return Step{}
		}
		p.gs = p.gs[1:]
	}
	return Step{Done: true}
}

func (p *phases) Update(c Context, op histories.Op) {
	if len(p.gs) > 0 {
		orNothing(p.gs[0]).Update(c, op)
	}
}

// Cycle makes a generator and yields from it to its end, n times in all, or for
// ever if n is negative; then a turn that yields nothing ends it, since so would
// all that follow. It does not wait for ops between two turns; put Phases inside
// where that matters.
func Cycle(n int, make func() Generator) Generator { return &cycle{left: n, make: make} }

type cycle struct {
	left int
	make func() Generator
	now  Generator
}

func (y *cycle) Next(c Context) Step {
	for fresh := false; ; {
		if y.now == nil {
			if y.left < 0 && fresh {
				y.left = 0
			}
			if y.left == 0 {
				return Step{Done: true}
			}
			y.left = max(y.left-1, -1)
			y.now, fresh = orNothing(y.make()), true
		}
		s := y.now.Next(c)
		if !s.Done {
			return s
		}
		y.now = nil
	}
}

func (y *cycle) Update(c Context, op histories.Op) {
	if y.now != nil {
		y.now.Update(c, op)
	}
}

// UntilOK invokes each of ops on any free process, again and again until it has
// completed ok, pausing for a while after each failure. Put it into a TimeLimit.
func UntilOK(pause time.Duration, ops ...histories.Op) Generator {
	return &untilOK{pause: pause, todo: slices.Clone(ops), running: map[histories.Process]histories.Op{}}
}

type untilOK struct {
	pause   time.Duration
	todo    []histories.Op
	running map[histories.Process]histories.Op
	resume  time.Duration
}

func (u *untilOK) Next(c Context) Step {
	if len(u.todo) == 0 {
		return Step{Done: len(u.running) == 0}
	}
	if wait := u.resume - c.Now; wait > 0 {
		return Step{Wait: wait}
	}
	if len(c.Free) == 0 {
		return Step{}
	}
	op := u.todo[0]
	u.todo = u.todo[1:]
	op.Type, op.Process = histories.Invoke, c.Free[0]
	u.running[op.Process] = op
	return Step{Op: &op}
}

func (u *untilOK) Update(c Context, op histories.Op) {
	mine, ok := u.running[op.Process]
	if !ok || op.Type == histories.Invoke {
		return
	}
	delete(u.running, op.Process)
	if op.Type != histories.OK {
		u.todo = append(u.todo, mine)
		u.resume = c.Now + u.pause
	}
}
