package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/report"
)

// proveOptions are what prove is asked for.
type proveOptions struct {
	systems, bugs []string // none: all
	clean, jobs   int
	budget        time.Duration
	store, into   string
	json          bool
}

func newProveOptions() *proveOptions {
	return &proveOptions{clean: len(allWorkloads), jobs: runtime.NumCPU(), budget: 10 * time.Minute, store: newOptions().store}
}

// maxCleanRuns and maxJobs bound what prove may be asked for.
const (
	maxCleanRuns = 10_000
	maxJobs      = 64
)

func (o *proveOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "systems", Usage: "`NAMES` of systems, separated by commas", DefaultText: "all", Value: several(&o.systems, "system", systemNames, "hacheck list")},
		&cli.GenericFlag{Name: "bugs", Usage: "`NAMES` of bugs, separated by commas, or none", DefaultText: "all", Value: bugList(&o.bugs)},
		&cli.GenericFlag{Name: "clean", Usage: "`N` runs without a bug, none of which may be invalid", Value: countFrom0(&o.clean, maxCleanRuns)},
		&cli.GenericFlag{Name: "budget", Usage: "end after `TIME`", Value: duration(&o.budget, minBudget)},
		&cli.GenericFlag{Name: "jobs", Usage: "`N` runs at a time", Value: number(&o.jobs, maxJobs)},
		&cli.GenericFlag{Name: "store", Usage: "keep the runs that showed something in `DIR`/prove", Value: text(&o.store, "a directory")},
		&cli.GenericFlag{Name: "into", Usage: "write the matrix into the Markdown `FILE`, between its marks", DefaultText: "nowhere", Value: text(&o.into, "a file")},
		&cli.BoolFlag{Name: "json", Usage: "print JSON", Destination: &o.json, DisableDefaultText: true},
	}
}

// several are some of names, separated by commas. all is the command that shows them; if empty
// they are named to who misses them.
func several(chosen *[]string, what string, names func() []string, all string) *value {
	return &value{
		now: func() string { return strings.Join(*chosen, ",") },
		set: func(given string) error {
			for _, name := range strings.Split(given, ",") {
				if known := names(); !slices.Contains(known, name) {
					return fmt.Errorf("no such %s: %q; %s", what, name, suggest(name, known, all))
				}
				*chosen = append(*chosen, name)
			}
			return nil
		},
	}
}

// bugList is some of the bugs, or none.
func bugList(chosen *[]string) *value {
	named := several(chosen, "bug", bugNames, "hacheck list")
	return &value{now: named.now, set: func(given string) error {
		if given == noBug {
			*chosen = []string{noBug}
			return nil
		}
		return named.set(given)
	}}
}

// countFrom0 is a number that may be 0.
func countFrom0(n *int, most int) *value {
	positive := number(n, most)
	return &value{now: positive.now, set: func(given string) error {
		if given == "0" {
			*n = 0
			return nil
		}
		if positive.set(given) != nil {
			return fmt.Errorf("want a whole number from 0 to %d", most)
		}
		return nil
	}}
}

func bugNames() (names []string) {
	for _, s := range systems {
		for _, b := range s.bugs {
			names = append(names, b.name)
		}
	}
	return names
}

// prove runs the table of bugs, and clean runs, and prints what was found.
func (p *program) prove(c *cli.Context, o *proveOptions) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	s := &proving{bugs: o.chosenBugs(), clean: o.cleanRuns(), jobs: o.jobs}
	if len(s.bugs)+len(s.clean) == 0 {
		return usage("prove: with --bugs %s and --clean 0 there is nothing to be run", strings.Join(o.bugs, ","))
	}
	if o.into != "" {
		if err := o.writable(); err != nil {
			return usage("prove: --into %s: %v", quote(o.into), err)
		}
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	if err := store.Writable(o.store); err != nil {
		return usage("prove: --store %s: no run can be kept there: %v", quote(o.store), err)
	}
	began := time.Now()
	kept, err := store.Create(o.store, "prove", began)
	if err != nil {
		return err
	}
	interrupted, stop := signal.NotifyContext(c.Context, endings()...)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(interrupted, o.budget, errBudget)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE) // as in runInside
	s.perform = func(ctx context.Context, r proofRun) (checker.Result, error) { return p.proofRun(ctx, kept.Dir, r) }
	told, done := p.watch(s.standing, o.budget)
	s.tell = func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	failed := s.prove(ctx)
	done()
	m := s.matrix(began, append([]string{"hacheck", "prove"}, p.given()...), kept.Dir)
	m.Interrupted = interrupted.Err() != nil
	if err := os.Remove(kept.Dir); err == nil { // there is nothing in it
		m.Kept = ""
		_ = os.Remove(filepath.Dir(kept.Dir)) // unless there are others
	} else if err := kept.LinkByName(); err != nil {
		fmt.Fprintf(p.stderr, "hacheck: prove: %v\n", err)
	}
	show := func(w io.Writer) error { return m.text(w, p.invocation(), o) }
	if o.json {
		show = func(w io.Writer) error { return store.EncodeJSON(w, m) }
	}
	if err := show(p.stdout); err != nil && !isGone(err) {
		return err
	}
	if failed != nil {
		return failed
	}
	status := s.status(m.Interrupted)
	switch {
	case m.Interrupted:
		fmt.Fprintln(p.stderr, "hacheck: prove: interrupted; what is missing was not looked for")
	case o.into != "":
		if err := m.writeInto(o.into); err != nil {
			return err
		}
	}
	if status != exitValid {
		return exitStatus(status)
	}
	return nil
}

// watch shows how far something is, where that can change on a terminal, until done is
// called. What is written to told comes above it. standing says how far it is, and what is
// being run.
func (p *program) watch(standing func() (far string, running []string), budget time.Duration) (told io.Writer, done func()) {
	width := terminal(p.stderr)
	if width == nil {
		return p.stderr, func() {}
	}
	progress := report.NewProgress(p.stderr, width)
	tick, over, began := time.NewTicker(time.Second), make(chan struct{}), time.Now()
	var watching sync.WaitGroup
	watching.Go(func() {
		defer tick.Stop()
		for {
			far, running := standing()
			progress.Show(report.Snapshot{Phase: far, Elapsed: time.Since(began), Limit: budget, Faults: running})
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	return progress, func() {
		close(over)
		watching.Wait()
		progress.Done()
	}
}

// given are the arguments behind the command's name.
func (p *program) given() []string {
	return p.args[min(len(p.args), slices.Index(p.args, "prove")+1):]
}

// proofRun performs a run as a process of its own. Its files are kept if it shows an
// anomaly, or comes to no verdict.
func (p *program) proofRun(ctx context.Context, root string, r proofRun) (result checker.Result, err error) {
	dir := filepath.Join(root, r.dir())
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return result, err
	}
	defer func() {
		if _, failed := errors.AsType[*failedRun](err); failed {
			_ = os.Remove(dir) // unless there is something in it
		} else if result.Verdict != checker.Invalid {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	args := slices.Clone(r.arguments)
	for i, arg := range args {
		if text, ok := scheduleFile(arg); ok { // it lies in this program
			args[i] = filepath.Join(dir, filepath.Base(arg))
			if err := os.WriteFile(args[i], text, 0o666); err != nil {
				return result, err
			}
		}
	}
	return p.child(ctx, append(args, "--stop-on-violation", "--store", dir))
}

// chosenBugs are the rows of the table that were asked for.
func (o *proveOptions) chosenBugs() (rows []bugProof) {
	for _, f := range finds {
		if (len(o.systems) == 0 || slices.Contains(o.systems, f.system)) && (len(o.bugs) == 0 || slices.Contains(o.bugs, f.bug)) {
			rows = append(rows, bugProof{find: f})
		}
	}
	return rows
}

// cleanRuns are combinations of workloads and nemeses, such that the first few have as
// many of both as there can be.
func (o *proveOptions) cleanRuns() (runs []cleanProof) {
	var pairs []cleanProof // of systems and workloads
	for _, s := range systems {
		if len(o.systems) > 0 && !slices.Contains(o.systems, s.name) {
			continue
		}
		for _, w := range s.offers {
			pairs = append(pairs, cleanProof{system: s.name, workload: w})
		}
	}
	for i := 0; len(runs) < o.clean; i++ {
		round, at := i/len(pairs), i%len(pairs)
		run := pairs[at]
		nemeses := cleanNemeses(findSystem(run.system))
		run.nemesis = nemeses[(at+round)%len(nemeses)]
		run.flags = findSystem(run.system).clean
		runs = append(runs, run)
	}
	return runs
}

// cleanNemeses are what clean runs of a system are done with: nothing, each fault that it
// has something for, and all.
func cleanNemeses(s *system) []string {
	parts := (&options{system: s.name, nodes: s.nodes}).parts()
	nemeses := []string{""}
	for _, f := range faults {
		if f.In(parts) {
			nemeses = append(nemeses, f.Name)
		}
	}
	return append(nemeses, nemesis.All)
}

// A provenMatrix is what prove prints: which bug was found by what. Scripts rest on its JSON:
// fields are added, not renamed.
type provenMatrix struct {
	Began   time.Time     `json:"began"`
	Took    float64       `json:"took_s"`
	Command string        `json:"command"`
	Jobs    int           `json:"jobs"`
	CPUs    int           `json:"cpus"`
	Tally   provenTally   `json:"-"`
	Found   int           `json:"found"`
	Missed  int           `json:"missed"`
	Alarms  int           `json:"false_alarms"`
	Median  float64       `json:"median_s"`
	Bugs    []matrixBug   `json:"bugs"`
	Clean   []matrixClean `json:"clean"`
	// Interrupted says that somebody did not wait for the rest.
	Interrupted bool `json:"interrupted,omitempty"`
	// Kept is where the runs are that showed something, or came to no verdict.
	Kept string `json:"kept,omitempty"`
}

type matrixBug struct {
	System   string   `json:"system"`
	Bug      string   `json:"bug"`
	Workload string   `json:"workload"`
	Options  string   `json:"options"`
	Found    bool     `json:"found"`
	Runs     int      `json:"runs"`
	Seconds  float64  `json:"seconds"`
	SeenBy   []string `json:"seen_by"`
	Refused  string   `json:"refused,omitempty"`
	Failed   int      `json:"failed,omitempty"` // of the last runs, how many came to no verdict
	Trouble  string   `json:"trouble,omitempty"`
	// Kept is the directory of the run that found it, or else of the last that came to no
	// verdict.
	Kept string `json:"kept,omitempty"`
}

type matrixClean struct {
	System   string          `json:"system"`
	Workload string          `json:"workload"`
	Nemesis  string          `json:"nemesis"`
	Options  string          `json:"options"`
	Runs     int             `json:"runs"`
	Verdict  checker.Verdict `json:"verdict"`
	Seconds  float64         `json:"seconds"`
	SeenBy   []string        `json:"seen_by"`
	Why      string          `json:"why,omitempty"`
	Refused  string          `json:"refused,omitempty"`
	Trouble  string          `json:"trouble,omitempty"`
	Kept     string          `json:"kept,omitempty"`
}

// matrix says what became of all that was run. root is where runs are kept.
func (p *proving) matrix(began time.Time, command []string, root string) provenMatrix {
	t := p.tally()
	m := provenMatrix{
		Began: began.UTC(), Took: time.Since(began).Seconds(), Command: quoteAll(command), Jobs: p.jobs, CPUs: runtime.NumCPU(),
		Tally: t, Found: t.Found, Missed: len(p.bugs) - t.Found, Alarms: t.Invalid, Median: t.Median.Seconds(),
		Bugs: []matrixBug{}, Clean: []matrixClean{}, Kept: root,
	}
	for _, b := range p.bugs {
		m.Bugs = append(m.Bugs, matrixBug{
			System: b.system, Bug: b.bug, Workload: b.workload, Options: quoteAll(b.options()), Found: b.Found, Runs: b.Runs,
			Seconds: b.Spent.Seconds(), SeenBy: seen(b.Seen), Refused: b.Refused, Failed: b.Failed, Trouble: b.Trouble, Kept: b.in(root),
		})
	}
	for _, c := range p.clean {
		m.Clean = append(m.Clean, matrixClean{
			System: c.system, Workload: c.workload, Nemesis: c.nemesis, Options: quoteAll(c.options()), Runs: c.Runs, Verdict: c.Verdict,
			Seconds: c.Spent.Seconds(), SeenBy: seen(c.Seen), Why: c.Why, Refused: c.Refused, Trouble: c.Trouble, Kept: c.in(root),
		})
	}
	return m
}

// in returns the directory of the run that is kept below root, or "".
func (o outcome) in(root string) string {
	dir := filepath.Join(root, o.Kept, store.Latest)
	if o.Kept == "" || !exists(dir) { // one that failed may have left nothing
		return ""
	}
	return dir
}

func seen(kinds []anomalyKind) []string {
	words := []string{}
	for _, k := range kinds {
		words = append(words, k.checker+": "+k.kind)
	}
	return words
}

// how says in a word or two what became of a bug.
func (b matrixBug) how() string {
	switch {
	case b.Found:
		return "found"
	case b.Refused != "":
		return "refused"
	case b.Runs > 0 && b.Failed == b.Runs:
		return "failed"
	case b.Runs == 0 && b.Seconds > 0:
		return "cut short"
	case b.Runs == 0:
		return "not run"
	}
	return "missed"
}

// by says who saw it first, or why nobody could.
func (b matrixBug) by() string {
	if len(b.SeenBy) > 0 {
		return b.SeenBy[0]
	}
	return cmp.Or(b.Refused, gist(b.Trouble))
}

// summary says it in two sentences.
func (m provenMatrix) summary() string {
	t := m.Tally
	s := fmt.Sprintf("%d of %s found", t.Found, checker.Count(len(m.Bugs), "bug"))
	if t.Found > 0 {
		s += fmt.Sprintf(", half of them within %.0f s", math.Ceil(t.Median.Seconds()))
	}
	for _, of := range []struct {
		n    int
		word string
	}{{t.Refused, "refused"}, {t.Failed, "without a verdict"}} {
		if of.n > 0 {
			s += fmt.Sprintf(", %d %s", of.n, of.word)
		}
	}
	runs := checker.Count(len(m.Clean), "run")
	if t.NotRun > 0 {
		runs = fmt.Sprintf("%d of %s", len(m.Clean)-t.NotRun, runs)
	}
	s += fmt.Sprintf("; %s in %s without a bug", checker.Count(t.Invalid, "false alarm"), runs)
	if t.Unknown > 0 {
		s += fmt.Sprintf(", %d of them unknown", t.Unknown)
	}
	return s + fmt.Sprintf(". It took %v, with %s at a time on %s.",
		time.Duration(m.Took*float64(time.Second)).Round(time.Second), checker.Count(m.Jobs, "run"), checker.Count(m.CPUs, "CPU"))
}

// text prints the matrix for people. me is the command, for what they may want to type
// now.
func (m provenMatrix) text(w io.Writer, me string, o *proveOptions) error {
	table := report.Table{Align: "<<>><"}
	var again, kept []string
	if len(m.Bugs) > 0 {
		table.Rows = [][]string{{"bug", "workload", "runs", "seconds", "found by"}}
	}
	for _, b := range m.Bugs {
		by := b.by()
		if !b.Found {
			by = b.how()
			again = append(again, b.Bug)
		} else {
			kept = append(kept, b.Kept)
		}
		table.Rows = append(table.Rows, []string{b.Bug, b.Workload, fmt.Sprint(b.Runs), fmt.Sprintf("%.1f", b.Seconds), by})
	}
	table.Remarks = m.reasons()
	for _, c := range m.Clean {
		if c.Verdict == checker.Invalid {
			table.Remarks = append(table.Remarks, fmt.Sprintf("FALSE ALARM, or a mistake of %s: %s: %s", c.System, c.Options, strings.Join(c.SeenBy, ", ")))
			kept = append([]string{c.Kept}, kept...)
		}
	}
	table.Remarks = append(table.Remarks, m.summary())
	kept = slices.DeleteFunc(kept, func(dir string) bool { return dir == "" })
	if len(kept) > 0 {
		table.Next = append(table.Next, report.Next{Purpose: "look at one:", Command: me + " check " + quote(kept[0])})
	}
	if len(again) > 0 && len(again) <= maxAgain { // else it takes more time
		table.Next = append(table.Next, report.Next{Purpose: "look again:", Command: me + " " + quoteAll(o.again(again))})
	}
	if m.Kept != "" {
		table.Next = append(table.Next, report.Next{Purpose: "files:", Command: m.Kept})
	}
	shown := style(w)
	if shown.Width == 0 {
		shown.Width = math.MaxInt // a file has room
	}
	return table.Text(w, shown)
}

// maxAgain is how many bugs it makes sense to look for once more by name. maxReasons is
// how many there is room for; the others were told when they came up.
const (
	maxAgain   = 10
	maxReasons = 3
)

// reasons say why bugs were refused or came to no verdict, each once.
func (m provenMatrix) reasons() (reasons []string) {
	of := map[string][]string{} // bugs
	for _, b := range m.Bugs {
		if why := b.by(); !b.Found && why != "" {
			why = b.how() + ": " + why
			if of[why] = append(of[why], b.Bug); len(of[why]) == 1 {
				reasons = append(reasons, why)
			}
		}
	}
	reasons = reasons[:min(len(reasons), maxReasons)]
	for i, why := range reasons {
		reasons[i] = enumerate(of[why]) + ": " + why
	}
	return reasons
}

// again returns the command that looks once more for these bugs alone.
func (o *proveOptions) again(bugs []string) []string {
	args := []string{"prove", "--bugs", strings.Join(bugs, ","), "--clean", "0"}
	if o.store != newProveOptions().store {
		args = append(args, "--store", o.store)
	}
	return args
}

// The marks between which a Markdown file has the matrix.
const (
	matrixBegin = "<!-- prove: begin; what follows is written by hacheck prove --into -->\n"
	matrixEnd   = "<!-- prove: end -->\n"
)

// writable says why the matrix cannot be written into the file, if so: better before
// the runs than after.
func (o *proveOptions) writable() error {
	file, err := filepath.EvalSymlinks(o.into)
	if err != nil {
		return err
	}
	o.into = file // what is there is replaced, and a link is not to be
	if _, err := marked(file); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), store.Writable(filepath.Dir(file)))
}

// marked returns the text of a file, cut at its marks.
func marked(file string) (parts [3]string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return parts, err
	}
	before, rest, begins := strings.Cut(string(text), matrixBegin)
	inside, after, ends := strings.Cut(rest, matrixEnd)
	if !begins || !ends {
		return parts, fmt.Errorf("it lacks the lines between which the matrix goes: %s and %s",
			strings.TrimSpace(matrixBegin), strings.TrimSpace(matrixEnd))
	}
	return [3]string{before, inside, after}, nil
}

// writeInto puts the matrix between the marks of a file.
func (m provenMatrix) writeInto(file string) error {
	parts, err := marked(file)
	if err != nil {
		return err
	}
	return store.WriteFile(file, func(w io.Writer) error {
		_, err := io.WriteString(w, parts[0]+matrixBegin+m.markdown()+matrixEnd+parts[2])
		return err
	})
}

// markdown is the matrix as a table, with how it came about.
func (m provenMatrix) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` on %s: %s\n\n", m.Command, m.Began.Format(time.DateOnly), m.summary())
	b.WriteString("| bug | a run that looks for it | found | runs | seconds | seen by |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, bug := range m.Bugs {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %d | %.0f | %s |\n", bug.Bug, bug.Options, bug.how(), bug.Runs, bug.Seconds, strings.ReplaceAll(bug.by(), "|", `\|`))
	}
	b.WriteByte('\n')
	return b.String()
}
