package workloadtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Simulate returns what a simulation makes of w's generators, without any client: the
// main phase up to a time, then the final phase to its end. It has ten workers unless it
// says otherwise.
func Simulate(w workloads.Workload, main time.Duration, s generatortest.Simulation) ([]histories.Op, error) {
	s.Workers, s.Ops = cmp.Or(s.Workers, 10), 1_000_000
	return s.Run(generator.Phases(generator.TimeLimit(main, w.Main), w.Final))
}

// KeepsRate says what is wrong if w has not so many operations per second.
func KeepsRate(w workloads.Workload, rate float64) error {
	const main = 20 * time.Second
	ops, err := Simulate(w, main, generatortest.Simulation{})
	if err != nil {
		return err
	}
	n := 0
	for _, op := range ops {
		if op.Type == histories.Invoke && op.Time < main {
			n++
		}
	}
	if want := rate * main.Seconds(); float64(n) < 0.9*want || float64(n) > 1.1*want {
		return fmt.Errorf("%d operations in %v, want %v", n, main, want)
	}
	return nil
}

// FinalEnds says what is wrong if w, in which everything fails, does not end after its
// limit for the final phase.
func FinalEnds(w workloads.Workload, limit time.Duration) error {
	const main = time.Second
	ops, err := Simulate(w, main, generatortest.Simulation{
		Outcome: func(*rand.Rand, histories.Op) (histories.Type, time.Duration) {
			return histories.Fail, time.Millisecond
		},
	})
	if err != nil {
		return err
	}
	if took := ops[len(ops)-1].Time - main; took < limit*95/100 || took > limit*105/100 {
		return fmt.Errorf("it ended after %v, want %v", took, limit)
	}
	return nil
}
