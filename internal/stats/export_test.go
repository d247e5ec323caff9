package stats

// NormalMannWhitney is the approximation, also where MannWhitney counts.
func NormalMannWhitney(before, after []float64) float64 {
	_, sum, ties := rank(before, after)
	return normalSum(len(before), len(after), sum, ties)
}
