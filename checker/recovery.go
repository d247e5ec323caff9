package checker

import (
	"context"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A ReadBack says which keys, of those that a history shows to hold something, no
// operation read that began after since. Which operations show it, and which read
// it, is the workload's to say.
type ReadBack func(h *histories.History, since time.Duration) (keys int, unread []string, err error)

// Recovery returns a checker of the run's end. A system that goes down for good
// contradicts nobody: what it has acknowledged and lost shows only when it is read.
// So it is Unknown if the system did not answer again after everything was healed,
// or if what it had acknowledged was not read back then.
//
// Of a history that tells of no recovery, as those of others do not, it asks
// nothing. It is never Invalid.
//
// Its count took_us is how long the system took, and took_least_us how long it was
// waited for where it did not answer.
func Recovery(readBack ReadBack) Checker {
	return Func(func(_ context.Context, h *histories.History) (Result, error) {
		recovery, ok := h.Recovery()
		if !ok {
			return Result{Name: "recovery", Verdict: Valid, Note: "no recovery was waited for"}, nil
		}
		keys, unread, err := readBack(h, recovery.To)
		if err != nil {
			return Result{}, err
		}
		result := Result{Name: "recovery", Verdict: Valid, Counts: map[string]int64{
			"keys": int64(keys), "keys_read": int64(keys - len(unread)),
		}}
		if recovery.Failed != "" {
			result.Verdict = Unknown
			result.Note = "the system did not recover: " + recovery.Failed
			until := recovery.To
			if recovery.Completed < 0 { // somebody waited until the history ends
				until = h.At(h.Len() - 1).Time
			}
			result.Counts["took_least_us"] = (until - recovery.From).Microseconds()
		} else {
			took := recovery.To - recovery.From
			result.Counts["took_us"] = took.Microseconds()
			result.Note = fmt.Sprintf("the system answered again %v after everything was healed", Brief(took))
		}
		switch {
		case len(unread) > 0:
			result.Verdict = Unknown
			result.Note += fmt.Sprintf("; acknowledged and not read back: %s (%d of %s)",
				list(unread, func(key string) string { return key }), len(unread), Count(keys, "key"))
		case keys > 0:
			result.Note += fmt.Sprintf("; read back: %d of %s", keys, Count(keys, "key"))
		}
		return result, nil
	})
}
