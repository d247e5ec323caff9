package gate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/stats"
)

// What looks worse is told by screenLevel for the test and screenNoise for the noise: it costs fresh
// runs, and misses little. What is worse is told by [Regression.ErrorRate]. Of that the floor has
// the part floorShare: many statistics of a gate pass it together, or fail, as they share a session,
// but not all of them do. Simulations in the tests show what comes of these numbers.
const (
	screenLevel = 0.1
	screenNoise = 0.05
	floorShare  = 0.2
)

// What is assumed of how sessions differ before a baseline has shown it: their logarithms have this
// deviation, or this share of that of the runs if it is more, as what makes runs differ, such as
// neighbours, differs from day to day, too. Sessions of runs of raftkv on a busy machine, which
// are in the tests, differ by 0.4 to 0.7 of what their runs do, and by half on the whole. It counts as
// much as if it had been seen in so many sessions, and is not unlearned. Shared machines
// differ by some percent from day to day, and by more from one to the next of a kind (Laaber,
// Scheuner and Leitner, "Software microbenchmarking in the cloud. How bad is it really?", 2019).
const (
	sessionDeviation = 0.10
	sessionShare     = 0.5
	sessionsAssumed  = 8
)

// oneDeviation is the share of values from the normal distribution that are not more than one
// deviation above the mean.
const oneDeviation = 0.8413

// medianConfidence is that of the intervals of a [Comparison].
const medianConfidence = 0.95

// Compare compares runs of a cell with those of its baseline, a statistic of a metric at a time, in
// the order of their names. The baseline is to have ten runs or more with that metric; of fewer
// there is no comparison.
//
// It takes two steps. The runs that the matrix has made, screened, say what looks worse. They
// cannot prove it: of many comparisons some look so by chance. So what looks worse is tested with
// the fresh runs made for that, confirmed, and with them alone; nothing else is tested, and without
// them nothing is regressed. Call it without them to see what is suspected.
//
// Worse is proven by two things together. The test by Mann and Whitney says that the fresh runs
// are not drawn from what the baseline's were: at r.ErrorRate for all of the gate, which Holm's
// procedure divides among the suspected comparisons of the whole gate, of which there are among.
// Its unit is the run, of which it takes one number, as what is measured within a run hangs
// together. But fresh runs share a session, and sessions differ though nothing has changed, which
// no number of runs makes up for. So the ratio of the medians is to be beyond r.Least, and beyond
// what the baseline's own runs and sessions show by chance as well: see [noise].
//
// Where the end of something was not seen, its bound speaks against a regression: in the baseline
// it may have taken for ever, in a fresh run it took no longer than is known. More of a metric
// that is better to have more of is never a regression, and so for less.
func Compare(before []BaselineRun, screened, confirmed []Measures, r Regression, among int) []Comparison {
	return compareReduced(before, reduceAll(screened), reduceAll(confirmed), r, among)
}

func compareReduced(before []BaselineRun, screen, confirm []map[string]Statistics, r Regression, among int) []Comparison {
	var comparisons []Comparison
	var suspects []int
	names := map[string]bool{}
	for _, run := range before {
		for name := range run.Measures {
			names[name] = true
		}
	}
	var all []*contrast
	for _, name := range slices.Sorted(maps.Keys(names)) {
		metric, ok := MetricOf(name)
		if !ok {
			continue // an earlier hacheck knew it
		}
		for _, statistic := range metric.Compared {
			old := baselineSample(before, metric, statistic)
			looks := newContrast(metric, statistic, old, sample(screen, metric, statistic), screenNoise)
			if looks == nil {
				continue
			}
			c := looks.comparison()
			c.Suspected = looks.worse(r.Least) && looks.p <= screenLevel
			c.Words = looks.facts() + looks.remark(r.Least)
			if c.Suspected {
				c.Words = "looks " + looks.facts() + ": fresh runs would tell"
				tested := newContrast(metric, statistic, old, sample(confirm, metric, statistic), r.ErrorRate*floorShare)
				if tested != nil {
					suspects = append(suspects, len(comparisons))
					all = append(all, tested)
				}
			}
			comparisons = append(comparisons, c)
		}
	}

	var chances []float64
	for _, tested := range all {
		chances = append(chances, tested.p)
	}
	among = max(among, len(all))
	for i, corrected := range stats.Holm(chances, among) {
		tested, suspect := all[i], comparisons[suspects[i]]
		c := tested.comparison()
		c.Regressed = corrected <= r.ErrorRate && tested.worse(r.Least)
		needed := ConfirmRuns(len(tested.before), r.ErrorRate/float64(among))
		fresh := checker.Count(len(tested.after), "fresh run")
		switch {
		case c.Regressed:
			c.Words = fmt.Sprintf("%s (%s, %d before)%s", tested.facts(), fresh, len(tested.before), tested.assumption())
		case tested.ratio <= 1+r.Least || tested.p > screenLevel:
			c.Words = fmt.Sprintf("looked %s at first; %s: %s", effect(suspect.Ratio, tested.metric), fresh, tested.facts())
		case needed == 0 || len(tested.after) < needed:
			c.Suspected = true
			c.Words = fmt.Sprintf("looks %s: %s cannot tell at that error rate, it takes %d at least", tested.facts(), fresh, needed)
		case corrected <= r.ErrorRate:
			c.Suspected = true
			c.Words = fmt.Sprintf("looks %s: not proven, as runs and sessions differ by a factor of up to %.2f by chance%s", tested.facts(), math.Exp(tested.floor), tested.assumption())
		default:
			c.Suspected = true
			c.Words = fmt.Sprintf("looks %s: not proven by %s, which differ as much by chance with %.2g, corrected for %s", tested.facts(), fresh, corrected, checker.Count(among, "comparison"))
		}
		comparisons[suspects[i]] = c
	}
	return comparisons
}

// ConfirmRuns returns the least number of fresh runs with which a test at that level can tell
// anything, against so many of the baseline: if each is worse than all of those. Some more are
// needed where they overlap. 0: no number is enough.
func ConfirmRuns(before int, level float64) int {
	if before < 1 || !(level > 0) {
		return 0
	}
	const rounding = 1e-9
	chance := 1.0 // one in the ways to choose n of before+n
	for n := 0; ; n++ {
		if chance <= level*(1+rounding) {
			return n
		}
		if n == 1<<20 {
			return 0
		}
		chance *= float64(n+1) / float64(before+n+1)
	}
}

// A drawn is a statistic of one run.
type drawn struct {
	session string
	value   float64
	ranked  float64 // value, or how it ranks where that is a bound
}

func reduceAll(runs []Measures) []map[string]Statistics {
	all := make([]map[string]Statistics, 0, len(runs))
	for _, run := range runs {
		all = append(all, reduce(run))
	}
	return all
}

// baselineSample returns a statistic of runs of the baseline; bounds are ranked as the worst.
func baselineSample(before []BaselineRun, m Metric, statistic string) []drawn {
	var all []drawn
	for _, run := range before {
		if s, ok := run.Measures[m.Name][statistic]; ok {
			all = append(all, rankedAt(run.Session, s, !m.More))
		}
	}
	return all
}

// sample returns a statistic of fresh runs; bounds are ranked as the best.
func sample(runs []map[string]Statistics, m Metric, statistic string) []drawn {
	var all []drawn
	for _, run := range runs {
		if s, ok := run[m.Name][statistic]; ok {
			all = append(all, rankedAt("", s, m.More))
		}
	}
	return all
}

func rankedAt(session string, s Statistic, unbounded bool) drawn {
	d := drawn{session, s.Value, s.Value}
	if s.Least && unbounded {
		d.ranked = math.Inf(1)
	}
	return d
}

func values(sample []drawn) []float64 {
	all := make([]float64, 0, len(sample))
	for _, d := range sample {
		all = append(all, d.value)
	}
	return all
}

// ranked returns values for the test: the greater the worse.
func ranked(sample []drawn, m Metric) []float64 {
	all := make([]float64, 0, len(sample))
	for _, d := range sample {
		if m.More {
			all = append(all, -d.ranked)
		} else {
			all = append(all, d.ranked)
		}
	}
	return all
}

// A contrast is two samples of a statistic.
type contrast struct {
	metric        Metric
	statistic     string
	before, after []drawn
	p             float64
	// ratio is how much worse the median is, whichever way that is; 1: as it was.
	ratio float64
	// floor is how much the logarithm of ratio may be by chance.
	floor float64
}

// newContrast compares; nil where there is too little to compare. The noise is exceeded by chance
// with that of tail.
func newContrast(m Metric, statistic string, before, after []drawn, tail float64) *contrast {
	if len(before) < leastBaselineRuns || len(after) == 0 {
		return nil
	}
	c := &contrast{metric: m, statistic: statistic, before: before, after: after}
	old, fresh := ranked(before, m), ranked(after, m)
	c.p = stats.MannWhitney(old, fresh)
	c.ratio = worsening(stats.Quantile(old, 0.5), stats.Quantile(fresh, 0.5), m)
	c.floor = noise(before, len(after), m.More, tail)
	return c
}

// worsening returns by what factor a median is worse, of values as they are ranked. Where that
// cannot be said it is 0: as of a median that nobody knows, or of nothing.
func worsening(before, after float64, m Metric) float64 {
	switch {
	case m.More && before < 0 && after <= 0:
		return before / after // both with their signs turned; infinite if nothing is left
	case !m.More && before > 0 && !math.IsInf(before, 1):
		return after / before
	}
	return 0
}

// worse says that the change is beyond the least that is told, and beyond noise.
func (c *contrast) worse(least float64) bool {
	return c.ratio > 1+least && c.ratio > math.Exp(c.floor)
}

func (c *contrast) comparison() Comparison {
	floor := math.Exp(c.floor)
	if c.metric.More {
		floor = 1 / floor
	}
	test := "Mann-Whitney, one-sided"
	x := Comparison{
		Metric: c.metric.Name, Statistic: c.statistic, Before: interval(c.before), After: interval(c.after),
		BeforeRuns: len(c.before), AfterRuns: len(c.after), Floor: floor, P: c.p, Test: test,
	}
	if x.Before.Value != 0 {
		x.Ratio = x.After.Value / x.Before.Value
	}
	return x
}

func interval(sample []drawn) Interval {
	all := values(sample)
	low, high, _ := stats.MedianInterval(all, medianConfidence)
	return Interval{Value: stats.Quantile(all, 0.5), Low: low, High: high}
}

// noise returns how much the logarithm of the ratio of two medians, of that of fresh runs to that of
// the baseline's, is by chance: it is more with the chance tail, if nothing has changed. Worse is
// positive, whichever way that is.
//
// It has two parts, which are independent and add up as squares do. The first is how runs differ:
// what resamples of the baseline's own runs, of the sizes at hand, show. All of those are weighed, so
// that nothing is drawn: see [stats.MedianOrder]. The second is how sessions differ: the fresh
// runs share one, with its machine and its neighbours. Medians of sessions are a sample of that, with
// a deviation of which what comes of the runs in them is taken off; together with what is assumed
// while there are few of them, it says by Student's distribution how far from the others a
// further session is (as for effects that are random: Searle, Casella and McCulloch,
// "Variance components", 1992; and for repeats of benchmarks at several levels Kalibera and
// Jones, "Rigorous benchmarking in reasonable time", 2013).
func noise(before []drawn, fresh int, more bool, tail float64) float64 {
	logs := logarithms(before, more)
	sorted := slices.Clone(logs)
	slices.Sort(sorted)
	runs := medianRatio(sorted, len(sorted), fresh, tail)

	bySession := map[string][]float64{}
	for i, d := range before {
		bySession[d.session] = append(bySession[d.session], logs[i])
	}
	var medians []float64
	var squares, withinRuns float64
	ofMedian := map[int]float64{} // the variance, by how many runs it is of
	for _, session := range slices.Sorted(maps.Keys(bySession)) {
		of := bySession[session]
		medians = append(medians, stats.Quantile(of, 0.5))
		squares += float64(len(of) * len(of))
		if _, ok := ofMedian[len(of)]; !ok {
			ofMedian[len(of)] = medianVariance(sorted, len(of))
		}
		withinRuns += ofMedian[len(of)]
	}
	sessions := float64(len(medians))
	seen := max(0, upward(medians)-withinRuns/sessions)
	degrees := sessionsAssumed + len(medians) - 1
	assumed := max(sessionDeviation, sessionShare*(stats.Quantile(sorted, oneDeviation)-stats.Quantile(sorted, 0.5)))
	assumed *= assumed
	deviation := math.Sqrt((sessionsAssumed*assumed + (sessions-1)*max(seen, assumed)) / float64(degrees))
	// A session with most of the runs counts for most: of so many equal ones it is as if.
	equal := float64(len(logs)*len(logs)) / squares
	between := stats.Student(degrees, min(tail, 0.5)) * deviation * math.Sqrt(1+1/equal)
	return math.Hypot(runs, between)
}

// logarithms returns those of values, turned so that more is worse. What is 0 has none, and is
// taken for a thousandth of the median.
func logarithms(sample []drawn, more bool) []float64 {
	all := values(sample)
	least := stats.Quantile(all, 0.5) / 1000
	if !(least > 0) {
		least = 1
	}
	for i, v := range all {
		all[i] = math.Log(max(v, least))
		if more {
			all[i] = -all[i]
		}
	}
	return all
}

// medianRatio returns what the difference between the medians of two resamples of sorted, the
// second less the first, exceeds with the chance tail; 0 if it is seldom more than that.
func medianRatio(sorted []float64, first, second int, tail float64) float64 {
	type difference struct{ by, chance float64 }
	var all []difference
	ofSecond := stats.MedianOrder(second, len(sorted), true)
	for i, p := range stats.MedianOrder(first, len(sorted), false) {
		for j, q := range ofSecond {
			if chance, by := p*q, sorted[j]-sorted[i]; by > 0 && chance > tail/1e5 {
				all = append(all, difference{by, chance})
			}
		}
	}
	slices.SortFunc(all, func(a, b difference) int { return cmp.Compare(b.by, a.by) })
	sum := 0.0
	for _, d := range all {
		if sum += d.chance; sum > tail {
			return d.by
		}
	}
	return 0
}

// medianVariance returns that of the median of n that are drawn from sorted.
func medianVariance(sorted []float64, n int) float64 {
	var mean, square float64
	for i, p := range stats.MedianOrder(n, len(sorted), false) {
		mean += p * sorted[i]
		square += p * sorted[i] * sorted[i]
	}
	return max(0, square-mean*mean)
}

// upward returns the variance of values about their median, of which those below it are taken to be
// as far from it as those above: what is better than usual says nothing of how much worse than usual
// there is. 0 of fewer than two.
func upward(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	middle, sum := stats.Quantile(values, 0.5), 0.0
	for _, v := range values {
		if v > middle {
			sum += 2 * (v - middle) * (v - middle)
		}
	}
	return sum / float64(len(values)-1)
}

// facts say the effect: "twice as long: 1.71 s, 856 ms before".
func (c *contrast) facts() string {
	before, after := interval(c.before).Value, interval(c.after).Value
	if !c.metric.More && math.IsInf(stats.Quantile(ranked(c.before, c.metric), 0.5), 1) {
		return fmt.Sprintf("not to be compared: most runs before did not see its end within %s; %s now", c.metric.amount(before), c.metric.amount(after))
	}
	what := "not to be compared"
	if before != 0 {
		what = effect(after/before, c.metric)
	}
	return fmt.Sprintf("%s: %s, %s before", what, c.metric.amount(after), c.metric.amount(before))
}

// remark says why what is somewhat worse does not look so.
func (c *contrast) remark(least float64) string {
	switch {
	case c.ratio <= 1.05 || c.worse(least) && c.p <= screenLevel:
		return ""
	case c.ratio <= math.Exp(c.floor):
		return ", which is noise"
	case c.ratio <= 1+least:
		return ", which is less than is told"
	}
	return ", which chance does as well"
}

// assumption says what is not known of sessions, if so.
func (c *contrast) assumption() string {
	for _, d := range c.before {
		if d.session != c.before[0].session {
			return ""
		}
	}
	return "; the baseline is of one session: how much sessions differ is assumed"
}

// effect says a ratio in words.
func effect(ratio float64, m Metric) string {
	as, over, under := "much", "more", "less"
	if m.Unit == "s" {
		as, over, under = "long", "longer", "shorter"
	}
	is := func(v float64) bool { return math.Abs(ratio-v) < 0.02 }
	switch {
	case math.Abs(ratio-1) < 0.01:
		return "unchanged"
	case ratio >= 9.95:
		return fmt.Sprintf("%.0f times as %s", ratio, as)
	case math.Abs(ratio-2) < 0.05:
		return "twice as " + as
	case ratio >= 1.9:
		return fmt.Sprintf("%.1f times as %s", ratio, as)
	case is(1.5):
		return fmt.Sprintf("half as %s again", as)
	case is(4.0 / 3):
		return "a third " + over
	case is(1.25):
		return "a quarter " + over
	case ratio > 1:
		return fmt.Sprintf("%.0f %% %s", 100*(ratio-1), over)
	case is(0.75):
		return "a quarter " + under
	case is(2.0 / 3):
		return "a third " + under
	case is(0.5):
		return "half as " + as
	}
	return fmt.Sprintf("%.0f %% %s", 100*(1-ratio), under)
}

// amount says a value in the unit of the metric, with three digits.
func (m Metric) amount(v float64) string {
	switch m.Unit {
	case "s":
		return checker.Brief(time.Duration(v * float64(time.Second)))
	case "":
		return threeDigits(100*v) + " %"
	}
	return threeDigits(v) + "/s"
}

func threeDigits(v float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		panic(err) // it was a number
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}
