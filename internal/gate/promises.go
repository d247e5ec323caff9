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
// made for confirmation have measured, of each job the last attempt that is valid or invalid,
// and takes all of these together:
//
//   - A share is of all calls of all runs. Where a run does not say of how many calls its share
//     is, it is the mean over runs.
//   - A statistic of times is that of all values of all runs, by nearest rank: the smallest value
//     that so many per cent do not exceed.
//   - Of a latency the runs have their own statistics and not their values. Its p50 and p99
//     are the medians over runs of those, and its max the greatest.
//
// What was not seen to its end took as long as it was seen, at least. A promise is broken if it
// would be though all of these had ended at that moment. Those that were seen longer than the
// bound are above it, whenever they ended; the others say nothing, since a fault that began
// at the end of a run is over before anybody knows. A promise is held if what does say something
// holds it, unless most say nothing. In between nobody knows, and nobody knows without values.
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
		for _, a := range slices.Backward(o.Attempts) {
			if a.Class == Valid || a.Class == Invalid {
				runs = append(runs, measuredRun{o.Job.ID, a.Measures})
				break
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

// times are what runs have measured of a metric.
type times struct {
	all     []float64 // ascending: what was not seen to its end as if it had ended then
	telling []float64 // ascending: without what was not, and could have been within the bound
	unseen  int       // how many of all were not seen to their end
	// longest is the longest, in job, and open says that nobody saw its end.
	longest float64
	job     string
	open    bool
}

func (l limit) gather(runs []measuredRun, metric string) times {
	t := times{longest: -1}
	for _, run := range runs {
		m := run.measures[metric]
		for i, v := range slices.Concat(m.Values, m.Least) {
			if !usable(v) {
				continue
			}
			open := i >= len(m.Values)
			if open {
				t.unseen++
			}
			t.all = append(t.all, v)
			if !open || asDuration(v) > l.bound {
				t.telling = append(t.telling, v)
			}
			if v > t.longest || v == t.longest && !t.open && open {
				t.longest, t.job, t.open = v, run.job, open
			}
		}
	}
	slices.Sort(t.all)
	slices.Sort(t.telling)
	return t
}

// judge says whether it was kept.
func (l limit) judge(runs []measuredRun) PromiseReport {
	r := PromiseReport{
		Promise: fmt.Sprintf("%s %s at most %s", l.name, l.statistic, inPlan(l.bound)),
		Metric:  l.name, Bound: l.bound.Seconds(),
	}
	metric, quantile, of := l.source()
	t := l.gather(runs, metric)
	if len(t.all) == 0 {
		r.nothing(len(runs))
		return r
	}
	noun := "time"
	if metric != l.name {
		noun = "run"
	}
	silent := len(t.all) - len(t.telling)
	r.Worst, r.N, r.Measured = t.job, len(t.telling), nearestRank(t.all, quantile)
	switch {
	case asDuration(r.Measured) > l.bound:
		r.Known, r.N = true, len(t.all)
		took := orMore(r.Measured, t.unseen > 0)
		if took == checker.Brief(l.bound) { // only just: all of its digits
			took = asDuration(r.Measured).String()
		}
		r.Words = fmt.Sprintf("%s: %s "+of, r.Promise, took, checker.Count(r.N, noun))
	case silent > len(t.telling) || asDuration(nearestRank(t.telling, quantile)) > l.bound:
		r.Words = fmt.Sprintf("%s: nobody knows, as %d of %s had not ended when the run did", r.Promise, silent, checker.Count(len(t.all), noun))
	default:
		r.Known, r.Held, r.Measured = true, true, nearestRank(t.telling, quantile)
		r.Words = fmt.Sprintf("%s: %s "+of, r.Promise, brief(r.Measured), checker.Count(r.N, noun))
		if silent > 0 {
			r.Words += fmt.Sprintf("; %d more had not ended when the run did, which says nothing", silent)
		}
	}
	if len(t.all) > 1 {
		r.Words += fmt.Sprintf("; the longest was %s, in %s", orMore(t.longest, t.open), t.job)
	}
	return r
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
