package page

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/report/document"
)

// A call is an operation as a page should know it, made of a history alone.
type call struct {
	invoke, complete int // indices; complete is -1 if it never did
	start, end       document.Time
	process          histories.Process
	f, node, outcome string
	failure          string
	lines            []string // of the history's file
}

// unitOf is how long a time of a document is: a microsecond, but of a history that has a counter
// in place of a clock a nanosecond.
func unitOf(h *histories.History) time.Duration {
	if h.Duration() < time.Millisecond {
		return time.Nanosecond
	}
	return time.Microsecond
}

// callsOf returns the calls of a history, by their invocations.
func callsOf(tb testing.TB, h *histories.History) (all []call) {
	tb.Helper()
	lines := linesOf(tb, h)
	of := func(t time.Duration) document.Time { return document.Time(t / unitOf(h)) }
	for i, op := range h.All() {
		c := call{invoke: i, complete: -1, start: of(op.Time), end: of(h.Duration()), process: op.Process, f: op.F, node: op.Node,
			failure: op.Error, lines: lines[i : i+1 : i+1]}
		switch op.Type {
		case histories.Event:
			c.end, c.outcome = c.start, "event"
		case histories.Invoke:
			c.outcome = "open"
			if pair := h.Pair(i); pair >= 0 {
				done := h.At(pair)
				c.complete, c.end, c.outcome = pair, of(done.Time), done.Type.String()
				c.node, c.failure = cmp.Or(done.Node, op.Node), cmp.Or(done.Error, op.Error)
				c.lines = append(c.lines, lines[pair])
			}
		default:
			continue
		}
		all = append(all, c)
	}
	return all
}

// linesOf returns the lines of a history's file.
func linesOf(tb testing.TB, h *histories.History) []string {
	tb.Helper()
	var b bytes.Buffer
	if err := histories.Write(&b, h); err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// number returns how many calls there are of a kind.
func number(all []call, is func(c call) bool) (n int) {
	for _, c := range all {
		if is(c) {
			n++
		}
	}
	return n
}

// flat returns JSON without what only makes it readable.
func flat(tb testing.TB, text string) string {
	tb.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		tb.Errorf("%v in %.200q", err, text)
	}
	return b.String()
}
