package checker

import (
	"context"
	"hash/maphash"
	"runtime/debug"
	"sync/atomic"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
)

// A trial is calls on an object, as they are put to a judge: numbers, and what each does.
type trial[S comparable] struct {
	call, ret []linear.Time // call ascending; ret is linear.Never where it is indeterminate
	// step returns the state after an op, and whether it may take effect in s. What is
	// indeterminate is possible in every state, and need not change it.
	step func(s S, op int32) (S, bool)
}

// A search is one question to porcupine: do the calls of a trial have a linearization
// that begins in init?
//
// Porcupine knows no ops, no types and no way to be stopped but a time limit.
// This is the only place that speaks to it, and what it needs to know of it:
//
//   - A call that did not return gets Return at infinity. Given as an event
//     without its match it would count as a return, and give a wrong Illegal.
//   - Return before Call would be Illegal in silence. It cannot come up: in a history
//     a completion comes after its invocation.
//   - Step runs on porcupine's goroutines, where a panic would end the process.
//   - Its time limit abandons the search, and nothing limits its memory. So a
//     search is stopped from inside: once ctx has ended, Step refuses everything,
//     and porcupine backtracks to the end. An Illegal that comes of it is none.
type search[S comparable] struct {
	trial[S]
	init  S
	guard *heapGuard

	ctx  context.Context // the search's own
	stop context.CancelCauseFunc

	// furthest is the position of the latest call that was tried.
	//
	// A call is tried once every call that returned before its invocation has its
	// place in the order. So what returned before furthest was invoked is linearizable;
	// and if all of the calls are not, neither is what returned before the next one was
	// invoked, for no order got that far.
	furthest int

	// taken counts the steps that were possible. Each costs porcupine a set of as
	// many bits as there are calls, unless it has been there before.
	taken atomic.Int64
}

// node is a state as porcupine keeps it, with its hash.
type node[S comparable] struct {
	state S
	hash  uint64
}

var hashSeed = maphash.MakeSeed()

// answer runs the search. A nil error means that the answer is definite; the
// error is the cause of ctx's end, or what Step panicked with.
func (s *search[S]) answer(ctx context.Context) (linearizable bool, err error) {
	s.ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	s.guard.add(s)
	defer s.guard.remove(s)
	if porcupine.CheckOperations(s.porcupine(), s.operations()) {
		return true, nil // an order was found, whatever ended afterwards
	}
	return false, context.Cause(s.ctx)
}

// partials runs the search of ops, which are s.operations with what else a picture needs, to
// the end, for the orders that go furthest. A nil error means that it came there.
func (s *search[S]) partials(ctx context.Context, ops []porcupine.Operation) (info porcupine.LinearizationInfo, linearizable bool, err error) {
	s.ctx, s.stop = context.WithCancelCause(ctx)
	defer s.stop(nil)
	result, info := porcupine.CheckOperationsVerbose(s.porcupine(), ops, 0)
	if result == porcupine.Ok {
		return info, true, nil
	}
	return info, false, context.Cause(s.ctx)
}

func (s *search[S]) porcupine() porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return node[S]{s.init, 0} },
		Step:  s.try,
		Equal: func(a, b any) bool { return a.(node[S]).state == b.(node[S]).state },
		Hash:  func(a any) uint64 { return a.(node[S]).hash },
	}
}

// try is Model.Step as porcupine calls it; call is a position.
func (s *search[S]) try(before, call, _ any) (possible bool, after any) {
	if s.ctx.Err() != nil {
		return false, before
	}
	defer func() {
		if r := recover(); r != nil {
			s.stop(&panicked{r, debug.Stack()})
			possible, after = false, before
		}
	}()
	at := call.(int)
	s.furthest = max(s.furthest, at)
	state, possible := s.step(before.(node[S]).state, int32(at))
	if !possible {
		return false, before
	}
	s.taken.Add(1)
	return true, node[S]{state, maphash.Comparable(hashSeed, state)}
}

func (s *search[S]) operations() []porcupine.Operation {
	ops := make([]porcupine.Operation, len(s.call))
	for i := range ops {
		ops[i] = porcupine.Operation{Input: i, Call: int64(s.call[i]), Return: int64(s.ret[i])}
	}
	return ops
}

// bytes estimates the memory that porcupine holds for the search.
func (s *search[S]) bytes() int64 { return s.taken.Load() * int64(len(s.call)/8+100) }

// starve ends the search for want of memory.
func (s *search[S]) starve() { s.stop(errMemory) }
