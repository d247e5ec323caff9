package checker_test

import (
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
)

// TestDurationsAreBrief: three digits, but of seconds always hundredths, since moments
// late in a run are told so, too.
func TestDurationsAreBrief(t *testing.T) {
	const µs, ms, s = time.Microsecond, time.Millisecond, time.Second
	for d, want := range map[time.Duration]string{
		0: "0", 999 * time.Nanosecond: "0", 1 * µs: "1 µs", 419 * µs: "419 µs", 999*µs + 999: "999 µs",
		5294 * µs: "5.29 ms", 9996 * µs: "10.0 ms", 31*ms + 40*µs: "31.0 ms", 99_960 * µs: "100 ms",
		250 * ms: "250 ms", 999_400 * µs: "999 ms", 999_600 * µs: "1.00 s", 1234 * ms: "1.23 s",
		11_264 * ms: "11.26 s", 2 * time.Minute: "120.00 s",
	} {
		if got := checker.Brief(d); got != want {
			t.Errorf("%d ns is %q, want %q", d, got, want)
		}
	}
}
