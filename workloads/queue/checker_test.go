package queue

import (
	"fmt"
	"path/filepath"
	"strings"
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

// TestLongChainsAreNamedInPart: one value after the other was there while a dequeue was
// open for long. All of them prove it, and a few of them tell it.
func TestLongChainsAreNamedInPart(t *testing.T) {
	const values = 50
	var b strings.Builder
	b.WriteString("1 invoke enqueue q=0\n1 ok enqueue\n9 invoke dequeue q\n")
	for i := range values {
		fmt.Fprintf(&b, "1 invoke enqueue q=%d\n1 ok enqueue\n2 invoke dequeue q\n2 ok dequeue q=%d\n", i+1, i)
	}
	fmt.Fprintf(&b, "9 ok dequeue q\n2 invoke dequeue q\n2 ok dequeue q=%d\n", values)
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	r := judged(t, h, true)
	if len(r.Anomalies) != 1 || r.Anomalies[0].Kind != notEmpty {
		t.Fatalf("got %s", checkertest.Format(r))
	}
	if a := r.Anomalies[0]; strings.Count(a.Note, "was in it") != maxNamed || !strings.Contains(a.Note, "and 43 more") || len(a.Ops) != h.Len() {
		t.Errorf("got %d ops of %d, %s", len(a.Ops), h.Len(), a.Note)
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
