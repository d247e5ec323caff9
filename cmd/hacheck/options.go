package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/internal/spelling"
	"github.com/hacheck/hacheck/nemesis"
)

// options are what a run is asked for.
type options struct {
	workload, bug       string
	system              string // "": that for the workload
	hypervisor          string // "": the system's default, if it has guests
	tune                string // settings, as [system.tuned] takes them
	tuned               tuning // what they say, when all was looked at
	nemesis             []nemesis.Spec
	schedule            string // the file of timetable, or ""
	replay              string // the directory of the run that is repeated, or ""
	timetable           []nemesis.Entry
	policy              nemesis.Policy
	unguarded           bool
	nodes               int // 0: as many as the system has by default
	concurrency         int
	keys                int // 0: as many as suit the clients
	rate                float64
	most                float64 // what goes where rate is 0, if that is known
	timeLimit, interval time.Duration
	heal                string
	seed                uint64
	seeded              bool // seed was given
	store               string
	checkLive, stopsOn  bool
	quiet, json, pcap   bool
	budget              checker.Budget // of judging

	// recorded are the options of the run that is repeated, or nil, and replayed says
	// what of it is not.
	recorded *options
	replayed []string
}

func newOptions() *options {
	return &options{
		policy: nemesis.Uniform, concurrency: 10,
		heal: heals[0], store: "store",
		budget: defaultBudget(),
	}
}

// heals are the ways to heal a link; see cluster.Options.
var heals = []string{"kick", "natural"}

// The limits of a run: what is beyond them is a slip of the hand.
const (
	maxConcurrency = 10_000
	maxKeys        = 100_000
	maxRate        = 1e6
	maxTime        = 30 * 24 * time.Hour
	minInterval    = 10 * time.Millisecond
)

// What the options of a run are for, as its help groups them. They are sorted by
// name, which is why they are named so.
const (
	whatIsTested = "1. What is tested"
	whatBreaks   = "2. What breaks"
	howMuch      = "3. How hard, and how long"
	howJudged    = "4. How it is judged"
	whatIsKept   = "5. What is shown and kept"
)

func (o *options) flags() []cli.Flag {
	flag := func(category, name, usage string, v *value) *cli.GenericFlag {
		return &cli.GenericFlag{Category: category, Name: name, Usage: usage, Value: v}
	}
	workload := flag(whatIsTested, "workload", "what clients do: `NAME` (hacheck list)", runnable(&o.workload))
	workload.Aliases = []string{"w"}
	seed := flag(howMuch, "seed", "choose at random, but as a run with this `N` did", number64(&o.seed, &o.seeded))
	seed.DefaultText = "random"
	rate := flag(howMuch, "rate", "operations per second: `N`, 0 for as many as go", rate(&o.rate))
	keys := flag(howMuch, "keys", "`N` keys in use at once", number(&o.keys, maxKeys))
	keys.DefaultText = fmt.Sprintf("%d, or one for every two clients", minKeys)
	sut := flag(whatIsTested, "system", "the system under test: `NAME`", choice(&o.system, "system", systemNames()))
	sut.DefaultText = "that which has the workload"
	nodes := flag(whatIsTested, "nodes", "`N` servers", number(&o.nodes, cluster.MaxNodes))
	nodes.DefaultText = bySystem(func(s system) any { return s.nodes })
	interval := flag(whatBreaks, "interval", "a fault about every `TIME`", duration(&o.interval, minInterval))
	interval.DefaultText = bySystem(func(s system) any { return s.interval })
	timeLimit := flag(howMuch, "time-limit", "length of the main phase: `TIME`", duration(&o.timeLimit, time.Millisecond))
	timeLimit.DefaultText = bySystem(func(s system) any { return s.timeLimit })
	hypervisor := flag(whatIsTested, "hypervisor", "what runs the guests: `NAME` (hacheck list)", text(&o.hypervisor, "the name of a hypervisor (hacheck list)"))
	hypervisor.DefaultText = bySystem(func(s system) any { return s.hypervisor() })
	return append([]cli.Flag{
		workload,
		sut,
		flag(whatIsTested, "bug", "build the system with a deliberate bug: `NAME`", bug(&o.bug)),
		flag(whatIsTested, "tune", "have the system perform otherwise: `NAME=VALUE`, separated by commas (hacheck list)", tuneList(&o.tune)),
		nodes,
		hypervisor,
		flag(whatBreaks, "nemesis", "`FAULTS`, separated by commas: NAME[:VARIANT][:TARGET], or all (hacheck list)", nemesisList(&o.nemesis)),
		interval,
		flag(whatBreaks, "nemesis-policy", "choose faults by `POLICY`: uniform, or adaptive, by what has shown new states", policy(&o.policy)),
		flag(whatBreaks, "schedule", "faults as written in the YAML `FILE`, beside those of --nemesis", schedule(&o.schedule, &o.timetable)),
		flag(whatBreaks, "replay", "repeat the run in `DIR`: its faults, seed and options, but for those given", text(&o.replay, "the directory of a run")),
		&cli.BoolFlag{
			Category: whatBreaks, Name: "no-quorum-guard", Destination: &o.unguarded, DisableDefaultText: true,
			Usage: "let faults together take more nodes than a system can do without",
		},
		flag(whatBreaks, "heal", "`HOW` TCP finds out that a link is back: kick or natural", choice(&o.heal, "way to heal", heals)),
		flag(howMuch, "concurrency", "`N` clients at once", number(&o.concurrency, maxConcurrency)),
		rate,
		keys,
		timeLimit,
		seed,
		&cli.BoolFlag{
			Category: howJudged, Name: "check-live", Destination: &o.checkLive, DisableDefaultText: true,
			Usage: "judge what is recorded as it is recorded, and tell the first violation at once",
		},
		&cli.BoolFlag{
			Category: howJudged, Name: "stop-on-violation", Destination: &o.stopsOn, DisableDefaultText: true,
			Usage: "check live, and end the main phase when there is a violation",
		},
		flag(whatIsKept, "store", "keep runs below `DIR`", text(&o.store, "a directory")),
		&cli.BoolFlag{Category: whatIsKept, Name: "pcap", Usage: "keep the network's packets in net.pcap", Destination: &o.pcap, DisableDefaultText: true},
		&cli.BoolFlag{Category: whatIsKept, Name: "quiet", Usage: "show no progress", Destination: &o.quiet, DisableDefaultText: true},
		&cli.BoolFlag{Category: whatIsKept, Name: "json", Usage: "print results.json instead of text", Destination: &o.json, DisableDefaultText: true},
	}, budgetFlags(howJudged, &o.budget)...)
}

// bySystem says what a default is, of each system that has one.
func bySystem(of func(system) any) string {
	var each []string
	for _, s := range systems {
		if v := of(s); v != "" {
			each = append(each, fmt.Sprintf("%v of %s", v, s.name))
		}
	}
	return strings.Join(each, ", ")
}

// settle settles what depends on what else was asked for: the system, and what it has by
// default.
func (o *options) settle() {
	if o.system == "" {
		o.system = systemFor(o.workload).name
	}
	s := findSystem(o.system)
	if o.nodes == 0 {
		o.nodes = s.nodes
	}
	o.interval = cmp.Or(o.interval, s.interval)
	o.timeLimit = cmp.Or(o.timeLimit, s.timeLimit)
	o.hypervisor = cmp.Or(o.hypervisor, s.hypervisor())
}

// minKeys is the least number of keys in use by default.
const minKeys = 5

// keysInUse returns how many keys are in use at once. By default they grow with
// the clients: what judging takes grows exponentially with those on one key.
func (o *options) keysInUse() int {
	if o.keys == 0 {
		return max(minKeys, (o.concurrency+1)/2)
	}
	return o.keys
}

// looksOut says whether the run is judged while it goes on.
func (o *options) looksOut() bool { return o.checkLive || o.stopsOn }

func jsonFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: usage, DisableDefaultText: true}
}

// arguments returns the command that runs the same again, without the program's
// name. What is as it is by default, or in the run that is repeated, goes unsaid, but
// for the seed.
func (o *options) arguments() []string {
	d := newOptions()
	args := []string{"run", "--workload", o.workload}
	add := func(differs bool, name string, value any) {
		if differs {
			args = append(args, "--"+name, fmt.Sprint(value))
		}
	}
	if o.recorded != nil {
		d = o.recorded
		args = []string{"run"}
	}
	add(o.replay != "", "replay", o.replay)
	add(len(o.nemesis) > 0, "nemesis", joined(o.nemesis))
	add(o.policy != d.policy, "nemesis-policy", o.policy)
	add(o.schedule != "", "schedule", o.schedule)
	if o.unguarded && !d.unguarded {
		args = append(args, "--no-quorum-guard")
	}
	if o.system != "" && o.recorded == nil { // what is by default was settled
		settled := &options{workload: o.workload}
		settled.settle()
		d.system = settled.system
		settled = &options{workload: o.workload, system: o.system}
		settled.settle()
		d.nodes, d.hypervisor = settled.nodes, settled.hypervisor
		d.interval, d.timeLimit = settled.interval, settled.timeLimit
	}
	add(o.system != d.system, "system", o.system)
	add(o.hypervisor != d.hypervisor, "hypervisor", o.hypervisor)
	add(o.bug != d.bug && o.bug != "", "bug", o.bug)
	add(o.bug != d.bug && o.bug == "", "bug", noBug)
	add(o.tune != d.tune && o.tune != "", "tune", o.tune)
	add(o.tune != d.tune && o.tune == "", "tune", noTune)
	add(o.nodes != d.nodes, "nodes", o.nodes)
	add(o.concurrency != d.concurrency, "concurrency", o.concurrency)
	add(o.rate != d.rate, "rate", o.rate)
	add(o.keys != d.keys, "keys", o.keys)
	add(o.timeLimit != d.timeLimit, "time-limit", o.timeLimit)
	for _, live := range []struct {
		name  string
		asked bool
	}{{"check-live", o.checkLive}, {"stop-on-violation", o.stopsOn}} {
		if live.asked { // it is of this run, and not of one that is repeated
			args = append(args, "--"+live.name)
		}
	}
	add(o.interval != d.interval, "interval", o.interval)
	add(o.heal != d.heal, "heal", o.heal)
	add(o.store != d.store, "store", o.store)
	add(true, "seed", o.seed)
	return args
}

// A value is the value of a flag, and says itself what is wrong with a text.
type value struct {
	now func() string
	set func(string) error
}

func (v *value) String() string         { return v.now() }
func (v *value) Set(given string) error { return v.set(given) }

func number(n *int, most int) *value {
	return &value{
		now: func() string { return strconv.Itoa(*n) },
		set: func(given string) error {
			parsed, err := strconv.Atoi(given)
			if err != nil || parsed < 1 || parsed > most {
				return fmt.Errorf("want a whole number from 1 to %d", most)
			}
			*n = parsed
			return nil
		},
	}
}

func number64(n *uint64, given *bool) *value {
	return &value{
		now: func() string { return "" },
		set: func(text string) (err error) {
			if *n, err = strconv.ParseUint(text, 10, 64); err != nil {
				return fmt.Errorf("want a whole number from 0 to %d", uint64(math.MaxUint64))
			}
			*given = true
			return nil
		},
	}
}

func rate(r *float64) *value {
	return &value{
		now: func() string { return strconv.FormatFloat(*r, 'g', -1, 64) },
		set: func(given string) error {
			parsed, err := strconv.ParseFloat(given, 64)
			if err != nil || !(parsed >= 0 && parsed <= maxRate) { // NaN is in no range
				return fmt.Errorf("want operations per second, from 0 (as many as go) to %.0f", maxRate)
			}
			*r = parsed
			return nil
		},
	}
}

func duration(d *time.Duration, least time.Duration) *value {
	return &value{
		now: func() string { return d.String() },
		set: func(given string) error {
			parsed, err := time.ParseDuration(given)
			if err != nil {
				return fmt.Errorf("want a time with its unit, such as 20s or 5m")
			}
			if parsed < least || parsed > maxTime {
				return fmt.Errorf("want a time from %v to %v", least, strings.TrimSuffix(maxTime.String(), "0m0s"))
			}
			*d = parsed
			return nil
		},
	}
}

// text is any text but none; what says what is wanted.
func text(s *string, what string) *value {
	return &value{
		now: func() string { return *s },
		set: func(given string) error {
			if given == "" {
				return fmt.Errorf("want %s", what)
			}
			*s = given
			return nil
		},
	}
}

// choice is one of names.
func choice(s *string, what string, names []string) *value {
	return &value{
		now: func() string { return *s },
		set: func(given string) error {
			if !slices.Contains(names, given) {
				return fmt.Errorf("no such %s; %s", what, suggest(given, names, ""))
			}
			*s = given
			return nil
		},
	}
}

// runnable is the name of a workload that can be run.
func runnable(s *string) *value {
	one := choice(s, "workload", workloadNames())
	return &value{now: one.now, set: func(given string) error {
		if slices.Contains(namesOf(recordedWorkloads), given) {
			return fmt.Errorf("it is checked and not run, for others have recorded it: hacheck check --workload %s FILE", given)
		}
		return one.set(given)
	}}
}

// noBug is how to ask for none.
const noBug = "none"

// bug is the name of a bug. Which there are is a matter of the system.
func bug(s *string) *value {
	named := text(s, "the name of a bug (hacheck list)")
	return &value{now: named.now, set: func(given string) error {
		if given == noBug {
			*s = ""
			return nil
		}
		return named.set(given)
	}}
}

// policy is how faults are chosen.
func policy(p *nemesis.Policy) *value {
	return &value{
		now: func() string { return string(*p) },
		set: func(given string) (err error) {
			parsed, err := nemesis.ParsePolicy(given)
			if err != nil {
				return fmt.Errorf("no such policy; %s", suggest(given, nemesis.Policies(), ""))
			}
			*p = parsed
			return nil
		},
	}
}

// schedule is the name of a file with a timetable, which is read at once.
func schedule(file *string, entries *[]nemesis.Entry) *value {
	return &value{
		now: func() string { return *file },
		set: func(given string) error {
			if *file != "" {
				return fmt.Errorf("there is one already: %s", quote(*file))
			}
			if err := regular(given); err != nil {
				return err
			}
			f, err := os.Open(given)
			if err != nil {
				return err
			}
			defer f.Close()
			if *entries, err = nemesis.ReadTimetable(faults, f, given); err != nil {
				return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
			}
			*file = given
			return nil
		},
	}
}

// regular says why a file cannot be read more than once, if so. It is asked before the file is
// opened: a pipe waits for who writes.
func regular(file string) error {
	switch stat, err := os.Stat(file); {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is no such file")
	case err != nil:
		return err
	case stat.IsDir():
		return errors.New("it is a directory")
	case !stat.Mode().IsRegular():
		return errors.New("it is no regular file, and must be read more than once")
	}
	return nil
}

// unknownFault says that there is no such fault, and what may have been meant. Of one
// that is known that is looked for among its own variants and targets, by what stands
// behind its name: that they share the name makes them no more alike.
func unknownFault(unknown *nemesis.UnknownError) error {
	var hint string
	family, tail, ofFamily := strings.Cut(unknown.Name, ":")
	switch at := slices.IndexFunc(faults, func(f nemesis.Fault) bool { return f.Name == family }); {
	case unknown.Name == "none":
		return errors.New("none is no fault, and stands alone")
	case ofFamily && at >= 0:
		var known []string
		for _, v := range faults[at].Variants {
			known = append(known, v.Name)
		}
		for _, t := range faults[at].Targets {
			known = append(known, t.Name)
		}
		if len(faults[at].Targets) > 0 {
			known = append(known, "a node")
		}
		hint = family + " takes " + enumerate(known)
		if near := spelling.Nearest(tail, tails(faults[at])); near != "" {
			hint = fmt.Sprintf("did you mean %s:%s?", family, near)
		}
	case strings.Contains(unknown.Name, " "):
		hint = "commas stand between faults, without spaces"
	default:
		hint = suggest(unknown.Name, append(unknown.Known, "none"), "hacheck list")
	}
	return fmt.Errorf("no such %s: %q; %s", unknown.What, unknown.Name, hint)
}

// tails are what may stand behind the name of a fault and a colon.
func tails(f nemesis.Fault) (tails []string) {
	for _, t := range f.Targets {
		tails = append(tails, t.Name)
	}
	for _, v := range f.Variants {
		tails = append(tails, v.Name)
		for _, t := range f.Targets {
			tails = append(tails, v.Name+":"+t.Name)
		}
	}
	return tails
}

// nemesisList is names of faults, separated by commas. Given twice, the lists add
// up.
func nemesisList(specs *[]nemesis.Spec) *value {
	return &value{
		now: func() string { return joined(*specs) },
		set: func(given string) error {
			if given == "none" {
				return nil
			}
			asked, err := nemesis.Parse(faults, given)
			if unknown, ok := errors.AsType[*nemesis.UnknownError](err); ok {
				return unknownFault(unknown)
			}
			if err != nil {
				return err
			}
			for _, s := range asked {
				if slices.Contains(*specs, s) {
					return fmt.Errorf("%v stands twice", s)
				}
				*specs = append(*specs, s)
			}
			return nil
		},
	}
}
