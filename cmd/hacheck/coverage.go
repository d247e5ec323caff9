package main

import (
	"fmt"
	"math"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// covered returns what a history shows of the states that a cluster can be in, as a
// part of its verdict: it proves nothing, and says how much was looked at. Of a system
// that does not show its state there is none.
func covered(h *histories.History) (checker.Result, bool) {
	if !observed(h) {
		return checker.Result{}, false
	}
	return coverage(nemesis.Covered(h)), true
}

func coverage(c nemesis.Coverage) checker.Result {
	note := fmt.Sprintf("%s of the cluster seen; the next would be a new one with a chance of %s",
		checker.Count(c.Distinct, "state"), percent(c.New))
	if unseen := int(math.Round(c.Unseen)); unseen > 0 {
		note += fmt.Sprintf("; at least %d unseen", unseen)
	}
	return checker.Result{
		Name: "coverage", Verdict: checker.Valid, Note: note,
		Counts: map[string]int64{
			"observations": int64(c.Observations), "states": int64(c.Distinct),
			"once": int64(c.Once), "twice": int64(c.Twice),
			"new_permille": int64(math.Round(1000 * c.New)), "unseen": int64(math.Round(c.Unseen)),
		},
	}
}

// percent returns a chance as people say it.
func percent(chance float64) string {
	switch p := 100 * chance; {
	case p == 0:
		return "0 %"
	case p < 1:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
