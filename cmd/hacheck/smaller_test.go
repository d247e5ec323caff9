package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
)

// TestWhatIsMadeSmallerIsTunedAsTheRunWas, in each command that shrink runs or prints.
func TestWhatIsMadeSmallerIsTunedAsTheRunWas(t *testing.T) {
	r := &recordedRun{info: store.Info{
		System: "raftkv", Workload: "register",
		Options: store.Options{Nodes: 5, Concurrency: 10, Keys: 5, Rate: 10, TimeLimit: store.Duration(time.Second), Tune: "timeouts=2"},
	}}
	o := whole(r)
	if args := strings.Join(o.arguments(), " "); !strings.Contains(args, "--tune timeouts=2 ") {
		t.Errorf("got %s", args)
	}
}

// tenFaults are a run with faults at 1 s, 2 s, ... that are told apart by their
// targets.
func tenFaults() options {
	o := *newOptions()
	o.workload, o.seeded, o.most, o.timeLimit = "register", true, 1000, 20*time.Second
	for i := 1; i <= 10; i++ {
		o.timetable = append(o.timetable, nemesis.Entry{
			At: time.Duration(i) * time.Second, For: 2 * time.Second,
			Spec: nemesis.Spec{Fault: "kill", Target: fmt.Sprintf("n%d", i)},
		})
	}
	return o
}

// targets are those of what a run does.
func targetsOf(o options) (targets []string) {
	for _, e := range o.timetable {
		targets = append(targets, e.Spec.Target)
	}
	return targets
}

// shrunk shrinks tenFaults for as long as shows says so.
func shrunk(ctx context.Context, shows func(o options) (bool, error)) (*shrinking, int, error) {
	runs := 0
	s := &shrinking{
		shrinkOptions: shrinkOptions{runs: 3, need: 2}, best: tenFaults(), anomaly: 8500 * time.Millisecond,
		rerun:    func(_ context.Context, o options) (bool, error) { runs++; return shows(o) },
		improved: func() error { return nil },
		tell:     func(string, ...any) {},
	}
	err := s.shrink(ctx)
	return s, runs, err
}

func TestShrinkingLeavesWhatIsNeeded(t *testing.T) {
	needed := []string{"n2", "n7"}
	s, runs, err := shrunk(t.Context(), func(o options) (bool, error) {
		hold := time.Duration(0)
		for _, e := range o.timetable {
			if e.Spec.Target == "n7" {
				hold = e.For
			}
		}
		return !slices.ContainsFunc(needed, func(n string) bool { return !slices.Contains(targetsOf(o), n) }) &&
			hold >= 400*time.Millisecond && o.concurrency >= 2 && o.keysInUse() >= 1 && o.timeLimit >= 3*time.Second, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := targetsOf(s.best); !slices.Equal(got, needed) {
		t.Errorf("what is left is %v, want %v", got, needed)
	}
	if got := s.best.timetable[1].For; got != 500*time.Millisecond {
		t.Errorf("the fault that takes 400ms holds for %v", got)
	}
	if got := s.best.timetable[0].For; got >= 2*minHold {
		t.Errorf("a fault for which it makes no difference holds for %v", got)
	}
	if s.best.timeLimit != 5*time.Second || s.best.concurrency != 2 || s.best.keysInUse() != 1 || s.best.rate != 1 {
		t.Errorf("got %s", brief(s.best))
	}
	if last := s.best.timetable[1].At; last >= s.best.timeLimit {
		t.Errorf("a fault begins at %v of %v", last, s.best.timeLimit)
	}
	if s.shown != 3 || s.ran != 3 || s.ended != nil {
		t.Errorf("%d of %d showed it, ended with %v", s.shown, s.ran, s.ended)
	}
	if runs > 150 {
		t.Errorf("it took %d runs", runs)
	}
}

func TestShrinkingLeavesNoFaultWhereNoneIsNeeded(t *testing.T) {
	s, _, err := shrunk(t.Context(), func(options) (bool, error) { return true, nil })
	if err != nil || len(s.best.timetable) != 0 {
		t.Errorf("%v is left, %v", targetsOf(s.best), err)
	}
}

// What shows now and then is taken for what shows if enough runs do.
func TestShrinkingCountsRuns(t *testing.T) {
	n := 0
	s, _, err := shrunk(t.Context(), func(o options) (bool, error) {
		n++
		return slices.Contains(targetsOf(o), "n3") && n%3 != 0, nil
	})
	if err != nil || !slices.Equal(targetsOf(s.best), []string{"n3"}) || s.shown != 2 || s.ran != 3 {
		t.Errorf("%v is left, %d of %d showed it, %v", targetsOf(s.best), s.shown, s.ran, err)
	}
}

func TestWhatDoesNotShowAgainIsNotShrunk(t *testing.T) {
	n := 0
	_, runs, err := shrunk(t.Context(), func(options) (bool, error) { n++; return n == 1, nil })
	if !errors.Is(err, errNotReproduced) || !strings.Contains(err.Error(), "1 of 3 runs with the whole schedule showed it, and it takes 2") {
		t.Errorf("got %v", err)
	}
	if runs != 3 {
		t.Errorf("it took %d runs", runs)
	}
}

// A run that failed is one that shows nothing; that a run cannot be is an error.
func TestFailuresOfRunsAreTakenForWhatTheyAre(t *testing.T) {
	if _, _, err := shrunk(t.Context(), func(options) (bool, error) { return false, &failedRun{"no disk"} }); !errors.Is(err, errNotReproduced) {
		t.Errorf("failed runs: got %v", err)
	}
	broken := errors.New("broken")
	if _, _, err := shrunk(t.Context(), func(options) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("runs that cannot be: got %v", err)
	}
}

// However it is ended, there is the best so far.
func TestShrinkingCanEndAtAnyTime(t *testing.T) {
	for after := range 60 {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		s, _, err := shrunk(ctx, func(o options) (bool, error) {
			if n++; n > after {
				cancel()
			}
			return slices.Contains(targetsOf(o), "n2"), nil
		})
		switch {
		case after < 2 && !errors.Is(err, errNotReproduced):
			t.Errorf("after %d runs: got %v", after, err)
		case after >= 2 && (err != nil || !errors.Is(s.ended, errInterrupted) || s.shown < s.need):
			t.Errorf("after %d runs: ended with %v, %v; %d of %d showed it", after, s.ended, err, s.shown, s.ran)
		case !slices.Contains(targetsOf(s.best), "n2"):
			t.Errorf("after %d runs: %v is left", after, targetsOf(s.best))
		}
		cancel()
	}
}

// Nothing is tried twice.
func TestShrinkingTriesNothingTwice(t *testing.T) {
	tried := map[string]int{}
	s, _, err := shrunk(t.Context(), func(o options) (bool, error) {
		tried[strings.Join(describe(o), "\n")]++
		return len(targetsOf(o)) >= 4, nil
	})
	if err != nil || len(s.best.timetable) != 4 {
		t.Fatalf("%v is left, %v", targetsOf(s.best), err)
	}
	for what, n := range tried {
		if n > s.runs && what != strings.Join(describe(s.best), "\n") {
			t.Errorf("%d runs of\n%s", n, what)
		}
	}
}

// What comes after the anomaly goes first: every run takes that much longer.
func TestShrinkingSavesTime(t *testing.T) {
	needed, spent := []string{"n1", "n2"}, time.Duration(0)
	s := &shrinking{
		shrinkOptions: shrinkOptions{runs: 3, need: 2}, best: tenFaults(), anomaly: 2500 * time.Millisecond,
		rerun: func(_ context.Context, o options) (bool, error) {
			spent += o.timeLimit
			return !slices.ContainsFunc(needed, func(n string) bool { return !slices.Contains(targetsOf(o), n) }), nil
		},
		improved: func() error { return nil },
		tell:     func(string, ...any) {},
	}
	s.best.timeLimit = 80 * time.Second
	if err := s.shrink(t.Context()); err != nil || !slices.Equal(targetsOf(s.best), needed) {
		t.Fatalf("%v is left, %v", targetsOf(s.best), err)
	}
	if spent > 12*time.Minute {
		t.Errorf("it took %v of runs", spent)
	}
}

// What keys say nothing to is not run again with fewer of them.
func TestShrinkingLeavesKeysThatThereAreNot(t *testing.T) {
	o := tenFaults()
	o.workload = "vm"
	if halfTheKeys(&o) {
		t.Error("a run of vm was to have fewer keys")
	}
	if got, want := brief(o), "10 faults, 20s, 10 clients"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What observers tell, of machines above all, is nothing that clients did.
func TestTheRateOfARunIsThatOfItsCalls(t *testing.T) {
	h, err := checkertest.Parse(`
		0 invoke get {"token":"t1"}
		-2 event beat {"vm":"vm1"}
		-2 event beat {"vm":"vm1"}
		-2 event beat {"vm":"vm1"}
		0 ok get {"token":"t1"}
		1 invoke get {"token":"t1"}
		2s 1 ok get {"token":"t1"}`)
	if err != nil {
		t.Fatal(err)
	}
	r := &recordedRun{history: h}
	r.info.Workload, r.info.System = "vm", "vmsched"
	if got, want := whole(r).most, 2/h.Duration().Seconds(); got != want {
		t.Errorf("got %v ops a second, want %v", got, want)
	}
}
