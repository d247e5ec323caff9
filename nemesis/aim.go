package nemesis

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A Target says which nodes a fault is aimed at. They are chosen when it begins.
type Target struct {
	Name, About string
	// OnRequest says that it is never drawn: who wants it has to name it.
	OnRequest bool
	// Role says that it is who plays a role of that name: see [cluster.Cast].
	Role bool
}

// The names of targets.
const (
	One      = "one"
	Minority = "minority"
	Majority = "majority"
	AllNodes = "all"
	Leading  = "leader"
	Any      = "any"

	// Roles.
	Scheduler   = "scheduler"
	Source      = "source"
	Destination = "target"
)

// The targets of faults that nodes survive, and of those that may be survived by a
// minority alone.
var (
	anyNodes = []Target{
		{Name: One, About: "one node"},
		{Name: Minority, About: "less than half of the nodes, drawn"},
		{Name: Majority, About: "the smallest majority of the nodes, drawn"},
		{Name: AllNodes, About: "all nodes"},
		{Name: Leading, About: "the one that leads when the fault begins"},
		scheduling,
	}
	fewNodes = []Target{
		{Name: One, About: "one node of a minority that is the same for the whole run"},
		{Name: Minority, About: "some nodes of that minority"},
		{Name: Leading, About: "the one that leads when the fault begins, if it may be of that minority"},
		scheduling,
		{Name: Any, About: "any number of any nodes: more than a system has to survive", OnRequest: true},
	}
	scheduling = Target{Name: Scheduler, About: "the one whose scheduler leads when the fault begins", Role: true}
)

// Those of faults of hosts, and of nodes of which there is one.
var (
	anyHosts = []Target{
		{Name: One, About: "one host"},
		{Name: Minority, About: "less than half of the hosts, drawn"},
		{Name: Majority, About: "the smallest majority of the hosts, drawn"},
		{Name: AllNodes, About: "all hosts"},
		{Name: Source, About: "the one that a guest migrates from when the fault begins, or migrated from last", Role: true},
		{Name: Destination, About: "the one that it migrates to, or migrated to last", Role: true},
	}
	oneNode = []Target{{Name: One, About: "one node"}}
)

// isRole says whether a target is a role.
func isRole(target string) bool {
	is := func(t Target) bool { return t.Role && t.Name == target }
	return slices.ContainsFunc(anyNodes, is) || slices.ContainsFunc(anyHosts, is)
}

// An Aim is whom a fault hits: the part of its detail that says so. It is drawn
// before the fault begins, but who leads then, and who is held by another fault,
// turns out when it does: [Env.claim] fills in Nodes.
type Aim struct {
	Target string `json:"target"`
	// Part is the part of the system that they are of, if it is not the first.
	Part string `json:"part,omitempty"`
	// Order is the order in which nodes are considered, and Count how many are wanted.
	Order []string `json:"order,omitempty"`
	Count int      `json:"count,omitempty"`
	// Nodes are those that were hit.
	Nodes []string `json:"nodes,omitempty"`
}

// drawAim draws whom an instance hits, of a fault that was asked for as s. The
// leader is drawn more often than others, as most of what goes wrong goes wrong
// there. All targets have had their turn before one comes again, so that a short run
// is not spent with a majority down all the time.
func (e Env) drawAim(r *rand.Rand, f Fault, s Spec) Aim {
	a := Aim{Target: s.Target, Order: shuffled(r, e.Nodes)}
	n := len(e.Nodes)
	few := fewOf(n)
	if a.Target == "" {
		var names []string
		for _, t := range f.Targets {
			switch {
			case t.OnRequest:
			case t.Name == Minority && few == 0:
			case t.Role:
				if e.hasRole(t.Name) {
					names = append(names, t.Name)
				}
			case t.Name != Leading:
				names = append(names, t.Name)
			case e.Leader != nil:
				names = append(names, Leading, Leading)
			}
		}
		deck := e.decks[s]
		if len(deck) == 0 {
			deck = shuffled(r, names)
		}
		a.Target, e.decks[s] = deck[0], deck[1:]
	}
	switch a.Target {
	case Minority:
		a.Count = 1 + r.IntN(few)
	case Majority:
		a.Count = n/2 + 1
	case AllNodes:
		a.Count = n
	case Any:
		a.Count = 1 + r.IntN(n)
	default:
		a.Count = 1
	}
	return a
}

// An aiming is what breakers have in common whose faults are aimed at nodes.
type aiming struct {
	env   Env
	fault Fault
	spec  Spec // as it was asked for
	// variants are those to draw among; there are none if the fault has none.
	variants []Variant
}

// newAiming returns the aiming of a fault that was asked for as s, or says why there
// can be none.
func newAiming(env Env, f Fault, s Spec) (aiming, error) {
	if err := env.checkAim(s); err != nil {
		return aiming{}, err
	}
	a := aiming{env: env.withBooks(), fault: f, spec: s, variants: f.variants(env, s)}
	if len(f.Variants) > 0 && len(a.variants) == 0 {
		return aiming{}, errors.New("the system does not claim to bear it")
	}
	return a, nil
}

// variant draws a variant.
func (a aiming) variant(r *rand.Rand) string { return pick(r, a.variants).Name }

// aim draws whom an instance hits.
func (a aiming) aim(r *rand.Rand) Aim { return a.env.drawAim(r, a.fault, a.spec) }

// checkAim says why a fault that was asked for as s cannot be aimed, if so.
func (e Env) checkAim(s Spec) error {
	switch {
	case len(e.Nodes) == 0:
		return errors.New("there are no nodes")
	case s.Target == Minority && fewOf(len(e.Nodes)) == 0: // less than half of them is none
		return tooFew(3, e.Nodes)
	case s.Target == Leading && e.Leader == nil:
		return errors.New("the system does not tell who leads")
	case isRole(s.Target) && !e.hasRole(s.Target):
		return e.lacks(s.Target)
	case isNode(s.Target) && len(e.Parts) > 0 && !slices.Contains(e.Nodes, s.Target):
		return fmt.Errorf("%s is no %s; there are %s", s.Target, e.kind(), strings.Join(e.Nodes, ", "))
	case isNode(s.Target) && !slices.Contains(e.Nodes, s.Target):
		return fmt.Errorf("there is no node %s; the last one is %s", s.Target, e.Nodes[len(e.Nodes)-1])
	}
	return nil
}

// tooFew is why a fault is refused that would never find whom to act on.
func tooFew(least int, nodes []string) error {
	return fmt.Errorf("it takes %d nodes, and there are %d", least, len(nodes))
}
