package checker

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// Did tells of a call in words, with who, where and when around what it did:
// "process 2 wrote k3 = 17 at n1 (1ms to 2ms)". What else is known of it stands before
// the time: "(revision 8, 1ms to 2ms)".
func Did[In, Out any](c histories.Call[In, Out], what string, known ...string) string {
	at := ""
	if c.Node != "" {
		at = " at " + c.Node
	}
	when := fmt.Sprintf("from %s on, outcome unknown", clock(c.Invoked))
	if c.Completed != histories.Never {
		when = clock(c.Invoked) + " to " + clock(c.Completed)
	}
	if c.Type == histories.Fail {
		when += ", refused"
	}
	return fmt.Sprintf("process %d %s%s (%s)", c.Process, what, at, strings.Join(append(known, when), ", "))
}

// clock leaves off of a time what nobody reads.
func clock(t time.Duration) string {
	if t > time.Millisecond {
		t = t.Round(time.Microsecond)
	}
	return t.String()
}

// Brief returns a duration, or a moment, as a person takes it in: with three digits, but
// with hundredths of a second however many there are.
func Brief(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Microsecond, "µs"}, {time.Millisecond, "ms"}, {time.Second, "s"}} {
		v := float64(d) / float64(unit.size)
		switch {
		case v < 1 && unit.size == time.Microsecond:
			return "0"
		case unit.size == time.Microsecond && v < 1000: // it is measured in these
			return fmt.Sprintf("%d %s", d/unit.size, unit.name)
		case v < 9.995 || unit.size == time.Second:
			return fmt.Sprintf("%.2f %s", v, unit.name)
		case v < 99.95:
			return fmt.Sprintf("%.1f %s", v, unit.name)
		case v < 999.5:
			return fmt.Sprintf("%.0f %s", v, unit.name)
		}
	}
	panic("unreachable: seconds are the last unit")
}

// Count returns n with its noun, e.g. "1 key", "3 keys".
func Count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Ops returns what an anomaly rests on if it rests on calls: the indices of their
// invocations and completions, ascending. Completions that say nothing, as they are
// indeterminate, are left out, and so are zero calls, which are none.
func Ops[In, Out any](calls ...histories.Call[In, Out]) []int {
	var ops []int
	for _, c := range calls {
		if c.F == "" {
			continue
		}
		ops = append(ops, c.Index)
		if c.Completion >= 0 && c.Type != histories.Info {
			ops = append(ops, c.Completion)
		}
	}
	slices.Sort(ops)
	return slices.Compact(ops)
}
