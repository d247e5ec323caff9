package checker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// maxExplained bounds the number of keys whose violation is explained. Who has
// more has one bug, and wants to read about it once.
const maxExplained = 8

// Linearizable returns a checker that judges each key of a history against m. One key that
// is not linearizable makes it Invalid. A key that the budget did not suffice for is
// Unknown, and takes nothing from the others' verdicts.
//
// What is a register is decided in linear time, what has a [Decider] by that, anything else by
// a search; in each case porcupine confirms the verdict of each key, or is left to find it. For a key that is not
// linearizable there is evidence: see [Violation].
func Linearizable[S comparable, In, Out any](m Model[S, In, Out], b Budget) Checker {
	b = b.withDefaults()
	return Func(func(ctx context.Context, h *histories.History) (Result, error) {
		begun := time.Now()
		end := begun.Add(b.Time)
		guard := newHeapGuard(b.Memory)
		ctx, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { guard.watch(ctx) })
		defer watching.Wait()
		defer stop()

		j := &judgement[S, In, Out]{model: &m, history: h, budget: b, guard: guard}
		enough := end.Add(-b.Time / evidencePart)
		reading, read := context.WithDeadline(ctx, enough)
		counts, err := j.normalise(reading)
		read()
		if err != nil {
			return Result{}, err
		}
		j.judge(ctx, begun, enough)
		return j.result(ctx, counts, end), nil
	})
}

// evidencePart is the part of the time that is kept for evidence.
const evidencePart = 8

// result says what was found, with evidence that takes no longer than until end.
func (j *judgement[S, In, Out]) result(ctx context.Context, counts map[string]int64, end time.Time) Result {
	r := Result{Name: "linearizable", Verdict: Valid, Counts: counts, Artifacts: map[string]func(io.Writer) error{}}
	calls := outcomes(counts)
	if j.partly {
		calls = "reading ended after " + calls
	}
	by := map[Verdict][]*object[S, In, Out]{}
	told := 0
	for _, o := range j.objects {
		r.Verdict = r.Verdict.And(o.verdict)
		by[o.verdict] = append(by[o.verdict], o)
		told += len(o.call)
		if p, ok := errors.AsType[*panicked](cmp.Or(o.err, o.doubt)); ok {
			r.Artifacts[fileName("panic", o.key)+".txt"] = p.artifact
		}
	}
	if told == 0 {
		r.Verdict = Unknown
		r.Note = fmt.Sprintf("nothing to judge in %s", calls)
		return r
	}
	r.Counts["keys"] = int64(len(j.objects))
	r.Counts["keys_judged"] = int64(len(by[Valid]) + len(by[Invalid]))
	r.Note = j.note(by) + "; " + calls
	if by := j.judges(r.Counts); by != "" {
		r.Note += "; " + by
	}

	shown := by[Invalid][:min(len(by[Invalid]), maxExplained)]
	all := j.all(j.affordable(shown, end))
	shares := newShares(end, len(shown), 1)
	for _, o := range shown {
		ctx, done := shares.next(ctx)
		anomaly, picture := j.explain(ctx, o, all[o])
		done()
		r.Anomalies = append(r.Anomalies, anomaly)
		if picture != nil {
			r.Artifacts[PictureOf(o.key)] = picture
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

// affordable returns those of objects of which what is left of the budget lets all calls be
// told: for the others a witness has to do.
func (j *judgement[S, In, Out]) affordable(objects []*object[S, In, Out], end time.Time) (few []*object[S, In, Out]) {
	const perCall = 4 * time.Microsecond // to read one again, and to look for what it means
	size := uint64(reflect.TypeFor[histories.Call[In, Out]]().Size())
	memory, left := j.budget.Memory/2, time.Until(end)
	for _, o := range objects {
		bytes, takes := uint64(len(o.call))*size, time.Duration(len(o.call))*perCall
		if bytes > memory || takes > left {
			continue
		}
		memory, left = memory-bytes, left-takes
		few = append(few, o)
	}
	return few
}

// note says which objects have which verdict.
func (j *judgement[S, In, Out]) note(by map[Verdict][]*object[S, In, Out]) string {
	var parts []string
	if bad := by[Invalid]; len(bad) > 0 {
		parts = append(parts, "not linearizable: "+list(bad, (*object[S, In, Out]).name))
		if to := extent(bad); to != "" {
			parts = append(parts, to)
		}
	}
	if open := by[Unknown]; len(open) > 0 {
		parts = append(parts, "not judged: "+list(open, (*object[S, In, Out]).unjudged))
	}
	if good := len(by[Valid]); good > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s linearizable", good, Count(len(j.objects), "key")))
	}
	for _, o := range j.objects {
		if _, ok := errors.AsType[*panicked](o.err); !ok && o.doubt != nil { // else the model panics
			parts = append(parts, fmt.Sprintf("%s: %v, so that porcupine judged it alone; this is a mistake in hacheck, please report it with the history", o.name(), o.doubt))
			break
		}
	}
	return strings.Join(parts, "; ")
}

// extent says how many calls of bad objects there are that no order explains, where that is
// known, and up to where all was well.
func extent[S comparable, In, Out any](bad []*object[S, In, Out]) string {
	reached, violations, more := math.MaxInt, 0, false
	for _, o := range bad {
		reached = min(reached, o.reached)
		violations += o.violations
		more = more || o.more || o.violations == 0
	}
	switch {
	case reached == unread:
		return ""
	case violations == 0:
		return fmt.Sprintf("all is well before op %d", max(reached, 0))
	}
	least := ""
	if more {
		least = "at least "
	}
	return fmt.Sprintf("%s%s that no order explains, none before op %d", least, Count(violations, "call"), max(reached, 0))
}

// judges says which engines decided, and that porcupine confirmed it. It counts for how
// many keys each did.
func (j *judgement[S, In, Out]) judges(counts map[string]int64) string {
	for _, o := range j.objects {
		if o.verdict == Unknown {
			continue
		}
		counts["decided_by_"+string(o.by)]++
		if o.confirmed {
			counts["confirmed_by_porcupine"]++
		}
		counts["violations"] += int64(o.violations)
	}
	if counts["violations"] == 0 {
		delete(counts, "violations")
	}
	var names []string
	for _, e := range j.model.engines() {
		if counts["decided_by_"+string(e)] > 0 {
			names = append(names, string(e))
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(names) == 1 && names[0] == string(byPorcupine):
		return "decided by porcupine"
	}
	return "decided by " + strings.Join(names, ", ") + ", confirmed by porcupine"
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
