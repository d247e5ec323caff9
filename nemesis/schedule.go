package nemesis

import (
	"encoding/json"
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// A schedule yields the ops of instances of faults that come one after the other:
// each is begun, and healed, before the next. Which, and when, is decided by its
// pace.
type schedule struct {
	pace    pace
	ids     *int   // shared by the schedules of a package
	cluster *watch // as well

	// rand is the schedule's own. How often a generator is asked is a matter of timing;
	// what it does must be one of the seed.
	rand   *rand.Rand
	force  *histories.Fault // the instance in force, or nil
	failed bool             // it could not begin
	heal   time.Duration    // when it is to be healed; then, when that is to be tried again
	tried  bool             // to heal it
	busy   bool             // an op of this schedule is outstanding
	// putOff is the next instance, which waits for somebody to lead until patience ends.
	putOff   *instance
	patience time.Duration
}

// A pace decides on the instances of a schedule. In the contexts that it gets, the
// source of randomness is the schedule's.
type pace interface {
	// next returns the next instance, if it is to begin now. Else the step says when to
	// ask again. Asking changes nothing but what is drawn once.
	next(c generator.Context) (*instance, generator.Step)
	// began tells that the instance has begun. It returns how long it is to hold.
	began(c generator.Context) (hold time.Duration)
	// over says whether the instance is to be healed although it has not held so long.
	over() bool
	// ended tells that the instance was healed, and whether it had begun at all.
	ended(c generator.Context, begun bool)
	// seen tells that something has happened in the cluster: see watch.
	seen(c generator.Context)
}

// An instance is what a pace wants to be begun.
type instance struct {
	family, name, of string // as in histories.Op and histories.Fault, where of is Asked
	detail           json.RawMessage
	now              bool // the moment was chosen: it is not put off
}

// quiet is how much shorter the time between two instances is than that of one. It
// is there for the system to recover and the next fault to find it in order, and
// that is a matter of less time than finding out what a fault does.
const quiet = 3

// inForce is about how many of all faults are in force at a time, when there are
// to be all.
const inForce = 3

// retry is how long after a heal that failed the next is tried.
const retry = time.Second

func (s *schedule) Next(c generator.Context) generator.Step {
	c.Rand = s.rand
	switch {
	case s.busy || len(c.Free) == 0:
		return generator.Step{}
	case s.force != nil:
		if wait := s.heal - c.Now; wait > 0 && (s.tried || !s.pace.over()) {
			return generator.Step{Wait: wait}
		}
		return s.end(c)
	}
	i, step := s.next(c)
	if i == nil {
		return step
	}
	f := histories.Fault{ID: *s.ids, Name: i.name, Asked: i.of, Detail: i.detail}
	*s.ids++
	s.force, s.failed, s.tried = &f, false, false
	return s.yield(c, i.family, f)
}

// next is that of the pace, but for instances that are aimed at the leader: those are
// put off as long as nobody is seen to lead, within reason. Here that is in nobody's
// way; an op that waits would keep heals waiting, since the nemesis does one thing at
// a time.
func (s *schedule) next(c generator.Context) (*instance, generator.Step) {
	i := s.putOff
	if i == nil {
		var step generator.Step
		if i, step = s.pace.next(c); i == nil {
			return nil, step
		}
		s.patience = c.Now + leaderPatience
	}
	s.putOff = nil
	if wait := s.patience - c.Now; wait > 0 && !i.now && s.cluster.goesOn(LeaderChange) && atLeader(i.detail) {
		s.putOff = i
		return nil, generator.Step{Wait: wait}
	}
	return i, generator.Step{}
}

// leaderPatience is how long an instance is put off until somebody leads.
const leaderPatience = 2 * time.Second

// atLeader says whether a detail is aimed at whoever leads.
func atLeader(detail json.RawMessage) bool {
	var d struct {
		Target string `json:"target"` // of an [Aim]
		Aim    string `json:"aim"`    // of a [Cut]
	}
	return json.Unmarshal(detail, &d) == nil && (d.Target == Leading || d.Aim == Leading)
}

func (s *schedule) end(c generator.Context) generator.Step {
	s.tried = true
	return s.yield(c, histories.Heal, histories.Fault{ID: s.force.ID, Name: s.force.Name})
}

func (s *schedule) yield(c generator.Context, f string, value histories.Fault) generator.Step {
	s.busy = true
	return generator.Step{Op: &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: f, Value: encode(value)}}
}

// Update notes what became of an op of this schedule: they come one at a time.
// A fault that could not begin is healed all the same, since a begin that was
// given up may still come about; but at once, so that another can be drawn.
func (s *schedule) Update(c generator.Context, op histories.Op) {
	c.Rand = s.rand
	if op.Process == histories.Observer {
		s.pace.seen(c)
		return
	}
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
		s.heal = c.Now + retry
	case op.F == histories.Heal:
		s.force = nil
		s.pace.ended(c, !s.failed)
	case op.Error != "":
		s.failed, s.heal = true, c.Now
	default:
		s.heal = c.Now + s.pace.began(c)
	}
}

// about returns a time of d, give or take a half.
func about(r *rand.Rand, d time.Duration) time.Duration {
	return d/2 + time.Duration(r.Int64N(int64(d)+1))
}

// Turns are the pace of one fault whose instances are drawn: each holds for about
// the interval, and the next begins after about the time of quiet.
type turns struct {
	asked    asked
	interval time.Duration
	quiet    time.Duration

	due    time.Duration // when the next begins
	set    bool
	failed int // in a row
}

func (t *turns) next(c generator.Context) (*instance, generator.Step) {
	if !t.set {
		t.set, t.due = true, c.Now+about(c.Rand, t.quiet)
		if t.quiet > t.interval { // of many, some come soon
			t.due = c.Now + time.Duration(c.Rand.Int64N(int64(t.quiet)))
		}
	}
	if wait := t.due - c.Now; wait > 0 {
		return nil, generator.Step{Wait: wait}
	}
	return t.asked.draw(c.Rand), generator.Step{}
}

func (t *turns) began(c generator.Context) time.Duration { return about(c.Rand, t.interval) }
func (t *turns) over() bool                              { return false }
func (t *turns) seen(generator.Context)                  {}

func (t *turns) ended(c generator.Context, begun bool) {
	if begun {
		t.failed, t.due = 0, c.Now+about(c.Rand, t.quiet)
		return
	}
	t.failed++
	t.due = c.Now + about(c.Rand, soon(t.interval, t.quiet, t.failed))
}

// soon is how long after an instance that could not begin another is drawn: for the
// first time a tenth of the interval, and each time twice as long, up to the time
// of quiet. What holds it back may hold for long, and what is in vain is recorded.
func soon(interval, quiet time.Duration, failed int) time.Duration {
	return min(quiet, interval/10<<min(failed-1, 8))
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
	case h.tries > 0 && s.heal > c.Now:
		return generator.Step{Wait: s.heal - c.Now}
	}
	h.tries++
	return s.end(c)
}

// A crew are the schedules of a package, and what they know in common.
type crew struct {
	schedules []*schedule
	seen      *explored
	ready     bool
}

// get makes the schedules ready: whichever is asked first, each has its own part of
// the seed.
func (w *crew) get(c generator.Context) {
	if w.ready {
		return
	}
	w.ready = true
	for _, s := range w.schedules {
		s.rand = rand.New(rand.NewPCG(c.Rand.Uint64(), c.Rand.Uint64()))
	}
}

// A desk stands between a crew and who asks it. It follows the run for all of them,
// and spares them what is no business of theirs: there may be hundreds, clients have
// thousands of ops a second, and a system may tell as many events.
type desk struct {
	generator.Generator
	*crew
	sleep time.Duration // nobody has anything to do before
}

func (d *desk) Next(c generator.Context) generator.Step {
	d.get(c)
	if len(c.Free) == 0 && len(c.Busy) > 0 {
		return generator.Step{}
	}
	if wait := d.sleep - c.Now; wait > 0 {
		return generator.Step{Wait: wait}
	}
	step := d.Generator.Next(c)
	if step.Wait > 0 {
		d.sleep = c.Now + step.Wait
	}
	return step
}

func (d *desk) Update(c generator.Context, op histories.Op) {
	if !watched(op) {
		return
	}
	d.get(c)
	d.sleep = 0
	d.seen.note(op)
	d.Generator.Update(c, op)
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("nemesis: " + err.Error()) // details are made to be encoded
	}
	return b
}
