package register

import (
	"time"

	"github.com/hacheck/hacheck/histories"
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
	var held []string // in the order in which that became known
	known, read := map[string]bool{}, map[string]bool{}
	for _, c := range calls {
		v, saw := seen(c)
		wrote := c.F != Read && c.Type == histories.OK
		if key := c.In.Key; (wrote || saw && v != Absent) && !known[key] {
			known[key] = true
			held = append(held, key)
		}
		if c.F == Read && c.Type == histories.OK && c.Invoked > since {
			read[c.In.Key] = true
		}
	}
	for _, key := range held {
		if !read[key] {
			unread = append(unread, name(key))
		}
	}
	return len(held), unread, nil
}

// name returns a key as a note shows it.
func name(key string) string {
	if key == "" {
		return "the register" // the only one, in a history without keys
	}
	return key
}
