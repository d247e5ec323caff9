package histories

import (
	"encoding/json"
	"fmt"
	"time"
)

// The functions of the nemesis that begin no fault.
const (
	// Heal ends a fault.
	Heal = "heal"
	// Recover waits, after everything was healed, until the system answers again.
	Recover = "recover"
)

// A Fault is the value of the nemesis's ops. A fault named "partition" is two
// operations: F "partition" begins it and F "heal" with the same ID ends it.
// The invocation says exactly what will be done; the completion adds the
// evidence that it acted.
type Fault struct {
	// ID tells the faults of a run apart; heal names the one it ends.
	ID int `json:"id"`
	// Name is what the user asked for, e.g. "partition:ring".
	Name string `json:"fault"`
	// Asked is what the user asked for, if that is not the name but more, as "all".
	Asked string `json:"asked,omitempty"`
	// Detail says what is done, in the nemesis's own shape.
	Detail json.RawMessage `json:"detail,omitempty"`
	// HeldBack says, when it could not begin, that it was not let: other faults had
	// what it needed, or as much of the system as that can do without.
	HeldBack bool `json:"held_back,omitempty"`
	// Acted counts what the fault did to the system, in its own unit (packets
	// dropped, processes gone). Known when it is healed; 0 means that nothing
	// shows that it ever acted.
	Acted uint64 `json:"acted,omitempty"`
	// Evidence is what Acted counts, in detail.
	Evidence json.RawMessage `json:"evidence,omitempty"`
}

// A FaultSpan is the time during which a fault held.
type FaultSpan struct {
	Fault
	// Begin and End are the indices of the completion of the op that began the
	// fault and of the invocation of the op that ended it; End is -1 if none did. Of
	// several it is the last: one that fails is tried again.
	Begin, End int
	// From and To are the times of those two; To is Never if it was not ended.
	From, To time.Duration
	// Failed is the error of the op that should have begun the fault.
	Failed string
	// HealFailed is the error of the op that should have ended it, the last one. The
	// fault has held up to To, and may have held on.
	HealFailed string
}

// Faults returns the spans of a history's faults in the order of their begin.
// A fault whose begin did not complete, or completed with an error, is in force
// from its invocation on, since it may have been; Failed then says so.
func (h *History) Faults() ([]FaultSpan, error) {
	var spans []FaultSpan
	open := map[int]int{} // fault ID -> position in spans
	for i, op := range h.All() {
		if op.Process != Nemesis || op.Type != Invoke {
			continue
		}
		var f Fault
		if err := json.Unmarshal(op.Value, &f); err != nil || f.Name == "" {
			continue // an op of the nemesis that is no fault, such as Recover
		}
		completion := h.Pair(i)
		if op.F != Heal {
			span := FaultSpan{Fault: f, Begin: i, End: -1, From: op.Time, To: Never}
			switch {
			case completion < 0:
				span.Failed = neverCompleted
			case h.At(completion).Error != "":
				span.Failed = h.At(completion).Error
				var told Fault
				if err := json.Unmarshal(h.At(completion).Value, &told); err == nil {
					span.HeldBack = told.HeldBack
				}
			default:
				span.Begin, span.From = completion, h.At(completion).Time
				var begun Fault // it may say more exactly what was done, such as who led
				if err := json.Unmarshal(h.At(completion).Value, &begun); err == nil && begun.Detail != nil {
					span.Detail = begun.Detail
				}
			}
			open[f.ID] = len(spans)
			spans = append(spans, span)
			continue
		}
		at, ok := open[f.ID]
		if !ok {
			return nil, fmt.Errorf("op %d heals fault %d, which never began", i, f.ID)
		}
		span := &spans[at]
		span.End, span.To = i, op.Time
		if completion < 0 {
			span.HealFailed = neverCompleted
			continue
		}
		span.HealFailed = h.At(completion).Error
		// What an earlier one has seen the fault do, a later one does not undo.
		if err := json.Unmarshal(h.At(completion).Value, &f); err == nil && f.Acted >= span.Acted {
			span.Acted, span.Evidence = f.Acted, f.Evidence
		}
	}
	return spans, nil
}

// neverCompleted is what is said in place of the error of an op whose completion
// is missing.
const neverCompleted = "never completed"

// A Recovery tells whether the system answered again after everything was healed.
type Recovery struct {
	// Invoked and Completed are the indices of the ops; Completed is -1 if there is
	// none.
	Invoked, Completed int
	// From and To are the times of those two; To is Never without a completion.
	From, To time.Duration
	// Failed says why it did not answer; empty if it did.
	Failed string
}

// Recovery returns the last recovery that the nemesis waited for. A history may
// tell of none: others do not record it.
func (h *History) Recovery() (r Recovery, ok bool) {
	for i, op := range h.All() {
		if op.Process != Nemesis || op.Type != Invoke || op.F != Recover {
			continue
		}
		r, ok = Recovery{Invoked: i, Completed: h.Pair(i), From: op.Time, To: Never, Failed: neverCompleted}, true
		if r.Completed >= 0 {
			done := h.At(r.Completed)
			r.To, r.Failed = done.Time, done.Error
		}
	}
	return r, ok
}
