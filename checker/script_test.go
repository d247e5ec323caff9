package checker_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// TestScripts runs the files of testdata: a history, and what a checker says, with
// the argument counts in numbers, too.
// Rewrite them with -rewrite, and read the diff.
func TestScripts(t *testing.T) {
	checkers := map[string]checker.Checker{
		"stats":        checker.Stats("read", "write"),
		"faults":       checker.Faults(),
		"linearizable": checker.Linearizable(cell(), checker.Budget{}),
		"recovery":     checker.Recovery(reads),
		"availability": checker.Availability(),
	}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			h, err := checkertest.Parse(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := checkers[d.Cmd].Check(t.Context(), h)
			if err != nil {
				return "error: " + err.Error() + "\n"
			}
			if d.Cmd == "linearizable" {
				if _, err := checkertest.Orders(t.Context(), h, cell(), r); err != nil {
					d.Fatalf(t, "%v", err)
				}
			}
			if d.HasArg("counts") {
				return checkertest.Format(r) + counts(r, "")
			}
			return checkertest.Format(r)
		})
	})
}

// counts returns the counts of a result and of its parts, those of each on a line, and their
// samples.
func counts(r checker.Result, of string) string {
	var b strings.Builder
	if of += r.Name; len(r.Counts) > 0 {
		fmt.Fprintf(&b, "%s:", of)
		for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
			fmt.Fprintf(&b, " %s=%d", name, r.Counts[name])
		}
		for _, name := range slices.Sorted(maps.Keys(r.Samples)) {
			fmt.Fprintf(&b, " %s=%d", name, r.Samples[name])
		}
		b.WriteByte('\n')
	}
	for _, part := range r.Parts {
		b.WriteString(counts(part, of+"/"))
	}
	return b.String()
}

// reads says that each function is a key, which an ok call reads. That of "odd"
// cannot be told.
func reads(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	read := map[string]bool{}
	var all []string
	for i, op := range h.All() {
		if op.Process < 0 || op.Type != histories.Invoke {
			continue
		}
		if op.F == "odd" {
			return 0, nil, errors.New("that is odd")
		}
		if _, known := read[op.F]; !known {
			all = append(all, op.F)
			read[op.F] = false
		}
		if end := h.Pair(i); end >= 0 && h.At(end).Type == histories.OK && op.Time > since {
			read[op.F] = true
		}
	}
	for _, f := range all {
		if !read[f] {
			unread = append(unread, f)
		}
	}
	return len(all), unread, nil
}
