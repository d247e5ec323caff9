package queue

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which queues, of those to which something was enqueued for certain,
// no dequeue that began after since has found empty.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		switch {
		case c.Type != histories.OK:
		case c.Out.empty:
			left.Read(c.In.queue, c.Invoked)
		default:
			left.Holds(c.In.queue, 0)
		}
	}
	return left.Unread(since)
}
