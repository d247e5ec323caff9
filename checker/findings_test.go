package checker_test

import (
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

func TestFindings(t *testing.T) {
	r := checker.Result{Name: "all", Verdict: checker.Unknown, Note: "3 calls"}
	var f checker.Findings
	if f.Conclude(&r) || f.Len() != 0 || f.Enough("lost") || r.Verdict != checker.Unknown || r.Note != "3 calls" {
		t.Errorf("got %+v of nothing", r)
	}
	for _, op := range []int{9, 4, 7, 2, 8} {
		f.Add(checker.Anomaly{Kind: "stale", Note: "told", Ops: []int{0, op}})
	}
	f.AddMany(5, checker.Anomaly{Kind: "lost", Note: "told", Ops: []int{5}})
	f.Count(2, "lost")
	if f.Len() != 12 || !f.Enough("stale") || f.Enough("lost") {
		t.Errorf("got %d", f.Len())
	}
	if !f.Conclude(&r) || r.Counts["stale"] != 5 || r.Counts["lost"] != 7 {
		t.Errorf("got %v", r.Counts)
	}
	const want = `all: invalid (7 × lost, 5 × stale; 3 calls)
  stale [0 2]: told
  stale [0 4]: told
  lost [5]: told
  stale [0 7]: told
`
	if got := checkertest.Format(r); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
