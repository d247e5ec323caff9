package set

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of histories with what is said of them: whether the
// sets are right, and of those that end in a recovery what was read back. Rewrite
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

// TestWholeChecker: a set's verdict rests on the run's having tried, too.
func TestWholeChecker(t *testing.T) {
	h := parsed(t, "0 invoke add s=1\n0 ok add\n0 invoke read s\n0 ok read s=[1]\n1 invoke add s=2\n1 info add")
	if r := checked(t, Checker(), h); r.Verdict != checker.Valid || r.Name != "set" || r.Parts[0].Name != "elements" {
		t.Errorf("got %s", checkertest.Format(r))
	}
	h = parsed(t, "0 invoke add s=1\n0 ok add\n0 invoke read s\n0 info read")
	if r := checked(t, Checker(), h); r.Verdict != checker.Unknown {
		t.Errorf("nobody read, and got %s", checkertest.Format(r))
	}
}

// TestCounts: for how long an element was missing, and for how long one that was
// lost could be read.
func TestCounts(t *testing.T) {
	r := checked(t, checker.Func(check), parsed(t, `
		1ms  0 invoke add s=1
		2ms  0 ok add
		3ms  0 invoke add s=2
		4ms  0 ok add
		10ms 1 invoke read s
		11ms 1 ok read s=[2]
		20ms 1 invoke read s
		21ms 1 ok read s=[1,2]
		30ms 1 invoke read s
		31ms 1 ok read s=[1]
		40ms 0 invoke add s=3
		41ms 0 ok add
		50ms 0 invoke add s=4
		51ms 0 fail add
		60ms 0 invoke add s=5
		61ms 0 info add`))
	for name, want := range map[string]int64{
		"sets": 1, "elements": 4, "acknowledged": 3, "reads": 3,
		"stable": 1, "stale": 1, "lost": 1, "never_read": 1,
		"stable_latency_max_us": 8_000, "lost_latency_max_us": 16_000,
	} {
		if got := r.Counts[name]; got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
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
