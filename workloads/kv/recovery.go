package kv

import (
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which keys no linearizable read that began after since has read, of
// those that an acknowledged write has put.
func readBack(h *histories.History, since time.Duration) (written int, unread []string, err error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	var keys []string
	for i := range calls {
		c := &calls[i]
		if c.Type != histories.OK || c.F == Transact && len(c.Out.Results) != len(c.In.branch(c.Out.Succeeded)) {
			continue // the checker will tell
		}
		for _, a := range changes(c) {
			if a.F == Put {
				left.Holds(a.Key, 0)
				keys = append(keys, a.Key)
			}
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for _, c := range calls {
		switch {
		case c.Type != histories.OK || c.In.Mode != (Mode{}):
		case c.F == Get:
			left.Read(c.In.Key, c.Invoked)
		case c.F == Range && c.Invoked > since: // or it would be much work for nothing
			for _, key := range keys {
				if strings.HasPrefix(key, c.In.Prefix) {
					left.Read(key, c.Invoked)
				}
			}
		}
	}
	return left.Unread(since)
}
