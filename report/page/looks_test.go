package page

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/internal/browser/browsertest"
)

func (r *reader) as(l browser.Look) {
	r.Helper()
	r.must(r.page.As(l))
}

// unfold opens all that is folded up.
func (r *reader) unfold() {
	r.Helper()
	r.must(browsertest.Unfold(r.page))
}

// asked asks of the page what is asked of every page.
func (r *reader) asked(what string, ask func(*browser.Page) ([]string, error)) {
	r.Helper()
	flaws, err := ask(r.page)
	r.must(err)
	for _, f := range flaws {
		r.Errorf("%s: %s", what, f)
	}
}

func TestDark(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	const (
		paper  = "getComputedStyle(document.body).backgroundColor"
		button = "header [data-part=theme]"
		base   = "#timeline [data-part=stage] canvas:first-child"
	)
	theme := func(want string) {
		t.Helper()
		colours := map[string]string{"light": "rgb(255, 255, 255)", "dark": "rgb(18, 21, 26)"}
		r.wait("document.documentElement.dataset.theme === '" + want + "'")
		is(r, paper, colours[want])
		other := map[string]string{"light": "dark", "dark": "light"}[want]
		is(r, "document.querySelector('"+button+"').getAttribute('aria-label')", "Show the page "+other)
	}
	dark := browser.Look{Width: desk.Width, Height: desk.Height, Dark: true}

	// As the system has it, as long as nobody says otherwise.
	theme("light")
	r.as(dark)
	theme("dark")
	r.as(desk)
	theme("light")

	chart := r.chart("latency")
	light := []string{r.pixels(base), r.pixels(chart + "canvas")}
	r.click(button)
	theme("dark")
	if r.pixels(base) == light[0] || r.pixels(chart+"canvas") == light[1] {
		t.Error("what is on a canvas has not become dark")
	}
	r.shot()
	r.must(r.page.Reload())
	r.wait("window.hacheck && hacheck.ready.then(() => true)")
	theme("dark") // it is remembered
	r.as(dark)
	r.as(desk)
	theme("dark")
	r.focus(button)
	r.press(browser.Enter)
	theme("light")
	r.as(dark)
	theme("light")
}

func TestDarkFromTheStart(t *testing.T) {
	r := show(t, invalid(t), browser.Look{Width: desk.Width, Height: desk.Height, Dark: true})
	is(r, "document.documentElement.dataset.theme", "dark")
	is(r, "getComputedStyle(document.body).backgroundColor", "rgb(18, 21, 26)")
}

// fits checks that nothing is wider than the view.
func (r *reader) fits(what string) {
	r.Helper()
	r.asked(what, browsertest.Fits)
}

func TestPhone(t *testing.T) {
	r := show(t, invalid(t), phone)
	r.fits("at first")
	r.shot()
	for _, c := range r.document().Charts {
		if len(c.Lines)+len(c.Points) > 0 {
			r.chart(c.ID)
		}
	}
	r.unfold()
	r.fits("with all that there is")
}

func TestFingers(t *testing.T) {
	s := invalid(t)
	r := show(t, s, phone)
	all := r.view()
	b := r.box(picture)
	const narrow = 58
	x, y := b.Left+narrow+(b.Width-narrow)/2, b.Top+b.Height/2
	r.must(r.page.Pinch(x, y, 30, 60))
	r.wait("hacheck.view.to - hacheck.view.from < hacheck.view.duration")
	r.looks("two fingers", view{all.To / 4, all.To * 3 / 4})
	c := callsOf(t, s.History)[0]
	r.click(fmt.Sprintf("#anomaly-1 .op[data-op='%d']", r.document().Anomalies[0].Calls[0].Invoke))
	r.wait("document.querySelector('[data-part=panel-invoke]') !== null")
	r.fits("with the panel")
	r.shot()
	r.click(part("panel-close"))
	r.look(view{float64(c.start) - 500, float64(c.start) + 500})
	b = r.box(picture)
	for y := b.Top + 30; ; y += 6 { // wherever it lies
		if y > min(b.Top+b.Height, float64(phone.Height)) {
			r.must(fmt.Errorf("no finger finds op %d", c.invoke))
		}
		r.must(r.page.Pinch(b.Left+narrow+(b.Width-narrow)/2+2, y, 0, 0))
		if eval[bool](r, "!document.querySelector('.tl-panel').hidden && document.querySelector('[data-fact=\"in the history\"]').textContent === "+quote(fmt.Sprintf("ops %d and %d", c.invoke, c.complete))) {
			break
		}
		eval[bool](r, "(document.querySelector('.tl-panel:not([hidden]) [data-part=panel-close]')?.click(), true)")
	}
	r.panel(c)
}

func TestPrint(t *testing.T) {
	r := show(t, invalid(t), desk)
	doc := r.document()
	// What is to be printed is asked for when the browser has it laid out.
	eval[bool](r, `(addEventListener("beforeprint", () => { window.printed = {
		Sections: [...document.querySelectorAll("main > section")].filter((s) => s.getBoundingClientRect().height > 20).map((s) => s.id),
		Closed: document.querySelectorAll("details:not([open], .tl-hint, [data-part=around], [data-part=order])").length,
		Drawings: [...document.querySelectorAll(".drawing")].filter((d) => d.querySelector("svg.calls .call")).length,
		Charts: [...document.querySelectorAll(".chart canvas")].length,
		Theme: document.documentElement.dataset.theme,
	}; }), true)`)
	r.as(browser.Look{Width: desk.Width, Height: desk.Height, Dark: true})
	pdf, err := r.page.PDF()
	r.must(err)
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) || len(pdf) < 50_000 {
		t.Errorf("the PDF has %d bytes, and begins with %q", len(pdf), pdf[:min(len(pdf), 8)])
	}
	type printed struct {
		Sections                 []string
		Closed, Drawings, Charts int
		Theme                    string
	}
	got := eval[printed](r, "window.printed")
	if want := []string{"verdict", "evidence", "timeline", "charts", "coverage", "again"}; !slices.Equal(got.Sections, want) {
		t.Errorf("printed are %v, want %v", got.Sections, want)
	}
	if got.Closed > 0 {
		t.Errorf("%d parts are folded up on paper", got.Closed)
	}
	drawings, charts := len(doc.Anomalies), 0 // what is long is printed if it is open, and here nothing is
	for _, c := range doc.Charts {
		if len(c.Lines)+len(c.Points) > 0 {
			charts++
		}
	}
	if got.Drawings != drawings || got.Charts != charts || got.Theme != "light" {
		t.Errorf("printed are %d drawings, %d charts, %s; want %d, %d, light", got.Drawings, got.Charts, got.Theme, drawings, charts)
	}
	is(r, "document.documentElement.dataset.theme", "dark") // as before
	is(r, "document.querySelector('#anomaly-2').open", false)

	// The layout for paper has no controls.
	r.as(browser.Look{Width: 700, Height: 900, Print: true})
	is(r, `[...document.querySelectorAll("header.bar, .tl-tools, .toolbar, [data-part=copy], [data-part=show-in-timeline]")].filter((e) => e.checkVisibility()).length`, 0)
	r.fits("paper")
}

// named checks that each control that is to be seen has a name.
func (r *reader) named() {
	r.Helper()
	r.asked("as it is", browsertest.Named)
}

// TestTabReachesAll goes through the page by Tab alone.
func TestTabReachesAll(t *testing.T) {
	r := show(t, invalid(t), desk)
	for _, c := range r.document().Charts {
		if len(c.Lines)+len(c.Points) > 0 {
			r.chart(c.ID)
		}
	}
	r.asked("by Tab alone", browsertest.Reached)
	// In the order in which they stand in the page.
	is(r, "met.slice(0, all.length).every((e, i) => i === 0 || (met[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING) !== 0)", true)
	if first := eval[string](r, "met[0].className"); first != "skip" {
		t.Errorf("the first that Tab reaches is %q, want what leads past the bar", first)
	}
}

// readable checks the contrast of all text that is to be seen, in both themes.
func (r *reader) readable() {
	r.Helper()
	r.asked("contrast", func(p *browser.Page) ([]string, error) { return browsertest.Legible(p, desk) })
}
