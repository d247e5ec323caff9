package lease

import (
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestTracksAreOfKeysThatWereThere: of a right system each is one stretch of time, and of one
// whose keys come back some are bad.
func TestTracksAreOfKeysThatWereThere(t *testing.T) {
	for m, bad := range map[mistake]bool{none: false, comesBack: true, livesLong: false} {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 5, Main: 8 * time.Second, Lost: 0.01, Refused: 0.05})
		tracks, err := Tracks(h)
		if err != nil {
			t.Fatal(err)
		}
		found, gone := 0, 0
		for _, track := range tracks {
			for i, s := range track.Slices {
				if s.From > s.To || s.Op < 0 || s.Op >= h.Len() || (s.Class == workloads.Perhaps) != strings.HasPrefix(s.Label, workloads.Perhaps) {
					t.Errorf("mistake %d: %+v", m, s)
				}
				if s.Bad {
					found++
				} else if i > 0 && s.From != track.Slices[i-1].To && !bad {
					t.Errorf("mistake %d: %s is not one stretch: %+v", m, track.Name, track.Slices)
				}
			}
			if strings.Contains(track.Slices[len(track.Slices)-1].Label, "gone") {
				gone++
			}
		}
		if found > 0 != bad || len(tracks) < 50 || gone < 5 {
			t.Errorf("mistake %d: %d slices of %d keys are bad, and %d keys are gone", m, found, len(tracks), gone)
		}
	}
}
