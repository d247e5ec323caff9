package nemesis

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Coverage tells how much of what a cluster can go through a run has seen. A
// cluster is in one of finitely many abstract states: what role the node has that
// the last fault was aimed at, or of what part of the system it is, whether there is a quorum, how many terms have begun
// since, how far the last node lags behind, whether members change, whether a
// snapshot is under way, what the last fault was and whether it is in force.
//
// The estimates take the states for species, and each time the cluster comes into
// one for a specimen. Neither is drawn independently of the one before it, so they
// are a guide and no measurement.
type Coverage struct {
	// Observations counts how often the cluster came into a state, Distinct the states,
	// and Once and Twice those into which it came so often.
	Observations int `json:"observations"`
	Distinct     int `json:"distinct"`
	Once         int `json:"once"`
	Twice        int `json:"twice"`
	// New estimates the chance that the next observation is of a state not seen yet:
	// the part of the observations that are of states seen once. (I. J. Good, The
	// population frequencies of species and the estimation of population parameters,
	// Biometrika 40, 1953, who owes it to Turing. For testing: M. Böhme, STADS:
	// software testing as species discovery, TOSEM 27(2), 2018.)
	New float64 `json:"new"`
	// Unseen estimates how many states there are at least that were not seen. (A. Chao,
	// Nonparametric estimation of the number of classes in a population, Scandinavian
	// Journal of Statistics 11, 1984; corrected for bias, which also does without
	// states that were seen twice.)
	Unseen float64 `json:"unseen"`
	// Curve has a point for each state, when it was seen first.
	Curve []CoveragePoint `json:"curve,omitempty"`
}

// A CoveragePoint is how many states had been seen by a time.
type CoveragePoint struct {
	Time     time.Duration `json:"time"` // since the run began, in ns
	Distinct int           `json:"distinct"`
	State    string        `json:"state"` // the one that was new, for people
}

// Covered returns the coverage that a history shows. One of a system that does not
// show its state, or of a run without faults, shows less.
func Covered(h *histories.History) Coverage {
	var e explored
	for _, op := range h.All() {
		e.note(op)
	}
	return e.coverage()
}

// An explored is a watch that keeps count of the situations.
type explored struct {
	watch
	now    situation
	visits map[situation]int
	total  int            // of visits
	found  map[string]int // situations, by the kind of the last fault
	curve  []CoveragePoint
}

// note takes in an op. Only those that are watched change anything, and of those steps
// change no situation.
func (e *explored) note(op histories.Op) {
	if !watched(op) {
		return
	}
	e.watch.note(op)
	if op.F == histories.Step {
		return
	}
	s := e.situation()
	if e.view == nil && s.fault == "" || e.total > 0 && s == e.now {
		return
	}
	if e.visits == nil {
		e.visits, e.found = map[situation]int{}, map[string]int{}
	}
	e.now = s
	e.visits[s]++
	e.total++
	if e.visits[s] == 1 {
		e.found[s.fault]++
		e.curve = append(e.curve, CoveragePoint{Time: op.Time, Distinct: len(e.visits), State: s.String()})
	}
}

func (e *explored) coverage() Coverage {
	c := Coverage{Observations: e.total, Distinct: len(e.visits), Curve: e.curve}
	for _, n := range e.visits {
		switch n {
		case 1:
			c.Once++
		case 2:
			c.Twice++
		}
	}
	once, twice := float64(c.Once), float64(c.Twice)
	if e.total > 0 {
		c.New = once / float64(e.total)
	}
	c.Unseen = once * (once - 1) / (2 * (twice + 1))
	return c
}
