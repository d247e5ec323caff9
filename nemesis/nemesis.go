// Package nemesis breaks things, as operations of the history.
//
// A [Fault] is a kind of breakage, such as partition. [New] makes of the faults
// that a user asked for a [Nemesis], which performs them, and the generators that
// schedule them: every instance of a fault is two operations, one that begins it
// and one that heals it, whose completion carries the evidence that it acted. See
// [histories.Fault] for their payload.
//
// Whom a fault hits is an [Aim]. Books are kept of what is in force, so that faults
// which overlap undo what they did and nothing else, and so that together they do
// not end the system for good: see [Env.claim] and guard.
//
// Where nodes do different things, a fault is aimed at those of one part of the system
// ([Fault.Part]), and each part has books of its own: see [Env.part].
package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// A Nemesis performs the operations that break and heal. It is no client: its
// ops complete as info whatever happens, an error is recorded with them, and Heal
// is not optional.
type Nemesis interface {
	// Invoke performs op and returns the value of its completion.
	Invoke(ctx context.Context, op histories.Op) (value any, err error)
	// Revive starts the nodes that a fault has hit, that none holds any more, and whose
	// process has ended since, and returns them: what a process has met with may end it
	// when the fault is long healed.
	Revive() (nodes []string, err error)
	// Heal undoes every fault that is in force. It is called however a run ended.
	Heal(ctx context.Context) error
}

// An Env is what there is to break, and what helps to find it. What a lab or a
// system has none of is nil, and faults that need it are refused.
type Env struct {
	// System is the name of the system, for who is told what it cannot.
	System string
	// Nodes are those of the first part, or all, in order. Parts are the parts, if nodes
	// do different things.
	Nodes     []string
	Parts     []cluster.Part
	Processes Processes
	// Start starts the system on a node that runs nothing.
	Start     func(node string) error
	Network   cluster.Network
	Disks     cluster.Disks
	Clocks    cluster.Clocks
	Resources cluster.Resources
	Leader    cluster.Leader
	Elector   cluster.Elector
	Members   cluster.Members
	Observed  cluster.Observed
	Cast      cluster.Cast
	Guests    cluster.Hosting
	// ClockRate is by how much faster one monotonic clock may run than another, as the
	// system bears it; 0: it does not say.
	ClockRate float64
	// Steps says that the system tells the steps that faults may be tied to.
	Steps bool
	// Limits are the faults that the system does not claim to bear, as in
	// "disk:rollback", each with the reason.
	Limits map[string]string
	// Absent is how many nodes clients may have made no members, at any time: faults do not
	// hear of that.
	Absent int
	// Unguarded turns the quorum guard off.
	Unguarded bool

	cuts  *cuts  // of Network, shared by all that cut it
	guard *guard // shared by all that aim at nodes of this part
	// guards are those of the other parts, by name, and of is the part that the Env is
	// for, if it is another than the first.
	guards map[string]*guard
	of     string
	// decks are the targets that are still to have their turn, by what was asked for.
	// They are the generators'.
	decks  map[Spec][]string
	clocks *clockBooks // of Clocks, shared by all that set them
}

// Processes are what runs on the nodes. A [cluster.Lab] has them.
type Processes interface {
	Stop(ctx context.Context, node string) error
	Kill(node string) error
	KillOne(node string, pid int) error
	Pause(node string) error
	Resume(node string) error
	Process(node string) (p cluster.Process, running bool)
	Exited(node string) <-chan struct{}
}

// NewEnv returns what there is to break of a system in a lab.
func NewEnv(lab cluster.Lab, system cluster.System) Env {
	e := Env{
		System: system.Name(), Processes: lab, Network: lab.Network(), Start: system.Start,
		Disks: lab.Disks(), Clocks: lab.Clocks(), Resources: lab.Resources(),
	}
	for _, n := range lab.Nodes() {
		e.Nodes = append(e.Nodes, n.Name)
	}
	if p, ok := system.(cluster.Parted); ok {
		e.Parts = p.Parts()
	}
	if len(e.Parts) > 0 {
		e.Nodes = e.Parts[0].Nodes
	}
	e.Leader, _ = system.(cluster.Leader)
	e.Elector, _ = system.(cluster.Elector)
	e.Members, _ = system.(cluster.Members)
	e.Observed, _ = system.(cluster.Observed)
	e.Cast, _ = system.(cluster.Cast)
	e.Guests, _ = system.(cluster.Hosting)
	_, e.Steps = system.(cluster.Telling)
	if t, ok := system.(cluster.Timed); ok {
		e.ClockRate = t.ClockRate()
	}
	if l, ok := system.(cluster.Limited); ok {
		e.Limits = l.Limits()
	}
	return e
}

// withBooks returns e with books, if it has none yet.
func (e Env) withBooks() Env {
	if e.cuts == nil {
		e.cuts = &cuts{network: e.Network}
	}
	if e.clocks == nil {
		e.clocks = &clockBooks{}
	}
	if e.decks == nil {
		e.decks = map[Spec][]string{}
	}
	if e.guard == nil {
		e.guard = &guard{nodes: e.Nodes, absent: e.Absent, off: e.Unguarded}
	}
	if e.guards == nil {
		e.guards = map[string]*guard{}
		for i, p := range e.Parts {
			if i > 0 {
				e.guards[p.Name] = &guard{nodes: p.Nodes, off: true}
			}
		}
	}
	return e
}

// A Fault is a kind of breakage.
type Fault struct {
	// Name is what the user asks for, and the function of the ops that begin it.
	Name  string
	About string
	// Part is the part of a system that it is aimed at, as in [cluster.Part]; a system
	// without it knows nothing of the fault. Empty: the first part.
	Part string
	// Variants are the ways in which it can be done, as in "partition:ring". Asked for
	// without one, it draws among them.
	Variants []Variant
	// Targets are the nodes at which it can be aimed, as in "kill:leader": by role, or
	// by name. Without any it is not aimed at nodes.
	Targets []Target
	// Needs are what the lab must have for it.
	Needs []Need
	// New returns it as it was asked for. The error says what is missing in env.
	New func(env Env, s Spec) (Breaker, error)

	by breakerOf // what New calls, of faults that can be aimed at several parts
}

// A breakerOf makes the breaker of a fault f. Env is that of the part that f is aimed at.
type breakerOf func(env Env, f Fault, s Spec) (Breaker, error)

// madeBy returns f with a New that looks for f's part, and leaves the rest to by.
func (f Fault) madeBy(by breakerOf) Fault {
	f.by = by
	f.New = func(env Env, s Spec) (Breaker, error) {
		env, err := env.part(f.Part)
		if err != nil {
			return nil, err
		}
		return by(env, f, s)
	}
	return f
}

// A Variant is a way to do a fault.
type Variant struct {
	Name, About string
	// Needs are instead of the fault's, if there are any.
	Needs []Need
	// OnRequest says why it is never drawn, if so: who wants it has to name it.
	OnRequest string
}

// A Need is what a lab must be made with, or a machine must permit, for a fault.
type Need string

// The needs; see [cluster.Options].
const (
	NeedDisks     Need = "disks"
	NeedXFS       Need = "xfs" // instead of disks
	NeedClocks    Need = "clocks"
	NeedResources Need = "resources"
)

// A Breaker begins the instances of a fault. Begin may be called while another
// Begin, or an End, still goes on.
//
// The nemesis does one thing at a time, so that Begin and End should be soon done.
// What takes longer goes on in a goroutine that End waits for.
type Breaker interface {
	// Draw decides on the next instance: its detail says exactly what will be done.
	Draw(r *rand.Rand) (detail any)
	// Begin does what detail says. If it returns an error nothing is in force.
	Begin(ctx context.Context, detail json.RawMessage) (Held, error)
}

// A Held is an instance of a fault that is in force.
type Held interface {
	// Detail is the detail with what only turned out when it began.
	Detail() any
	// End undoes it, and returns in what number and how it acted. It is called
	// again if it fails.
	End(ctx context.Context) (acted uint64, evidence any, err error)
}

// variants returns those of a fault that one asked for as s may be: the one that s
// names, or all that need not be named and that the system claims to bear.
func (f Fault) variants(env Env, s Spec) []Variant {
	var of []Variant
	for _, v := range f.Variants {
		_, beyond := env.Limits[f.Name+":"+v.Name]
		if s.Variant == v.Name || s.Variant == "" && v.OnRequest == "" && !beyond {
			of = append(of, v)
		}
	}
	return of
}

// leaderLimit is how long it may take to find out who leads, or plays another role.
const leaderLimit = time.Second

// leader returns who leads now. That nobody does is not waited for, as heals would
// wait, too: what is aimed at the leader is put off before it begins; see schedule.
func (e Env) leader(ctx context.Context) (string, error) {
	if e.Leader == nil {
		return "", errors.New("the system does not tell who leads")
	}
	if e.guard.leaderless() {
		return "", fmt.Errorf("%w: nobody leads while other faults have stopped a majority", errGuarded)
	}
	ctx, cancel := context.WithTimeout(ctx, leaderLimit)
	defer cancel()
	node, err := e.Leader.Leader(ctx)
	if err == nil && !slices.Contains(e.Nodes, node) {
		err = fmt.Errorf("%q is no node", node)
	}
	if err != nil {
		return "", fmt.Errorf("find the leader: %w", err)
	}
	return node, nil
}

// plays returns who plays a role now, or played it last.
func (e Env) plays(ctx context.Context, role string) (string, error) {
	if !e.hasRole(role) {
		return "", e.lacks(role)
	}
	ctx, cancel := context.WithTimeout(ctx, leaderLimit)
	defer cancel()
	node, err := e.Cast.Plays(ctx, role)
	if err == nil && !slices.Contains(e.Nodes, node) {
		err = fmt.Errorf("%q is no %s", node, e.kind())
	}
	if err != nil {
		return "", fmt.Errorf("find the %s: %w", role, err)
	}
	return node, nil
}

// hasRole says whether the system knows of a role.
func (e Env) hasRole(role string) bool {
	return e.Cast != nil && slices.Contains(e.Cast.Roles(), role)
}

// revive starts the nodes whose process has ended on account of a fault, unless
// another fault holds them: that one will.
func (e Env) revive(nodes ...string) error {
	_, err := e.revived(nodes...)
	return err
}

// revived is revive, and returns those that it has started.
func (e Env) revived(nodes ...string) (started []string, err error) {
	var errs []error
	for _, node := range nodes {
		errs = append(errs, e.guard.unlessStopped(node, func() error {
			if _, running := e.Processes.Process(node); running {
				return nil
			}
			if err := e.Start(node); err != nil {
				return err
			}
			started = append(started, node)
			return nil
		}))
	}
	return started, errors.Join(errs...)
}
