package agent

import (
	"math"
	"testing"
	"time"
)

// TestPermitsEndBeforeLeasesByAnyClocks: whatever the factor, and however the clocks go that
// it allows for, the worst of both as [ClockRate] reckons.
func TestPermitsEndBeforeLeasesByAnyClocks(t *testing.T) {
	q := math.Sqrt(ClockRate)
	taken := 0
	for factor := 0.01; factor < 100; factor *= 1.1 {
		if CheckTimeouts(factor) != nil {
			continue
		}
		taken++
		c := Config{Timeouts: factor}
		lease, every := c.scaled(LeaseTTL), c.scaled(keepAliveEvery)
		slowest := time.Duration(float64(permits(lease)) * q) // true time, on a slow clock
		soonest := time.Duration(float64(lease) / q)          // on the fast clock of the store
		if left := soonest - slowest; left < fenceMargin {
			t.Errorf("factor %v: guests have %v to be gone", factor, left)
		}
		if fastest := time.Duration(float64(permits(lease)) / q); fastest < 2*every {
			t.Errorf("factor %v: a host is fenced after %v, and asks every %v", factor, fastest, every)
		}
	}
	if taken < 50 {
		t.Errorf("%d factors were taken", taken)
	}
}

func TestLeaseThatIsTooShortIsRefused(t *testing.T) {
	for _, factor := range []float64{-1, math.NaN(), math.Inf(-1), 0.001, 0.05, 0.14} {
		if CheckTimeouts(factor) == nil {
			t.Errorf("%v was taken", factor)
		}
	}
	for _, factor := range []float64{0, 0.15, 0.5, 1, 3, 10} {
		if err := CheckTimeouts(factor); err != nil {
			t.Error(err)
		}
	}
}
