package main

import (
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
)

// parse reads options as the command line does.
func parse(t *testing.T, args []string) *options {
	t.Helper()
	o := newOptions()
	app := &cli.App{
		Flags: o.flags(), Writer: io.Discard, ErrWriter: io.Discard,
		Action: func(*cli.Context) error { return nil },
	}
	if err := app.Run(append([]string{"hacheck"}, args...)); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return o
}

func TestTheCommandThatIsPrintedRunsTheSameAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a schedule.yaml")
	timetable := []nemesis.Entry{{At: 2 * time.Second, Spec: nemesis.Spec{Fault: "kill", Target: "leader"}, For: time.Second}}
	if err := store.WriteFile(file, func(w io.Writer) error { return nemesis.WriteTimetable(w, timetable) }); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*options){
		"defaults": func(*options) {},
		"bug":      func(o *options) { o.bug = "stale-read" },
		"tune":     func(o *options) { o.tune = "timeouts=2,delay=5ms" },
		"nemesis": func(o *options) {
			o.nemesis = []nemesis.Spec{{Fault: "partition", Variant: "ring"}, {Fault: "restart", Variant: "down", Target: "leader"}}
		},
		"all":         func(o *options) { o.nemesis = []nemesis.Spec{{Fault: nemesis.All}} },
		"policy":      func(o *options) { o.policy = nemesis.Adaptive },
		"guard":       func(o *options) { o.unguarded = true },
		"schedule":    func(o *options) { o.schedule, o.timetable = file, timetable },
		"nodes":       func(o *options) { o.nodes = 3 },
		"concurrency": func(o *options) { o.concurrency = 7 },
		"keys":        func(o *options) { o.keys = 1 },
		"rate":        func(o *options) { o.rate = 0.25 },
		"time limit":  func(o *options) { o.timeLimit = 90 * time.Minute },
		"interval":    func(o *options) { o.interval = 1500 * time.Millisecond },
		"heal":        func(o *options) { o.heal = "natural" },
		"store":       func(o *options) { o.store = "a place with spaces" },
		"seed":        func(o *options) { o.seed = 1<<64 - 1 },
	} {
		want := newOptions()
		want.workload, want.seeded = "register", true
		change(want)
		args := want.arguments()
		if args[0] != "run" {
			t.Fatalf("%s: %v does not begin with the command", name, args)
		}
		if got := parse(t, args[1:]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v is read as\n%+v, want\n%+v", name, args, got, want)
		}
	}
}

func TestTunesAreSpelledInOneWay(t *testing.T) {
	raftkv := *findSystem("raftkv")
	for given, want := range map[string]struct {
		spelled string
		tuned   tuning
	}{
		"":                             {},
		"timeouts=2":                   {"timeouts=2", tuning{timeouts: 2}},
		"timeouts=2.0":                 {"timeouts=2", tuning{timeouts: 2}},
		"timeouts=0.5":                 {"timeouts=0.5", tuning{timeouts: 0.5}},
		"timeouts=1":                   {"timeouts=1", tuning{timeouts: 1}},
		"delay=5000us":                 {"delay=5ms", tuning{delay: 5 * time.Millisecond}},
		"delay=0.25s, timeouts=1e1":    {"timeouts=10,delay=250ms", tuning{timeouts: 10, delay: 250 * time.Millisecond}},
		" timeouts=0.50 , delay=1ms\t": {"timeouts=0.5,delay=1ms", tuning{timeouts: 0.5, delay: time.Millisecond}},
	} {
		tuned, spelled, err := raftkv.tuned(given)
		if err != nil || spelled != want.spelled || tuned != want.tuned {
			t.Errorf("%q: got %q, %+v, %v; want %+v", given, spelled, tuned, err, want)
		}
		if again, same, err := raftkv.tuned(spelled); err != nil || same != spelled || again != tuned {
			t.Errorf("%q: read again it is %q, %+v, %v", spelled, same, again, err)
		}
	}
	for _, given := range []string{
		"timeouts", "timeouts=", "=2", ",", "timeouts=2,", "timeouts=2,timeouts=2", "timeouts=0.49", "timeouts=10.1", "timeouts=NaN",
		"timeouts=+Inf", "timeouts=two", "delay=5", "delay=0", "delay=-5ms", "delay=251ms", "hypervisor=qemu", "Timeouts=2",
	} {
		if _, spelled, err := raftkv.tuned(given); err == nil {
			t.Errorf("%q was taken: %q", given, spelled)
		}
	}
}

func TestTunesGivenTwiceAddUp(t *testing.T) {
	if got := parse(t, []string{"--tune", "timeouts=2", "--tune", "none", "--tune", "delay=5ms"}).tune; got != "timeouts=2,delay=5ms" {
		t.Errorf("got %q", got)
	}
}

func TestEverySystemCanBeTunedByItsTable(t *testing.T) {
	for _, s := range systems {
		seen := map[string]bool{}
		for _, tune := range s.tunes {
			if tune.about == "" || tune.bounds == "" || seen[tune.name] {
				t.Errorf("%s: %+v says too little, or is there twice", s.name, tune)
			}
			seen[tune.name] = true
		}
	}
}

func TestKeysGrowWithTheClientsUnlessAskedFor(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{nil, 5}, {[]string{"--concurrency", "1"}, 5}, {[]string{"--concurrency", "11"}, 6},
		{[]string{"--concurrency", "200"}, 100}, {[]string{"--concurrency", "200", "--keys", "3"}, 3},
	} {
		if got := parse(t, c.args).keysInUse(); got != c.want {
			t.Errorf("%v: %d keys, want %d", c.args, got, c.want)
		}
	}
}

func TestABugThatIsInOneHypervisorIsOfItsSystem(t *testing.T) {
	for _, s := range systems {
		for bug, hypervisor := range s.seams {
			if !slices.Contains(names(s.bugs), bug) || !slices.Contains(names(s.hypervisors), hypervisor) {
				t.Errorf("%s has no bug %s, or no hypervisor %s", s.name, bug, hypervisor)
			}
		}
	}
}

func TestListsOfFaultsAddUp(t *testing.T) {
	o := parse(t, []string{"--nemesis", "partition:ring, partition:halves", "--nemesis", "partition", "--nemesis", "none"})
	want := []nemesis.Spec{{Fault: "partition", Variant: "ring"}, {Fault: "partition", Variant: "halves"}, {Fault: "partition"}}
	if !reflect.DeepEqual(o.nemesis, want) {
		t.Errorf("got %v, want %v", o.nemesis, want)
	}
}

func TestWordsForAShellAreQuoted(t *testing.T) {
	for word, want := range map[string]string{
		"store/latest": "store/latest", "partition:ring,kill": "partition:ring,kill",
		"": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}
