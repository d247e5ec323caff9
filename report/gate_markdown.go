package report

import (
	"io"
	"strings"

	"github.com/hacheck/hacheck/internal/gate"
)

// maxGateMarkdown is how many bytes a summary has at most: GitHub shows no summary of a step
// at all that is longer than 1 MiB.
const maxGateMarkdown = 1 << 20

// The sizes of witnesses in files, which CI systems read as a whole, and refuse if they are too
// long: GitLab does so beyond 30 MB, GitHub beyond 10 MB, compressed.
const (
	maxSummaryWitness = 60  // lines
	maxSummaryLine    = 400 // columns
)

// GateMarkdown writes what a gate came to in GitHub's Markdown, for the summary of a CI step: the
// verdict, the cells, what failed with its witnesses folded away, and how much the runs can tell.
// It is never longer than GitHub takes; what is left out is said.
//
// What comes of runs is shown as it is, whatever it holds: see [Markdown].
func GateMarkdown(w io.Writer, r gate.Report) error {
	var all []string
	block := func(write func(m *markdown)) {
		m := &markdown{}
		write(m)
		if m.b.Len() > 0 {
			all = append(all, strings.TrimPrefix(m.b.String(), "\n"))
		}
	}
	block(func(m *markdown) {
		word, _ := gateVerdict(r)
		m.line("## %s: %s", word, prose(gateRan(r)))
		if how := gateHow(r); how != "" {
			m.section()
			m.line("Run as %s", prose(clip(how, maxNote)))
		}
	})
	block(func(m *markdown) { m.gateCells(r) })
	for _, g := range r.Groups[:min(len(r.Groups), maxGateGroups)] {
		block(func(m *markdown) { m.gateGroup(r, g) })
	}
	if more := len(r.Groups) - maxGateGroups; more > 0 {
		block(func(m *markdown) { m.line("And %d more findings; see gate.json.", more) })
	}
	items := gateItems(r)
	for _, kind := range gateKinds {
		block(func(m *markdown) { m.gateItems(kind, items[kind]) })
	}
	if r.Comparison != "" {
		block(func(m *markdown) { m.line("Comparison: %s", prose(clip(r.Comparison, maxNote))) })
	}
	for _, words := range r.Baseline {
		block(func(m *markdown) { m.line("Baseline: %s", prose(clip(words, maxNote))) })
	}
	block(func(m *markdown) { m.list("How sure", gateSures(r)) })
	_, err := io.WriteString(w, fitting(all, maxGateMarkdown))
	return err
}

// fitting returns blocks with blank lines between them, as many as there is room for.
func fitting(blocks []string, room int) string {
	const cut = "\nThe rest is left out, since GitHub shows no longer summary: see gate.json.\n"
	var b strings.Builder
	for _, block := range blocks {
		if b.Len()+1+len(block)+len(cut) > room {
			b.WriteString(cut)
			break
		}
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(block)
	}
	return b.String()
}

func (m *markdown) gateCells(r gate.Report) {
	rows, shown, left := gateRows(r.Cells)
	if len(rows) > 0 {
		set := [][]string{gateColumns}
		for i, row := range rows {
			cells := []string{prose(clip(row[0], maxCell)), prose(row[1])}
			if shown[i].Status != gate.CellPassed {
				cells[1] = "**" + cells[1] + "**"
			}
			set = append(set, append(cells, row[2:]...))
		}
		m.table(set, "<<>>>>>>")
	}
	if len(rows) > 0 {
		m.section()
		m.line("In the column %s.", gateRateOf)
	}
	if words := gateLeft(left); words != "" {
		m.section()
		m.line("Cells %s.", prose(words))
	}
}

func (m *markdown) gateGroup(r gate.Report, g gate.Group) {
	m.line("**%s**: %s", prose(clip(g.Kind, maxCell)), prose(clip(g.Example, maxNote)))
	m.section()
	m.line("Found by %s in %s", prose(clip(g.Checker, maxCell)), prose(clip(gateWhere(g), maxNote)))
	if next := gateNext(r, g); len(next) > 0 {
		m.section()
		t := &text{}
		for i := range next {
			next[i].Command = oneLine(next[i].Command)
		}
		t.next(next)
		m.fenced(t.b.String())
	}
	if witness := gateWitness(g.Witness, maxSummaryWitness, maxSummaryLine); witness != "" {
		m.section()
		m.line("<details><summary>Witness</summary>\n")
		m.fenced(witness + "\n")
		m.section()
		m.line("</details>")
	}
}

func (m *markdown) gateItems(kind gateKind, items []gateItem) {
	var words []string
	for _, i := range items {
		if i.cell != nil {
			words = append(words, clip(i.cell.Name, maxCell)+": "+clip(i.words, maxTrouble))
		} else {
			words = append(words, clip(i.words, maxTrouble))
		}
	}
	m.list(strings.ToUpper(string(kind[:1]))+string(kind[1:]), words)
}

// list writes a heading and a line for each of the words, the first of them if there are many;
// nothing without any.
func (m *markdown) list(heading string, words []string) {
	if len(words) == 0 {
		return
	}
	m.line("**%s**\n", heading)
	for _, w := range words[:min(len(words), maxGateItems)] {
		m.line("- &#8203;%s", prose(w)) // what stands before it keeps it from being a list within, or a box to tick
	}
	if more := len(words) - maxGateItems; more > 0 {
		m.line("- and %d more; see gate.json", more)
	}
}
