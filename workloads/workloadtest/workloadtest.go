// Package workloadtest plays workloads without a cluster and without time.
//
// A [Play] keeps the contract that the runner keeps, and calls the workload's own
// clients, which are of a system in memory: so that a test can see what verdict a
// workload comes to on a system that is right, and on one with a mistake.
package workloadtest

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A Play says how a workload is played. The zero Play has ten workers, a main phase
// of ten seconds, and no trouble.
type Play struct {
	// Workers is the number of client workers; 0 means 10.
	Workers int
	// Seed fixes what generators choose, and how long operations take.
	Seed uint64
	// Main is how long the main phase takes; 0 means ten seconds.
	Main time.Duration
	// Refused is the share of operations of the main phase that fail before the
	// client is called.
	Refused float64
	// Lost is the share of operations of the main phase whose answer gets lost. The
	// client is called as for others, or much later, or never.
	Lost float64
}

// latency is how long an operation takes on the average.
const latency = 5 * time.Millisecond

// History plays w: its main phase, then a recovery, then its final phase. Each call
// of a client happens as a whole at some moment while its operation is open, or
// after that if the answer got lost.
func (p Play) History(w workloads.Workload) (*histories.History, error) {
	if p.Workers == 0 {
		p.Workers = 10
	}
	if p.Main == 0 {
		p.Main = 10 * time.Second
	}
	s := &stage{
		play: p, open: w.Open, clients: map[histories.Process]workloads.Client{},
		choices: rand.New(rand.NewPCG(p.Seed, 1)), chance: rand.New(rand.NewPCG(p.Seed, 2)),
	}
	for i := range p.Workers {
		s.enter(histories.Process(i))
	}
	if s.err != nil {
		return nil, s.err
	}
	if err := s.run(generator.TimeLimit(p.Main, w.Main)); err != nil {
		return nil, err
	}
	s.play.Refused, s.play.Lost = 0, 0
	recover := histories.Op{Process: histories.Nemesis, Type: histories.Invoke, F: histories.Recover}
	s.record(recover)
	recover.Type = histories.Info
	s.record(recover)
	if err := s.run(w.Final); err != nil {
		return nil, err
	}
	return histories.FromOps(s.ops)
}

// Judge plays w, and lets its checker judge that.
func (p Play) Judge(w workloads.Workload) (*histories.History, checker.Result, error) {
	h, err := p.History(w)
	if err != nil {
		return nil, checker.Result{}, err
	}
	r, err := w.Checker.Check(context.Background(), h)
	return h, r, err
}

// A stage is the state of a play.
type stage struct {
	play            Play
	open            func(context.Context, int) (workloads.Client, error)
	clients         map[histories.Process]workloads.Client
	choices, chance *rand.Rand
	now             time.Duration
	free, busy      []histories.Process
	due             events
	scheduled       int
	ops             []histories.Op
	err             error // of a client that could not be opened
}

func (s *stage) context() generator.Context {
	return generator.Context{
		Now: s.now, Free: slices.Clone(s.free), Busy: slices.Clone(s.busy), Workers: s.play.Workers, Rand: s.choices,
	}
}

// run plays one phase to its end.
func (s *stage) run(g generator.Generator) error {
	for {
		step := g.Next(s.context())
		switch {
		case step.Op != nil:
			s.invoke(g, *step.Op)
		case step.Done && len(s.busy) == 0:
			return nil
		case len(s.due) > 0 && (step.Done || step.Wait == 0 || s.due[0].at <= s.now+step.Wait):
			e := heap.Pop(&s.due).(event)
			s.now = max(s.now, e.at)
			if e.do(); s.err != nil {
				return s.err
			}
		case step.Wait > 0:
			s.now += step.Wait
		default:
			return fmt.Errorf("at %v: the generator waits for what cannot come", s.now)
		}
	}
}

// enter begins a process.
func (s *stage) enter(p histories.Process) {
	s.clients[p], s.err = s.open(context.Background(), int(p)%s.play.Workers)
	s.free = append(s.free, p)
}

func (s *stage) invoke(g generator.Generator, op histories.Op) {
	op = s.record(op)
	s.free = slices.DeleteFunc(s.free, func(p histories.Process) bool { return p == op.Process })
	s.busy = append(s.busy, op.Process)
	g.Update(s.context(), op)

	c := s.clients[op.Process]
	done := op
	call := func() {
		reply, err := c.Invoke(context.Background(), op)
		done.Node, done.Meta = reply.Node, reply.Meta
		switch {
		case err == nil:
			done.Type = histories.OK
			if reply.Value != nil {
				done.Value = reply.Value
			}
		case workloads.IsDefinite(err):
			done.Type, done.Error = histories.Fail, err.Error()
		default:
			done.Type, done.Error = histories.Info, err.Error()
		}
	}
	unheard := func() { _, _ = c.Invoke(context.Background(), op) }
	takes := time.Duration(float64(latency) * s.chance.ExpFloat64())
	at := s.now + time.Duration(s.chance.Float64()*float64(takes))
	switch roll := s.chance.Float64(); {
	case roll < s.play.Refused:
		done.Type, done.Error = histories.Fail, "refused"
	case roll < s.play.Refused+s.play.Lost:
		done.Type, done.Error = histories.Info, "lost"
		switch s.chance.IntN(3) {
		case 0:
			s.schedule(at, unheard)
		case 1:
			s.schedule(at+100*takes, unheard)
		}
	default:
		s.schedule(at, call)
	}
	s.schedule(s.now+takes, func() { s.complete(g, done) })
}

func (s *stage) complete(g generator.Generator, done histories.Op) {
	op := s.record(done)
	s.busy = slices.DeleteFunc(s.busy, func(p histories.Process) bool { return p == op.Process })
	if op.Type == histories.Info {
		s.enter(op.Process + histories.Process(s.play.Workers))
	} else {
		s.free = append(s.free, op.Process)
	}
	g.Update(s.context(), op)
}

// record stamps op as the journal does.
func (s *stage) record(op histories.Op) histories.Op {
	op.Index, op.Time = len(s.ops), s.now
	if op.Index > 0 {
		op.Time = max(op.Time, s.ops[op.Index-1].Time+1)
	}
	s.ops = append(s.ops, op)
	return op
}

func (s *stage) schedule(at time.Duration, do func()) {
	s.scheduled++
	heap.Push(&s.due, event{at, s.scheduled, do})
}

// An event is something that will happen; of two at one time the one that was
// scheduled first comes first.
type event struct {
	at   time.Duration
	rank int
	do   func()
}

// events are a heap, the next one first.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].rank < e[j].rank
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}
