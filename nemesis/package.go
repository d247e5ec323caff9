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
	// Main begins and heals faults, without end.
	Main generator.Generator
	// Final heals what is in force, and is done then.
	Final generator.Generator
}

// Names returns what can be asked for: each fault, and each with each target.
func Names(faults []Fault) []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.Name)
		for _, t := range f.Targets {
			names = append(names, f.Name+":"+t.Name)
		}
	}
	return names
}

// New returns a nemesis of the faults that specs ask for, each a name out of
// [Names]. Each has a schedule of its own: it begins, is healed after about interval,
// begins again after about a third of that, and so on; so faults overlap.
func New(faults []Fault, specs []string, env Env, interval time.Duration) (Package, error) {
	if interval <= 0 {
		return Package{}, fmt.Errorf("interval of faults %v is not positive", interval)
	}
	env.cuts = &cuts{network: env.Network}
	n := &performer{breakers: map[string]Breaker{}, held: map[int]Held{}, ended: map[int]bool{}}
	ids := new(int)
	var main, final []generator.Generator
	for _, spec := range specs {
		if n.breakers[spec] != nil {
			return Package{}, fmt.Errorf("fault %s is asked for twice", spec)
		}
		family, target, _ := strings.Cut(spec, ":")
		at := slices.IndexFunc(faults, func(f Fault) bool { return f.Name == family })
		if at < 0 || !slices.Contains(Names(faults), spec) {
			return Package{}, fmt.Errorf("no such fault: %s; there are %s", spec, strings.Join(Names(faults), ", "))
		}
		b, err := faults[at].New(env, target)
		if err != nil {
			return Package{}, fmt.Errorf("fault %s: %w", spec, err)
		}
		n.breakers[spec] = b
		s := &schedule{family: family, name: spec, breaker: b, interval: interval, ids: ids}
		main = append(main, s)
		final = append(final, &healing{schedule: s})
	}
	return Package{
		Nemesis: n,
		Main:    generator.OnNemesis(generator.Any(main...)),
		Final:   generator.OnNemesis(generator.Any(final...)),
	}, nil
}

// A performer is the Nemesis of a Package. The runner gives an op up that does not
// return, so others may come while it is still at work.
type performer struct {
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
		return f, err
	}
	if !n.hold(f.ID, held) {
		_, _, err := held.End(ctx)
		return f, errors.Join(errors.New("began after it was healed"), err)
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

// end ends an instance. One that is not in force, because it could not begin, has
// not acted.
func (n *performer) end(ctx context.Context, f histories.Fault) (any, error) {
	held, err := n.take(f.ID)
	if held == nil || err != nil {
		return f, err
	}
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
	return f, err
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

// Heal ends all instances, and lets none begin any more.
func (n *performer) Heal(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	held := n.held
	n.held = map[int]Held{}
	n.mu.Unlock()
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(held)) {
		if held[id] == nil {
			errs = append(errs, fmt.Errorf("heal fault %d: it is still being healed", id))
		} else if _, _, err := held[id].End(ctx); err != nil {
			errs = append(errs, fmt.Errorf("heal fault %d: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// A schedule yields the ops of one fault. Its instances come one after the other.
type schedule struct {
	family, name string
	breaker      Breaker
	interval     time.Duration
	ids          *int // shared by the schedules of a package

	// rand is the schedule's own from its first draw on. How often a generator is
	// asked is a matter of timing; what it does must be one of the seed.
	rand  *rand.Rand
	next  time.Duration    // when there is something to do
	force *histories.Fault // the instance in force, or nil
	busy  bool             // an op of this schedule is outstanding
}

// quiet is how much shorter the time between two instances is than that of one. It
// is there for the system to recover and the next fault to find it in order, and
// that is a matter of less time than finding out what a fault does.
const quiet = 3

// retry is how long after a heal that failed the next is tried.
const retry = time.Second

func (s *schedule) Next(c generator.Context) generator.Step {
	if s.rand == nil {
		s.rand = rand.New(rand.NewPCG(c.Rand.Uint64(), c.Rand.Uint64()))
		s.next = c.Now + s.about(s.interval/quiet)
	}
	switch {
	case s.busy || len(c.Free) == 0:
		return generator.Step{}
	case s.next > c.Now:
		return generator.Step{Wait: s.next - c.Now}
	case s.force != nil:
		return s.heal(c)
	}
	f := histories.Fault{ID: *s.ids, Name: s.name, Detail: encode(s.breaker.Draw(s.rand))}
	*s.ids++
	s.force = &f
	return s.yield(c, s.family, f)
}

func (s *schedule) heal(c generator.Context) generator.Step {
	return s.yield(c, histories.Heal, histories.Fault{ID: s.force.ID, Name: s.name})
}

func (s *schedule) yield(c generator.Context, f string, value histories.Fault) generator.Step {
	s.busy = true
	return generator.Step{Op: &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: f, Value: encode(value)}}
}

// Update notes what became of an op of this schedule: they come one at a time.
// A fault that could not begin is healed all the same, since a begin that was
// given up may still come about.
func (s *schedule) Update(c generator.Context, op histories.Op) {
	if !s.busy || op.Process != histories.Nemesis || op.Type != histories.Info {
		return
	}
	var f histories.Fault
	if json.Unmarshal(op.Value, &f) != nil || s.force == nil || f.ID != s.force.ID {
		return // another schedule's
	}
	s.busy = false
	switch {
	case op.F == histories.Heal && op.Error != "":
		s.next = c.Now + retry
	case op.F == histories.Heal:
		s.force = nil
		s.next = c.Now + s.about(s.interval/quiet)
	default:
		s.next = c.Now + s.about(s.interval)
	}
}

// about returns a time of d, give or take a half.
func (s *schedule) about(d time.Duration) time.Duration {
	return d/2 + time.Duration(s.rand.Int64N(int64(d)+1))
}

// maxHeals is how often the final phase tries to heal a fault. What is in force
// even then is left to Heal.
const maxHeals = 3

// A healing heals what its schedule has in force, at once.
type healing struct {
	*schedule
	tries int
}

func (h *healing) Next(c generator.Context) generator.Step {
	s := h.schedule
	switch {
	case s.busy || s.force != nil && len(c.Free) == 0:
		return generator.Step{}
	case s.force == nil || h.tries == maxHeals:
		return generator.Step{Done: true}
	case h.tries > 0 && s.next > c.Now:
		return generator.Step{Wait: s.next - c.Now}
	}
	h.tries++
	return s.heal(c)
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("nemesis: " + err.Error()) // details are made to be encoded
	}
	return b
}
