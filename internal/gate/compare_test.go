package gate

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
)

// baselineOf is a baseline of two sessions in which a metric had these values.
func baselineOf(metric string, values ...float64) (runs []BaselineRun) {
	for i, v := range values {
		runs = append(runs, BaselineRun{Session: fmt.Sprint(i % 2), Measures: map[string]Statistics{metric: {"p50": {Value: v}}}})
	}
	return runs
}

func runsOf(metric string, values ...float64) (runs []Measures) {
	for _, v := range values {
		runs = append(runs, Measures{metric: {Values: []float64{v}}})
	}
	return runs
}

// around are n values within 5 % of v, or within some amount of it.
func around(v float64, n int, within ...float64) (all []float64) {
	amount := 0.05 * v
	if len(within) > 0 {
		amount = within[0]
	}
	for i := range n {
		all = append(all, v+amount*(2*float64(i)/float64(max(1, n-1))-1))
	}
	return all
}

var usual = Regression{ErrorRate: 0.01, Least: 0.25, Confirm: 15}

// one is the comparison of p50, of which there must be one.
func one(t *testing.T, all []Comparison) Comparison {
	t.Helper()
	if len(all) != 1 {
		t.Fatalf("there are %d comparisons", len(all))
	}
	if _, err := json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestCompare(t *testing.T) {
	const seconds, rate, answered = "recovery-90", "throughput", "availability.no-fault"
	for name, x := range map[string]struct {
		metric              string
		before              []float64
		screened, confirmed []float64
		among               int
		regressed, suspects bool
		words               string
	}{
		"twice as long": {seconds, around(0.856, 20), around(1.71, 3), around(1.71, 10), 1, true, false,
			"twice as long: 1.71 s, 856 ms before (10 fresh runs, 20 before)"},
		"fresh runs do not show it": {seconds, around(0.856, 20), around(1.71, 3), around(0.86, 10), 1, false, false,
			"looked twice as long at first; 10 fresh runs: unchanged: 860 ms, 856 ms before"},
		"nobody has made them": {seconds, around(0.856, 20), around(1.71, 3), nil, 1, false, true,
			"looks twice as long: 1.71 s, 856 ms before: fresh runs would tell"},
		"they are too few": {seconds, around(0.856, 10), around(1.71, 3), around(1.71, 2), 1, false, true,
			"looks twice as long: 1.71 s, 856 ms before: 2 fresh runs cannot tell at that error rate, it takes 3 at least"},
		"they are too few for so many suspects": {seconds, around(0.856, 10), around(1.71, 3), around(1.71, 3), 100, false, true,
			"looks twice as long: 1.71 s, 856 ms before: 3 fresh runs cannot tell at that error rate, it takes 7 at least"},
		"they overlap too much": {seconds, around(0.8, 20), around(1.7, 3), append(around(1.7, 5), 0.7, 0.7), 1, false, true,
			"looks 2.1 times as long: 1.66 s, 800 ms before: not proven by 7 fresh runs, which differ as much by chance with 0.051, corrected for 1 comparison"},
		"half as long": {seconds, around(1.71, 20), around(0.856, 3), around(0.856, 10), 1, false, false,
			"half as long: 856 ms, 1.71 s before"},
		"somewhat longer": {seconds, around(1, 20), around(1.15, 3), nil, 1, false, false,
			"15 % longer: 1.15 s, 1.00 s before, which is noise"},
		"a third less": {rate, around(1210, 20), around(560, 3), around(560, 10), 1, true, false,
			"54 % less: 560/s, 1210/s before (10 fresh runs, 20 before)"},
		"nothing left": {rate, around(1210, 20), []float64{0, 0, 0}, []float64{0, 0, 0, 0, 0}, 1, true, false,
			"100 % less: 0/s, 1210/s before (5 fresh runs, 20 before)"},
		"more of it": {rate, around(1210, 20), around(2420, 3), around(2420, 10), 1, false, false,
			"twice as much: 2420/s, 1210/s before"},
		"nothing before": {seconds, make([]float64, 20), around(2, 3), around(2, 10), 1, true, false,
			"2.00 s longer: 2.00 s, 0 before (10 fresh runs, 20 before)"},
		"nothing before, and hardly more": {seconds, make([]float64, 20), around(0.001, 3), around(0.001, 10), 1, false, false,
			"much the same: 1.00 ms, 0 before"},
		"nothing, and nothing": {seconds, make([]float64, 20), make([]float64, 3), make([]float64, 10), 1, false, false,
			"unchanged: 0, 0 before"},
		"ten times as much unanswered": {answered, around(0.999, 20, 0.0001), around(0.990, 3, 0.001), around(0.990, 10, 0.001), 1, true, false,
			"10 times as much unanswered: 99 %, 99.9 % before (10 fresh runs, 20 before)"},
		"a quarter is unanswered": {answered, around(0.99, 20, 0.001), around(0.75, 3, 0.01), around(0.75, 10, 0.01), 1, true, false,
			"25 times as much unanswered: 75 %, 99 % before (10 fresh runs, 20 before)"},
		"nothing was unanswered": {answered, around(1, 20, 0), around(0.98, 3, 0.001), around(0.98, 10, 0.001), 1, true, false,
			"2 % more unanswered: 98 %, 100 % before (10 fresh runs, 20 before)"},
		"a call more is unanswered": {answered, around(1, 20, 0), around(0.9998, 3, 0), around(0.9998, 10, 0), 1, false, false,
			"much the same: 100 %, 100 % before"},
		"more is answered": {answered, around(0.9, 20, 0.01), around(0.99, 3, 0.001), around(0.99, 10, 0.001), 1, false, false,
			"90 % less unanswered: 99 %, 90 % before"},
	} {
		t.Run(name, func(t *testing.T) {
			c := one(t, Compare(baselineOf(x.metric, x.before...), runsOf(x.metric, x.screened...), runsOf(x.metric, x.confirmed...), usual, x.among))
			if c.Regressed != x.regressed || c.Suspected != x.suspects || c.Words != x.words {
				t.Errorf("regressed %t, suspected %t: %s\nwant %t, %t: %s\n%+v", c.Regressed, c.Suspected, c.Words, x.regressed, x.suspects, x.words, c)
			}
			if c.Before.Low > c.Before.Value || c.Before.Value > c.Before.High || c.After.Low > c.After.Value || c.After.Value > c.After.High || c.BeforeRuns != len(x.before) {
				t.Errorf("its numbers are %+v", c)
			}
			if c.Floor == 0 || (c.Floor < 1) != (x.metric == rate) {
				t.Errorf("a floor of %v", c.Floor)
			}
		})
	}
}

func TestOneSessionIsSaid(t *testing.T) {
	before := baselineOf("recovery-90", around(0.8, 20)...)
	for i := range before {
		before[i].Session = "only"
	}
	c := one(t, Compare(before, runsOf("recovery-90", around(2, 3)...), runsOf("recovery-90", around(2, 10)...), usual, 1))
	if !c.Regressed || !strings.HasSuffix(c.Words, "; the baseline is of one session: how much sessions differ is assumed") {
		t.Errorf("regressed %t: %s", c.Regressed, c.Words)
	}
	two := one(t, Compare(baselineOf("recovery-90", around(0.8, 20)...), runsOf("recovery-90", around(2, 3)...), nil, usual, 1))
	alone := one(t, Compare(before, runsOf("recovery-90", around(2, 3)...), nil, usual, 1))
	if alone.Floor <= two.Floor {
		t.Errorf("of one session the floor is %v, of two %v", alone.Floor, two.Floor)
	}
}

func TestSessionsThatDifferRaiseTheFloor(t *testing.T) {
	var calm, wild []BaselineRun
	for i := range 40 {
		v := around(1, 40)[i]
		run := func(v float64) BaselineRun {
			return BaselineRun{Session: fmt.Sprint(i % 8), Measures: map[string]Statistics{"recovery-90": {"p50": {Value: v}}}}
		}
		calm = append(calm, run(v))
		wild = append(wild, run(v*math.Exp(0.5*float64(i%8-4)/4)))
	}
	fresh := runsOf("recovery-90", around(1.9, 5)...)
	a, b := one(t, Compare(calm, fresh, fresh, usual, 1)), one(t, Compare(wild, fresh, fresh, usual, 1))
	if !a.Regressed || b.Regressed || b.Floor < 1.3*a.Floor {
		t.Errorf("sessions that do not differ: %+v\nthat do: %+v", a, b)
	}
}

func TestWhatIsNotSeenSpeaksAgainstARegression(t *testing.T) {
	unseen := func(n int, least float64) (runs []Measures) {
		for range n {
			runs = append(runs, Measures{"recovery-90": {Least: []float64{least}}})
		}
		return runs
	}
	// Who is not seen to recover within three seconds is slower than who took one.
	c := one(t, Compare(baselineOf("recovery-90", around(1, 20)...), unseen(3, 3), unseen(10, 3), usual, 1))
	if !c.Regressed {
		t.Errorf("unseen for three times as long: %+v", c)
	}
	// A baseline that has not seen it knows nothing of how long it takes.
	b := &Baseline{}
	b.Add(someCell, someMachine, "s", aDay(1), unseen(20, 1))
	c = one(t, Compare(b.Runs(someCell, someMachine), runsOf("recovery-90", around(3, 5)...), runsOf("recovery-90", around(3, 10)...), usual, 1))
	if c.Regressed || c.Suspected || c.P < 0.99 || c.Words != "not to be compared: most runs before did not see its end within 1.00 s; 3.00 s now" {
		t.Errorf("against what nobody has seen: %+v", c)
	}
}

func TestWhatIsNotCompared(t *testing.T) {
	fresh := runsOf("recovery-90", around(9, 5)...)
	for name, got := range map[string][]Comparison{
		"no baseline":         Compare(nil, fresh, fresh, usual, 1),
		"too few runs":        Compare(baselineOf("recovery-90", around(1, leastBaselineRuns-1)...), fresh, fresh, usual, 1),
		"a metric of earlier": Compare(baselineOf("no-such-metric", around(1, 20)...), fresh, fresh, usual, 1),
		"no runs":             Compare(baselineOf("recovery-90", around(1, 20)...), nil, nil, usual, 1),
	} {
		if len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// lacking are runs of which the first n measure a metric, and all of them another one.
func lacking(n, of int, metric, other string) (runs []Measures) {
	for i := range of {
		m := Measures{other: {Values: []float64{1}}}
		if i < n {
			m[metric] = Measure{Values: []float64{1}}
		}
		runs = append(runs, m)
	}
	return runs
}

// seen is a baseline of 40 runs in 8 sessions, by how many runs of each measure a metric.
func seen(metric, other string, bySession ...int) (runs []BaselineRun) {
	for i, n := range bySession {
		for _, m := range lacking(n, 5, metric, other) {
			runs = append(runs, BaselineRun{Session: fmt.Sprint(i), Measures: reduce(m)})
		}
	}
	return runs
}

func TestWhatIsNoLongerMeasuredIsSuspected(t *testing.T) {
	const calm, faulty = "throughput", "failover"
	for name, x := range map[string]struct {
		metric, other       string
		before              []int
		screened, confirmed [2]int // so many of so many
		suspected           bool
		words               string
	}{
		"nobody has asked": {calm, "gap", []int{5, 5, 5, 5, 5, 5, 4, 5}, [2]int{0, 3}, [2]int{}, true,
			"no longer measured in 3 of 3 runs; 39 of 40 of the baseline did: fresh runs would tell"},
		"fresh runs do not, either": {calm, "gap", []int{5, 5, 5, 5, 5, 5, 4, 5}, [2]int{0, 3}, [2]int{0, 15}, true,
			"no longer measured in 15 of 15 fresh runs; 39 of 40 of the baseline did"},
		"half of them do": {calm, "gap", []int{5, 5, 5, 5, 5, 5, 4, 5}, [2]int{1, 3}, [2]int{8, 15}, true,
			"no longer measured in 7 of 15 fresh runs; 39 of 40 of the baseline did"},
		"fresh runs do": {calm, "gap", []int{5, 5, 5, 5, 5, 5, 4, 5}, [2]int{0, 3}, [2]int{14, 15}, false,
			"looked as if it were no longer measured at first; 14 fresh runs: unchanged: 1/s, 1/s before"},
		"they are few": {calm, "gap", []int{5, 5, 5, 5, 5, 5, 4, 5}, [2]int{0, 3}, [2]int{2, 2}, true,
			"no longer measured in 0 of 2 fresh runs; 39 of 40 of the baseline did, which are too few to tell"},
		"it was measured sometimes":    {calm, "gap", []int{2, 3, 2, 3, 2, 3, 2, 3}, [2]int{0, 2}, [2]int{}, false, ""},
		"a day like this has been":     {calm, "gap", []int{5, 5, 5, 0, 5, 5, 5, 5}, [2]int{0, 5}, [2]int{}, false, ""},
		"one of three lacks it":        {calm, "gap", []int{5, 5, 5, 5, 5, 5, 5, 5}, [2]int{2, 3}, [2]int{}, false, "unchanged: 1/s, 1/s before"},
		"no fault came about":          {faulty, "gap", []int{5, 5, 5, 5, 5, 5, 5, 5}, [2]int{0, 5}, [2]int{}, false, ""},
		"there were faults all right":  {faulty, "recovery", []int{5, 5, 5, 5, 5, 5, 5, 5}, [2]int{0, 5}, [2]int{}, true, "no longer measured in 5 of 5 runs; 40 of 40 of the baseline did: fresh runs would tell"},
		"it is what says it of faults": {"availability.fault", "gap", []int{5, 5, 5, 5, 5, 5, 5, 5}, [2]int{0, 5}, [2]int{}, true, "no longer measured in 5 of 5 runs; 40 of 40 of the baseline did: fresh runs would tell"},
	} {
		got := Compare(seen(x.metric, x.other, x.before...), lacking(x.screened[0], x.screened[1], x.metric, x.other), lacking(x.confirmed[0], x.confirmed[1], x.metric, x.other), usual, 1)
		if _, err := json.Marshal(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var c Comparison
		for _, one := range got {
			if one.Metric == x.metric {
				c = one
			}
		}
		if c.Suspected != x.suspected || c.Open != x.suspected || c.Regressed || c.Words != x.words {
			t.Errorf("%s: suspected %t, open %t: %s\nwant %t: %s", name, c.Suspected, c.Open, c.Words, x.suspected, x.words)
		}
	}
}

// What looked worse in runs for coverage is open until as many fresh runs as that takes have
// measured it, whatever the few say.
func TestWhatFewFreshRunsMeasureIsOpen(t *testing.T) {
	before := seen("throughput", "gap", 5, 5, 5, 5, 5, 5, 5, 5)
	measuring := func(n, of int, v float64) []Measures {
		runs := lacking(n, of, "throughput", "gap")
		for _, r := range runs {
			if _, ok := r["throughput"]; ok {
				r["throughput"] = Measure{Values: []float64{v}}
			}
		}
		return runs
	}
	before = append([]BaselineRun(nil), before...)
	for i := range before {
		before[i].Measures["throughput"] = Statistics{"p50": {Value: 1000}}
	}
	for _, x := range []struct {
		fresh     []Measures
		suspected bool
		words     string
	}{
		{nil, true, "looks half as much: 500/s, 1000/s before: fresh runs would tell"},
		{measuring(15, 15, 1000), false, "looked half as much at first; 15 fresh runs: unchanged: 1000/s, 1000/s before"},
		{measuring(8, 8, 1000), false, "looked half as much at first; 8 fresh runs: unchanged: 1000/s, 1000/s before"},
		{measuring(7, 7, 1000), true, "looked half as much at first; 7 fresh runs: unchanged: 1000/s, 1000/s before, which are too few to tell"},
		{measuring(0, 15, 0), true, "looked half as much at first; no longer measured in 15 of 15 fresh runs; 40 of 40 of the baseline did"},
		{measuring(8, 15, 1000), true, "looked half as much at first; no longer measured in 7 of 15 fresh runs; 40 of 40 of the baseline did"},
	} {
		var c Comparison
		for _, one := range Compare(before, measuring(5, 5, 500), x.fresh, usual, 1) {
			if one.Metric == "throughput" {
				c = one
			}
		}
		if c.Suspected != x.suspected || c.Open != x.suspected || c.Regressed || c.Words != x.words {
			t.Errorf("suspected %t, open %t: %s\nwant %t: %s", c.Suspected, c.Open, c.Words, x.suspected, x.words)
		}
	}
	// Enough of them, which do not prove it, are an answer.
	c := one(t, Compare(baselineOf("recovery-90", around(0.8, 20)...), runsOf("recovery-90", around(1.7, 3)...), runsOf("recovery-90", append(around(1.7, 6), 0.7, 0.7)...), usual, 20))
	if !c.Suspected || c.Open || c.Regressed {
		t.Errorf("not proven, and open: %+v", c)
	}
}

// A cell is judged by whether a question is open, and not by how many fresh runs there were.
func TestOpenQuestionsLeaveACellUnknown(t *testing.T) {
	answered := Comparison{Metric: "m", Statistic: "p50", Suspected: true, Words: "looks worse: not proven"}
	open := Comparison{Metric: "n", Statistic: "p50", Suspected: true, Open: true, Words: "no longer measured"}
	for _, x := range []struct {
		comparisons []Comparison
		fresh       int
		policy      Policy
		status      Status
		fails       bool
		why         string
	}{
		{[]Comparison{answered}, 2, Policy{}, CellPassed, false, ""},
		{[]Comparison{answered}, 1, Policy{}, CellPassed, false, ""},
		{[]Comparison{answered, open}, 0, Policy{}, CellUnknown, false, "it looks worse than the baseline, and the runs that would tell were not made: n p50 no longer measured"},
		{[]Comparison{answered, open}, 0, Policy{UnrunFails: true}, CellUnknown, true, "it looks worse than the baseline, and the runs that would tell were not made: n p50 no longer measured"},
		{[]Comparison{answered, open}, 1, Policy{}, CellUnknown, false, "it looks worse than the baseline, and the runs that would tell were not made: n p50 no longer measured"},
		{[]Comparison{answered, open}, 2, Policy{}, CellUnknown, true, "it looks worse than the baseline, and the fresh runs do not tell: n p50 no longer measured"},
		{[]Comparison{answered, open}, 2, Policy{UnknownWarns: true}, CellUnknown, false, "it looks worse than the baseline, and the fresh runs do not tell: n p50 no longer measured"},
		{[]Comparison{open, {Metric: "o", Statistic: "p50", Regressed: true, Words: "worse"}}, 0, Policy{}, CellRegressed, true, "o p50 worse"},
	} {

		g := New(Plan{Cells: []Cell{plain("a", 1)}, Policy: x.policy}, Options{Draw: counting()})
		c := g.cells[0]
		c.confirmations = 2 // that were handed out
		c.outcomes = append(c.outcomes, measuring(came(Job{Purpose: ForCoverage}, Valid), 1))
		for range x.fresh {
			c.outcomes = append(c.outcomes, measuring(came(Job{Purpose: ForConfirmation}, Valid), 1))
		}
		if status, fails, why := g.judgement(c, nil, x.comparisons); status != x.status || fails != x.fails || why != x.why {
			t.Errorf("%d fresh runs, %+v: %s, fails %t: %s\nwant %s, fails %t: %s", x.fresh, x.comparisons, status, fails, why, x.status, x.fails, x.why)
		}
	}
}

func TestFreshRuns(t *testing.T) {
	for _, x := range []struct {
		confirm, before, among, want int
	}{
		{15, 40, 1, 15}, {15, 40, 20, 15}, {15, 10, 100, 15}, {15, 10, 10_000, 26}, {3, 10, 1, 6}, {3, 40, 0, 4}, {15, 1, 1, 60}, {15, 1, 1_000_000, 15}, {15, 0, 1, 15}, {100, 10, 1, 100},
	} {
		r := Regression{ErrorRate: 0.01, Least: 0.25, Confirm: x.confirm}
		if got := r.Fresh(x.before, x.among); got != x.want {
			t.Errorf("%d, against %d, of %d: got %d, want %d", x.confirm, x.before, x.among, got, x.want)
		}
	}
}

// Whatever it is shown, it says the same twice, and fresh runs alone make a regression.
func TestCompareRepeats(t *testing.T) {
	before, screened := baselineOf("recovery-90", around(1, 20)...), runsOf("recovery-90", around(3, 5)...)
	a, b := Compare(before, screened, screened, usual, 3), Compare(before, screened, screened, usual, 3)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("%v\nthen %v", a, b)
	}
	if c := one(t, Compare(before, runsOf("recovery-90", around(1, 5)...), screened, usual, 1)); c.Regressed {
		t.Errorf("nothing was suspected, and yet: %+v", c)
	}
}

func TestConfirmRuns(t *testing.T) {
	for _, c := range []struct {
		before int
		level  float64
		want   int
	}{
		{10, 0.01, 3}, {10, 0.0001, 7}, {40, 0.01, 2}, {40, 0.01 / 24, 3}, {20, 0.01 / 20, 4}, {1, 0.01, 99}, {1, 0.5, 1}, {10, 1, 0}, {0, 0.01, 0}, {10, 0, 0}, {1, 1e-9, 0},
	} {
		if got := ConfirmRuns(c.before, c.level); got != c.want {
			t.Errorf("%d before, at %v: got %d, want %d", c.before, c.level, got, c.want)
		}
	}
}

func TestEffectsInWords(t *testing.T) {
	long, much := Metric{Unit: "s"}, Metric{Unit: "1/s", More: true}
	for ratio, want := range map[float64][2]string{
		1: {"unchanged", "unchanged"}, 2: {"twice as long", "twice as much"}, 3.44: {"3.4 times as long", "3.4 times as much"}, 12: {"12 times as long", "12 times as much"},
		1.5: {"half as long again", "half as much again"}, 1.33: {"a third longer", "a third more"}, 1.25: {"a quarter longer", "a quarter more"}, 1.4: {"40 % longer", "40 % more"},
		0.75: {"a quarter shorter", "a quarter less"}, 0.671: {"a third shorter", "a third less"}, 0.5: {"half as long", "half as much"}, 0.2: {"80 % shorter", "80 % less"},
	} {
		if got := [2]string{effect(ratio, long), effect(ratio, much)}; got != want {
			t.Errorf("%v: got %q, want %q", ratio, got, want)
		}
	}
	for _, c := range []struct {
		m    Metric
		v    float64
		want string
	}{{long, 1.712, "1.71 s"}, {long, 0.0004, "400 µs"}, {much, 1214.9, "1210/s"}, {much, 0.5, "0.5/s"}, {Metric{}, 0.9987, "99.9 %"}} {
		if got := c.m.amount(c.v); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}
