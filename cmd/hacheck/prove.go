package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
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
		&cli.GenericFlag{Name: "systems", Usage: "`NAMES` of systems, separated by commas", DefaultText: "all", Value: several(&o.systems, "system", systemNames)},
		&cli.GenericFlag{Name: "bugs", Usage: "`NAMES` of bugs, separated by commas, or none", DefaultText: "all", Value: several(&o.bugs, "bug", bugNames)},
		&cli.GenericFlag{Name: "clean", Usage: "`N` runs without a bug, none of which may be invalid", Value: countFrom0(&o.clean, maxCleanRuns)},
		&cli.GenericFlag{Name: "budget", Usage: "end after `TIME`", Value: duration(&o.budget, minBudget, maxTime)},
		&cli.GenericFlag{Name: "jobs", Usage: "`N` runs at a time", Value: number(&o.jobs, maxJobs)},
		&cli.GenericFlag{Name: "store", Usage: "keep the runs that showed something in `DIR`/prove", Value: text(&o.store, "a directory")},
		&cli.GenericFlag{Name: "into", Usage: "write the matrix into the Markdown `FILE`, between its marks", DefaultText: "nowhere", Value: text(&o.into, "a file")},
		jsonFlag("print JSON"),
	}
}

// several are some of names, separated by commas.
func several(chosen *[]string, what string, names func() []string) *value {
	return &value{
		now: func() string { return strings.Join(*chosen, ",") },
		set: func(given string) error {
			if given == noBug {
				*chosen = []string{noBug}
				return nil
			}
			for _, name := range strings.Split(given, ",") {
				if known := names(); !slices.Contains(known, name) {
					return fmt.Errorf("no such %s: %q; %s", what, name, suggest(name, known, "hacheck list"))
				}
				*chosen = append(*chosen, name)
			}
			return nil
		},
	}
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
	if o.into != "" {
		if _, err := marked(o.into); err != nil {
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
	defer os.Remove(kept.Dir) // unless there is something in it
	interrupted, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(interrupted, o.budget, errBudget)
	defer cancel()
	s := &proving{
		bugs: o.chosenBugs(), clean: o.cleanRuns(), jobs: o.jobs,
		perform: func(ctx context.Context, r proofRun) (checker.Result, error) { return p.proofRun(ctx, kept.Dir, r) },
		tell:    func(format string, args ...any) { fmt.Fprintf(p.stderr, format+"\n", args...) },
	}
	if err := s.prove(ctx); err != nil {
		return err
	}
	m := s.matrix(began, append([]string{"hacheck", "prove"}, p.given()...), o.jobs)
	if err := os.Remove(kept.Dir); err != nil { // there is something in it
		m.Kept = kept.Dir
		if err := kept.LinkByName(); err != nil {
			fmt.Fprintf(p.stderr, "hacheck: prove: %v\n", err)
		}
	}
	if o.into != "" {
		if err := m.writeInto(o.into); err != nil {
			return err
		}
	}
	show := m.text
	if o.json {
		show = func(w io.Writer) error { return store.EncodeJSON(w, m) }
	}
	if err := show(p.stdout); err != nil {
		return err
	}
	if interrupted.Err() != nil {
		fmt.Fprintln(p.stderr, "hacheck: prove: interrupted; what is missing was not looked for")
		return exitStatus(exitUnknown)
	}
	if status := s.status(); status != exitValid {
		return exitStatus(status)
	}
	return nil
}

// given are the arguments behind the command's name.
func (p *program) given() []string {
	return p.args[min(len(p.args), slices.Index(p.args, "prove")+1):]
}

// proofRun performs a run as a process of its own. Its files are kept if it shows an
// anomaly.
func (p *program) proofRun(ctx context.Context, root string, r proofRun) (result checker.Result, err error) {
	dir := filepath.Join(root, fmt.Sprintf("%s-%d", r.name, r.number))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return result, err
	}
	defer func() {
		if err != nil || result.Verdict != checker.Invalid {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	args := slices.Clone(r.arguments)
	for i, arg := range args {
		if text, ok := schedules[arg]; ok { // it lies in this program
			args[i] = filepath.Join(dir, filepath.Base(arg))
			if err := os.WriteFile(args[i], text, 0o666); err != nil {
				return result, err
			}
		}
	}
	return p.child(ctx, append(args, "--until-invalid", "--store", dir))
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

// cleanLimit is how long the main phase of a clean run is.
const cleanLimit = 8 * time.Second

// cleanRuns are combinations of workloads and nemeses, such that the first few have as
// many of both as there can be.
func (o *proveOptions) cleanRuns() (runs []cleanProof) {
	nemeses := []string{""}
	for _, f := range faults {
		nemeses = append(nemeses, f.Name)
	}
	nemeses = append(nemeses, nemesis.All)
	names := o.systems
	if len(names) == 0 {
		names = systemNames()
	}
	for i := 0; len(runs) < o.clean; i++ {
		round, at := i/len(allWorkloads), i%len(allWorkloads)
		w, nemesis := allWorkloads[at], nemeses[(at+round)%len(nemeses)]
		if w.bars[nemesis] != "" {
			continue
		}
		runs = append(runs, cleanProof{
			system: names[i%len(names)], workload: w.name, nemesis: nemesis,
			flags: []string{"--time-limit", cleanLimit.String(), "--interval", "2s"},
		})
	}
	return runs
}

// A matrix is what prove prints: which bug was found by what. Scripts rest on its JSON:
// fields are added, not renamed.
type matrix struct {
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
	// Kept is where the runs are that showed something.
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
	SeenBy   []string `json:"seen_by,omitempty"`
	Refused  string   `json:"refused,omitempty"`
	Trouble  string   `json:"trouble,omitempty"`
}

type matrixClean struct {
	System   string          `json:"system"`
	Workload string          `json:"workload"`
	Nemesis  string          `json:"nemesis"`
	Runs     int             `json:"runs"`
	Verdict  checker.Verdict `json:"verdict"`
	Seconds  float64         `json:"seconds"`
	SeenBy   []string        `json:"seen_by,omitempty"`
	Why      string          `json:"why,omitempty"`
	Refused  string          `json:"refused,omitempty"`
	Trouble  string          `json:"trouble,omitempty"`
}

func (p *proving) matrix(began time.Time, command []string, jobs int) matrix {
	t := p.tally()
	m := matrix{
		Began: began.UTC(), Took: time.Since(began).Seconds(), Command: quoteAll(command), Jobs: jobs, CPUs: runtime.NumCPU(),
		Tally: t, Found: t.Found, Missed: t.Missed + t.Refused, Alarms: t.Invalid, Median: t.Median.Seconds(),
		Bugs: []matrixBug{}, Clean: []matrixClean{},
	}
	for _, b := range p.bugs {
		m.Bugs = append(m.Bugs, matrixBug{
			System: b.system, Bug: b.bug, Workload: b.workload, Options: quoteAll(b.options()), Found: b.Found, Runs: b.Runs,
			Seconds: b.Spent.Seconds(), SeenBy: seen(b.Seen), Refused: b.Refused, Trouble: b.Trouble,
		})
	}
	for _, c := range p.clean {
		m.Clean = append(m.Clean, matrixClean{
			System: c.system, Workload: c.workload, Nemesis: c.nemesis, Runs: c.Runs, Verdict: c.Verdict,
			Seconds: c.Spent.Seconds(), SeenBy: seen(c.Seen), Why: c.Why, Refused: c.Refused, Trouble: c.Trouble,
		})
	}
	return m
}

func seen(kinds []anomalyKind) (words []string) {
	for _, k := range kinds {
		words = append(words, k.checker+": "+k.kind)
	}
	return words
}

// how says in a word what became of a bug.
func (b matrixBug) how() string {
	switch {
	case b.Found:
		return "found"
	case b.Refused != "":
		return "refused"
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
	if b.Refused != "" {
		return b.Refused
	}
	return b.Trouble
}

// summary says it in two sentences.
func (m matrix) summary() string {
	t := m.Tally
	s := fmt.Sprintf("%d of %s found", t.Found, count(len(m.Bugs), "bug"))
	if t.Found > 0 {
		s += fmt.Sprintf(", half of them within %.0f s", t.Median.Seconds())
	}
	if t.Refused > 0 {
		s += fmt.Sprintf(", %d refused", t.Refused)
	}
	runs := t.Valid + t.Invalid + t.Unknown
	s += fmt.Sprintf("; %s in %s without a bug", count(t.Invalid, "false alarm"), count(runs, "run"))
	if t.Unknown > 0 {
		s += fmt.Sprintf(", of which %d are unknown", t.Unknown)
	}
	return s + fmt.Sprintf(". It took %v, with %s at a time on %s.",
		time.Duration(m.Took*float64(time.Second)).Round(time.Second), count(m.Jobs, "run"), count(m.CPUs, "CPU"))
}

// text prints the matrix for people.
func (m matrix) text(w io.Writer) error {
	var b bytes.Buffer
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "bug\tworkload\t\truns\tseconds\tseen by")
	for _, bug := range m.Bugs {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%.1f\t%s\n", bug.Bug, bug.Workload, bug.how(), bug.Runs, bug.Seconds, bug.by())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range m.Clean {
		if c.Verdict == checker.Invalid {
			fmt.Fprintf(&b, "\nFALSE ALARM, or a mistake of %s: %s × %s: %s\n", c.System, c.Workload, c.Nemesis, strings.Join(c.SeenBy, ", "))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", m.summary())
	if m.Kept != "" {
		fmt.Fprintf(&b, "runs that showed something: %s\n", m.Kept)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// The marks between which a Markdown file has the matrix.
const (
	matrixBegin = "<!-- prove: begin; what follows is written by hacheck prove --into -->\n"
	matrixEnd   = "<!-- prove: end -->\n"
)

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
func (m matrix) writeInto(file string) error {
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
func (m matrix) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n`%s` on %s: %s\n\n", m.Command, m.Began.Format(time.DateOnly), m.summary())
	b.WriteString("| bug | a run that looks for it | found | runs | seconds | seen by |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, bug := range m.Bugs {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %d | %.0f | %s |\n", bug.Bug, bug.Options, bug.how(), bug.Runs, bug.Seconds, bug.by())
	}
	b.WriteByte('\n')
	return b.String()
}
