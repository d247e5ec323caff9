package checker

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// A judgement is one check of one history.
type judgement[S comparable, In, Out any] struct {
	model   *Model[S, In, Out]
	history *histories.History
	budget  Budget
	guard   *heapGuard
	partly  bool // there was no time to read all of the history
	objects []*object[S, In, Out]
}

// judge finds the verdict of every object, the easy ones first, so that the hard
// ones get what those leave of their shares.
func (j *judgement[S, In, Out]) judge(ctx context.Context, begun, end time.Time) {
	difficulty := map[*object[S, In, Out]]int{}
	for _, o := range j.objects {
		difficulty[o] = o.difficulty()
	}
	queue := slices.SortedStableFunc(slices.Values(j.objects), func(a, b *object[S, In, Out]) int {
		return cmp.Or(cmp.Compare(difficulty[a], difficulty[b]), cmp.Compare(len(a.call), len(b.call)))
	})
	workers := min(runtime.GOMAXPROCS(0), len(queue))
	shares := newShares(end, len(queue), workers)
	ctx, settle := context.WithCancelCause(ctx)
	defer settle(nil)
	var settled sync.Once
	var next atomic.Int64
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for at := next.Add(1) - 1; at < int64(len(queue)); at = next.Add(1) - 1 {
				o := queue[at]
				ctx, done := shares.next(ctx)
				j.judgeOne(ctx, o)
				done()
				if o.verdict == Invalid && !j.budget.All {
					settled.Do(func() {
						time.AfterFunc(max(grace, time.Since(begun)), func() { settle(errSettled) })
					})
				}
			}
		})
	}
	working.Wait()
}

// judgeOne finds the verdict of o in the time that ctx leaves.
func (j *judgement[S, In, Out]) judgeOne(ctx context.Context, o *object[S, In, Out]) {
	defer func() {
		if r := recover(); r != nil {
			o.verdict, o.err = Unknown, &panicked{r, debug.Stack()}
		}
	}()
	if ctx.Err() != nil {
		o.err = context.Cause(ctx)
		return
	}
	if j.budget.Porcupine || !j.decide(ctx, o) {
		j.leave(ctx, o)
	}
}

// leave leaves o to porcupine. A search that came to no end may still have come to a wall,
// a call that no order explains, and exhaust itself before it.
func (j *judgement[S, In, Out]) leave(ctx context.Context, o *object[S, In, Out]) {
	most, done := mostOf(ctx)
	defer done()
	s := j.search(j.model.Init, j.model.trial(j.told(o)))
	linearizable, err := s.answer(most)
	if o.before = linear.Never; len(o.call) > 0 {
		o.after = o.call[s.furthest]
		if s.furthest+1 < len(o.call) {
			o.before = o.call[s.furthest+1]
		}
	}
	switch {
	case linearizable:
		o.verdict = Valid
	case err == nil || j.wall(ctx, o):
		o.verdict = Invalid
	default:
		o.err = err
	}
	if o.verdict != Unknown {
		o.by, o.confirmed = byPorcupine, true
	}
	if o.verdict != Valid {
		o.reached = int(o.after)
	}
}

// search returns the question to porcupine whether t is linearizable from init.
func (j *judgement[S, In, Out]) search(init S, t trial[S]) *search[S] {
	return &search[S]{trial: t, guard: j.guard, init: init}
}

// trial returns calls as they are put to a judge.
func (m *Model[S, In, Out]) trial(calls []histories.Call[In, Out]) trial[S] {
	t := trial[S]{call: make([]linear.Time, len(calls)), ret: make([]linear.Time, len(calls))}
	for i, c := range calls {
		t.call[i], t.ret[i] = Interval(c)
	}
	t.step = func(s S, op int32) (S, bool) { return m.Step(s, calls[op]) }
	return t
}
