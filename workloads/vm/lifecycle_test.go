package vm

import (
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestAnswers runs histories of what clients were answered, with what is said of them by
// the part of the checker that is named. Rewrite them with -rewrite, and read the diff.
func TestAnswers(t *testing.T) {
	parts := map[string]checker.Checker{
		"creates": creates(), "epochs": checker.Func(answeredEpochs), "lifecycle": checker.Linearizable(model, checker.Budget{}),
	}
	datadriven.Walk(t, "testdata/answers", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			part := parts[d.Cmd]
			if part == nil {
				d.Fatalf(t, "there is no part %q", d.Cmd)
			}
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := part.Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			if d.Cmd == "lifecycle" {
				if _, err := checkertest.Orders(t.Context(), h, model, r); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			return checkertest.Format(r)
		})
	})
}
