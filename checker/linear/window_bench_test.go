package linear_test

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// register holds a number: 0 reads it, 1 writes one, 2 is a cas from the one that is half
// as big, of which the answer says whether it was done.
var registerSpec = spec[int]{
	name: "registerSpec", asks: 3,
	do: func(s, ask, arg int) (int, int) {
		switch {
		case ask == 0:
			return s, s
		case ask == 1:
			return arg, 0
		case s == arg/2:
			return arg, 1
		}
		return s, 0
	},
	readOnly: func(o trade) bool { return o.ask == 0 || o.ask == 2 && o.answer == 0 },
}

func BenchmarkSearch(b *testing.B) {
	bench(b, set, load{ops: 10_000, clients: 10, args: 16}, true)
	bench(b, set, load{ops: 10_000, clients: 20, args: 16}, false)
	bench(b, set, load{ops: 10_000, clients: 50, args: 16}, false)
	bench(b, lock, load{ops: 10_000, clients: 10, args: 1}, true)
	bench(b, lock, load{ops: 100_000, clients: 50, args: 1}, false)
	bench(b, registerSpec, load{ops: 10_000, clients: 10, args: 1 << 30}, true)
	bench(b, registerSpec, load{ops: 10_000, clients: 10, args: 5}, true)
	bench(b, registerSpec, load{ops: 10_000, clients: 20, args: 5}, false)
	bench(b, registerSpec, load{ops: 10_000, clients: 5, args: 5, lost: 0.01}, true)
	bench(b, registerSpec, load{ops: 10_000, clients: 10, args: 5, lost: 0.05}, false)
	bench(b, registerSpec, load{ops: 20, clients: 4, args: 5}, true)
}

// bench measures Search, and porcupine, unless that takes more than a minute or 4 GiB.
func bench[S comparable](b *testing.B, o spec[S], l load, able bool) {
	p := simulate(rand.New(rand.NewPCG(1, 7)), o, l)
	name := fmt.Sprintf("%s/values=%d/clients=%d/ops=%d/lost=%g", o.name, l.args, l.clients, l.ops, l.lost)
	b.Run(name+"/search", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := linear.Search(p, nil); d.Verdict != linear.Linearizable {
				b.Fatal(d.Verdict)
			}
		}
	})
	if !able {
		return
	}
	b.Run(name+"/porcupine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if says := asPorcupine(p, time.Minute); says != porcupine.Ok {
				b.Fatal(says)
			}
		}
	})
}

func asPorcupine[S comparable](p linear.Problem[S], limit time.Duration) porcupine.CheckResult {
	ops := make([]porcupine.Operation, len(p.Call))
	for i := range ops {
		ops[i] = porcupine.Operation{Input: int32(i), Call: int64(p.Call[i]), Return: int64(p.Return[i])}
	}
	seed := maphash.MakeSeed()
	return porcupine.CheckOperationsTimeout(porcupine.Model{
		Init: func() any { return p.Starts[0] },
		Step: func(state, input, _ any) (bool, any) {
			s, possible := p.Step(state.(S), input.(int32))
			return possible, s
		},
		Hash: func(state any) uint64 { return maphash.Comparable(seed, state.(S)) },
	}, ops, limit)
}
