package lineartest

import (
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// Brute says whether some order explains r from start, by trying every order. It is for a
// dozen operations.
func Brute(r *linear.Register, start linear.Value) bool { return BruteProblem(r.Problem(start)) }

// BruteProblem says the same of p.
func BruteProblem[S comparable](p linear.Problem[S]) bool {
	left := make([]int32, len(p.Call))
	for i := range left {
		left[i] = int32(i)
	}
	return slices.ContainsFunc(p.Starts, func(s S) bool { return brute(&p, s, left) })
}

func brute[S comparable](p *linear.Problem[S], s S, left []int32) bool {
	first := linear.Never // return of those left
	for _, op := range left {
		first = min(first, p.Return[op])
	}
	if first == linear.Never {
		return true
	}
	for i, op := range left {
		if p.Call[op] > first {
			break
		}
		next, possible := p.Step(s, op)
		if !possible {
			continue
		}
		rest := make([]int32, 0, len(left)-1)
		rest = append(append(rest, left[:i]...), left[i+1:]...)
		if brute(p, next, rest) {
			return true
		}
	}
	return false
}

// Porcupine asks porcupine the same; Unknown if it has no answer in time. No time is
// all the time it takes.
func Porcupine(r *linear.Register, start linear.Value, limit time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(Model(r, start), Operations(r), limit)
}

// Model is porcupine's model of a register. An indeterminate cas is possible where it
// does nothing, too, since porcupine gives every operation a place.
func Model(r *linear.Register, start linear.Value) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return start },
		Step: func(state, input, _ any) (bool, any) {
			v, op := state.(linear.Value), input.(int32)
			next, possible := r.Step(v, op)
			if !possible && r.Return[op] == linear.Never {
				return true, state
			}
			return possible, next
		},
		Hash: func(state any) uint64 { return uint64(state.(linear.Value)) * 0x9e3779b97f4a7c15 },
	}
}

// Operations returns the operations of r as porcupine has them.
func Operations(r *linear.Register) []porcupine.Operation {
	ops := make([]porcupine.Operation, r.Len())
	for i := range ops {
		ops[i] = porcupine.Operation{Input: int32(i), Call: int64(r.Call[i]), Return: int64(r.Return[i])}
	}
	return ops
}

// Bounded asks porcupine whether m explains ops, and gives up when it has had so much time
// of the processor, or the program has so many bytes: then it is Unknown. Porcupine itself
// has no limit of memory.
func Bounded(m porcupine.Model, ops []porcupine.Operation, cpu time.Duration, bytes int64) porcupine.CheckResult {
	var enough atomic.Bool
	begin, done := Used(), make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		held := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			metrics.Read(held)
			if Used()-begin > cpu || int64(held[0].Value.Uint64()-held[1].Value.Uint64()) > bytes {
				enough.Store(true)
			}
		}
	})
	step := m.Step
	m.Step = func(state, input, output any) (bool, any) {
		if enough.Load() { // nothing is possible any more, so the search ends
			return false, state
		}
		return step(state, input, output)
	}
	explained := porcupine.CheckOperations(m, ops)
	close(done)
	wait.Wait()
	switch {
	case explained: // it ended before it was told to
		return porcupine.Ok
	case enough.Load():
		return porcupine.Unknown
	}
	return porcupine.Illegal
}
