package counter

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
	// Counters is the number of counters in use at the same time.
	Counters int
	// OpsPerCounter is after how many operations a counter is retired and another
	// takes its place. It is retired before if many of its adds ended indeterminate:
	// each doubles the number of sums that it may have.
	OpsPerCounter int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultCounters      = 3
	DefaultOpsPerCounter = 400
)

const (
	// maxStep is the greatest number that is added, and subtracted. Steps are drawn
	// from so many that hardly two sums of a few of them are the same: what a read
	// returns tells which adds it has seen.
	maxStep = 1000
	// maxIndeterminate is how many adds of a counter may end indeterminate. Those
	// that are outstanding when it is retired may still add to them.
	maxIndeterminate = 8
)

// New returns the workload: adds, of which a third subtract, and reads. When an
// add was acknowledged a read mostly begins before the next, as two mistakes may
// make up for each other. Each counter is read in the end, also the retired ones.
// open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Counter, error)) workloads.Workload {
	o.Counters = cmp.Or(o.Counters, DefaultCounters)
	o.OpsPerCounter = cmp.Or(o.OpsPerCounter, DefaultOpsPerCounter)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	all := &counters{}
	main := generator.Independent(o.Counters, func(int) generator.Generator { return all.open(o.OpsPerCounter) })
	return workloads.Workload{
		Name:    "counter",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   workloads.Final(o.FinalLimit, all.final),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// counters are those that were opened: of each the payload of a read.
type counters struct{ reads [][]byte }

func (all *counters) open(ops int) *counter {
	name := "c" + strconv.Itoa(len(all.reads))
	read := workloads.Keyed(name, nil)
	all.reads = append(all.reads, read)
	return &counter{name: name, read: read, left: ops}
}

// final returns the reads of each counter that was ever opened.
func (all *counters) final() (ops []histories.Op) {
	for _, read := range all.reads {
		ops = append(ops, histories.Op{F: Read, Value: read})
	}
	return ops
}

// A counter generates the operations on one counter.
type counter struct {
	name          string
	read          []byte // the payload of every read
	left          int    // operations until it is retired
	indeterminate int    // of its adds
	unread        bool   // no read was begun since the last add was acknowledged, or it did not succeed
}

func (k *counter) Next(c generator.Context) generator.Step {
	if k.left == 0 || k.indeterminate >= maxIndeterminate {
		return generator.Step{Done: true}
	}
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	k.left--
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: Read, Value: k.read}
	draw := c.Rand.IntN(8)
	if !workloads.OnlyWrites(c, op.Process) && (k.unread && draw > 0 || draw == 1) {
		k.unread = false
		return generator.Step{Op: op}
	}
	delta := 1 + c.Rand.Int64N(maxStep)
	if c.Rand.IntN(3) == 0 {
		delta = -delta
	}
	op.F, op.Value = Add, workloads.Keyed(k.name, delta)
	return generator.Step{Op: op}
}

func (k *counter) Update(_ generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.F == Add && op.Type == histories.Info:
		k.indeterminate++
	case op.F == Add && op.Type == histories.OK, op.F == Read && op.Type != histories.OK:
		k.unread = true
	}
}
