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

// A Tally is how many slices of tracks are sure, how many of these are bad, and of how many
// nobody knows whether they were so.
type Tally struct{ Sure, Bad, Perhaps int }

// Holders counts the slices of tracks that say who held what in a history of so many ops. An
// error says which of them cannot be: one that ends before it begins, or names no op; or, if
// only one may hold a thing, one that is sure and overlaps with the one before without being
// bad.
func Holders(tracks []workloads.Track, ops int, one bool) (t Tally, err error) {
	for _, track := range tracks {
		last := workloads.Slice{}
		for _, s := range track.Slices {
			perhaps := s.Class == workloads.Perhaps
			if s.From > s.To || s.Op < 0 || s.Op >= ops || perhaps != strings.HasPrefix(s.Label, workloads.Perhaps) {
				return t, fmt.Errorf("%s %s: it cannot be: %+v", track.Group, track.Name, s)
			}
			if perhaps {
				t.Perhaps++
				continue
			}
			t.Sure++
			if s.Bad {
				t.Bad++
			} else if one && s.From < last.To {
				return t, fmt.Errorf("%s %s: two at a time: %+v, %+v", track.Group, track.Name, last, s)
			}
			last = s
		}
	}
	return t, nil
}
