package appends

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which lists, of those to which something was appended for certain,
// no transaction that began after since has read.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parse, parse)
	if err != nil {
		return 0, nil, err
	}
	var held []string // in the order in which that became known
	known, read := map[string]bool{}, map[string]bool{}
	for _, c := range calls {
		if c.Type != histories.OK {
			continue
		}
		for _, m := range c.Out {
			switch {
			case m.F == Read && c.Invoked > since:
				read[m.Key] = true
			case m.F == Append && !known[m.Key]:
				known[m.Key] = true
				held = append(held, m.Key)
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
