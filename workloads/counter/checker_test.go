package counter

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of histories with what is said of them: whether the
// sums are right, and of those that end in a recovery what was read back. Rewrite
// them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			c := checker.Checker(checker.Func(check))
			if filepath.Base(path) == "recovery.txt" {
				c = checker.Recovery(readBack)
			}
			r, err := c.Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			r.Name = d.Cmd
			return checkertest.Format(r)
		})
	})
}

// TestWholeChecker: a counter's verdict rests on the run's having tried, too.
func TestWholeChecker(t *testing.T) {
	h := parsed(t, "0 invoke add c=1\n0 ok add\n0 invoke read c\n0 ok read c=1\n1 invoke add c=2\n1 info add")
	if r := checked(t, Checker(), h); r.Verdict != checker.Valid || r.Name != "counter" || r.Parts[0].Name != "sums" {
		t.Errorf("got %s", checkertest.Format(r))
	}
	h = parsed(t, "0 invoke add c=1\n0 ok add\n0 invoke read c\n0 info read")
	if r := checked(t, Checker(), h); r.Verdict != checker.Unknown {
		t.Errorf("nobody read, and got %s", checkertest.Format(r))
	}
}

func parsed(t *testing.T, text string) *histories.History {
	t.Helper()
	h, err := checkertest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func checked(t testing.TB, c checker.Checker, h *histories.History) checker.Result {
	t.Helper()
	r, err := c.Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
