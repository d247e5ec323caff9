package gate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/stats"
)

// A world makes runs of cells that do not change, or change by a factor.
type world struct {
	cells    int
	between  float64 // deviation of the logarithms of runs
	shift    float64 // of sessions
	together bool    // all of a session shifts by the same, else each metric of each cell by its own
	sessions int     // of the baseline
	runs     int     // of a session of it, for each cell
	screen   int
	confirm  int
}

// A change makes a metric of a run worse by a factor.
type change struct {
	metric string
	by     float64
}

// Shifts are what the runs of a session share, by cell and metric.
type shifts map[string]float64

func (w world) session(r *rand.Rand) shifts {
	s := shifts{}
	all := math.Exp(w.shift * r.NormFloat64())
	for cell := range w.cells {
		for _, m := range []string{"recovery", "latency.read", "throughput"} {
			s[fmt.Sprint(cell, m)] = all
			if !w.together {
				s[fmt.Sprint(cell, m)] = math.Exp(w.shift * r.NormFloat64())
			}
		}
	}
	return s
}

// run makes one. What differs between runs is theirs; a few long times are in each distribution, and
// the clock ticks in milliseconds, so that there are ties.
func (w world) run(r *rand.Rand, cell int, s shifts, c change) Measures {
	times := func(metric string, typical, within float64, n int) []float64 {
		typical *= s[fmt.Sprint(cell, metric)] * math.Exp(w.between*r.NormFloat64())
		if c.metric == metric {
			typical *= c.by
		}
		var all []float64
		for range n {
			v := typical * math.Exp(within*r.NormFloat64())
			if r.IntN(40) == 0 {
				v *= 1 + 2*r.ExpFloat64()
			}
			all = append(all, math.Ceil(v*1000)/1000)
		}
		return all
	}
	typical := times("recovery", 0.8+0.1*float64(cell), 0.3, 6)
	throughput := 1200 / s[fmt.Sprint(cell, "throughput")] * math.Exp(w.between*r.NormFloat64())
	if c.metric == "throughput" {
		throughput /= c.by
	}
	latency := times("latency.read", 0.012, 0.6, 80)
	return Measures{
		"recovery":         {Values: typical},
		"latency.read.p50": {Values: []float64{stats.Quantile(latency, 0.5)}},
		"latency.read.p99": {Values: []float64{stats.Quantile(latency, 0.99)}},
		"throughput":       {Values: []float64{math.Round(throughput)}},
	}
}

// gate makes a baseline and a gate against it, and returns what was suspected and what regressed,
// by cell and metric.
func (w world) gate(seed uint64, c change) (suspected, regressed []string) {
	r := rand.New(rand.NewPCG(seed, 8))
	b, m := &Baseline{}, Machine{OS: "linux", Arch: "amd64", CPUs: 2, Jobs: 2}
	cells := make([]Cell, w.cells)
	many := func(n, cell int, s shifts, c change) (all []Measures) {
		for range n {
			all = append(all, w.run(r, cell, s, c))
		}
		return all
	}
	for day := range w.sessions {
		s := w.session(r)
		for i := range cells {
			cells[i] = Cell{Name: fmt.Sprint("cell", i)}
			b.Add(cells[i], m, fmt.Sprint("day", day), time.Unix(int64(86400*(day+1)), 0), many(w.runs, i, s, change{}))
		}
	}
	today := w.session(r)
	policy := Regression{ErrorRate: 0.01, Least: 0.25, Confirm: w.confirm}
	screened := make([][]Measures, len(cells))
	looksWorse := make([]bool, len(cells))
	for i := range cells {
		screened[i] = many(w.screen, i, today, c)
		for _, x := range Compare(b.Runs(cells[i], m), screened[i], nil, policy, 1) {
			if x.Suspected {
				suspected = append(suspected, cells[i].Name+" "+x.Metric+" "+x.Statistic)
				looksWorse[i] = true
			}
			if x.Regressed {
				regressed = append(regressed, "without a fresh run")
			}
		}
	}
	for i := range cells {
		if !looksWorse[i] {
			continue
		}
		for _, x := range Compare(b.Runs(cells[i], m), screened[i], many(w.confirm, i, today, c), policy, len(suspected)) {
			if x.Regressed {
				regressed = append(regressed, cells[i].Name+" "+x.Metric+" "+x.Statistic+": "+x.Words)
			}
		}
	}
	return suspected, regressed
}

// busy is a machine as shared ones are: runs differ by 20 %, a session shifts all of its runs by
// 10 %. The baseline and the gate are as they are recommended.
var busy = world{cells: 6, between: 0.2, shift: 0.1, together: true, sessions: 8, runs: 5, screen: 5, confirm: 15}

// count returns in how many gates something regressed, how many comparisons were suspected in
// all, and tells of the first few.
func (w world) count(t *testing.T, gates int, seed uint64, c change) (red, suspects int) {
	for i := range gates {
		suspected, regressed := w.gate(seed+uint64(i), c)
		suspects += len(suspected)
		if len(regressed) > 0 {
			if red++; red <= 2 {
				t.Log(regressed[0])
			}
		}
	}
	return red, suspects
}

// On busy machines one gate of a hundred may be wrong. Where sessions differ by more than is assumed
// of them, and by as much as runs or thrice that, the baseline's eight sessions have to tell, and more
// are wrong: of other draws than these 1 to 2 of 100 if all of a session shifts alike, and 2 to 4 if each
// metric of each cell goes its own way, so that a gate has some dozens of ways to be wrong. These draws
// are unlucky ones.
func TestAnUnchangedSystemRaisesNoAlarms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		most int
		w    func(w *world)
	}{
		"a session shifts all alike":              {2, func(*world) {}},
		"a session shifts each metric by its own": {2, func(w *world) { w.together = false }},
		"runs differ by a quarter":                {2, func(w *world) { w.between = 0.25 }},
		"a baseline of one session":               {2, func(w *world) { w.sessions, w.runs = 1, 20 }},
		"sessions differ as runs do":              {8, func(w *world) { w.shift = 0.2 }},
		"and each metric by its own":              {15, func(w *world) { w.shift, w.together = 0.2, false }},
		"sessions differ thrice as much":          {6, func(w *world) { w.between, w.shift = 0.1, 0.3 }},
		"and thrice as much, each by its own":     {15, func(w *world) { w.between, w.shift, w.together = 0.1, 0.3, false }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := busy
			c.w(&world)
			red, suspects := world.count(t, 200, 1, change{})
			t.Logf("%d of 200 gates are red, %.2f comparisons of a gate are suspected", red, float64(suspects)/200)
			if red > c.most {
				t.Errorf("%d of 200 gates are red, of a system that has not changed, want %d at most", red, c.most)
			}
			if suspects == 0 {
				t.Error("nothing ever looks worse: the screening is blind")
			}
		})
	}
}

// Sessions that differ by far more than their runs are a sample of sessions, as Student has it, of which
// nothing is taken off but what runs do within them. Those that do not differ leave what is assumed.
func TestTheNoiseOfSessionsIsLearned(t *testing.T) {
	t.Parallel()
	const deviation, within, tail = 0.3, 0.05, 0.002
	metric, ok := MetricOf("recovery")
	if !ok {
		t.Fatal("no such metric")
	}
	floor := func(deviation float64) float64 {
		shifts := []float64{-1.5, -1, -0.5, 0, 0, 0.5, 1, 1.5} // of which the variance is 1
		var before []drawn
		for day, shift := range shifts {
			for run := range 5 {
				v := math.Exp(deviation*shift + within*float64(run-2))
				before = append(before, drawn{fmt.Sprint(day), v, v})
			}
		}
		return noise(before, 15, metric, tail)
	}
	if got, least := floor(deviation), 0.98*stats.Student(7, tail)*deviation*math.Sqrt(1+1.0/8); got < least || got > 1.3*least {
		t.Errorf("the floor of sessions that differ by 30 %% is %v, want %v or somewhat more", got, least)
	}
	if got, least := floor(0), stats.Student(15, tail)*sessionDeviation*math.Sqrt(1+1.0/8); got < least || got > 1.1*least {
		t.Errorf("the floor of sessions that do not differ is %v, want %v or somewhat more", got, least)
	}
}

// A system that recovers slower does so in all cells of its gate. One cell alone tells less: where
// only one is slower that is caught less often, in about 62 of 100 gates, and what makes that more makes
// alarms more, too. Where sessions differ by more than a tenth less is caught as well: a recovery that
// takes twice as long in all cells in 58 of 100 gates if they differ by 20 %, as runs do, and in 21 if
// they differ by 30 %, as nobody can tell it from a bad day.
//
// Tried, in 300 gates each. Alarms are of runs and sessions that differ by 10 % and 30 %, all of a session
// alike (A), by 20 % and 20 % alike (B), and by 10 % and 30 % (C), 10 % and 20 % (D), 20 % and 20 % (E),
// each metric on its own. Found is a recovery twice as long in all cells (F), and in one (G). Both have
// runs that differ by 20 %, and sessions by 10 %.
//
//	                                                               A  B  C  D  E    F   G
//	as it is                                                       3  5  9  6  9  293 183
//	what is seen counts alone wherever it is more                  3  5  8  4  5  289 165
//	that, and a quarter of the error rate for it                   3  5  3  2  2  269 124
//	it does where sessions differ four times as much as runs tell  4  5 10  8 10  295 203
//	as it is, and a quarter of the error rate for what counts      3  5  6  4  9  292 175
//	it never counts alone                                          6  6 35 20 13  295 219
//	and what is seen is of the worse half of the sessions alone   12  7 64 26 23  296 227
//	and what runs do is told of all runs, not within sessions     16  7 87 36 29  296 232
//
// In other draws, with the last way, it is 19, 11, 98, 51 and 31 alarms, and 298 and 227 found; then to
// assume as much as 4 sessions and not 8 makes that 13, 9, 75, 38 and 25, and 296 and 213; and 2
// sessions 12, 8, 64, 26 and 19, and 293 and 201.
func TestASlowerSystemIsCaught(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change
		cells       int
		least, most int
	}{
		{change{"recovery", 2}, 6, 95, 100}, {change{"recovery", 1.5}, 6, 20, 100}, {change{"recovery", 1.25}, 1, 0, 20},
		{change{"recovery", 2}, 1, 55, 100}, {change{"throughput", 2}, 1, 52, 100}, {change{"latency.read", 2}, 1, 55, 100},
		{change{"recovery", 0.5}, 1, 0, 0}, {change{"throughput", 0.5}, 1, 0, 0}, {change{"latency.read", 0.5}, 1, 0, 0},
	} {
		w := busy
		w.cells = c.cells
		red, _ := w.count(t, 100, 1000, c.change)
		t.Logf("%s worse by a factor of %v in %d cells: %d of 100 gates are red", c.metric, c.by, c.cells, red)
		if red < c.least || red > c.most {
			t.Errorf("%s worse by a factor of %v in %d cells: %d of 100 gates are red, want %d to %d", c.metric, c.by, c.cells, red, c.least, c.most)
		}
	}
}
