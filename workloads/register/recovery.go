package register

import (
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which keys no read that began after since has read, of those that
// held something for certain: in which a write or a cas was acknowledged, or a value
// was seen. What was seen must stay, even if nobody knows what became of its write.
// A write of unknown outcome that nobody saw promises nothing.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		v, saw := seen(c)
		if wrote := c.F != Read && c.Type == histories.OK; wrote || saw && v != Absent {
			left.Holds(name(c.In.Key), 0)
		}
		if c.F == Read && c.Type == histories.OK {
			left.Read(name(c.In.Key), c.Invoked)
		}
	}
	return left.Unread(since)
}

// name returns a key as a note shows it.
func name(key string) string {
	if key == "" {
		return "the register" // the only one, in a history without keys
	}
	return key
}
