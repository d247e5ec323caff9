package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/internal/campaign"
	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/matrix"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// What a gate keeps in its store, below store/gate, and in the directory of each gate.
const (
	gateDir    = "gate"
	memoryFile = "memory.json" // of all gates
	holdFile   = ".lock"       // held by the one that goes on
	planFile   = "plan.yaml"   // what it was asked for
	engineDir  = "engine"      // the queue, as long as it goes on
	runsDir    = "runs"
	reportFile = "gate.json"
	sarifFile  = "gate.sarif"
)

// formats are how a gate may tell what it came to.
var formats = []string{"junit", "markdown", "sarif", "github"}

// gateOptions are what gate is asked for.
type gateOptions struct {
	file, store, baseline string
	budget                time.Duration // 0: that of the file
	jobs                  int           // 0: those of the file
	formats               []string
	update, accept        bool
	resume                bool
	init, schema          bool
	json                  bool
}

// The files that a gate reads, by default.
const (
	defaultPlan     = "hacheck.yaml"
	defaultBaseline = gate.BaselineFile
)

func newGateOptions() *gateOptions {
	return &gateOptions{file: defaultPlan, store: newOptions().store}
}

func (o *gateOptions) flags() []cli.Flag {
	file := &cli.GenericFlag{Name: "file", Aliases: []string{"f"}, Usage: "what to run, and what has to hold: the YAML `FILE`", Value: text(&o.file, "a file")}
	return []cli.Flag{
		file,
		&cli.BoolFlag{Name: "init", Usage: "write such a file, with comments, and run nothing", Destination: &o.init, DisableDefaultText: true},
		&cli.BoolFlag{Name: "schema", Usage: "print the JSON schema of such files, for editors, and run nothing", Destination: &o.schema, DisableDefaultText: true},
		&cli.GenericFlag{Name: "budget", Usage: "end after `TIME`", DefaultText: "that of the file", Value: duration(&o.budget, minBudget)},
		&cli.GenericFlag{Name: "jobs", Usage: "`N` runs at a time", DefaultText: "those of the file, or as the machine allows", Value: number(&o.jobs, maxJobs)},
		&cli.GenericFlag{Name: "baseline", Usage: "compare with what is in `FILE`", DefaultText: defaultBaseline + " beside the file, if it is there", Value: text(&o.baseline, "a file")},
		&cli.BoolFlag{Name: "update-baseline", Usage: "add what was measured in cells that passed to the baseline", Destination: &o.update, DisableDefaultText: true},
		&cli.BoolFlag{Name: "accept-regressions", Usage: "with --update-baseline: begin the baseline of cells that regressed anew", Destination: &o.accept, DisableDefaultText: true},
		&cli.GenericFlag{Name: "format", Usage: "tell the outcome as `NAMES`: " + enumerate(formats), DefaultText: "junit,markdown", Value: several(&o.formats, "format", func() []string { return formats }, "")},
		&cli.GenericFlag{Name: "store", Usage: "keep the gate in `DIR`/gate", Value: text(&o.store, "a directory")},
		&cli.BoolFlag{Name: "resume", Usage: "go on with the gate that was interrupted last", Destination: &o.resume, DisableDefaultText: true},
		&cli.BoolFlag{Name: "json", Usage: "print gate.json instead of text", Destination: &o.json, DisableDefaultText: true},
	}
}

// A gating is a gate as it goes on.
type gating struct {
	*gateOptions
	program  *program
	plan     gate.Plan
	text     []byte // of the plan
	run      *store.Run
	baseline *gate.Baseline
	memory   gate.Memory
	machine  gate.Machine
	leading  *leading
	began    time.Time
	tell     func(format string, args ...any)
	trouble  []string
	// compared is what the file of the baseline held; nil: there was none.
	compared []byte
}

// gate runs a matrix of runs, and says whether the system is as good as it was.
func (p *program) gate(c *cli.Context, o *gateOptions) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if o.json && slices.Contains(o.formats, "github") {
		return usage("gate: --json and --format github both want standard output; take one of them")
	}
	if o.accept && !o.update {
		return usage("gate: --accept-regressions says what --update-baseline adds, and goes with it")
	}
	if o.schema {
		_, err := p.stdout.Write(matrix.Schema())
		return err
	}
	if o.init {
		return p.initGate(o)
	}
	g := &gating{gateOptions: o, program: p, began: time.Now()}
	if err := g.read(); err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	if dir := filepath.Dir(o.baseline); o.update { // not only when all is done
		if err := store.Writable(dir); err != nil {
			return usage("gate: --baseline %s: nothing can be kept there: %v", quote(o.baseline), err)
		}
	}
	root := filepath.Join(o.store, gateDir)
	if err := store.Writable(root); err != nil {
		return usage("gate: --store %s: nothing can be kept there: %v", quote(o.store), err)
	}
	release, err := store.Exclusive(filepath.Join(root, holdFile))
	if errors.Is(err, store.ErrHeld) {
		return usage("gate: --store %s: another gate goes on there; wait for it, or name another directory", quote(o.store))
	}
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	if err := g.recall(root); err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	return g.perform(c.Context)
}

// initGate writes a file to begin with.
func (p *program) initGate(o *gateOptions) error {
	f, err := os.OpenFile(o.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return usage("gate: --init: %s is there already", quote(o.file))
	}
	if err != nil {
		return usage("gate: --init: %v", err)
	}
	_, err = f.Write(matrix.Init())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s says what to run: change it, then: %s gate%s\n", o.file, p.invocation(), o.named())
	return nil
}

// named is how the file is named on the command line, if it has to be.
func (o *gateOptions) named() string {
	if o.file == defaultPlan {
		return ""
	}
	return " -f " + quote(o.file)
}

// read reads the plan and the baseline. What is wrong with them is told before anything is
// begun.
func (g *gating) read() (err error) {
	g.plan, g.text, err = g.program.readPlan("gate", g.file)
	if err != nil {
		return err
	}
	if g.budget > 0 {
		g.plan.Budget = g.budget
	}
	if g.jobs > 0 {
		g.plan.Jobs = g.jobs
	}
	if g.plan.Jobs == 0 {
		g.plan.Jobs = runtime.NumCPU()
	}
	g.machine = gate.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Jobs: g.plan.Jobs}
	asked := g.gateOptions.baseline
	if asked == "" {
		g.gateOptions.baseline = filepath.Join(filepath.Dir(g.file), defaultBaseline)
	}
	if dir := filepath.Dir(g.gateOptions.baseline); g.update && !exists(dir) {
		return usage("gate: --baseline %s: there is no directory %s", quote(g.gateOptions.baseline), quote(dir))
	}
	g.compared, err = os.ReadFile(g.gateOptions.baseline)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (asked == "" || g.update):
		g.baseline = new(gate.Baseline)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return usage("gate: --baseline %s: there is no such file; --update-baseline makes it", quote(asked))
	case err != nil:
		return usage("gate: --baseline: %v", err)
	}
	if g.baseline, err = gate.ReadBaseline(bytes.NewReader(g.compared), g.gateOptions.baseline); err != nil {
		return usage("gate: %v", err)
	}
	return nil
}

// readPlan reads a plan, and returns its text, too.
func (p *program) readPlan(who, file string) (plan gate.Plan, text []byte, err error) {
	switch stat, err := os.Stat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return plan, nil, usage("%s: %s: there is no such file; to have one: %s gate --init", who, quote(file), p.invocation())
	case err != nil:
		return plan, nil, usage("%s: %v", who, err)
	case !stat.Mode().IsRegular():
		return plan, nil, usage("%s: %s: it is no regular file", who, quote(file))
	}
	if text, err = os.ReadFile(file); err != nil {
		return plan, nil, usage("%s: %v", who, err)
	}
	if plan, err = matrix.Read(bytes.NewReader(text), file, p.knownTo()); err != nil {
		return plan, nil, usage("%s: %s", who, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return plan, text, nil
}

// recall reads what the gates before have left. It decides only what is run first: where it cannot be
// read, such as that of another version from the cache of a CI system, every cell counts as new.
func (g *gating) recall(root string) error {
	path := filepath.Join(root, memoryFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return usage("gate: %v", err)
	}
	defer f.Close()
	if g.memory, err = gate.ReadMemory(f, path); err != nil {
		fmt.Fprintf(g.program.stderr, "hacheck: gate: every cell counts as new: %v\n", err)
		g.memory = gate.Memory{}
	}
	return nil
}

// open makes the directory of the gate, or finds that of the one that goes on.
func (g *gating) open() (err error) {
	if g.resume {
		dir, err := filepath.EvalSymlinks(filepath.Join(g.store, gateDir, store.Latest))
		if err != nil || !exists(filepath.Join(dir, engineDir)) {
			return usage("gate: --resume: no gate in %s was interrupted", quote(g.store))
		}
		g.run = &store.Run{Dir: dir}
		return g.goesOn()
	}
	if g.run, err = store.Create(g.store, gateDir, g.began); err != nil {
		return err
	}
	if err := g.begin(); err != nil {
		return err
	}
	if err := g.run.LinkByName(); err != nil {
		g.trouble = append(g.trouble, err.Error())
	}
	return nil
}

// perform goes through the matrix, and tells what it came to.
func (g *gating) perform(parent context.Context) error {
	p := g.program
	ctx, stop := urged(parent, g.plan.Budget)
	defer stop()
	server, err := campaign.Serve(campaign.ServerOptions{Dir: g.run.File(engineDir)})
	if err != nil {
		return err
	}
	defer server.Close()
	// That its time is up already is what the gate tells.
	jobs, err := campaign.Open(ctx.interrupted, campaign.Access{Server: server}, campaign.Options{Name: gateDir, Lease: gateLease})
	if err != nil {
		return err
	}
	defer jobs.Close()
	g.leading = &leading{
		gate: gate.New(g.plan, gate.Options{
			Draw: draw, Memory: g.memory, Baseline: g.baseline, Session: filepath.Base(g.run.Dir), Machine: g.machine, Build: version(),
		}),
		campaign: jobs, server: server,
		perform: func(ctx context.Context) error { return g.work(ctx, jobs) },
	}
	told, done := p.watch(g.leading.standing, g.plan.Budget)
	g.tell = func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	g.leading.tell = g.tell
	early, failed := g.leading.run(ctx)
	r := g.leading.end(ctx, early)
	if failed == nil && !early {
		g.shrink(ctx, &r)
	}
	done()
	jobs.Close()
	server.Close()
	g.complete(&r, failed)
	return g.conclude(r, failed)
}

// gateLease is short, as the only worker is in the process of the queue: what a gate that was killed had in
// hand is to be had at once by the one that goes on.
const gateLease = 3 * time.Second

// draw draws a seed that is short enough to be typed.
func draw() uint64 { return uint64(rand.Uint32()) }

// work performs jobs until ctx ends.
func (g *gating) work(ctx context.Context, jobs *campaign.Campaign) error {
	performer := &performer{program: g.program, base: g.run.Dir, root: g.run.File(runsDir), summaries: true}
	return leaving(ctx, func(ctx context.Context, noted func(error) error) error {
		return jobs.Work(ctx, campaign.WorkOptions{
			Name: gateDir, Jobs: g.plan.Jobs,
			Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
				g.leading.begun(j.ID)
				defer g.leading.ended(j.ID)
				o, _, err := performer.perform(ctx, j)
				return o, "", noted(err) // it is kept where it is
			},
		})
	})
}

// maxShrink is how long one schedule is made smaller at most, where the gate has no budget.
const maxShrink = 5 * time.Minute

// shrink makes the schedules of what was found smaller while there is time: one of each
// signature.
func (g *gating) shrink(ctx context.Context, r *gate.Report) {
	if !g.plan.Policy.Shrink {
		return
	}
	for i := range r.Groups {
		group := &r.Groups[i]
		o := newShrinkOptions()
		o.budget = maxShrink
		if deadline, ok := ctx.Deadline(); ok {
			o.budget = min(o.budget, time.Until(deadline)/time.Duration(len(r.Groups)-i))
		}
		if group.Dir == "" || o.budget < minBudget || ctx.Err() != nil {
			continue
		}
		g.tell("%s: making its schedule smaller, for %v at most", group.Signature, o.budget.Round(time.Second))
		switch err := g.smaller(ctx, group, o); {
		case errors.Is(err, errNotReproduced):
			g.tell("%s: %v", group.Signature, err)
		case err != nil:
			g.trouble = append(g.trouble, fmt.Sprintf("%s: its schedule was not made smaller: %v", group.Signature, err))
		default:
			group.Smallest = g.run.File(filepath.Join(filepath.FromSlash(group.Dir), smallestFile))
		}
	}
}

func (g *gating) smaller(ctx context.Context, group *gate.Group, o *shrinkOptions) error {
	dir := g.run.File(filepath.FromSlash(group.Dir))
	run, err := openRun("shrink", dir)
	if err != nil {
		return err
	}
	silent := &program{args: g.program.args, stdout: io.Discard, stderr: io.Discard}
	judged, err := silent.judgeFile(ctx, dir, judging{budget: defaultBudget()})
	if err != nil {
		return err
	}
	wanted := slices.DeleteFunc(anomaliesOf(judged.result), func(k anomalyKind) bool { return k.checker != group.Checker })
	_, err = g.program.smaller(ctx, run, wanted, anomalyTime(run.history, judged.result), o, func(string, ...any) {})
	return err
}

// complete says of a report what only the command knows.
func (g *gating) complete(r *gate.Report, failed error) {
	r.Began, r.Took, r.Budget = g.began.UTC(), time.Since(g.began).Seconds(), g.plan.Budget.Seconds()
	r.Command = quoteAll(append([]string{"hacheck"}, g.program.args[1:]...))
	r.Jobs, r.Machine, r.Hacheck, r.Plan, r.Dir = g.plan.Jobs, g.machine, version(), g.file, g.run.Dir
	for i := range r.Groups {
		if group := &r.Groups[i]; group.Dir != "" {
			group.Dir = g.run.File(filepath.FromSlash(group.Dir)) // to be typed
		}
	}
	r.Trouble = append(r.Trouble, g.trouble...)
	g.leading.fails(r, failed)
}

// conclude keeps a report and prints it. A gate that was interrupted, or has failed, keeps its
// queue, so that --resume can go on.
func (g *gating) conclude(r gate.Report, failed error) error {
	p := g.program
	if g.update {
		g.learn(&r)
	}
	lost := g.keep(r)
	if failed == nil && !r.Interrupted && len(lost) == 0 {
		// Half of one is not to be taken for a gate that was interrupted.
		over := g.run.File(engineDir + ".over")
		if err := os.Rename(g.run.File(engineDir), over); err != nil {
			lost = append(lost, err)
		} else if err := os.RemoveAll(over); err != nil {
			lost = append(lost, err)
		}
	}
	goOn := ""
	switch again := fmt.Sprintf("%s gate --resume%s", p.invocation(), g.again()); {
	case r.Interrupted:
		goOn = "interrupted; to go on: " + again
	case failed != nil:
		goOn = "it could not go on; when what is wrong is mended: " + again
	case len(lost) > 0:
		goOn = "all is run; when what is wrong is mended, this keeps what it came to: " + again
	}
	return p.conclude("gate", r, lost, g.json, slices.Contains(g.formats, "github"), goOn)
}

// again is what was asked for, but for --resume.
func (g *gating) again() string {
	var again []string
	for _, arg := range g.program.args[2:] {
		if arg != "--resume" {
			again = append(again, arg)
		}
	}
	if len(again) == 0 {
		return ""
	}
	return " " + quoteAll(again)
}

// conclude prints what a gate or a campaign came to, with what of it could not be kept, and how to go on
// with it if that is to be said; and returns its exit status.
func (p *program) conclude(who string, r gate.Report, lost []error, asJSON, annotate bool, goOn string) error {
	for _, err := range lost {
		r.Trouble = append(r.Trouble, err.Error())
	}
	if err := p.showReport(r, asJSON, annotate); err != nil {
		return err
	}
	if goOn != "" {
		fmt.Fprintf(p.stderr, "hacheck: %s: %s\n", who, goOn)
	}
	if len(lost) > 0 && r.Status == exitValid {
		return fmt.Errorf("%s: what it came to could not be kept: %w", who, errors.Join(lost...))
	}
	if r.Status != exitValid {
		return exitStatus(r.Status)
	}
	return nil
}

// showReport prints what a gate or a campaign came to.
func (p *program) showReport(r gate.Report, asJSON, annotate bool) error {
	show := func(w io.Writer) error { return report.GateText(w, r, style(w)) }
	if asJSON {
		show = func(w io.Writer) error { return store.EncodeJSON(w, r) }
	}
	err := show(p.stdout)
	if err == nil && annotate && !asJSON {
		err = report.GateGitHub(p.stdout, r)
	}
	if err != nil && !isGone(err) {
		return err
	}
	return nil
}

// writeReports writes what a gate or a campaign came to, in the formats that are asked for, and as
// JSON. It goes on where a file cannot be written.
func writeReports(dir *store.Run, name string, asked []string, r gate.Report) (lost []error) {
	if len(asked) == 0 {
		asked = []string{"junit", "markdown"}
	}
	for _, f := range []struct {
		name, file string
		content    func(io.Writer, gate.Report) error
	}{
		{"junit", store.JUnitFile, report.GateJUnit},
		{"markdown", store.SummaryFile, report.GateMarkdown},
		{"sarif", sarifFile, report.GateSARIF},
		{"", name, func(w io.Writer, r gate.Report) error { return store.EncodeJSON(w, r) }},
	} {
		if f.name != "" && !slices.Contains(asked, f.name) {
			continue
		}
		if err := dir.Write(f.file, func(w io.Writer) error { return f.content(w, r) }); err != nil {
			lost = append(lost, err)
		}
	}
	return lost
}

// keep writes the files of the gate, the memory and the baseline. It goes on where one cannot be
// written.
func (g *gating) keep(r gate.Report) (lost []error) {
	write := func(path string, content func(io.Writer) error) {
		if err := store.WriteFile(path, content); err != nil {
			lost = append(lost, err)
		}
	}
	lost = writeReports(g.run, reportFile, g.formats, r)
	if g.finished(r) {
		write(filepath.Join(g.store, gateDir, memoryFile), g.leading.gate.Remember().Write)
		if g.update && !g.overtaken() {
			write(g.gateOptions.baseline, g.baseline.Write)
		}
	}
	return lost
}

// finished says that there is nothing to go on with.
func (g *gating) finished(r gate.Report) bool {
	return !r.Interrupted && (g.leading.gate.Done() || r.OutOfTime)
}

// overtaken says that somebody has written another baseline since the gate began, which is not to be
// lost.
func (g *gating) overtaken() bool {
	now, err := os.ReadFile(g.gateOptions.baseline)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	return err == nil && !bytes.Equal(now, g.compared)
}

// learn adds to the baseline what was measured, and says in the report what became of that.
func (g *gating) learn(r *gate.Report) {
	switch {
	case !g.finished(*r):
		r.Baseline = []string{"nothing was added to the baseline, as the gate did not come to its end"}
		return
	case g.overtaken():
		r.Baseline = []string{fmt.Sprintf("nothing was added to the baseline, as somebody has written %s since the gate began", g.gateOptions.baseline)}
		return
	}
	g.leading.gate.Learn(r, g.accept)
}
