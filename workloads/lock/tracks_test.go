package lock

import (
	"testing"
	"time"

	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestTracksOfARightSystemDoNotOverlap where they are sure; and what the checker finds to be
// held twice is bad.
func TestTracksOfARightSystemDoNotOverlap(t *testing.T) {
	for m, bad := range map[mistake]bool{none: false, grantsHeld: true, reusesTokens: true, staleReads: false} {
		_, h := played(t, &system{mistake: m}, workloadtest.Play{Seed: 5, Main: 4 * time.Second, Lost: 0.01, Refused: 0.05})
		tracks, err := Tracks(h)
		if err != nil || len(tracks) == 0 {
			t.Fatal(err, tracks)
		}
		tally, err := workloadtest.Holders(tracks, h.Len(), !bad)
		if err != nil {
			t.Errorf("mistake %d: %v", m, err)
		}
		if tally.Bad > 0 != bad || tally.Sure < 40 || tally.Perhaps == 0 {
			t.Errorf("mistake %d: %+v", m, tally)
		}
	}
}
