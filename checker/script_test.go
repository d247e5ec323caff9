package checker_test

import (
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestScripts runs the files of testdata: a history, and what a checker says.
// Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	checkers := map[string]checker.Checker{
		"stats":        checker.Stats(),
		"faults":       checker.Faults(),
		"linearizable": checker.Linearizable(cell(), checker.Budget{}),
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
