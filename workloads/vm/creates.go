package vm

import (
	"context"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// The kinds of what contradicts that a create makes one machine, however often it is sent.
const (
	createdTwice = "created twice"        // one token has two machines
	shared       = "two tokens"           // that have one machine
	fromNowhere  = "machine from nowhere" // nobody asked for it
	refusedMade  = "refused, and made"    // a create that failed made a machine
	otherwise    = "made otherwise"       // a machine is not as any create had asked for it
)

// creates returns the checker of creates: one that is sent again makes no other machine,
// nothing but a create makes one, and it is what was asked for. It goes by all that clients
// saw of machines; see [sights].
func creates() checker.Checker { return checker.Func(checkCreates) }

func checkCreates(_ context.Context, h *histories.History) (checker.Result, error) {
	all, err := calls(h)
	if err != nil {
		return checker.Result{}, err
	}
	seen, err := sights(h)
	if err != nil {
		return checker.Result{}, err
	}
	asked := map[string][]call{} // the creates of each token
	ok, again := 0, 0
	for _, c := range all {
		if c.F != Create {
			continue
		}
		if asked[c.In.Token] = append(asked[c.In.Token], c); c.Type == histories.OK {
			ok++
		}
		if len(asked[c.In.Token]) > 1 {
			again++
		}
	}
	type pair struct{ token, id string }
	byToken, byID, known := map[string]sight{}, map[string]sight{}, map[pair]bool{}
	var findings checker.Findings
	for _, s := range seen {
		if s.Token == "" || known[pair{s.Token, s.ID}] {
			continue // a machine of which it is not told how it was asked for may be any
		}
		known[pair{s.Token, s.ID}] = true
		if before, ok := byToken[s.Token]; !ok {
			byToken[s.Token] = s
		} else {
			findings.Add(contradiction(createdTwice, before, s, "%s was %s, and then also %s", s.Token, before.ID, s.ID))
		}
		if before, ok := byID[s.ID]; !ok {
			byID[s.ID] = s
		} else {
			findings.Add(contradiction(shared, before, s, "%s was asked for as %s, and is also %s", s.ID, before.Token, s.Token))
		}
		if a, wrong := origin(asked[s.Token], s); wrong {
			findings.Add(a)
		} else if a, wrong := unasked(asked[s.Token], s); wrong {
			findings.Add(a)
		}
	}
	r := checker.Result{
		Verdict: checker.Valid,
		Note:    fmt.Sprintf("tokens: %d, creates again: %d, machines: %d", len(asked), again, len(byID)),
		Counts: map[string]int64{
			"tokens": int64(len(asked)), "creates": int64(ok), "creates_again": int64(again), "machines": int64(len(byID)),
		},
	}
	if !findings.Conclude(&r) && len(byID) == 0 {
		r.Verdict = checker.Unknown // nothing was put to the test
	}
	return r, nil
}

// contradiction returns the anomaly of two sights that cannot both be.
func contradiction(kind string, before, after sight, format string, args ...any) checker.Anomaly {
	ops := []int{before.from, before.to, after.from, after.to}
	slices.Sort(ops)
	return checker.Anomaly{Kind: kind, Note: fmt.Sprintf(format, args...), Ops: slices.Compact(ops)} // one snapshot may have both
}

// origin says what is wrong with where the machine comes from that was seen, if no create
// of its token can have made it.
func origin(creates []call, s sight) (a checker.Anomaly, wrong bool) {
	var refused []call
	for _, c := range creates {
		if c.Index > s.to {
			break
		}
		if c.Type != histories.Fail {
			return a, false
		}
		refused = append(refused, c)
	}
	a = checker.Anomaly{Kind: fromNowhere, Note: fmt.Sprintf("%s is %s, and nobody had asked for it", s.Token, s.ID)}
	if len(refused) > 0 {
		a = checker.Anomaly{Kind: refusedMade, Note: fmt.Sprintf("%s is %s, and all who had asked for it were refused", s.Token, s.ID)}
	}
	a.Ops = append(checker.Ops(refused...), s.from, s.to)
	slices.Sort(a.Ops)
	return a, true
}

// unasked says what is wrong with a machine that is not as any create of its token had asked
// for it. Of one whose size was not told, nothing was told.
func unasked(creates []call, s sight) (a checker.Anomaly, wrong bool) {
	is := Spec{s.Size, s.Group, s.Labels}
	if s.Size == 0 || slices.ContainsFunc(creates, func(c call) bool { return c.Index < s.to && c.In.Spec.equal(is) }) {
		return a, false
	}
	a = checker.Anomaly{
		Kind: otherwise,
		Note: fmt.Sprintf("%s is %s, %v, and was asked for as %v", s.Token, s.ID, is, creates[0].In.Spec),
		Ops:  append(checker.Ops(creates[0]), s.from, s.to),
	}
	slices.Sort(a.Ops)
	a.Ops = slices.Compact(a.Ops)
	return a, true
}
