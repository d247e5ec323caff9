package gate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The exit statuses of a report.
const (
	exitPassed  = 0
	exitFailed  = 1   // proven against a system
	exitUnknown = 2   // what fails could not be told
	exitBroken  = 255 // hacheck or the machine failed
)

// Report says what the outcomes so far come to: the cells in the order of the plan, groups, the
// comparison, the status. Who asks fills in the rest.
//
// The status is 1 if a cell fails that is invalid, broken or regressed: what is proven is not
// undone by what went wrong elsewhere. Else it is 255 if a cell has failed. Else it is 2 if a
// cell fails for which there is no word on the system: an unknown one, one that was not run, and
// always one that was refused, since a machine that cannot do what the plan asks for must not be
// green for it. It is 2 as well if no run at all is valid or invalid. Else it is 0.
func (g *Gate) Report() Report {
	r := Report{Machine: g.options.Machine, Cells: make([]CellReport, 0, len(g.cells)), Trouble: slices.Clone(g.trouble)}
	if g.untold > 0 {
		r.Trouble = append(r.Trouble, fmt.Sprintf("and %d more like these", g.untold))
	}
	among := g.among()
	var lame []string
	runs := 0
	for _, c := range g.cells {
		report := g.report(c, among)
		if n := unjudged(c.outcomes); n > 0 && report.Status != CellFailed && report.Status != CellRefused {
			lame = append(lame, c.Name)
			runs += n
		}
		r.Cells = append(r.Cells, report)
	}
	if len(lame) > 0 {
		const shown = 3
		names := strings.Join(lame[:min(len(lame), shown)], ", ")
		if len(lame) > shown {
			names += fmt.Sprintf(" and %d more", len(lame)-shown)
		}
		r.Trouble = append(r.Trouble, fmt.Sprintf("%s came to no verdict in cells that are judged by others: %s", count(runs, "run"), names))
	}
	if words := g.redelivered(); words != "" {
		r.Trouble = append(r.Trouble, words)
	}
	r.Groups = g.groups()
	r.Comparison = g.comparison(r.Cells)
	r.Status = exitStatus(r.Cells)
	return r
}

// redelivered says which jobs came to their end though whoever had them first did not, if any.
// Those that were set aside are told elsewhere.
func (g *Gate) redelivered() string {
	const shown = 3
	var jobs []string
	n := 0
	for _, c := range g.cells {
		for _, o := range c.outcomes {
			if o.Deliveries < 2 || o.verdict() == SetAside {
				continue
			}
			if n++; n <= shown {
				jobs = append(jobs, fmt.Sprintf("%s (%d times)", o.Job.ID, o.Deliveries))
			}
		}
	}
	if n == 0 {
		return ""
	}
	words := fmt.Sprintf("%s handed out more than once, as a worker was lost, stopped or failed: %s", count(n, "job")+were(n), strings.Join(jobs, ", "))
	if n > shown {
		words += fmt.Sprintf(" and %d more", n-shown)
	}
	return words
}

// were is the verb behind a number.
func were(n int) string {
	if n == 1 {
		return " was"
	}
	return " were"
}

// exitStatus returns the status that cells make together; see [Gate.Report].
func exitStatus(cells []CellReport) int {
	fails := map[Status]bool{}
	judged := false
	for _, c := range cells {
		if c.Fails {
			fails[c.Status] = true
		}
		judged = judged || c.Counts[Valid]+c.Counts[Invalid] > 0
	}
	switch {
	case fails[CellInvalid], fails[CellBroken], fails[CellRegressed]:
		return exitFailed
	case fails[CellFailed]:
		return exitBroken
	case len(fails) > 0, !judged:
		return exitUnknown
	}
	return exitPassed
}

// among returns how many comparisons of the gate look worse and are confirmed. That some of the
// confirming runs may not come makes the tests of the others stricter than they need to be.
func (g *Gate) among() int {
	n := 0
	for _, c := range g.cells {
		n += c.suspected
	}
	return max(n, 1)
}

// report says what became of a cell.
func (g *Gate) report(c *cell, among int) CellReport {
	r := CellReport{
		Name: c.Name, System: c.System, Workload: c.Workload, Nemesis: c.Nemesis, Line: c.Line,
		Outcomes: append([]Outcome{}, c.outcomes...), Counts: map[Class]int{}, Sure: sureness(c.outcomes),
	}
	for _, o := range c.outcomes {
		for _, a := range o.Attempts {
			r.Counts[a.Class]++
			r.Took += a.Took
		}
		if len(o.Attempts) == 0 {
			r.Counts[o.verdict()]++
		}
	}
	if r.Counts[Valid]+r.Counts[Invalid]+r.Counts[Unknown] > 0 {
		r.Promises = g.judge(c.Promises, c.outcomes)
		if screened := c.measured(ForCoverage); g.before != nil && len(screened) > 0 {
			var confirmed []Measures
			if c.suspected > 0 {
				confirmed = c.measured(ForConfirmation)
			}
			r.Comparisons = g.compare(g.before(c.Cell), screened, confirmed, g.plan.Policy.Regression, among)
		}
	}
	r.Status, r.Fails, r.Why = g.judgement(c, r.Promises, r.Comparisons)
	return r
}

// judgement returns the status of a cell, whether the gate fails for it, and why.
//
// One run is enough for the worse: an attempt that is invalid, a promise that is broken. Runs that
// came to no verdict say nothing of the system, for or against; where they are the most a cell has
// failed, or was refused if they all were. Else it is judged by the others, and says so.
//
// A cell is unknown if a run stayed so or was set aside, or if nobody knows whether a promise was
// held; that fails by the policy. It is unknown as well if it looks worse than the baseline and the
// runs that would tell are not there, or do not measure it: that fails if cells without runs do, where
// time is what they lack, and else as what is unknown does.
func (g *Gate) judgement(c *cell, promises []PromiseReport, comparisons []Comparison) (status Status, fails bool, why string) {
	policy := g.plan.Policy
	counts := map[Class]int{}
	for _, o := range c.outcomes {
		counts[o.verdict()]++
	}
	made := len(c.outcomes)
	silent := unjudged(c.outcomes)
	switch {
	case counts[Invalid] > 0:
		return CellInvalid, true, whyInvalid(c.outcomes, counts[Invalid])
	case slices.ContainsFunc(promises, broken):
		return CellBroken, true, first(promises, broken, func(p PromiseReport) string { return p.Words })
	case slices.ContainsFunc(comparisons, regressed):
		return CellRegressed, true, first(comparisons, regressed, wordsOf)
	case made == 0:
		return CellNotRun, policy.UnrunFails, fmt.Sprintf("none of its %s was made", count(c.runs(), "run"))
	case counts[Refused] == made:
		return CellRefused, true, "this machine, or the system, does not do it: " + wordsFor(c.outcomes, Refused)
	case 2*silent > made: // the few others say little of it
		return CellFailed, true, fmt.Sprintf("%s came to no verdict: %s", share(silent, made), wordsFor(c.outcomes, Failed, SetAside, Refused))
	}
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if n := counts[SetAside]; n > 0 { // who could not be brought to an end may be what is looked for
		note("%s took down whoever performed it: %s", share(n, made), wordsFor(c.outcomes, SetAside))
	}
	if n := counts[Unknown]; n > 0 {
		note("%s stayed unknown: %s", share(n, made), wordsFor(c.outcomes, Unknown))
	}
	if slices.ContainsFunc(promises, unmeasured) {
		note("%s", first(promises, unmeasured, func(p PromiseReport) string { return p.Words }))
	}
	if len(notes) > 0 {
		status, fails = CellUnknown, !policy.UnknownWarns
	}
	if slices.ContainsFunc(comparisons, undecided) {
		// Fresh runs that were made, and told nothing, lacked no time.
		lacking := policy.UnrunFails
		if g.confirmed(c) {
			lacking = !policy.UnknownWarns
		}
		status, fails = CellUnknown, fails || lacking
		note("it looks worse than the baseline, and %s: %s", g.lacking(c), first(comparisons, undecided, wordsOf))
	}
	if silent > 0 {
		note("%s came to no verdict: %s", share(silent, made), wordsFor(c.outcomes, Failed, SetAside, Refused))
	}
	if n := c.covered(); n < c.runs() {
		note("%d of its %d runs were made", n, c.runs())
		if policy.UnrunFails {
			fails = true
			if status == "" {
				status = CellNotRun
			}
		}
	}
	if status == "" {
		status = CellPassed
	}
	return status, fails, strings.Join(notes, "; ")
}

// covered returns how many of the cell's runs for coverage have come to a verdict.
func (c *cell) covered() int {
	n := 0
	for _, o := range c.outcomes {
		if o.Job.Purpose == ForCoverage && o.Class.Judged() {
			n++
		}
	}
	return n
}

// confirmed says that all fresh runs have come that were handed out, whatever became of them.
func (g *Gate) confirmed(c *cell) bool {
	n := 0
	for _, o := range c.outcomes {
		if o.Job.Purpose == ForConfirmation {
			n++
		}
	}
	return n > 0 && n >= c.confirmations
}

// lacking says what there is too little of to tell whether a cell is worse.
func (g *Gate) lacking(c *cell) string {
	if n := len(c.measured(ForConfirmation)); n > 0 && n >= c.confirmations {
		return "the fresh runs do not tell"
	}
	return "the runs that would tell were not made"
}

func broken(p PromiseReport) bool     { return p.Known && !p.Held }
func unmeasured(p PromiseReport) bool { return !p.Known }
func regressed(c Comparison) bool     { return c.Regressed }
func undecided(c Comparison) bool     { return c.Suspected && c.Open && !c.Regressed }
func wordsOf(c Comparison) string     { return c.Metric + " " + c.Statistic + " " + c.Words }

// verdict returns what a job came to. An attempt that is invalid counts wherever it is. An unknown
// one is made up for by a valid one after it, and by nothing else. A class that no
// attempt bears out is no verdict.
func (o *Outcome) verdict() Class {
	is := func(class Class) func(Attempt) bool { return func(a Attempt) bool { return a.Class == class } }
	last := o.Last()
	switch {
	case slices.ContainsFunc(o.Attempts, is(Invalid)):
		return Invalid
	case o.Class == SetAside:
		return SetAside
	case last != nil && last.Class == Valid:
		return Valid
	case slices.ContainsFunc(o.Attempts, is(Unknown)):
		return Unknown
	case last == nil && o.Class == Refused, last != nil && last.Class == Refused:
		return Refused
	}
	return Failed
}

// Measured returns what the job has measured: that of its last attempt that came to a verdict, so
// that a job counts once, however often it was tried. It is nil if there is none.
func (o *Outcome) Measured() Measures {
	for _, a := range slices.Backward(o.Attempts) {
		if a.Class.Judged() && a.Measures != nil {
			return a.Measures
		}
	}
	return nil
}

// measured returns what the jobs of that purpose have measured: of a cell whose seeds are named, in
// whole turns, since those that are run first may be the hard ones.
func (c *cell) measured(p Purpose) []Measures {
	turns := c.turns(p)
	var all []Measures
	seen := map[uint64]int{}
	for _, o := range c.outcomes {
		m := o.Measured()
		if m == nil || o.Job.Purpose != p {
			continue
		}
		if seen[o.Job.Seed]++; len(c.Seeds) == 0 || seen[o.Job.Seed] <= turns {
			all = append(all, m)
		}
	}
	return all
}

// turns returns how often each of the seeds that are named was run to a verdict for that purpose, at
// least.
func (c *cell) turns(p Purpose) int {
	ran := map[uint64]int{}
	for _, o := range c.outcomes {
		if o.Job.Purpose == p && o.Measured() != nil {
			ran[o.Job.Seed]++
		}
	}
	turns := 0
	for i, s := range c.Seeds {
		if n := ran[s]; i == 0 || n < turns {
			turns = n
		}
	}
	return turns
}

// unjudged returns how many jobs came to no verdict.
func unjudged(outcomes []Outcome) int {
	n := 0
	for _, o := range outcomes {
		if !o.verdict().Judged() {
			n++
		}
	}
	return n
}

// whyInvalid says what was found first, and how much of it there is.
func whyInvalid(outcomes []Outcome, n int) string {
	var found string
	ran, showed := 0, 0
	for _, o := range outcomes {
		for _, a := range o.Attempts {
			if a.Class != Invalid || found != "" {
				continue
			}
			if found = clip(a.Words); len(a.Findings) > 0 {
				f := a.Findings[0]
				found = strings.TrimSuffix(f.Checker+": "+f.Kind+": "+clip(f.Note), ": ")
			}
		}
		ran += o.Ran
		showed += o.Showed
	}
	why := share(n, len(outcomes)) + " found what must not be"
	if found != "" {
		why += ": " + found
	}
	if ran > 0 {
		why += fmt.Sprintf(" (shown again by %d of %s)", showed, count(ran, "repeat"))
	}
	return why
}

// wordsFor returns the first words of a job that came to one of the classes, the first of them
// first.
func wordsFor(outcomes []Outcome, classes ...Class) string {
	for _, class := range classes {
		for _, o := range outcomes {
			if o.verdict() != class {
				continue
			}
			for _, a := range slices.Backward(o.Attempts) {
				if words := clip(a.Words); words != "" && (class != Unknown || a.Class == Unknown) {
					return words
				}
			}
			if words := clip(o.Words); words != "" {
				return words
			}
		}
	}
	return "it did not say why"
}

// maxWords is how much of the words of a run is in a sentence, in bytes.
const maxWords = 300

// clip returns the first line of words, or the beginning of it.
func clip(words string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(words), "\n")
	if line = strings.TrimSpace(line); len(line) > maxWords {
		line = strings.ToValidUTF8(line[:maxWords], "") + "..."
	}
	return line
}

// first returns the words of the first that is so, and of how many others it is too.
func first[T any](all []T, is func(T) bool, words func(T) string) string {
	var text string
	n := 0
	for _, x := range all {
		if is(x) {
			if n++; n == 1 {
				text = words(x)
			}
		}
	}
	if n > 1 {
		text += fmt.Sprintf("; and %d more like it", n-1)
	}
	return text
}

// share returns how many runs of all: "2 of 3 runs", "all 3 runs".
func share(n, of int) string {
	switch {
	case of == 1:
		return "its only run"
	case n == of:
		return fmt.Sprintf("all %d runs", of)
	}
	return fmt.Sprintf("%d of %d runs", n, of)
}

// comparison says how distributions were compared, or why they were not.
func (g *Gate) comparison(cells []CellReport) string {
	if g.plan.Policy.Regression.Off {
		return "nothing was compared, as the plan has it"
	}
	if g.before == nil {
		return "nothing was compared: there is no baseline"
	}
	n, of, worse := 0, 0, 0
	for _, c := range cells {
		if len(c.Comparisons) > 0 {
			n++
		}
		of += len(c.Comparisons)
		for _, x := range c.Comparisons {
			if x.Regressed {
				worse++
			}
		}
	}
	why := g.uncompared(cells)
	if of == 0 {
		return "nothing was compared: " + cmp.Or(why, "nothing was measured that can be")
	}
	looked := 0
	for _, c := range g.cells {
		looked += c.suspected
	}
	words := fmt.Sprintf("%s of %s compared with the baseline: %d looked worse, and %d of them proved so in fresh runs; where nothing has changed, and this day is like those of the baseline, a gate says that of any with a chance of about %.3g %%",
		count(of, "statistic"), count(n, "cell"), looked, worse, 100*g.plan.Policy.Regression.ErrorRate)
	if why != "" {
		words += "; not compared: " + why
	}
	return words
}

// uncompared says why cells were compared with nothing: of the first that was not, and how many
// more there are.
func (g *Gate) uncompared(cells []CellReport) (why string) {
	more := 0
	for i, c := range cells {
		if len(c.Comparisons) > 0 {
			continue
		}
		switch reason := g.baseline.Why(g.cells[i].Cell, g.options.Machine); {
		case reason == "": // it measured nothing
		case why == "":
			why = reason
		default:
			more++
		}
	}
	if more > 0 {
		why += fmt.Sprintf("; likewise of %s more", count(more, "cell"))
	}
	return why
}
