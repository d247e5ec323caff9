package gate

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// twenty is a cell of 20 seeds, and its baseline, in which each of them takes about a second.
func twenty() (Cell, *Baseline) {
	c := plain("a", 20)
	var times []float64
	for s := range uint64(20) {
		c.Seeds = append(c.Seeds, s+1)
		times = append(times, 1+0.02*float64(s%5))
	}
	b := &Baseline{}
	for day := 1; day <= 2; day++ {
		b.Add(c, someMachine, fmt.Sprint(day), aDay(day), recoveries(times...))
	}
	return c, b
}

func comparing(c Cell, b *Baseline, p Policy) *Gate {
	p.Regression = Regression{ErrorRate: 0.01, Least: 0.25, Confirm: 15}
	return New(Plan{Cells: []Cell{c}, Policy: p}, Options{Draw: counting(), Baseline: b, Session: "now", Machine: someMachine})
}

// The seeds that are run first may be the easy ones, or the hard ones: fresh runs that do not go
// through all of them neither clear a cell nor condemn it.
func TestFreshRunsCountInWholeTurns(t *testing.T) {
	for _, x := range []struct {
		slow   func(seed uint64) bool
		made   int
		status Status
	}{
		{func(s uint64) bool { return s >= 8 }, 20, CellRegressed},
		{func(s uint64) bool { return s >= 8 }, 19, CellUnknown},
		{func(s uint64) bool { return s >= 8 }, 7, CellUnknown}, // the easy ones
		{func(s uint64) bool { return s < 14 }, 13, CellUnknown},
		{func(s uint64) bool { return false }, 0, CellPassed},
	} {
		c, b := twenty()
		g := comparing(c, b, Policy{})
		made := 0
		performed(g, func(j Job) (Outcome, bool) {
			if j.Purpose == ForConfirmation {
				if made++; made > x.made {
					return Outcome{}, false
				}
			}
			took := 1 + 0.02*float64(j.Seed%5)
			if x.slow(j.Seed) {
				took *= 3
			}
			return recovered(came(j, Valid), took), true
		})
		r := g.Report()
		if r.Cells[0].Status != x.status {
			t.Errorf("%d fresh runs: %s: %s, want %s", x.made, r.Cells[0].Status, r.Cells[0].Why, x.status)
		}
		before := len(b.Runs(c, someMachine))
		if g.Learn(&r, false); x.status != CellPassed && len(b.Runs(c, someMachine)) != before {
			t.Errorf("%d fresh runs: the baseline learns of it: %q", x.made, r.Baseline)
		}
	}
}

// What a baseline drops of a session is no particular part of the seeds.
func TestABaselineKeepsAllKindsOfSeeds(t *testing.T) {
	c := plain("a", 60)
	var times []float64
	for s := range uint64(60) {
		c.Seeds = append(c.Seeds, s+1)
		times = append(times, 3-2.5*float64(s)/60) // the first ones are the hard ones
	}
	b := &Baseline{}
	for day := 1; day <= 4; day++ {
		g := comparing(c, b, Policy{})
		performed(g, func(j Job) (Outcome, bool) { return recovered(came(j, Valid), times[j.Seed-1]), true })
		r := g.Report()
		if r.Cells[0].Status != CellPassed {
			t.Fatalf("day %d: %s: %s", day, r.Cells[0].Status, r.Cells[0].Why)
		}
		r.Began = aDay(day)
		g.options.Session = fmt.Sprint(day)
		g.Learn(&r, false)
	}
}

// A metric that is away in the runs of the matrix, and back and worse in fresh ones, is worse.
func TestWhatComesBackIsCompared(t *testing.T) {
	for _, x := range []struct {
		took   float64
		status Status
	}{{10, CellRegressed}, {1, CellPassed}} {
		c := plain("a", 2)
		b := &Baseline{}
		for day := 1; day <= 8; day++ {
			runs := recoveries(0.97, 0.99, 1, 1.01, 1.03)
			for i := range runs {
				runs[i]["availability.fault"] = Measure{Values: []float64{0.9}}
			}
			b.Add(c, someMachine, fmt.Sprint(day), aDay(day), runs)
		}
		g := comparing(c, b, Policy{})
		fresh := performed(g, func(j Job) (Outcome, bool) {
			o := recovered(came(j, Valid), x.took)
			m := o.Last().Measures
			if m["availability.fault"] = (Measure{Values: []float64{0.9}}); j.Purpose == ForCoverage {
				delete(m, "recovery")
			}
			return o, true
		})
		if r := g.Report(); fresh < 15 || r.Cells[0].Status != x.status {
			t.Errorf("it takes %v s after it was away: %d fresh runs, %s: %s", x.took, fresh, r.Cells[0].Status, r.Cells[0].Why)
		}
	}
}

// A run that measures nothing at all is told from one without a verdict, also after it was sent.
func TestWhoMeasuresNothingIsMissed(t *testing.T) {
	c := plain("a", 3)
	b := &Baseline{}
	for day := 1; day <= 8; day++ {
		var runs []Measures
		for range 5 {
			runs = append(runs, Measures{"throughput": {Values: []float64{1000}}})
		}
		b.Add(c, someMachine, fmt.Sprint(day), aDay(day), runs)
	}
	g := comparing(c, b, Policy{})
	performed(g, func(j Job) (sent Outcome, ok bool) {
		o := came(j, Valid)
		o.Last().Measures = Measures{}
		text, err := json.Marshal(o)
		if err == nil {
			err = json.Unmarshal(text, &sent)
		}
		if err != nil {
			t.Fatal(err)
		}
		return sent, true
	})
	if r := g.Report(); r.Cells[0].Status != CellUnknown || !strings.Contains(r.Cells[0].Why, "no longer measured") {
		t.Errorf("%s: %s", r.Cells[0].Status, r.Cells[0].Why)
	}
}

// What the baseline learns of a gate changes nothing of what the gate says.
func TestAGateIsJudgedByWhatWasBeforeIt(t *testing.T) {
	c := plain("a", 10)
	b := &Baseline{}
	var times []float64
	for i := range 40 {
		times = append(times, 1+0.01*float64(i%7))
	}
	b.Add(c, someMachine, "before", aDay(1), recoveries(times...))
	g := comparing(c, b, Policy{})
	performed(g, func(j Job) (Outcome, bool) { return recovered(came(j, Valid), 1.02), true })
	r := g.Report()
	r.Began = aDay(2)
	g.Learn(&r, false)
	if runs := b.Runs(c, someMachine); len(runs) != 40 || runs[39].Session != "now" {
		t.Fatalf("it has learned nothing: %q", r.Baseline)
	}
	for _, run := range g.before(c) {
		if run.Session != "before" || run.Measures["recovery"] == nil {
			t.Fatalf("it is compared with %v", run)
		}
	}
}

// A run that stayed unknown does not hide that others were not made.
func TestUnknownRunsDoNotHideThoseThatWereNotMade(t *testing.T) {
	for policy, fails := range map[Policy]bool{{UnknownWarns: true, UnrunFails: true}: true, {UnknownWarns: true}: false} {
		g := New(Plan{Cells: []Cell{plain("a", 3)}, Policy: policy}, Options{Draw: counting()})
		g.Take(came(g.First()[0], Unknown))
		if c := g.Report().Cells[0]; c.Status != CellUnknown || c.Fails != fails {
			t.Errorf("%+v: %s, fails %t: %s", policy, c.Status, c.Fails, c.Why)
		}
	}
}
