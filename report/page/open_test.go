package page

import (
	"encoding/json"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/report/document"
)

// quote writes a text as a script has it.
func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // no text is none
	}
	return string(text)
}

// kinds are the kinds of runs there are.
var kinds = []struct {
	name    string
	source  func(testing.TB) document.Source
	verdict string
}{
	{"invalid", invalid, "invalid"},
	{"machines", machines, "invalid"},
	{"valid", valid, "valid"},
	{"nothing", nothing, "unknown"},
	{"foreign", foreign, "invalid"},
}

// TestEveryKindOfRun opens a page of each kind with all that is in it: it says what it has to,
// its controls have names, its text can be read, and it fits.
func TestEveryKindOfRun(t *testing.T) {
	for _, test := range kinds {
		t.Run(test.name, func(t *testing.T) {
			s := test.source(t)
			r := show(t, s, desk)
			r.has(part("word"), test.verdict)
			r.has(part("title"), s.Title)
			is(r, "document.querySelectorAll('main > section').length", 6)
			if s.Result.Verdict.String() != test.verdict {
				t.Errorf("the verdict is %v", s.Result.Verdict)
			}
			r.unfold()
			if s.History.Len() > 0 {
				r.focus(picture)
				r.press(browser.Enter)
				r.press(browser.Enter)
				r.wait("document.querySelector('[data-part=panel-invoke]') !== null")
			}
			is(r, "document.querySelectorAll('.failed').length", 0)
			r.named()
			r.readable()
			r.fits("on a desk")
			r.as(phone)
			r.fits("on a phone")
		})
	}
}
