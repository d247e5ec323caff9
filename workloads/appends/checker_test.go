package appends

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of testdata/scripts: histories with what is said of
// them. Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	seen := map[string]bool{}
	datadriven.Walk(t, filepath.Join("testdata", "scripts"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := strict(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			for _, a := range r.Anomalies {
				seen[a.Kind] = true
			}
			return checkertest.Format(r)
		})
	})
	kinds := []string{internal, phantom, duplicate, aborted, intermediate, incompatible, lost}
	for _, c := range classes {
		kinds = append(kinds, c.name)
	}
	for _, kind := range kinds {
		if !seen[kind] {
			t.Errorf("%s is in no script", kind)
		}
	}
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

// TestRecordedHistories judges what Elle has judged before. What it calls what it
// found is beside it: it has more names, and may have found something else first.
func TestRecordedHistories(t *testing.T) {
	for name, want := range map[string]struct {
		verdict     checker.Verdict
		elle, first string
	}{
		"001-lost-update":                       {checker.Invalid, "G2-item,lost-update", "lost append"},
		"002-lost-update":                       {checker.Valid, "", ""},
		"003-rr-g-nonadjacent-item":             {checker.Invalid, "G-nonadjacent-item", "lost append"},
		"004-wr-process":                        {checker.Invalid, "G1c-realtime", "G1c-realtime"},
		"005-intermediate-sequential-extension": {checker.Invalid, "G-single-item-realtime,G2-item", "G-single-realtime"},
		"006-future-read":                       {checker.Invalid, "empty-transaction-graph,future-read", "internal anomaly"},
		"007-unobserved-write":                  {checker.Invalid, "G-single-item,G0", "G0"},
		"008-G-nonadjacent":                     {checker.Invalid, "G-nonadjacent-item", "G2"},
		"009-G-nonadjacent":                     {checker.Invalid, "G-single-item-realtime,G1c-realtime", "lost append"},
		"010-checker":                           {checker.Invalid, "G0", "G0"},
		"013-checker":                           {checker.Invalid, "G1a,empty-transaction-graph", "aborted read (G1a)"},
		"017-checker":                           {checker.Invalid, "G-single-item,G1b", "intermediate read (G1b)"},
		"021-checker":                           {checker.Invalid, "G1c", "G1c"},
		"024-checker":                           {checker.Invalid, "G-single-item", "G-single"},
		"028-checker":                           {checker.Invalid, "G2-item", "G2"},
		"034-checker":                           {checker.Invalid, "G-single-item-realtime", "G-single-realtime"},
		"039-checker":                           {checker.Invalid, "G-nonadjacent-item-realtime,strong-PL-2-cycle-exists", "G1c-realtime"},
		"041-checker":                           {checker.Invalid, "G1c,incompatible-order", "incompatible order"},
		"043-checker":                           {checker.Invalid, "G1a,dirty-update", "aborted read (G1a)"},
		"045-checker":                           {checker.Invalid, "G-single-item,G1c,duplicate-elements", "duplicate element"},
		"046-checker":                           {checker.Invalid, "G0,internal", "internal anomaly"},
		"051-rr-g-single-item":                  {checker.Invalid, "G-single-item", "lost append"},
		"gh-30":                                 {checker.Invalid, "G2-item", "G2"},
		"paper-example":                         {checker.Invalid, "G-single-item", "G-single"},
		"si-without-g-single":                   {checker.Invalid, "G-single-item-realtime,G2-item", "G-single-realtime"},
	} {
		h, err := histories.ReadFile(filepath.Join("testdata", "recorded", "elle", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		r := judged(t, h)
		if len(r.Anomalies) > 0 {
			got = r.Anomalies[0].Kind
		}
		if r.Verdict != want.verdict || got != want.first {
			t.Errorf("%s (%s): got %s", name, want.elle, checkertest.Format(r))
		}
	}
}

func judged(t testing.TB, h *histories.History) checker.Result {
	t.Helper()
	r, err := strict(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
