package counter

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which counters no read has read that began after since, and after
// the last of their adds was acknowledged: of those to which something was added
// for certain, because that was acknowledged, or a sum was seen.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		switch counter := name(c.In.counter); {
		case c.Type != histories.OK:
		case c.F == Add:
			left.Holds(counter, c.Completed)
		default:
			if left.Read(counter, c.Invoked); c.Out.sum != 0 {
				left.Holds(counter, 0)
			}
		}
	}
	return left.Unread(since)
}

// name returns a counter as a note shows it.
func name(counter string) string {
	if counter == "" {
		return "the counter" // the only one, in a history without keys
	}
	return counter
}
