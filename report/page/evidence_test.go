package page

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/report/document"
)

// document returns the document that lies in the page.
func (r *reader) document() document.Document {
	r.Helper()
	return eval[document.Document](r, `JSON.parse(document.getElementById("document").textContent)`)
}

// ops returns the indices that elements name, such as bars and buttons of a table.
func (r *reader) ops(selector string) []int {
	r.Helper()
	return eval[[]int](r, "[...document.querySelectorAll("+quote(selector)+")].map((e) => Number(e.dataset.op))")
}

func invocations(calls []document.Call) (ops []int) {
	for _, c := range calls {
		ops = append(ops, c.Invoke)
	}
	return ops
}

// panel checks that the panel shows a call as the history has it, and that the call is in
// sight.
func (r *reader) panel(c call) {
	r.Helper()
	want := fmt.Sprintf("ops %d and %d", c.invoke, c.complete)
	if c.complete < 0 {
		want = fmt.Sprint("op ", c.invoke)
	}
	r.wait(`document.querySelector('.tl-panel:not([hidden]) [data-fact="in the history"]')?.textContent === ` + quote(want) +
		` && document.querySelector("[data-part=panel-invoke]") !== null`)
	for i, line := range c.lines {
		shown := part([]string{"panel-invoke", "panel-complete"}[i])
		if got, want := flat(r, r.text(shown)), escaped(flat(r, told(r, line))); got != want {
			r.Errorf("%s is\n%.500s, in the history\n%.500s", shown, got, want)
		}
	}
	is(r, fmt.Sprintf("hacheck.view.from <= %d && hacheck.view.to >= %d", c.end, c.start), true)
}

// escaped returns JSON as the page shows it: what turns text around is written with digits.
func escaped(line string) string {
	var b strings.Builder
	for _, r := range line {
		if turns(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// at returns the call whose invocation has that index.
func at(tb testing.TB, all []call, invoke int) call {
	tb.Helper()
	i := slices.IndexFunc(all, func(c call) bool { return c.invoke == invoke })
	if i < 0 {
		tb.Fatalf("no call was invoked by op %d", invoke)
	}
	return all[i]
}

func TestAnomalyByMouse(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	a := r.document().Anomalies[1]
	const here = "#anomaly-2 "
	is(r, "document.querySelector('#anomaly-1').open", true)
	is(r, "document.querySelector('#anomaly-2').open", false)
	r.click(here + "> summary")
	r.has(here+"> summary", a.Kind, a.Note)

	// The drawing, and the table below it.
	r.wait(fmt.Sprintf("document.querySelectorAll('%s.body > .drawing .call').length === %d", here, len(a.Calls)))
	if got, want := r.ops(here+".body > .drawing .call"), invocations(a.Calls); !slices.Equal(got, want) {
		t.Errorf("drawn are the calls of ops %v, want %v", got, want)
	}
	if got, want := r.ops(here+".body > .scroll .op"), invocations(a.Calls); !slices.Equal(got, want) {
		t.Errorf("the table has ops %v, want %v", got, want)
	}
	for i, c := range a.Calls {
		h := at(t, all, c.Invoke)
		r.has(fmt.Sprintf("%s.body > .scroll tbody tr:nth-child(%d)", here, i+1), h.process.String(), h.node, h.f, h.outcome,
			fmt.Sprintf("%.6f", float64(h.start)/1e6), fmt.Sprintf("%.6f", float64(h.end)/1e6))
	}
	arrows := eval[int](r, fmt.Sprintf("document.querySelectorAll('%s.body > .drawing .arrow').length", here))
	if arrows == 0 {
		t.Error("no arrow says what came after what")
	}
	r.shot()

	// The history of the key.
	r.click(here + part("around") + " > summary")
	table := here + part("around") + " .op"
	r.wait(fmt.Sprintf("document.querySelectorAll(%s).length === %d", quote(table), len(a.Around)))
	shown := r.ops(table)
	for _, op := range shown {
		if line := at(t, all, op).lines[0]; !strings.Contains(line, `"value":["`+a.Key+`",`) {
			t.Errorf("of another key than %s: %s", a.Key, line)
		}
	}
	for _, c := range a.Calls {
		if !slices.Contains(shown, c.Invoke) {
			t.Errorf("op %d is evidence, but not in the history about it", c.Invoke)
		}
	}
	is(r, fmt.Sprintf("document.querySelectorAll(%s).length", quote(here+part("around")+" tr.strong")), len(a.Calls))

	// A number in the table, and a bar of the drawing, lead to the timeline.
	r.click(fmt.Sprintf("%s.body > .scroll .op[data-op='%d']", here, a.Calls[0].Invoke))
	r.panel(at(t, all, a.Calls[0].Invoke))
	last := a.Calls[len(a.Calls)-1].Invoke
	r.click(fmt.Sprintf("%s.body > .drawing .call[data-op='%d']", here, last))
	r.panel(at(t, all, last))

	// And so does all of it.
	r.click(here + part("show-in-timeline"))
	is(r, fmt.Sprintf("hacheck.view.from <= %d && hacheck.view.to >= %d", a.From, a.To), true)
	if wide := eval[float64](r, "hacheck.view.to - hacheck.view.from"); wide > 1.5*float64(a.To-a.From) {
		t.Errorf("%v µs are in sight, for an anomaly of %v", wide, a.To-a.From)
	}
	r.inView("#timeline " + part("picture"))
	if want := "porcupine"; a.Artifact != "" {
		r.has(here+part("artifact"), want)
	}
}

// inView checks that a part of an element can be seen.
func (r *reader) inView(selector string) {
	r.Helper()
	r.wait("(() => { const b = document.querySelector(" + quote(selector) + ").getBoundingClientRect(); return b.top < innerHeight && b.bottom > 0; })()")
}

func TestAnomalyByKeyboard(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	all := callsOf(t, s.History)
	a := r.document().Anomalies[1]
	r.focus("#anomaly-2 > summary")
	r.press(browser.Enter)
	r.wait("document.querySelectorAll('#anomaly-2 .body > .drawing .call').length > 0")
	r.press(browser.Tab) // to the drawing: one of its bars, and from there by arrows
	is(r, "document.activeElement.dataset.op", strconv.Itoa(a.Calls[0].Invoke))
	r.has("#anomaly-2 .readout", "process "+a.Calls[0].Process, a.Calls[0].F)
	r.press(browser.Right)
	is(r, "document.activeElement.dataset.op", strconv.Itoa(a.Calls[1].Invoke))
	r.press(browser.End)
	r.press(browser.Left)
	r.press(browser.Home)
	is(r, "document.activeElement.dataset.op", strconv.Itoa(a.Calls[0].Invoke))
	r.press(browser.Right)
	r.press(browser.Enter)
	r.panel(at(t, all, a.Calls[1].Invoke))
	is(r, `document.activeElement.dataset.part`, "panel-title") // to be read, and left by Escape
	r.press(browser.Escape)
	is(r, "document.querySelector('.tl-panel').hidden", true)
	is(r, "document.activeElement.dataset.part", "picture")
}

// focus puts the focus on an element.
func (r *reader) focus(selector string) {
	r.Helper()
	is(r, "(() => { const e = document.querySelector("+quote(selector)+"); e.focus(); return document.activeElement === e; })()", true)
}

func TestOrderStepByStep(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	a := r.document().Anomalies[0]
	if a.Order == nil || len(a.Order.Partials) == 0 {
		t.Fatal("there is no order")
	}
	const here = "#anomaly-1 [data-part=order] "
	r.click(here + "> summary")
	r.wait("document.querySelector('" + here + part("state") + "') !== null")
	o, p := a.Order, a.Order.Partials[0]
	all := len(p.Steps)
	if all < 3 || len(p.Stuck) == 0 {
		t.Fatalf("%d steps, stuck are %v: this tests less than it should", all, p.Stuck)
	}
	at := func(step int) {
		t.Helper()
		state := p.Initial
		if step > 0 {
			state = p.Steps[step-1].State
		}
		r.has(here+part("state"), fmt.Sprintf("Step %d of %d: state %s", step, all, state))
		is(r, "document.querySelector('"+here+part("state")+"').textContent.includes('cannot come next')", step == all)
		is(r, "document.querySelector('"+here+part("step")+"').value", strconv.Itoa(step))
		r.has(here+"tr.present", state)
		stuck := eval[[]int](r, "[...document.querySelectorAll('"+here+".call.stuck')].map((e) => Number(e.dataset.op))")
		for _, i := range p.Stuck {
			if !slices.Contains(stuck, o.Calls[i].Invoke) {
				t.Errorf("step %d: op %d is not drawn as one that cannot come next", step, o.Calls[i].Invoke)
			}
		}
	}
	r.wait("document.querySelector('" + here + ".drawing .call') !== null")
	at(all)
	button := func(label string) { t.Helper(); r.click(here + "button[aria-label='" + label + "']") }
	button("Previous step")
	at(all - 1)
	r.shot()
	button("First step")
	at(0)
	button("Previous step")
	at(0)
	button("Next step")
	at(1)
	r.focus(here + part("step"))
	r.press(browser.Right)
	at(2)
	r.press(browser.End)
	at(all)
	if len(o.Partials) > 1 {
		r.focus(here + part("partial"))
		r.press(browser.Down)
		p, all = o.Partials[1], len(o.Partials[1].Steps)
		at(all)
	}
}

// TestMachinesOfAnAnomaly looks at the lanes of what went on beside the calls.
func TestMachinesOfAnAnomaly(t *testing.T) {
	r := show(t, machines(t), desk)
	const drawing = "#anomaly-1 .body > .drawing "
	r.wait("document.querySelector('" + drawing + ".slice') !== null")
	names := eval[[]string](r, "[...document.querySelectorAll('"+drawing+".names text')].map((e) => e.textContent)")
	for _, want := range []string{"machines", "vm1", "hosts", "n4", "n5"} {
		if !slices.Contains(names, want) {
			t.Errorf("no lane is called %s, of %q", want, names)
		}
	}
	is(r, "document.querySelectorAll('"+drawing+".slice.bad').length", 1)
	r.has(drawing+".slice.bad title", "vm1: n5, epoch 2", "which must not be") // not by a colour alone
	r.has(drawing+".band-name", "kill")
}
