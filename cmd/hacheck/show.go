package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// show prints a verdict: as text, or as results.json has it. A run and a later
// check of its directory print the same.
func (p *program) show(r *judged, asJSON bool) error {
	if asJSON {
		for _, trouble := range r.trouble {
			fmt.Fprintf(p.stderr, "hacheck: %s\n", trouble)
		}
		return store.EncodeJSON(p.stdout, r.result)
	}
	shown := p.shown(r)
	switch page := r.where(store.ReportFile); {
	case page != "":
		shown.Next = append(shown.Next, report.Next{Purpose: "see it all:", Command: page})
	case r.run == nil:
		shown.Next = append(shown.Next, report.Next{
			Purpose: "draw it:", Command: p.invocation() + " check --artifacts pictures " + quote(r.path),
		})
	}
	if r.run != nil {
		shown.Next = append(shown.Next, report.Next{Purpose: "files:", Command: r.files()})
	}
	return report.Text(p.stdout, shown, style(p.stdout))
}

// shown is what there is to tell of r.
func (p *program) shown(r *judged) report.Run {
	shown := report.Run{
		Title: r.title(), History: r.history, Result: r.result,
		Where: r.where, Evidence: evidence, Trouble: slices.Concat(r.remarks(), r.info.Trouble, r.trouble),
	}
	if r.run != nil {
		shown.Next = p.commands(r)
	}
	return shown
}

// commands are what may be typed about a run.
func (p *program) commands(r *judged) []report.Next {
	me := p.invocation()
	next := []report.Next{{Purpose: "check again:", Command: me + " check " + quote(r.run.Dir)}}
	if len(r.info.Repeat) > 0 { // or it is not known what it was
		next = append(next, report.Next{Purpose: "run again:", Command: me + " " + quoteAll(r.info.Repeat)})
	}
	if r.result.Verdict == checker.Invalid {
		next = append(next,
			report.Next{Purpose: "same faults:", Command: me + " run --replay " + quote(r.run.Dir)},
			report.Next{Purpose: "fewer faults:", Command: me + " shrink " + quote(r.run.Dir)})
	}
	return next
}

func (r *judged) title() string {
	if r.run == nil {
		return fmt.Sprintf("%s, judged as workload %s", r.path, r.workload)
	}
	i := r.info
	words := []string{i.System}
	hypervisor := i.Options.Hypervisor
	if slices.ContainsFunc(systems, func(s system) bool { return s.name == i.System && s.hypervisor() != hypervisor }) {
		words = append(words, "on "+hypervisor)
	}
	if i.Bug != "" {
		words = append(words, "with bug "+i.Bug)
	}
	if i.Options.Tune != "" {
		words[len(words)-1] += ","
		words = append(words, "tuned "+enumerate(strings.Split(i.Options.Tune, ","))+",")
	}
	words = append(words, "under workload "+i.Workload)
	if len(i.Nemesis) > 0 {
		words = append(words, "and nemesis "+strings.Join(i.Nemesis, ","))
	}
	if n := len(i.Schedule); n > 0 {
		words = append(words, "and a schedule of "+checker.Count(n, "fault"))
	}
	return fmt.Sprintf("%s; %s, %.1f s, seed %d", strings.Join(words, " "),
		checker.Count(i.Options.Nodes, "node"), r.history.Duration().Seconds(), i.Options.Seed)
}

// remarks say what is to be known of the faults of a run beside what they did.
func (r *judged) remarks() (remarks []string) {
	for _, left := range r.info.LeftOut {
		remarks = append(remarks, "not among all: "+left)
	}
	remarks = append(remarks, r.info.Limits...)
	if unkept := r.unkept(); unkept != "" && r.info.Ended != nil {
		remarks = append(remarks, unkept)
	}
	if r.info.Options.Unguarded {
		remarks = append(remarks, "the quorum guard was off: faults may have taken more nodes than any system can bear to lose")
	}
	return remarks
}

// files says where the run's files are and what is among them.
func (r *judged) files() string {
	if len(onDisk(r.run)) > 0 {
		return r.run.Dir + " (with what the nodes had on disk)"
	}
	return r.run.Dir
}

// invocation returns how this program was called, for commands to be copied. What
// "go run" built is gone by then.
func (p *program) invocation() string {
	if strings.Contains(p.args[0], string(filepath.Separator)+"go-build") {
		return "go run ./cmd/hacheck"
	}
	return quote(p.args[0])
}

// The widths that text is laid out for. Longer lines are hard to read, and what is
// narrower has no room for a line of a table.
const (
	minWidth = 40
	maxWidth = 100
)

// style says what w shows. NO_COLOR is an agreement: see no-color.org.
func style(w io.Writer) report.Style {
	width := terminal(w)
	if width == nil {
		return report.Style{}
	}
	return report.Style{
		Colour: os.Getenv("NO_COLOR") == "",
		Width:  min(max(width(), minWidth), maxWidth),
	}
}

// terminal returns a function that says how wide the terminal is, or nil if w is
// none on which a line can change.
func terminal(w io.Writer) func() int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return func() int {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
		return 80
	}
}

// encodeLine writes v on one line.
func encodeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// quote returns s as one word of a shell.
func quote(s string) string { return report.Quote(s) }

func quoteAll(words []string) string { return report.Quote(words...) }
