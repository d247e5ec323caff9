package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// MinUnderFaults is how many calls must have succeeded while a fault held for a
// run with faults to mean anything. A run in which the clients slept through the
// partition has not tried.
const MinUnderFaults = 10

// Stats returns a checker of the run rather than of the system: it counts what
// the clients did, and is Unknown if that was too little for any other verdict
// to rest on. It is never Invalid. Its parts are the functions, with counts of
// outcomes and the latency of the calls that succeeded: median_us, p99_us and max_us.
//
// A function that was called must have succeeded. In a run that came to its end,
// as its recovery shows, so must each of the functions that are named here; what
// others have recorded may lack some on purpose.
func Stats(functions ...string) Checker {
	return Func(func(_ context.Context, h *histories.History) (Result, error) { return stats(h, functions) })
}

// nothing decodes payloads that do not matter.
func nothing(string, json.RawMessage) (struct{}, error) { return struct{}{}, nil }

func stats(h *histories.History, functions []string) (Result, error) {
	calls, err := histories.Calls(h, nothing, nothing)
	if err != nil {
		return Result{}, err
	}
	spans, err := h.Faults()
	if err != nil {
		return Result{}, err
	}
	result := Result{Name: "stats", Verdict: Valid, Counts: map[string]int64{}}
	latencies := map[string][]time.Duration{} // of what succeeded, by function
	counts := map[string]map[string]int64{}
	forced := intervals(spans)
	underFaults := int64(0)
	for _, c := range calls {
		if counts[c.F] == nil {
			counts[c.F] = map[string]int64{}
		}
		counts[c.F][c.Type.String()]++
		result.Counts[c.Type.String()]++
		if c.Type == histories.OK {
			latencies[c.F] = append(latencies[c.F], c.Completed-c.Invoked)
			if forced.contain(c.Completed) {
				underFaults++
			}
		}
	}
	if _, ended := h.Recovery(); ended {
		for _, f := range functions {
			if counts[f] == nil {
				counts[f] = map[string]int64{}
			}
		}
	}
	notes := []string{outcomes(result.Counts)}
	if len(calls) == 0 {
		result.Verdict = Unknown
	}
	for _, f := range slices.Sorted(maps.Keys(counts)) {
		part := Result{Name: f, Verdict: Valid, Note: outcomes(counts[f]), Counts: counts[f]}
		if l := latencies[f]; len(l) > 0 {
			slices.Sort(l)
			median, p99 := l[len(l)/2], l[len(l)*99/100]
			part.Counts["median_us"], part.Counts["p99_us"] = median.Microseconds(), p99.Microseconds()
			part.Counts["max_us"] = l[len(l)-1].Microseconds()
			part.Note += fmt.Sprintf("; median %s, p99 %s", Brief(median), Brief(p99))
		} else {
			part.Verdict, result.Verdict = Unknown, Unknown
			notes = append(notes, "no "+f+" ever succeeded")
		}
		result.Parts = append(result.Parts, part)
	}
	if len(spans) > 0 {
		result.Counts["ok_under_faults"] = underFaults
		note := fmt.Sprintf("%d ok while a fault held", underFaults)
		if underFaults < MinUnderFaults {
			result.Verdict = Unknown
			note += fmt.Sprintf(", where a verdict takes %d", MinUnderFaults)
		}
		notes = append(notes, note)
	}
	result.Note = strings.Join(notes, "; ")
	return result, nil
}

// outcomes says how calls ended.
func outcomes(counts map[string]int64) string {
	all := counts["ok"] + counts["fail"] + counts["info"]
	return fmt.Sprintf("%s: %d ok, %d failed, %d indeterminate", Count(all, "call"), counts["ok"], counts["fail"], counts["info"])
}

// timeline is the time in which some fault held: disjoint intervals, ascending. One
// that could not begin, and that nothing shows to have acted, did not.
type timeline []interval

type interval struct{ from, to time.Duration }

func intervals(spans []histories.FaultSpan) timeline {
	spans = slices.SortedFunc(slices.Values(spans), func(a, b histories.FaultSpan) int { return int(a.From - b.From) })
	var t timeline
	for _, s := range spans {
		if s.Failed != "" && s.Acted == 0 {
			continue
		}
		if last := len(t) - 1; last >= 0 && s.From <= t[last].to {
			t[last].to = max(t[last].to, s.To)
			continue
		}
		t = append(t, interval{s.From, s.To})
	}
	return t
}

// Held returns a function that says whether one of these faults held at a time. One that
// could not begin, and that nothing shows to have acted, did not.
func Held(spans []histories.FaultSpan) func(at time.Duration) bool { return intervals(spans).contain }

func (t timeline) contain(at time.Duration) bool {
	i := sort.Search(len(t), func(i int) bool { return t[i].to >= at })
	return i < len(t) && t[i].from <= at
}
