package nemesis

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/generator"
)

// A Policy is how faults are chosen that were asked for by [Spec]. The empty Policy
// is Uniform.
type Policy string

// The policies.
const (
	// Uniform gives every fault a schedule of its own, and draws what it does evenly.
	Uniform Policy = "uniform"
	// Adaptive chooses fault, role of the target and phase of the cluster by which have
	// brought the cluster into states not seen before in this run. It needs a system
	// that shows its state.
	Adaptive Policy = "adaptive"
)

// Policies are the names of all policies.
func Policies() []string { return []string{string(Uniform), string(Adaptive)} }

// ParsePolicy reads the name of a policy.
func ParsePolicy(text string) (Policy, error) {
	switch p := Policy(text); p {
	case Uniform, Adaptive:
		return p, nil
	}
	return "", &UnknownError{What: "policy of the nemesis", Name: text, Known: Policies()}
}

// A bandit learns which of its arms pay. It is UCB1 (P. Auer, N. Cesa-Bianchi,
// P. Fischer, Finite-time analysis of the multiarmed bandit problem, Machine
// Learning 47, 2002), which takes the arm that may be the best one, going by what
// it has paid and how little that says; arms never tried come first. What was paid
// long ago counts for less (A. Garivier, E. Moulines, On upper-confidence bound
// policies for switching bandit problems, ALT 2011), since what was new is so but
// once.
type bandit struct{ arms []arm }

type arm struct{ tries, paid float64 } // discounted

const (
	// discount is what an earlier try counts for when another has been made: after a
	// dozen it is half.
	discount = 0.95
	// curiosity weighs how little is known of an arm against what it pays. The theory's
	// 2 is for payments of 0 and 1 and runs without end; a run has some dozens of tries.
	curiosity = 0.1
)

func newBandit(arms int) *bandit { return &bandit{make([]arm, arms)} }

// choose returns the arm to try, of those that are not taken. Ties are broken by r.
func (b *bandit) choose(r *rand.Rand, taken map[int]bool) int {
	total := 0.0
	for _, a := range b.arms {
		total += a.tries
	}
	best, most := -1, 0.0
	for _, i := range r.Perm(len(b.arms)) {
		if taken[i] {
			continue
		}
		score := math.Inf(1)
		if a := b.arms[i]; a.tries > 0 {
			score = a.paid/a.tries + math.Sqrt(curiosity*math.Log(max(total, 1))/a.tries)
		}
		if best < 0 || score > most {
			best, most = i, score
		}
	}
	return best
}

// pay says what a try of an arm was worth, from 0 to 1.
func (b *bandit) pay(i int, reward float64) {
	for j := range b.arms {
		b.arms[j].tries *= discount
		b.arms[j].paid *= discount
	}
	b.arms[i].tries++
	b.arms[i].paid += reward
}

// reward is what so many new situations are worth: the first one more than those
// that come along with it.
func reward(fresh int) float64 { return float64(fresh) / float64(fresh+2) }

// The phases of a cluster in which a fault can begin.
var phases = []struct {
	name string
	is   func(w *watch) bool
}{
	// The first that is so is the phase that a cluster is in.
	{"snapshot", func(w *watch) bool { return w.goesOn(Snapshot) }},
	{"member change", func(w *watch) bool { return w.goesOn(MemberChange) }},
	{"election", func(w *watch) bool { return w.goesOn(LeaderChange) }},
	{"another fault", func(w *watch) bool { return len(w.held) > 0 }},
	{"quiet", func(*watch) bool { return true }},
}

// phaseOf returns the position in phases of the one that a cluster is in.
func phaseOf(w *watch) int {
	for i, p := range phases {
		if p.is(w) {
			return i
		}
	}
	return len(phases) - 1
}

// A chooser is what the schedules of the adaptive policy have in common. Fault,
// role and phase make more combinations than a run has instances: so the fault is
// chosen first, then the role by what it was worth with that fault, and the phase
// by what it was worth with any.
type chooser struct {
	cluster *explored
	choices []choice
	// taken are choices that schedules have made, where there are enough others: two
	// instances of a fault are in each other's way. Else it is nil.
	taken  map[int]bool
	faults *bandit // of choices
	phases *bandit
}

// A choice is a fault with the roles it can be aimed at.
type choice struct {
	asked asked
	roles []Breaker // each draws instances that are aimed at one role
	by    *bandit   // of roles
}

// adaptive makes as many schedules as it takes to have as much in force at a time
// as with the uniform policy.
func (m *making) adaptive(named, all []asked) (paces []pace, err error) {
	if len(named)+len(all) == 0 {
		return nil, nil
	}
	if m.env.Observed == nil {
		return nil, errors.New("the adaptive policy goes by the system's state, and this one does not show it")
	}
	w := &chooser{cluster: m.crew.seen, phases: newBandit(len(phases))}
	for _, a := range append(named, all...) {
		c := choice{asked: a, roles: m.roles(a)}
		c.by = newBandit(len(c.roles))
		w.choices = append(w.choices, c)
	}
	w.faults = newBandit(len(w.choices))
	schedules := len(named)
	if len(all) > 0 {
		schedules += min(len(all), inForce+1) // of which one waits as a rule, or is held back
	}
	if len(w.choices) >= 2*schedules {
		w.taken = map[int]bool{}
	}
	for range schedules {
		paces = append(paces, &choosing{chooser: w, interval: m.interval})
	}
	return paces, nil
}

// roles returns a breaker for each role that a fault can be aimed at, or the one
// there is.
func (m *making) roles(a asked) (roles []Breaker) {
	f := find(m.faults, a.spec.Fault)
	for _, t := range f.Targets {
		s := a.spec
		s.Target = t.Name
		if a.spec.Target != "" || t.OnRequest {
			continue
		}
		if b, err := f.New(m.env, s); err == nil { // else this role cannot be had here
			roles = append(roles, b)
		}
	}
	if roles == nil {
		roles = []Breaker{a.breaker}
	}
	return roles
}

// A choosing is the pace of a schedule whose instances are chosen. It begins one in
// the phase that it has chosen, if that comes while another would be due. To wait
// for longer costs more than it brings: with up to half an interval, a run had a
// third fewer instances, and came into half as many states.
type choosing struct {
	*chooser
	interval time.Duration

	due, latest time.Duration // when it chooses, and begins at the latest
	set         bool
	failed      int // in a row

	chosen             bool
	fault, role, phase int

	tried  bool // an instance is to be paid for
	actual int  // the phase in which it began
	before int  // the situations seen until it did, of those that its kind led to
}

func (y *choosing) next(c generator.Context) (*instance, generator.Step) {
	if !y.set {
		y.set = true
		y.plan(c, y.interval/quiet)
	}
	if wait := y.due - c.Now; wait > 0 {
		return nil, generator.Step{Wait: wait}
	}
	if !y.chosen {
		y.pay(reward(y.found() - y.before))
		y.choose(c)
	}
	y.actual = phaseOf(&y.cluster.watch)
	if wait := y.latest - c.Now; y.actual != y.phase && wait > 0 {
		return nil, generator.Step{Wait: wait}
	}
	if y.actual != y.phase { // to wait was worth nothing
		y.phases.pay(y.phase, 0)
	}
	y.before, y.tried, y.chosen = y.found(), true, false
	a := y.choices[y.fault].asked
	a.breaker = y.choices[y.fault].roles[y.role]
	i := a.draw(c.Rand)
	i.now = y.actual == y.phase // in an election, too, somebody may claim to lead
	return i, generator.Step{}
}

// found returns how many situations the kind of the chosen fault has led to.
func (y *choosing) found() int { return y.cluster.found[y.choices[y.fault].asked.spec.Fault] }

// choose makes a choice.
func (y *choosing) choose(c generator.Context) {
	y.fault = y.faults.choose(c.Rand, y.taken)
	if y.taken != nil {
		y.taken[y.fault] = true
	}
	y.role = y.choices[y.fault].by.choose(c.Rand, nil)
	y.phase = y.phases.choose(c.Rand, nil)
	y.chosen = true
}

// plan makes the next instance begin in about d.
func (y *choosing) plan(c generator.Context, d time.Duration) {
	d = about(c.Rand, d)
	y.due, y.latest = c.Now+d/2, c.Now+d+d/2
}

// pay pays for the last instance, if nobody has. That is put off until what it led
// to has had some time to show. What was new is put down to the fault that began last.
func (y *choosing) pay(reward float64) {
	if !y.tried {
		return
	}
	y.tried = false
	y.faults.pay(y.fault, reward)
	y.choices[y.fault].by.pay(y.role, reward)
	y.phases.pay(y.actual, reward)
}

func (y *choosing) began(c generator.Context) time.Duration { return about(c.Rand, y.interval) }
func (y *choosing) over() bool                              { return false }
func (y *choosing) seen(generator.Context)                  {}

func (y *choosing) ended(c generator.Context, begun bool) {
	delete(y.taken, y.fault)
	if begun {
		y.failed = 0
		y.plan(c, y.interval/quiet)
		return
	}
	y.pay(0)
	y.failed++
	y.plan(c, soon(y.interval, y.interval/quiet, y.failed))
}
