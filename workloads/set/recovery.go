package set

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which sets no read has read that began after since, and after the
// last of their adds was acknowledged: of those that held something for certain,
// because an add was acknowledged, or an element was seen.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		switch set := name(c.In.set); {
		case c.Type != histories.OK:
		case c.F == Add:
			left.Holds(set, c.Completed)
		default:
			if left.Read(set, c.Invoked); len(c.Out.elements) > 0 {
				left.Holds(set, 0)
			}
		}
	}
	return left.Unread(since)
}

// name returns a set as a note shows it.
func name(set string) string {
	if set == "" {
		return "the set" // the only one, in a history without keys
	}
	return set
}
