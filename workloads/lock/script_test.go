package lock

import (
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestScripts runs the files of testdata: histories, with what is said of them by the
// part of the checker that is named, or how their tracks are drawn. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	parts := map[string]checker.Checker{
		"fencing": fencing(), "holders": checker.Func(holders), "recovery": checker.Recovery(readBack),
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			if d.Cmd == "tracks" {
				return workloadtest.Drawn(Tracks(h))
			}
			r, err := parts[d.Cmd].Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			return checkertest.Format(r)
		})
	})
}
