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
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	update, resume, init  bool
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
		&cli.GenericFlag{Name: "budget", Usage: "end after `TIME`", DefaultText: "that of the file", Value: duration(&o.budget, minBudget)},
		&cli.GenericFlag{Name: "jobs", Usage: "`N` runs at a time", DefaultText: "those of the file, or as the machine allows", Value: number(&o.jobs, maxJobs)},
		&cli.GenericFlag{Name: "baseline", Usage: "compare with what is in `FILE`", DefaultText: defaultBaseline + " beside the file, if it is there", Value: text(&o.baseline, "a file")},
		&cli.BoolFlag{Name: "update-baseline", Usage: "add what was measured to the baseline", Destination: &o.update, DisableDefaultText: true},
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
}

// gate runs a matrix of runs, and says whether the system is as good as it was.
func (p *program) gate(c *cli.Context, o *gateOptions) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if o.json && slices.Contains(o.formats, "github") {
		return usage("gate: --json and --format github both want standard output; take one of them")
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
	g.plan, g.text, err = g.program.readPlan("gate", g.file, g.store)
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
	f, err := os.Open(g.gateOptions.baseline)
	switch {
	case errors.Is(err, fs.ErrNotExist) && (asked == "" || g.update):
		g.baseline = new(gate.Baseline)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return usage("gate: --baseline %s: there is no such file; --update-baseline makes it", quote(asked))
	case err != nil:
		return usage("gate: --baseline: %v", err)
	}
	defer f.Close()
	if g.baseline, err = gate.ReadBaseline(f, g.gateOptions.baseline); err != nil {
		return usage("gate: %v", err)
	}
	return nil
}

// readPlan reads a plan, and returns its text, too.
func (p *program) readPlan(who, file, root string) (plan gate.Plan, text []byte, err error) {
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
	if plan, err = matrix.Read(bytes.NewReader(text), file, p.knownTo(root)); err != nil {
		return plan, nil, usage("%s: %s", who, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return plan, text, nil
}

// recall reads what the gates before have left.
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
		return usage("gate: %v", err)
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
		before, err := os.ReadFile(filepath.Join(dir, planFile))
		if err != nil {
			return usage("gate: --resume: %v", err)
		}
		if !bytes.Equal(before, g.text) {
			return usage("gate: --resume: %s is another one than when %s began: begin anew, without --resume", quote(g.file), dir)
		}
		g.run = &store.Run{Dir: dir}
		return nil
	}
	if g.run, err = store.Create(g.store, gateDir, g.began); err != nil {
		return err
	}
	if err := g.run.Write(planFile, func(w io.Writer) error { _, err := w.Write(g.text); return err }); err != nil {
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
	interrupted, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(interrupted, stop)() // the second one is the system's affair
	signal.Ignore(syscall.SIGPIPE)               // as in runInside
	ctx := interrupted
	if g.plan.Budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(interrupted, g.plan.Budget, errBudget)
		defer cancel()
	}
	server, err := campaign.Serve(campaign.ServerOptions{Dir: g.run.File(engineDir)})
	if err != nil {
		return err
	}
	defer server.Close()
	jobs, err := campaign.Open(ctx, campaign.Access{Server: server}, campaign.Options{Name: gateDir})
	if err != nil {
		return err
	}
	defer jobs.Close()
	g.leading = &leading{
		gate:     gate.New(g.plan, gate.Options{Draw: draw, Memory: g.memory, Baseline: g.baseline, Machine: g.machine, Build: version()}),
		campaign: jobs,
	}
	told, done := p.watch(g.leading.standing, g.plan.Budget)
	g.tell = func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	g.leading.tell = g.tell
	failed := g.work(ctx, server, jobs)
	early := ended(ctx, failed)
	if early {
		failed = nil
	}
	r := g.leading.end(interrupted.Err() != nil, early)
	if failed == nil && !early {
		g.shrink(ctx, &r)
	}
	done()
	jobs.Close()
	server.Close()
	g.complete(&r, failed)
	return g.conclude(r, failed)
}

// draw draws a seed that is short enough to be typed.
func draw() uint64 { return uint64(rand.Uint32()) }

// work leads, and performs what there is to be performed in this process, until it is done or ctx
// ends.
func (g *gating) work(ctx context.Context, server *campaign.Server, jobs *campaign.Campaign) error {
	performer := &performer{program: g.program, base: g.run.Dir, root: g.run.File(runsDir), summaries: true}
	working, end := heed(ctx, server)
	defer end(nil)
	var worker sync.WaitGroup
	worker.Go(func() {
		err := jobs.Work(working, campaign.WorkOptions{
			Name: gateDir, Jobs: g.plan.Jobs,
			Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
				g.leading.begun(j.ID)
				defer g.leading.ended(j.ID)
				o, _, err := performer.perform(ctx, j)
				return o, "", err // it is kept where it is
			},
		})
		if err != nil {
			end(err)
		}
	})
	err := g.leading.lead(working)
	if err != nil && ctx.Err() == nil && working.Err() != nil {
		err = context.Cause(working) // what the worker has failed of
	}
	end(nil)
	worker.Wait()
	if err != nil && server.Err() == nil {
		if lost := g.leading.late(); lost != nil {
			g.trouble = append(g.trouble, fmt.Sprintf("what came last was not taken: %v", lost))
		}
	}
	return err
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
	if failed != nil {
		r.Trouble = append(r.Trouble, failed.Error())
		if r.Status != exitInvalid {
			r.Status = exitFailed
		}
	}
}

// conclude keeps a report and prints it. A gate that was interrupted, or has failed, keeps its
// queue, so that --resume can go on.
func (g *gating) conclude(r gate.Report, failed error) error {
	p := g.program
	lost := g.keep(r)
	if failed == nil && !r.Interrupted {
		if err := os.RemoveAll(g.run.File(engineDir)); err != nil {
			lost = append(lost, err)
		}
	}
	for _, err := range lost {
		r.Trouble = append(r.Trouble, err.Error())
	}
	if err := p.showReport(r, g.json, slices.Contains(g.formats, "github")); err != nil {
		return err
	}
	if r.Interrupted {
		fmt.Fprintf(p.stderr, "hacheck: gate: interrupted; to go on: %s gate --resume%s\n", p.invocation(), g.again())
	}
	if len(lost) > 0 && r.Status == exitValid {
		return fmt.Errorf("gate: what it came to could not be kept: %w", errors.Join(lost...))
	}
	if r.Status != exitValid {
		return exitStatus(r.Status)
	}
	return nil
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
	if g.leading.gate.Done() || r.OutOfTime {
		write(filepath.Join(g.store, gateDir, memoryFile), g.leading.gate.Remember().Write)
		if g.update {
			g.learn(r)
			write(g.gateOptions.baseline, g.baseline.Write)
		}
	}
	return lost
}

// learn adds to the baseline what the cells have measured that are as they should be.
func (g *gating) learn(r gate.Report) {
	for i, c := range r.Cells {
		if c.Status != gate.CellPassed && c.Status != gate.CellRegressed {
			continue
		}
		var runs []gate.Measures
		for _, o := range c.Outcomes {
			if last := o.Last(); last != nil && last.Class == gate.Valid {
				runs = append(runs, last.Measures)
			}
		}
		if c.Status == gate.CellRegressed { // somebody wants it so: what was before is no measure any more
			g.baseline.Forget(g.plan.Cells[i], g.machine)
		}
		g.baseline.Add(g.plan.Cells[i], g.machine, filepath.Base(g.run.Dir), g.began, runs)
	}
}
