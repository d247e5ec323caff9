package kv

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestScripts runs the files of testdata/scripts: histories with what is said of
// them. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	linearizable := checker.Compose("kv", checker.Part{Name: "linearizable", Checker: checker.Func(check)})
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return answered(t, d, linearizable) })
	})
}

// TestRecovery runs the file of histories that end in a recovery.
func TestRecovery(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "recovery.txt"), func(t *testing.T, d *datadriven.TestData) string {
		return answered(t, d, checker.Recovery(readBack))
	})
}

func answered(t *testing.T, d *datadriven.TestData, c checker.Checker) string {
	h, err := checkertest.Parse(d.Input)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	r, err := c.Check(t.Context(), h)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	if len(r.Parts) == 1 {
		r = r.Parts[0]
	}
	return checkertest.Format(r)
}

// TestWholeChecker: the verdict rests on the run's having tried, too.
func TestWholeChecker(t *testing.T) {
	h, err := checkertest.Parse(`0 invoke put {"key":"a","value":"1"}
0 ok put {"revision":1}`)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Checker().Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != checker.Valid || r.Name != "kv" || r.Parts[0].Name != "linearizable" || r.Parts[0].Verdict != checker.Valid {
		t.Errorf("got %s", checkertest.Format(r))
	}
}
