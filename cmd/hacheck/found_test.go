package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
)

func TestEachBugIsFoundBySomething(t *testing.T) {
	for _, s := range systems {
		for _, b := range s.bugs {
			if !slices.ContainsFunc(finds, func(f find) bool { return f.system == s.name && f.bug == b.name }) {
				t.Errorf("nothing is said to find bug %s of %s", b.name, s.name)
			}
		}
	}
	t.Chdir("../..") // where the files are that are named
	for _, f := range finds {
		o := parse(t, f.arguments()[1:])
		o.store = t.TempDir()
		if err := o.check(); err != nil {
			t.Errorf("%v: %v", f.arguments(), err)
		}
		if o.bug == "" || !o.breaks() || o.timeLimit > time.Minute {
			t.Errorf("%v is no run of at most a minute that breaks something of a system with a bug", f.arguments())
		}
	}
}

var bugRuns = flag.Int("bugs", 0, "how often BenchmarkBugs runs what finds each bug")

// BenchmarkBugs tells how often each bug is found by what is said to find it, and
// when: as a table to be kept, on standard output. It is for "make bugs", since it
// takes its time.
func BenchmarkBugs(b *testing.B) {
	if *bugRuns == 0 {
		b.Skip("it takes -bugs N")
	}
	b.Chdir("../..") // where the files are that are named
	fmt.Printf("| bug | %s | found | after |\n| --- | --- | --- | --- |\n", "a run that finds it")
	for _, f := range finds {
		b.Run(f.bug, func(b *testing.B) {
			found, total := 0, time.Duration(0)
			for range *bugRuns {
				shown, after, err := look(b.Context(), b.TempDir(), f)
				switch {
				case err != nil:
					b.Errorf("%s: %v", f.bug, err)
				case shown:
					found++
					total += after
				}
			}
			mean := "-"
			if found > 0 {
				mean = fmt.Sprintf("%.1f s", (total / time.Duration(found)).Seconds())
			}
			fmt.Printf("| `%s` | `%s` | %d of %d | %s |\n", f.bug, quoteAll(f.options()), found, *bugRuns, mean)
			b.ReportMetric(float64(found)/float64(*bugRuns), "found/run")
		})
	}
}

// look performs the run of f, as a process of its own, and says whether it found the
// bug, and how long after the run began.
func look(ctx context.Context, dir string, f find) (found bool, after time.Duration, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, 0, err
	}
	cmd := exec.CommandContext(ctx, self, slices.Concat(f.arguments(), []string{"--json", "--quiet", "--store", dir})...)
	cmd.Env = append(os.Environ(), asHacheck+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() > exitUnknown) {
		return false, 0, err
	}
	var result checker.Result
	if err := json.Unmarshal(out, &result); err != nil {
		return false, 0, err
	}
	if result.Verdict != checker.Invalid {
		return false, 0, nil
	}
	h, err := histories.ReadFile(filepath.Join(dir, store.Latest, store.HistoryFile))
	if err != nil {
		return false, 0, err
	}
	return true, anomalyTime(h, result), nil
}
