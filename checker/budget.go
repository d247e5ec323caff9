package checker

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"
)

// A Budget bounds what judging may take, and says how much of it is wanted. Deciding
// linearizability is NP-complete, so every check needs one. Zero fields mean the
// defaults.
type Budget struct {
	// Time is for all keys together, evidence included.
	Time time.Duration
	// Memory is by how much the heap of the process may grow meanwhile.
	Memory uint64
	// All says that every key is to be judged as long as there is time. Otherwise, once
	// one is not linearizable, the rest may take as long again as was taken so far, since
	// it cannot change the verdict.
	All bool
	// Porcupine says that porcupine alone is to judge, for comparison.
	Porcupine bool
}

// The default budget.
const (
	DefaultTime   = time.Minute
	DefaultMemory = 2 << 30
)

func (b Budget) withDefaults() Budget {
	b.Time = cmp.Or(b.Time, DefaultTime)
	b.Memory = cmp.Or(b.Memory, DefaultMemory)
	return b
}

// Why an object is not judged.
var (
	errTime    = errors.New("out of time")
	errMemory  = errors.New("out of memory")
	errSettled = errors.New("left when another key was found invalid")
)

// grace is the least that judging the other keys may take once one is found Invalid.
const grace = time.Second / 4

// shares deals out a time budget over a queue: to each in turn an even part of
// what is then left. Who needs less leaves more to those who come after.
type shares struct {
	mu      sync.Mutex
	end     time.Time
	queued  int
	workers int
}

func newShares(end time.Time, queued, workers int) *shares {
	return &shares{end: end, queued: queued, workers: workers}
}

// next returns a context that ends with the share of the next in the queue.
func (s *shares) next(ctx context.Context) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := time.Until(s.end)
	share := min(left, left*time.Duration(s.workers)/time.Duration(s.queued))
	s.queued--
	return context.WithTimeoutCause(ctx, share, errTime)
}
