package uniqueids

import (
	"context"
	"slices"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalIDs is how many identifiers are asked for in the end, when everything has
	// healed: who has forgotten what it handed out begins anew.
	FinalIDs int
	// FinalLimit bounds the time for those.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultFinalIDs   = 200
	DefaultFinalLimit = 10 * time.Second
)

// finalPause is how long the final operations pause after one that failed.
const finalPause = 10 * time.Millisecond

// New returns the workload: everybody asks for identifiers, again after faults have
// healed. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (IDs, error)) workloads.Workload {
	if o.FinalIDs == 0 {
		o.FinalIDs = DefaultFinalIDs
	}
	if o.FinalLimit == 0 {
		o.FinalLimit = DefaultFinalLimit
	}
	op := histories.Op{F: Generate}
	main := generator.Of(func(generator.Context, histories.Process) histories.Op { return op })
	if o.Rate > 0 {
		main = generator.Stagger(time.Duration(float64(time.Second)/o.Rate), main)
	}
	final := generator.UntilOK(finalPause, slices.Repeat([]histories.Op{op}, o.FinalIDs)...)
	return workloads.Workload{
		Name:    name,
		Main:    generator.OnClients(main),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, final)),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// name is the workload's.
const name = "unique-ids"
