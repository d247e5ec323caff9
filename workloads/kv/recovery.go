package kv

import (
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which keys no linearizable read that began after since has read, of
// those that an acknowledged write has put.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var written, ranges []string
	known, read := map[string]bool{}, map[string]bool{}
	for i := range calls {
		c := &calls[i]
		if c.Type != histories.OK {
			continue
		}
		switch c.F {
		case Put, Transact:
			if c.F == Transact && len(c.Out.Results) != len(c.In.branch(c.Out.Succeeded)) {
				continue // the checker will tell
			}
			for _, a := range changes(c) {
				if a.F == Put && !known[a.Key] {
					known[a.Key] = true
					written = append(written, a.Key)
				}
			}
		case Get, Range:
			if c.Invoked <= since || c.In.Mode != (Mode{}) {
				continue
			}
			if c.F == Get {
				read[c.In.Key] = true
			} else {
				ranges = append(ranges, c.In.Prefix)
			}
		}
	}
	for _, key := range written {
		covered := read[key]
		for i := 0; i < len(ranges) && !covered; i++ {
			covered = strings.HasPrefix(key, ranges[i])
		}
		if !covered {
			unread = append(unread, key)
		}
	}
	return len(written), unread, nil
}
