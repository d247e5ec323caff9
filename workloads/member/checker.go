package member

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: every register is linearizable, so is
// the set of members, in the end all keys were read and all members were there, and
// the run tried hard enough to say so.
func Checker(b checker.Budget) checker.Checker {
	return workloads.Judge("member", []string{Read, Write, Members, Leave, Join}, readBack,
		checker.Part{Name: "linearizable", Checker: checker.Linearizable(registerModel(), b)},
		checker.Part{Name: "members", Checker: membersJudged(b)},
	)
}

// membersJudged returns the checker of the members. The search is exponential in the
// number of indeterminate changes, and many of those were tried again and again: so it
// begins without those that nobody saw. They need not have happened, so that what is
// valid without them is so with them; only if it is not they are tried, too.
func membersJudged(b checker.Budget) checker.Checker {
	b.Time = cmp.Or(b.Time, checker.DefaultTime) / 2
	return checker.Func(func(ctx context.Context, h *histories.History) (checker.Result, error) {
		changes, r, err := membership(h)
		if err != nil {
			return checker.Result{}, err
		}
		unseen, err := r.unseen(changes)
		if err != nil {
			return checker.Result{}, err
		}
		if len(unseen) > 0 {
			fewer, err := excerpt(changes, func(op *histories.Op) bool { return op.Process >= 0 && !unseen[op.Index] })
			if err != nil {
				return checker.Result{}, err
			}
			result, err := checker.Linearizable(r.model(), b).Check(ctx, fewer)
			if err != nil || result.Verdict == checker.Valid {
				result.Note += "; not counted: indeterminate changes that nobody saw"
				return result, err
			}
		}
		return checker.Linearizable(r.model(), b).Check(ctx, changes)
	})
}

// excerpt returns h with events of the observer in place of all ops but those that
// keep wants, which it may change. So indices remain what they are.
func excerpt(h *histories.History, keep func(op *histories.Op) bool) (*histories.History, error) {
	ops := make([]histories.Op, 0, h.Len())
	for i, op := range h.All() {
		if !keep(&op) {
			op = histories.Op{Index: i, Time: op.Time, Process: histories.Observer, Type: histories.Event, F: histories.State}
		}
		ops = append(ops, op)
	}
	return histories.FromOps(ops)
}

// registerCall is an operation on a register. Its Out is what a read found.
type registerCall = histories.Call[register, value]

// registerModel is the sequential specification of a register.
func registerModel() checker.Model[value, register, value] {
	return checker.Model[value, register, value]{
		Functions: []string{Read, Write},

		In:  parseRegister,
		Out: func(_ string, b json.RawMessage) (value, error) { _, v, err := parseValue(b); return v, err },
		Key: func(r register) string { return r.key },
		Step: func(v value, c registerCall) (value, bool) {
			if c.F == Write {
				return value{c.In.v, true}, true
			}
			return v, c.Type == histories.Info || c.Out == v
		},
		ReadOnly: func(c registerCall) bool { return c.F == Read },
		Register: func(c registerCall) checker.Access[value] {
			if c.F == Write {
				return checker.Access[value]{Kind: linear.Write, New: value{c.In.v, true}}
			}
			return checker.Access[value]{Kind: linear.Read, Old: c.Out}
		},
		States: func(calls []registerCall) []value {
			states := []value{{n: Garbage - 1, present: true}} // for all that nobody sees
			for _, c := range calls {
				if c.F == Read && c.Type == histories.OK && !slices.Contains(states, c.Out) {
					states = append(states, c.Out)
				}
			}
			return states
		},
		// The calls on one value come one after the other in any order: without them
		// another value was there longer.
		Removable: func(calls []registerCall) [][]int {
			by := map[value][]int{}
			for i, c := range calls {
				v := c.Out
				if c.F == Write {
					v = value{c.In.v, true}
				}
				by[v] = append(by[v], i)
			}
			return slices.Collect(maps.Values(by))
		},
		Explain:  explainRegister,
		Describe: describeRegister,
		State:    value.String,
	}
}

func describeRegister(c registerCall) string {
	if c.F == Write {
		return fmt.Sprintf("write %d", c.In.v)
	}
	return "read → " + c.Out.String()
}

// explainRegister says what is wrong with the read that a violation ends with: no
// write, coming last, could be wrong.
func explainRegister(v checker.Violation[register, value]) checker.Anomaly {
	last := v.Last
	read := checker.Did(last, fmt.Sprintf("read %s = %v", v.Key, last.Out))
	wrote := func(c registerCall) string { return checker.Did(c, fmt.Sprintf("wrote %d", c.In.v)) }
	var source *registerCall // of what was read
	var later registerCall   // the last write that was acknowledged before the read began
	for i, c := range v.Calls {
		switch {
		case c.F != Write || c.Invoked > last.Completed:
		case last.Out.present && c.In.v == last.Out.n:
			if source == nil || source.Type == histories.Fail || c.Type != histories.Fail && c.Completed > source.Completed {
				source = &v.Calls[i]
			}
		case c.Type == histories.OK && c.Completed < last.Invoked && c.Completed > later.Completed:
			later = c
		}
	}
	switch {
	case last.Out.present && source == nil:
		return checker.Anomaly{Kind: "phantom value", Note: fmt.Sprintf("%s, but nobody had written that", read)}
	case source != nil && source.Type == histories.Fail:
		return checker.Anomaly{
			Kind: "failed write took effect", Ops: checker.Ops(*source),
			Note: fmt.Sprintf("%s, but the only write of that had reported failure: %s", read, wrote(*source)),
		}
	case later.F == "" || source != nil && later.Invoked < source.Completed:
		return checker.Anomaly{
			Kind: "not linearizable",
			Note: fmt.Sprintf("%s, which no order explains of the %d calls that show it", read, len(v.Witness)),
		}
	}
	a := checker.Anomaly{
		Kind: "stale read", Ops: checker.Ops(later),
		Note: fmt.Sprintf("%s, but before that was acknowledged: %s", read, wrote(later)),
	}
	if source != nil {
		a.Ops = append(a.Ops, checker.Ops(*source)...)
		a.Note += ", which began after " + wrote(*source)
	}
	if v.Stale != "" {
		a.Note += "; " + v.Stale
	}
	looks := 0
	for _, c := range v.Calls {
		if c.F != Read || c.Type != histories.OK {
			continue
		}
		if c.Out == (value{later.In.v, true}) {
			return a // it was there
		}
		if c.Invoked > later.Completed && c.Out == last.Out {
			looks++
		}
	}
	if looks > 1 {
		a.Kind = "lost write"
		a.Note += fmt.Sprintf("; nobody ever read it, and %d reads that began after it found %v", looks, last.Out)
	}
	return a
}
