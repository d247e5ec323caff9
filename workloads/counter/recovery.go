package counter

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which counters no read has read that began after since, and after
// the last of their adds was acknowledged: of those to which something was added
// for certain, because that was acknowledged, or a sum was seen.
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
		counter := c.In.counter
		if (c.F == Add || c.Out.sum != 0) && !known[counter] {
			known[counter] = true
			held = append(held, counter)
		}
		if c.F == Add {
			complete[counter] = max(complete[counter], c.Completed)
		} else {
			read[counter] = c.Invoked
		}
	}
	for _, counter := range held {
		if read[counter] <= max(since, complete[counter]) {
			unread = append(unread, name(counter))
		}
	}
	return len(held), unread, nil
}

// name returns a counter as a note shows it.
func name(counter string) string {
	if counter == "" {
		return "the counter" // the only one, in a history without keys
	}
	return counter
}
