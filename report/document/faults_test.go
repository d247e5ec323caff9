package document

import (
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/report"
)

// What was held back has not begun: the page counts as the verdict does.
func TestFaultsThatWereHeldBackAreTold(t *testing.T) {
	h := parse(t, `
		1s nemesis invoke kill {"id":1,"fault":"kill"}
		2s nemesis info kill {"id":1,"fault":"kill","held_back":true} error=others-hold-it
		3s nemesis invoke kill {"id":2,"fault":"kill"}
		4s nemesis info kill {"id":2,"fault":"kill"}
		5s nemesis invoke heal {"id":2,"fault":"kill"}
		6s nemesis info heal {"id":2,"fault":"kill","acted":1}`)
	result, err := checker.Faults().Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	doc := build(t, Source{Run: report.Run{History: h, Result: result}})
	held := map[bool]int64{}
	for _, f := range doc.Faults {
		held[f.HeldBack]++
	}
	counts := result.Parts[0].Counts
	if held[true] != 1 || held[true] != counts["held back"] || held[false] != counts["begun"] {
		t.Errorf("the page has %v, the verdict %v", held, counts)
	}
}
