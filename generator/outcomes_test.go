package generator_test

import (
	"math/rand/v2"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

type outcome = func(*rand.Rand, histories.Op) (histories.Type, time.Duration)

// ends says that every op ends so, after 10 ms.
func ends(typ histories.Type) outcome { return endsInTurn(typ) }

// endsInTurn says how the ops end, in the order of their invocations; after the
// last of types it begins again.
func endsInTurn(types ...histories.Type) outcome {
	n := 0
	return func(*rand.Rand, histories.Op) (histories.Type, time.Duration) {
		n++
		return types[(n-1)%len(types)], 10 * ms
	}
}

// nemesisTakes lets the nemesis's ops take d.
func nemesisTakes(d time.Duration) outcome {
	return func(_ *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
		if op.Process == histories.Nemesis {
			return histories.Info, d
		}
		return histories.OK, 10 * ms
	}
}

// takes says how long the ops of some functions take; the others take 10 ms.
func takes(long map[string]time.Duration) outcome {
	return func(_ *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
		if d, ok := long[op.F]; ok {
			return histories.OK, d
		}
		return histories.OK, 10 * ms
	}
}

// scripted returns gs one after the other.
func scripted(gs ...generator.Generator) func() generator.Generator {
	return func() generator.Generator {
		g := gs[0]
		gs = gs[1:]
		return g
	}
}

// every yields an op each d, n times: a Stagger without its chance.
func every(d time.Duration, f string, n int) generator.Generator {
	return generator.Cycle(n, func() generator.Generator {
		return generator.Any(generator.Limit(1, does(f)), generator.Sleep(d))
	})
}
