package election

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: terms rise, a leader that was deposed
// is refused, what was proclaimed stays, and each term has one leader, who campaigned.
func Checker() checker.Checker {
	return workloads.Judge("election", []string{Campaign, Proclaim, Resign, Observe}, readBack,
		checker.Part{Name: "fencing", Checker: fencing()},
		checker.Part{Name: "leaders", Checker: checker.Func(leaders)})
}

// twoLeaders is the kind of an anomaly: of two that won the same term, or that were
// seen in it.
const twoLeaders = "term with two leaders"

var acts = map[string]checker.FencedAct{
	Campaign: checker.FencedGrant, Proclaim: checker.FencedWrite, Resign: checker.FencedRelease, Observe: checker.FencedRead,
}

// fencing judges the terms and what is proclaimed, whoever leads.
func fencing() checker.Fencing {
	read := func(f string, value json.RawMessage) (checker.Fenced, error) {
		p, err := decode(f, value)
		c := checker.Fenced{Object: p.Election, Act: acts[f], Token: p.Term, Value: p.Value}
		if f == Observe {
			c.Current, c.Free, c.Token = p.Term, p.Term == 0, 0
			if p.Proclaimed != nil {
				c.Token, c.Value = p.Proclaimed.Term, p.Proclaimed.Value
			}
		}
		return c, err
	}
	return checker.Fencing{
		In: read, Out: read,
		Refused: func(c checker.FencedCall) bool { return workloads.RefusedAs(c.Meta) == deposed },
		Describe: func(c checker.FencedCall) string {
			in, out := payload{Election: c.In.Object, Term: c.In.Token, Value: c.In.Value}, payload{Term: c.Out.Token}
			if c.F == Observe {
				out = payload{Term: c.Out.Current, Proclaimed: &Proclamation{c.Out.Token, c.Out.Value}}
			}
			return describe(c.F, c.Type, in, out)
		},
		Object: "election", Token: "term",
		Twice: twoLeaders, Unfenced: "deposed leader not fenced off",
	}
}

// describe says what a call did.
func describe(f string, t histories.Type, in, out payload) string {
	switch {
	case f == Campaign && t == histories.OK:
		return fmt.Sprintf("was elected leader of %s in term %d", in.Election, out.Term)
	case f == Campaign:
		return "campaigned in " + in.Election
	case f == Proclaim:
		return fmt.Sprintf("proclaimed %d in %s in term %d", in.Value, in.Election, in.Term)
	case f == Resign:
		return fmt.Sprintf("resigned from %s in term %d", in.Election, in.Term)
	case t != histories.OK:
		return "observed " + in.Election
	}
	seen := "observed in " + in.Election
	switch {
	case out.Term == 0:
		seen += " no leader"
	case out.Leader == "":
		seen += fmt.Sprintf(" term %d", out.Term)
	default:
		seen += fmt.Sprintf(" that %s leads in term %d", out.Leader, out.Term)
	}
	if p := out.Proclaimed; p != nil && *p != (Proclamation{}) {
		seen += fmt.Sprintf(", and what was proclaimed in term %d: %d", p.Term, p.Value)
	}
	return seen
}

// call is an operation on an election.
type call = histories.Call[payload, payload]

func did(c call) string { return checker.Did(c, describe(c.F, c.Type, c.In, c.Out)) }

// leaders judges who leads: in each term one, who campaigned and was not refused.
func leaders(_ context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		return checker.Result{}, err
	}
	type name struct{ election, candidate string }
	type term struct {
		election string
		number   uint64
	}
	const never = "leader that never campaigned"
	campaigned := map[name]call{} // the first campaign that was not refused, or of those that were the first
	led := map[term]call{}        // the first call that says who led
	for _, c := range calls {
		n := name{c.In.Election, c.In.Leader}
		if first, ok := campaigned[n]; c.F == Campaign && (!ok || first.Type == histories.Fail && c.Type != histories.Fail) {
			campaigned[n] = c
		}
	}
	result := checker.Result{Name: "leaders", Verdict: checker.Valid, Counts: map[string]int64{}}
	var findings checker.Findings
	found := func(kind, note string, calls ...call) {
		findings.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(calls...)})
	}
	for _, c := range calls {
		if c.Type != histories.OK || c.F != Campaign && c.F != Observe || c.Out.Leader == "" && c.Out.Term == 0 {
			continue
		}
		if c.Out.Leader == "" {
			if c.F == Observe {
				found(never, did(c)+", of a leader without a name", c)
			}
			continue
		}
		t := term{c.In.Election, c.Out.Term}
		switch first, ok := led[t]; {
		case !ok:
			led[t] = c
			result.Counts["terms"]++
		case first.Out.Leader != c.Out.Leader && (first.F == Observe || c.F == Observe): // or the tokens tell
			found(twoLeaders, fmt.Sprintf("%s, but %s", did(c), did(first)), first, c)
		}
		if c.F == Campaign {
			continue
		}
		result.Counts["observations"]++
		switch own, ok := campaigned[name{c.In.Election, c.Out.Leader}]; {
		case !ok:
			found(never, did(c)+", who never campaigned", c)
		case own.Invoked > c.Completed:
			found(never, fmt.Sprintf("%s, who only later did campaign: %s", did(c), did(own)), c, own)
		case own.Type == histories.Fail:
			found(never, fmt.Sprintf("%s, who always was refused, first when %s", did(c), did(own)), own, c)
		}
	}
	n := result.Counts
	result.Note = fmt.Sprintf("terms: %d; observations of a leader: %d", n["terms"], n["observations"])
	if !findings.Conclude(&result) && n["terms"] == 0 {
		result.Verdict, result.Note = checker.Unknown, "nobody was seen to lead"
	}
	return result, nil
}

// readBack says which elections nobody observed that began after since, of those in
// which something was proclaimed for certain.
func readBack(h *histories.History, since time.Duration) (elections int, unread []string, err error) {
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		if c.Type != histories.OK {
			continue
		}
		if c.F == Proclaim || c.F == Observe && c.Out.Proclaimed != nil {
			left.Holds(c.In.Election, 0)
		}
		if c.F == Observe {
			left.Read(c.In.Election, c.Invoked)
		}
	}
	return left.Unread(since)
}
