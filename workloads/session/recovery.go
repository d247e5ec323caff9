package session

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which keys, of those to which something was written for certain, no
// session has read that had written after since: one that had not may be shown the
// past.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var held []string // in the order in which that became known
	known, read := map[string]bool{}, map[string]bool{}
	wrote := map[histories.Process]bool{} // after since
	for _, c := range calls {
		switch key := c.In.key; {
		case c.Type != histories.OK:
		case c.F == Read && wrote[c.Process]:
			read[key] = true
		case c.F == Write:
			wrote[c.Process] = c.Invoked > since
			if !known[key] {
				known[key] = true
				held = append(held, key)
			}
		}
	}
	for _, key := range held {
		if !read[key] {
			unread = append(unread, key)
		}
	}
	return len(held), unread, nil
}
