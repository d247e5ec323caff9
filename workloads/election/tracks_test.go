package election

import (
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestTracksOfARightSystemDoNotOverlap where they are sure; and a second leader of a term is
// bad.
func TestTracksOfARightSystemDoNotOverlap(t *testing.T) {
	for m, bad := range map[mistake]bool{none: false, electsTwice: true, namesAnother: true, forgets: false} {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 5, Main: 4 * time.Second, Lost: 0.01, Refused: 0.05})
		tracks, err := Tracks(h)
		if err != nil || len(tracks) == 0 {
			t.Fatal(err, tracks)
		}
		found, led, perhaps := 0, 0, 0
		for _, track := range tracks {
			last := workloads.Slice{}
			for _, s := range track.Slices {
				if s.From > s.To || s.Op < 0 || s.Op >= h.Len() || (s.Class == workloads.Perhaps) != strings.HasPrefix(s.Label, workloads.Perhaps) {
					t.Errorf("mistake %d: %+v", m, s)
				}
				if s.Class == workloads.Perhaps {
					perhaps++
					continue
				}
				led++
				if s.Bad {
					found++
				} else if s.From < last.To && !bad {
					t.Errorf("mistake %d: %s has two leaders: %+v, %+v", m, track.Name, last, s)
				}
				last = s
			}
		}
		if found > 0 != bad || led < 50 || perhaps == 0 {
			t.Errorf("mistake %d: %d of %d slices are bad, and %d perhaps", m, found, led, perhaps)
		}
	}
}
