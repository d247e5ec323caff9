package queue

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of testdata: histories with what is said of them.
// Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	checkers := map[string]checker.Checker{
		"fifo":     contents(true),
		"total":    contents(false),
		"recovery": checker.Recovery(readBack),
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := checkers[d.Cmd].Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return checkertest.Format(r)
		})
	})
}

// TestEveryKindHasItsScript: a kind that no script shows is one that nobody has seen.
func TestEveryKindHasItsScript(t *testing.T) {
	seen := map[string]bool{}
	datadriven.RunTest(t, filepath.Join("testdata", "anomalies.txt"), func(t *testing.T, d *datadriven.TestData) string {
		h, err := checkertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		for _, a := range judged(t, h, d.Cmd == "fifo").Anomalies {
			seen[a.Kind] = true
		}
		return d.Expected
	})
	for _, kind := range []string{phantom, duplicated, lost, skipped, outOfOrder, notEmpty} {
		if !seen[kind] {
			t.Errorf("%s is in no script", kind)
		}
	}
}

func judged(t testing.TB, h *histories.History, fifo bool) checker.Result {
	t.Helper()
	r, err := contents(fifo).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
