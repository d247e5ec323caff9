package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// A performer performs the jobs of a gate or a campaign: each run is a process of its own.
type performer struct {
	program *program
	// root is where the runs of jobs are kept, a directory for each job; what is kept is named by
	// its path from base.
	base, root string
	// summaries says that of what is valid a summary is kept; else nothing.
	summaries bool
	worker    string
}

// againDir is where, in the directory of a job, the runs are that repeat one; nothing of them
// is kept.
const againDir = "again"

// keptOfValid are the files of a run that are kept where nothing was wrong.
var keptOfValid = []string{store.InfoFile, store.ResultsFile, store.SummaryFile, store.JUnitFile}

// perform performs a job. An unknown verdict is tried again with another seed and twice the
// time to judge; the schedule of an invalid run is repeated, to tell how often it shows the
// same. dir is the directory of the job, or "" if nothing in it is worth keeping. An error is
// that it was interrupted, or could not be performed by anybody here.
func (f *performer) perform(ctx context.Context, j gate.Job) (o gate.Outcome, dir string, err error) {
	o = gate.Outcome{Job: j, Began: time.Now().UTC(), Worker: f.worker}
	home := filepath.Join(f.root, store.FileName(j.ID))
	if err := os.RemoveAll(home); err != nil { // of somebody who did not come to the end of it
		return o, "", err
	}
	if err := os.MkdirAll(home, 0o777); err != nil {
		return o, "", err
	}
	defer func() {
		o.Took = time.Since(o.Began).Seconds()
		if err != nil {
			_ = os.RemoveAll(home) // it is begun anew
			return
		}
		if os.Remove(home) != nil { // there is something in it
			dir = home
		}
	}()
	for n := 0; n <= j.Retries; n++ {
		a, err := f.attempt(ctx, j, n, home)
		if n > 0 && errors.Is(err, errBudget) {
			o.Words = "there was no time to try it again"
			break // that it is unknown is known
		}
		if err != nil {
			return o, "", err
		}
		o.Attempts, o.Class = append(o.Attempts, a), a.Class
		if a.Class != gate.Unknown {
			break
		}
	}
	if o.Class == gate.Invalid { // whatever becomes of the reruns
		if err := f.rerun(ctx, &o, home); err != nil {
			o.Words = fmt.Sprintf("its schedule was not repeated as often as it was to be: %v", err)
		}
	}
	return o, "", nil
}

// onlyLast leaves of a job, whose directory is dir, the run of its last attempt, as a directory below
// into; empty: that has none. The attempts say so.
func (f *performer) onlyLast(o *gate.Outcome, dir, into string) (run string, err error) {
	for i := range o.Attempts {
		a := &o.Attempts[i]
		if i == len(o.Attempts)-1 && a.Dir != "" {
			run = filepath.Join(into, store.FileName(o.Job.ID))
			err = errors.Join(os.MkdirAll(into, 0o777), os.RemoveAll(run))
			if err == nil {
				err = os.Rename(filepath.Join(f.base, filepath.FromSlash(a.Dir)), run)
			}
		}
		a.Dir = ""
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return "", err
	}
	return run, nil
}

// attempt performs the n-th attempt of a job, from 0.
func (f *performer) attempt(ctx context.Context, j gate.Job, n int, home string) (a gate.Attempt, err error) {
	a.Seed = j.Seed
	args := slices.Clone(j.Arguments)
	if n > 0 {
		a.Seed = another(j.Seed, n)
		args = append(args, "--check-time", fmt.Sprint(checkTime(args)<<n))
	}
	root := filepath.Join(home, fmt.Sprint(n+1))
	args = append(args, "--seed", fmt.Sprint(a.Seed), "--store", root)
	began := time.Now()
	result, err := f.program.child(ctx, args)
	a.Took = time.Since(began).Seconds()
	if ctx.Err() != nil {
		return a, context.Cause(ctx)
	}
	run, dir := f.runIn(root)
	if err != nil { // it may be the fault of nobody but the disk
		if full := room(f.root); full != nil {
			return a, full
		}
	}
	if refused, ok := errors.AsType[*refusedRun](err); ok {
		a.Class, a.Words = gate.Refused, gist(refused.words)
		return a, os.RemoveAll(root)
	}
	if run != nil {
		a.Dir = dir
		if info, err := run.Info(); err == nil {
			// Nobody who repeats it wants to have it here.
			a.Repeat = elsewhere(info.Repeat)
			info.Repeat = a.Repeat
			_ = run.WriteInfo(info) // else it is repeated here
		}
	}
	if failed, ok := errors.AsType[*failedRun](err); ok {
		a.Class, a.Words = gate.Failed, failed.words
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.Class, a.Measures = gate.ClassOf(result.Verdict), gate.Measured(result)
	switch a.Class {
	case gate.Invalid:
		a.Findings = findingsOf(result)
		a.Witness = f.witness(ctx, run)
		if a.Words = summary(result); len(a.Findings) > 0 {
			a.Words = a.Findings[0].Note
		}
	case gate.Unknown:
		a.Words = whyUnknown(result)
	default:
		if err := f.summarise(root, run); err != nil {
			return a, err
		}
		if !f.summaries {
			a.Dir = ""
		}
	}
	return a, nil
}

// errNoRoom is why nothing can be performed here, for now.
var errNoRoom = errors.New("no run can be kept there")

// leastRoom is what any run takes.
const leastRoom = 1 << 20

// room says why a run cannot be kept below a directory, if so: an error that wraps errNoRoom.
func room(dir string) error {
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err == nil {
		_, err = probe.Write(make([]byte, leastRoom))
		err = errors.Join(err, probe.Close(), os.Remove(probe.Name()))
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w: the disk is full", dir, errNoRoom)
	case err != nil:
		return fmt.Errorf("%s: %w: %w", dir, errNoRoom, err)
	}
	return nil
}

// leaving is how somebody works who leaves when there is no room here: what it was at is for others,
// or for later.
func leaving(ctx context.Context, work func(ctx context.Context, noted func(error) error) error) error {
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	err := work(ctx, func(err error) error {
		if errors.Is(err, errNoRoom) {
			leave(err)
		}
		return err
	})
	if why := context.Cause(ctx); errors.Is(why, errNoRoom) {
		return errors.Join(err, why)
	}
	return err
}

// elsewhere is the command of a run without where that one was kept.
func elsewhere(args []string) []string {
	at := slices.Index(args, "--store")
	if at < 0 || at+1 >= len(args) {
		return args
	}
	return slices.Concat(args[:at], args[at+2:])
}

// another is the seed of the n-th attempt after the first, as short as that.
func another(seed uint64, n int) uint64 {
	return uint64(uint32((seed + uint64(n)) * 2654435761))
}

// checkTime is how long the run that has these arguments has to judge.
func checkTime(args []string) time.Duration {
	time := defaultBudget().Time
	if at := slices.Index(args, "--check-time"); at >= 0 && at+1 < len(args) {
		_ = duration(&time, minCheckTime).set(args[at+1]) // else the run refuses it
	}
	return time
}

// runIn returns the only run in the store at root, and its directory as a path from base; nil if
// there is none.
func (f *performer) runIn(root string) (run *store.Run, dir string) {
	latest, err := filepath.EvalSymlinks(filepath.Join(root, store.Latest))
	if err != nil {
		return nil, ""
	}
	base, err := filepath.EvalSymlinks(f.base)
	if err != nil {
		return nil, ""
	}
	rel, err := filepath.Rel(base, latest)
	if err != nil {
		return nil, ""
	}
	return &store.Run{Dir: latest}, filepath.ToSlash(rel)
}

// summarise leaves of a run in which nothing is wrong what tells that.
func (f *performer) summarise(root string, run *store.Run) error {
	if !f.summaries || run == nil {
		return os.RemoveAll(root)
	}
	entries, err := os.ReadDir(run.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(keptOfValid, e.Name()) {
			if err := os.RemoveAll(run.File(e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// findingsOf returns what makes a result invalid: the first of each kind of each checker.
func findingsOf(r checker.Result) (all []gate.Finding) {
	told := map[anomalyKind]bool{}
	var walk func(checker.Result)
	walk = func(r checker.Result) {
		if r.Verdict != checker.Invalid {
			return
		}
		for _, a := range r.Anomalies {
			if kind := (anomalyKind{r.Name, a.Kind}); !told[kind] {
				told[kind] = true
				all = append(all, gate.Finding{Checker: r.Name, Kind: a.Kind, Note: a.Note})
			}
		}
		for _, part := range r.Parts {
			walk(part)
		}
	}
	walk(r)
	return all
}

// witnessWidth leaves room for what stands before a witness in a report of many runs.
const witnessWidth = 72

// witness is the evidence as the run has printed it; empty if it cannot be had.
func (f *performer) witness(ctx context.Context, run *store.Run) string {
	if run == nil {
		return ""
	}
	silent := &program{args: f.program.args, stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}
	r, err := silent.judgeFile(ctx, run.Dir, judging{budget: defaultBudget()})
	if err != nil {
		return ""
	}
	var b strings.Builder
	if report.Evidence(&b, silent.shown(r), report.Style{Width: witnessWidth}) != nil {
		return ""
	}
	return b.String()
}

// rerun repeats the schedule of an invalid run, and counts how often it shows one of the same
// findings, by the same rules; those that nobody could judge do not count. It ends early, with what
// it has, when ctx does.
func (f *performer) rerun(ctx context.Context, o *gate.Outcome, home string) (err error) {
	last := o.Last()
	if last.Dir == "" {
		return nil
	}
	dir := filepath.Join(f.base, filepath.FromSlash(last.Dir))
	again := filepath.Join(home, againDir)
	defer func() { err = errors.Join(err, os.RemoveAll(again)) }()
	args := append([]string{"run", "--replay", dir, "--store", again}, judgingOf(o.Job.Arguments)...)
	for range o.Job.Reruns {
		result, err := f.program.child(ctx, args)
		if ctx.Err() != nil {
			return nil
		}
		if _, failed := errors.AsType[*failedRun](err); failed {
			continue
		}
		if _, refused := errors.AsType[*refusedRun](err); refused {
			return nil // its history does not tell enough to be repeated
		}
		if err != nil {
			return err
		}
		if result.Verdict != checker.Unknown {
			o.Ran++
		}
		if slices.ContainsFunc(findingsOf(result), func(g gate.Finding) bool {
			return slices.ContainsFunc(last.Findings, func(h gate.Finding) bool { return g.Checker == h.Checker && g.Kind == h.Kind })
		}) {
			o.Showed++
		}
		if err := os.RemoveAll(again); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// judgingOf returns those of the arguments of a run that say how it is judged.
func judgingOf(args []string) (judging []string) {
	for i, arg := range args {
		if slices.Contains([]string{"--check-time", "--check-memory", "--checker"}, arg) && i+1 < len(args) {
			judging = append(judging, arg, args[i+1])
		}
	}
	return judging
}
