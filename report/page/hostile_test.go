package page

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/browser"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
	"github.com/hacheck/hacheck/workloads"
)

// rudeness are texts that a system may use as names, keys, values and errors.
var rudeness = []string{
	`<img src=x onerror="window.hacked=1">`,
	`</script><script>window.hacked=2</script>`,
	`"><svg onload=window.hacked=3><!--`,
	"' onmouseover='window.hacked=4' \u2028\u2029 x",
	"\u202egnp.exe\u2066 right to left \x00\x07",
	`javascript:window.hacked=5//`,
	`&lt;b&gt; {{7*7}} ${window.hacked=6} %3Cimg%20src=x%3E ../../../etc/passwd`,
	`__proto__`,
	`constructor`,
	"half a letter: \xff\xc3",
	strings.Repeat("0123456789", 1000),
	strings.Repeat("<b>", 500),
}

// hostileRun is one in which all that a system can choose is rude.
func hostileRun(tb testing.TB) document.Source {
	tb.Helper()
	var ops []histories.Op
	now := time.Duration(0)
	add := func(op histories.Op) {
		now += 700 * time.Microsecond
		op.Time = now
		ops = append(ops, op)
	}
	text := func(s string) string {
		t, err := json.Marshal(s)
		if err != nil {
			tb.Fatal(err)
		}
		return string(t)
	}
	var witness []int
	var order checker.Order
	for i, s := range rudeness {
		call := histories.Op{Process: histories.Process(i), Type: histories.Invoke, F: s, Node: s, Value: json.RawMessage(fmt.Sprintf(`[%s,%s]`, text(s), text(s)))}
		add(call)
		call.Meta = json.RawMessage(`{` + text(s) + `:` + text(s) + `}`)
		switch call.Type = histories.OK; i % 3 {
		case 1:
			call.Type, call.Error = histories.Fail, s
		case 2:
			call.Type, call.Error = histories.Info, s
		}
		witness = append(witness, len(ops)-1, len(ops))
		order.Calls = append(order.Calls, len(ops)-1)
		add(call)
		fault := fmt.Sprintf(`{"id":%d,"fault":%s,"detail":{"nodes":[%[2]s],"shape":%[2]s,"node":%[2]s}}`, i, text(s))
		add(histories.Op{Process: histories.Nemesis, Type: histories.Invoke, F: s, Value: json.RawMessage(fault)})
		add(histories.Op{Process: histories.Nemesis, Type: histories.Info, F: s, Value: json.RawMessage(fault), Error: strings.Repeat(s, i%2)})
		add(histories.Op{Process: histories.Observer, Type: histories.Event, F: histories.State, Value: json.RawMessage(fmt.Sprintf(`{%s:{"role":"leader","term":%d,"leader":%[1]s}}`, text(s), i))})
		add(histories.Op{Process: histories.Observer, Type: histories.Event, F: histories.Gauges, Value: json.RawMessage(fmt.Sprintf(`{%s:{"sent_bytes":%d,"lost":%[2]d,"clocks":{"realtime":%[2]d}}}`, text(s), 1000*i))})
	}
	order.Partials = []checker.Partial{{Initial: rudeness[0], Stuck: order.Calls[1:2], Steps: []checker.PartialStep{{Op: order.Calls[0], State: rudeness[1]}}}}
	all := strings.Join(rudeness, " ")
	began := time.Date(2026, 11, 29, 1, 40, 10, 0, time.UTC)
	log := func(node string) document.LogFile {
		return document.LogFile{Node: node, Path: "logs/" + node, Open: func() (io.ReadCloser, error) {
			lines := "time=2026-11-29T01:40:10.000Z level=INFO msg=phase name=main\n"
			for i, s := range rudeness {
				lines += began.Add(time.Duration(i)*4*time.Millisecond).Format("2006-01-02T15:04:05.000Z ") + strings.ReplaceAll(s, "\n", " ") + "\n"
			}
			return io.NopCloser(strings.NewReader(lines)), nil
		}}
	}
	run := log("run.log")
	s := document.Source{
		Run: report.Run{
			Title: all, History: fresh(tb, ops), Trouble: rudeness,
			Where: func(artifact string) string { return artifact },
			Result: checker.Result{Name: "all", Verdict: checker.Invalid, Note: all, Parts: []checker.Result{{
				Name: rudeness[0], Verdict: checker.Invalid, Note: all, Counts: map[string]int64{rudeness[1]: 3, rudeness[7]: 4},
			}, {
				Name: "stats", Verdict: checker.Valid, Parts: []checker.Result{{Name: rudeness[1], Counts: map[string]int64{"ok": 4, "median_us": 700}}},
			}}},
		},
		Info: &store.Info{
			System: rudeness[0], Bug: rudeness[1], Workload: rudeness[2], Nemesis: rudeness, Began: began, Trouble: rudeness,
			LeftOut: rudeness, Limits: rudeness, Lab: map[string]string{rudeness[0]: rudeness[1]},
		},
		Schedule: all, RunLog: &run,
	}
	for i, text := range rudeness {
		s.Result.Parts[0].Anomalies = append(s.Result.Parts[0].Anomalies, checker.Anomaly{
			Kind: text, Note: text, Ops: witness[:2*(i%3)+2],
			Order: func(context.Context) (checker.Order, error) { return order, nil },
		})
		s.Tracks = append(s.Tracks, workloads.Track{Group: text, Name: text, Node: text, Slices: []workloads.Slice{
			{From: 0, To: now, Label: text, Class: text, Bad: i%2 == 0, Op: 0},
		}}, workloads.Track{Group: "machines", Name: text, Slices: []workloads.Slice{{To: histories.Never, Label: text, Class: text, Op: -1}}})
		s.Next = append(s.Next, report.Next{Purpose: text, Command: text})
		s.Files = append(s.Files, document.File{Path: text, About: text})
		s.Logs = append(s.Logs, log(text))
	}
	return s
}

// told returns a text as JSON tells it: each byte that is none of UTF-8 is a letter of its own.
func told(tb testing.TB, s string) (t string) {
	tb.Helper()
	if err := json.Unmarshal([]byte(quote(s)), &t); err != nil {
		tb.Fatal(err)
	}
	return t
}

// straight returns a text as the page shows it: what turns text around is replaced.
func straight(s string) string {
	return strings.Map(func(r rune) rune {
		if turns(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// turns says whether a character turns the text behind it around.
func turns(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// tame checks that nothing of what is rude has become anything but text.
func (r *reader) tame(when string) {
	r.Helper()
	for expression, want := range map[string]string{
		"String(window.hacked)": "undefined",
		`[...document.querySelector("main").innerText].filter((c) => /[\u202a-\u202e\u2066-\u2069]/.test(c)).length + ""`:                                                                   "0",
		"[...document.querySelectorAll('img, iframe, object, embed, link:not([rel=icon]), base, form, [src], [style*=url]')].map((e) => e.outerHTML.slice(0, 100)).join()":                  "",
		"[...document.querySelectorAll('script')].map((e) => e.id).sort().join()":                                                                                                           ",document",
		"[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames()).filter((n) => n.startsWith('on')).join()":                                                                "",
		"[...document.querySelectorAll('[href]:not(link)')].map((e) => e.getAttribute('href')).filter((h) => !/^(#|\\.\\/(?!\\.\\.\\/)|blob:)/.test(h)).map((h) => h.slice(0, 100)).join()": "",
		"[...document.querySelectorAll('[href^=\"./\"]')].filter((a) => !a.href.startsWith(new URL('.', location.href).href)).map((a) => a.href).join()":                                    "",
	} {
		if got := eval[string](r, expression); got != want {
			r.Errorf("%s: %s is %.300q, want %q", when, expression, got, want)
		}
	}
}

func TestHostileContentIsText(t *testing.T) {
	s := hostileRun(t)
	r := show(t, s, desk)
	doc := r.document()
	r.tame("at first")
	is(r, "document.querySelectorAll('.failed').length", 0)
	is(r, "document.querySelector('[data-part=title]').textContent === "+quote(straight(doc.Title)), true)
	is(r, "document.title.includes('<script>')", true)
	if want := told(t, s.Title); doc.Title != want {
		t.Errorf("the title is %.200q, want %.200q", doc.Title, want)
	}

	// Each anomaly with all that is in it.
	if len(doc.Anomalies) != len(rudeness) {
		t.Fatalf("%d anomalies", len(doc.Anomalies))
	}
	r.unfold()
	for i, text := range rudeness {
		text = straight(told(t, text))
		is(r, fmt.Sprintf("document.querySelector('#anomaly-%d .kind').textContent === %s", i+1, quote(fmt.Sprintf("%d. %s", i+1, text))), true)
		is(r, fmt.Sprintf("document.querySelectorAll('#anomaly-%d .body > .drawing .call').length", i+1), len(doc.Anomalies[i].Calls))
	}
	r.tame("with all that there is")

	// Each call in the panel, by each grouping.
	all := callsOf(t, s.History)
	for _, by := range []string{"key", "node", "machine", "process"} {
		r.choose("#timeline-group", by)
		for i, c := range all {
			if i%13 == len(by) {
				eval[bool](r, fmt.Sprintf("(hacheck.timeline.reveal(%d), true)", c.invoke))
				r.panel(c)
			}
		}
		b := r.box(picture)
		r.press("0")
		for i := 0.0; i < 1; i += 0.15 {
			r.must(r.page.Move(b.Left+b.Width*(0.05+i*0.9), b.Top+b.Height*i))
		}
		r.tame("by " + by)
	}
	r.click("#timeline " + part("list-toggle"))
	for i := range rudeness { // the history of each key
		c := all[slices.IndexFunc(all, func(c call) bool { return c.process == histories.Process(i) })]
		eval[bool](r, fmt.Sprintf("(hacheck.timeline.reveal(%d), true)", c.invoke))
		r.panel(c)
		r.click(part("panel-key"))
		r.matches(rudeness[i], 1)
		r.wait("document.querySelectorAll('[data-part=list] tbody tr').length === 1")
	}
	r.click("#timeline " + part("anomaly-next"))
	for _, c := range doc.Charts {
		if len(c.Lines)+len(c.Points) == 0 {
			continue
		}
		chart := r.chart(c.ID)
		b := r.box(chart + ".u-over")
		x, y := b.middle()
		r.must(r.page.Move(x, y))
		if n := r.inked(chart + "canvas"); n < 500 {
			t.Errorf("chart %s: %d pixels are drawn", c.ID, n)
		}
	}
	r.click("#again [data-part=logs] " + part("beside"))
	if _, err := r.page.PDF(); err != nil {
		t.Error(err)
	}
	r.tame("in the end")
	is(r, "document.querySelectorAll('.failed').length", 0)
	r.fits("on a desk")
	r.shot()
	r.as(browser.Look{Width: phone.Width, Height: phone.Height})
	r.fits("on a phone")
	r.shot()
}
