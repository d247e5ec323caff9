package main

import (
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
	if err := leftover(c, 0); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
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
// looked at when it was read.
func (o *options) check() error {
	if o.workload == "" {
		return usage("run: which workload? Name one with --workload: %s", enumerate(workloadNames()))
	}
	s := findSystem(o.system)
	var bugs []string
	for _, b := range s.bugs {
		bugs = append(bugs, b.name)
	}
	if o.bug != "" && !slices.Contains(bugs, o.bug) {
		return usage("run: --bug %q: %s has no such bug; %s", o.bug, s.name, suggest(o.bug, bugs, ""))
	}
	if _, err := nemesis.New(faults, o.nemesis, o.imagined(), o.interval); err != nil {
		return usage("run: --nemesis %s: %v", strings.Join(o.nemesis, ","), err)
	}
	if err := store.Writable(o.store); err != nil {
		return usage("run: --store %s: no run can be kept there: %v", quote(o.store), err)
	}
	return nil
}

// imagined is a lab as asked for, in which nothing can be done.
func (o *options) imagined() nemesis.Env {
	env := nemesis.Env{Network: struct{ cluster.Network }{}, Leader: anybody{}}
	for i := range o.nodes {
		env.Nodes = append(env.Nodes, fmt.Sprintf("n%d", i+1))
	}
	return env
}

// anybody is the leader of an imagined lab.
type anybody struct{}

func (anybody) Leader(context.Context) (string, error) { return "", errors.New("there is no lab") }

// checkNemesis says what is wrong with the name of a fault, which may have a
// target.
func checkNemesis(name string) error {
	names := nemesisNames()
	if slices.Contains(names, name) {
		return nil
	}
	family, target, _ := strings.Cut(name, ":")
	at := slices.IndexFunc(faults, func(f nemesis.Fault) bool { return f.Name == family })
	if at < 0 {
		return fmt.Errorf("no such nemesis: %q; %s", family, suggest(family, families(), ""))
	}
	var targets []string
	for _, t := range faults[at].Targets {
		targets = append(targets, family+":"+t.Name)
	}
	return fmt.Errorf("no such target of %s: %q; %s", family, target, suggest(name, targets, "hacheck list"))
}

// families returns the names of faults without targets.
func families() []string {
	var names []string
	for _, f := range faults {
		names = append(names, f.Name)
	}
	return append(names, "none")
}

// A trial is a run as it goes on.
type trial struct {
	*options
	program   *program
	run       *store.Run
	info      store.Info
	progress  *report.Progress
	log       *slog.Logger
	interrupt chan struct{} // closed by the first signal
}

// runInside runs, judges what was written, and prints it.
func (p *program) runInside(o *options) error {
	if !o.seeded {
		o.seed = uint64(rand.Uint32()) // short enough to be typed
	}
	t := &trial{program: p, options: o, interrupt: make(chan struct{})}
	t.progress = report.NewProgress(p.stderr, terminal(p.stderr))
	ctx, stop := t.heed()
	defer stop()

	end, err := t.begin()
	if err != nil {
		return err
	}
	defer end()
	outcome, err := t.perform(ctx)
	t.progress.Done()
	if outcome.Interrupted {
		t.info.Trouble = append(t.info.Trouble, "the main phase was interrupted")
	}
	for _, trouble := range outcome.Trouble {
		t.info.Trouble = append(t.info.Trouble, trouble.Error())
	}
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("given up, since it was interrupted twice")
		}
		t.info.Trouble = append(t.info.Trouble, err.Error())
		t.finish("")
		return fmt.Errorf("%w\nhacheck: what there is of the run is kept in %s", err, t.run.Dir)
	}
	return t.judge(ctx)
}

// heed makes the first signal end the main phase and the second one everything. A
// third is the system's affair.
func (t *trial) heed() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() { // ends with ctx
		for _, act := range []func(){
			func() {
				fmt.Fprintln(t.progress, "interrupted: the main phase ends, and what there is will be judged; once more gives up")
				close(t.interrupt)
			},
			cancel,
		} {
			select {
			case <-signals:
				act()
			case <-ctx.Done():
				return
			}
		}
		signal.Stop(signals)
	}()
	return ctx, cancel
}

// begin makes the run's directory, with its log in it.
func (t *trial) begin() (end func(), err error) {
	began := time.Now()
	t.info = store.Info{
		System: t.system, Bug: t.bug, Workload: t.workload, Nemesis: slices.Clone(t.nemesis),
		Options: store.Options{
			Nodes: t.nodes, Concurrency: t.concurrency, TimeLimit: store.Duration(t.timeLimit),
			Interval: store.Duration(t.interval), Rate: t.rate, Keys: t.keys, Seed: t.seed, Heal: t.heal,
		},
		Repeat:   t.arguments(),
		Versions: store.Versions{Hacheck: version(), Go: runtime.Version(), OS: platform(), Kernel: kernel()},
		Began:    began,
	}
	if t.run, err = store.Create(t.store, t.name(), began); err != nil {
		return nil, err
	}
	if err := t.run.WriteInfo(t.info); err != nil {
		return nil, err
	}
	if err := t.run.Link(); err != nil {
		t.info.Trouble = append(t.info.Trouble, err.Error())
	}
	log, err := t.run.CreateFile("run.log")
	if err != nil {
		return nil, err
	}
	t.log = slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(t.progress, &slog.HandlerOptions{Level: slog.LevelError}),
		slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}),
	))
	return func() { log.Close() }, nil
}

// name is that of the run's directory.
func (t *trial) name() string {
	faults := strings.Join(t.nemesis, ",")
	if faults == "" {
		faults = "none"
	}
	return t.system + "-" + t.workload + "-" + faults
}

// perform brings the lab up, runs, and takes it down again. What an error leaves
// is no run.
func (t *trial) perform(ctx context.Context) (outcome runner.Outcome, err error) {
	t.show(report.Snapshot{Phase: fmt.Sprintf("starting %s of %s", nodes(t.nodes), t.system)})
	history, err := t.run.CreateFile(store.HistoryFile)
	if err != nil {
		return outcome, err
	}
	defer func() { err = errors.Join(err, history.Close()) }()
	var packets io.Writer
	if t.pcap {
		f, err := t.run.CreateFile("net.pcap")
		if err != nil {
			return outcome, err
		}
		defer f.Close()
		packets = f
	}
	lab, err := cluster.NewLocal(cluster.Options{
		Nodes: t.nodes, Dir: t.run.Nodes(), Pcap: packets, Natural: t.heal == "natural", Log: t.log,
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
	if err := t.run.WriteInfo(t.info); err != nil {
		return outcome, err
	}
	system, err := findSystem(t.system).install(lab, t.options)
	if err != nil {
		return outcome, err
	}
	defer system.Close()
	breaking, err := t.breaking(lab, system)
	if err != nil {
		return outcome, err
	}
	return runner.Run(ctx, runner.Plan{
		Lab: lab, System: system, Workload: findWorkload(t.workload).new(system, t.options), Nemesis: breaking,
		History: history, Clients: t.concurrency, TimeLimit: t.timeLimit, Seed: t.seed,
		Interrupt: t.interrupt, Log: t.log, Progress: t.report,
	})
}

// breaking returns the nemesis that was asked for.
func (t *trial) breaking(lab cluster.Lab, system cluster.System) (nemesis.Package, error) {
	if len(t.nemesis) == 0 {
		return nemesis.Package{}, nil
	}
	env := nemesis.Env{Network: lab.Network()}
	for _, n := range lab.Nodes() {
		env.Nodes = append(env.Nodes, n.Name)
	}
	env.Leader, _ = system.(cluster.Leader)
	return nemesis.New(faults, t.nemesis, env, t.interval)
}

// report shows the runner's progress.
func (t *trial) report(r runner.Progress) {
	s := report.Snapshot{
		Phase: r.Phase, Elapsed: r.Elapsed, OK: r.OK, Fail: r.Fail, Info: r.Info,
	}
	if r.Phase == "main" {
		s.Limit, s.Rate = t.timeLimit, r.Rate
	}
	for _, f := range r.Faults {
		s.Faults = append(s.Faults, report.Fault(f))
	}
	t.show(s)
}

func (t *trial) show(s report.Snapshot) {
	if !t.quiet {
		t.progress.Show(s)
	}
}

// judge reads the history back and judges it: the verdict is the file's, and the
// one that check gives.
func (t *trial) judge(ctx context.Context) error {
	t.show(report.Snapshot{Phase: "judging", Elapsed: time.Since(t.info.Began)})
	defer t.progress.Done()
	r := &judged{path: t.run.History(), run: t.run, info: t.info, workload: t.workload}
	if err := t.program.read(r); err != nil {
		return fmt.Errorf("read back what was recorded: %v", err) // no usage error any more
	}
	if err := r.judge(ctx); err != nil {
		return err
	}
	if err := t.run.WriteJSON(store.ResultsFile, r.result); err != nil {
		return err
	}
	r.writeArtifacts(t.run.Dir)
	verdict := r.result.Verdict
	if statusOf(verdict) == exitValid {
		t.forgetData()
	}
	t.info.Trouble = append(t.info.Trouble, r.trouble...)
	r.trouble = nil
	t.finish(verdict.String())
	r.info = t.info
	t.progress.Done()
	if err := t.program.show(r, t.json); err != nil {
		return err
	}
	return verdictStatus(verdict)
}

// forgetData removes what the nodes had on disk: of a run in which nothing is
// wrong nobody wants to look at it, and it is large.
func (t *trial) forgetData() {
	data, _ := filepath.Glob(filepath.Join(t.run.Nodes(), "*", "data"))
	for _, dir := range data {
		if err := os.RemoveAll(dir); err != nil {
			t.info.Trouble = append(t.info.Trouble, err.Error())
		}
	}
}

// finish completes run.json.
func (t *trial) finish(verdict string) {
	ended := time.Now()
	t.info.Ended, t.info.Verdict = &ended, verdict
	if err := t.run.WriteInfo(t.info); err != nil {
		t.info.Trouble = append(t.info.Trouble, err.Error())
	}
}
