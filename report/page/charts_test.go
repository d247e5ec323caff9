package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
)

// chart returns the selector of a chart, which it brings into view, and waits until it is
// drawn.
func (r *reader) chart(id string) string {
	r.Helper()
	chart := "#chart-" + id + " "
	r.box(chart + part("plot"))
	r.wait("document.querySelector('" + chart + "canvas') !== null")
	return chart
}

// inked returns how many pixels of a canvas are not of its most frequent colour.
func (r *reader) inked(selector string) int {
	r.Helper()
	return eval[int](r, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
		const c = document.querySelector(`+quote(selector)+`);
		const copy = document.createElement("canvas");
		[copy.width, copy.height] = [c.width, c.height];
		const ctx = copy.getContext("2d", { willReadFrequently: true });
		ctx.drawImage(c, 0, 0);
		const counts = new Map();
		const all = new Uint32Array(ctx.getImageData(0, 0, c.width, c.height).data.buffer);
		for (const p of all) counts.set(p, (counts.get(p) ?? 0) + 1);
		done(all.length - Math.max(...counts.values()));
	})))`)
}

func TestCharts(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	doc := r.document()
	want := []string{"latency", "throughput", "availability", "recovery", "clocks", "network", "loss", "coverage"}
	var drawn []string
	for _, c := range doc.Charts {
		if len(c.Lines)+len(c.Points) == 0 {
			continue
		}
		drawn = append(drawn, c.ID)
		chart := r.chart(c.ID)
		if n := r.inked(chart + "canvas"); n < 2000 {
			t.Errorf("%s: %d pixels are drawn", c.ID, n)
		}
		r.has(chart+"h3", c.Title)
		for _, l := range c.Lines {
			r.has(chart+".legend", l.Name)
		}
		is(r, "document.querySelector('"+chart+part("plot")+"').getAttribute('aria-label').startsWith("+quote(c.Title)+")", true)
	}
	if strings.Join(drawn, " ") != strings.Join(want, " ") {
		t.Errorf("drawn are %v, want %v", drawn, want)
	}
	r.shot()
}

func TestLegend(t *testing.T) {
	r := show(t, invalid(t), desk)
	chart := r.chart("throughput")
	before := r.inked(chart + "canvas")
	button := chart + "button[data-line=ok]"
	r.click(button)
	is(r, "document.querySelector('"+button+"').getAttribute('aria-pressed')", "false")
	without := r.inked(chart + "canvas")
	if without >= before {
		t.Errorf("without a line %d pixels are drawn, with it %d", without, before)
	}
	r.focus(button)
	r.press(browser.Enter)
	is(r, "document.querySelector('"+button+"').getAttribute('aria-pressed')", "true")
	if again := r.inked(chart + "canvas"); again != before {
		t.Errorf("with the line again %d pixels are drawn, before it were %d", again, before)
	}
	chart = r.chart("latency")
	before = r.inked(chart + "canvas")
	r.click(chart + "button[data-class=ok]")
	if after := r.inked(chart + "canvas"); after >= before {
		t.Errorf("without single latencies %d pixels are drawn, with them %d", after, before)
	}
}

func TestChartsFollowTheView(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := r.view()
	chart := r.chart("throughput")
	whole := r.pixels(chart + "canvas")
	other := r.chart("latency")
	r.box(chart + ".u-over")
	b := r.box(chart + ".u-over")
	x := func(part float64) float64 { return b.Left + b.Width*part }
	_, y := b.middle()

	// What is pointed at is so in all charts, and in the timeline.
	r.must(r.page.Move(x(0.15), y))
	r.wait("hacheck.view.cursor !== null")
	is(r, fmt.Sprintf("Math.abs(hacheck.view.cursor - %f) < 3000", all.To*0.15), true)
	for _, of := range []string{chart, other} {
		is(r, fmt.Sprintf("Math.abs(new DOMMatrix(getComputedStyle(document.querySelector('%s.u-cursor-x')).transform).m41 - %f) < 2", of, b.Width*0.15), true)
		r.has(of+".now", fmt.Sprintf("%.3f s", all.To*0.15/1e6)[:4])
	}
	r.has(chart+".now", "partition:leader") // what was in force then
	r.has(chart+".legend", "op/s")

	// A range that is dragged is looked at everywhere.
	r.must(r.page.Drag(x(0.25), y, x(0.5), y))
	r.looks("drag in a chart", view{all.To / 4, all.To / 2})
	if r.pixels(chart+"canvas") == whole {
		t.Error("the chart has not followed")
	}
	r.has("#charts "+part("range"), fmt.Sprintf("%.3f s to %.3f s", r.view().From/1e6, r.view().To/1e6))
	m := r.box("#timeline " + part("minimap"))
	r.wait(fmt.Sprintf("Math.abs(parseFloat(document.querySelector('[data-part=minimap-window]').style.left) - %f) < 2", gutter+(m.Width-gutter)/4))
	b = r.box(chart + ".u-over")
	x2, y2 := b.middle()
	r.must(r.page.ClickAt(x2, y2, 2))
	r.looks("double click in a chart", all)

	// Buttons, and keys.
	r.click("#charts " + part("zoom-in"))
	half := view{all.To / 4, all.To * 3 / 4}
	r.looks("zoom in", half)
	r.click("#charts " + part("later"))
	r.looks("later", view{all.To / 2, all.To})
	r.click("#charts " + part("earlier"))
	r.click("#charts " + part("zoom-out"))
	r.looks("zoom out", all)
	r.focus(chart + part("plot"))
	r.press("+")
	is(r, "hacheck.view.to - hacheck.view.from", all.To/2)
	r.press("0")
	r.looks("nought", all)
	r.press(browser.Escape)
	is(r, "hacheck.view.cursor === null", true)
	at := all.To / 2 // from which arrows go on if there is no cursor
	r.press(browser.Right)
	is(r, fmt.Sprintf("Math.abs(hacheck.view.cursor - %f) < 2", at+all.To/100), true)

	// From a point to its operation.
	r.focus(other + part("plot"))
	r.press(browser.Enter)
	r.wait("document.querySelector('[data-part=panel-invoke]') !== null")
}

func TestClickOnALatency(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	doc := r.document()
	r.chart("recovery") // few points
	for _, c := range doc.Charts {
		if c.ID != "recovery" {
			continue
		}
		p := c.Points[0]
		chart := "#chart-recovery "
		b := r.box(chart + ".u-over")
		x := b.Left + b.Width*float64(p.X)/float64(doc.Duration)
		for y := b.Top + 2; ; y += 4 {
			if y > b.Top+b.Height {
				r.must(fmt.Errorf("no point of op %d is found", p.Op))
			}
			r.must(r.page.Move(x, y))
			if strings.Contains(r.text(chart+".now"), fmt.Sprintf("click to see op %d", p.Op)) {
				r.must(r.page.ClickAt(x, y, 1))
				break
			}
		}
		invoke := p.Op
		if pair := s.History.Pair(p.Op); pair >= 0 {
			invoke = min(pair, p.Op)
		}
		r.panel(at(t, all, invoke))
	}
}
