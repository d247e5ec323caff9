package set

import (
	"cmp"
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
)

// New returns the workload: adds of elements that are added nowhere else, not even
// to another set, and reads. When an add was acknowledged a read mostly begins
// before the next: what is missing for a moment only is to be seen. Each set is
// read in the end, also the retired ones. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Set, error)) workloads.Workload {
	o.Sets = cmp.Or(o.Sets, DefaultSets)
	o.ElementsPerSet = cmp.Or(o.ElementsPerSet, DefaultElementsPerSet)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	s := &sets{}
	main := generator.Independent(o.Sets, func(int) generator.Generator { return s.open(o.ElementsPerSet) })
	return workloads.Workload{
		Name:    "set",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   workloads.Final(o.FinalLimit, s.final),
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
	read := workloads.Keyed(name, nil)
	s.reads = append(s.reads, read)
	return &set{sets: s, name: name, read: read, left: elements}
}

// final returns the reads of each set that was ever opened.
func (s *sets) final() (ops []histories.Op) {
	for _, read := range s.reads {
		ops = append(ops, histories.Op{F: Read, Value: read})
	}
	return ops
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
	if !workloads.OnlyWrites(c, op.Process) && (s.unread && draw > 0 || draw == 1) {
		s.unread = false
		return generator.Step{Op: op}
	}
	s.left--
	s.sets.added++
	op.F, op.Value = Add, workloads.Keyed(s.name, s.sets.added)
	return generator.Step{Op: op}
}

func (s *set) Update(_ generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.F == Add && op.Type == histories.OK, op.F == Read && op.Type != histories.OK:
		s.unread = true
	}
}
