package uniqueids

import (
	"cmp"
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
const DefaultFinalIDs = 200

// New returns the workload: everybody asks for identifiers, again after faults have
// healed. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (IDs, error)) workloads.Workload {
	o.FinalIDs = cmp.Or(o.FinalIDs, DefaultFinalIDs)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	op := histories.Op{F: Generate}
	main := generator.Of(func(generator.Context, histories.Process) histories.Op { return op })
	return workloads.Workload{
		Name:    name,
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   workloads.Final(o.FinalLimit, func() []histories.Op { return slices.Repeat([]histories.Op{op}, o.FinalIDs) }),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// name is the workload's.
const name = "unique-ids"
