package workloads

import (
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// DefaultFinalLimit is how long the final phase of a workload lasts at most, unless it
// is told otherwise.
const DefaultFinalLimit = 10 * time.Second

// FinalPause is how long a process pauses in the end after an operation that did not
// succeed.
const FinalPause = 10 * time.Millisecond

// AtRate returns g with so many operations per second, all clients together; 0 means as
// many as they can.
func AtRate(rate float64, g generator.Generator) generator.Generator {
	if rate <= 0 {
		return g
	}
	return generator.Stagger(time.Duration(float64(time.Second)/rate), g)
}

// Final returns a generator of what clients do in the end: each of ops, which are asked
// for when it begins, until that has succeeded, or the time is over.
func Final(limit time.Duration, ops func() []histories.Op) generator.Generator {
	return generator.OnClients(generator.TimeLimit(limit, generator.Cycle(1, func() generator.Generator {
		return generator.UntilOK(FinalPause, ops()...)
	})))
}

// OnlyWrites says that a process only writes: those of every tenth worker do. All others
// soon wait for the answer to a read when a node has lost its majority; a system that
// goes on to acknowledge writes there is to be given some. More writers would overwrite
// what others wrote before anybody has seen it.
func OnlyWrites(c generator.Context, p histories.Process) bool {
	const every = 10
	return c.Workers >= every && c.Worker(p) >= c.Workers-c.Workers/every
}
