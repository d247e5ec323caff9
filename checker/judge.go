package checker

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A judgement is one check of one history.
type judgement[S comparable, In, Out any] struct {
	model   *Model[S, In, Out]
	guard   *heapGuard
	objects []*object[S, In, Out]
}

// judge finds the verdict of every object, the easy ones first, so that the hard
// ones get what those leave of their shares.
func (j *judgement[S, In, Out]) judge(ctx context.Context, budget time.Duration) {
	difficulty := map[*object[S, In, Out]]int{}
	for _, o := range j.objects {
		difficulty[o] = o.difficulty()
	}
	queue := slices.SortedStableFunc(slices.Values(j.objects), func(a, b *object[S, In, Out]) int {
		return cmp.Or(cmp.Compare(difficulty[a], difficulty[b]), cmp.Compare(len(a.told), len(b.told)))
	})
	workers := min(runtime.GOMAXPROCS(0), len(queue))
	shares := newShares(budget, len(queue), workers)
	var next atomic.Int64
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(queue)); at = next.Add(1) - 1 {
				ctx, done := shares.next(ctx)
				j.judgeOne(ctx, queue[at])
				done()
			}
		})
	}
	working.Wait()
}

// judgeOne finds the verdict of o in the time that ctx leaves. A search that came
// to no end may still have come to a wall, a call that no order explains, and
// exhaust itself before it: the last eighth of the time is for looking there.
func (j *judgement[S, In, Out]) judgeOne(ctx context.Context, o *object[S, In, Out]) {
	end, _ := ctx.Deadline()
	most, done := context.WithTimeoutCause(ctx, time.Until(end)/8*7, errTime)
	defer done()
	s := j.search(j.model.Init, o.told)
	linearizable, err := s.answer(most)
	o.furthest = s.furthest
	switch {
	case linearizable:
		o.verdict = Valid
	case err == nil || j.wall(ctx, o):
		o.verdict = Invalid
	default:
		o.err = err
	}
}

func (j *judgement[S, In, Out]) search(init S, calls []histories.Call[In, Out]) *search[S, In, Out] {
	return &search[S, In, Out]{model: j.model, guard: j.guard, init: init, calls: calls}
}

var errTime = errors.New("out of time")

// shares deals out a time budget over a queue: to each in turn an even part of
// what is then left. Who needs less leaves more to those who come after.
type shares struct {
	mu      sync.Mutex
	end     time.Time
	queued  int
	workers int
}

func newShares(budget time.Duration, queued, workers int) *shares {
	return &shares{end: time.Now().Add(budget), queued: queued, workers: workers}
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
