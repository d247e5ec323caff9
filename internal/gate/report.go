package gate

import "time"

// A Report is what a gate, or a campaign, came to. It is what gate.json holds: fields are
// added, not renamed.
type Report struct {
	Began   time.Time `json:"began"`
	Took    float64   `json:"took_s"`
	Budget  float64   `json:"budget_s,omitempty"` // 0: none
	Command string    `json:"command"`
	Jobs    int       `json:"jobs"`
	Machine Machine   `json:"machine"`
	// Hacheck is the version of the tester.
	Hacheck string `json:"hacheck"`
	// Plan is the file of the plan, as it was given.
	Plan string `json:"plan"`

	// Status is the exit status: 0 passed, 1 a cell failed, 2 it could not be told, 255 hacheck
	// or the machine failed. What is proven against the system comes before what is not known.
	Status int `json:"status"`
	// Interrupted says that it ended early because somebody wanted it to; OutOfTime that there was
	// none left for some of it.
	Interrupted bool `json:"interrupted,omitempty"`
	OutOfTime   bool `json:"out_of_time,omitempty"`

	Cells []CellReport `json:"cells"`
	// Groups are the findings by signature, those with most runs first.
	Groups []Group `json:"groups,omitempty"`
	// Comparison says how distributions were compared, or why they were not.
	Comparison string `json:"comparison,omitempty"`
	// Baseline says for how many cells runs were added to the baseline, and which were left out, and
	// why: a line each. Empty: nobody wanted them added.
	Baseline []string `json:"baseline,omitempty"`
	// Trouble is what went wrong beside the verdicts.
	Trouble []string `json:"trouble,omitempty"`
	// Dir is where it is kept.
	Dir string `json:"dir,omitempty"`
}

// A Machine is a kind of machine: what was measured on another kind is not compared.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	// Jobs is how many runs went on at once, which is noise for each of them.
	Jobs int `json:"jobs"`
}

// A Status is what became of a cell.
type Status string

// The statuses, the worst first.
const (
	CellInvalid   Status = "invalid"   // a run was
	CellBroken    Status = "broken"    // a promise was
	CellRegressed Status = "regressed" // it is worse than the baseline
	CellFailed    Status = "failed"    // most runs came to no verdict: no word on the system
	CellUnknown   Status = "unknown"   // a run stayed so, or a promise, or what looks like a regression
	CellRefused   Status = "refused"   // this machine does not do it
	CellNotRun    Status = "not run"   // there was no time; for some of it, where the policy wants it all
	CellPassed    Status = "passed"
)

// Statuses are all of them, the worst first.
var Statuses = []Status{CellInvalid, CellBroken, CellRegressed, CellFailed, CellUnknown, CellRefused, CellNotRun, CellPassed}

// A CellReport is what became of a cell.
type CellReport struct {
	Name     string `json:"name"`
	System   string `json:"system"`
	Workload string `json:"workload"`
	Nemesis  string `json:"nemesis"`
	Status   Status `json:"status"`
	// Fails says that the gate fails for it, by the policy: an unknown may be a warning.
	Fails bool `json:"fails"`
	// Why says in a sentence why it is not passed; of one that is, what is missing all the same,
	// such as runs that came to no verdict. Empty: nothing.
	Why string `json:"why,omitempty"`
	// Line is where the cell stands in the plan's file; 0: nobody knows.
	Line int `json:"line,omitempty"`

	// Outcomes are those of its jobs, in the order in which they came.
	Outcomes []Outcome `json:"outcomes"`
	// Counts are how many attempts were of each class.
	Counts map[Class]int `json:"counts"`
	Took   float64       `json:"took_s"` // of all attempts together
	// Promises are what was promised, and whether it was held.
	Promises []PromiseReport `json:"promises,omitempty"`
	// Comparisons are with the baseline.
	Comparisons []Comparison `json:"comparisons,omitempty"`
	Sure        Sureness     `json:"sure"`
}

// A PromiseReport is one bound, and what was measured.
type PromiseReport struct {
	// Promise says what was promised in words: "recovery p99 at most 5s".
	Promise string `json:"promise"`
	Metric  string `json:"metric"`
	// Bound and Measured are in the unit of the metric; Measured is of all runs of the cell
	// together. Of how many values is N; with none nobody knows.
	Bound    float64 `json:"bound"`
	Measured float64 `json:"measured"`
	N        int     `json:"n"`
	// Held is what it says; without values it is not held, and not broken either: Known is
	// false.
	Held  bool `json:"held"`
	Known bool `json:"known"`
	// Words say it all in a sentence.
	Words string `json:"words"`
	// Worst is the job that was worst.
	Worst string `json:"worst,omitempty"`
}

// A Comparison is of one statistic of a metric with the baseline.
type Comparison struct {
	Metric    string `json:"metric"`
	Statistic string `json:"statistic"`
	// Before and After are the medians over runs of the statistic, with an interval for each
	// that holds the true one with a confidence of 95 %; in the unit of the metric.
	Before Interval `json:"before"`
	After  Interval `json:"after"`
	// Runs of each.
	BeforeRuns int `json:"before_runs"`
	AfterRuns  int `json:"after_runs"`
	// Ratio is After to Before, and Floor the ratio that the baseline's own runs show by
	// chance: closer to 1 than that is noise. Of shares of answered calls both are of those that
	// were not, so that more is worse, and to both sides [Metric.Resolution] is added. A Ratio of 0
	// says that it is not known; the Floor is 0 where nothing was measured.
	Ratio float64 `json:"ratio"`
	Floor float64 `json:"floor"`
	// P is the chance of values as far apart if nothing had changed, by Test.
	P    float64 `json:"p"`
	Test string  `json:"test"`
	// Regressed says that it is worse; Suspected that it looks so, or is no longer measured, and that
	// this is not proven. Open says of what is suspected that the question is open, as fresh runs
	// that would tell are not there: too few were made, or too few of them have measured it.
	Regressed bool `json:"regressed"`
	Suspected bool `json:"suspected,omitempty"`
	Open      bool `json:"open,omitempty"`
	// Words say how large the effect is: "twice as long: 1.71 s, and 856 ms before".
	Words string `json:"words"`
}

// An Interval is an estimate with its bounds.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// A Sureness says how much the runs of a cell can tell.
type Sureness struct {
	// Runs are those that are valid or invalid, and Failures the invalid ones: what an unknown
	// one would have shown nobody knows.
	Runs     int `json:"runs"`
	Failures int `json:"failures"`
	// Most is the greatest rate of failures that those runs leave possible with a confidence of
	// 95 %; 1 without runs.
	Most float64 `json:"most"`
	// Words say it: "a bug that shows in 26 % of runs or more would have been seen".
	Words string `json:"words"`
	// Needed is how many clean runs of the cell a fix needs before the failure, as often as it was
	// seen here, is gone with a confidence of 95 %; 0 where nothing failed.
	Needed int `json:"needed,omitempty"`
	// Replays is how many clean repeats of each schedule that failed say the same; 0 where no
	// repeat showed it again, so that they cannot tell.
	Replays int `json:"replays,omitempty"`
}

// A Group is the runs that found the same.
type Group struct {
	Signature string `json:"signature"`
	// Kind names the kinds of the findings, those that most runs showed first: "stale read, lost write".
	Kind     string `json:"kind"`
	Checker  string `json:"checker"`
	System   string `json:"system"`
	Workload string `json:"workload"`
	// Cells are the names of those in which it showed, and Jobs are the runs.
	Cells []string `json:"cells"`
	Jobs  []string `json:"jobs"`
	// Ran and Showed are of all reruns together.
	Ran    int `json:"ran"`
	Showed int `json:"showed"`
	// Example is the shortest note, and Witness the text of its run.
	Example string `json:"example"`
	Witness string `json:"witness"`
	Dir     string `json:"dir,omitempty"`
	// Smallest is the file of the smallest schedule that shows the same, as --schedule takes it, if one
	// was looked for and found.
	Smallest string `json:"smallest,omitempty"`
}
