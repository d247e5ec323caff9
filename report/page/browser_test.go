package page

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/internal/browser/browsertest"
	"github.com/hacheck/hacheck/report/document"
)

func TestMain(m *testing.M) {
	m.Run()
	browsertest.Close()
}

// The sizes that pages are looked at in.
var desk, phone = browsertest.Desk, browsertest.Phone

// A reader is somebody who looks at a page, and is content with nothing less than what the
// test wants: what cannot be done ends the test.
type reader struct {
	testing.TB
	page  *browser.Page
	html  []byte // as it was opened
	shots int
	close func()
}

// show writes the page of a source, and returns somebody who looks at it, all of whose
// operations are there.
func show(tb testing.TB, s document.Source, l browser.Look) *reader {
	tb.Helper()
	var b bytes.Buffer
	if err := Write(tb.Context(), &b, s); err != nil {
		tb.Fatal(err)
	}
	r := open(tb, b.Bytes(), l)
	r.wait(`document.querySelector("[data-part=matches]") === null || performance.getEntriesByName("hacheck:complete").length > 0`)
	return r
}

// open opens a page as a file, and waits until it is ready. In the end there must have been
// nothing to complain of but what is expected; then, too, a picture of what was to be seen is
// left.
func open(tb testing.TB, html []byte, l browser.Look, expected ...string) *reader {
	tb.Helper()
	b, err := browsertest.Shared()
	if errors.Is(err, browser.ErrMissing) {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	name := filepath.Join(tb.TempDir(), "report.html")
	if err := os.WriteFile(name, html, 0o644); err != nil {
		tb.Fatal(err)
	}
	p, err := b.Open((&url.URL{Scheme: "file", Path: name}).String(), l)
	if err != nil {
		tb.Fatal(err)
	}
	r := &reader{TB: tb, page: p, html: html}
	r.close = sync.OnceFunc(func() {
		if !tb.Failed() {
			r.shot()
		}
		for _, c := range p.Complaints() {
			if !slices.ContainsFunc(expected, func(of string) bool { return strings.Contains(c, of) }) {
				tb.Errorf("the page complains: %s", c)
			}
		}
		p.Close()
	})
	tb.Cleanup(r.close)
	r.wait("window.hacheck && hacheck.ready.then(() => true)")
	return r
}

// must ends the test if something could not be done, with a picture of why.
func (r *reader) must(err error) {
	r.Helper()
	if err != nil {
		r.shot()
		r.Fatal(err)
	}
}

// shot keeps a picture of what is to be seen.
func (r *reader) shot() {
	r.Helper()
	png, err := r.page.Screenshot()
	if err != nil {
		r.Errorf("screenshot: %v", err)
		return
	}
	r.shots++
	name := fmt.Sprintf("%s-%d.png", strings.ReplaceAll(r.Name(), "/", "-"), r.shots)
	if err := os.WriteFile(filepath.Join(r.ArtifactDir(), name), png, 0o644); err != nil {
		r.Error(err)
	}
}

func (r *reader) wait(expression string) {
	r.Helper()
	r.must(r.page.Wait(expression))
}

func (r *reader) click(selector string) {
	r.Helper()
	r.must(r.page.Click(selector))
}

func (r *reader) press(keys string, with ...browser.Modifier) {
	r.Helper()
	r.must(r.page.Press(keys, with...))
}

// part returns a selector of elements by what they are in the page.
func part(name string) string { return "[data-part=" + name + "]" }

// eval returns what an expression comes to.
func eval[T any](r *reader, expression string) T {
	r.Helper()
	v, err := browser.Eval[T](r.page, expression)
	r.must(err)
	return v
}

// is complains if an expression is not what is wanted.
func is[T comparable](r *reader, expression string, want T) {
	r.Helper()
	if got := eval[T](r, expression); got != want {
		r.Errorf("%s is %v, want %v", expression, got, want)
	}
}

// text returns all text of the first element that a selector finds.
func (r *reader) text(selector string) string {
	r.Helper()
	return eval[string](r, "document.querySelector("+quote(selector)+").textContent")
}

// has complains if text is not in what an element says.
func (r *reader) has(selector string, texts ...string) {
	r.Helper()
	got := r.text(selector)
	for _, want := range texts {
		if !strings.Contains(got, want) {
			r.Errorf("%s says %.500q, want %q in it", selector, got, want)
		}
	}
}
