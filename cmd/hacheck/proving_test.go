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
		if err != nil || p.status(false) != exitValid {
			t.Errorf("got %v, status %d", err, p.status(false))
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
		if err != nil || p.status(false) != exitValid || time.Since(began) != 2*time.Second {
			t.Errorf("got %v, status %d, after %v", err, p.status(false), time.Since(began))
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
		}, exitUnknown, "1 of 1 bug found, half of them within 1 s; 0 false alarms in 1 run without a bug, 1 of them unknown."},
		{"refused", func(name string, _ int) any {
			if name == "clean" {
				return checker.Valid
			}
			return &refusedRun{words: "no disks"}
		}, exitUnknown, "0 of 1 bug found, 1 refused; 0 false alarms in 1 run without a bug."},
		{"failed", func(string, int) any { return &failedRun{"it fell over"} }, exitUnknown, "0 of 1 bug found, 1 without a verdict; 0 false alarms in 1 run without a bug, 1 of them unknown."},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, told, err := proved(t, 10500*time.Millisecond, 1, 1, []string{"a"}, test.runs)
			if err != nil || p.status(false) != test.status {
				t.Errorf("%s: got %v, status %d, want %d; told %q", test.name, err, p.status(false), test.status, told)
			}
			if got := p.matrix(time.Now(), nil, "").summary(); !strings.HasPrefix(got, test.says) {
				t.Errorf("%s: got %q", test.name, got)
			}
		})
	}
}

// TestRunsThatFailAreNotRepeatedForEver: of those that fail in a row that is, and others
// go on.
func TestRunsThatFailAreNotRepeatedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, err := proved(t, time.Hour, 1, 0, []string{"a", "b"}, func(name string, n int) any {
			switch {
			case name == "a" || n%maxFailed != 0 && n < 10:
				return &failedRun{"it fell over"}
			case n < 10:
				return checker.Valid
			}
			return checker.Invalid
		})
		if a, b := p.bugs[0], p.bugs[1]; err != nil || a.Runs != maxFailed || a.Failed != maxFailed || !b.Found || b.Runs != 10 {
			t.Errorf("got %v, %+v, %+v", err, a.outcome, b.outcome)
		}
		if status := p.status(false); status != exitUnknown {
			t.Errorf("status %d", status)
		}
	})
}

func TestAProvingThatIsCutShort(t *testing.T) {
	for _, test := range []struct {
		name            string
		limit           time.Duration
		missed, cut     int // status, also if it was cut short
		clean           checker.Verdict
		says, bug, next string
	}{
		{"at once", time.Second / 2, exitInvalid, exitUnknown, checker.Valid, "0 of 2 bugs found; 0 false alarms in 0 of 2 runs without a bug.", "cut short", "not run"},
		{"while it is clean", 5 * time.Second / 2, exitUnknown, exitUnknown, checker.Valid, "2 of 2 bugs found, half of them within 1 s; 0 false alarms in 0 of 2 runs without a bug.", "found", "found"},
		{"after an alarm", 7 * time.Second / 2, exitInvalid, exitInvalid, checker.Invalid, "2 of 2 bugs found, half of them within 1 s; 1 false alarm in 1 of 2 runs without a bug.", "found", "found"},
		{"after its end", time.Hour, exitValid, exitValid, checker.Valid, "2 of 2 bugs found, half of them within 1 s; 0 false alarms in 2 runs without a bug.", "found", "found"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _, err := proved(t, test.limit, 1, 2, []string{"a", "b"}, func(name string, _ int) any {
				if name == "clean" {
					return test.clean
				}
				return checker.Invalid
			})
			if missed, cut := p.status(false), p.status(true); err != nil || missed != test.missed || cut != test.cut {
				t.Errorf("%s: got %v, status %d, or %d if cut short", test.name, err, missed, cut)
			}
			m := p.matrix(time.Now(), nil, "")
			if got := m.summary(); !strings.HasPrefix(got, test.says) || m.Bugs[0].how() != test.bug || m.Bugs[1].how() != test.next {
				t.Errorf("%s: got %q, %s, %s", test.name, got, m.Bugs[0].how(), m.Bugs[1].how())
			}
		})
	}
}

func TestReasonsAreToldOnce(t *testing.T) {
	p := &proving{}
	for bug, o := range map[string]outcome{"a": {Runs: 1, Refused: "no disks"}, "b": {Runs: 1, Refused: "no disks"}} {
		p.bugs = append(p.bugs, bugProof{find: find{bug: bug}, outcome: o})
	}
	slices.SortFunc(p.bugs, func(a, b bugProof) int { return strings.Compare(a.bug, b.bug) })
	p.bugs = append(p.bugs, bugProof{find: find{bug: "c"}, outcome: outcome{Runs: 1, Failed: 1, Trouble: "time=now level=ERROR\nhacheck: it fell\nhacheck: over"}})
	want := []string{"a and b: refused: no disks", "c: failed: it fell"}
	if got := p.matrix(time.Now(), nil, "").reasons(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestProvingEndsWithARunThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("there is no such program")
		began := time.Now()
		_, _, err := proved(t, time.Hour, 2, 2, []string{"a", "b"}, func(string, int) any { return broken })
		if !errors.Is(err, broken) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
	})
}

func TestCleanRunsVaryBoth(t *testing.T) {
	o := newProveOptions()
	least := len(faults) + 2
	for _, s := range systems {
		least = min(least, len(cleanNemeses(&s)))
	}
	o.clean = len(allWorkloads) * least // then they begin again
	pairs := map[string]bool{}
	for i, c := range o.cleanRuns() {
		pairs[c.workload+"/"+c.nemesis] = true
		parsed := parse(t, c.arguments()[1:])
		parsed.store = t.TempDir()
		if err := parsed.check(); err != nil || parsed.bug != "" || parsed.workload != c.workload {
			t.Errorf("run %d: %v: %v", i, c.arguments(), err)
		}
	}
	if len(pairs) != o.clean {
		t.Errorf("of %d runs %d differ", o.clean, len(pairs))
	}
}
