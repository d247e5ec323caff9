package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
)

// said returns a result of a run as a checker would have it.
func said(v checker.Verdict) checker.Result {
	part := checker.Result{Name: "linearizable", Verdict: v, Note: "so it is"}
	if v == checker.Invalid {
		part.Anomalies = []checker.Anomaly{{Kind: "stale read"}, {Kind: "lost write"}}
	}
	return checker.Result{Name: "register", Verdict: v, Parts: []checker.Result{part}}
}

// proved performs a proving of imagined runs, each of a second. runs says what becomes of
// the n-th run of a name: a verdict, or an error.
func proved(t *testing.T, limit time.Duration, jobs, clean int, bugs []string, runs func(name string, n int) any) (p *proving, told []string, err error) {
	t.Helper()
	p = &proving{jobs: jobs, tell: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }}
	for _, b := range bugs {
		p.bugs = append(p.bugs, bugProof{find: find{bug: b}})
	}
	for i := range clean {
		p.clean = append(p.clean, cleanProof{workload: fmt.Sprint("w", i)})
	}
	p.perform = func(ctx context.Context, r proofRun) (checker.Result, error) {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return checker.Result{}, ctx.Err()
		}
		switch v := runs(r.name, r.number).(type) {
		case checker.Verdict:
			return said(v), nil
		case error:
			return checker.Result{}, v
		default:
			return checker.Result{}, fmt.Errorf("no such outcome: %v", v)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return p, told, p.prove(ctx)
}

func TestBugsAreLookedForUntilTheyAreFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p, told, err := proved(t, time.Hour, 1, 2, []string{"a", "b", "c"}, func(name string, n int) any {
			if name == "b" && n < 3 || name == "clean" {
				return checker.Valid
			}
			return checker.Invalid
		})
		if err != nil || p.status() != exitValid {
			t.Errorf("got %v, status %d", err, p.status())
		}
		// Whoever was missed has its turn when all have had one, the clean runs too.
		want := []string{
			"a: found in run 1 (1.0 s) by linearizable (stale read)",
			"b: valid in run 1 (1.0 s)",
			"c: found in run 1 (1.0 s) by linearizable (stale read)",
			"w0 × none: valid (1.0 s)",
			"w1 × none: valid (1.0 s)",
			"b: valid in run 2 (2.0 s)",
			"b: found in run 3 (3.0 s) by linearizable (stale read)",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told:\n%s", strings.Join(told, "\n"))
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestJobsRunSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		bugs := []string{"a", "b", "c", "d", "e", "f"}
		p, _, err := proved(t, time.Hour, 3, 0, bugs, func(string, int) any { return checker.Invalid })
		if err != nil || p.status() != exitValid || time.Since(began) != 2*time.Second {
			t.Errorf("got %v, status %d, after %v", err, p.status(), time.Since(began))
		}
	})
}

// TestOneJobWaitsForWhatAnotherLeaves: a bug that is being looked for may have to be once more.
func TestOneJobWaitsForWhatAnotherLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, err := proved(t, time.Hour, 2, 0, []string{"a"}, func(_ string, n int) any {
			if n < 4 {
				return checker.Unknown
			}
			return checker.Invalid
		})
		if err != nil || !p.bugs[0].Found || p.bugs[0].Runs != 4 {
			t.Errorf("got %v, %+v", err, p.bugs[0].outcome)
		}
	})
}

func TestVerdictOfAProving(t *testing.T) {
	for _, test := range []struct {
		name   string
		runs   func(name string, n int) any
		status int
		says   string
	}{
		{"missed", func(name string, _ int) any { return checker.Valid }, exitInvalid, "0 of 1 bug found; 0 false alarms in 1 run without a bug."},
		{"alarm", func(string, int) any { return checker.Invalid }, exitInvalid, "1 of 1 bug found, half of them within 1 s; 1 false alarm in 1 run without a bug."},
		{"unknown", func(name string, _ int) any {
			if name == "clean" {
				return checker.Unknown
			}
			return checker.Invalid
		}, exitUnknown, "1 of 1 bug found, half of them within 1 s; 0 false alarms in 1 run without a bug, of which 1 are unknown."},
		{"refused", func(name string, _ int) any {
			if name == "clean" {
				return checker.Valid
			}
			return &refusedRun{words: "no disks"}
		}, exitUnknown, "0 of 1 bug found, 1 refused; 0 false alarms in 1 run without a bug."},
		{"failed", func(string, int) any { return &failedRun{"it fell over"} }, exitInvalid, "0 of 1 bug found; 0 false alarms in 1 run without a bug, of which 1 are unknown."},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, told, err := proved(t, 10500*time.Millisecond, 1, 1, []string{"a"}, test.runs)
			if err != nil || p.status() != test.status {
				t.Errorf("%s: got %v, status %d, want %d; told %q", test.name, err, p.status(), test.status, told)
			}
			if got := p.matrix(time.Now(), nil, 1).summary(); !strings.HasPrefix(got, test.says) {
				t.Errorf("%s: got %q", test.name, got)
			}
		})
	}
}

func TestProvingEndsWithARunThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("there is no such program")
		_, _, err := proved(t, time.Hour, 2, 2, []string{"a", "b"}, func(string, int) any { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCleanRunsVaryBoth(t *testing.T) {
	o := newProveOptions()
	o.clean = len(allWorkloads) * (len(faults) + 2)
	for _, w := range allWorkloads {
		o.clean -= len(w.bars)
	}
	pairs := map[string]bool{}
	for i, c := range o.cleanRuns() {
		pairs[c.workload+"/"+c.nemesis] = true
		if parsed := parse(t, c.arguments()[1:]); parsed.bug != "" || parsed.workload != c.workload {
			t.Errorf("run %d: %v", i, c.arguments())
		}
	}
	if len(pairs) != o.clean {
		t.Errorf("of %d runs %d differ", o.clean, len(pairs))
	}
}
