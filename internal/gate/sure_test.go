package gate

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// outcomesOf returns outcomes of one attempt each: so many valid ones, invalid ones, unknown ones.
func outcomesOf(valid, invalid, unknown int) []Outcome {
	var all []Outcome
	for class, n := range map[Class]int{Valid: valid, Invalid: invalid, Unknown: unknown} {
		for range n {
			all = append(all, came(Job{}, class))
		}
	}
	return all
}

func TestSureness(t *testing.T) {
	repeated := func(outcomes []Outcome, tallies ...tally) []Outcome {
		for i, n := 0, 0; i < len(outcomes) && n < len(tallies); i++ {
			if outcomes[i].Class == Invalid {
				outcomes[i].Showed, outcomes[i].Ran = tallies[n].failures, tallies[n].runs
				n++
			}
		}
		return outcomes
	}
	for _, x := range []struct {
		name     string
		outcomes []Outcome
		want     Sureness
	}{
		{"nothing", nil, Sureness{Most: 1, Words: "without a verdict nothing is known of how often it fails"}},
		{"unknown tells nothing", outcomesOf(0, 0, 9), Sureness{Most: 1, Words: "without a verdict nothing is known of how often it fails"}},
		{"failed tells nothing", []Outcome{came(Job{}, Failed), {Class: SetAside}}, Sureness{Most: 1, Words: "without a verdict nothing is known of how often it fails"}},
		{"one", outcomesOf(1, 0, 0), Sureness{Runs: 1, Most: 0.95, Words: "a bug that shows in 95 % of runs or more would have been seen"}},
		{"ten", outcomesOf(10, 0, 3), Sureness{Runs: 10, Most: 0.2589, Words: "a bug that shows in 26 % of runs or more would have been seen"}},
		{"thousand", outcomesOf(1000, 0, 0), Sureness{Runs: 1000, Most: 0.002991, Words: "a bug that shows in 0.30 % of runs or more would have been seen"}},
		{"a retried run is one", []Outcome{came(Job{}, Unknown, Valid)}, Sureness{Runs: 1, Most: 0.95, Words: "a bug that shows in 95 % of runs or more would have been seen"}},
		{"one of one", outcomesOf(0, 1, 0), Sureness{Runs: 1, Failures: 1, Most: 1, Needed: 19,
			Words: "1 of 1 runs failed: a fix is to be believed after 19 clean runs, as by luck alone a failure that is one of 20 runs is the first of them in 1 of 20 cases at most"}},
		{"one of three", outcomesOf(2, 1, 1), Sureness{Runs: 3, Failures: 1, Most: 0.8647, Needed: 57}},
		{"three of ten", outcomesOf(7, 3, 0), Sureness{Runs: 10, Failures: 3, Most: 0.6066, Needed: 16,
			Words: "3 of 10 runs failed: a fix is to be believed after 16 clean runs, as by luck alone 3 failures in 26 runs are all among the first 10 in 1 of 20 cases at most"}},
		{"repeats are another rate", repeated(outcomesOf(2, 1, 0), tally{5, 5}), Sureness{Runs: 3, Failures: 1, Most: 0.8647, Needed: 57, Replays: 2,
			Words: "1 of 3 runs failed: a fix is to be believed after 57 clean runs, as by luck alone a failure that is one of 60 runs is among the first 3 in 1 of 20 cases at most; or after 2 clean repeats of the schedule that failed, which showed it in 5 of 5"}},
		{"repeats of two schedules", repeated(outcomesOf(8, 2, 0), tally{1, 5}, tally{1, 5}), Sureness{Runs: 10, Failures: 2, Most: 0.5069, Needed: 33, Replays: 18}},
		{"repeats that show nothing", repeated(outcomesOf(2, 1, 0), tally{0, 5}), Sureness{Runs: 3, Failures: 1, Most: 0.8647, Needed: 57,
			Words: "1 of 3 runs failed: a fix is to be believed after 57 clean runs, as by luck alone a failure that is one of 60 runs is among the first 3 in 1 of 20 cases at most; repeats of what failed showed nothing, and so cannot tell"}},
	} {
		got := sureness(x.outcomes)
		words := got.Words
		if x.want.Words != "" && words != x.want.Words {
			t.Errorf("%s:\ngot  %s\nwant %s", x.name, words, x.want.Words)
		}
		if math.Abs(got.Most-x.want.Most) > 0.0001 {
			t.Errorf("%s: at most %g, not %g", x.name, got.Most, x.want.Most)
		}
		got.Most, got.Words, x.want.Most, x.want.Words = 0, "", 0, ""
		if got != x.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", x.name, got, x.want)
		}
		if strings.Contains(words, "e+") || words == "" {
			t.Errorf("%s: %q", x.name, words)
		}
	}
}

// choose returns n over k.
func choose(n, k int) float64 {
	c := 1.0
	for i := range k {
		c *= float64(n-i) / float64(i+1)
	}
	return c
}

// A fix that mends nothing passes in 5 % of all cases at most, whatever the rate is; and what is
// asked for is not more than that takes.
func TestCleanRunsAreEnoughAndNotMore(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 10, 30} {
		needed := make([]int, n+1)
		for f := 1; f <= n; f++ {
			needed[f] = cleanRuns([]tally{{f, n}})
			if chance := choose(n, f) / choose(n+needed[f], f); chance > 0.05+1e-9 {
				t.Errorf("%d of %d: %d clean runs have a chance of %g", f, n, needed[f], chance)
			}
			if chance := choose(n, f) / choose(n+needed[f]-1, f); chance <= 0.05 {
				t.Errorf("%d of %d: %d clean runs are more than needed: one less has a chance of %g", f, n, needed[f], chance)
			}
		}
		worst := 0.0
		for p := 0.0005; p < 1; p += 0.0005 {
			believed := 0.0
			for f := 1; f <= n; f++ {
				believed += choose(n, f) * math.Pow(p, float64(f)) * math.Pow(1-p, float64(n-f)) * math.Pow(1-p, float64(needed[f]))
			}
			worst = max(worst, believed)
		}
		if worst > 0.05 || worst < 0.01 {
			t.Errorf("of %d runs: a fix that mends nothing is believed in %g of cases", n, worst)
		}
	}
	if got := cleanRuns([]tally{{1, 100_000}}); got != 1_900_000 {
		t.Errorf("%d clean runs after 1 of 100000", got)
	}
}

func TestPercentIsRoundedUp(t *testing.T) {
	for share, want := range map[float64]string{
		0: "0 %", 1: "100 %", 0.95: "95 %", 0.9501: "96 %", 0.2589: "26 %", 0.05: "5.0 %", 0.0501: "5.1 %",
		0.00299: "0.30 %", 0.0000123: "0.0013 %", 0.0999: "10 %", 0.9999: "100 %", 0.0099: "0.99 %", 0.01: "1.0 %",
	} {
		if got := percent(share); got != want {
			t.Errorf("%g is %s, not %s", share, got, want)
		}
	}
}

func ExampleSureness() {
	fmt.Println(sureness([]Outcome{came(Job{}, Valid), came(Job{}, Valid), came(Job{}, Valid)}).Words)
	// Output: a bug that shows in 64 % of runs or more would have been seen
}
