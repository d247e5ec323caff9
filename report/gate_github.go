package report

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/hacheck/hacheck/internal/gate"
)

// maxAnnotations is how many annotations of a kind GitHub shows of a step; it drops the others
// and does not say so.
const maxAnnotations = 10

// GateGitHub writes what a gate came to as commands to the runner of GitHub Actions, which makes
// annotations of them: an error for what the gate fails for, a warning for what else is wrong,
// a notice for what was not run, each at the line of its cell in the plan. Where there are more than
// GitHub shows, the last one says how many.
//
// What comes of a run is escaped: it can neither end a command nor begin one.
func GateGitHub(w io.Writer, r gate.Report) error {
	file := path.Clean(gatePlan(r.Plan))
	kinds := map[string][]string{}
	add := func(kind string, c *gate.CellReport, title, message string) {
		line := 1
		if c != nil {
			line = max(c.Line, 1)
		}
		kinds[kind] = append(kinds[kind], fmt.Sprintf("::%s file=%s,line=%d,title=%s::%s", kind,
			gateEscape(file, true), line, gateEscape(clip(oneLine(title), maxCell), true), gateEscape(message, false)))
	}
	cells := map[string]*gate.CellReport{}
	for i := range r.Cells {
		cells[r.Cells[i].Name] = &r.Cells[i]
	}
	for _, g := range r.Groups {
		var first *gate.CellReport
		kind := "error"
		if len(g.Cells) > 0 {
			if first = cells[g.Cells[0]]; first != nil {
				kind = "warning"
			}
		}
		for _, name := range g.Cells {
			if c := cells[name]; c != nil && c.Fails {
				kind = "error"
			}
		}
		message := clip(g.Example, maxNote) + "\nfound by " + g.Checker + " in " + gateWhere(g)
		for _, n := range gateNext(r, g) {
			message += "\n" + n.Purpose + " " + n.Command
		}
		if witness := gateWitness(g.Witness, maxWitness, maxSummaryLine); witness != "" {
			message += "\n\n" + witness
		}
		add(kind, first, g.System+" "+g.Workload+": "+g.Kind, message)
	}
	items := gateItems(r)
	for _, kind := range gateKinds {
		for _, i := range items[kind] {
			title := string(kind)
			if i.cell != nil {
				title = i.cell.Name + ": " + title
			}
			level := gateLevel(i)
			if kind == gateFailed && i.cell == nil && r.Status == 255 {
				level = "error"
			}
			add(level, i.cell, title, clip(i.words, maxNote))
		}
	}
	if word, _ := gateVerdict(r); len(kinds["error"]) == 0 && (r.Status != 0 || len(r.Cells) == 0) {
		add("error", nil, "hacheck gate", strings.ToLower(word)+": "+gateRan(r))
	}
	var b strings.Builder
	for _, kind := range []string{"error", "warning", "notice"} {
		all := kinds[kind]
		if more := len(all) - maxAnnotations; more > 0 {
			all = append(all[:maxAnnotations-1:maxAnnotations-1], fmt.Sprintf("::%s file=%s,title=hacheck gate::and %d more of these; see %s", kind,
				gateEscape(file, true), more+1, gateEscape(cmp.Or(r.Dir, "gate.json"), false)))
		}
		for _, l := range all {
			b.WriteString(l + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// gateEscape returns s as a part of a command: of its message, or of one of its properties. That
// is all that the runner undoes; see src/Runner.Common/ActionCommand.cs of github.com/actions/runner.
func gateEscape(s string, property bool) string {
	s = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(Printable(s))
	if property {
		s = strings.NewReplacer(":", "%3A", ",", "%2C").Replace(s)
	}
	return s
}
