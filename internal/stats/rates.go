package stats

import "math"

// AtMost returns the chance that of runs, each of which fails with the chance rate, failures or
// fewer do: the lower tail of the binomial distribution.
func AtMost(failures, runs int, rate float64) float64 {
	switch {
	case failures < 0:
		return 0
	case failures >= runs || rate <= 0:
		return 1
	case rate >= 1:
		return 0
	}
	fail, pass := math.Log(rate), math.Log1p(-rate)
	sum := 0.0
	if first := float64(runs) * pass; first > -700 {
		term, odds := math.Exp(first), rate/(1-rate)
		for k := range failures + 1 {
			sum += term
			term *= odds * float64(runs-k) / float64(k+1)
		}
		return min(1, sum)
	}
	// The first term is too small for a float64, but not its logarithm.
	all, _ := math.Lgamma(float64(runs) + 1)
	for k := range failures + 1 {
		chosen, _ := math.Lgamma(float64(k) + 1)
		left, _ := math.Lgamma(float64(runs-k) + 1)
		sum += math.Exp(all - chosen - left + float64(k)*fail + float64(runs-k)*pass)
	}
	return min(1, sum)
}

// MostRate returns the greatest rate of failures that failures among runs leave possible with
// that confidence: were it greater, so few would have been seen with a chance of less than
// 1-confidence. It is the upper of the exact bounds by Clopper and Pearson ("The use of confidence
// or fiducial limits illustrated in the case of the binomial", 1934), for one side. 1 without
// runs.
func MostRate(failures, runs int, confidence float64) float64 {
	if failures >= runs {
		return 1
	}
	return bisect(0, 1, func(rate float64) bool { return AtMost(failures, runs, rate) > 1-confidence })
}

// bisect returns where below turns from true to false between low and high.
func bisect(low, high float64, below func(float64) bool) float64 {
	for {
		middle := low + (high-low)/2
		if middle <= low || middle >= high {
			return high
		}
		if below(middle) {
			low = middle
		} else {
			high = middle
		}
	}
}

// Student returns what a value from Student's distribution with that many degrees of freedom
// exceeds with the chance tail, at most a half. It is by how many of the deviations that were
// estimated from few values a further value differs from their mean.
func Student(degrees int, tail float64) float64 {
	if degrees < 1 || !(tail > 0 && tail <= 0.5) {
		panic("stats: Student's distribution has one degree of freedom or more, and a tail up to a half")
	}
	high := 1.0
	for studentBeyond(high, degrees) > tail {
		high *= 2
	}
	return bisect(0, high, func(t float64) bool { return studentBeyond(t, degrees) > tail })
}

// studentBeyond is the chance of t or more, for t of 0 or more, by the finite sums for whole
// degrees of freedom (Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.3
// and 26.7.4).
func studentBeyond(t float64, degrees int) float64 {
	angle := math.Atan2(t, math.Sqrt(float64(degrees)))
	sin, cos := math.Sincos(angle)
	var within float64
	if degrees%2 == 1 {
		term, sum := cos, 0.0
		for k := 1; k <= degrees-2; k += 2 {
			sum += term
			term *= cos * cos * float64(k+1) / float64(k+2)
		}
		within = 2 / math.Pi * (angle + sin*sum)
	} else {
		term, sum := 1.0, 0.0
		for k := 0; k <= degrees-2; k += 2 {
			sum += term
			term *= cos * cos * float64(k+1) / float64(k+2)
		}
		within = sin * sum
	}
	return (1 - within) / 2
}
