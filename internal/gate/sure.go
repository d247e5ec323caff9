package gate

import (
	"fmt"
	"math"
	"sort"

	"github.com/hacheck/hacheck/internal/stats"
)

// confidence is that of what is said of how sure a cell is.
const confidence = 0.95

// sureness says what the runs of a cell tell. A run whose verdict is unknown tells nothing: what
// it would have shown nobody knows.
func sureness(outcomes []Outcome) Sureness {
	var s Sureness
	var again []tally // of what was repeated and shown
	repeated := 0
	for _, o := range outcomes {
		for _, a := range o.Attempts {
			switch a.Class {
			case Valid:
				s.Runs++
			case Invalid:
				s.Runs++
				s.Failures++
			}
		}
		repeated += o.Ran
		if o.Showed > 0 && o.Showed <= o.Ran {
			again = append(again, tally{o.Showed, o.Ran})
		}
	}
	s.Most = 1
	if s.Runs > 0 {
		s.Most = stats.MostRate(s.Failures, s.Runs, confidence)
	}
	switch {
	case s.Runs == 0:
		s.Words = "without a verdict nothing is known of how often it fails"
		return s
	case s.Failures == 0:
		s.Words = fmt.Sprintf("a bug that shows in %s of runs or more would have been seen", percent(s.Most))
		return s
	}
	s.Needed = cleanRuns([]tally{{s.Failures, s.Runs}})
	s.Replays = cleanRuns(again)
	var luck string
	switch {
	case s.Runs == 1:
		luck = fmt.Sprintf("a failure that is one of %d runs is the first of them", s.Runs+s.Needed)
	case s.Failures == 1:
		luck = fmt.Sprintf("a failure that is one of %d runs is among the first %d", s.Runs+s.Needed, s.Runs)
	default:
		luck = fmt.Sprintf("%d failures in %d runs are all among the first %d", s.Failures, s.Runs+s.Needed, s.Runs)
	}
	s.Words = fmt.Sprintf("%d of %d runs failed: a fix is to be believed after %s, as by luck alone %s in 1 of 20 cases at most",
		s.Failures, s.Runs, count(s.Needed, "clean run"), luck)
	switch {
	case len(again) == 1:
		s.Words += fmt.Sprintf("; or after %s of the schedule that failed, which showed it in %d of %d", count(s.Replays, "clean repeat"), again[0].failures, again[0].runs)
	case len(again) > 1:
		s.Words += fmt.Sprintf("; or after %s of each of the %d schedules that failed more than once", count(s.Replays, "clean repeat"), len(again))
	case repeated > 0:
		s.Words += "; repeats of what failed showed nothing, and so cannot tell"
	}
	return s
}

// A tally is how often something failed, of so many runs.
type tally struct{ failures, runs int }

// cleanRuns returns how many runs without a failure are to follow those of each tally, all of which
// have some, before what failed there may be called mended; 0 without tallies.
//
// It is the number for which Fisher's exact test (The Design of Experiments, 1935, chapter 2)
// rejects that nothing has changed. Had nothing, each way to spread the failures over the runs
// before and after would be as likely as any other, and so all of them being before has a chance
// of C(n,f)/C(n+m,f) for f failures in n runs and m runs after them: whatever the true rate is. So
// nothing is assumed of that, which after one failure in three may be anything from 1 % to 90 %.
//
// What is 5 % at most is the chance that both come about though nothing is mended: f failures in n
// runs, and then none in m. It is not the chance of m clean runs once something has failed: a bug
// that shows in one of a thousand runs, and has done so by luck, stays away for 57 more in 94 of a
// hundred cases, and of such bugs no number of runs proves anything. Tallies of different schedules are
// tables of their own, of which the chances multiply: pooled they would have other rates before than
// after.
//
// The runs of a cell and the repeats of a schedule that failed are never one tally. A schedule that
// is known to fail does so more often than a fresh one; by its rate a few fresh runs would
// look like a proof.
func cleanRuns(seen []tally) int {
	most := 0
	for _, t := range seen {
		most = max(most, t.runs)
	}
	// One failure alone asks for 19 times the runs, and more of them ask for less.
	return sort.Search(19*most, func(after int) bool {
		chance := 1.0
		for _, t := range seen {
			for i := range t.failures {
				chance *= float64(t.runs-i) / float64(t.runs+after-i)
			}
		}
		return chance <= 1-confidence+1e-12 // 1-0.95 is a little less than 1/20
	})
}

// percent returns a share in percent with two digits, rounded up: "26 %" is what it is at most.
func percent(share float64) string {
	if share <= 0 {
		return "0 %"
	}
	step := math.Pow(10, math.Floor(math.Log10(share*100))-1)
	rounded := math.Ceil(share*100/step-1e-9) * step
	if rounded > 99.5*step { // three digits
		step *= 10
	}
	return fmt.Sprintf("%.*f %%", max(0, -int(math.Floor(math.Log10(step)+0.5))), rounded)
}

// count returns a number of things: "1 run", "2 runs".
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
