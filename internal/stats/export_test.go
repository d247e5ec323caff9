package stats

import "math"

// NormalMannWhitney is the approximation, also where MannWhitney counts.
func NormalMannWhitney(before, after []float64) float64 {
	_, sum, ties := rank(before, after)
	return normalSum(len(before), len(after), sum, ties)
}

// ExactMannWhitney is exact however long it takes.
func ExactMannWhitney(before, after []float64) float64 {
	ranks, sum, _ := rank(before, after)
	chance, _ := exactSum(ranks, len(after), sum, math.MaxInt)
	return chance
}
