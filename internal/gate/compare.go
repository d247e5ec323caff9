package gate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
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

// What is seen counts alone, if it makes for more than what is assumed does, of so many sessions and
// where they differ for certain: the variance of their medians is to be so many times what runs alone
// make it. Medians of sessions that do not differ are seldom that far apart. Without it, eight
// sessions that differ by 30 % are taken for some that differ by less than a quarter. Simulations in
// the tests show what comes of that, too.
const (
	sessionsLearned = 4
	sessionsDiffer  = 3
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
// what the baseline's own runs and sessions show by chance as well: see [noise]. What is compared
// of shares is what is missing, and differences below [Metric.Resolution] are none.
//
// Where the end of something was not seen, its bound speaks against a regression: in the baseline
// it may have taken for ever, in a fresh run it took no longer than is known. More of a metric
// that is better to have more of is never a regression, and so for less.
//
// A metric that runs no longer measure is suspected, too, and never regressed: what nobody has
// measured nobody has proven. It stays open where fresh runs do not measure it either, at the
// same error rate: see [attendance]. A suspicion is open as well while there are few fresh runs: half
// of what [Regression.Fresh] asks for, with the metric in as many of them as in those of the
// baseline.
func Compare(before []BaselineRun, screened, confirmed []Measures, r Regression, among int) []Comparison {
	return compareReduced(before, reduceAll(screened), reduceAll(confirmed), r, among)
}

// A suspicion is a comparison that looks worse, with what fresh runs say of it.
type suspicion struct {
	at   int // its place among the comparisons
	what string
	// tested is nil if the metric is no longer measured, or was not in any fresh run; attends is
	// of all fresh runs.
	tested  *contrast
	attends attendance
	gone    bool // it is suspected as it is no longer measured
}

func compareReduced(before []BaselineRun, screen, confirm []map[string]Statistics, r Regression, among int) []Comparison {
	var comparisons []Comparison
	var suspects []suspicion
	var chances []float64
	names := map[string]bool{}
	for _, run := range before {
		for name := range run.Measures {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		metric, ok := MetricOf(name)
		if !ok || len(metric.Compared) == 0 {
			continue // an earlier hacheck knew it, or compared it
		}
		if seen := attend(before, screen, metric); seen.gone(screenLevel) && 2*seen.now < seen.made {
			fresh := attend(before, confirm, metric)
			for _, statistic := range metric.Compared { // it may be back in fresh runs, and worse
				c := seen.comparison(metric, statistic)
				c.Words = fmt.Sprintf("%s: fresh runs would tell", seen.facts("run"))
				s := suspicion{at: len(comparisons), what: "as if it were no longer measured", attends: fresh, gone: true}
				s.tested = newContrast(metric, statistic, baselineSample(before, metric, statistic), sample(confirm, metric, statistic), r.ErrorRate*floorShare)
				if suspects = append(suspects, s); s.tested == nil || fresh.gone(r.ErrorRate) {
					chances = append(chances, fresh.p)
				} else {
					chances = append(chances, s.tested.p)
				}
				comparisons = append(comparisons, c)
			}
			continue
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
				c.Open = true
				c.Words = "looks " + looks.facts() + ": fresh runs would tell"
				s := suspicion{at: len(comparisons), what: looks.effect(), attends: attend(before, confirm, metric)}
				s.tested = newContrast(metric, statistic, old, sample(confirm, metric, statistic), r.ErrorRate*floorShare)
				suspects = append(suspects, s)
				chances = append(chances, 1)
				if s.tested != nil {
					chances[len(chances)-1] = s.tested.p
				}
			}
			comparisons = append(comparisons, c)
		}
	}
	if len(confirm) == 0 {
		return comparisons
	}
	among = max(among, len(suspects))
	for i, corrected := range stats.Holm(chances, among) {
		s := suspects[i]
		switch c := &comparisons[s.at]; {
		case s.gone:
			s.attended(c, corrected, r, among)
		case s.tested == nil:
			c.Words = fmt.Sprintf("looked %s at first; %s", s.what, s.attends.facts("fresh run"))
		default:
			*c = s.told(corrected, r, among)
		}
	}
	return comparisons
}

// told says what fresh runs tell of a comparison that looked worse.
func (s suspicion) told(corrected float64, r Regression, among int) Comparison {
	tested := s.tested
	c := tested.comparison()
	c.Regressed = corrected <= r.ErrorRate && tested.worse(r.Least)
	fresh := checker.Count(len(tested.after), "fresh run")
	needed := ConfirmRuns(len(tested.before), r.ErrorRate/float64(among))
	few := !s.attends.enough(len(tested.after), r.Fresh(len(tested.before), among))
	absent := s.attends.gone(r.ErrorRate / float64(among))
	switch {
	case c.Regressed:
		c.Words = fmt.Sprintf("%s (%s, %d before)%s", tested.facts(), fresh, len(tested.before), tested.assumption())
	case absent:
		c.Suspected, c.Open = true, true
		c.Words = fmt.Sprintf("looked %s at first; %s", s.what, s.attends.facts("fresh run"))
	case tested.ratio <= 1+r.Least || tested.p > screenLevel:
		c.Words = fmt.Sprintf("looked %s at first; %s: %s", s.what, fresh, tested.facts())
		if few {
			c.Suspected, c.Open = true, true
			c.Words += ", which are too few to tell"
		}
	case needed == 0:
		c.Suspected, c.Open = true, true
		c.Words = fmt.Sprintf("looks %s: %s cannot tell at that error rate, and no number of them can", tested.facts(), fresh)
	case len(tested.after) < needed:
		c.Suspected, c.Open = true, true
		c.Words = fmt.Sprintf("looks %s: %s cannot tell at that error rate, it takes %d at least", tested.facts(), fresh, needed)
	case corrected <= r.ErrorRate:
		c.Suspected, c.Open = true, few
		c.Words = fmt.Sprintf("looks %s: not proven, as runs and sessions differ by a factor of up to %.2f by chance%s", tested.facts(), math.Exp(tested.floor), tested.assumption())
	default:
		c.Suspected, c.Open = true, few
		c.Words = fmt.Sprintf("looks %s: not proven by %s, which differ as much by chance with %.2g, corrected for %s", tested.facts(), fresh, corrected, checker.Count(among, "comparison"))
	}
	return c
}

// attended says what fresh runs tell of a metric that was no longer measured.
func (s suspicion) attended(c *Comparison, corrected float64, r Regression, among int) {
	c.P, c.AfterRuns = s.attends.p, s.attends.now
	switch {
	case s.attends.gone(1) && corrected <= r.ErrorRate:
		c.Words = s.attends.facts("fresh run")
	case s.tested != nil && s.attends.enough(s.attends.made, r.Fresh(s.attends.of, among)):
		*c = s.told(corrected, r, among)
	default:
		c.Words = fmt.Sprintf("%s, which are too few to tell", s.attends.facts("fresh run"))
	}
}

// An attendance is in how many runs a metric was measured.
type attendance struct {
	before, of int // of the baseline, and of how many of its runs
	now, made  int
	p          float64 // the chance that so few measure it if nothing has changed
	usual      bool    // sessions of the baseline had it as seldom
}

// leastSession is how many runs a session has of which something is said.
const leastSession = 3

// attend counts the runs that measure m. What only runs with faults measure is asked of those
// alone: where none comes about, availability.fault is what is missing.
//
// The chance is by Fisher's exact test of two shares, which is what the test by Mann and Whitney
// comes to where there are two values. That runs of a session hang together it does not know: who
// measured something seldom on one day of the baseline may do so again.
func attend(before []BaselineRun, runs []map[string]Statistics, m Metric) attendance {
	a := attendance{p: 1}
	var old, fresh []float64 // 1 is a run without it
	type session struct{ lacks, runs int }
	sessions := map[string]session{}
	for _, run := range before {
		has, counts := attends(run.Measures, m)
		if !counts {
			continue
		}
		s := sessions[run.Session]
		s.runs++
		if has {
			a.before++
			old = append(old, 0)
		} else {
			s.lacks++
			old = append(old, 1)
		}
		sessions[run.Session] = s
	}
	for _, run := range runs {
		has, counts := attends(run, m)
		switch {
		case !counts:
		case has:
			a.now++
			fresh = append(fresh, 0)
		default:
			fresh = append(fresh, 1)
		}
	}
	a.of, a.made = len(old), len(fresh)
	a.p = stats.MannWhitney(old, fresh)
	for _, s := range sessions {
		if s.runs >= leastSession && s.lacks*a.made >= (a.made-a.now)*s.runs {
			a.usual = true
		}
	}
	return a
}

// attends says whether a run has measured m, and whether it would have: counts.
func attends(run map[string]Statistics, m Metric) (has, counts bool) {
	if _, has = run[m.Name]; has || !m.Faulty || m.Name == "availability.fault" {
		return has, true
	}
	for name := range run {
		if other, ok := MetricOf(name); ok && other.Faulty {
			return false, true
		}
	}
	return false, false
}

// gone says that fewer runs measure it than did, by a test of that level.
func (a attendance) gone(level float64) bool {
	return a.before >= leastBaselineRuns && a.made > 0 && !a.usual && a.p <= level
}

// enough says that so many fresh runs are enough to tell, of those that were asked for: half of
// them, or fewer where few of the baseline's measure it.
func (a attendance) enough(have, asked int) bool {
	return have > 0 && 2*have*a.of >= asked*a.before
}

// facts say it: "no longer measured in 3 of 3 runs; 39 of 40 of the baseline did".
func (a attendance) facts(run string) string {
	return fmt.Sprintf("no longer measured in %d of %s; %d of %d of the baseline did", a.made-a.now, checker.Count(a.made, run), a.before, a.of)
}

func (a attendance) comparison(m Metric, statistic string) Comparison {
	return Comparison{
		Metric: m.Name, Statistic: statistic, BeforeRuns: a.before, AfterRuns: a.now,
		P: a.p, Test: "Fisher, one-sided", Suspected: true, Open: true,
	}
}

// mostFresh is up to how many fresh runs are asked for beyond what the plan says.
const mostFresh = 60

// Fresh returns how many fresh runs a cell is to have whose baseline has so many runs, where so many
// comparisons look worse in all of the gate, among: r.Confirm, or twice what a test needs at
// least (see [ConfirmRuns]) where that is more, as some of them overlap. It does not ask for more
// than 60 of itself, and for no more than r.Confirm where no number is enough.
func (r Regression) Fresh(baselineRuns, among int) int {
	return max(r.Confirm, min(mostFresh, 2*ConfirmRuns(baselineRuns, r.ErrorRate/float64(max(1, among)))))
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

// Resolution is a difference below which values of the metric are the same, in its unit. It is
// added to both sides of a ratio, so that something after nothing is worse by as much as it is more
// than that.
//
//   - Of a share it is half a percentage point: a run has some hundreds or thousands of calls, of
//     which a stall of the machine under a handful of clients leaves some unanswered.
//   - Of the time until 90 % of the throughput it is the least window that throughput is
//     measured in, a quarter of a second: a shorter fall hardly shows in it.
//   - Of other times after faults, and of gaps, it is ten milliseconds: the clients' next calls come
//     about as far apart, and a busy machine lets a process wait as long.
//   - Of latencies it is a tenth of a millisecond: it takes about that to wake who waits.
//   - Of throughput it is one answer per second: that is how it is counted.
func (m Metric) Resolution() float64 {
	switch kind, _, _ := strings.Cut(m.Name, "."); {
	case m.Unit == perSecond:
		return 1
	case m.Unit != seconds:
		return 0.005
	case kind == "recovery-90" || kind == "healing-90":
		return 0.25
	case kind == "latency":
		return 0.0001
	}
	return 0.01
}

// missed says that what is compared of the metric is what is missing: of a share that is
// better to have more of, as 99 % instead of 99.9 % is ten times as much.
func (m Metric) missed() bool { return m.More && m.Unit == "" }

// worseness returns a value as a logarithm, of which more is worse.
func (m Metric) worseness(v float64) float64 {
	switch {
	case m.missed():
		return math.Log(max(0, 1-v) + m.Resolution())
	case m.More:
		return -math.Log(v + m.Resolution())
	}
	return math.Log(v + m.Resolution())
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
	c.ratio = worsening(median(old, m), median(fresh, m), m)
	c.floor = noise(before, len(after), m, tail)
	return c
}

// median returns the value in the middle of what is ranked.
func median(ranked []float64, m Metric) float64 {
	if m.More {
		return -stats.Quantile(ranked, 0.5)
	}
	return stats.Quantile(ranked, 0.5)
}

// worsening returns by what factor a median is worse. It is 0 where that cannot be said: of one that
// nobody knows.
func worsening(before, after float64, m Metric) float64 {
	if math.IsInf(before, 0) {
		return 0
	}
	return math.Exp(m.worseness(after) - m.worseness(before))
}

// worse says that the change is beyond the least that is told, and beyond noise.
func (c *contrast) worse(least float64) bool {
	return c.ratio > 1+least && c.ratio > math.Exp(c.floor)
}

func (c *contrast) comparison() Comparison {
	ratio, floor := c.ratio, math.Exp(c.floor)
	if c.metric.More && !c.metric.missed() {
		ratio, floor = 1/ratio, 1/floor
	}
	if c.ratio == 0 { // nobody knows
		ratio = 0
	}
	return Comparison{
		Metric: c.metric.Name, Statistic: c.statistic, Before: interval(c.before), After: interval(c.after),
		BeforeRuns: len(c.before), AfterRuns: len(c.after), Ratio: ratio, Floor: floor, P: c.p, Test: "Mann-Whitney, one-sided",
	}
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
// a deviation of which what comes of the runs in them is taken off: of how these differ from the
// median of their session. Together with what is assumed, or alone where sessions differ for
// certain and that is more, it says by Student's distribution how far from the others a further session
// is (as for effects that are random: Searle, Casella and McCulloch,
// "Variance components", 1992; and for repeats of benchmarks at several levels Kalibera and
// Jones, "Rigorous benchmarking in reasonable time", 2013).
func noise(before []drawn, fresh int, m Metric, tail float64) float64 {
	logs := make([]float64, 0, len(before))
	for _, d := range before {
		logs = append(logs, m.worseness(d.value))
	}
	sorted := slices.Clone(logs)
	slices.Sort(sorted)
	runs := medianRatio(sorted, len(sorted), fresh, tail)

	bySession := map[string][]float64{}
	for i, d := range before {
		bySession[d.session] = append(bySession[d.session], logs[i])
	}
	var medians, residuals []float64
	squares := 0.0
	for _, session := range slices.Sorted(maps.Keys(bySession)) {
		of := bySession[session]
		middle := stats.Quantile(of, 0.5)
		medians = append(medians, middle)
		squares += float64(len(of) * len(of))
		if len(of) == 1 {
			continue // it says nothing of how runs differ
		}
		for _, v := range of {
			residuals = append(residuals, v-middle)
		}
	}
	slices.Sort(residuals)
	sessions := float64(len(medians))
	ofRuns := 0.0                 // the variance of medians that comes of runs
	ofMedian := map[int]float64{} // that of one, by how many runs it is of
	for _, of := range bySession {
		if len(residuals) == 0 {
			break // nobody knows
		}
		if _, ok := ofMedian[len(of)]; !ok {
			ofMedian[len(of)] = medianVariance(residuals, len(of))
		}
		ofRuns += ofMedian[len(of)] / sessions
	}
	ofAll := spread(medians)
	seen := max(0, ofAll-ofRuns)
	degrees := sessionsAssumed + len(medians) - 1
	assumed := max(sessionDeviation, sessionShare*(stats.Quantile(sorted, oneDeviation)-stats.Quantile(sorted, 0.5)))
	assumed *= assumed
	deviation := math.Sqrt((sessionsAssumed*assumed + (sessions-1)*max(seen, assumed)) / float64(degrees))
	between := stats.Student(degrees, min(tail, 0.5)) * deviation
	if len(medians) >= sessionsLearned && ofAll > sessionsDiffer*ofRuns {
		between = max(between, stats.Student(len(medians)-1, min(tail, 0.5))*math.Sqrt(seen))
	}
	// A session with most of the runs counts for most: of so many equal ones it is as if.
	equal := float64(len(logs)*len(logs)) / squares
	return math.Hypot(runs, between*math.Sqrt(1+1/equal))
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

// spread returns the variance of values, or that about their median where those below it are taken to
// be as far from it as those above, if it is more: what is better than usual says little of how much
// worse than usual there is, but the half of a handful says little as well. 0 of fewer than two.
func spread(values []float64) float64 {
	if len(values) < 2 {
		return 0
	}
	mean := 0.0
	for _, v := range values {
		mean += v / float64(len(values))
	}
	middle := stats.Quantile(values, 0.5)
	var squares, above float64
	for _, v := range values {
		squares += (v - mean) * (v - mean)
		if v > middle {
			above += 2 * (v - middle) * (v - middle)
		}
	}
	return max(squares, above) / float64(len(values)-1)
}

// facts say the effect: "twice as long: 1.71 s, 856 ms before".
func (c *contrast) facts() string {
	before, after := interval(c.before).Value, interval(c.after).Value
	if c.ratio == 0 {
		return fmt.Sprintf("not to be compared: most runs before did not see its end within %s; %s now", c.metric.amount(before), c.metric.amount(after))
	}
	return fmt.Sprintf("%s: %s, %s before", c.effect(), c.metric.amount(after), c.metric.amount(before))
}

// effect says how large it is: "twice as long".
func (c *contrast) effect() string {
	before, after := interval(c.before).Value, interval(c.after).Value
	more, unanswered := " more", ""
	switch {
	case c.metric.missed():
		before, after, unanswered = max(0, 1-before), max(0, 1-after), " unanswered"
	case c.metric.Unit == seconds:
		more = " longer"
	}
	ratio := after / before // NaN of nothing to nothing
	switch resolved := c.ratio; {
	case before == after, math.Abs(ratio-1) < 0.01:
		return "unchanged"
	case math.Abs(resolved-1) < 0.05 && math.Abs(ratio-1) >= 0.1:
		return "much the same"
	case before == 0:
		return c.metric.amount(after) + more + unanswered
	}
	return effect(ratio, c.metric) + unanswered
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
	if m.Unit == seconds {
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
	case seconds:
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
