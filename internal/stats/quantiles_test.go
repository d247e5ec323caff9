package stats_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/internal/stats"
)

func TestQuantile(t *testing.T) {
	// Of 1 to 5, 2 to 5 and so on by type 7, as R's quantile gives it.
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.1: 1.4, 0.25: 2, 0.5: 3, 0.9: 4.6, 0.99: 4.96, 1: 5} {
		near(t, "of five", stats.Quantile(values, q), want, 1e-12)
	}
	if !slices.Equal(values, []float64{5, 1, 4, 2, 3}) {
		t.Errorf("it has sorted what it was shown: %v", values)
	}
	near(t, "the median of four", stats.Quantile([]float64{1, 2, 3, 10}, 0.5), 2.5, 1e-12)
	near(t, "of one", stats.Quantile([]float64{7}, 0.99), 7, 0)
	inf := math.Inf(1)
	if got := stats.Quantile([]float64{1, 2, inf, inf}, 0.5); got != inf {
		t.Errorf("between a value and no bound lies %v", got)
	}
	if got := stats.Quantile([]float64{1, 2, inf}, 0.5); got != 2 {
		t.Errorf("got %v", got)
	}
	for _, wrong := range []func(){
		func() { stats.Quantile(nil, 0.5) },
		func() { stats.Quantile(values, 1.1) },
		func() { stats.Quantile(values, math.NaN()) },
		func() { stats.MedianInterval(nil, 0.95) },
		func() { stats.MedianOrder(0, 3, true) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it has an answer where there is none")
				}
			}()
			wrong()
		}()
	}
}

// The ranks and confidences of the table of intervals for a median in Conover, "Practical
// nonparametric statistics"; each follows from the binomial distribution.
func TestMedianInterval(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high float64 // ranks, from 1
		reached   float64
	}{
		{1, 1, 1, 0}, {2, 1, 2, 0.5}, {5, 1, 5, 0.9375}, {6, 1, 6, 0.96875}, {8, 1, 8, 0.9922}, {9, 2, 8, 0.9609}, {10, 2, 9, 0.9785}, {20, 6, 15, 0.9586}, {25, 8, 18, 0.9567},
	} {
		values := make([]float64, c.n)
		for i := range values {
			values[i] = float64(c.n - i)
		}
		low, high, reached := stats.MedianInterval(values, 0.95)
		if low != c.low || high != c.high {
			t.Errorf("of %d: got %v and %v, want %v and %v", c.n, low, high, c.low, c.high)
		}
		near(t, "its confidence", reached, c.reached, 0.0001)
	}
}

func TestIntervalsHoldTheTruthAsOftenAsTheySay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const trials = 600
	held := 0
	for range trials {
		values := make([]float64, 21)
		for i := range values {
			values[i] = math.Exp(r.NormFloat64()) // its median is 1
		}
		if low, high, _ := stats.MedianInterval(values, 0.95); low <= 1 && 1 <= high {
			held++
		}
	}
	if held < trials*93/100 {
		t.Errorf("%d of %d hold the median", held, trials)
	}
}

func TestTheDistributionOfABootstrappedMedianIsThatOfResamples(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, c := range []struct{ n, from int }{{1, 4}, {2, 3}, {5, 7}, {8, 5}, {9, 1}} {
		for _, upper := range []bool{false, true} {
			got := stats.MedianOrder(c.n, c.from, upper)
			const trials = 20000
			counts := make([]float64, c.from)
			resample := make([]int, c.n)
			for range trials {
				for i := range resample {
					resample[i] = r.IntN(c.from)
				}
				slices.Sort(resample)
				at := resample[(c.n-1)/2]
				if upper {
					at = resample[c.n/2]
				}
				counts[at] += 1.0 / trials
			}
			sum := 0.0
			for i := range got {
				near(t, "a share of resamples", got[i], counts[i], 0.015)
				sum += got[i]
			}
			near(t, "all chances", sum, 1, 1e-12)
		}
	}
}
