package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// A Package is a nemesis with the generators that drive it.
type Package struct {
	Nemesis Nemesis
	// Main begins and heals faults: without end, unless all there is to do is a
	// timetable that has one.
	Main generator.Generator
	// Final heals what is in force, and is done then.
	Final generator.Generator
	// LeftOut are the faults that [All] does not do here, each with the reason.
	LeftOut []string
}

// Options say which faults there are to be, and when.
type Options struct {
	Specs []Spec
	// Interval is about how long an instance of a fault holds.
	Interval time.Duration
	// Timetable are instances beside those of Specs.
	Timetable []Entry
	// Policy is how those of Specs are chosen.
	Policy Policy
}

// New returns a nemesis of the faults that are asked for.
//
// With the policy Uniform each has a schedule of its own: it begins, is healed after
// about the interval, begins again after about a third of that, and so on; so
// faults overlap, and one that comes often takes no turns from one that seldom
// does. With Adaptive there are as many schedules, and what each does next is
// chosen; of all faults then, as many are in force as there would be otherwise.
func New(faults []Fault, env Env, o Options) (Package, error) {
	if o.Interval <= 0 {
		return Package{}, fmt.Errorf("interval of faults %v is not positive", o.Interval)
	}
	env = env.withBooks()
	m := &making{
		faults: faults, env: env, interval: o.Interval,
		performer: &performer{env: env, breakers: map[string]Breaker{}, held: map[int]Held{}, ended: map[int]bool{}},
		crew:      &crew{seen: &explored{}},
	}
	p := Package{Nemesis: m.performer}
	named, all, leftOut, err := m.specs(o.Specs)
	if err != nil {
		return Package{}, err
	}
	p.LeftOut = leftOut
	var paces []pace
	switch o.Policy {
	case Uniform, "":
		paces = m.uniform(named, all)
	case Adaptive:
		paces, err = m.adaptive(named, all)
	default:
		_, err = ParsePolicy(string(o.Policy))
	}
	if err != nil {
		return Package{}, err
	}
	for _, e := range o.Timetable {
		a, err := m.appointment(e)
		if err != nil {
			return Package{}, err
		}
		paces = append(paces, a)
	}
	if len(paces) == 0 && len(leftOut) > 0 {
		return Package{}, fmt.Errorf("nothing can be done here: %s", strings.Join(leftOut, "; "))
	}
	p.Main, p.Final = m.generators(paces)
	return p, nil
}

// A making is a package as it is made.
type making struct {
	faults    []Fault
	env       Env
	interval  time.Duration
	performer *performer
	crew      *crew
}

// An asked is a fault as it was asked for.
type asked struct {
	spec    Spec
	breaker Breaker
	of      string // [All], if that was asked for
}

// draw draws an instance.
func (a asked) draw(r *rand.Rand) *instance {
	return &instance{family: a.spec.Fault, name: a.spec.String(), of: a.of, detail: encode(a.breaker.Draw(r))}
}

// specs makes the faults that are asked for by name, and those of which [All]
// consists here.
func (m *making) specs(specs []Spec) (named, all []asked, leftOut []string, err error) {
	for _, s := range specs {
		if s.Fault == All {
			continue
		}
		if m.performer.breakers[s.String()] != nil {
			return nil, nil, nil, fmt.Errorf("fault %v is asked for twice", s)
		}
		a, err := m.asked(s)
		if err != nil {
			return nil, nil, nil, err
		}
		named = append(named, a)
	}
	if !slices.ContainsFunc(specs, func(s Spec) bool { return s.Fault == All }) {
		return named, nil, nil, nil
	}
	for _, f := range m.faults {
		if slices.ContainsFunc(named, func(a asked) bool { return a.spec.Fault == f.Name }) {
			continue // asked for by itself
		}
		if !f.In(m.env.Parts) {
			continue // it is of other systems
		}
		a, err := m.asked(Spec{Fault: f.Name})
		if err != nil {
			leftOut = append(leftOut, err.Error())
			continue
		}
		a.of = All
		all = append(all, a)
	}
	return named, all, leftOut, nil
}

// asked makes a fault that the performer then knows, unless it does already.
func (m *making) asked(s Spec) (asked, error) {
	b := m.performer.breakers[s.String()]
	if b == nil {
		var err error
		if b, err = newBreaker(m.faults, m.env, s); err != nil {
			return asked{}, err
		}
		m.performer.breakers[s.String()] = b
	}
	return asked{spec: s, breaker: b}, nil
}

func newBreaker(faults []Fault, env Env, s Spec) (Breaker, error) {
	f := find(faults, s.Fault)
	if f == nil {
		return nil, &UnknownError{What: "nemesis", Name: s.Fault, Known: families(faults)}
	}
	b, err := f.New(env, s)
	if err != nil {
		return nil, fmt.Errorf("fault %v: %w", s, err)
	}
	return b, nil
}

// uniform gives each fault its turns. Those of all come the less often the more
// there are.
func (m *making) uniform(named, all []asked) (paces []pace) {
	for _, a := range named {
		paces = append(paces, &turns{asked: a, interval: m.interval, quiet: m.interval / quiet})
	}
	for _, a := range all {
		paces = append(paces, &turns{asked: a, interval: m.interval, quiet: m.interval * time.Duration(len(all)) / inForce})
	}
	return paces
}

// generators returns those of the main phase and of the one in which all is healed.
func (m *making) generators(paces []pace) (main, final generator.Generator) {
	ids := new(int)
	var begin, end []generator.Generator
	for _, p := range paces {
		s := &schedule{pace: p, ids: ids, cluster: &m.crew.seen.watch}
		m.crew.schedules = append(m.crew.schedules, s)
		begin = append(begin, s)
		end = append(end, &healing{schedule: s})
	}
	return generator.OnNemesis(&desk{Generator: generator.Any(begin...), crew: m.crew}),
		generator.OnNemesis(&desk{Generator: generator.Any(end...), crew: m.crew})
}

// A performer is the Nemesis of a Package. The runner gives an op up that does not
// return, so others may come while it is still at work.
type performer struct {
	env      Env
	breakers map[string]Breaker // by name, as in histories.Fault

	mu     sync.Mutex
	held   map[int]Held // by ID
	ended  map[int]bool // also those that never began, or not yet
	closed bool         // Heal was called: everything has ended
}

func (n *performer) Invoke(ctx context.Context, op histories.Op) (any, error) {
	var f histories.Fault
	if err := json.Unmarshal(op.Value, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", op.F, err)
	}
	if op.F == histories.Heal {
		return n.end(ctx, f)
	}
	b := n.breakers[f.Name]
	if b == nil {
		return nil, fmt.Errorf("no such fault: %s", f.Name)
	}
	held, err := b.Begin(ctx, f.Detail)
	if err != nil {
		f.HeldBack = errors.Is(err, errGuarded)
		return f, err
	}
	if !n.hold(f.ID, held) {
		return f, errors.Join(errors.New("began after it was healed"), n.undo(ctx, f.ID, held))
	}
	f.Detail, err = json.Marshal(held.Detail())
	return f, err
}

// hold enters an instance into the books, unless it should have ended by now.
func (n *performer) hold(id int, held Held) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.ended[id] {
		return false
	}
	n.held[id] = held
	return true
}

// undo ends an instance that began when it should have ended. If that fails it is
// left to Heal, or, after that, to nobody.
func (n *performer) undo(ctx context.Context, id int, held Held) error {
	_, _, err := held.End(ctx)
	if err != nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.held[id] = held
	}
	return err
}

// end ends an instance. One that is not in force, because it could not begin, has
// not acted.
func (n *performer) end(ctx context.Context, f histories.Fault) (any, error) {
	held, err := n.take(f.ID)
	if held == nil || err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	acted, evidence, err := held.End(ctx)
	if err != nil {
		n.mu.Lock()
		n.held[f.ID] = held // to be tried again
		n.mu.Unlock()
		return f, err
	}
	n.mu.Lock()
	delete(n.held, f.ID)
	n.mu.Unlock()
	f.Acted = acted
	f.Evidence, err = json.Marshal(evidence)
	_, _ = n.Revive() // who cannot be started now is tried again, and told of, on recovery
	return f, err
}

// attempt is how long an End may try. It may wait for what another fault has in
// hold, which is not healed as long as this one is: the nemesis does one thing at a
// time.
const attempt = 5 * time.Second

// Revive implements Nemesis.
func (n *performer) Revive() (nodes []string, err error) {
	var errs []error
	for _, env := range n.env.each() {
		started, err := env.revived(env.guard.hit()...)
		nodes, errs = append(nodes, started...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nodes, fmt.Errorf("start again: %w", err)
	}
	return nodes, nil
}

// take returns an instance to be ended by the caller alone, or nil if there is
// none. While somebody is at it there is an entry without it.
func (n *performer) take(id int) (Held, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended[id] = true
	held, inForce := n.held[id]
	switch {
	case !inForce:
		return nil, nil
	case held == nil:
		return nil, errors.New("it is still being healed")
	}
	n.held[id] = nil
	return held, nil
}

// Heal ends all instances, and lets none begin any more. What fails is tried once more
// when all others have ended: it may have been in need of what they had in hold.
func (n *performer) Heal(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	held := n.held
	n.held = map[int]Held{}
	n.mu.Unlock()
	var errs []error
	for range 2 {
		errs = nil
		for _, id := range slices.Sorted(maps.Keys(held)) {
			if held[id] == nil {
				errs = append(errs, fmt.Errorf("heal fault %d: it is still being healed", id))
			} else if _, _, err := held[id].End(ctx); err != nil {
				errs = append(errs, fmt.Errorf("heal fault %d: %w", id, err))
			} else {
				delete(held, id)
			}
		}
	}
	return errors.Join(errs...)
}
