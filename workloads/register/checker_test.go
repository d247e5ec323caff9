package register

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// TestScripts runs the files of testdata/scripts: histories with what is said of
// them. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			var s Semantics
			var initial string
			if d.MaybeScanArgs(t, "initial", &initial); initial != "" {
				if err := s.Initial.UnmarshalJSON([]byte(initial)); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			s.NilUnknown, s.FailedCASObserves = d.HasArg("nil-unknown"), d.HasArg("failed-cas-observes")
			return checkertest.Format(s.judged(t, h))
		})
	})
}

// TestRecovery runs the file of histories that end in a recovery.
func TestRecovery(t *testing.T) {
	datadriven.RunTest(t, filepath.Join("testdata", "recovery.txt"), func(t *testing.T, d *datadriven.TestData) string {
		h, err := checkertest.Parse(d.Input)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		r, err := checker.Recovery(readBack).Check(t.Context(), h)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return checkertest.Format(r)
	})
}

// TestWholeChecker: a register's verdict rests on the run's having tried, too.
func TestWholeChecker(t *testing.T) {
	h, err := checkertest.Parse("0 invoke write x=1\n0 ok write\n0 invoke cas x=[1,2]\n0 info cas")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Checker(checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `register: unknown (unknown: stats)
  linearizable: valid (1 of 1 key linearizable; 2 calls: 1 ok, 0 failed, 1 indeterminate; decided by zones, confirmed by porcupine)
  stats: unknown (2 calls: 1 ok, 0 failed, 1 indeterminate; no cas ever succeeded)
    cas: unknown (1 call: 0 ok, 0 failed, 1 indeterminate)
    write: valid (1 call: 1 ok, 0 failed, 0 indeterminate; median 1.00 ms, p99 1.00 ms)
  faults: valid (no faults)
  recovery: valid (no recovery was waited for)
  availability: valid (2.00 ms without an answer at most, from 2.00 ms on; answered: 50.0 % without faults)
`
	if got := checkertest.Format(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func judged(t *testing.T, h *histories.History) checker.Result {
	t.Helper()
	return Semantics{}.judged(t, h)
}

func (s Semantics) judged(t *testing.T, h *histories.History) checker.Result {
	t.Helper()
	r, err := checker.Linearizable(s.model(), checker.Budget{}).Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := checkertest.Orders(t.Context(), h, s.model(), r); err != nil {
		t.Fatalf("%v\n%s", err, workloadtest.Text(h))
	}
	return r
}
