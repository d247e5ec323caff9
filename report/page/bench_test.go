package page

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/document"
)

// timed is when a page had done what, in milliseconds since it was asked for.
const timed = `(() => {
	const at = (name) => performance.getEntriesByName(name)[0]?.startTime ?? 0;
	return { Paint: at("first-contentful-paint"), Drawing: at("hacheck:first-drawing"), Complete: at("hacheck:complete") };
})()`

// panning moves a part of the run through the picture, and returns how long each of 60 frames
// took, from one to the next, and how much of that was the drawing.
const panning = `(async () => {
	const { view } = hacheck, width = view.duration * %g;
	const frame = () => new Promise((go) => requestAnimationFrame(go));
	const took = [];
	view.show((view.duration - width) / 2, (view.duration + width) / 2);
	await frame();
	let last = await frame();
	for (let i = 0; i < 60; i++) {
		view.show(view.from + width / 100, view.to + width / 100);
		const now = await frame();
		took.push(now - last);
		last = now;
	}
	return { Took: took, Drew: hacheck.timeline.frames().slice(-60) };
})()`

// BenchmarkPage opens pages of histories of several sizes. A page is to have at most 10 MB, and
// to be drawn first after at most 2 s; 33 ms a frame are 30 of them a second. What is measured
// of a frame is the time to the next one, which a browser without a screen makes 60 times a
// second at most.
func BenchmarkPage(b *testing.B) {
	for _, calls := range []int{0, 1, 10_000, 1_000_000} {
		b.Run(strconv.Itoa(calls), func(b *testing.B) {
			html := bytesOf(b, calls)
			var last *reader
			var drawing, complete []float64
			for b.Loop() {
				if last != nil {
					last.close()
				}
				last = open(b, html, desk)
				mark := "hacheck:complete"
				if calls == 0 {
					mark = "first-contentful-paint"
				}
				last.wait("performance.getEntriesByName('" + mark + "').length > 0")
				at := eval[struct{ Paint, Drawing, Complete float64 }](last, timed)
				if calls == 0 { // there is nothing to draw but the page
					at.Drawing, at.Complete = at.Paint, at.Paint
				}
				drawing, complete = append(drawing, at.Drawing), append(complete, at.Complete)
			}
			b.ReportMetric(float64(len(html))/1e6, "MB")
			b.ReportMetric(quantile(drawing, 0.5), "ms-first-drawing")
			b.ReportMetric(quantile(complete, 0.5), "ms-complete")
			if calls < 2 {
				return
			}
			for _, part := range []struct {
				name string
				of   float64
			}{{"whole", 1}, {"half", 0.5}, {"hundredth", 0.01}, {"few", 200 / float64(calls)}} {
				frames := eval[struct{ Took, Drew []float64 }](last, fmt.Sprintf(panning, part.of))
				b.ReportMetric(quantile(frames.Took, 0.5), part.name+"-ms/frame")
				b.ReportMetric(quantile(frames.Took, 0.95), part.name+"-ms/frame-p95")
				b.ReportMetric(quantile(frames.Drew, 0.5), part.name+"-ms/drawing")
			}
		})
	}
}

// bytesOf returns the page of a run of register with so many calls, and with an anomaly.
func bytesOf(b *testing.B, calls int) []byte {
	b.Helper()
	h := fresh(b, nil)
	if calls > 0 {
		h = registerRun(b, calls, 1)
	}
	s := document.Source{Run: report.Run{Title: fmt.Sprint(calls, " calls"), History: h, Result: checker.Result{Name: "linearizable", Verdict: checker.Valid}}}
	if calls > 1 {
		s.Result.Verdict = checker.Invalid
		s.Result.Anomalies = []checker.Anomaly{{Kind: "stale read", Note: "as if it were one", Ops: evidence(h)}}
	}
	var page bytes.Buffer
	if err := Write(b.Context(), &page, s); err != nil {
		b.Fatal(err)
	}
	return page.Bytes()
}

// evidence returns the ops of a call in the middle.
func evidence(h *histories.History) []int {
	for i := h.Len() / 2; ; i++ {
		if h.At(i).Type == histories.Invoke && h.Pair(i) >= 0 {
			return []int{i, h.Pair(i)}
		}
	}
}

func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
