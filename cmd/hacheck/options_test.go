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

func TestTheNearestNameIsTheOneMeant(t *testing.T) {
	names := []string{"partition", "kill", "pause", "partition:ring"}
	for name, want := range map[string]string{
		"partiton": "partition", "Partition": "partition", "apuse": "pause", "kil": "kill",
		"part": "partition", "partition:r": "partition:ring", "x": "", "": "", "zebra": "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistanceCountsEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "acb", 1}, {"abc", "ac", 1}, {"kitten", "sitting", 3}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
