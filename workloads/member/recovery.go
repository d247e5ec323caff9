package member

import (
	"fmt"
	"slices"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// readBack says which keys no read that began after since has read, of those in which
// a write was acknowledged or something was seen; and which nodes that may have left
// the last read of the members since then did not find to have a vote.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	var left workloads.Remainder
	var voters []string
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.OK {
			continue
		}
		begun := h.At(h.Pair(i)).Time
		switch op.F {
		case Members:
			m, err := parseMembers(op.Value)
			if err != nil {
				return 0, nil, fmt.Errorf("op %d: %s %w", i, op.Value, err)
			}
			if begun > since {
				voters = m.Voters
			}
		case Read, Write:
			key, v, err := parseValue(op.Value)
			if err != nil {
				return 0, nil, fmt.Errorf("op %d: %s %w", i, op.Value, err)
			}
			if v.present {
				left.Holds(key, 0)
			}
			if op.F == Read {
				left.Read(key, begun)
			}
		}
	}
	nodes, err := leavers(h)
	if err != nil {
		return 0, nil, err
	}
	for _, node := range nodes {
		left.Holds(node+" as a member", 0)
		if slices.Contains(voters, node) {
			left.Read(node+" as a member", histories.Never)
		}
	}
	return left.Unread(since)
}
