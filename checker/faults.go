package checker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Faults returns a checker of the run's faults: a system that survives faults
// which did nothing has survived nothing. It is Unknown if a fault could not be
// begun, or if none of those of one name shows evidence that it acted. One that
// shows none where others of its name do is a remark: a partition of nodes that
// had nothing to say drops no packet.
//
// Its parts are the faults by name. It is never Invalid, for no fault, and no
// lack of any, says that the system is wrong.
func Faults() Checker { return Func(faults) }

func faults(_ context.Context, h *histories.History) (Result, error) {
	spans, err := h.Faults()
	if err != nil {
		return Result{}, err
	}
	result := Result{Name: "faults", Verdict: Valid, Note: "no faults"}
	at := map[string]int{} // positions in result.Parts, by name
	for _, s := range spans {
		i, ok := at[s.Name]
		if !ok {
			i = len(result.Parts)
			at[s.Name] = i
			result.Parts = append(result.Parts, Result{Name: s.Name, Counts: map[string]int64{}})
		}
		part := &result.Parts[i]
		part.Counts["begun"]++
		if s.Acted > 0 {
			part.Counts["acted"]++
			part.Counts["evidence"] += int64(s.Acted)
		}
		if remark, ok := remarkable(s); ok {
			part.Anomalies = append(part.Anomalies, remark)
		}
		if s.Failed != "" {
			part.Counts["failed"]++
		}
	}
	var notes []string
	for i := range result.Parts {
		part := &result.Parts[i]
		part.Note = fmt.Sprintf("%d of %d acted (evidence: %d)", part.Counts["acted"], part.Counts["begun"], part.Counts["evidence"])
		if part.Counts["acted"] > 0 && part.Counts["failed"] == 0 {
			part.Verdict = Valid
		}
		result.Verdict = result.Verdict.And(part.Verdict)
		notes = append(notes, part.Name+": "+part.Note)
	}
	if len(notes) > 0 {
		result.Note = strings.Join(notes, "; ")
	}
	return result, nil
}

// remarkable says what is wrong with one fault, if anything.
func remarkable(s histories.FaultSpan) (Anomaly, bool) {
	a := Anomaly{Ops: []int{s.Begin}}
	if s.End >= 0 {
		a.Ops = append(a.Ops, s.End)
	}
	switch {
	case s.Failed != "":
		a.Kind, a.Note = "fault not injected", fmt.Sprintf("%s (%d) at %v: %s", s.Name, s.ID, rounded(s.From), s.Failed)
	case s.Acted > 0:
		return Anomaly{}, false
	case s.End < 0:
		a.Kind, a.Note = "fault not ended", fmt.Sprintf("%s (%d) at %v was never healed, and so shows no evidence that it acted", s.Name, s.ID, rounded(s.From))
	default:
		a.Kind, a.Note = "fault without evidence", fmt.Sprintf("nothing shows that %s (%d) acted from %v to %v", s.Name, s.ID, rounded(s.From), rounded(s.To))
	}
	return a, true
}

// rounded leaves off what nobody reads.
func rounded(t time.Duration) time.Duration {
	if t > time.Second {
		return t.Round(time.Millisecond)
	}
	return t
}
