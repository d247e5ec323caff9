package gate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
)

// Judge says which promises of a cell were held, in an order that is always the same: shares
// of calls first, then times, each by name. It looks at what the runs of the matrix and those
// made for confirmation have measured, at each attempt that was judged, and takes all of these
// together. An attempt whose verdict is unknown counts as well: where a system does not recover
// nobody can tell what it holds, and its next attempt does not undo that.
//
//   - A share is of all calls of all runs. Where a run does not say of how many calls its share
//     is, it is the mean over runs.
//   - A statistic of times is that of all values of all runs, by nearest rank: the smallest value
//     that so many per cent do not exceed.
//   - Of a latency the runs have their own statistics and not their values. Its p50 and p99
//     are the medians over runs of those, and its max the greatest.
//
// What was not seen to its end took as long as it was seen, at least. A promise of times is
//
//   - broken if it is whenever those ended, even at that very moment;
//   - held if the estimate of the statistic is within the bound. That is by Kaplan and Meier
//     ("Nonparametric estimation from incomplete observations", 1958): whoever was not seen to
//     the end is taken to have gone on like those that were seen longer. So a fault that began
//     just before the end of its run weighs nothing, and one that was watched for long weighs
//     much. Without such values the estimate is the statistic itself;
//   - else unknown.
//
// The estimate says nothing of what is longer than all that was seen to its end. There the
// longest are open, and strictly nobody knows. But each run ends at some moment, and in one of
// some tens of cells of a healthy system that is what is found: a gate of many cells would never
// pass. So it is taken for no longer than it was seen if it had not used up half of the bound, and
// half of the times are not such by the estimate: but only one, or a tenth of all, since what is cut
// off in several runs is no accident. Where a system hangs for longer than that, the faults that
// follow do not end either.
//
// All of that is of what the end of the run cut off, whatever it was. What was waited for in vain,
// as GivenUp of [Metric] says, is innocent of nothing: there a promise is held only if it is though
// none of that ever ends.
func Judge(p Promises, outcomes []Outcome) []PromiseReport {
	runs := measuredRuns(outcomes)
	var reports []PromiseReport
	for _, name := range slices.Sorted(maps.Keys(p.Availability)) {
		reports = append(reports, judgeShare("availability."+name, p.Availability[name], runs))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Durations)) {
		limits := p.Durations[name]
		for _, l := range []limit{{name, "p50", limits.P50}, {name, "p99", limits.P99}, {name, "max", limits.Max}} {
			if l.bound > 0 {
				reports = append(reports, l.judge(runs))
			}
		}
	}
	return reports
}

// A measuredRun is one whose measures count.
type measuredRun struct {
	job      string
	measures Measures
}

func measuredRuns(outcomes []Outcome) (runs []measuredRun) {
	for _, o := range outcomes {
		if o.Job.Purpose != ForCoverage && o.Job.Purpose != ForConfirmation {
			continue
		}
		for _, a := range o.Attempts {
			if a.Class.Judged() {
				runs = append(runs, measuredRun{o.Job.ID, a.Measures})
			}
		}
	}
	return runs
}

// nothing says that nobody knows whether what was promised was held, as nothing of it was
// measured.
func (r *PromiseReport) nothing(runs int) {
	r.Words = r.Promise + ": nobody knows, as no run came to a verdict"
	if runs > 0 {
		r.Words = fmt.Sprintf("%s: nobody knows, as nothing of it was measured in %s", r.Promise, checker.Count(runs, "run"))
	}
}

func judgeShare(metric string, bound float64, runs []measuredRun) PromiseReport {
	r := PromiseReport{Promise: metric + " at least " + inPercent(bound), Metric: metric, Bound: bound}
	var calls, answered, sum float64
	values, pooled, lowest := 0, true, math.Inf(1)
	for _, run := range runs {
		m := run.measures[metric]
		for _, v := range m.Values {
			if !usable(v) || v > 1 {
				continue
			}
			values++
			sum += v
			pooled = pooled && m.Of > 0
			calls += float64(m.Of)
			answered += math.Round(v * float64(m.Of)) // whole calls, so that nothing is lost
			if v < lowest {
				lowest, r.Worst = v, run.job
			}
		}
	}
	if values == 0 {
		r.nothing(len(runs))
		return r
	}
	of := "the mean of " + checker.Count(values, "run")
	if r.N, r.Measured = values, sum/float64(values); pooled {
		r.N, r.Measured = int(min(calls, math.MaxInt32)), answered/calls
		of = checker.Count(r.N, "call") + " in " + checker.Count(values, "run")
	}
	r.Known, r.Held = true, r.Measured >= bound
	r.Words = fmt.Sprintf("%s: %s, of %s", r.Promise, inPercent(r.Measured), of)
	if values > 1 {
		r.Words += fmt.Sprintf("; the least was %s, in %s", inPercent(lowest), r.Worst)
	}
	return r
}

// inPercent writes a share, rounded down: what is not enough must not look as if it were.
func inPercent(share float64) string {
	return strconv.FormatFloat(math.Floor(share*1e6+1e-4)/1e4, 'f', -1, 64) + " %"
}

// A limit is a bound of a statistic.
type limit struct {
	name, statistic string
	bound           time.Duration
}

// Per cent of the values that are not above each statistic.
var quantiles = map[string]int{"p50": 50, "p99": 99, "max": 100}

// source returns the metric that has the values, which quantile of them the statistic is, and
// what a number of them is called.
func (l limit) source() (metric string, quantile int, of string) {
	function, ok := strings.CutPrefix(l.name, "latency.")
	switch {
	case !ok || !named(function):
		return l.name, quantiles[l.statistic], "of %s"
	case l.statistic == "max":
		return l.name + ".max", 100, "in the worst of %s"
	}
	return l.name + "." + l.statistic, 50, "in the median of %s"
}

// times are what runs have measured of a metric, in seconds, ascending.
type times struct {
	ended []float64
	open  []float64 // how long what was not seen to its end took at least
	all   []float64 // both together
	runs  int       // how many have measured any
	// longest is the longest, in job, and endless says that nobody saw its end.
	longest float64
	job     string
	endless bool
}

func gather(runs []measuredRun, metric string) times {
	t := times{longest: -1}
	for _, run := range runs {
		m := run.measures[metric]
		before := len(t.ended) + len(t.open)
		for i, v := range slices.Concat(m.Values, m.Least) {
			if !usable(v) {
				continue
			}
			open := i >= len(m.Values)
			if open {
				t.open = append(t.open, v)
			} else {
				t.ended = append(t.ended, v)
			}
			if v > t.longest || v == t.longest && !t.endless && open {
				t.longest, t.job, t.endless = v, run.job, open
			}
		}
		if len(t.ended)+len(t.open) > before {
			t.runs++
		}
	}
	slices.Sort(t.ended)
	slices.Sort(t.open)
	t.all = slices.Sorted(slices.Values(slices.Concat(t.ended, t.open)))
	return t
}

// ofProducts is what products of shares are off by at most, by rounding.
const ofProducts = 1e-9

// estimate returns the smallest time within which so many per cent ended, by Kaplan and Meier:
// the share that goes on beyond a time is the product, over the times up to it at which some
// ended, of the shares that went on of those that were still seen. Who is not seen any more from
// a moment on is still seen at it. Both lists are ascending.
//
// Where fewer ended it returns +Inf. Left is the share that goes on beyond all that ended, or
// beyond the time.
func estimate(ended, open []float64, percent int) (at, left float64) {
	left = 1
	gone := 0 // of open, those that are not seen any more
	for i := 0; i < len(ended); {
		next := i + 1
		for next < len(ended) && ended[next] == ended[i] {
			next++
		}
		for gone < len(open) && open[gone] < ended[i] {
			gone++
		}
		left *= 1 - float64(next-i)/float64(len(ended)-i+len(open)-gone)
		if left <= 1-float64(percent)/100+ofProducts {
			return ended[i], left
		}
		i = next
	}
	return math.Inf(1), left
}

// judge says whether it was kept.
func (l limit) judge(runs []measuredRun) PromiseReport {
	r := PromiseReport{
		Promise: fmt.Sprintf("%s %s at most %s", l.name, l.statistic, inPlan(l.bound)),
		Metric:  l.name, Bound: l.bound.Seconds(),
	}
	metric, quantile, of := l.source()
	t := gather(runs, metric)
	if len(t.all) == 0 {
		r.nothing(len(runs))
		return r
	}
	noun := "time"
	if metric != l.name {
		noun = "run"
	}
	ended, open := t.ended, t.open
	if m, _ := MetricOf(metric); m.GivenUp {
		ended, open = slices.Clone(ended), nil
		for range t.open {
			ended = append(ended, math.Inf(1))
		}
	}
	estimated, left := estimate(ended, open, quantile)
	within := func(v float64) bool { return asDuration(v) <= l.bound }
	r.Worst, r.N, r.Measured = t.job, len(t.all), nearestRank(t.all, quantile)
	number := checker.Count(r.N, noun)
	switch {
	case !within(r.Measured):
		r.Known = true
		took := orMore(r.Measured, estimated != r.Measured)
		if took == checker.Brief(l.bound) { // only just: all of its digits
			took = asDuration(r.Measured).String()
		}
		r.Words = fmt.Sprintf("%s: %s "+of, r.Promise, took, number) + t.unended("; ", " of them")
	case within(estimated):
		r.Known, r.Held, r.Measured = true, true, estimated
		r.Words = fmt.Sprintf("%s: %s "+of, r.Promise, brief(r.Measured), number) + t.unended("; ", " of them")
	case math.IsInf(estimated, 1) && within(2*t.longest) && accident(ended, open, left):
		r.Known, r.Held, r.Measured = true, true, t.longest
		r.Words = fmt.Sprintf("%s: %s "+of, r.Promise, orMore(r.Measured, true), number) + t.unended("; ", " of them")
	case math.IsInf(estimated, 1):
		r.Words = r.Promise + ": nobody knows" + t.unended(", as ", " of "+number)
	default:
		r.Words = fmt.Sprintf("%s: nobody knows%s, and it is %s if they went on like the others", r.Promise, t.unended(", as ", " of "+number), brief(estimated))
	}
	if len(t.all) > 1 {
		r.Words += fmt.Sprintf("; the longest was %s, in %s", orMore(t.longest, t.endless), t.job)
	}
	if silent := len(runs) - t.runs; silent > 0 {
		r.Words += fmt.Sprintf("; nothing of it was measured in %d of %s", silent, checker.Count(len(runs), "run"))
	}
	return r
}

// accident says that what is open and longer than all that ended, of which left is the share, may
// be what the end of one run has cut off.
func accident(ended, open []float64, left float64) bool {
	if len(ended) == 0 || len(open) == 0 {
		return false
	}
	longer, _ := slices.BinarySearch(open, ended[len(ended)-1])
	return left <= 0.1+ofProducts || left <= 0.5+ofProducts && len(open)-longer == 1
}

// unended says, behind some words, how many of what have not ended, and after how long; nothing
// if all have.
func (t times) unended(before, of string) string {
	n := len(t.open)
	if n == 0 {
		return ""
	}
	after := brief(t.open[n-1])
	if least := brief(t.open[0]); least != after {
		after = least + " to " + after
	}
	return fmt.Sprintf("%s%d%s had not ended after %s", before, n, of, after)
}

// orMore writes a time; open says that nobody saw the end of it.
func orMore(v float64, open bool) string {
	if open {
		return brief(v) + " or more"
	}
	return brief(v)
}

// nearestRank returns the smallest of ascending values that so many per cent do not exceed.
func nearestRank(values []float64, percent int) float64 {
	return values[max(0, (len(values)*percent+99)/100-1)]
}

// asDuration returns v seconds to the nanosecond, or as much of it as a duration can be.
func asDuration(v float64) time.Duration {
	if ns := math.Round(v * 1e9); ns < math.MaxInt64 {
		return time.Duration(ns)
	}
	return math.MaxInt64
}

func brief(v float64) string { return checker.Brief(asDuration(v)) }

// inPlan writes a time as people do in plans: 2m, not 2m0s.
func inPlan(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
