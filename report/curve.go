package report

import (
	"fmt"
	"html"
	"io"
	"strings"
	"time"
)

// A Point is how many there were of something by a time.
type Point struct {
	Time  time.Duration
	Value int
	About string // what was new then
}

// The sizes of a curve, in pixels.
const (
	curveWidth, curveHeight = 720, 320
	curveLeft, curveRight   = 56, 20 // margins
	curveTop, curveBottom   = 40, 44
	dotRadius               = 3
	maxDots                 = 400 // a dot that cannot be told from the next says nothing
)

// Curve draws how a number grew up to end, as SVG: that it did not grow any more is as
// telling as that it did. A pointer that rests on a step is told what was new there.
func Curve(w io.Writer, title string, end time.Duration, points []Point) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", curveWidth, curveHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", curveWidth, curveHeight)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-size="15">%s</text>`+"\n", curveLeft, html.EscapeString(title))
	last, most := max(time.Second, end), 1
	for _, p := range points {
		last, most = max(last, p.Time), max(most, p.Value)
	}
	x := func(t time.Duration) float64 {
		return curveLeft + (curveWidth-curveLeft-curveRight)*t.Seconds()/last.Seconds()
	}
	y := func(v int) float64 {
		return curveHeight - curveBottom - (curveHeight-curveTop-curveBottom)*float64(v)/float64(most)
	}
	for step, v := round(most), 0; v <= most; v += step {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%d</text>`+"\n",
			curveLeft, y(v), curveWidth-curveRight, curveLeft-6, y(v)+4, v)
	}
	for step, s := round(int(last.Seconds())), 0; s <= int(last.Seconds()); s += step {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d s</text>`+"\n", x(time.Duration(s)*time.Second), curveHeight-curveBottom+18, s)
	}
	if len(points) > 0 {
		fmt.Fprintf(&b, `<path fill="none" stroke="#2266bb" stroke-width="2" d="M%d %.1f`, curveLeft, y(0))
		for _, p := range points {
			fmt.Fprintf(&b, "H%.1fV%.1f", x(p.Time), y(p.Value))
		}
		fmt.Fprintf(&b, `H%.1f"/>`+"\n", x(last))
		for i, p := range points {
			if i%(len(points)/maxDots+1) == 0 {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="%d" fill="#2266bb"><title>%.1f s: %d, %s</title></circle>`+"\n",
					x(p.Time), y(p.Value), dotRadius, p.Time.Seconds(), p.Value, html.EscapeString(p.About))
			}
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// round returns a step such as 1, 2, 5, 10, ... of which there are about five up to
// most.
func round(most int) int {
	for step := 1; ; step *= 10 {
		for _, s := range []int{step, 2 * step, 5 * step} {
			if most/s <= 6 {
				return s
			}
		}
	}
}
