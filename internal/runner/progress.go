package runner

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Progress says how a run goes.
type Progress struct {
	Phase   string
	Elapsed time.Duration // since the main phase began
	// Counts are the clients' operations so far.
	Counts
	// Rate is the completions per second since the last report.
	Rate float64
	// Faults are those in force.
	Faults []histories.Fault
}

// Counts counts operations of clients by their outcome.
type Counts struct{ Invoked, OK, Fail, Info int64 }

// Completed returns the number of operations with an outcome.
func (c Counts) Completed() int64 { return c.OK + c.Fail + c.Info }

// A tally is what has been done so far. The interpreter writes, anybody reads.
type tally struct {
	invoked, ok, fail, info atomic.Int64
	faults                  atomic.Pointer[[]histories.Fault] // replaced, never changed
}

func (t *tally) counts() Counts {
	return Counts{t.invoked.Load(), t.ok.Load(), t.fail.Load(), t.info.Load()}
}

// inForce returns the faults in force.
func (t *tally) inForce() []histories.Fault {
	if faults := t.faults.Load(); faults != nil {
		return *faults
	}
	return nil
}

func (t *tally) hand(op histories.Op) {
	if op.Process >= 0 {
		t.invoked.Add(1)
	}
}

func (t *tally) complete(op histories.Op) {
	switch {
	case op.Process < 0:
		t.fault(op)
	case op.Type == histories.OK:
		t.ok.Add(1)
	case op.Type == histories.Fail:
		t.fail.Add(1)
	default:
		t.info.Add(1)
	}
}

// fault keeps the list of what is in force by the nemesis's completions.
func (t *tally) fault(op histories.Op) {
	var f histories.Fault
	if json.Unmarshal(op.Value, &f) != nil || f.Name == "" || op.Error != "" {
		return
	}
	faults := slices.DeleteFunc(slices.Clone(t.inForce()), func(g histories.Fault) bool { return g.ID == f.ID })
	if op.F != histories.Heal {
		faults = append(faults, f)
	}
	t.faults.Store(&faults)
}
