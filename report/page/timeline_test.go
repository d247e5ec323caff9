package page

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/report/document"
)

// A box is where something is in the view.
type box struct{ Left, Top, Width, Height float64 }

func (b box) middle() (x, y float64) { return b.Left + b.Width/2, b.Top + b.Height/2 }

// box returns where an element is, which it brings into the middle of the view.
func (r *reader) box(selector string) box {
	r.Helper()
	return eval[box](r, `(() => {
		const e = document.querySelector(`+quote(selector)+`);
		e.scrollIntoView({ block: "center", behavior: "instant" });
		const b = e.getBoundingClientRect();
		return { Left: b.left, Top: b.top, Width: b.width, Height: b.height };
	})()`)
}

// A view is what is looked at, in microseconds.
type view struct{ From, To float64 }

func (v view) wide() float64 { return v.To - v.From }

func (r *reader) view() view {
	r.Helper()
	return eval[view](r, "({ From: hacheck.view.from, To: hacheck.view.to })")
}

// looks checks what is looked at, but for the width of a few pixels.
func (r *reader) looks(what string, want view) {
	r.Helper()
	got := r.view()
	if slack := want.wide() / 200; math.Abs(got.From-want.From) > slack || math.Abs(got.To-want.To) > slack {
		r.Errorf("%s: %.0f to %.0f µs are in sight, want %.0f to %.0f", what, got.From, got.To, want.From, want.To)
	}
}

// look makes a range what is looked at.
func (r *reader) look(v view) {
	r.Helper()
	eval[bool](r, fmt.Sprintf("(hacheck.view.show(%f, %f), true)", v.From, v.To))
}

const (
	picture = "#timeline [data-part=picture]"
	gutter  = 104 // pixels of names at the left of a picture that is wide
)

func TestTimelineZoomAndPan(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	b := r.box(picture)
	plot := b.Width - gutter
	x, y := b.Left+gutter+plot/4, b.Top+b.Height/2
	all := r.view()
	if all.From != 0 || all.To != float64(s.History.Duration().Microseconds()) {
		t.Errorf("at first %v to %v are in sight", all.From, all.To)
	}

	// The wheel is the page's, until Ctrl is held or the picture has the focus.
	from := eval[float64](r, "scrollY")
	r.must(r.page.Wheel(x, y, -100))
	r.wait(fmt.Sprintf("Math.abs(scrollY - %f) < 1", from-100))
	r.looks("wheel", all)
	b = r.box(picture)
	y = b.Top + b.Height/2
	r.must(r.page.Wheel(x, y, -300, browser.Ctrl))
	r.wait("hacheck.view.to - hacheck.view.from < hacheck.view.duration")
	by := math.Exp(-0.6)
	r.looks("wheel with ctrl", view{all.To / 4 * (1 - by), all.To/4 + all.To*3/4*by})
	r.must(r.page.Wheel(x, y, 300, browser.Ctrl))
	r.wait("hacheck.view.to - hacheck.view.from > hacheck.view.duration * 0.999")

	half := view{all.To / 4, all.To * 3 / 4}
	for _, step := range []struct {
		button string
		want   view
	}{
		{"zoom-in", half},
		{"pan-right", view{all.To / 2, all.To}},
		{"pan-right", view{all.To / 2, all.To}}, // that is the end
		{"pan-left", half},
		{"zoom-in", view{all.To * 3 / 8, all.To * 5 / 8}},
		{"zoom-out", half},
		{"zoom-all", all},
	} {
		r.click("#timeline " + part(step.button))
		r.looks(step.button, step.want)
	}

	r.focus(picture)
	for _, step := range []struct {
		name, key string
		want      view
	}{
		{"plus", "+", half},
		{"right", browser.Right, view{all.To * 0.3, all.To * 0.8}},
		{"left", browser.Left, half},
		{"home", browser.Home, view{0, all.To / 2}},
		{"end", browser.End, view{all.To / 2, all.To}},
		{"minus", "-", all},
		{"plus again", "+", half},
		{"nought", "0", all},
	} {
		r.press(step.key)
		r.looks(step.name, step.want)
	}
	r.must(r.page.Wheel(b.Left+gutter+plot/2, y, -300))
	r.wait("hacheck.view.to - hacheck.view.from < hacheck.view.duration")
	r.looks("wheel with the focus", view{all.To / 2 * (1 - by), all.To / 2 * (1 + by)})

	// By dragging, what is under the mouse stays there; with Shift a range is chosen.
	r.look(half)
	r.must(r.page.Drag(b.Left+gutter+plot/2, y, b.Left+gutter+plot/4, y))
	r.looks("drag", view{all.To * 3 / 8, all.To * 7 / 8})
	r.look(all)
	r.must(r.page.Drag(b.Left+gutter+plot/4, y, b.Left+gutter+plot/2, y, browser.Shift))
	r.looks("drag with shift", view{all.To / 4, all.To / 2})
	r.look(all)
	r.must(r.page.ClickAt(b.Left+gutter+plot/2, b.Top+4, 2)) // where there are no calls
	r.looks("double click", view{all.To * 3 / 8, all.To * 5 / 8})
	r.shot()
}

func TestMinimap(t *testing.T) {
	r := show(t, invalid(t), desk)
	all := r.view()
	r.look(view{all.To / 4, all.To / 2})
	m := r.box("#timeline " + part("minimap"))
	plot, y := m.Width-gutter, m.Top+m.Height/2
	x := func(part float64) float64 { return m.Left + gutter + plot*part }
	window := func() {
		t.Helper()
		v := r.view()
		r.wait(fmt.Sprintf(`(() => { // in the next frame
			const s = document.querySelector("#timeline [data-part=minimap-window]").style;
			return Math.abs(parseFloat(s.left) - %f) < 1.5 && Math.abs(parseFloat(s.width) - %f) < 1.5;
		})()`, gutter+v.From/all.To*plot, v.wide()/all.To*plot))
	}
	window()
	r.must(r.page.Drag(x(0.375), y, x(0.625), y))
	r.looks("window dragged", view{all.To / 2, all.To * 3 / 4})
	window()
	r.must(r.page.Drag(x(0.75), y, x(0.9), y))
	r.looks("right handle dragged", view{all.To / 2, all.To * 0.9})
	window()
	r.must(r.page.Drag(x(0.5), y, x(0.6), y))
	r.looks("left handle dragged", view{all.To * 0.6, all.To * 0.9})
	window()
	r.must(r.page.ClickAt(x(0.2), y, 1))
	r.looks("click beside the window", view{all.To * 0.05, all.To * 0.35})
	window()
}

// matches waits until a search has ended that found so many.
func (r *reader) matches(query string, want int) {
	r.Helper()
	word := "matches"
	if want == 1 {
		word = "match"
	}
	text := grouped(want) + " " + word
	err := r.page.Wait(fmt.Sprintf(`document.querySelector("#timeline [data-part=search-progress]").hidden && document.querySelector("#timeline [data-part=matches]").value.split(";")[0] === %q`, text))
	if err != nil {
		r.must(fmt.Errorf("%s: it says %q, want %q", query, r.text("#timeline "+part("matches")), text))
	}
}

// grouped writes a number in threes.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// search types a query in the place of what is there.
func (r *reader) search(query string) {
	r.Helper()
	r.focus("#timeline-search")
	eval[bool](r, `(document.activeElement.select(), true)`)
	if query == "" {
		r.press(browser.Delete)
		return
	}
	r.must(r.page.Insert(query))
}

func TestSearch(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	says := func(c call, word string) bool {
		return strings.Contains(strings.ToLower(strings.Join(append([]string{c.f, c.node, c.failure}, c.lines...), "\n")), word)
	}
	for _, test := range []struct {
		query string
		is    func(c call) bool
	}{
		{"f:read", func(c call) bool { return c.f == "read" }},
		{"f:read outcome:ok", func(c call) bool { return c.f == "read" && c.outcome == "ok" }},
		{"f:read f:cas -node:n2", func(c call) bool { return (c.f == "read" || c.f == "cas") && c.node != "n2" }},
		{"process:3 0.2s..400ms", func(c call) bool { return c.process == 3 && c.end >= 200_000 && c.start <= 400_000 }},
		{"process:nemesis", func(c call) bool { return c.process == histories.Nemesis }},
		{"outcome:event", func(c call) bool { return c.outcome == "event" }},
		{"key:k2 outcome:fail", func(c call) bool { return strings.Contains(c.lines[0], `"value":["k2",`) && c.outcome == "fail" }},
		{"error:refused", func(c call) bool { return strings.Contains(c.failure, "refused") }},
		{"skew", func(c call) bool { return says(c, "skew") }},
		{"revision\":77,", func(c call) bool { return says(c, `revision":77,`) }},
		{"n5 -leader", func(c call) bool { return says(c, "n5") && !says(c, "leader") }},
		{"nothinghasthis", func(call) bool { return false }},
	} {
		want := number(all, test.is)
		if want == 0 && test.query != "nothinghasthis" {
			t.Errorf("%s: no call is found, which tests nothing", test.query)
		}
		r.search(test.query)
		r.matches(test.query, want)
	}

	// From match to match, by Enter and by buttons.
	reads := slices.DeleteFunc(slices.Clone(all), func(c call) bool { return c.f != "cas" || c.outcome != "fail" })
	r.search("f:cas outcome:fail")
	r.matches("f:cas outcome:fail", len(reads))
	r.press(browser.Enter)
	r.panel(reads[0])
	r.focus("#timeline-search")
	r.press(browser.Enter)
	r.panel(reads[1])
	r.click("#timeline " + part("match-next"))
	r.panel(reads[2])
	r.click("#timeline " + part("match-previous"))
	r.panel(reads[1])
	r.focus("#timeline-search")
	r.press(browser.Enter, browser.Shift)
	r.panel(reads[0])

	// What is misunderstood, is said.
	r.search("f:raed outcome:maybe")
	r.wait(`document.querySelector("#timeline [data-part=matches]").value.includes("there is no function raed")`)
	r.has("#timeline "+part("matches"), "no outcome is called maybe")
	r.search("outcome:constructor toString:7 __proto__:x") // which every object of a script has
	r.wait(`document.querySelector("#timeline [data-part=matches]").value.includes("no outcome is called constructor")`)
}

// pixels returns what stands for all pixels of a canvas: it differs if one does.
func (r *reader) pixels(selector string) string {
	r.Helper()
	return eval[string](r, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(async () => {
		const c = document.querySelector(`+quote(selector)+`);
		const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(c.toDataURL()));
		done([...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, "0")).join(""));
	})))`)
}

func TestOutcomesAreFiltered(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	const base = "#timeline [data-part=stage] canvas:first-child"
	plain := r.pixels(base)
	for _, outcome := range []string{"fail", "info", "event"} {
		button := "#timeline " + part("outcome-"+outcome)
		is(r, "document.querySelector('"+button+"').getAttribute('aria-pressed')", "false")
		r.click(button)
		is(r, "document.querySelector('"+button+"').getAttribute('aria-pressed')", "true")
		is(r, "document.querySelector('#timeline-search').value", "outcome:"+outcome)
		r.matches(outcome, number(all, func(c call) bool { return c.outcome == outcome || (outcome == "info" && c.outcome == "open") }))
		if r.pixels(base) == plain {
			t.Errorf("%s: nothing is dimmed", outcome)
		}
		r.click(button)
		is(r, "document.querySelector('#timeline-search').value", "")
	}
	if r.pixels(base) != plain {
		t.Error("without a filter it is not as it was")
	}
	r.click("#timeline " + part("outcome-event"))
	dimmed := r.pixels(base)
	high := eval[float64](r, "document.querySelector('#timeline [data-part=stage]').scrollHeight")
	r.choose("#timeline-others", "hide")
	if r.pixels(base) == dimmed {
		t.Error("nothing is hidden")
	}
	if now := eval[float64](r, "document.querySelector('#timeline [data-part=stage]').scrollHeight"); now >= high {
		t.Errorf("lanes without a match are still there: %v pixels, before %v", now, high)
	}
	// What is asked for is shown, whatever is hidden.
	first := at(t, all, r.document().Anomalies[0].Calls[0].Invoke)
	r.click(fmt.Sprintf("#anomaly-1 .op[data-op='%d']", first.invoke))
	r.panel(first)
	is(r, "document.querySelector('#timeline-others').value", "dim")
}

// choose chooses an option as one does with the keyboard.
func (r *reader) choose(selector, value string) {
	r.Helper()
	r.focus(selector)
	steps := eval[int](r, fmt.Sprintf("(() => { const s = document.querySelector(%s); return [...s.options].findIndex((o) => o.value === %s) - s.selectedIndex; })()", quote(selector), quote(value)))
	key := browser.Down
	if steps < 0 {
		key, steps = browser.Up, -steps
	}
	for range steps {
		r.press(key)
	}
	is(r, "document.querySelector("+quote(selector)+").value", value)
}

func TestGrouping(t *testing.T) {
	for _, test := range []struct {
		name   string
		source func(testing.TB) document.Source
		lanes  map[string]int
	}{
		{"register", invalid, map[string]int{"key": 10 + 1, "node": 5 + 1, "process": -1}},
		{"machines", machines, map[string]int{"machine": 2 + 1, "key": 2 + 1, "node": 2 + 1, "process": 3 + 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := show(t, test.source(t), desk)
			rows := eval[int](r, "hacheck.data.ops.rows")
			pictures := map[string]string{}
			for _, by := range []string{"key", "node", "machine", "process"} {
				lanes, ok := test.lanes[by]
				if !ok {
					is(r, "[...document.querySelector('#timeline-group').options].some((o) => o.value === '"+by+"')", false)
					continue
				}
				if lanes < 0 {
					lanes = rows
				}
				r.choose("#timeline-group", by)
				r.wait("document.querySelector('#timeline [data-part=said]').textContent === " + quote(fmt.Sprintf("by %s: %d lanes", by, lanes)))
				pictures[r.pixels("#timeline [data-part=stage] canvas:first-child")] = by
				r.shot()
			}
			if len(pictures) != len(test.lanes) {
				t.Errorf("%d groupings make %d pictures", len(test.lanes), len(pictures))
			}
		})
	}
}

func TestListOfOperations(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	const list = "#timeline [data-part=list]"
	is(r, "document.querySelector('"+list+"').hidden", true)
	r.click("#timeline " + part("list-toggle"))
	is(r, "document.querySelector('"+list+"').hidden", false)
	r.wait("document.querySelector('" + list + " caption') !== null")
	r.has(list+" caption", "The first 200 of "+grouped(len(all))+" operations in sight")

	v := view{500_000, 510_000}
	in := slices.DeleteFunc(slices.Clone(all), func(c call) bool { return float64(c.end) < v.From || float64(c.start) > v.To })
	if len(in) == 0 || len(in) > 200 {
		t.Fatalf("%d calls in sight", len(in))
	}
	r.look(v)
	r.wait(fmt.Sprintf("document.querySelectorAll('%s tbody tr').length === %d", list, len(in)))
	r.has(list+" caption", fmt.Sprintf("%d operations in sight, 0.500000 s to 0.510000 s", len(in)))
	for i, c := range in {
		r.has(fmt.Sprintf("%s tbody tr:nth-child(%d)", list, i+1), fmt.Sprintf("%.6f s", float64(c.start)/1e6), c.f, c.node)
	}
	failed := slices.DeleteFunc(slices.Clone(in), func(c call) bool { return c.outcome != "fail" })
	r.search("outcome:fail")
	r.wait(fmt.Sprintf("document.querySelectorAll('%s tbody tr').length === %d", list, len(failed)))
	reads := slices.DeleteFunc(in, func(c call) bool { return c.f != "read" })
	r.search("f:read")
	r.wait("document.querySelector('" + list + " caption').textContent.startsWith('" + fmt.Sprint(len(reads)) + " matching operations in sight')")
	r.click(list + " tbody tr:nth-child(2) button")
	r.panel(reads[1])
	r.wait("document.querySelector('" + list + " tr[aria-current]') === document.querySelector('" + list + " tbody tr:nth-child(2)')")
	r.click("#timeline " + part("list-toggle"))
	is(r, "document.querySelector('"+list+"').hidden", true)
}

func TestPanelGoesOnAlongTheProcess(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	first := at(t, all, r.document().Anomalies[0].Calls[0].Invoke)
	same := slices.DeleteFunc(slices.Clone(all), func(c call) bool { return c.process != first.process })
	i := slices.IndexFunc(same, func(c call) bool { return c.invoke == first.invoke })
	r.click(fmt.Sprintf("#anomaly-1 .op[data-op='%d']", first.invoke))
	r.panel(first)
	r.click(part("panel-next"))
	r.panel(same[i+1])
	r.press(browser.Enter) // the button has the focus still
	r.panel(same[i+2])
	r.click(part("panel-previous"))
	r.panel(same[i+1])
	for range i + 1 {
		r.click(part("panel-previous"))
	}
	r.panel(same[0])
	is(r, "document.querySelector('[data-part=panel-previous]').disabled", true)

	// And to the key's history.
	r.click(part("panel-key"))
	key := r.text(`[data-fact="key"]`)
	r.matches("key:"+key, number(all, func(c call) bool { return strings.Contains(c.lines[0], `"value":["`+key+`",`) }))
	r.click(part("panel-close"))
	is(r, "document.querySelector('.tl-panel').hidden", true)

	// In the picture, arrows go from call to call.
	r.search("")
	is(r, "document.querySelector('#timeline [data-part=matches]').value", "")
	r.click(fmt.Sprintf("#anomaly-1 .op[data-op='%d']", first.invoke))
	r.panel(first)
	r.focus(picture)
	r.press(browser.Right)
	r.panel(same[i+1])
	r.press(browser.Left)
	r.press(browser.Left)
	r.panel(same[i-1])
	r.press(browser.Up)
	r.wait(`document.querySelector('[data-fact="process"]').textContent !== "` + first.process.String() + `"`)
}

func TestAnomaliesInTheTimeline(t *testing.T) {
	r := show(t, invalid(t), desk)
	all := r.document().Anomalies
	if len(all) != 2 {
		t.Fatalf("%d anomalies", len(all))
	}
	at := func(i int) {
		t.Helper()
		r.has("#timeline "+part("said"), fmt.Sprintf("anomaly %d of 2: %s", i+1, all[i].Kind))
		is(r, fmt.Sprintf("hacheck.view.from <= %d && hacheck.view.to >= %d", all[i].From, all[i].To), true)
		is(r, "hacheck.view.to - hacheck.view.from < hacheck.view.duration / 2", true)
	}
	r.focus(picture)
	for _, step := range []struct {
		key  string
		want int
	}{{"n", 0}, {"n", 1}, {"n", 0}, {"p", 1}, {"p", 0}} {
		r.press(step.key)
		at(step.want)
	}
	r.press("0")
	r.click("#timeline " + part("anomaly-next"))
	at(1)
	r.click("#timeline " + part("anomaly-previous"))
	at(0)

	// A mark at the top leads there, too.
	r.press("0")
	r.look(view{0, float64(r.document().Duration)})
	b := r.box(picture)
	x := b.Left + gutter + (b.Width-gutter)*float64(all[1].From+all[1].To)/2/float64(r.document().Duration)
	r.must(r.page.Move(x, b.Top+28))
	r.wait("!document.querySelector('#timeline [data-part=tooltip]').hidden")
	r.has("#timeline "+part("tooltip"), "anomaly 2: "+all[1].Kind)
	r.must(r.page.ClickAt(x, b.Top+28, 1))
	at(1)
}

// TestPointingAtOperations moves the mouse over the picture, and clicks on what it finds there.
func TestPointingAtOperations(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	c := at(t, all, r.document().Anomalies[0].Calls[1].Invoke)
	r.look(view{float64(c.start) - 2000, float64(c.end) + 2000})
	b := r.box(picture)
	x := b.Left + gutter + (b.Width-gutter)/2
	want := fmt.Sprintf("at %.6f s", float64(c.start)/1e6)
	for y := b.Top + 30; ; y += 5 {
		if y > b.Top+b.Height {
			r.must(fmt.Errorf("no tooltip says %s", want))
		}
		r.must(r.page.Move(x, y))
		if strings.Contains(r.text("#timeline "+part("tooltip")), want) {
			r.must(r.page.ClickAt(x, y, 1))
			break
		}
	}
	r.has("#timeline "+part("tooltip"), c.f, "process "+c.process.String(), c.node)
	r.panel(c)
	r.press(browser.Escape)
	r.wait("document.querySelector('.tl-panel').hidden")
}
