package checker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Budget bounds what judging may take. Deciding linearizability is NP-complete
// and porcupine's search exponential in the number of calls that are open at
// once, so every check needs one. Zero fields mean the defaults.
type Budget struct {
	// Time is shared by all keys; evidence for what was found may take a quarter
	// of it more.
	Time time.Duration
	// Memory is by how much the heap of the process may grow meanwhile.
	Memory uint64
}

// The default budget.
const (
	DefaultTime   = time.Minute
	DefaultMemory = 2 << 30
)

// maxExplained bounds the number of keys whose violation is explained. Who has
// more has one bug, and wants to read about it once.
const maxExplained = 8

// Linearizable returns a checker that judges each key of a history against m
// with porcupine. One key that is not linearizable makes it Invalid. A key that
// the budget did not suffice for is Unknown, and takes nothing from the others'
// verdicts.
//
// For a key that is not linearizable it finds the first call that no order can
// explain, and the fewest calls that show it: see [Violation].
func Linearizable[S comparable, In, Out any](m Model[S, In, Out], b Budget) Checker {
	if b.Time == 0 {
		b.Time = DefaultTime
	}
	if b.Memory == 0 {
		b.Memory = DefaultMemory
	}
	return Func(func(ctx context.Context, h *histories.History) (Result, error) {
		calls, err := histories.Calls(h, m.In, m.Out)
		if err != nil {
			return Result{}, err
		}
		guard := newHeapGuard(b.Memory)
		ctx, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { guard.watch(ctx) })
		defer watching.Wait()
		defer stop()

		j := &judgement[S, In, Out]{model: &m, guard: guard, objects: m.objects(calls)}
		j.judge(ctx, b.Time)
		return j.result(ctx, b.Time/4), nil
	})
}

// result says what was found, with evidence that takes no longer than budget.
func (j *judgement[S, In, Out]) result(ctx context.Context, budget time.Duration) Result {
	r := Result{Name: "linearizable", Verdict: Valid, Counts: map[string]int64{}, Artifacts: map[string]func(io.Writer) error{}}
	by := map[Verdict][]*object[S, In, Out]{}
	told := 0
	for _, o := range j.objects {
		r.Verdict = r.Verdict.And(o.verdict)
		by[o.verdict] = append(by[o.verdict], o)
		told += len(o.told)
		for _, c := range o.all {
			r.Counts[c.Type.String()]++
		}
		if p, ok := errors.AsType[*panicked](o.err); ok {
			r.Artifacts[fileName("panic", o.key)+".txt"] = p.artifact
		}
	}
	if told == 0 {
		r.Verdict = Unknown
		r.Note = fmt.Sprintf("nothing to judge in %s", outcomes(r.Counts))
		return r
	}
	r.Counts["keys"] = int64(len(j.objects))
	r.Counts["keys_judged"] = int64(len(by[Valid]) + len(by[Invalid]))
	r.Note = note(by) + "; " + outcomes(r.Counts)

	shown := by[Invalid][:min(len(by[Invalid]), maxExplained)]
	shares := newShares(budget, len(shown), 1)
	for _, o := range shown {
		ctx, done := shares.next(ctx)
		anomaly, picture := j.explain(ctx, o)
		done()
		r.Anomalies = append(r.Anomalies, anomaly)
		if picture != nil {
			r.Artifacts[fileName("linearizable", o.key)+".html"] = picture
		}
	}
	// What can be told in words comes first.
	slices.SortStableFunc(r.Anomalies, func(a, b Anomaly) int {
		unclear := func(a Anomaly) int {
			if a.Kind == notLinearizable {
				return 1
			}
			return 0
		}
		return unclear(a) - unclear(b)
	})
	return r
}

// note says which objects have which verdict.
func note[S comparable, In, Out any](by map[Verdict][]*object[S, In, Out]) string {
	var parts []string
	if bad := by[Invalid]; len(bad) > 0 {
		parts = append(parts, "not linearizable: "+list(bad, (*object[S, In, Out]).name))
	}
	if open := by[Unknown]; len(open) > 0 {
		parts = append(parts, "not judged: "+list(open, (*object[S, In, Out]).unjudged))
	}
	if good := len(by[Valid]); good > 0 {
		all := good + len(by[Invalid]) + len(by[Unknown])
		parts = append(parts, fmt.Sprintf("%d of %s linearizable", good, count(all, "key")))
	}
	return strings.Join(parts, "; ")
}

// maxListed bounds the keys that a note names.
const maxListed = 8

// list names the objects, or the first of many.
func list[O any](objects []O, name func(O) string) string {
	var names []string
	for _, o := range objects[:min(len(objects), maxListed)] {
		names = append(names, name(o))
	}
	if more := len(objects) - maxListed; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
