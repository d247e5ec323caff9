// Package generator decides what a run does next, and when.
//
// A [Generator] is pulled by one goroutine, the runner's interpreter: it is
// asked for a [Step] with the present [Context], and told of every invocation
// and completion by Update. It may keep state, and it never reads a clock or a
// source of randomness of its own: both come with the Context, so that a seed
// fixes its choices and a simulator (package generatortest) can run it without
// a cluster and without time passing.
//
// One rule keeps stateful generators sound: an op that a generator returns is
// invoked, always and at once. So a combinator restricts the context before it
// asks, and never throws away an answer after; and asking a generator that has
// nothing to do now changes nothing.
package generator

import (
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Generator yields the ops of a run, one at a time. It is used once: who needs
// the same again takes a function that makes one. Combinators take nil for a
// generator that is done at once.
type Generator interface {
	// Next says what to do now. The op of a Step runs on one of c.Free.
	Next(c Context) Step
	// Update tells that op was invoked or has completed. Generators of a
	// composition see each other's ops, except where a combinator says otherwise.
	Update(c Context, op histories.Op)
}

// A Context is what a generator may know when it is asked.
type Context struct {
	// Now is the time since the run began.
	Now time.Duration
	// Free are the processes that a new op may run on, the longest idle first.
	Free []histories.Process
	// Busy are the processes with an op outstanding.
	Busy []histories.Process
	// Workers is the number of client workers. Client process p is played by
	// worker p mod Workers; a process that ended lives on as p + Workers.
	Workers int
	// Rand is the only source of randomness.
	Rand *rand.Rand
}

// Worker returns which worker plays client process p.
func (c Context) Worker(p histories.Process) int { return int(p) % c.Workers }

// A Step is the answer to "what now?". The zero Step means: nothing at present,
// ask again when something has completed.
type Step struct {
	Op   *histories.Op // invoke this at once; its F, Value and Process are set
	Wait time.Duration // nothing now; ask again after Wait at the latest
	Done bool          // nothing ever again
}

// Of returns an endless generator that yields what f returns, on the process
// that has been idle longest. f gives function and value (and node, if it cares);
// the process is set for it.
func Of(f func(c Context, p histories.Process) histories.Op) Generator { return &of{f} }

type of struct {
	f func(Context, histories.Process) histories.Op
}

func (o *of) Next(c Context) Step {
	if len(c.Free) == 0 {
		return Step{}
	}
	op := o.f(c, c.Free[0])
	op.Type = histories.Invoke
	op.Process = c.Free[0]
	return Step{Op: &op}
}

func (*of) Update(Context, histories.Op) {}

// Nothing is a generator that is done at once.
func Nothing() Generator { return nothing{} }

type nothing struct{}

func (nothing) Next(Context) Step            { return Step{Done: true} }
func (nothing) Update(Context, histories.Op) {}

// orNothing returns g, or Nothing for nil.
func orNothing(g Generator) Generator {
	if g == nil {
		return Nothing()
	}
	return g
}

// Limit ends g after n ops.
func Limit(n int, g Generator) Generator { return &limit{orNothing(g), n} }

type limit struct {
	Generator
	left int
}

func (l *limit) Next(c Context) Step {
	if l.left <= 0 {
		return Step{Done: true}
	}
	s := l.Generator.Next(c)
	if s.Op != nil {
		l.left--
	}
	return s
}

// TimeLimit ends g when d has passed since it was first asked.
func TimeLimit(d time.Duration, g Generator) Generator {
	return &timeLimit{Generator: orNothing(g), limit: d}
}

type timeLimit struct {
	Generator
	limit    time.Duration
	begun    bool
	deadline time.Duration
}

func (t *timeLimit) Next(c Context) Step {
	if !t.begun {
		t.begun, t.deadline = true, c.Now+t.limit
	}
	left := t.deadline - c.Now
	if left <= 0 {
		return Step{Done: true}
	}
	s := t.Generator.Next(c)
	if s.Op == nil && !s.Done && (s.Wait == 0 || s.Wait > left) {
		s.Wait = left // so that the end is noticed in time
	}
	return s
}

// Stagger spaces g's ops out: each comes between 0 and 2*mean after the one
// before it, uniformly. Time in which no process was free is not made up for, so
// that no burst follows a stall.
func Stagger(mean time.Duration, g Generator) Generator {
	return &stagger{Generator: orNothing(g), mean: mean}
}

type stagger struct {
	Generator
	mean time.Duration
	next time.Duration
	due  bool // next is set
}

func (s *stagger) Next(c Context) Step {
	if !s.due {
		s.due, s.next = true, c.Now+jitter(c, s.mean)
	}
	if wait := s.next - c.Now; wait > 0 {
		return Step{Wait: wait}
	}
	step := s.Generator.Next(c)
	if step.Op != nil {
		s.next = max(s.next+jitter(c, s.mean), c.Now)
	}
	return step
}

func jitter(c Context, mean time.Duration) time.Duration {
	if mean <= 0 {
		return 0
	}
	return time.Duration(c.Rand.Int64N(int64(2 * mean)))
}

// Sleep yields nothing for d after it is first asked, and is done then.
func Sleep(d time.Duration) Generator { return TimeLimit(d, idle{}) }

type idle struct{}

func (idle) Next(Context) Step            { return Step{} }
func (idle) Update(Context, histories.Op) {}
