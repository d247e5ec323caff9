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
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
)

// smallestFile is what shrink leaves in the directory of the run that it shrinks, beside
// the store of its own runs.
const smallestFile = "smallest.yaml"

// The limits of what shrink may be asked for.
const (
	maxReruns = 100
	minBudget = time.Second
)

// errBudget is why shrinking ends before nothing more can go.
var errBudget = errors.New("the budget of time is used up")

// shrinkOptions are what shrink is asked for.
type shrinkOptions struct {
	runs, need int
	budget     time.Duration
}

func newShrinkOptions() *shrinkOptions {
	return &shrinkOptions{runs: 3, need: 2, budget: 15 * time.Minute}
}

func (o *shrinkOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "runs", Usage: "run each schedule up to `N` times", Value: number(&o.runs, maxReruns)},
		&cli.GenericFlag{Name: "need", Usage: "a schedule shows the anomaly if `N` of those runs do", Value: number(&o.need, maxReruns)},
		&cli.GenericFlag{Name: "budget", Usage: "end after `TIME`, with the best so far", Value: duration(&o.budget, minBudget)},
	}
}

// shrink makes the schedule of an invalid run smaller for as long as runs of it show
// the same. It does its job, and so exits with 0, if there is a schedule that does,
// be it the whole one. If not even that one does, nobody knows: 2.
func (p *program) shrink(c *cli.Context, o *shrinkOptions) error {
	if c.NArg() == 0 {
		return usage("shrink: which run? Name its directory, such as store/latest")
	}
	if err := p.leftover(c, 1); err != nil {
		return err
	}
	if o.need > o.runs {
		return usage("shrink: --need %d: there are no more than %d runs of a schedule; see --runs", o.need, o.runs)
	}
	dir := c.Args().First()
	r, err := openRun("shrink: "+quote(dir), dir)
	if err != nil {
		return err
	}
	judged, err := p.judgeFile(c.Context, dir, judging{})
	if err != nil {
		return err
	}
	wanted := anomaliesOf(judged.result)
	if len(wanted) == 0 {
		return usage("shrink: %s is %v: no anomaly is proven that a smaller schedule could show", quote(dir), judged.result.Verdict)
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	if err := store.Writable(filepath.Join(dir, store.ShrinkDir)); err != nil {
		return usage("shrink: %s: no run can be kept in it: %v", quote(dir), err)
	}
	ctx, stop := signal.NotifyContext(c.Context, endings()...)
	defer stop()
	tell := func(format string, args ...any) { fmt.Fprintf(p.stderr, format+"\n", args...) }
	smallest, err := p.smaller(ctx, r, wanted, anomalyTime(r.history, judged.result), o, tell)
	if errors.Is(err, errNotReproduced) {
		fmt.Fprintf(p.stderr, "hacheck: shrink: %v\n", err)
		return exitStatus(exitUnknown)
	}
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(smallest)
	return err
}

// smaller makes the schedule of a run smaller for as long as o permits, and returns it as
// --schedule takes it; it is kept in the run's directory, too. An error is that not even the whole
// schedule showed what is wanted again, or of a run that could not be.
func (p *program) smaller(ctx context.Context, r *recordedRun, wanted []anomalyKind, anomaly time.Duration, o *shrinkOptions, tell func(format string, args ...any)) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.budget, errBudget)
	defer cancel()
	again := &rerunner{program: p, dir: r.Dir, wanted: wanted}
	s := &shrinking{shrinkOptions: *o, best: whole(r), anomaly: anomaly, rerun: again.run, tell: tell}
	s.improved = func() error { return p.keepSmallest(s, r, wanted) }
	if err := s.shrink(ctx); err != nil {
		return nil, err
	}
	if again.kept != "" {
		tell("the last run that showed it is kept in %s", again.kept)
	}
	var smallest bytes.Buffer
	err := writeSmallest(&smallest, p, s, r, wanted)
	return smallest.Bytes(), err
}

// whole is the run with everything that it did.
func whole(r *recordedRun) options {
	o := *optionsOf(r.info)
	o.seeded, o.timetable = true, r.timetable
	o.interval = findSystem(o.system).interval   // what was recorded says itself how long it held
	if o.rate == 0 && r.history.Duration() > 0 { // as many as went
		called := 0
		for _, op := range r.history.All() {
			if op.Process >= 0 && op.Type == histories.Invoke {
				called++
			}
		}
		o.most = float64(called) / r.history.Duration().Seconds()
	}
	return o
}

// An anomalyKind says what went wrong, and who found it.
type anomalyKind struct{ checker, kind string }

func (k anomalyKind) String() string { return k.kind }

// anomaliesOf returns the kinds of what makes a result invalid, each but once.
func anomaliesOf(r checker.Result) (kinds []anomalyKind) {
	if r.Verdict != checker.Invalid {
		return nil
	}
	for _, a := range r.Anomalies {
		kinds = append(kinds, anomalyKind{r.Name, a.Kind})
	}
	for _, part := range r.Parts {
		kinds = append(kinds, anomaliesOf(part)...)
	}
	var once []anomalyKind
	for _, k := range kinds {
		if !slices.Contains(once, k) {
			once = append(once, k)
		}
	}
	return once
}

// anomalyTime is when the first of the anomalies was there to be seen.
func anomalyTime(h *histories.History, r checker.Result) time.Duration {
	first := histories.Never
	if r.Verdict != checker.Invalid {
		return first
	}
	for _, a := range r.Anomalies {
		last := time.Duration(0)
		for _, op := range a.Ops {
			if op >= 0 && op < h.Len() {
				last = max(last, h.At(op).Time)
			}
		}
		if last > 0 {
			first = min(first, last)
		}
	}
	for _, part := range r.Parts {
		first = min(first, anomalyTime(h, part))
	}
	return first
}

// keepSmallest writes the best so far into the directory of the run.
func (p *program) keepSmallest(s *shrinking, r *recordedRun, wanted []anomalyKind) error {
	return r.Write(smallestFile, func(w io.Writer) error { return writeSmallest(w, p, s, r, wanted) })
}

// writeSmallest writes the best so far as --schedule takes it, with what is to be said
// of it as comments.
func writeSmallest(w io.Writer, p *program, s *shrinking, r *recordedRun, wanted []anomalyKind) error {
	var b bytes.Buffer
	again := s.best
	if len(again.timetable) > 0 {
		again.schedule = r.File(smallestFile)
	}
	fmt.Fprintf(&b, "# %s.\n", s.summary(len(r.timetable), wanted))
	if s.ended != nil {
		fmt.Fprintf(&b, "# It may not be the smallest: %v.\n", s.ended)
	}
	fmt.Fprintf(&b, "# %s %s\n", p.invocation(), quoteAll(again.arguments()))
	if err := nemesis.WriteTimetable(&b, s.best.timetable); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// summary says how small it has become, and how surely it shows what it should.
func (s *shrinking) summary(of int, wanted []anomalyKind) string {
	var kinds []string
	for _, k := range wanted {
		if !slices.Contains(kinds, k.kind) {
			kinds = append(kinds, k.kind)
		}
	}
	left := fmt.Sprintf("%s left of %d", checker.Count(len(s.best.timetable), "fault"), of)
	if len(s.best.timetable) == 0 {
		left = fmt.Sprintf("No fault left of %d", of)
	}
	return fmt.Sprintf("%s; %d of %s showed %s", left, s.shown, checker.Count(s.ran, "run"), strings.Join(kinds, " or "))
}

// A rerunner performs runs, each as a process of its own.
type rerunner struct {
	program *program
	dir     string // of the run that is shrunk
	wanted  []anomalyKind
	n       int // runs so far
	kept    string
}

// run performs a run and says whether it shows one of the anomalies that are wanted.
// Of all runs the last that did is kept.
func (r *rerunner) run(ctx context.Context, o options) (shown bool, err error) {
	r.n++
	root := filepath.Join(r.dir, store.ShrinkDir, fmt.Sprintf("%03d", r.n))
	if err := os.RemoveAll(root); err != nil { // of an earlier shrink
		return false, err
	}
	if err := os.MkdirAll(root, 0o777); err != nil {
		return false, err
	}
	defer func() {
		gone := root
		if shown {
			gone, r.kept = r.kept, root
		}
		if gone != "" {
			err = errors.Join(err, os.RemoveAll(gone))
		}
	}()
	o.store = root
	if len(o.timetable) > 0 {
		o.schedule = filepath.Join(root, "schedule.yaml")
		if err := store.WriteFile(o.schedule, func(w io.Writer) error { return nemesis.WriteTimetable(w, o.timetable) }); err != nil {
			return false, err
		}
	}
	result, err := r.program.child(ctx, o.arguments())
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(anomaliesOf(result), func(k anomalyKind) bool { return slices.Contains(r.wanted, k) }), nil
}
