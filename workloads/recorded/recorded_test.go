package recorded

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestScripts runs the files of testdata/scripts: histories with what is said of them, by
// the checker that the command names. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			var initial string
			d.MaybeScanArgs(t, "initial", &initial)
			c := map[string]checker.Checker{
				"mutex":            Mutex(checker.Budget{}),
				"multi-register":   MultiRegister(json.RawMessage(initial), checker.Budget{}),
				"kv-append":        KVAppend(checker.Budget{}),
				"fifo-queue":       FIFOQueue(checker.Budget{}),
				"linearizable-set": Set(checker.Budget{}),
			}[d.Cmd]
			r, err := c.Check(t.Context(), h)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return strings.TrimPrefix(checkertest.Format(r), d.Cmd+": ")
		})
	})
}
