package watch

import (
	"fmt"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// readBack says which watchers have not come to the last revision that is known of:
// those that were neither told everything up to there, nor that it was compacted. When
// they were told plays no part.
func readBack(h *histories.History, _ time.Duration) (watchers int, behind []string, err error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return 0, nil, err
	}
	reached := map[int]uint64{}
	var names []int // in the order in which they began
	last := uint64(0)
	for _, c := range calls {
		switch {
		case c.F == Watch:
			w := *c.In.Watcher
			if _, ok := reached[w]; !ok {
				names = append(names, w)
				reached[w] = 0
			}
			if c.Type == histories.OK {
				reached[w] = max(reached[w], c.Out.To, c.Out.Compacted)
			}
		case c.Type == histories.OK && c.F != Compact:
			last = max(last, c.Out.Revision)
		}
	}
	for _, w := range names {
		if reached[w] < last {
			behind = append(behind, fmt.Sprintf("watcher %d did not reach the final revision (%d of %d)", w, reached[w], last))
		}
	}
	return len(names), behind, nil
}
