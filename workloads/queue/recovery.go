package queue

import (
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which queues, of those to which something was enqueued for certain,
// no dequeue that began after since has found empty.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var held []string // in the order in which that became known
	known, emptied := map[string]bool{}, map[string]bool{}
	for _, c := range calls {
		queue := c.In.queue
		switch {
		case c.Type != histories.OK:
		case c.Out.empty:
			if c.Invoked > since {
				emptied[queue] = true
			}
		case !known[queue]:
			known[queue] = true
			held = append(held, queue)
		}
	}
	for _, queue := range held {
		if !emptied[queue] {
			unread = append(unread, queue)
		}
	}
	return len(held), unread, nil
}
