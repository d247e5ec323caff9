package set

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which sets no read has read that began after since, and after the
// last of their adds was acknowledged: of those that held something for certain,
// because an add was acknowledged, or an element was seen.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var held []string // in the order in which that became known
	known := map[string]bool{}
	complete, read := map[string]time.Duration{}, map[string]time.Duration{} // the last acknowledgement; when the last read began
	for _, c := range calls {
		if c.Type != histories.OK {
			continue
		}
		set := c.In.set
		if (c.F == Add || len(c.Out.elements) > 0) && !known[set] {
			known[set] = true
			held = append(held, set)
		}
		if c.F == Add {
			complete[set] = max(complete[set], c.Completed)
		} else {
			read[set] = c.Invoked
		}
	}
	for _, set := range held {
		if read[set] <= max(since, complete[set]) {
			unread = append(unread, name(set))
		}
	}
	return len(held), unread, nil
}

// name returns a set as a note shows it.
func name(set string) string {
	if set == "" {
		return "the set" // the only one, in a history without keys
	}
	return set
}
