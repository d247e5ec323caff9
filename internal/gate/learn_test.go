package gate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// recovered returns the outcome with a recovery of that time.
func recovered(o Outcome, seconds float64) Outcome {
	o.Attempts[len(o.Attempts)-1].Measures = Measures{"recovery": {Values: []float64{seconds}}}
	return o
}

// known returns a baseline with a dozen runs of each cell, that took about a second.
func known(cells ...Cell) *Baseline {
	b := &Baseline{}
	for _, c := range cells {
		for day := 1; day <= 3; day++ {
			b.Add(c, someMachine, aDay(day).Format("2006-01-02"), aDay(day), recoveries(0.97, 0.99, 1.01, 1.03))
		}
	}
	return b
}

// performed gives each job its outcome, and returns how many were for confirmation. Where there is
// none the job is not performed.
func performed(g *Gate, became func(j Job) (Outcome, bool)) (confirming int) {
	for jobs := g.First(); len(jobs) > 0; jobs = jobs[1:] {
		if jobs[0].Purpose == ForConfirmation {
			confirming++
		}
		if o, ok := became(jobs[0]); ok {
			jobs = append(jobs, g.Take(o)...)
		}
	}
	return confirming
}

func TestWhatABaselineLearns(t *testing.T) {
	seeded := plain("seeded", 2)
	seeded.Seeds = []uint64{3, 4}
	retried := seeded
	retried.Name = "retried"
	cells := []Cell{
		plain("good", 2), plain("slow", 2), plain("ugly", 2), plain("bad", 2), plain("worse", 1),
		plain("half", 2), seeded, retried, plain("again", 1), plain("mute", 1), plain("none", 1),
	}
	for accept, want := range map[bool]struct {
		runs  string
		words []string
	}{
		false: {"again 13 bad 12 good 14 half 13 mute 12 none 12 retried 12 seeded 12 slow 12 ugly 12 worse 12", []string{
			"runs of 3 cells were added to the baseline",
			"left out: 1 cell that regressed: slow; --accept-regressions takes what is measured now for the new baseline",
			"left out: 1 cell with runs that are not valid: ugly",
			`left out: 2 cells with the status "unknown": bad, retried`,
			`left out: 1 cell with the status "invalid": worse`,
			"left out: 1 cell whose seeds were not all run as often: seeded",
			"left out: 1 cell that measured nothing to compare: mute",
			`left out: 1 cell with the status "not run": none`,
		}},
		true: {"again 13 bad 12 good 14 half 13 mute 12 none 12 retried 12 seeded 12 slow 17 ugly 12 worse 12", []string{
			"runs of 4 cells were added to the baseline; 1 of them regressed, which is accepted: what was measured before is forgotten",
			"left out: 1 cell with runs that are not valid: ugly",
		}},
	} {
		b := known(cells...)
		g := New(Plan{Cells: cells, Policy: Policy{Regression: Regression{Confirm: 15, ErrorRate: 0.01, Least: 0.25}}},
			Options{Draw: counting(), Baseline: b, Machine: someMachine, Session: "now"})
		once := map[string]bool{}
		performed(g, func(j Job) (Outcome, bool) {
			first := !once[j.Cell]
			once[j.Cell] = true
			switch j.Cell {
			case "slow":
				return recovered(came(j, Valid), 9+float64(j.Seed)/100), true
			case "ugly":
				if first {
					return came(j, Failed), true
				}
			case "bad":
				if first {
					return came(j, Unknown), true
				}
			case "worse":
				return came(j, Invalid), true
			case "half", "seeded":
				if !first {
					return Outcome{}, false
				}
			case "retried": // the one that made up for it has another seed
				if first {
					return recovered(came(j, Unknown, Unknown), 1), true
				}
			case "again":
				return recovered(came(j, Unknown, Valid), 1), true
			case "mute":
				return came(j, Valid), true
			case "none":
				return Outcome{}, false
			}
			return recovered(came(j, Valid), 1), true
		})
		r := g.Report()
		r.Began = aDay(9)
		g.Learn(&r, accept)
		var runs []string
		for _, c := range slices.SortedFunc(slices.Values(cells), func(a, b Cell) int { return strings.Compare(a.Name, b.Name) }) {
			runs = append(runs, c.Name, fmt.Sprint(len(b.Runs(c, someMachine))))
		}
		if got := strings.Join(runs, " "); got != want.runs {
			t.Errorf("accepting %t:\ngot  %s\nwant %s", accept, got, want.runs)
		}
		if n := len(want.words); len(r.Baseline) < n || !slices.Equal(r.Baseline[:n], want.words) || len(r.Baseline) != 8-map[bool]int{true: 1}[accept] {
			t.Errorf("accepting %t: %s", accept, strings.Join(r.Baseline, "\n"))
		}
		// Going on after that it comes to the same again, and adds it once.
		before := text(t, b)
		g.Learn(&r, accept)
		if again := text(t, b); again != before {
			t.Errorf("learned twice it is\n%s\nand was\n%s", again, before)
		}
		if why := g.baseline.Why(cells[0], someMachine); why != "" || len(g.baseline.Runs(cells[0], someMachine)) != 12 {
			t.Errorf("it compares with what it has added itself: %s", why)
		}
	}
}

// A cell whose seeds were tried again with others has not been run with its own.
func TestARetryIsNoRunOfItsSeed(t *testing.T) {
	c := plain("a", 2)
	c.Seeds = []uint64{3, 4}
	b := known(c)
	g := New(Plan{Cells: []Cell{c}}, Options{Draw: counting(), Baseline: b, Machine: someMachine, Session: "now"})
	performed(g, func(j Job) (Outcome, bool) {
		if j.Seed == 3 {
			return recovered(came(j, Unknown, Valid), 1), true // which has the seed 4
		}
		return recovered(came(j, Valid), 1), true
	})
	r := g.Report()
	r.Began = aDay(9)
	if g.Learn(&r, false); r.Cells[0].Status != CellPassed || len(b.Runs(c, someMachine)) != 12 || !strings.Contains(strings.Join(r.Baseline, "\n"), "seeds were not all run as often: a") {
		t.Errorf("%s: %q", r.Cells[0].Status, r.Baseline)
	}
}

func TestManyCellsThatAreLeftOutAreCut(t *testing.T) {
	p, _ := large(100)
	g := New(p, Options{Draw: counting(), Baseline: &Baseline{}, Machine: someMachine, Session: "now"})
	r := g.Report()
	if g.Learn(&r, false); len(r.Baseline) != 2 || r.Baseline[0] != "runs of 0 cells were added to the baseline" || !strings.HasSuffix(r.Baseline[1], " and 90 more") {
		t.Errorf("%q", r.Baseline)
	}
}

// The policy may have fewer fresh runs than a test can tell anything with. Those that are handed out
// can, and where time ends before all of them are there the cell is unknown, which is no failure
// unless what was not run is one.
func TestFreshRunsAreEnoughToTell(t *testing.T) {
	c := plain("a", 3)
	for _, x := range []struct {
		confirm, made, want int
		unrunFails          bool
		status              Status
		fails               bool
	}{
		{confirm: 1, made: 9, want: 6, status: CellRegressed, fails: true},
		{confirm: 3, made: 9, want: 6, status: CellRegressed, fails: true},
		{confirm: 8, made: 9, want: 8, status: CellRegressed, fails: true},
		{confirm: 1, made: 0, want: 6, status: CellUnknown},
		{confirm: 1, made: 1, want: 6, status: CellUnknown},
		{confirm: 1, made: 1, want: 6, status: CellUnknown, unrunFails: true, fails: true},
	} {
		b := known(c)
		g := New(Plan{Cells: []Cell{c}, Policy: Policy{UnrunFails: x.unrunFails, Regression: Regression{Confirm: x.confirm, ErrorRate: 0.01, Least: 0.25}}},
			Options{Draw: counting(), Baseline: b, Machine: someMachine, Session: "now"})
		made := 0
		got := performed(g, func(j Job) (Outcome, bool) {
			if j.Purpose == ForConfirmation {
				if made++; made > x.made {
					return Outcome{}, false
				}
			}
			return recovered(came(j, Valid), 9+float64(j.Seed)/100), true
		})
		r := g.Report()
		if cell := r.Cells[0]; got != x.want || cell.Status != x.status || cell.Fails != x.fails {
			t.Errorf("%+v: %d fresh runs; %s, fails %t: %s", x, got, cell.Status, cell.Fails, cell.Why)
		}
		if r.Began = aDay(9); x.status == CellUnknown {
			if g.Learn(&r, true); len(b.Runs(c, someMachine)) != 12 || len(r.Baseline) != 2 {
				t.Errorf("%+v: what is suspected was added: %q", x, r.Baseline)
			}
		}
	}
}

// What is suspected is asked before what nobody has seen yet, also after a restart.
func TestRestoreHandsOutConfirmationFirst(t *testing.T) {
	p := Plan{Cells: []Cell{plain("a", 1), plain("b", 2), plain("c", 1)}, Policy: Policy{Regression: Regression{Confirm: 2, ErrorRate: 0.01}}}
	first := New(p, Options{Draw: counting()}).First()
	g := New(p, Options{Draw: counting()})
	judgements(g)
	var order []string
	for _, j := range g.Restore(first[:1], []Outcome{becomes['w'](first[0])}) {
		order = append(order, j.Cell+" "+string(j.Purpose))
	}
	if want := []string{"a confirmation", "a confirmation", "b coverage", "c coverage", "b coverage"}; !slices.Equal(order, want) {
		t.Errorf("%q", order)
	}
}

func TestRedeliveriesAreTold(t *testing.T) {
	g := New(Plan{Cells: []Cell{plain("a", 8)}}, Options{Draw: counting()})
	deliveries := map[string]int{"a-1": 1, "a-2": 2, "a-4": 3, "a-5": 3, "a-6": 2, "a-7": 5}
	performed(g, func(j Job) (Outcome, bool) {
		o := becomes['v'](j)
		if j.ID == "a-5" { // which is why it was set aside, and told so
			o = becomes['s'](j)
		}
		o.Deliveries = deliveries[j.ID]
		return o, true
	})
	want := "4 jobs were handed out more than once, as a worker was lost, stopped or failed: a-2 (2 times), a-4 (3 times), a-6 (2 times) and 1 more"
	if r := g.Report(); !slices.Contains(r.Trouble, want) {
		t.Errorf("of %v it tells %q", deliveries, r.Trouble)
	}
}
