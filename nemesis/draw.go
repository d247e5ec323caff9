package nemesis

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// What faults draw.

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func shuffled(r *rand.Rand, nodes []string) []string {
	nodes = slices.Clone(nodes)
	r.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	return nodes
}

// magnitude draws a number so that its logarithm is uniform: of what is too much of
// one system another notices nothing, so the small come as often as the large.
func magnitude(r *rand.Rand, least, most float64) float64 {
	return least * math.Pow(most/least, r.Float64())
}

func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return time.Duration(magnitude(r, float64(least), float64(most))).Round(100 * time.Microsecond)
}

func chance(r *rand.Rand, least, most float64) float64 {
	return math.Round(magnitude(r, least, most)*1e4) / 1e4
}

func eitherWay(r *rand.Rand, d time.Duration) time.Duration {
	if r.IntN(2) == 0 {
		return -d
	}
	return d
}

// What is drawn is rounded, to be read.
func hundredths(f float64) float64 { return math.Round(f*1e2) / 1e2 }
func millionths(f float64) float64 { return math.Round(f*1e6) / 1e6 }
