package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hacheck/hacheck/internal/gate"
)

// GateJUnit writes what a gate came to as CI systems read the results of tests: a case for each
// cell, of the class of its system.
//
// What is proven against the system is a failure, with the words and the witness: an invalid
// run, a broken promise, a regression. What came to no verdict is an error. What is unknown, was
// refused or was not run is an error if the gate fails for it; else it is skipped, with its reason,
// for skipped is not passed, and no gate that passed is shown as failed. A gate that did not pass
// though no cell says so, or that ran nothing, has a case of its own for that.
func GateJUnit(w io.Writer, r gate.Report) error {
	suite := junitSuite{Name: cmp.Or(Printable(oneLine(r.Plan)), "hacheck gate"), Time: junitSeconds(r.Took), Timestamp: junitTime(r.Began), Properties: gateProperties(r)}
	items := gateItems(r)
	for i := range r.Cells {
		suite.add(gateCaseOf(r, &r.Cells[i], items))
	}
	if word, _ := gateVerdict(r); suite.Failures+suite.Errors == 0 && (r.Status != 0 || len(r.Cells) == 0) {
		trouble := strings.Join(r.Trouble, "\n")
		why := fmt.Sprintf("%s: %s", strings.ToLower(word), cmp.Or(oneLine(trouble), gateRan(r)))
		suite.add(junitCase{Class: "hacheck", Name: "gate", Time: junitSeconds(0), Error: gateFailure("no verdict", why, trouble)})
	}
	if len(r.Trouble) > 0 {
		suite.Err = &junitOutput{Printable(strings.Join(r.Trouble, "\n"))}
	}
	suite.Out = junitText("", func(t *text) {
		t.paragraph("", "", gateHow(r))
		for _, s := range gateSures(r) {
			t.paragraph("", "  ", s)
		}
		if r.Comparison != "" {
			t.paragraph("", "  ", r.Comparison)
		}
		for _, words := range r.Baseline {
			t.paragraph("", "  ", words)
		}
	})
	return suite.write(w)
}

// gateFailure is why a case does not pass: in a line, and with all there is to say of it.
func gateFailure(kind, message, text string) *junitFailure {
	return &junitFailure{Message: Printable(clip(oneLine(message), maxNote)), Type: Printable(oneLine(kind)), Text: Printable(cmp.Or(text, message))}
}

// gateName is what a cell is called among those of its system.
func gateName(c *gate.CellReport) string {
	return cmp.Or(strings.TrimPrefix(c.Name, c.System+"/"), c.Workload+"/"+c.Nemesis)
}

// gateCaseOf makes a case of a cell.
func gateCaseOf(r gate.Report, c *gate.CellReport, items map[gateKind][]gateItem) junitCase {
	made := junitCase{Class: Printable(oneLine(c.System)), Name: Printable(oneLine(gateName(c))), Time: junitSeconds(c.Took), Properties: cellProperties(c)}
	message, details := gateWords(r, c, items)
	out := junitText(c.Sure.Words, func(t *text) {
		for _, p := range c.Promises {
			t.paragraph("", "  ", p.Words)
		}
		for _, n := range c.Comparisons {
			t.paragraph("", "  ", gateCompared(n))
		}
	})
	switch made.Out = out; {
	case c.Status == gate.CellPassed && !c.Fails:
	case c.Status == gate.CellInvalid || c.Status == gate.CellBroken || c.Status == gate.CellRegressed:
		made.Failure = gateFailure(string(c.Status), message, details)
	case c.Status == gate.CellUnknown && !c.Fails, c.Status == gate.CellRefused && !c.Fails, c.Status == gate.CellNotRun && !c.Fails:
		made.Skipped = &junitSkipped{Printable(clip(oneLine(string(c.Status)+": "+message), maxNote))}
	default:
		made.Error = gateFailure(cmp.Or(string(c.Status), "unknown"), message, details)
	}
	return made
}

// gateWords say of a cell why it is not passed: in a line, and with the witnesses and what is
// to be said beside them.
func gateWords(r gate.Report, c *gate.CellReport, items map[gateKind][]gateItem) (message, all string) {
	var parts []string
	for _, g := range r.Groups {
		if !slices.Contains(g.Cells, c.Name) {
			continue
		}
		message = cmp.Or(message, g.Kind+": "+g.Example)
		parts = append(parts, cellWitness(r, c, g))
	}
	for _, kind := range gateKinds {
		var words []string
		for _, i := range items[kind] {
			if i.cell == c {
				words = append(words, i.words)
			}
		}
		if len(words) > 0 {
			message = cmp.Or(message, words[0])
			parts = append(parts, string(kind)+":\n"+strings.Join(words, "\n"))
		}
	}
	return cmp.Or(message, c.Why, string(c.Status)), strings.Join(parts, "\n\n")
}

// cellWitness tells of a group: with the witness of a run of the cell itself, if there is one.
func cellWitness(r gate.Report, c *gate.CellReport, g gate.Group) string {
	witness, next := g.Witness, gateNext(r, g)
	for _, o := range c.Outcomes {
		if !slices.Contains(g.Jobs, o.Job.ID) {
			continue
		}
		at := slices.IndexFunc(o.Attempts, func(a gate.Attempt) bool {
			return a.Witness != "" && slices.ContainsFunc(a.Findings, func(f gate.Finding) bool { return f.Checker == g.Checker })
		})
		if at < 0 {
			continue
		}
		a := o.Attempts[at]
		witness = a.Witness
		next = nil
		if len(a.Repeat) > 0 {
			next = append(next, Next{"run again:", "hacheck " + Quote(a.Repeat...)})
		}
		if a.Dir != "" {
			next = append(next, Next{"files:", Quote(a.Dir)})
		}
		break
	}
	t := &text{Style: Style{Width: junitWidth}}
	t.paragraph("", "  ", g.Kind+": "+g.Example)
	t.paragraph("  ", "    ", "found by "+g.Checker+" in "+gateWhere(g))
	if witness = gateWitness(witness, maxSummaryWitness, maxSummaryLine); witness != "" {
		t.line("\n%s", witness)
	}
	t.next(next)
	return strings.TrimSuffix(t.b.String(), "\n")
}

// gateProperties are what is to be known of a gate to compare it.
func gateProperties(r gate.Report) *junitProperties {
	var p junitProperties
	p.add("command", r.Command)
	p.add("plan", r.Plan)
	p.add("hacheck", r.Hacheck)
	if r.Machine.OS != "" {
		p.add("os", r.Machine.OS+"/"+r.Machine.Arch)
		p.add("cpus", fmt.Sprint(r.Machine.CPUs))
	}
	p.add("jobs", fmt.Sprint(r.Jobs))
	p.add("status", fmt.Sprint(r.Status))
	p.add("dir", r.Dir)
	return &p
}

// cellProperties are the numbers of a cell: its runs, their seeds, and what they measured. It
// is nil of a cell without any.
func cellProperties(c *gate.CellReport) *junitProperties {
	var p junitProperties
	for _, class := range slices.Sorted(maps.Keys(c.Counts)) {
		p.add("runs."+string(class), fmt.Sprint(c.Counts[class]))
	}
	var seeds []string
	measured := gate.Measures{}
	for _, o := range c.Outcomes {
		for _, a := range o.Attempts {
			seeds = append(seeds, strconv.FormatUint(a.Seed, 10))
			for name, m := range a.Measures {
				all := measured[name]
				all.Values, all.Least = append(all.Values, m.Values...), append(all.Least, m.Least...)
				measured[name] = all
			}
		}
	}
	p.add("seeds", strings.Join(seeds, " "))
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		values := slices.Sorted(slices.Values(measured[name].Values))
		number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
		p.add("measure."+name+".n", fmt.Sprint(len(values)))
		if n := len(values); n > 0 {
			p.add("measure."+name+".median", number((values[(n-1)/2]+values[n/2])/2))
			p.add("measure."+name+".min", number(values[0]))
			p.add("measure."+name+".max", number(values[n-1]))
		}
		if n := len(measured[name].Least); n > 0 {
			p.add("measure."+name+".unfinished", fmt.Sprint(n))
		}
	}
	if c.Sure.Runs > 0 {
		p.add("rate at most", strconv.FormatFloat(c.Sure.Most, 'f', 4, 64))
	}
	if len(p.All) == 0 {
		return nil
	}
	return &p
}
