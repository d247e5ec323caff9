package page

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/report/document"
)

// TestCoverage goes from faults to the timeline.
func TestCoverage(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	doc := r.document()
	is(r, "document.querySelectorAll('#coverage [data-part=fault-jump]').length", len(doc.Faults))
	for i, f := range doc.Faults {
		row := fmt.Sprintf("#coverage table.faults tbody tr:nth-child(%d) ", i+1)
		r.has(row, f.Name, strconv.FormatInt(f.OK, 10), strconv.FormatInt(f.Info, 10))
		if f.Failed != "" {
			r.has(row, "failed: "+f.Failed)
		} else {
			r.has(row, f.Evidence)
		}
		r.click(row + part("fault-jump"))
		to := f.To
		if to == document.Open {
			to = doc.Duration
		}
		is(r, fmt.Sprintf("hacheck.view.from <= %d && hacheck.view.to >= %d", f.From, to), true)
		r.inView(picture)
	}
	r.click("#coverage " + part("counts") + " > summary")
	r.wait("document.querySelector('#coverage [data-part=counts] table') !== null")
	for _, p := range doc.Parts {
		for name, n := range p.Counts {
			r.has("#coverage "+part("counts"), p.Name, name, grouped(int(n)))
		}
	}
}

func TestAgain(t *testing.T) {
	s := invalid(t)
	r := show(t, s, desk)
	for i, next := range s.Next {
		command := fmt.Sprintf("#again [data-part=command]:nth-child(%d) ", i+1)
		r.has(command+".purpose", strings.TrimSuffix(next.Purpose, ":"))
		r.has(command+"code", next.Command)
		button := command + part("copy")
		r.click(button)
		r.wait("document.querySelector('" + button + "').textContent === 'Copied'")
	}
	// What it copies: the page cannot be asked for what lies on the clipboard, but for what it
	// puts there.
	eval[bool](r, `(Object.defineProperty(navigator, "clipboard", { value: { writeText: async (t) => { window.copied = t; } } }), true)`)
	r.click("#again " + part("schedule") + " " + part("copy"))
	r.wait("window.copied === " + quote(s.Schedule))
	r.click("#again [data-part=command] " + part("copy"))
	r.wait("window.copied === " + quote(s.Next[0].Command))

	name, content, err := r.page.Download("#again "+part("download"), t.TempDir())
	r.must(err)
	if name != "schedule.yaml" || string(content) != s.Schedule {
		t.Errorf("downloaded is %s with %q, want %q", name, content, s.Schedule)
	}
	for _, f := range s.Files {
		r.has("#again "+part("files"), f.Path, f.About)
	}
	is(r, "document.querySelector('#again [data-part=files] a').getAttribute('href')", "./history.jsonl")
	r.has("#again "+part("facts"), "raftkv", "register", "seed", "4")
}

func TestLogsAroundAMoment(t *testing.T) {
	r := show(t, invalid(t), desk)
	doc := r.document()
	lines := func(from, to float64) (n int) {
		for _, l := range doc.Logs {
			for _, line := range l.Lines {
				if float64(line.Time) >= from && float64(line.Time) <= to {
					n++
				}
			}
		}
		return n
	}
	const logs = "#again [data-part=logs] "
	shows := func(from, to float64) {
		t.Helper()
		n := lines(from, to)
		if n == 0 {
			t.Fatalf("no line is from %v to %v", from, to)
		}
		r.wait(fmt.Sprintf("document.querySelectorAll('%stable.lines tbody tr').length === %d", logs, min(n, 400)))
		r.has(logs+"[aria-live]", grouped(n)+" line")
	}
	a := doc.Anomalies[0]
	middle := float64(a.From+a.To) / 2
	r.box(logs)
	shows(middle-500_000, middle+500_000) // at first: around the first anomaly
	r.choose(logs+part("about"), "0.1")
	at := eval[float64](r, "Number(document.querySelector('"+logs+part("moment")+"').value)") * 1e6
	shows(at-100_000, at+100_000)
	r.shot()

	// To a fault, by what one can choose from.
	f := doc.Faults[1]
	index := 1 + len(doc.Anomalies) + 1
	eval[bool](r, fmt.Sprintf("(() => { const s = document.querySelector('%s[data-part=moments]'); s.selectedIndex = %d; s.dispatchEvent(new Event('change')); return true; })()", logs, index))
	is(r, "document.querySelector('"+logs+part("moment")+"').value", fmt.Sprintf("%.3f", float64(f.From)/1e6))
	shows(float64(f.From)-100_000, float64(f.From)+100_000)

	// A moment that is typed.
	r.focus(logs + part("moment"))
	eval[bool](r, "(document.activeElement.select(), true)")
	r.must(r.page.Insert("0.5"))
	r.press("\r")
	shows(400_000, 600_000)

	r.look(view{200_000, 260_000})
	r.click(logs + part("shown"))
	shows(200_000, 260_000)
	b := r.box(picture)
	r.must(r.page.Move(b.Left+gutter+(b.Width-gutter)/2, b.Top+5))
	r.wait("!document.querySelector('" + logs + part("pointed") + "').disabled")
	r.click(logs + part("pointed"))
	is(r, "document.querySelector('"+logs+part("moment")+"').value", "0.230")

	r.click(logs + part("beside"))
	is(r, "document.querySelectorAll('"+logs+".beside > div').length", len(doc.Logs))
	r.shot()
}

// TestParts goes through the bar at the top.
func TestParts(t *testing.T) {
	r := show(t, invalid(t), desk)
	for _, id := range []string{"evidence", "timeline", "charts", "coverage", "again"} {
		r.click("header nav a[href='#" + id + "']")
		r.wait("Math.abs(document.getElementById('" + id + "').getBoundingClientRect().top - 40) < 2 || scrollY + innerHeight >= document.documentElement.scrollHeight - 1")
		r.inView("#" + id + " h2")
	}
	is(r, "document.querySelector('header .badge').textContent", "2")
}
