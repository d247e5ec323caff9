package workloadtest

import (
	"fmt"
	"strings"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Drawn writes tracks, or why there are none, for people and scripts: a line for each, and one
// for each of its slices with its times, its class, the op that tells of it, and its label.
func Drawn(tracks []workloads.Track, err error) string {
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	if len(tracks) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	for _, t := range tracks {
		fmt.Fprintf(&b, "%s: %s\n", t.Group, t.Name)
		for _, s := range t.Slices {
			to, bad := "the end", ""
			if s.To != histories.Never {
				to = s.To.String()
			}
			if s.Bad {
				bad = " BAD"
			}
			fmt.Fprintf(&b, "  %v to %s [%s, op %d]%s %s\n", s.From, to, s.Class, s.Op, bad, s.Label)
		}
	}
	return b.String()
}
