package stats_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/stats"
)

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s: got %v, want %v within %v", what, got, want, within)
	}
}

// bruteForce counts, over all ways to say which values are those of after, how often at
// least as many pairs are in order.
func bruteForce(before, after []float64) float64 {
	all := append(slices.Clone(before), after...)
	pairs := func(isAfter func(int) bool) (wins float64) {
		for i, a := range all {
			for j, b := range all {
				switch {
				case !isAfter(i) || isAfter(j):
				case a > b:
					wins++
				case a == b:
					wins += 0.5
				}
			}
		}
		return wins
	}
	seen := pairs(func(i int) bool { return i >= len(before) })
	hit, ways := 0, 0
	for set := range uint(1) << len(all) {
		if bits.OnesCount(set) != len(after) {
			continue
		}
		ways++
		if pairs(func(i int) bool { return set>>i&1 == 1 }) >= seen {
			hit++
		}
	}
	return float64(hit) / float64(ways)
}

func TestMannWhitneyIsWhatCountingAllWaysGives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		before, after := make([]float64, 1+r.IntN(6)), make([]float64, 1+r.IntN(6))
		kinds := 1 + r.IntN(12) // few: many ties
		for _, values := range [][]float64{before, after} {
			for i := range values {
				values[i] = float64(r.IntN(kinds))
			}
		}
		if r.IntN(4) == 0 {
			before[0] = math.Inf(1)
		}
		near(t, fmt.Sprint(before, after), stats.MannWhitney(before, after), bruteForce(before, after), 1e-12)
	}
}

// The chances that U is at most so much, from Table I of Mann and Whitney, 1947.
func TestMannWhitneyIsAsPublished(t *testing.T) {
	for _, c := range []struct {
		m, n, u int
		want    float64
	}{
		{3, 3, 0, .050}, {4, 4, 0, .014}, {4, 4, 1, .029}, {5, 5, 2, .016}, {5, 5, 4, .048}, {6, 6, 5, .021}, {7, 7, 8, .019}, {8, 8, 13, .025}, {8, 8, 15, .041},
	} {
		// Values of which u pairs are the wrong way round: the least of after is below the
		// greatest of before, as far as it goes, then the next.
		var before, after []float64
		for i := range c.m {
			before = append(before, float64(i))
		}
		left := c.u
		for i := range c.n {
			wrong := min(left, c.m)
			left -= wrong
			after = append(after, float64(c.m-wrong)-0.5+float64(i)/100)
		}
		near(t, fmt.Sprint(c), stats.MannWhitney(before, after), c.want, 0.0005)
	}

	// Hollander and Wolfe, "Nonparametric statistical methods", 1973, page 69: permeability of
	// a membrane; R's wilcox.test says W = 35, p = 0.1272.
	term := []float64{0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46}
	early := []float64{1.15, 0.88, 0.90, 0.74, 1.21}
	near(t, "permeability", stats.MannWhitney(early, term), 0.1272, 0.00005)
}

// Ozone in New York, May and August of 1973 (R's data set airquality), as the help of R's
// wilcox.test has it: W = 127.5, p = 0.0001208 on two sides, by the normal approximation with
// ties.
var (
	may    = []float64{41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37}
	august = []float64{39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85}
)

func TestTheNormalApproximationIsAsPublishedAndCloseToTheExact(t *testing.T) {
	normal := stats.NormalMannWhitney(may, august)
	near(t, "ozone", normal, 0.0001208/2, 5e-8)
	if exact := stats.MannWhitney(may, august); !(exact < normal && normal < 3*exact) {
		t.Errorf("in the tail: %v, exactly %v", normal, exact)
	}

	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		before, after := make([]float64, 60), make([]float64, 40)
		for i := range before {
			before[i] = math.Round(r.NormFloat64() * 5)
		}
		for i := range after {
			after[i] = math.Round(r.NormFloat64()*5 + 1)
		}
		near(t, "a hundred values", stats.NormalMannWhitney(before, after), stats.MannWhitney(before, after), 0.003)
	}
	near(t, "all equal", stats.MannWhitney(make([]float64, 90), make([]float64, 90)), 1, 0)
}

// What is too much to be counted is near what counting it gives.
func TestManyValuesAreTakenForNormal(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	before, after := make([]float64, 140), make([]float64, 115)
	for _, kinds := range []float64{4, 1e6} {
		for i := range before {
			before[i] = math.Floor(kinds * r.Float64())
		}
		for i := range after {
			after[i] = math.Floor(kinds * min(0.999, r.Float64()+0.1))
		}
		got, normal, exact := stats.MannWhitney(before, after), stats.NormalMannWhitney(before, after), stats.ExactMannWhitney(before, after)
		near(t, "normal", normal, exact, 0.01)
		if got != exact && got != normal {
			t.Errorf("it is %v, where counting says %v and the normal %v", got, exact, normal)
		}
		if kinds > 20 && got == exact {
			t.Error("the normal approximation is not tried")
		}
	}
	many := slices.Repeat(may, 8)
	near(t, "more than are counted", stats.MannWhitney(many, many), 0.5, 0.002)
}

// Of two values it is Fisher's exact test, whose chance is a sum of shares of the ways to choose,
// for as many values as a gate has, and more.
func TestOfTwoValuesItIsFishersTest(t *testing.T) {
	for _, c := range []struct{ before, ones, after, onesAfter int }{
		{40, 1, 3, 3}, {40, 4, 15, 5}, {40, 0, 1, 1}, {400, 3, 60, 3}, {40, 2, 1000, 200}, {10, 10, 5, 5}, {95, 1, 5, 3},
		{1501, 750, 499, 332}, {1501, 0, 499, 4}, {499, 250, 1501, 700}, {30000, 20, 20000, 30},
	} {
		fill := func(n, ones int) []float64 {
			values := make([]float64, n)
			for i := range ones {
				values[i] = 7
			}
			return values
		}
		all, ones := c.before+c.after, c.ones+c.onesAfter
		choose := func(n, k int) float64 { // its logarithm
			if k < 0 || k > n {
				return math.Inf(-1)
			}
			a, _ := math.Lgamma(float64(n + 1))
			b, _ := math.Lgamma(float64(k + 1))
			d, _ := math.Lgamma(float64(n - k + 1))
			return a - b - d
		}
		want := 0.0
		for k := c.onesAfter; k <= min(ones, c.after); k++ {
			want += math.Exp(choose(ones, k) + choose(all-ones, c.after-k) - choose(all, c.after))
		}
		near(t, fmt.Sprint(c), stats.MannWhitney(fill(c.before, c.ones), fill(c.after, c.onesAfter)), want, 1e-9+1e-6*want)
	}
}

// There are more ways to choose 250 of 2000 than a float64 can count.
func TestMoreWaysThanAFloatCounts(t *testing.T) {
	// How many values are 0, 1 and 2; as there are as many of 0 as of 2 their ranks are evenly spaced.
	before, after := [3]int{780, 200, 770}, [3]int{100, 40, 110}
	values := func(of [3]int) (all []float64) {
		for v, n := range of {
			all = append(all, slices.Repeat([]float64{float64(v)}, n)...)
		}
		return all
	}
	got := stats.MannWhitney(values(before), values(after))

	choose := func(n, k int) float64 { // its logarithm
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return a - b - c
	}
	want, n := 0.0, after[0]+after[1]+after[2]
	for ones := 0; ones <= before[1]+after[1]; ones++ {
		for twos := 0; ones+twos <= n; twos++ {
			if ones+2*twos >= after[1]+2*after[2] {
				want += math.Exp(choose(before[1]+after[1], ones) + choose(before[2]+after[2], twos) + choose(before[0]+after[0], n-ones-twos) - choose(2000, n))
			}
		}
	}
	near(t, "2000 values of three kinds", got, want, 1e-9)
	if normal := stats.NormalMannWhitney(values(before), values(after)); math.Abs(got-normal) < 1e-6 {
		t.Error("it is taken for normal, not counted")
	}
}

func TestMannWhitneyHasTheseProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	draw := func(n int) []float64 {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(1 + r.IntN(30))
		}
		return values
	}
	for range 120 {
		before, after := draw(1+r.IntN(60)), draw(1+r.IntN(60))
		p := stats.MannWhitney(before, after)
		if !(p > 0 && p <= 1) {
			t.Fatalf("a chance of %v", p)
		}
		// Only the order counts.
		logs := func(values []float64) []float64 {
			values = slices.Clone(values)
			for i := range values {
				values[i] = math.Log(values[i])
			}
			return values
		}
		near(t, "of logarithms", stats.MannWhitney(logs(before), logs(after)), p, 1e-12)
		// Greater is less likely.
		for _, values := range [][]float64{before, after} { // ties that come and go change the rest
			for i := range values {
				values[i] += r.Float64() / 2
			}
		}
		p, greater := stats.MannWhitney(before, after), slices.Clone(after)
		greater[r.IntN(len(greater))] += 10
		if q := stats.MannWhitney(before, greater); q > p+1e-12 {
			t.Errorf("a greater value made %v of %v", q, p)
		}
		// One of the two directions holds, and both do where the sum is just the same.
		if q := stats.MannWhitney(after, before); p+q < 1-1e-9 {
			t.Errorf("greater by %v, less by %v", p, q)
		}
	}
	if p := stats.MannWhitney(nil, draw(3)); p != 1 {
		t.Errorf("nothing to compare with: %v", p)
	}
	if p := stats.MannWhitney(draw(3), nil); p != 1 {
		t.Errorf("nothing to compare: %v", p)
	}
}

// Under no change p is level or less with a chance of level at most.
func TestMannWhitneyKeepsItsLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const trials = 4000
	hits := map[float64]int{}
	for range trials {
		before, after := make([]float64, 20), make([]float64, 8)
		for i := range before {
			before[i] = math.Round(10 * math.Exp(r.NormFloat64()))
		}
		for i := range after {
			after[i] = math.Round(10 * math.Exp(r.NormFloat64()))
		}
		p := stats.MannWhitney(before, after)
		for _, level := range []float64{0.2, 0.05, 0.01} {
			if p <= level {
				hits[level]++
			}
		}
	}
	for level, n := range hits {
		if most := level*trials + 3*math.Sqrt(level*trials); float64(n) > most {
			t.Errorf("%d of %d are %v or less", n, trials, level)
		}
		if float64(n) < level*trials/2 {
			t.Errorf("%d of %d are %v or less: it has lost its power", n, trials, level)
		}
	}
}

func TestMannWhitneyIsQuick(t *testing.T) {
	for _, sizes := range [][2]int{{50, 50}, {40, 500}, {500, 40}, {75, 75}, {1000, 1000}} {
		before, after := make([]float64, sizes[0]), make([]float64, sizes[1])
		for i := range before {
			before[i] = float64(2 * i)
		}
		for i := range after {
			after[i] = float64(2*i + 1)
		}
		began := time.Now()
		stats.MannWhitney(before, after)
		took := time.Since(began)
		t.Logf("%d and %d values: %v", sizes[0], sizes[1], took)
		if took > 5*time.Second {
			t.Errorf("%d and %d values took %v", sizes[0], sizes[1], took)
		}
	}
}

func TestHolm(t *testing.T) {
	// The four chances of the example in Wikipedia's "Holm-Bonferroni method": the last and the
	// first are significant at 5 %, the others are not.
	for i, got := range stats.Holm([]float64{0.01, 0.04, 0.03, 0.005}, 0) {
		near(t, fmt.Sprint(i), got, []float64{0.03, 0.06, 0.06, 0.02}[i], 1e-12)
	}
	// Two of a hundred are corrected as if they were the least of them.
	for i, got := range stats.Holm([]float64{0.001, 0.0001}, 100) {
		near(t, fmt.Sprint(i), got, []float64{0.099, 0.01}[i], 1e-12)
	}
	if got := stats.Holm(nil, 3); len(got) != 0 {
		t.Errorf("got %v of nothing", got)
	}

	r := rand.New(rand.NewPCG(9, 10))
	wrong := 0
	for range 2000 {
		all := make([]float64, 10)
		for i := range all {
			all[i] = r.Float64()
		}
		whole := stats.Holm(all, 0)
		if slices.Min(whole) <= 0.05 {
			wrong++
		}
		for i, part := range stats.Holm(all[:4], 10) {
			if part < whole[i]-1e-12 || part < all[i] {
				t.Fatalf("%v of %v is corrected to %v in a part, and to %v in the whole", all[i], all, part, whole[i])
			}
		}
	}
	if wrong > 130 || wrong < 50 {
		t.Errorf("%d of 2000 have one that is significant at 5 %%", wrong)
	}
}
