package checker

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/hacheck/hacheck/histories"
)

// Faults returns a checker of the run's faults: a system that survives faults
// which did nothing has survived nothing. It is Unknown if none of those of one
// name shows evidence that it acted, or if they were asked for together, as "all",
// none of all those. Where others of its name do, one that shows
// none is a remark: a partition of nodes that had nothing to say drops no packet.
// So is one that could not begin, as there may have been no leader to aim at, and
// one that could not be healed: whether the system bore that is for others to say.
// One that the nemesis held back, since others were in force, is only counted.
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
	asked := map[string]string{}
	acted := map[string]bool{} // by what was asked for
	for _, s := range spans {
		i, ok := at[s.Name]
		if !ok {
			i = len(result.Parts)
			at[s.Name] = i
			result.Parts = append(result.Parts, Result{Name: s.Name, Counts: map[string]int64{}})
		}
		part := &result.Parts[i]
		asked[s.Name] = cmp.Or(s.Asked, s.Name)
		if s.HeldBack && s.Acted == 0 && s.HealFailed == "" {
			part.Counts["held back"]++
			continue
		}
		part.Counts["begun"]++
		if s.Acted > 0 {
			part.Counts["acted"]++
			part.Counts["evidence"] += int64(s.Acted)
			acted[asked[s.Name]] = true
		}
		part.Anomalies = append(part.Anomalies, remarks(s)...)
		if s.Failed != "" {
			part.Counts["failed"]++
		}
	}
	var notes []string
	for i := range result.Parts {
		part := &result.Parts[i]
		part.Note = fmt.Sprintf("%d of %d acted (evidence: %d)", part.Counts["acted"], part.Counts["begun"], part.Counts["evidence"])
		if n := part.Counts["held back"]; n > 0 {
			part.Note += fmt.Sprintf(", %d held back", n)
		}
		if acted[asked[part.Name]] {
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

// remarks says what is wrong with one fault, if anything.
func remarks(s histories.FaultSpan) []Anomaly {
	var found []Anomaly
	add := func(kind, note string, args ...any) {
		a := Anomaly{Kind: kind, Note: fmt.Sprintf(note, args...), Ops: []int{s.Begin}}
		if s.End >= 0 {
			a.Ops = append(a.Ops, s.End)
		}
		found = append(found, a)
	}
	switch {
	case s.Failed != "" && s.Acted > 0:
		add("fault begun with an error", "%s (%d) acted, though its begin at %v was in error: %s", s.Name, s.ID, Brief(s.From), s.Failed)
	case s.Failed != "":
		add("fault not injected", "%s (%d) could not begin at %v: %s", s.Name, s.ID, Brief(s.From), s.Failed)
	case s.Acted > 0:
	case s.End < 0:
		add("fault not ended", "%s (%d) at %v was never healed, and so shows no evidence that it acted", s.Name, s.ID, Brief(s.From))
	default:
		add("fault without evidence", "nothing shows that %s (%d) acted from %v to %v", s.Name, s.ID, Brief(s.From), Brief(s.To))
	}
	if s.HealFailed != "" {
		add("fault not healed", "%s (%d) could not be healed at %v: %s", s.Name, s.ID, Brief(s.To), s.HealFailed)
	}
	return found
}
