package uniqueids

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: no identifier was handed out twice,
// and the run tried hard enough to say so.
func Checker() checker.Checker {
	return workloads.Judge(name, []string{Generate}, readBack,
		checker.Part{Name: "unique", Checker: checker.Func(check)})
}

// readBack says that there is nothing to be read back. What takes its place, that
// identifiers were handed out after the recovery, check asks for.
func readBack(*histories.History, time.Duration) (keys int, unread []string, err error) {
	return 0, nil, nil
}

// call is a call of generate, and its result.
type call = histories.Call[struct{}, string]

// duplicated is the kind of the one anomaly: an identifier that was handed out
// before, to whomever.
const duplicated = "duplicated id"

// check looks for identifiers that came twice. Those of calls that did not succeed
// nobody knows, and who has none cannot take it for another's.
func check(_ context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	first := make(map[string]*call, len(calls))
	var found checker.Findings
	var least, greatest string
	late := 0 // how many were asked for after the recovery
	recovery, ended := h.Recovery()
	twice := map[string]bool{}
	for i := range calls {
		c := &calls[i]
		if c.Type != histories.OK {
			continue
		}
		if ended && c.Invoked > recovery.To {
			late++
		}
		if before, ok := first[c.Out]; ok {
			twice[c.Out] = true
			found.Add(checker.Anomaly{
				Kind: duplicated,
				Note: fmt.Sprintf("%s, and %s", did(*before), did(*c)),
				Ops:  checker.Ops(*before, *c),
			})
			continue
		}
		if len(first) == 0 || compare(c.Out, least) < 0 {
			least = c.Out
		}
		if len(first) == 0 || compare(c.Out, greatest) > 0 {
			greatest = c.Out
		}
		first[c.Out] = c
	}
	r := checker.Result{Verdict: checker.Valid, Counts: map[string]int64{
		"attempted": int64(len(calls)), "acknowledged": int64(len(first) + found.Len()),
		"ids": int64(len(first)), "duplicated_ids": int64(len(twice)),
	}}
	r.Note = fmt.Sprintf("calls: %d, ids: %d", len(calls), len(first))
	if len(first) > 0 {
		r.Note += fmt.Sprintf(", from %s to %s", least, greatest)
	}
	if ended {
		r.Counts["after_recovery"] = int64(late)
		r.Note += fmt.Sprintf(", after the recovery: %d", late)
	}
	if !found.Conclude(&r) && (len(first) == 0 || ended && late == 0) {
		r.Verdict = checker.Unknown // nothing, or the end of it, was put to the test
	}
	return r, nil
}

func did(c call) string { return checker.Did(c, "was given "+c.Out) }

// compare compares identifiers: by number if both are whole numbers, be it as
// texts, or else by text.
func compare(a, b string) int {
	m, errM := strconv.ParseInt(strings.Trim(a, `"`), 10, 64)
	n, errN := strconv.ParseInt(strings.Trim(b, `"`), 10, 64)
	if errM == nil && errN == nil {
		return cmp.Or(cmp.Compare(m, n), cmp.Compare(a, b))
	}
	return cmp.Compare(a, b)
}
