// Package stats has the numbers behind a verdict that rests on chance: how likely it is that
// two samples differ so much if nothing has changed, how far a quantile can be trusted, and
// what rate of failures a number of clean runs rules out.
//
// Values are finite, or infinite where they are only compared; NaN has no place in an order and
// is nowhere allowed. Nothing here knows what is measured. What needs chance is handed it.
package stats

import (
	"math"
	"slices"
)

// mostExact is up to how many values together [MannWhitney] counts; it takes some ten
// milliseconds at that, and the normal approximation is good enough: its error is below 0.003, and
// in the tail it errs towards the greater chance.
const mostExact = 100

// MannWhitney returns the chance that values of after are as much greater than those of before
// as they are, or more so, if both were drawn from one distribution: the one-sided p-value of the
// test by Mann and Whitney ("On a test of whether one of two random variables is stochastically
// larger than the other", 1947), which is Wilcoxon's rank sum test. It asks nothing of the
// distribution. Equal values share the mean of their ranks.
//
// Up to 100 values together it is exact, with ties as well: it counts in how many of the ways to
// choose len(after) of all ranks their sum is as great, as Streitberg and Röhmel do ("Exact
// distributions for permutation and rank tests", 1986). Above that the sum is taken for normal,
// with the variance that ties leave it and the correction for continuity (Lehmann,
// "Nonparametrics", 1975, chapter 1). Without values on both sides it is 1.
func MannWhitney(before, after []float64) float64 {
	if len(before) == 0 || len(after) == 0 {
		return 1
	}
	ranks, sum, ties := rank(before, after)
	if len(ranks) > mostExact {
		return normalSum(len(before), len(after), sum, ties)
	}
	return exactSum(ranks, len(after), sum)
}

// rank returns twice the rank of each value of both, ascending, twice the sum of those of
// after, and the sum of t³-t over groups of t equal values. Twice, since a shared rank may be a
// half.
func rank(before, after []float64) (ranks []int, sum int, ties float64) {
	type value struct {
		of    float64
		after int
	}
	all := make([]value, 0, len(before)+len(after))
	for _, v := range before {
		all = append(all, value{v, 0})
	}
	for _, v := range after {
		all = append(all, value{v, 1})
	}
	slices.SortFunc(all, func(a, b value) int {
		switch {
		case a.of < b.of:
			return -1
		case a.of > b.of:
			return 1
		}
		return 0
	})
	ranks = make([]int, 0, len(all))
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].of == all[i].of {
			j++
		}
		for k := i; k < j; k++ {
			ranks = append(ranks, i+j+1) // ranks i+1 to j
			sum += all[k].after * (i + j + 1)
		}
		t := float64(j - i)
		ties += t*t*t - t
		i = j
	}
	return ranks, sum, ties
}

// exactSum returns the share of the ways to choose n of ranks whose sum is least or more.
func exactSum(ranks []int, n, least int) float64 {
	total := 0
	for _, r := range ranks {
		total += r
	}
	// What is chosen leaves the others, and there may be fewer of them: their sum is then small.
	upper := true
	if n > len(ranks)-n {
		n, least, upper = len(ranks)-n, total-least, false
	}
	most := 0
	for _, r := range ranks[len(ranks)-n:] {
		most += r
	}
	// ways[k][s] is how many choices of k of the ranks so far sum up to s. A float64 holds them
	// to 15 digits, and nothing is subtracted.
	ways := make([][]float64, n+1)
	for k := range ways {
		ways[k] = make([]float64, most+1)
	}
	ways[0][0] = 1
	reached := make([]int, n+1) // the greatest sum so far
	for i, r := range ranks {
		for k := min(i+1, n); k >= 1; k-- {
			if k > 1 && reached[k-1] == 0 {
				continue
			}
			for s := reached[k-1]; s >= 0; s-- {
				ways[k][s+r] += ways[k-1][s]
			}
			reached[k] = max(reached[k], reached[k-1]+r)
		}
	}
	var hit, all float64
	for s, w := range ways[n] {
		all += w
		if upper && s >= least || !upper && s <= least {
			hit += w
		}
	}
	return hit / all
}

// normalSum is the chance of twice a rank sum of sum or more, taken for normal.
func normalSum(before, after, sum int, ties float64) float64 {
	m, n := float64(before), float64(after)
	all := m + n
	mean := n * (all + 1) / 2
	variance := m * n / 12 * (all + 1 - ties/(all*(all-1)))
	if variance <= 0 { // all are equal
		return 1
	}
	return Beyond((float64(sum)/2 - mean - 0.5) / math.Sqrt(variance))
}

// Beyond returns the chance that a value from the standard normal distribution is z or more.
func Beyond(z float64) float64 { return math.Erfc(z/math.Sqrt2) / 2 }

// Holm returns chances corrected for how many there are, in their order: who takes those for
// significant that are then level or less has one wrong among them with a chance of level at
// most, whatever they depend on (Holm, "A simple sequentially rejective multiple test procedure",
// 1979).
//
// They may be only some of among chances, where the others are not at hand. They are then ranked
// among themselves, so that each is corrected by as much as in the whole, or by more.
func Holm(chances []float64, among int) []float64 {
	among = max(among, len(chances))
	order := make([]int, len(chances))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case chances[a] < chances[b]:
			return -1
		case chances[a] > chances[b]:
			return 1
		}
		return 0
	})
	corrected := make([]float64, len(chances))
	least := 0.0
	for i, at := range order {
		least = max(least, min(1, float64(among-i)*chances[at]))
		corrected[at] = least
	}
	return corrected
}
