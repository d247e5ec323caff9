package session

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which keys, of those to which something was written for certain, no
// session has read that had written after since: one that had not may be shown the
// past.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	wrote := map[histories.Process]bool{} // after since
	for _, c := range calls {
		switch {
		case c.Type != histories.OK:
		case c.F == Write:
			wrote[c.Process] = c.Invoked > since
			left.Holds(c.In.key, 0)
		case wrote[c.Process]:
			left.Read(c.In.key, c.Invoked)
		}
	}
	return left.Unread(since)
}
