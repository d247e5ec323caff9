package member

import (
	"fmt"
	"slices"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which keys no read that began after since has read, of those in which
// a write was acknowledged or something was seen; and which nodes that may have left
// the last read of the members since then did not find to have a vote.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	var held []string // in the order in which that became known
	known, read := map[string]bool{}, map[string]bool{}
	var voters []string
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.OK {
			continue
		}
		again := h.At(h.Pair(i)).Time > since
		switch op.F {
		case Members:
			m, err := parseMembers(op.Value)
			if err != nil {
				return 0, nil, fmt.Errorf("op %d: %s %w", i, op.Value, err)
			}
			if again {
				voters = m.Voters
			}
		case Read, Write:
			key, v, err := parseValue(op.Value)
			if err != nil {
				return 0, nil, fmt.Errorf("op %d: %s %w", i, op.Value, err)
			}
			if v.present && !known[key] {
				known[key] = true
				held = append(held, key)
			}
			if op.F == Read && again {
				read[key] = true
			}
		}
	}
	for _, key := range held {
		if !read[key] {
			unread = append(unread, key)
		}
	}
	left, err := leavers(h)
	if err != nil {
		return 0, nil, err
	}
	for _, node := range left {
		if !slices.Contains(voters, node) {
			unread = append(unread, node+" as a member")
		}
	}
	return len(held) + len(left), unread, nil
}
