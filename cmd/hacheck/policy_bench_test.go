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
	"strconv"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/nemesis"
)

var policyRuns = flag.Int("policies", 0, "how often BenchmarkPolicies runs each bug with each policy")

// A policyScore is what the runs of a policy came to.
type policyScore struct {
	runs, found int
	searched    time.Duration // until the bug was found, or the run was over
	states      int
	observed    time.Duration
}

// add adds a run.
func (s *policyScore) add(found bool, after, limit time.Duration, h *histories.History) {
	s.runs++
	s.searched += limit
	if found {
		s.found++
		s.searched += min(after, limit) - limit
	}
	s.states += nemesis.Covered(h).Distinct
	s.observed += h.Duration()
}

// perMinute returns the states that a minute shows. They get fewer with time, so
// that only runs of the same length compare.
func (s *policyScore) perMinute() float64 { return float64(s.states) / s.observed.Minutes() }

// toFind returns the time that it takes to find the bug, which runs that did not
// find it make longer; text is for where none did.
func (s *policyScore) toFind() (mean time.Duration, text string) {
	if s.found == 0 {
		return 0, fmt.Sprintf("more than %.0f s", s.searched.Seconds())
	}
	mean = s.searched / time.Duration(s.found)
	return mean, fmt.Sprintf("%.1f s", mean.Seconds())
}

// BenchmarkPolicies compares the policies by which faults are chosen, with all
// faults, on each deliberate bug: a table on standard output. Both have the same
// seeds, and take turns, so that what else the machine does is fair to both. It
// takes long, and a lab:
//
//	go test -run '^$' -bench BenchmarkPolicies -benchtime 1x -timeout 0 ./cmd/hacheck -policies 10
func BenchmarkPolicies(b *testing.B) {
	if *policyRuns == 0 {
		b.Skip("it takes -policies N")
	}
	fmt.Printf("| bug | policy | found | time to find | states a minute |\n| --- | --- | --- | --- | --- |\n")
	for _, f := range finds {
		if f.nemesis == "" {
			continue // its schedule is written: there is nothing to choose
		}
		f.nemesis = nemesis.All
		b.Run(f.bug, func(b *testing.B) {
			scores := map[string]*policyScore{}
			for _, policy := range nemesis.Policies() {
				scores[policy] = &policyScore{}
			}
			for seed := range *policyRuns {
				for _, policy := range nemesis.Policies() {
					run := f
					run.flags = slices.Concat(f.flags, []string{"--nemesis-policy", policy, "--seed", strconv.Itoa(seed + 1)})
					dir := b.TempDir()
					found, after, err := look(b.Context(), dir, run)
					if err != nil {
						b.Fatalf("%v: %v", run.arguments(), err)
					}
					h, err := histories.ReadFile(filepath.Join(dir, store.Latest, store.HistoryFile))
					if err != nil {
						b.Fatal(err)
					}
					scores[policy].add(found, after, f.timeLimit, h)
				}
			}
			for _, policy := range nemesis.Policies() {
				s := scores[policy]
				mean, text := s.toFind()
				fmt.Printf("| `%s` | %s | %d of %d | %s | %.0f |\n", f.bug, policy, s.found, s.runs, text, s.perMinute())
				b.ReportMetric(s.perMinute(), policy+"-states/min")
				if s.found > 0 {
					b.ReportMetric(mean.Seconds(), policy+"-s/find")
				}
			}
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
