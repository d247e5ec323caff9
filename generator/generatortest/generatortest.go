// Package generatortest runs generators without a cluster and without time.
//
// A [Simulation] keeps the contract that the runner keeps: completions come
// first; an op that is yielded is invoked at once; a client process that ends in
// info is followed by a fresh one, its number higher by the number of workers.
// But its clock only jumps to when something happens, and its outcomes are made
// up, so that what a generator does is a table, the same every time.
package generatortest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// A Simulation says how a run goes. The zero Simulation has three client workers
// and a nemesis, and every op of a client succeeds after 10 ms.
type Simulation struct {
	// Workers is the number of client workers; 0 means 3.
	Workers int
	// Seed fixes what generators and outcomes choose.
	Seed uint64
	// Outcome says how an op ends and how long it takes; never, if the type is 0.
	// The nemesis's ops end in info whatever it says.
	Outcome func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration)
	// Ops bounds how many ops are invoked; 0 means 1000. What is outstanding then
	// still completes.
	Ops int
	// Repeat is how many times more a generator is asked where it yields nothing.
	// It must give the same answer each time, and go on as if it was asked once.
	Repeat int
}

// OK is the outcome of a perfect system that takes d for everything.
func OK(d time.Duration) func(*rand.Rand, histories.Op) (histories.Type, time.Duration) {
	return func(*rand.Rand, histories.Op) (histories.Type, time.Duration) { return histories.OK, d }
}

// Mixed is the outcome of a system in trouble: ok, fail and info, after 0 to 2*d.
func Mixed(d time.Duration) func(*rand.Rand, histories.Op) (histories.Type, time.Duration) {
	return func(r *rand.Rand, _ histories.Op) (histories.Type, time.Duration) {
		types := []histories.Type{histories.OK, histories.OK, histories.Fail, histories.Info}
		return types[r.IntN(len(types))], time.Duration(r.Int64N(int64(2*d) + 1))
	}
}

// maxAsks bounds the asks that bring nothing, time passing or not, between two
// ops: a generator that needs more will never yield again.
const maxAsks = 100_000

// Run runs g to its end and returns the history. It is an error if g breaks its
// contract, or waits for something that cannot come.
func (s Simulation) Run(g generator.Generator) ([]histories.Op, error) {
	r := newRun(s)
	for asks := 0; r.invoked < r.limit; {
		if asks++; asks > maxAsks {
			return r.ops, fmt.Errorf("at %v: asked %d times and got nothing", r.now, maxAsks)
		}
		step, err := r.ask(g, s.Repeat)
		if err != nil {
			return r.ops, err
		}
		switch {
		case step.Op != nil:
			asks = 0
			err = r.invoke(g, *step.Op)
		case step.Done:
			return r.ops, r.finish(g)
		default:
			err = r.pass(step.Wait)
		}
		if err != nil {
			return r.ops, err
		}
		r.completeDue(g)
	}
	for len(r.outstanding) > 0 {
		r.completeNext(g)
	}
	return r.ops, nil
}

// A run is the state of a simulation.
type run struct {
	outcome     func(*rand.Rand, histories.Op) (histories.Type, time.Duration)
	workers     int
	limit       int
	generators  *rand.Rand
	outcomes    *rand.Rand
	now         time.Duration
	free, busy  []histories.Process
	outstanding []completion // in the order in which they come
	invoked     int
	ops         []histories.Op
}

type completion struct {
	at time.Duration
	op histories.Op
}

func newRun(s Simulation) *run {
	r := &run{
		outcome: s.Outcome, workers: s.Workers, limit: s.Ops,
		generators: rand.New(rand.NewPCG(s.Seed, 1)), outcomes: rand.New(rand.NewPCG(s.Seed, 2)),
	}
	if r.outcome == nil {
		r.outcome = OK(10 * time.Millisecond)
	}
	if r.workers == 0 {
		r.workers = 3
	}
	if r.limit == 0 {
		r.limit = 1000
	}
	for p := range r.workers {
		r.free = append(r.free, histories.Process(p))
	}
	r.free = append(r.free, histories.Nemesis)
	return r
}

// context returns copies: who changes a context, or keeps it, is the only one to
// suffer.
func (r *run) context() generator.Context {
	return generator.Context{
		Now: r.now, Free: slices.Clone(r.free), Busy: slices.Clone(r.busy), Workers: r.workers, Rand: r.generators,
	}
}

func (r *run) ask(g generator.Generator, repeat int) (generator.Step, error) {
	step := g.Next(r.context())
	if step.Op != nil || step.Done {
		return step, nil
	}
	for range repeat {
		if again := g.Next(r.context()); again != step {
			return step, fmt.Errorf("at %v: answered %+v, and asked again at once %+v", r.now, step, again)
		}
	}
	return step, nil
}

func (r *run) invoke(g generator.Generator, op histories.Op) error {
	at := slices.Index(r.free, op.Process)
	switch {
	case at < 0:
		return fmt.Errorf("at %v: %v yielded for a process that is not free: %v are", r.now, op, r.free)
	case op.F == "":
		return fmt.Errorf("at %v: an op without a function yielded: %v", r.now, op)
	case op.Type != histories.Invoke:
		return fmt.Errorf("at %v: an op that is no invocation yielded: %v", r.now, op)
	}
	r.free = slices.Delete(r.free, at, at+1)
	r.busy = append(r.busy, op.Process)
	r.invoked++
	op = r.record(op)
	g.Update(r.context(), op)

	typ, after := r.outcome(r.outcomes, op)
	if typ == 0 {
		return nil
	}
	op.Type = typ
	if op.Process == histories.Nemesis {
		op.Type = histories.Info
	}
	c := completion{r.now + after, op}
	i, _ := slices.BinarySearchFunc(r.outstanding, c, func(a, b completion) int {
		if a.at <= b.at { // what was invoked first comes first
			return -1
		}
		return 1
	})
	r.outstanding = slices.Insert(r.outstanding, i, c)
	return nil
}

// record stamps op as the journal does, and adds it to the history.
func (r *run) record(op histories.Op) histories.Op {
	op.Index, op.Time = len(r.ops), r.now
	if op.Index > 0 {
		op.Time = max(op.Time, r.ops[op.Index-1].Time+1)
	}
	r.ops = append(r.ops, op)
	return op
}

// completeDue completes what ends now or has ended.
func (r *run) completeDue(g generator.Generator) {
	for len(r.outstanding) > 0 && r.outstanding[0].at <= r.now {
		r.completeNext(g)
	}
}

func (r *run) completeNext(g generator.Generator) {
	op := r.outstanding[0].op
	r.now = max(r.now, r.outstanding[0].at)
	r.outstanding = r.outstanding[1:]
	r.busy = slices.DeleteFunc(r.busy, func(p histories.Process) bool { return p == op.Process })
	next := op.Process
	if op.Type == histories.Info && op.Process >= 0 {
		next += histories.Process(r.workers)
	}
	r.free = append(r.free, next)
	op = r.record(op)
	g.Update(r.context(), op)
}

// finish completes what is outstanding when g is done, which it must remain.
func (r *run) finish(g generator.Generator) error {
	for len(r.outstanding) > 0 {
		r.completeNext(g)
		if step := g.Next(r.context()); !step.Done {
			return fmt.Errorf("at %v: was done, and then answered %+v", r.now, step)
		}
	}
	return nil
}

// pass lets time pass until something happens, or g wants to be asked again.
func (r *run) pass(wait time.Duration) error {
	switch {
	case wait > 0 && (len(r.outstanding) == 0 || r.now+wait < r.outstanding[0].at):
		r.now += wait
	case len(r.outstanding) > 0:
		r.now = r.outstanding[0].at
	default:
		return fmt.Errorf("at %v: waits for a completion, but none will come (busy: %v)", r.now, r.busy)
	}
	return nil
}

// Format writes ops one a line, with their times to the microsecond:
//
//	10ms 0 invoke read ["k1",null]
func Format(ops []histories.Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "%v %v\n", op.Time.Truncate(time.Microsecond), op)
	}
	return b.String()
}
