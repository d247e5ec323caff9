package workloads

import (
	"github.com/hacheck/hacheck/checker"
)

// Judge returns the checker of a workload of the given name: parts judge what it
// promises, and the rest asks of every run whether it tried hard enough to say so:
// with each of the functions succeeding, faults that acted, and a look at what was
// left in the end, of which readBack tells. How available the system was is measured
// beside them.
func Judge(name string, functions []string, readBack checker.ReadBack, parts ...checker.Part) checker.Checker {
	return checker.Compose(name, append(parts,
		checker.Part{Name: "stats", Checker: checker.Stats(functions...), Coverage: true},
		checker.Part{Name: "faults", Checker: checker.Faults(), Coverage: true},
		checker.Part{Name: "recovery", Checker: checker.Recovery(readBack), Coverage: true},
		checker.Part{Name: "availability", Checker: checker.Availability(), Coverage: true},
	)...)
}
