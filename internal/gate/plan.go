// Package gate decides whether a system is as good as it was: it goes through a matrix of
// runs, says what is to be run next, and judges what became of them all.
//
// A [Cell] is a system under a workload and a nemesis. Each of its runs is a [Job], and what
// became of one is an [Outcome]. A [Gate] hands out jobs, takes their outcomes in whatever
// order they come, and makes a [Report] of them. It performs nothing and reads no clock: who
// performs jobs may be goroutines of this process or a fleet of machines.
//
// What it says rests on these rules. A violation is one, however seldom it shows. What nobody
// could judge is never passed. What went wrong in hacheck, or with the machine, is told apart
// from what went wrong in the system. And a regression is the statement of a test with an
// error rate that is known, against runs that the same kind of machine has made before.
package gate

import "time"

// A Plan is what a gate or a campaign is asked for: the content of hacheck.yaml.
type Plan struct {
	// Budget is how long it may take in all; 0: as long as it takes.
	Budget time.Duration
	// Jobs is how many runs go on at once on one machine; 0: as many as suit it.
	Jobs   int
	Cells  []Cell
	Policy Policy
}

// A Cell is one system under one workload and one nemesis, with what it has to hold.
type Cell struct {
	// Name is unique in a plan and stands for the cell in files, so that it can be followed
	// from one gate to the next: "raftkv/register/partition", with "/LABEL" behind it where
	// a row of the matrix has one.
	Name                      string
	System, Workload, Nemesis string // Nemesis "none": nothing breaks
	// Arguments are those of the run, as hacheck takes them, without its seed and its store:
	// "run", "--system", "raftkv", ...
	Arguments []string
	// Files are digests of the content of the files that Arguments name, by the argument: what is
	// in a file is what is asked of the system, wherever the file is.
	Files map[string]string
	// Seeds are those of its runs, each once; nil: they are drawn. The runs take them in turn, and no
	// run has another: those for coverage, of which there are as many as makes whole turns, and
	// those for confirmation, which would else be of other schedules than what they are
	// compared with. A cell that is to be tested with others as well is two cells.
	Seeds []uint64
	// Runs is how many runs it takes at least, 1 or more.
	Runs int
	// Weight says how much more often than others it is run where there is no time for
	// all; 1 as a rule, more than 0.
	Weight float64
	// Promises are what its runs have to hold beside being valid.
	Promises Promises
	// Line is where it stands in its file, for messages; 0: in none.
	Line int
}

// Promises are bounds of what was measured. The zero value promises nothing.
type Promises struct {
	// Availability is the least share of calls that are answered, from 0 to 1, by when they
	// were made: "no-fault", "fault", "minority" (while less than half of the nodes are hit), or
	// while a fault of that name holds: "partition".
	Availability map[string]float64
	// Durations bound what was measured as times, by the name of the metric: "recovery",
	// "failover.detect". See [MetricOf].
	Durations map[string]Limits
}

// Limits bound a distribution of times; 0: that has no bound.
type Limits struct{ P50, P99, Max time.Duration }

// A Policy says what is made of what became of runs.
type Policy struct {
	// UnknownRetries is how often a run whose verdict is unknown is tried again, with
	// another seed and twice the budget of judging.
	UnknownRetries int
	// UnknownWarns says that a cell that stays unknown is a warning; else it fails.
	UnknownWarns bool
	// UnrunFails says that a cell for which there was no time fails; else it is told.
	UnrunFails bool
	// Reruns is how often the schedule of an invalid run is repeated, to tell how often it
	// shows the same.
	Reruns int
	// Shrink says that the schedule of an invalid run is made smaller when there is time.
	Shrink bool
	// Regression says how distributions are compared with the baseline.
	Regression Regression
}

// A Regression says what counts as one.
type Regression struct {
	// Off says that nothing is compared.
	Off bool
	// ErrorRate is the chance that a gate on which nothing has changed tells of a regression
	// all the same; over all of its comparisons together.
	ErrorRate float64
	// Least is the least change that is told, as a share: 0.25 is a quarter worse.
	Least float64
	// Confirm is how many fresh runs a cell that looks worse has before it is said to be, at
	// least: it has more where a test could not tell anything with so few.
	Confirm int
}
