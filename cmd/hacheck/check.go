package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/histories/foreign"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/report"
)

func checkFlags(s *semantics, b *checker.Budget) []cli.Flag {
	var name string
	return append([]cli.Flag{
		&cli.GenericFlag{
			Name: "workload", Aliases: []string{"w"}, Value: choice(&name, "workload", checkedNames()),
			Usage: "judge as a run of workload `NAME`; by default run.json tells, or else what its calls say",
		},
		&cli.StringFlag{Name: "artifacts", Usage: "write the page that shows it all, and what other tools read, into `DIR`"},
		jsonFlag("print the verdict tree; of several files one on each line"),
		&cli.StringFlag{
			Name: "only", Usage: "judge by one `PART` of the verdict alone, such as linearizable",
		},
	}, slices.Concat(s.flags(), budgetFlags("", b))...)
}

func (p *program) check(c *cli.Context, s *semantics, b checker.Budget) error {
	if err := p.leftover(c, c.NArg()); err != nil {
		return err
	}
	files := c.Args().Slice()
	if len(files) == 0 {
		return usage("check: which history? Name a file, or the directory of a run such as store/latest")
	}
	if first := slices.Index(files, stdin); first >= 0 && slices.Contains(files[first+1:], stdin) {
		return usage("check: standard input, called %s, can be read but once", stdin)
	}
	asked, _ := c.Generic("workload").(*value)
	j := judging{
		workload: asked.String(), semantics: *s, only: c.String("only"),
		artifacts: c.String("artifacts"), json: c.Bool("json"), budget: b,
	}
	if len(files) == 1 {
		r, err := p.judgeFile(c.Context, files[0], j)
		if err != nil {
			return err
		}
		if err := p.show(r, j.json); err != nil {
			return err
		}
		return verdictStatus(r.result.Verdict)
	}
	return p.checkAll(c.Context, files, j)
}

// checkAll judges several files, a line each. One that is no history keeps no
// other from being judged.
func (p *program) checkAll(ctx context.Context, files []string, j judging) error {
	if j.artifacts != "" {
		return usage("check: --artifacts takes one file, since the pictures of several would have the same names")
	}
	column, worst := 0, exitValid
	for _, f := range files {
		column = max(column, len(f))
	}
	for _, f := range files {
		r, err := p.judgeFile(ctx, f, j)
		var status int
		switch _, isUsage := errors.AsType[*usageError](err); {
		case isUsage:
			fmt.Fprintf(p.stderr, "hacheck: %v\n", err)
			status = exitUsage
		case err != nil:
			return err
		case j.json:
			line := struct {
				File    string         `json:"file"`
				Results checker.Result `json:"results"`
			}{f, r.result}
			if err := encodeLine(p.stdout, line); err != nil {
				return err
			}
			status = statusOf(r.result.Verdict)
		default:
			fmt.Fprintf(p.stdout, "%-*s  %-7v  %s\n", column, f, r.result.Verdict, report.Printable(summary(r.result)))
			status = statusOf(r.result.Verdict)
		}
		if slices.Index(severity, status) > slices.Index(severity, worst) {
			worst = status
		}
	}
	if worst == exitValid {
		return nil
	}
	return exitStatus(worst)
}

// severity is the exit statuses of files, the worst last.
var severity = []int{exitValid, exitUnknown, exitInvalid, exitUsage}

// summary is the verdict of a file on one line: the first thing that is wrong, or
// what was covered.
func summary(r checker.Result) string {
	for _, p := range append([]checker.Result{r}, r.Parts...) {
		if p.Verdict == r.Verdict && len(p.Anomalies) > 0 && r.Verdict == checker.Invalid {
			return p.Anomalies[0].Kind + ": " + p.Anomalies[0].Note
		}
	}
	for _, p := range r.Parts {
		if p.Verdict == r.Verdict {
			return p.Note
		}
	}
	return r.Note
}

// judging says how to judge recorded histories.
type judging struct {
	workload  string // "" to find out
	semantics semantics
	only      string // the part that the verdict is of, or ""
	artifacts string // directory, or ""
	json      bool
	budget    checker.Budget
}

// A judged is a history with its verdict.
type judged struct {
	path      string     // of the history
	run       *store.Run // the run it belongs to, or nil
	info      store.Info // of that run
	workload  string
	semantics semantics
	budget    checker.Budget
	recording *foreign.Recording
	history   *histories.History // the recording's
	result    checker.Result
	where     func(artifact string) string
	trouble   []string
}

// judgeFile reads and judges a history, or that of a run's directory.
func (p *program) judgeFile(ctx context.Context, path string, j judging) (*judged, error) {
	r := &judged{path: path, semantics: j.semantics, budget: j.budget}
	if err := r.find(); err != nil {
		return nil, usage("check: %v", err)
	}
	if err := p.read(r); err != nil {
		return nil, usage("check: %v", err)
	}
	if err := r.recognise(j.workload); err != nil {
		return nil, err
	}
	if j.artifacts != "" { // who cannot write there is told before it takes time
		if err := os.MkdirAll(j.artifacts, 0o777); err != nil {
			return nil, usage("check: --artifacts: %v", err)
		}
	}
	if err := r.judge(ctx); err != nil {
		return nil, err
	}
	if lines := r.lines(); lines != "" {
		r.trouble = append(r.trouble, lines)
	}
	if err := r.keep(j.only); err != nil {
		return nil, err
	}
	if hint := r.hint(j.workload != ""); hint != "" {
		fmt.Fprintf(p.stderr, "hacheck: %s: %s\n", r.path, hint)
	}
	if unread := r.unread(); unread != "" {
		r.trouble = append(r.trouble, unread)
	}
	p.place(ctx, r, j.artifacts)
	return r, nil
}

// find finds the file of the history, and the run that it belongs to. What is wrong is
// wrong with what was asked for.
func (r *judged) find() error {
	if r.path == stdin {
		return nil
	}
	switch stat, err := os.Stat(r.path); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no file %s", r.path)
	case err != nil:
		return err
	case stat.IsDir():
		run, err := store.Open(r.path)
		switch {
		case err == nil:
			r.path, r.run = run.History(), run
		case exists(filepath.Join(r.path, jepsenHistory)):
			r.path = filepath.Join(r.path, jepsenHistory)
		case exists(filepath.Join(r.path, "latest")):
			return fmt.Errorf("%s has runs in it; name one, such as %s", r.path, filepath.Join(r.path, "latest"))
		default:
			return fmt.Errorf("%s is no run's directory: there is no %s in it, nor a %s of Jepsen's", r.path, store.HistoryFile, jepsenHistory)
		}
	case filepath.Base(r.path) == store.HistoryFile:
		r.run = &store.Run{Dir: filepath.Dir(r.path)}
	}
	if r.run == nil {
		return nil
	}
	info, err := r.run.Info()
	switch {
	case err == nil:
		r.info = info
	case errors.Is(err, fs.ErrNotExist):
		r.run = nil // a history that happens to be called so
	default:
		return err
	}
	return nil
}

// jepsenHistory is the history in a directory of a run of Jepsen's.
const jepsenHistory = "history.edn"

// stdin is how standard input is called in place of a file.
const stdin = "-"

// read reads the history, and says what is to be known of it. That of a run is ours, and
// keeps all rules; else somebody has changed it.
func (p *program) read(r *judged) error {
	var err error
	if r.run != nil {
		r.recording = &foreign.Recording{Format: foreign.JSONL}
		r.recording.History, err = histories.ReadFile(r.path)
	} else {
		r.recording, err = p.readForeign(r.path)
	}
	if invalid, ok := errors.AsType[*histories.InvalidError](err); ok {
		return fmt.Errorf("%s is no history: %w", r.path, invalid)
	}
	if err != nil {
		return err
	}
	r.history = r.recording.History
	if line := r.history.Torn(); line > 0 {
		fmt.Fprintf(p.stderr, "hacheck: %s: read up to line %d: the file ends in the middle of line %d\n", r.path, line-1, line)
	}
	for _, note := range r.recording.Notes {
		fmt.Fprintf(p.stderr, "hacheck: %s: %s\n", r.path, note)
	}
	return nil
}

// readForeign reads a history of any format. Standard input goes into a file first, since
// it may have to be read twice.
func (p *program) readForeign(path string) (*foreign.Recording, error) {
	if path != stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return foreign.Read(f, path)
	}
	f, err := os.CreateTemp("", "hacheck-stdin-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // it lives as long as it is open
		return nil, err
	}
	if _, err := io.Copy(f, p.stdin); err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return foreign.Read(f, path)
}

// maxLines bounds how many ops of evidence are told the lines of.
const maxLines = 20

// lines says on which lines of the file the ops of the evidence stand, if their indices
// do not tell.
func (r *judged) lines() string {
	var told []string
	ops := evidenceOps(r.result)
	slices.Sort(ops)
	for _, i := range slices.Compact(ops) {
		if i >= 0 && i < r.history.Len() && r.history.Line(i) != i+1 && len(told) < maxLines {
			told = append(told, fmt.Sprintf("op %d on line %d", i, r.history.Line(i)))
		}
	}
	if len(told) == 0 {
		return ""
	}
	return "in " + r.path + ": " + strings.Join(told, ", ")
}

// unread says that another tool's nemesis did something, if the result says that there
// were no faults.
func (r *judged) unread() string {
	if r.run != nil || !slices.ContainsFunc(r.result.Parts, func(part checker.Result) bool { return part.Name == "faults" }) {
		return ""
	}
	if spans, err := r.history.Faults(); err != nil || len(spans) > 0 {
		return ""
	}
	told := 0
	for _, op := range r.history.All() {
		if op.Process == histories.Nemesis && op.F != histories.Recover {
			told++
		}
	}
	if told == 0 {
		return ""
	}
	return fmt.Sprintf("what the nemesis of %s did (%s) is not read: faults and availability know nothing of it", r.path, checker.Count(told, "op"))
}

// evidenceOps returns the ops of all anomalies.
func evidenceOps(r checker.Result) (ops []int) {
	for _, a := range r.Anomalies {
		ops = append(ops, a.Ops...)
	}
	for _, part := range r.Parts {
		ops = append(ops, evidenceOps(part)...)
	}
	return ops
}

// judge finds the verdict: by the history and the workload's checker alone, but
// for what the run was to do and never came to: faults that were asked for, its
// end.
func (r *judged) judge(ctx context.Context) error {
	c, err := r.semantics.checker(findWorkload(r.workload), r.budget)
	if err != nil {
		return err
	}
	if r.result, err = c.Check(ctx, r.history); err != nil {
		return err
	}
	if part, ok := covered(r.history); ok {
		r.result.Parts = append(r.result.Parts, part)
	}
	ended := r.run == nil || r.info.Ended != nil
	if missing := r.missing(); len(missing.notes) > 0 {
		if missing.drawn && ended && r.result.Verdict != checker.Invalid { // else it is plain why, or no matter
			missing.notes = append(missing.notes, "it takes a longer --time-limit, or a shorter --interval")
		}
		r.lacks("nemesis", strings.Join(missing.notes, "; "))
	}
	if !ended {
		r.lacks("run", "it did not come to its end; this is what it had recorded")
	}
	return nil
}

// keep makes of the result that of one part of it, if one is named.
func (r *judged) keep(only string) error {
	if only == "" {
		return nil
	}
	var names []string
	for _, part := range r.result.Parts {
		if part.Name == only {
			r.result.Verdict, r.result.Note = part.Verdict, ""
			r.result.Parts = []checker.Result{part}
			return nil
		}
		names = append(names, part.Name)
	}
	return usage("check: --only %q: the verdict on %s has no such part; it has %s", only, r.path, enumerate(names))
}

// lacks adds to the result what the run lacks, for which nothing is proven valid.
func (r *judged) lacks(name, note string) {
	r.result.Parts = append(r.result.Parts, checker.Result{Name: name, Note: note})
	if r.result.Verdict == checker.Valid {
		r.result.Verdict, r.result.Note = checker.Unknown, "unknown: "+name
	}
}

// A lacking says which faults were never begun.
type lacking struct {
	notes []string
	drawn bool // some were to come by themselves, with time
}

// missing returns the faults that were asked for and never begun. Of all it is enough
// that there were some.
func (r *judged) missing() (missing lacking) {
	spans, err := r.history.Faults()
	if err != nil {
		return missing // the checkers have said so
	}
	begun := func(name string) bool {
		return slices.ContainsFunc(spans, func(f histories.FaultSpan) bool { return f.Name == name })
	}
	add := func(names []string, what string) {
		if slices.Sort(names); len(names) > 0 {
			missing.notes = append(missing.notes, what+": "+enumerate(slices.Compact(names)))
		}
	}
	var drawn, timed, awaited []string
	for _, name := range r.info.Nemesis {
		if !begun(name) && (name != nemesis.All || len(spans) == 0) {
			drawn = append(drawn, name)
		}
	}
	for _, s := range r.info.Schedule {
		switch {
		case begun(s.Fault):
		case s.On != "":
			awaited = append(awaited, s.Fault+" "+s.On)
		default:
			timed = append(timed, s.Fault)
		}
	}
	missing.drawn = len(drawn) > 0
	add(timed, "of the schedule, never begun")
	add(awaited, "of the schedule, never begun, since the event was not seen")
	add(drawn, "asked for, but never begun")
	return missing
}

// unkept says how many of the faults that the schedule has a time for have not begun:
// some may not be let by those before them.
func (r *judged) unkept() string {
	spans, err := r.history.Faults()
	if err != nil {
		return "" // the checkers have said so
	}
	kept, due := 0, map[string]int{} // by name
	all := 0
	for _, s := range r.info.Schedule {
		if s.On == "" {
			due[s.Fault]++
			all++
		}
	}
	for _, s := range spans {
		if due[s.Name] > 0 && (s.Failed == "" || s.Acted > 0) {
			due[s.Name]--
			kept++
		}
	}
	if kept == all {
		return ""
	}
	return fmt.Sprintf("%d of the %s that the schedule has a time for began; for the others there was no room beside those before them, or no time", kept, checker.Count(all, "fault"))
}

// drawing returns a context that ends when somebody interrupts, since then the verdict is to be
// told without what is not drawn yet. A second signal is the system's affair.
func (p *program) drawing(ctx context.Context) (drawing context.Context, done func()) {
	drawing, hurry := context.WithCancelCause(ctx)
	signals, stop := signal.NotifyContext(drawing, endings()...)
	context.AfterFunc(signals, func() {
		stop()
		if drawing.Err() == nil {
			fmt.Fprintln(p.stderr, "interrupted: the verdict stands; what is not drawn of it yet is left out")
			hurry(errInterrupted)
		}
	})
	return drawing, func() {
		hurry(nil)
		stop()
	}
}

// place keeps the verdict in dir, if there is one; or else says where the run left what
// belongs to it.
func (p *program) place(ctx context.Context, r *judged, dir string) {
	if dir != "" {
		drawing, done := p.drawing(ctx)
		defer done()
		p.keep(drawing, r, dir)
		return
	}
	r.where = func(name string) string {
		if r.run == nil || !exists(r.run.File(name)) {
			return ""
		}
		return r.run.File(name)
	}
}
