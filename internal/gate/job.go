package gate

import (
	"time"

	"github.com/hacheck/hacheck/checker"
)

// A Job is one run of a cell, to be performed by somebody, somewhere.
type Job struct {
	// ID is unique in a gate or campaign, and the job's name in files: "raftkv-register-partition-3".
	ID   string `json:"id"`
	Cell string `json:"cell"`
	// Purpose says why it is run.
	Purpose Purpose `json:"purpose"`
	// Arguments are those of the cell.
	Arguments []string `json:"arguments"`
	// Asked changes with what the cell asks for, such as what is in the files that its arguments
	// name: a job that was made before that is another one. Empty: nobody knows.
	Asked string `json:"asked,omitempty"`
	Seed  uint64 `json:"seed"`
	// Retries and Reruns are those of the policy: who performs it does these at once, where
	// the run's directory is.
	Retries int `json:"retries,omitempty"`
	Reruns  int `json:"reruns,omitempty"`
}

// A Purpose says why a job is run.
type Purpose string

// The purposes of jobs.
const (
	ForCoverage     Purpose = "coverage"     // the matrix says so
	ForConfirmation Purpose = "confirmation" // is what looked worse really worse?
)

// A Class says what became of a run.
type Class string

// The classes. Only the first three are verdicts on the system.
const (
	Valid   Class = "valid"
	Invalid Class = "invalid"
	Unknown Class = "unknown"
	// Refused is what the machine, or the system, does not do: a fault that is not permitted.
	Refused Class = "refused"
	// Failed is a run that came to no verdict: hacheck failed, or the system's start, or the
	// machine.
	Failed Class = "failed"
	// SetAside is a job that nobody could bring to an end, such as one that takes its worker
	// down each time.
	SetAside Class = "set aside"
)

// Judged says whether it is a verdict on the system.
func (c Class) Judged() bool { return c == Valid || c == Invalid || c == Unknown }

// ClassOf is the class of a verdict.
func ClassOf(v checker.Verdict) Class {
	switch v {
	case checker.Valid:
		return Valid
	case checker.Invalid:
		return Invalid
	}
	return Unknown
}

// An Outcome is what became of a job.
type Outcome struct {
	Job Job `json:"job"`
	// Class is that of the last attempt, or SetAside.
	Class  Class     `json:"class"`
	Began  time.Time `json:"began"`
	Took   float64   `json:"took_s"`
	Worker string    `json:"worker,omitempty"`
	// Deliveries is how often the job was handed to a worker, if more than once: the ones before
	// lost it.
	Deliveries int `json:"deliveries,omitempty"`
	// Attempts are the runs that it took: one, and those that were tried again because the
	// one before was unknown. None of a job that was set aside.
	Attempts []Attempt `json:"attempts,omitempty"`
	// Ran and Showed are how many of the reruns came to a verdict, and how many of them
	// showed one of the same findings.
	Ran    int `json:"ran,omitempty"`
	Showed int `json:"showed,omitempty"`
	// Words say why it was set aside, or what went wrong beside its attempts.
	Words string `json:"words,omitempty"`
}

// Last returns the last attempt; nil if there is none.
func (o *Outcome) Last() *Attempt {
	if len(o.Attempts) == 0 {
		return nil
	}
	return &o.Attempts[len(o.Attempts)-1]
}

// An Attempt is one run.
type Attempt struct {
	Seed  uint64  `json:"seed"`
	Class Class   `json:"class"`
	Took  float64 `json:"took_s"`
	// Words say why it is not valid, on a line or a few: what is unknown, or what failed.
	Words string `json:"words,omitempty"`
	// Findings are what makes it invalid, each kind of each checker once, the first
	// first.
	Findings []Finding `json:"findings,omitempty"`
	// Witness is the text that a run with a finding prints: the verdict, and the calls that
	// prove it.
	Witness string `json:"witness,omitempty"`
	// Measures are what was measured; nil where there is no verdict. Of a run that measured nothing they
	// are empty, which is another thing: what it measured before is missing.
	Measures Measures `json:"measures"`
	// Dir is where the run's directory is kept: below the gate's, with slashes; or the name of
	// an object in the store of a campaign. Empty: it is not kept.
	Dir string `json:"dir,omitempty"`
	// Repeat is the command that runs the same again, without the program's name.
	Repeat []string `json:"repeat,omitempty"`
}

// A Finding is an anomaly that a checker has proven.
type Finding struct {
	Checker string `json:"checker"`
	Kind    string `json:"kind"`
	Note    string `json:"note"`
}

// Signature says which findings are taken for the same bug: those of one checker in one workload
// of one system, whatever was broken, whatever the values were, and of whatever kind. One bug
// shows as several kinds as a rule: what is lost in one run is read late in the next.
func (f Finding) Signature(c Cell) string {
	return c.System + " " + c.Workload + ": " + f.Checker
}
