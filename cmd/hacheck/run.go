package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/report"
)

var errNeedsLinux = errors.New("the lab needs Linux; check and list work everywhere")

// run runs a workload and judges it. Outside the lab it only looks whether what
// was asked for makes sense, so that a mistake is told before anything starts;
// then the same command runs inside.
func (p *program) run(c *cli.Context, o *options) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if o.replay != "" {
		if err := o.repeat(c); err != nil {
			return err
		}
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := store.Writable(o.store); err != nil {
		return usage("run: --store %s: no run can be kept there: %v", quote(o.store), err)
	}
	if cluster.Inside() {
		return p.runInside(o)
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	status, err := cluster.Enter(c.Context, p.args[1:])
	if err != nil {
		return err
	}
	if status == exitValid {
		return nil
	}
	return exitStatus(status) // what it means was said inside
}

// check says what is wrong with the options taken together; each by itself was
// looked at when it was read. It writes nothing.
func (o *options) check() error {
	if o.workload == "" {
		known := workloadNames()
		if o.system != "" {
			known = findSystem(o.system).offers
		}
		return usage("run: which workload? Name one with --workload: %s", enumerate(known))
	}
	o.settle()
	s := findSystem(o.system)
	if !slices.Contains(s.offers, o.workload) {
		return usage("run: --system %s has no clients for --workload %s; %s has", o.system, o.workload, enumerate(offering(o.workload)))
	}
	if known := names(s.hypervisors); o.hypervisor != "" && !slices.Contains(known, o.hypervisor) {
		if len(known) == 0 {
			return usage("run: --hypervisor %s: %s runs no guests", o.hypervisor, s.name)
		}
		return usage("run: --hypervisor %q: %s has no such hypervisor; %s", o.hypervisor, s.name, suggest(o.hypervisor, known, ""))
	}
	if s.lacks != nil {
		if err := s.lacks(o.hypervisor); err != nil {
			return usage("run: --hypervisor %s: %v", o.hypervisor, err)
		}
	}
	if o.nodes < s.least {
		return usage("run: --nodes %d: %s needs %d at least", o.nodes, s.name, s.least)
	}
	if bugs := names(s.bugs); o.bug != "" && !slices.Contains(bugs, o.bug) {
		return usage("run: --bug %q: %s has no such bug; %s", o.bug, s.name, suggest(o.bug, bugs, "hacheck list"))
	}
	tuned, spelled, err := s.tuned(o.tune)
	if err != nil {
		return usage("run: --tune %s: %v", quote(o.tune), err)
	}
	o.tuned, o.tune = tuned, spelled
	if needed := cmp.Or(s.seams[o.bug], o.hypervisor); needed != o.hypervisor {
		return usage("run: --bug %s: it takes --hypervisor %s; with %s it would change nothing", o.bug, needed, o.hypervisor)
	}
	if _, err := nemesis.New(faults, o.imagined(), o.breaking()); err != nil {
		return usage("run: %s: %v", o.asked(), err)
	}
	if o.policy == nemesis.Adaptive && len(o.nemesis) == 0 {
		return usage("run: --nemesis-policy %s: it chooses among the faults of --nemesis, and there are none", o.policy)
	}
	for _, e := range o.timetable {
		if e.At >= o.timeLimit {
			return usage("run: %s: %v is due at %v, and the main phase ends at %v; see --time-limit", o.asked(), e.Spec, e.At, o.timeLimit)
		}
	}
	return nil
}

// breaking says what is to break, and when.
func (o *options) breaking() nemesis.Options {
	return nemesis.Options{Specs: o.nemesis, Interval: o.interval, Timetable: o.timetable, Policy: o.policy}
}

// breaks says whether anything is to break.
func (o *options) breaks() bool { return len(o.nemesis)+len(o.timetable) > 0 }

// asked is how somebody asked for what breaks.
func (o *options) asked() string {
	var asked []string
	if len(o.nemesis) > 0 {
		asked = append(asked, "--nemesis "+joined(o.nemesis))
	}
	if o.schedule != "" {
		asked = append(asked, "--schedule "+quote(o.schedule))
	}
	if o.replay != "" {
		asked = append(asked, "--replay "+quote(o.replay))
	}
	return strings.Join(asked, " ")
}

// joined is how specs are asked for.
func joined(specs []nemesis.Spec) string { return strings.Join(texts(specs), ",") }

func texts(specs []nemesis.Spec) (texts []string) {
	for _, s := range specs {
		texts = append(texts, s.String())
	}
	return texts
}

// A trial is a run as it goes on.
type trial struct {
	*options
	program   *program
	run       *store.Run
	info      store.Info
	able      abilities
	progress  *report.Progress
	log       *slog.Logger
	interrupt *interruption
	zero      time.Time // of the times that are shown: when the main phase began
	lookout   *lookout  // nil: nobody looks
	enough    bool      // the main phase has ended since an anomaly was proven
}

// runInside runs, judges what was written, and prints it.
func (p *program) runInside(o *options) error {
	if !o.seeded {
		o.seed = uint64(rand.Uint32()) // short enough to be typed
	}
	signal.Ignore(syscall.SIGPIPE) // nobody reading what it says costs that, and not the run
	t := &trial{program: p, options: o, progress: report.NewProgress(p.stderr, terminal(p.stderr))}
	t.interrupt = newInterruption(t.progress)
	defer t.interrupt.listen()()
	able, err := o.abilities(cluster.Check)
	if err != nil {
		return err
	}
	if t.able = able; t.interrupt.early() {
		return errInterrupted
	}
	end, err := t.begin()
	if err != nil {
		return err
	}
	defer end()
	outcome, err := t.perform(t.interrupt.run)
	t.progress.Done()
	if outcome.Interrupted && !t.enough {
		t.info.Trouble = append(t.info.Trouble, "the main phase was interrupted")
	}
	for _, trouble := range outcome.Trouble {
		t.info.Trouble = append(t.info.Trouble, t.explain(trouble))
	}
	if err != nil {
		return t.fail(err)
	}
	// Whatever becomes of the verdict now, the history is whole.
	ended := time.Now()
	t.info.Ended = &ended
	t.writeInfo()
	return t.judge()
}

// fail ends a run that came to no verdict, and returns what is to be said of it.
func (t *trial) fail(err error) error {
	kept := "what there is of the run is kept in " + t.run.Dir
	words := t.explain(err)
	if t.interrupt.run.Err() != nil {
		words = errGivenUp.Error()
		kept += fmt.Sprintf("; to judge it: %s check %s", t.program.invocation(), quote(t.run.Dir))
	}
	t.info.Trouble = append(t.info.Trouble, words)
	t.writeInfo()
	return fmt.Errorf("%s\nhacheck: %s", words, kept)
}

// explain says what an error says, and where the logs are of nodes that it is
// about.
func (t *trial) explain(err error) string {
	switch nodes := troubled(err); len(nodes) {
	case 0:
		return err.Error()
	case 1:
		return fmt.Sprintf("%v\nits log: %s", err, t.run.NodeLog(nodes[0]))
	}
	return fmt.Sprintf("%v\ntheir logs: %s", err, t.run.NodeLog("*"))
}

// troubled returns the nodes that err is about.
func troubled(err error) (nodes []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			nodes = append(nodes, troubled(e)...)
		}
		return nodes
	}
	if e, ok := err.(*runner.NodeError); ok { //nolint:errorlint // what is joined was taken apart above
		return []string{e.Node}
	}
	if e := errors.Unwrap(err); e != nil {
		return troubled(e)
	}
	return nil
}

// begin makes the run's directory, with its log in it. If that fails nothing is left of
// it.
func (t *trial) begin() (end func(), err error) {
	began := time.Now()
	t.info = store.Info{
		System: t.system, Bug: t.bug, Workload: t.workload, Nemesis: texts(t.nemesis),
		Schedule: scheduled(t.timetable), Replays: t.replay,
		Options: store.Options{
			Nodes: t.nodes, Concurrency: t.concurrency, TimeLimit: store.Duration(t.timeLimit),
			Interval: store.Duration(t.interval), Rate: t.rate, Keys: t.keysInUse(), Seed: t.seed, Heal: t.heal,
			Policy: string(t.policy), Unguarded: t.unguarded, Hypervisor: t.hypervisor, Tune: t.tune,
		},
		Repeat:   t.arguments(),
		Versions: store.Versions{Hacheck: version(), Go: runtime.Version(), OS: platform(), Kernel: kernel()},
		Began:    began,
	}
	if t.run, err = store.Create(t.store, t.name(), began); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(t.run.Dir))
			_ = os.Remove(filepath.Dir(t.run.Dir)) // unless there are others
		}
	}()
	release, err := t.run.Hold()
	if err != nil {
		t.info.Trouble = append(t.info.Trouble, fmt.Sprintf("while it ran it did not show as running: %v", err))
		release = func() error { return nil }
	}
	defer func() {
		if end == nil { // what there is of it is removed
			err = errors.Join(err, release())
		}
	}()
	if err := t.run.WriteInfo(t.info); err != nil {
		return nil, err
	}
	if err := t.run.Link(); err != nil {
		t.info.Trouble = append(t.info.Trouble, err.Error())
	}
	log, err := t.run.CreateFile(store.LogFile)
	if err != nil {
		return nil, err
	}
	t.log = slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(t.progress, &slog.HandlerOptions{Level: slog.LevelError}),
		slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}),
	))
	return func() {
		log.Close()
		_ = release() // who looks finds that nobody holds it any more, whatever is left
	}, nil
}

// name is that of the run's directory.
func (t *trial) name() string {
	var faults []string
	if len(t.nemesis) > 0 {
		faults = append(faults, joined(t.nemesis))
	}
	switch {
	case t.replay != "":
		faults = append(faults, "replay")
	case t.schedule != "":
		faults = append(faults, "schedule")
	case len(t.nemesis) == 0:
		faults = append(faults, "none")
	}
	return t.system + "-" + t.workload + "-" + strings.Join(faults, ",")
}

// perform brings the lab up, runs, and takes it down again. What an error leaves
// is no run.
func (t *trial) perform(ctx context.Context) (outcome runner.Outcome, err error) {
	t.show(report.Snapshot{Phase: fmt.Sprintf("starting %s of %s", checker.Count(t.nodes, "node"), t.system)})
	history, err := t.run.CreateFile(store.HistoryFile)
	if err != nil {
		return outcome, err
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	var packets io.Writer
	if t.pcap {
		f, err := t.run.CreateFile(store.PacketsFile)
		if err != nil {
			return outcome, err
		}
		defer f.Close()
		packets = f
	}
	lab, err := cluster.NewLocal(cluster.Options{
		Nodes: t.nodes, Dir: t.run.Nodes(), Pcap: packets, Natural: t.heal == "natural", Log: t.log,
		Disks: t.able.Disks, XFS: t.able.XFS, Clocks: t.able.Clocks, Resources: t.able.Resources,
	})
	if err != nil {
		return outcome, err
	}
	defer func() {
		if err := lab.Close(); err != nil {
			outcome.Trouble = append(outcome.Trouble, fmt.Errorf("close the lab: %w", err))
		}
	}()
	t.info.Lab = lab.Facts()
	if why := lab.Fallback(); why != nil {
		t.note("the network is built on %s instead, which is as good: %v", lab.Facts()["network"], why)
	}
	if err := t.run.WriteInfo(t.info); err != nil {
		return outcome, err
	}
	system, err := findSystem(t.system).install(lab, t.options)
	if err != nil {
		return outcome, err
	}
	defer system.Close()
	breaking, err := t.nemesisOf(lab, system)
	if err != nil {
		return outcome, err
	}
	if t.looksOut() {
		stop, err := t.lookOut()
		if err != nil {
			return outcome, err
		}
		defer stop()
	}
	return runner.Run(ctx, runner.Plan{
		Lab: lab, System: system, Workload: findWorkload(t.workload).new(system, t.options), Nemesis: breaking,
		History: history, Clients: t.concurrency, TimeLimit: t.timeLimit, Seed: t.seed,
		Timeout:   findWorkload(t.workload).timeout,
		Interrupt: t.interrupt.begun, Log: t.log, Progress: t.report, Entered: t.interrupt.enter,
	})
}

// nemesisOf returns the nemesis that was asked for, and tells what it will not do, and
// what the system does not claim to bear.
func (t *trial) nemesisOf(lab cluster.Lab, system cluster.System) (nemesis.Package, error) {
	if !t.breaks() {
		return nemesis.Package{}, nil
	}
	env := nemesis.NewEnv(lab, system)
	env.Unguarded, env.Absent = t.unguarded, t.absent()
	p, err := nemesis.New(t.able.faults, env, t.breaking())
	if err != nil {
		return p, err
	}
	for _, remark := range t.replayed {
		t.note("%s", remark)
	}
	t.info.LeftOut = slices.Concat(t.able.leftOut, p.LeftOut)
	for _, left := range t.info.LeftOut {
		t.note("not among all: %s", left)
	}
	t.info.Limits = limits(t.system, env.Limits, slices.Concat(t.nemesis, specsOf(t.timetable)))
	for _, limit := range t.info.Limits {
		t.note("%s", limit)
	}
	return p, t.run.WriteInfo(t.info)
}

// report shows the runner's progress.
func (t *trial) report(r runner.Progress) {
	t.zero = time.Now().Add(-r.Elapsed)
	s := report.Snapshot{
		Phase: r.Phase, Elapsed: r.Elapsed, OK: r.OK, Fail: r.Fail, Info: r.Info,
	}
	if r.Phase == "main" {
		s.Limit, s.Rate = t.timeLimit, r.Rate
	}
	if t.lookout != nil {
		s.Judged = t.lookout.words(r.Elapsed)
	}
	for _, f := range r.Faults {
		s.Faults = append(s.Faults, report.Fault(f))
	}
	t.show(s)
}

// note tells of something on a line of its own.
func (t *trial) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.log.Info(text)
	if !t.quiet {
		fmt.Fprintln(t.progress, text)
	}
}

func (t *trial) show(s report.Snapshot) {
	if !t.quiet {
		t.progress.Show(s)
	}
}

// judge reads the history back and judges it: the verdict is the file's, and the
// one that check gives.
func (t *trial) judge() error {
	t.interrupt.enter(phaseJudging)
	t.show(report.Snapshot{Phase: phaseJudging, Elapsed: time.Since(t.zero)})
	defer t.progress.Done()
	r := &judged{path: t.run.History(), run: t.run, info: t.info, workload: t.workload, budget: t.budget}
	if err := t.program.read(r); err != nil {
		return fmt.Errorf("read back what was recorded: %v", err) // no usage error any more
	}
	if err := r.judge(t.interrupt.judging); err != nil {
		return err
	}
	if !t.interrupt.decide() {
		return t.fail(errGivenUp)
	}
	// A verdict that was found is told, whatever cannot be kept of it.
	if err := t.run.WriteJSON(store.ResultsFile, r.result); err != nil {
		t.info.Trouble = append(t.info.Trouble, err.Error())
	}
	verdict := r.result.Verdict
	if statusOf(verdict) == exitValid {
		t.forgetData()
	}
	t.info.Trouble = append(t.info.Trouble, r.trouble...)
	r.trouble = nil
	if t.info.Live != nil && verdict != checker.Invalid {
		t.info.Trouble = append(t.info.Trouble, fmt.Sprintf("what was found while it ran (%s) the verdict does not confirm", t.info.Live.Kind))
	}
	t.info.Verdict = verdict.String()
	r.info = t.info
	t.show(report.Snapshot{Phase: "drawing", Elapsed: time.Since(t.zero)})
	t.program.keep(t.interrupt.drawing, r, t.run.Dir)
	t.info.Trouble = append(t.info.Trouble, r.trouble...)
	r.trouble, r.info = nil, t.info
	t.writeInfo()
	t.progress.Done()
	if err := t.program.show(r, t.json); err != nil && !isGone(err) {
		return err
	}
	return verdictStatus(verdict)
}

// forgetData removes what the nodes had on disk: of a run in which nothing is
// wrong nobody wants to look at it, and it is large.
func (t *trial) forgetData() {
	for _, dir := range onDisk(t.run) {
		if err := os.RemoveAll(dir); err != nil {
			t.info.Trouble = append(t.info.Trouble, err.Error())
		}
	}
}

// onDisk returns the directories of what the nodes of a run had on disk, if it is kept: each
// its own, and the images that they shared.
func onDisk(run *store.Run) []string {
	own, _ := filepath.Glob(filepath.Join(run.Nodes(), "*", "data"))
	shared, _ := filepath.Glob(filepath.Join(run.Nodes(), "*.images"))
	return append(own, shared...)
}

// writeInfo brings run.json up to date.
func (t *trial) writeInfo() {
	if err := t.run.WriteInfo(t.info); err != nil {
		t.info.Trouble = append(t.info.Trouble, err.Error())
	}
}

// isGone says whether err is that nobody reads any more: a pipe that is closed, or
// a terminal that has gone.
func isGone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EIO) }
