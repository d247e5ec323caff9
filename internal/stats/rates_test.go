package stats_test

import (
	"fmt"
	"testing"

	"github.com/hacheck/hacheck/internal/stats"
)

func TestAtMost(t *testing.T) {
	// By whole numbers: of 10 flips of a coin.
	sum := 0.0
	for k, ways := range []float64{1, 10, 45, 120, 210, 252, 210, 120, 45, 10, 1} {
		sum += ways / 1024
		near(t, fmt.Sprint(k), stats.AtMost(k, 10, 0.5), sum, 1e-12)
	}
	near(t, "many", stats.AtMost(5000, 10000, 0.5), 0.50399, 0.00001)
	if stats.AtMost(-1, 3, 0.5) != 0 || stats.AtMost(0, 3, 0) != 1 || stats.AtMost(2, 3, 1) != 0 || stats.AtMost(3, 3, 1) != 1 {
		t.Error("what cannot be otherwise is")
	}
}

func TestMostRate(t *testing.T) {
	for _, c := range []struct {
		failures, runs   int
		confidence, want float64
	}{
		// 1-0.05^(1/n) without a failure.
		{0, 1, 0.95, 0.95}, {0, 10, 0.95, 0.2589}, {0, 59, 0.95, 0.0495},
		// The upper bounds of 95 % on two sides, which leave 2.5 % above: the tables by Clopper
		// and Pearson as in Zar, "Biostatistical analysis"; the last is Mendel's peas, in the help of R's
		// binom.test.
		{1, 10, 0.975, 0.4450}, {5, 10, 0.975, 0.8129}, {7, 20, 0.975, 0.5922}, {682, 925, 0.975, 0.76541},
		{0, 0, 0.95, 1}, {3, 3, 0.95, 1},
	} {
		near(t, fmt.Sprint(c), stats.MostRate(c.failures, c.runs, c.confidence), c.want, 0.00006)
	}
	for runs := 1; runs < 40; runs++ {
		last := 0.0
		for failures := range runs {
			most := stats.MostRate(failures, runs, 0.95)
			if most <= last || most <= float64(failures)/float64(runs) {
				t.Fatalf("%d of %d: %v, and %v for one less", failures, runs, most, last)
			}
			if fewer := stats.MostRate(failures, runs+1, 0.95); fewer >= most {
				t.Fatalf("a clean run made %v of %v", fewer, most)
			}
			last = most
		}
	}
}

// From the tables of Student's distribution (Abramowitz and Stegun, table 26.10).
func TestStudent(t *testing.T) {
	for _, c := range []struct {
		degrees    int
		tail, want float64
	}{
		{1, 0.05, 6.314}, {1, 0.01, 31.821}, {2, 0.01, 6.965}, {3, 0.005, 5.841}, {4, 0.01, 3.747}, {8, 0.01, 2.896}, {9, 0.025, 2.262}, {10, 0.001, 4.144}, {30, 0.05, 1.697}, {120, 0.01, 2.358}, {5, 0.5, 0},
	} {
		near(t, fmt.Sprint(c), stats.Student(c.degrees, c.tail), c.want, 0.0006)
	}
	near(t, "many degrees", stats.Beyond(stats.Student(5000, 0.01)), 0.01, 0.0001)
	near(t, "the normal", stats.Beyond(1.959964), 0.025, 1e-7)
}
