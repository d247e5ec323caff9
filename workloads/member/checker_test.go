package member

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestScripts runs the files of testdata/scripts: histories with what the parts that
// judge the workload say of them; and with the argument whole all of them. Rewrite them
// with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := Checker(checker.Budget{}).Check(t.Context(), h)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			if d.HasArg("whole") {
				return checkertest.Format(r)
			}
			var text string
			for _, p := range r.Parts {
				if p.Name == d.Cmd {
					text += checkertest.Format(p)
				}
			}
			return text
		})
	})
}
