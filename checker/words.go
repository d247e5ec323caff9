package checker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Did tells of a call in words, with who, where and when around what it did:
// "process 2 wrote k3 = 17 at n1 (1ms to 2ms)".
func Did[In, Out any](c histories.Call[In, Out], what string) string {
	at := ""
	if c.Node != "" {
		at = " at " + c.Node
	}
	when := fmt.Sprintf("from %s on, outcome unknown", clock(c.Invoked))
	if c.Completed != histories.Never {
		when = clock(c.Invoked) + " to " + clock(c.Completed)
	}
	if c.Type == histories.Fail {
		when += ", refused"
	}
	return fmt.Sprintf("process %d %s%s (%s)", c.Process, what, at, when)
}

// clock leaves off of a time what nobody reads.
func clock(t time.Duration) string {
	if t > time.Millisecond {
		t = t.Round(time.Microsecond)
	}
	return t.String()
}

// Ops returns what an anomaly rests on if it rests on calls: the indices of their
// invocations and completions, ascending.
func Ops[In, Out any](calls ...histories.Call[In, Out]) []int {
	var ops []int
	for _, c := range calls {
		ops = append(ops, c.Index)
		if c.Completion >= 0 && c.Type != histories.Info {
			ops = append(ops, c.Completion)
		}
	}
	slices.Sort(ops)
	return slices.Compact(ops)
}

// First returns the anomalies that showed first, few enough to be read, in the
// order in which they did; and how many of each kind there were, in words.
func First(anomalies []Anomaly) (shown []Anomaly, all string) {
	shown = slices.SortedStableFunc(slices.Values(anomalies), func(a, b Anomaly) int {
		return a.Ops[len(a.Ops)-1] - b.Ops[len(b.Ops)-1]
	})
	counts := map[string]int{}
	for _, a := range anomalies {
		counts[a.Kind]++
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		kinds = append(kinds, fmt.Sprintf("%d × %s", counts[kind], kind))
	}
	return shown[:min(len(shown), maxExplained)], strings.Join(kinds, ", ")
}
