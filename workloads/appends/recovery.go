package appends

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which lists, of those to which something was appended for certain,
// no transaction that began after since has read.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parse, parse)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		if c.Type != histories.OK {
			continue
		}
		for _, m := range c.Out {
			if m.F == Read {
				left.Read(m.Key, c.Invoked)
			} else {
				left.Holds(m.Key, 0)
			}
		}
	}
	return left.Unread(since)
}
