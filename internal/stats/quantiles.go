package stats

import (
	"math"
	"slices"
)

// Quantile returns the value below which the share q of values lies: the smallest for 0, the
// median for 0.5, the greatest for 1, and between two of them in proportion, which is the seventh
// of the definitions that Hyndman and Fan compare ("Sample quantiles in statistical packages",
// 1996), and the one of R and NumPy. It panics without values, or with a q that is no share.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return quantile(sorted, q)
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		panic("stats: no values have no quantile")
	}
	if !(q >= 0 && q <= 1) {
		panic("stats: a quantile is from 0 to 1")
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i == len(sorted)-1 {
		return sorted[i]
	}
	low, high, part := sorted[i], sorted[i+1], at-float64(i)
	if part == 0 || low == high { // where both are infinite there is nothing between them
		return low
	}
	if math.IsInf(low, 0) || math.IsInf(high, 0) {
		if math.IsInf(low, -1) {
			return low
		}
		return high
	}
	return low + part*(high-low)
}

// MedianInterval returns bounds that hold the median of what values were drawn from with that
// confidence, whatever its distribution: the innermost two of the sorted values, as far from
// either end, that do (David and Nagaraja, "Order Statistics", 2003, section 7.1). Reached is the
// confidence that they have: more than was asked for as a rule, as values come in steps; less
// where there are too few for any bounds, and those are then the smallest and the greatest. It
// panics without values.
func MedianInterval(values []float64, confidence float64) (low, high, reached float64) {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	n := len(sorted)
	if n == 0 {
		panic("stats: no values have no median")
	}
	// The true median is below the value at i, counted from 0, if i or fewer of n flips of a
	// coin show heads.
	i := 0
	for i+1 < n-1-i-1 && 1-2*AtMost(i+1, n, 0.5) >= confidence {
		i++
	}
	return sorted[i], sorted[n-1-i], max(0, 1-2*AtMost(i, n, 0.5))
}

// MedianOrder returns the chances that the median of n values, drawn with replacement from so
// many of which each is greater than the one before, is each of those: the whole distribution of
// the bootstrap of a median, which need not be drawn (Efron, "Bootstrap methods: another look at
// the jackknife", 1979, section 3). Of an even n it is the greater of the two in the middle if
// upper, else the smaller.
func MedianOrder(n, from int, upper bool) []float64 {
	if n < 1 || from < 1 {
		panic("stats: no values have no median")
	}
	rank := (n + 1) / 2 // of the median, from 1
	if upper {
		rank = n/2 + 1
	}
	chances := make([]float64, from)
	before := 0.0
	for i := range chances {
		// It is at most the value at i if rank or more of n are.
		upTo := 1.0
		if i < from-1 {
			upTo = 1 - AtMost(rank-1, n, float64(i+1)/float64(from))
		}
		chances[i] = max(0, upTo-before)
		before = max(before, upTo)
	}
	return chances
}
