package checker_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

func TestSamplesAreKeptAscendingInMicroseconds(t *testing.T) {
	var r checker.Result
	r.Sample("x", []time.Duration{3 * time.Second, 1999, 2 * time.Millisecond}, []time.Duration{7000, 5000})
	r.Sample("y", []time.Duration{time.Second}, nil)
	r.Sample("z", nil, nil)
	b, err := json.Marshal(r.Samples)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"x_least_us":[5,7],"x_us":[1,2000,3000000],"y_us":[1000000]}`; string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
	if len(r.Counts) > 0 {
		t.Errorf("counts %v of what is kept whole", r.Counts)
	}
}

// TestOfTooManySamplesSomeAreKept looks at quantiles of what is kept, and at how much of it is
// what was not seen to its end.
func TestOfTooManySamplesSomeAreKept(t *testing.T) {
	for _, n := range [][2]int{{15_000, 0}, {0, 15_000}, {99_999, 1}, {1, 99_999}, {30_000, 10_000}, {5_001, 5_000}} {
		took, least := make([]time.Duration, n[0]), make([]time.Duration, n[1])
		for i := range took {
			took[i] = time.Duration(i) * time.Microsecond
		}
		for i := range least {
			least[i] = time.Duration(i) * time.Microsecond
		}
		rand.Shuffle(len(took), func(i, j int) { took[i], took[j] = took[j], took[i] })
		var r checker.Result
		r.Sample("x", took, least)
		keptTook, keptLeast := r.Samples["x_us"], r.Samples["x_least_us"]
		if got := len(keptTook) + len(keptLeast); got != checker.MaxSamples {
			t.Errorf("%v: %d are kept", n, got)
		}
		if got := r.Counts["x_samples_of"]; got != int64(n[0]+n[1]) {
			t.Errorf("%v: the count says %d", n, got)
		}
		for as, kept := range map[int][]int64{n[0]: keptTook, n[1]: keptLeast} {
			if (as == 0) != (len(kept) == 0) {
				t.Errorf("%v: of %d are kept %d", n, as, len(kept))
			}
			if !slices.IsSorted(kept) {
				t.Errorf("%v: not ascending", n)
			}
			if len(kept) == 0 {
				continue
			}
			if last := kept[len(kept)-1]; last != int64(as-1) {
				t.Errorf("%v: the greatest kept is %d of %d", n, last, as)
			}
			if share := float64(len(kept))/checker.MaxSamples - float64(as)/float64(n[0]+n[1]); share > 0.0001 || share < -0.0001 {
				t.Errorf("%v: %d of %d are kept", n, len(kept), as)
			}
			if median := float64(kept[len(kept)/2]) / float64(as); len(kept) > 100 && (median < 0.499 || median > 0.501) {
				t.Errorf("%v: the median is at %v", n, median)
			}
		}
	}
}

// TestSamplesAreWhatCountsAreOf measures random histories: for each fault there is a time, or
// how long it took at least, which agree with the counts; and a second look gives the same,
// byte by byte.
func TestSamplesAreWhatCountsAreOf(t *testing.T) {
	least := 0
	for seed := range uint64(100) {
		h := random(rand.New(rand.NewPCG(seed, 0))).history(t)
		r := measured(t, h)
		families := r.Parts[0]
		if families.Name != "by fault" { // there were no faults
			if len(r.Samples) > 1 {
				t.Errorf("seed %d: %v without faults", seed, r.Samples)
			}
			families.Parts = nil
		}
		if gap := r.Samples["gap_us"]; len(gap) != 1 || gap[0] > r.Counts["longest_gap_us"] || gap[0] < r.Counts["longest_gap_us"]/20 {
			t.Errorf("seed %d: the gap is %v, and %d", seed, gap, r.Counts["longest_gap_us"])
		}
		for _, part := range append(families.Parts, r) {
			for _, name := range []string{"begin_answer", "heal_answer", "begin_90", "heal_90"} {
				took, bounds := part.Samples[name+"_us"], part.Samples[name+"_least_us"]
				if int64(len(bounds)) != part.Counts[name+"_unseen"] {
					t.Errorf("seed %d: %s %s: %d lower bounds, %d unseen", seed, part.Name, name, len(bounds), part.Counts[name+"_unseen"])
				}
				if n := part.Counts["faults"]; name == "begin_answer" && n > 0 && n != int64(len(took)+len(bounds)) {
					t.Errorf("seed %d: %s: %d faults and %d times", seed, part.Name, n, len(took)+len(bounds))
				}
				least += len(bounds)
				if len(took) > 0 && (took[0] != part.Counts[name+"_min_us"] || took[len(took)-1] != part.Counts[name+"_max_us"] || took[(len(took)+1)/2-1] != part.Counts[name+"_median_us"]) {
					t.Errorf("seed %d: %s %s: samples %v, counts %v", seed, part.Name, name, took, part.Counts)
				}
			}
		}
		if part := r.Parts[len(r.Parts)-1]; part.Name != "by node" || strings.Contains(encoded(t, part), `"samples"`) {
			t.Errorf("seed %d: samples by node", seed)
		}
		if first, second := encoded(t, r), encoded(t, measured(t, h)); first != second {
			t.Errorf("seed %d: first\n%s, then\n%s", seed, first, second)
		}
	}
	if least < 50 {
		t.Errorf("only %d were unseen", least)
	}
}

func encoded(t *testing.T, r checker.Result) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTheShareOfAFamilyIsThatWhileItHolds has two kinds of faults that overlap.
func TestTheShareOfAFamilyIsThatWhileItHolds(t *testing.T) {
	const ms = time.Millisecond
	var a track
	for i := range 10 {
		typ := histories.OK
		if i == 3 || i == 7 {
			typ = histories.Fail
		}
		at := time.Duration(i) * 100 * ms
		a.call(at, at+10*ms, 0, typ, "n1")
	}
	a.fault(1, "kill:one", `{}`, 250*ms, 550*ms)  // calls 3, 4, 5
	a.fault(2, "kill", `{}`, 450*ms, 650*ms)      // 5, 6
	a.fault(3, "partition", `{}`, 551*ms, 950*ms) // 6, 7, 8, 9
	families := map[string]map[string]int64{}
	for _, p := range measured(t, a.history(t)).Parts[0].Parts {
		families[p.Name] = p.Counts
	}
	for family, want := range map[string][3]int64{"kill": {4, 3, 750}, "partition": {4, 3, 750}} {
		c := families[family]
		if got := [3]int64{c["calls"], c["answered"], c["answered_permille"]}; got != want {
			t.Errorf("%s: got %v, want %v", family, got, want)
		}
	}
}
