package store

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Info is the content of run.json: what was asked for and what was found out. It
// is written when a run begins and completed when it ends, so that a run which
// ended badly tells what it was.
type Info struct {
	System   string   `json:"system"`
	Bug      string   `json:"bug,omitempty"`
	Workload string   `json:"workload"`
	Nemesis  []string `json:"nemesis"`
	// Schedule is that of faults beside those of Nemesis: from a file, or recorded by the
	// run whose directory is Replays.
	Schedule []Scheduled `json:"schedule,omitempty"`
	Replays  string      `json:"replays,omitempty"`
	Options  Options     `json:"options"`
	// Repeat is the command that runs the same again, without the program's name.
	Repeat []string `json:"repeat"`

	Versions Versions `json:"versions"`
	// Lab says what the machine gave the lab, by mechanism.
	Lab map[string]string `json:"lab,omitempty"`
	// LeftOut are the faults that nemesis all did not do, each with the reason.
	LeftOut []string `json:"left_out,omitempty"`
	// Limits are the faults of this run that the system does not claim to bear, each
	// with the reason: what they bring to light is no bug of it.
	Limits []string `json:"limits,omitempty"`

	Began time.Time `json:"began"`
	// Ended is when the run came to its end; nil if it did not, and its history is
	// only a part of one.
	Ended *time.Time `json:"ended,omitempty"`
	// Live is what was found while it ran; nil if nothing was, or nobody looked.
	Live *Live `json:"live,omitempty"`
	// Verdict is the word of results.json; empty if there was none.
	Verdict string `json:"verdict,omitempty"`
	// Trouble is what went wrong beside the verdict, such as in tearing down.
	Trouble []string `json:"trouble,omitempty"`
}

// A Live is the first anomaly that was found while a run was still going on. The evidence
// for the verdict is in results.json.
type Live struct {
	Kind string `json:"kind"`
	Note string `json:"note"`
	Ops  []int  `json:"ops,omitempty"`
	// Op is the one with which it showed, which was recorded at Time; it was told Lag
	// after that.
	Op   int      `json:"op"`
	Time Duration `json:"time"`
	Lag  Duration `json:"lag"`
	// Stopped says that the main phase ended for it.
	Stopped bool `json:"stopped,omitempty"`
}

// Options are the numbers of a run.
type Options struct {
	Nodes       int      `json:"nodes"`
	Concurrency int      `json:"concurrency"`
	TimeLimit   Duration `json:"time_limit"`
	Interval    Duration `json:"interval"`
	Rate        float64  `json:"rate"` // operations per second; 0: as many as go
	Keys        int      `json:"keys"`
	Seed        uint64   `json:"seed"`
	Heal        string   `json:"heal,omitempty"`
	Policy      string   `json:"nemesis_policy,omitempty"`
	// Unguarded says that the quorum guard was off.
	Unguarded bool `json:"no_quorum_guard,omitempty"`
	// Hypervisor is what ran the guests of a system that has some.
	Hypervisor string `json:"hypervisor,omitempty"`
	// Tune is what the system was tuned to, as in "timeouts=2,delay=5ms"; empty: it was as it
	// ships.
	Tune string `json:"tune,omitempty"`
}

// A Scheduled is a fault of a written schedule, in the words of its file.
type Scheduled struct {
	At     string          `json:"at,omitempty"`
	On     string          `json:"on,omitempty"` // or during something
	Fault  string          `json:"fault"`
	For    string          `json:"for,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Versions says what the run was made with.
type Versions struct {
	Hacheck string `json:"hacheck"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Kernel  string `json:"kernel,omitempty"`
}

// A Duration reads "20s" in JSON.
type Duration time.Duration

// Std returns d as package time has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the duration as Go spells it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// WriteInfo writes run.json.
func (r *Run) WriteInfo(i Info) error { return r.WriteJSON(InfoFile, i) }

// Info reads run.json.
func (r *Run) Info() (Info, error) {
	var i Info
	b, err := os.ReadFile(r.File(InfoFile))
	if err != nil {
		return i, err
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("%s: %w", r.File(InfoFile), err)
	}
	return i, nil
}
