package set

import (
	"context"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Sets is the number of sets in use at the same time.
	Sets int
	// ElementsPerSet is after how many adds a set is retired and another takes its
	// place: reads return whole sets, and are to stay small.
	ElementsPerSet int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultSets           = 3
	DefaultElementsPerSet = 200
	DefaultFinalLimit     = 10 * time.Second
)

// finalPause is how long the final reads pause after one that failed.
const finalPause = 10 * time.Millisecond

// New returns the workload: adds of elements that are added nowhere else, not even
// to another set, and reads. When an add was acknowledged a read mostly begins
// before the next: what is missing for a moment only is to be seen. Each set is
// read in the end, also the retired ones. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Set, error)) workloads.Workload {
	if o.Sets == 0 {
		o.Sets = DefaultSets
	}
	if o.ElementsPerSet == 0 {
		o.ElementsPerSet = DefaultElementsPerSet
	}
	if o.FinalLimit == 0 {
		o.FinalLimit = DefaultFinalLimit
	}
	s := &sets{}
	main := generator.Independent(o.Sets, func(int) generator.Generator { return s.open(o.ElementsPerSet) })
	if o.Rate > 0 {
		main = generator.Stagger(time.Duration(float64(time.Second)/o.Rate), main)
	}
	return workloads.Workload{
		Name:    "set",
		Main:    generator.OnClients(main),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, generator.Cycle(1, s.final))),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// sets are the sets that were opened.
type sets struct {
	reads [][]byte // the payload of a read of each
	added int64    // the last element that was to be added to any
}

func (s *sets) open(elements int) *set {
	name := "s" + strconv.Itoa(len(s.reads))
	read := payload(name, nil)
	s.reads = append(s.reads, read)
	return &set{sets: s, name: name, read: read, left: elements}
}

// final returns the reads of each set that was ever opened, until they succeed.
func (s *sets) final() generator.Generator {
	var ops []histories.Op
	for _, read := range s.reads {
		ops = append(ops, histories.Op{F: Read, Value: read})
	}
	return generator.UntilOK(finalPause, ops...)
}

// A set generates the operations on one set.
type set struct {
	sets   *sets
	name   string
	read   []byte // the payload of every read
	left   int    // adds until it is retired
	unread bool   // no read was begun since the last add was acknowledged, or it did not succeed
}

func (s *set) Next(c generator.Context) generator.Step {
	if s.left == 0 {
		return generator.Step{Done: true}
	}
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: Read, Value: s.read}
	draw := c.Rand.IntN(8)
	if !adds(c, op.Process) && (s.unread && draw > 0 || draw == 1) {
		s.unread = false
		return generator.Step{Op: op}
	}
	s.left--
	s.sets.added++
	op.F, op.Value = Add, payload(s.name, s.sets.added)
	return generator.Step{Op: op}
}

// adds says that a process only adds: those of every tenth worker do. All others
// soon wait for the answer to a read when a node has lost its majority; a system
// that goes on to acknowledge adds there is to be given some.
func adds(c generator.Context, p histories.Process) bool {
	const every = 10
	return c.Workers >= every && c.Worker(p) >= c.Workers-c.Workers/every
}

func (s *set) Update(_ generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.F == Add && op.Type == histories.OK, op.F == Read && op.Type != histories.OK:
		s.unread = true
	}
}
