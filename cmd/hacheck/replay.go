package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
)

// theirs are the options that say what breaks and when. Of a run that is repeated
// that is known.
var theirs = []string{"nemesis", "interval", "nemesis-policy", "schedule"}

// repeat makes of o what the run in o.replay was asked for, and its faults as they
// were recorded. What is given beside --replay holds, unless it would make another
// run of it.
func (o *options) repeat(c *cli.Context) error {
	for _, name := range theirs {
		if c.IsSet(name) {
			return usage("run: --replay repeats the faults of that run: --%s cannot stand beside it", name)
		}
	}
	r, err := openRun("run: --replay "+quote(o.replay), o.replay)
	if err != nil {
		return err
	}
	if dir, err := filepath.EvalSymlinks(o.replay); err == nil {
		o.replay = dir // the latest is another one soon
	}
	recorded := optionsOf(r.info)
	recorded.store, recorded.replay, recorded.timetable = o.store, o.replay, r.timetable
	for _, same := range []struct{ name, asked, was string }{
		{"workload", o.workload, recorded.workload}, {"system", o.system, recorded.system},
	} {
		if c.IsSet(same.name) && same.asked != same.was {
			return usage("run: --replay %s: that run was of %s %s: --%s %s makes another of it",
				quote(o.replay), same.name, same.was, same.name, same.asked)
		}
	}
	given := *o
	*o = *recorded
	o.recorded, o.seeded = recorded, true
	o.quiet, o.json, o.pcap = given.quiet, given.json, given.pcap
	o.checkLive, o.stopsOn, o.budget = given.checkLive, given.stopsOn, given.budget
	for name, take := range map[string]func(){
		"bug":             func() { o.bug = given.bug },
		"tune":            func() { o.tune = given.tune },
		"nodes":           func() { o.nodes = given.nodes },
		"hypervisor":      func() { o.hypervisor = given.hypervisor },
		"no-quorum-guard": func() { o.unguarded = given.unguarded },
		"heal":            func() { o.heal = given.heal },
		"concurrency":     func() { o.concurrency = given.concurrency },
		"rate":            func() { o.rate = given.rate },
		"keys":            func() { o.keys = given.keys },
		"time-limit":      func() { o.timeLimit = given.timeLimit },
		"seed":            func() { o.seed = given.seed },
		"store":           func() { o.store = given.store },
	} {
		if c.IsSet(name) {
			take()
		}
	}
	recorded.store = newOptions().store // what differs from that is to be said
	if o.nodes < recorded.nodes && len(o.timetable) > 0 {
		return usage("run: --replay %s: its faults are those of %s: --nodes %d is too few", quote(o.replay), checker.Count(recorded.nodes, "node"), o.nodes)
	}
	if line := r.history.Torn(); line > 0 {
		o.replayed = append(o.replayed, fmt.Sprintf("the history of that run ends in the middle of line %d: what broke later is not repeated", line))
	}
	all := len(o.timetable)
	o.timetable = slices.DeleteFunc(o.timetable, func(e nemesis.Entry) bool { return e.At >= o.timeLimit })
	if late := all - len(o.timetable); late > 0 {
		o.replayed = append(o.replayed, fmt.Sprintf("%d of the %s of that run began after %v, and will not", late, checker.Count(all, "fault"), o.timeLimit))
	}
	return nil
}

// optionsOf returns the options of a run.
func optionsOf(i store.Info) *options {
	o := newOptions()
	o.workload, o.system, o.bug = i.Workload, i.System, i.Bug
	o.nodes, o.concurrency, o.keys, o.rate = i.Options.Nodes, i.Options.Concurrency, i.Options.Keys, i.Options.Rate
	o.hypervisor, o.tune = i.Options.Hypervisor, i.Options.Tune
	o.timeLimit, o.seed, o.unguarded = i.Options.TimeLimit.Std(), i.Options.Seed, i.Options.Unguarded
	if i.Options.Interval > 0 {
		o.interval = i.Options.Interval.Std()
	}
	if i.Options.Heal != "" {
		o.heal = i.Options.Heal
	}
	return o
}

// A recordedRun is a run as it is in the store, with the faults that it did.
type recordedRun struct {
	*store.Run
	info      store.Info
	history   *histories.History
	timetable []nemesis.Entry
}

// openRun reads the run in dir. who is told what is wrong with it.
func openRun(who, dir string) (*recordedRun, error) {
	if stat, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, usage("%s: there is no such directory", who)
	} else if err != nil {
		return nil, usage("%s: %v", who, err)
	} else if !stat.IsDir() {
		return nil, usage("%s: it is no directory; want that of a run, such as store/latest", who)
	}
	run, err := store.Open(dir)
	if err != nil {
		return nil, usage("%s is no run's directory: there is no %s in it", who, store.HistoryFile)
	}
	r := &recordedRun{Run: run}
	if r.info, err = run.Info(); err != nil {
		return nil, usage("%s: it does not tell what was run: %v", who, err)
	}
	if r.history, err = histories.ReadFile(run.History()); err != nil {
		return nil, usage("%s: %s: %v", who, store.HistoryFile, err)
	}
	if r.history.Len() == 0 {
		return nil, usage("%s: its %s is empty", who, store.HistoryFile)
	}
	if r.timetable, err = nemesis.Recorded(r.history); err != nil {
		return nil, usage("%s: what broke cannot be told: %v", who, err)
	}
	switch {
	case !slices.Contains(workloadNames(), r.info.Workload):
		return nil, usage("%s is of workload %q, which this hacheck does not know; it knows %s", who, r.info.Workload, enumerate(workloadNames()))
	case !slices.Contains(systemNames(), r.info.System):
		return nil, usage("%s is of system %q, which this hacheck does not know; it knows %s", who, r.info.System, enumerate(systemNames()))
	}
	if wrong := implausible(*findSystem(r.info.System), r.info.Options); wrong != "" {
		return nil, usage("%s: %s has %s, and no run can", who, store.InfoFile, wrong)
	}
	return r, nil
}

// implausible returns what of the options in a file no run of a system can have had, or "". Those
// that the command line gives were looked at when they were read.
func implausible(s system, o store.Options) string {
	for _, n := range []struct {
		name     string
		is, most int
	}{
		{"nodes", o.Nodes, cluster.MaxNodes},
		{"concurrency", o.Concurrency, maxConcurrency},
		{"keys", o.Keys, maxKeys},
	} {
		if n.is < 1 || n.is > n.most {
			return fmt.Sprintf("%s %d", n.name, n.is)
		}
	}
	switch limit, interval := o.TimeLimit.Std(), o.Interval.Std(); {
	case limit < time.Millisecond || limit > maxTime:
		return fmt.Sprintf("time_limit %v", limit)
	case interval != 0 && (interval < minInterval || interval > maxTime):
		return fmt.Sprintf("interval %v", interval)
	case !(o.Rate >= 0 && o.Rate <= maxRate):
		return fmt.Sprintf("rate %g", o.Rate)
	case o.Heal != "" && !slices.Contains(heals, o.Heal):
		return fmt.Sprintf("heal %q", o.Heal)
	}
	if _, _, err := s.tuned(o.Tune); err != nil {
		return fmt.Sprintf("tune %q (%v)", o.Tune, err)
	}
	return ""
}

// scheduled returns entries as run.json keeps them.
func scheduled(entries []nemesis.Entry) []store.Scheduled {
	var all []store.Scheduled
	for _, e := range entries {
		s := store.Scheduled{Fault: e.Spec.String(), Detail: e.Detail, On: e.On.String()}
		if e.At != 0 || s.On == "" {
			s.At = fmt.Sprint(e.At)
		}
		if e.For != 0 {
			s.For = fmt.Sprint(e.For)
		}
		all = append(all, s)
	}
	return all
}
