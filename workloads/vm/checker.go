package vm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// functions are those that must have succeeded in a run.
var functions = []string{Create, Get, Start, Stop, Delete, Migrate, Drain, Uncordon, Settle, Rest, Volumes}

// Checker returns the checker of the workload. It judges by what guests, volumes and the
// control plane told of themselves, and by what clients were answered:
//
//   - at most one copy of a machine runs at a time, and volumes take the writes of one;
//   - a machine is started elsewhere only when the place that it had is known to be over;
//   - no machine is lost that was created and not deleted, nor a write that a guest was told
//     of, and what users want of a machine comes true;
//   - after a migration exactly one of source and target runs, and goes on where it was;
//   - at rest hosts run what the control plane says, and nothing else;
//   - epochs only rise, and each is of one place;
//   - capacity, groups and labels of hosts are kept at every revision, and what is reserved
//     is given back;
//   - a create that is sent again makes one machine, and that is what was asked for;
//   - what users are told of a machine is linearizable.
//
// Beside that it measures what machines went through when their hosts died.
func Checker(b checker.Budget) checker.Checker {
	r := &reader{}
	return workloads.Judge("vm", functions, r.readBack, append(r.parts(),
		checker.Part{Name: "created once", Checker: creates()},
		checker.Part{Name: "lifecycle", Checker: lifecycle(b)},
	)...)
}

// parts returns the parts that judge, or measure, by events.
func (r *reader) parts() []checker.Part {
	return []checker.Part{
		r.part("one running copy", guestsTell, oneCopy),
		r.part("fenced before restart", planeTells, fenced),
		r.part("no machine lost", guestsTell|planeTells, lost),
		r.part("migrations are atomic", guestsTell|planeTells, atomic),
		r.part("hosts run what is recorded", guestsTell, asRecorded),
		r.part("epochs only rise", planeTells, epochs),
		r.part("placement", planeTells, placement),
		{Name: "failover", Checker: r.failover(), Coverage: true},
	}
}

// What a part needs to have been told of.
type needs int

const (
	guestsTell needs = 1 << iota
	planeTells
)

// A judgement is what a part finds.
type judgement struct {
	checker.Findings
	counts map[string]int64
	notes  []string
	// unknown are the reasons for which something could not be judged.
	unknown []string
}

func (j *judgement) found(kind string, ops []int, format string, args ...any) {
	slices.Sort(ops)
	j.Add(checker.Anomaly{Kind: kind, Note: fmt.Sprintf(format, args...), Ops: slices.Compact(ops)})
}

// cannot says what could not be judged, once.
func (j *judgement) cannot(format string, args ...any) {
	if why := fmt.Sprintf(format, args...); !slices.Contains(j.unknown, why) {
		j.unknown = append(j.unknown, why)
	}
}

func (j *judgement) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// part returns a part that judges by events. What nobody told of it cannot judge.
func (r *reader) part(name string, n needs, judge func(*events, *judgement)) checker.Part {
	return checker.Part{Name: name, Checker: checker.Func(func(ctx context.Context, h *histories.History) (checker.Result, error) {
		e, err := r.events(ctx, h)
		if err != nil {
			return checker.Result{}, err
		}
		j := &judgement{counts: map[string]int64{}}
		if n&guestsTell != 0 && e.signs == 0 {
			j.cannot("no guest gave a sign")
		}
		if n&planeTells != 0 && len(e.records) == 0 {
			j.cannot("nothing was told of what the control plane records")
		}
		judge(e, j)
		result := checker.Result{Verdict: checker.Valid, Counts: j.counts, Note: strings.Join(append(j.unknown, j.notes...), "; ")}
		if len(j.unknown) > 0 {
			result.Verdict = checker.Unknown
		}
		j.Conclude(&result)
		return result, nil
	})}
}

// readBack says which machines, of those that clients were told of, nobody looked at who
// began after since; and which volumes nobody read, of machines that were not deleted and
// whose guests had been told of a write.
func (r *reader) readBack(h *histories.History, since time.Duration) (objects int, unread []string, err error) {
	all, err := calls(h)
	if err != nil {
		return 0, nil, err
	}
	e, err := r.events(context.Background(), h)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range all {
		if c.Type != histories.OK || !ofMachine(c.F) {
			continue
		}
		if left.Holds(c.In.Token, 0); c.F == Get {
			left.Read(c.In.Token, c.Invoked)
		}
	}
	gone := map[string]bool{}
	for _, l := range e.looks {
		for _, v := range l.VMs {
			left.Read(v.Token, l.from)
			gone[v.ID] = gone[v.ID] || v.State == string(deleted)
		}
	}
	volume := func(id string) string { return "the volume of " + id }
	for _, m := range e.each() {
		if !gone[m.id] && slices.ContainsFunc(m.signs, func(s sign) bool { return s.Acked > 0 }) {
			left.Holds(volume(m.id), 0)
		}
	}
	for _, seen := range e.readings {
		for id := range seen.volumes {
			left.Read(volume(id), h.At(seen.invoked).Time)
		}
	}
	return left.Unread(since)
}
