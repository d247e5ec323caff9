package gate

import (
	"fmt"
	"slices"
	"strings"
)

// Learn adds to the baseline what the cells of a report of this gate have measured, in place of
// what this session has added before, and says in the report what was added and what was left out.
//
// A cell is added that has passed, all of whose runs are valid, and of whose seeds, if it has
// some, each was run as often as the others: what was lost, or was not run, may be what took
// longest. What looks worse without an answer leaves a cell unknown, and so out; what was asked
// with fresh runs, and proved to be within what sessions differ by, is how this one differed.
// A cell that has regressed is left out, so that it regresses until it is mended, unless somebody
// accepts that: then what was before is forgotten, and it begins anew.
func (g *Gate) Learn(r *Report, accept bool) {
	b, m := g.options.Baseline, g.options.Machine
	added, anew := 0, 0
	var reasons []string // in the order of the plan
	left := map[string][]string{}
	for i, c := range g.cells {
		report := r.Cells[i]
		runs, why := c.learned(report, accept)
		if why == "" {
			regressed := report.Status == CellRegressed
			if regressed {
				b.Forget(c.Cell, m)
				anew++
			}
			if b.Add(c.Cell, m, g.options.Session, r.Began, runs) > 0 || regressed {
				added++
				continue
			}
			why = "that measured nothing to compare"
		}
		if left[why] == nil {
			reasons = append(reasons, why)
		}
		left[why] = append(left[why], c.Name)
	}
	words := fmt.Sprintf("runs of %s were added to the baseline", count(added, "cell"))
	if anew > 0 {
		words += fmt.Sprintf("; %d of them regressed, which is accepted: what was measured before is forgotten", anew)
	}
	r.Baseline = []string{words}
	for _, why := range reasons {
		const shown = 10
		names := strings.Join(left[why][:min(len(left[why]), shown)], ", ")
		if more := len(left[why]) - shown; more > 0 {
			names += fmt.Sprintf(" and %d more", more)
		}
		words := fmt.Sprintf("left out: %s %s: %s", count(len(left[why]), "cell"), why, names)
		if why == whyRegressed {
			words += "; --accept-regressions takes what is measured now for the new baseline"
		}
		r.Baseline = append(r.Baseline, words)
	}
}

// whyRegressed is why cells are left out that somebody may accept.
const whyRegressed = "that regressed"

// learned returns what a baseline learns of a cell, or why nothing.
func (c *cell) learned(r CellReport, accept bool) (runs []Measures, why string) {
	switch {
	case r.Status == CellRegressed && !accept:
		return nil, whyRegressed
	case r.Status != CellPassed && r.Status != CellRegressed:
		return nil, fmt.Sprintf("with the status %q", r.Status)
	case slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.verdict() != Valid }):
		return nil, "with runs that are not valid"
	}
	seeds := map[Purpose]map[uint64]int{ForCoverage: {}, ForConfirmation: {}}
	for _, o := range r.Outcomes {
		last := o.Last()
		runs = append(runs, last.Measures)
		seeds[o.Job.Purpose][last.Seed]++ // one that was tried again has another than its job
	}
	for _, s := range c.Seeds {
		if seeds[ForCoverage][s]*len(c.Seeds) < c.runs() || seeds[ForConfirmation][s]*len(c.Seeds) < c.confirmations {
			return nil, "whose seeds were not all run as often"
		}
	}
	return runs, ""
}
