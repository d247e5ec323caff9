package session

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of testdata/scripts: histories with what is said of
// them. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	seen := map[string]bool{}
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := guarantees(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			for _, a := range r.Anomalies {
				seen[a.Kind] = true
			}
			return checkertest.Format(r)
		})
	})
	for _, kind := range []string{phantom, ownWrite, wentBack, writesOrder, writeFirst, lost} {
		if !seen[kind] {
			t.Errorf("%s is in no script", kind)
		}
	}
}

// TestRecovery runs the file of histories that end in a recovery.
func TestRecovery(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "recovery.txt"), func(t *testing.T, d *datadriven.TestData) string {
		h, err := checkertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		r, err := checker.Recovery(readBack).Check(t.Context(), h)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return checkertest.Format(r)
	})
}

func judged(t testing.TB, h *histories.History) checker.Result {
	t.Helper()
	r, err := guarantees(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
