package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/gate"
)

// The sizes of what a page shows of a gate; all of it is in gate.json.
const (
	maxGateCells   = 60 // cells in a table; where there are more, those that passed are left out first
	maxGateGroups  = 12
	maxGateItems   = 20 // of any other list
	maxGateWitness = 40 // lines
)

// GateText writes what a gate came to: the verdict with what was run, the cells, then what
// failed with its witnesses and the commands that repeat it, what is not known and why, what
// went wrong in hacheck or on the machine, what was not run, and how much the runs can tell.
//
// It is read in the logs of CI systems, too, some of which take lines for commands: what comes
// of a run begins none.
func GateText(w io.Writer, r gate.Report, s Style) error {
	if s.Width <= 0 {
		s.Width = defaultWidth
	}
	t := &text{Style: s}
	t.gateTitle(r)
	t.gateCells(r)
	t.gateGroups(r)
	t.gateItems(r)
	t.gateSure(r)
	if r.Dir != "" {
		t.section()
		t.line("files:  %s", Quote(r.Dir))
	}
	_, err := io.WriteString(w, uncommanded(t.printable()))
	return err
}

// uncommanded returns text no line of which is a command to the runner of GitHub Actions: that
// takes for one what begins with two colons, whatever blanks stand before them, and what has
// "##[" anywhere.
func uncommanded(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		bare := paints.ReplaceAllString(l, "")
		if strings.HasPrefix(strings.TrimSpace(bare), "::") {
			l = strings.Replace(l, "::", ":\u200b:", 1)
		}
		lines[i] = strings.ReplaceAll(l, "##[", "##\u200b[")
	}
	return strings.Join(lines, "\n")
}

// gateVerdict returns the verdict in a word or two, with its colour. It is green only if every
// cell has passed, and there are some.
func gateVerdict(r gate.Report) (word, colour string) {
	passed := 0
	for _, c := range r.Cells {
		if c.Status == gate.CellPassed {
			passed++
		}
	}
	switch {
	case r.Status == 1:
		return "FAILED", red
	case r.Status == 2:
		return "UNKNOWN", yellow
	case r.Status != 0:
		return "NO VERDICT", yellow
	case passed == 0:
		return "NOTHING PASSED", yellow
	case passed < len(r.Cells):
		return "PASSED", yellow
	}
	return "PASSED", green
}

// gateRan says what was run: "12 cells, 24 runs in 4 m 10 s".
func gateRan(r gate.Report) string {
	runs := 0
	statuses := map[gate.Status]int{}
	for _, c := range r.Cells {
		runs += gateRuns(c)
		statuses[c.Status]++
	}
	s := fmt.Sprintf("%s, %s in %s", checker.Count(len(r.Cells), "cell"), checker.Count(runs, "run"), gateTook(r.Took))
	if passed := statuses[gate.CellPassed]; passed < len(r.Cells) {
		var each []string
		for _, status := range gate.Statuses {
			if n := statuses[status]; n > 0 {
				each = append(each, fmt.Sprintf("%d %s", n, status))
			}
		}
		s += ": " + strings.Join(each, ", ")
	}
	if r.Interrupted {
		s += "; interrupted"
	}
	if r.OutOfTime {
		s += "; the time was up"
		if r.Budget > 0 {
			s = strings.TrimSuffix(s, "the time was up") + "the budget of " + gateTook(r.Budget) + " was used up"
		}
	}
	return s
}

// gateHow says what it was run with, on what.
func gateHow(r gate.Report) string {
	var all []string
	if r.Command != "" {
		all = append(all, r.Command)
	}
	if r.Hacheck != "" {
		all = append(all, "hacheck "+r.Hacheck)
	}
	if m := r.Machine; m.OS != "" {
		all = append(all, m.OS+"/"+m.Arch, checker.Count(m.CPUs, "CPU"))
	}
	if r.Jobs > 0 {
		all = append(all, checker.Count(r.Jobs, "run")+" at once")
	}
	return strings.Join(all, ", ")
}

// gateTook returns seconds as a person takes them in: "4 m 10 s".
func gateTook(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Minute {
		return checker.Brief(max(d, 0))
	}
	d = d.Round(time.Second)
	if h := d / time.Hour; h > 0 {
		return fmt.Sprintf("%d h %d m", h, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d m %d s", d/time.Minute, d%time.Minute/time.Second)
}

// gateRuns returns how many runs a cell took, with those that were tried again.
func gateRuns(c gate.CellReport) (n int) {
	for _, count := range c.Counts {
		n += count
	}
	return n
}

// gatePercent returns a share as a person takes it in: "22 %", "0.8 %".
func gatePercent(share float64) string {
	switch percent := share * 100; {
	case percent >= 9.95 || percent == 0:
		return fmt.Sprintf("%.0f %%", percent)
	case percent >= 0.095:
		return fmt.Sprintf("%.1f %%", percent)
	default:
		return "<0.1 %"
	}
}

func (t *text) gateTitle(r gate.Report) {
	word, colour := gateVerdict(r)
	indent := strings.Repeat(" ", width(word)+2)
	lines := slices.Concat(Wrap(gateRan(r), t.Width-len(indent)), Wrap(gateHow(r), t.Width-len(indent)))
	for i, l := range lines {
		if i == 0 {
			l = t.paint(colour, word) + "  " + l
		} else {
			l = indent + l
		}
		t.line("%s", l)
	}
}

var gateColumns = []string{"cell", "status", "runs", "invalid", "unknown", "failed", "rate", "time"}

// gateRows returns rows of cells, at most as many as a page has room for, and how many of each
// status were left out. Of what passed there may be any number, of what did not there is to be
// as much as can be read.
func gateRows(cells []gate.CellReport) (rows [][]string, shown []gate.CellReport, left map[gate.Status]int) {
	left = map[gate.Status]int{}
	passed := len(cells) <= maxGateCells
	for _, c := range cells {
		if c.Status == gate.CellPassed && !passed || len(rows) == maxGateCells {
			left[c.Status]++
			continue
		}
		most := "-"
		if c.Sure.Runs > 0 {
			most = "≤ " + gatePercent(c.Sure.Most)
		}
		shown = append(shown, c)
		rows = append(rows, []string{
			c.Name, string(c.Status), fmt.Sprint(gateRuns(c)), fmt.Sprint(c.Counts[gate.Invalid]), fmt.Sprint(c.Counts[gate.Unknown]),
			fmt.Sprint(c.Counts[gate.Failed] + c.Counts[gate.Refused]), most, gateTook(c.Took),
		})
	}
	return rows, shown, left
}

// gateRateOf says what the column of rates has.
const gateRateOf = "rate: of invalid runs, as high as it may be for all that these runs tell, with 95 % confidence"

// gateLeft says what was left out of a table of cells; "" if nothing was.
func gateLeft(left map[gate.Status]int) string {
	var each []string
	for _, status := range gate.Statuses {
		if n := left[status]; n > 0 {
			each = append(each, fmt.Sprintf("%d %s", n, status))
		}
	}
	if len(each) == 0 {
		return ""
	}
	return "not in the table: " + strings.Join(each, ", ") + "; see gate.json"
}

func (t *text) gateCells(r gate.Report) {
	rows, shown, left := gateRows(r.Cells)
	if len(rows) > 0 {
		t.section()
		t.tinted("  ", append([][]string{gateColumns}, rows...), "<<>>>>>>", func(row, column int, cell string) string {
			switch {
			case row == 0 || column != 1:
				return cell
			case shown[row-1].Status == gate.CellPassed:
				return t.paint(green, cell)
			case shown[row-1].Fails:
				return t.paint(red, cell)
			}
			return t.paint(yellow, cell)
		})
	}
	if len(rows) > 0 {
		t.section()
		t.paragraph("  ", "  ", gateRateOf)
	}
	if words := gateLeft(left); words != "" {
		t.paragraph("  ", "  ", words)
	}
}

// gateRate says how often the reruns of a group showed the same; "" if there were none.
func gateRate(g gate.Group) string {
	if g.Ran == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %s showed it", g.Showed, checker.Count(g.Ran, "rerun"))
}

// gateWhere says in which runs and cells a group showed.
func gateWhere(g gate.Group) string {
	cells := gateSome(g.Cells, 3)
	return strings.Join(slices.DeleteFunc([]string{checker.Count(len(g.Jobs), "run") + " of " + cells, gateRate(g)}, func(s string) bool { return s == "" }), "; ")
}

// gateSome lists names, the first of them if there are many.
func gateSome(names []string, most int) string {
	if more := len(names) - most; more > 0 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// gateAgain returns the command that repeats the run whose witness stands for a group; "" if it is
// not known.
func gateAgain(r gate.Report, g gate.Group) string {
	for _, c := range r.Cells {
		for _, o := range c.Outcomes {
			if !slices.Contains(g.Jobs, o.Job.ID) {
				continue
			}
			for _, a := range o.Attempts {
				if len(a.Findings) > 0 && len(a.Repeat) > 0 && a.Witness == g.Witness {
					return "hacheck " + Quote(a.Repeat...)
				}
			}
		}
	}
	return ""
}

// gateNext returns what to type about a group.
func gateNext(r gate.Report, g gate.Group) (next []Next) {
	if again := gateAgain(r, g); again != "" {
		next = append(next, Next{"run again:", again})
	}
	if g.Smallest != "" {
		next = append(next, Next{"smallest schedule:", Quote(g.Smallest)})
	}
	if g.Dir != "" {
		next = append(next, Next{"files:", Quote(g.Dir)})
	}
	return next
}

// gateWitness returns a witness, as many lines of it as there is room for, each of at most as
// many columns.
func gateWitness(witness string, most, columns int) string {
	lines := strings.SplitN(strings.Trim(witness, "\n"), "\n", most+1)
	if len(lines) > most {
		lines[most] = fmt.Sprintf("(and %s)", checker.Count(strings.Count(lines[most], "\n")+1, "more line"))
	}
	for i, l := range lines {
		lines[i] = clip(l, columns)
	}
	return strings.Join(lines, "\n")
}

func (t *text) gateGroups(r gate.Report) {
	for _, g := range r.Groups[:min(len(r.Groups), maxGateGroups)] {
		t.section()
		t.line("%s", t.paint(red, clip(oneLine(g.Kind), t.Width)))
		t.paragraph("  ", "  ", clip(g.Example, maxNote))
		t.paragraph("  ", "    ", "found by "+g.Checker+" in "+gateWhere(g))
		t.section()
		for l := range strings.SplitSeq(gateWitness(g.Witness, maxGateWitness, 3*t.Width), "\n") {
			if l = strings.ReplaceAll(l, "\t", "    "); width("    "+l) <= t.Width {
				t.line("    %s", l)
			} else {
				t.paragraph("    ", "      ", l)
			}
		}
		t.section()
		for _, n := range gateNext(r, g) {
			t.line("  %s  %s", pad(n.Purpose, len("smallest schedule:")), oneLine(n.Command)) // never wrapped: it is to be copied
		}
	}
	if more := len(r.Groups) - maxGateGroups; more > 0 {
		t.section()
		t.paragraph("", "  ", fmt.Sprintf("and %s; see gate.json", checker.Count(more, "more finding")))
	}
}

// oneLine returns s without ends of lines.
func oneLine(s string) string { return strings.NewReplacer("\n", "␊", "\t", " ").Replace(s) }

// The kinds of what is to be said of a cell, in the order in which it is told, with their
// headings.
type gateKind string

const (
	gateInvalid   gateKind = "invalid"
	gateBroken    gateKind = "promises broken"
	gateRegressed gateKind = "regressions"
	gateUnknown   gateKind = "unknown"
	gateFailed    gateKind = "hacheck or the machine failed: no word on the system"
	gateRefused   gateKind = "not done by this machine"
	gateUnrun     gateKind = "not run"
	gateSuspected gateKind = "perhaps worse, and not proven"
)

var gateKinds = []gateKind{gateInvalid, gateBroken, gateRegressed, gateUnknown, gateFailed, gateRefused, gateUnrun, gateSuspected}

// A gateItem is something to be said of a cell that is not one of the groups of findings.
type gateItem struct {
	kind gateKind
	cell *gate.CellReport // nil: of none
	// about names what it is about beside the cell, the same in each gate: "recovery p99".
	about string
	words string
}

// gateItems returns what there is to be said beside the groups, by kind. Each cell that has not
// passed has an item or is in a group, so that none is passed over.
func gateItems(r gate.Report) map[gateKind][]gateItem {
	items := map[gateKind][]gateItem{}
	add := func(kind gateKind, c *gate.CellReport, about, words string) {
		items[kind] = append(items[kind], gateItem{kind, c, about, words})
	}
	grouped := map[string]bool{}
	for _, g := range r.Groups {
		for _, name := range g.Cells {
			grouped[name] = true
		}
	}
	for i := range r.Cells {
		c := &r.Cells[i]
		told := map[gateKind]bool{}
		for _, p := range c.Promises {
			switch {
			case p.Known && !p.Held:
				add(gateBroken, c, gatePromised(p), cmp.Or(p.Words, p.Promise+": it was not held"))
				told[gateBroken] = true
			case !p.Known && c.Status != gate.CellUnknown: // which says so itself
				add(gateUnknown, c, gatePromised(p), cmp.Or(p.Words, p.Promise+": nothing was measured"))
			}
		}
		for _, n := range c.Comparisons {
			switch about := n.Metric + " " + n.Statistic; {
			case n.Regressed:
				add(gateRegressed, c, about, gateCompared(n))
				told[gateRegressed] = true
			case n.Suspected:
				add(gateSuspected, c, about, gateCompared(n))
			}
		}
		for _, o := range c.Outcomes {
			if o.Class == gate.SetAside {
				add(gateFailed, c, "job", fmt.Sprintf("%s was set aside: %s", o.Job.ID, cmp.Or(o.Words, "nobody could bring it to an end")))
			}
			for _, a := range o.Attempts {
				if a.Class == gate.Failed || a.Class == gate.Refused {
					add(gateFailed, c, "run", fmt.Sprintf("seed %d: %s", a.Seed, cmp.Or(a.Words, "it came to no verdict")))
				}
			}
		}
		kind, known := gateKindOf(c.Status)
		why := cmp.Or(c.Why, "it is "+cmp.Or(string(c.Status), "in no status that is known"))
		switch {
		case c.Status == gate.CellPassed && !c.Fails:
		case !known:
			add(gateUnknown, c, "cell", why)
		case told[kind] || kind == gateInvalid && grouped[c.Name]:
		case kind == gateUnknown:
			add(kind, c, "cell", strings.Join(slices.Compact(append([]string{why}, gateUnknowns(c)...)), "; "))
		default:
			add(kind, c, "cell", why)
		}
	}
	for _, trouble := range r.Trouble {
		add(gateFailed, nil, "", trouble)
	}
	return items
}

// gatePromised is what is promised without the bound, which may change though what fails does not.
func gatePromised(p gate.PromiseReport) string {
	what, _, _ := strings.Cut(p.Promise, " at ")
	return what
}

func gateKindOf(s gate.Status) (kind gateKind, known bool) {
	kind, known = map[gate.Status]gateKind{
		gate.CellInvalid: gateInvalid, gate.CellBroken: gateBroken, gate.CellRegressed: gateRegressed, gate.CellFailed: gateFailed,
		gate.CellUnknown: gateUnknown, gate.CellRefused: gateRefused, gate.CellNotRun: gateUnrun,
	}[s]
	return kind, known
}

// gateUnknowns says of each run that stayed unknown why, unless it is the same again.
func gateUnknowns(c *gate.CellReport) (all []string) {
	for i := range c.Outcomes {
		if a := c.Outcomes[i].Last(); a != nil && a.Class == gate.Unknown && a.Words != "" && !strings.Contains(c.Why, a.Words) && !slices.Contains(all, a.Words) {
			all = append(all, a.Words)
		}
	}
	return all
}

// gateCompared says how something was compared with the baseline: the effect in words, the
// intervals, the test.
func gateCompared(c gate.Comparison) string {
	s := fmt.Sprintf("%s %s: %s", c.Metric, c.Statistic, c.Words)
	s += fmt.Sprintf(" (before %s in %s, now %s in %s", gateInterval(c.Before), checker.Count(c.BeforeRuns, "run"), gateInterval(c.After), checker.Count(c.AfterRuns, "run"))
	if c.Floor > 0 {
		s += fmt.Sprintf("; chance alone makes it %.2f times as much", c.Floor)
	}
	if c.Test != "" {
		s += fmt.Sprintf("; %s, p = %s", c.Test, strconv.FormatFloat(c.P, 'g', 2, 64))
	}
	return s + ")"
}

// gateInterval is an estimate with the bounds that hold it with 95 %.
func gateInterval(i gate.Interval) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	return fmt.Sprintf("%s [%s, %s]", number(i.Value), number(i.Low), number(i.High))
}

func (t *text) gateItems(r gate.Report) {
	items := gateItems(r)
	for _, kind := range gateKinds {
		if len(items[kind]) == 0 {
			continue
		}
		colour := yellow
		if kind == gateInvalid || kind == gateBroken || kind == gateRegressed {
			colour = red
		}
		t.section()
		t.line("%s", t.paint(colour, clip(string(kind), t.Width)))
		for _, i := range items[kind][:min(len(items[kind]), maxGateItems)] {
			words := clip(i.words, maxNote)
			if i.cell != nil {
				words = i.cell.Name + ": " + words
			}
			t.paragraph("  ", "    ", words)
		}
		if more := len(items[kind]) - maxGateItems; more > 0 {
			t.line("  and %d more", more)
		}
	}
	if r.Comparison != "" {
		t.section()
		t.paragraph("comparison: ", "  ", r.Comparison)
	}
	if len(r.Baseline) > 0 {
		t.section()
	}
	for _, words := range r.Baseline {
		t.paragraph("baseline: ", "  ", clip(words, maxNote))
	}
}

// A gateSure is what the runs of cells can tell, where they can tell the same.
type gateSure struct {
	cells int
	words string
}

// gateSures returns how sure the runs make, those of the same number together, and what fixes
// take.
func gateSures(r gate.Report) (sures []string) {
	var clean []gateSure
	for _, c := range r.Cells {
		if c.Sure.Runs == 0 || c.Sure.Failures > 0 {
			continue
		}
		words := cmp.Or(c.Sure.Words, fmt.Sprintf("a bug that shows in %s of runs or more would have been seen", gatePercent(c.Sure.Most)))
		if !strings.Contains(words, "95") {
			words += ", with 95 % confidence"
		}
		words = fmt.Sprintf("with %s %s", checker.Count(c.Sure.Runs, "clean run"), words)
		at := slices.IndexFunc(clean, func(s gateSure) bool { return s.words == words })
		if at < 0 {
			at = len(clean)
			clean = append(clean, gateSure{words: words})
		}
		clean[at].cells++
	}
	for _, s := range clean {
		sures = append(sures, fmt.Sprintf("%s: %s", checker.Count(s.cells, "cell"), s.words))
	}
	for _, c := range r.Cells {
		if c.Sure.Needed > 0 {
			sures = append(sures, fmt.Sprintf("%s: %d of %s failed; a fix takes %s to be told from luck", c.Name, c.Sure.Failures, checker.Count(c.Sure.Runs, "run"), checker.Count(c.Sure.Needed, "clean run")))
		}
	}
	return sures
}

func (t *text) gateSure(r gate.Report) {
	sures := gateSures(r)
	if len(sures) == 0 {
		return
	}
	t.section()
	t.line("how sure")
	for _, s := range sures[:min(len(sures), maxGateItems)] {
		t.paragraph("  ", "    ", s)
	}
	if more := len(sures) - maxGateItems; more > 0 {
		t.line("  and %d more", more)
	}
}
