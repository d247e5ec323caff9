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

// around are n values within 5 % of v.
func around(v float64, n int) (all []float64) {
	for i := range n {
		all = append(all, v*(0.95+0.1*float64(i)/float64(max(1, n-1))))
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
	const seconds, rate = "recovery-90", "throughput"
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
		"nothing before": {seconds, make([]float64, 20), around(1, 3), around(1, 10), 1, false, false,
			"not to be compared: 1.00 s, 0 before"},
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
		"not measured now":    Compare(baselineOf("throughput", around(1, 20)...), fresh, fresh, usual, 1),
		"no runs":             Compare(baselineOf("recovery-90", around(1, 20)...), nil, nil, usual, 1),
	} {
		if len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
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
