package gate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestPromises runs the file of promises: what was promised, by the arguments of the command,
// and the measures of runs. A line is a run, with its class and what it has measured:
//
//	[class] [metric=value,value,>value[/of]] ...
//
// Values are in the unit of the metric, those after > were not seen to their end. What is said
// of each promise follows. Rewrite it with -rewrite, and read the diff.
func TestPromises(t *testing.T) {
	datadriven.RunTest(t, "testdata/promises.txt", func(t *testing.T, d *datadriven.TestData) string {
		var outcomes []Outcome
		for i, line := range strings.Split(strings.TrimSpace(d.Input), "\n") {
			if line == "" {
				continue
			}
			o := Outcome{Job: Job{ID: fmt.Sprint("job-", i+1), Purpose: ForCoverage}}
			for _, attempt := range strings.Split(line, "|") {
				f := strings.Fields(attempt)
				o.Attempts = append(o.Attempts, Attempt{Class: Class(f[0]), Measures: measures(t, f[1:])})
			}
			outcomes = append(outcomes, o)
		}
		var b strings.Builder
		for _, r := range Judge(promises(t, d.CmdArgs), outcomes) {
			word := map[[2]bool]string{{true, true}: "held", {true, false}: "broken", {false, false}: "unknown"}[[2]bool{r.Known, r.Held}]
			fmt.Fprintf(&b, "%s: bound %g, measured %g of %d, worst %q\n  %s\n", word, r.Bound, r.Measured, r.N, r.Worst, r.Words)
		}
		return b.String()
	})
}

func measures(t *testing.T, fields []string) Measures {
	t.Helper()
	m := Measures{}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, f := range fields {
		name, values, _ := strings.Cut(f, "=")
		values, of, _ := strings.Cut(values, "/")
		var all Measure
		if of != "" {
			all.Of = int64(number(of))
		}
		for _, v := range strings.Split(values, ",") {
			if v, least := strings.CutPrefix(v, ">"); least {
				all.Least = append(all.Least, number(v))
			} else {
				all.Values = append(all.Values, number(v))
			}
		}
		m[name] = all
	}
	return m
}

func promises(t *testing.T, args []datadriven.CmdArg) Promises {
	t.Helper()
	p := Promises{Availability: map[string]float64{}, Durations: map[string]Limits{}}
	for _, a := range args {
		if window, ok := strings.CutPrefix(a.Key, "availability."); ok {
			share, err := strconv.ParseFloat(a.Vals[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			p.Availability[window] = share
			continue
		}
		var l Limits
		for i, at := range []*time.Duration{&l.P50, &l.P99, &l.Max} {
			if i < len(a.Vals) && a.Vals[i] != "-" {
				d, err := time.ParseDuration(a.Vals[i])
				if err != nil {
					t.Fatal(err)
				}
				*at = d
			}
		}
		p.Durations[a.Key] = l
	}
	return p
}

func TestOnlyRunsOfTheMatrixAndConfirmationsCount(t *testing.T) {
	of := func(p Purpose, class Class, took float64) Outcome {
		return Outcome{Job: Job{ID: string(p), Purpose: p}, Attempts: []Attempt{{Class: class, Measures: Measures{"recovery": {Values: []float64{took}}}}}}
	}
	p := Promises{Durations: map[string]Limits{"recovery": {Max: 5 * time.Second}}}
	outcomes := []Outcome{of(ForCoverage, Valid, 1), of("another", Valid, 9), of(ForConfirmation, Valid, 2), {Job: Job{Purpose: ForCoverage}}}
	for _, class := range []Class{Refused, Failed, SetAside} {
		outcomes = append(outcomes, of(ForCoverage, class, 9))
	}
	r := Judge(p, outcomes)
	if len(r) != 1 || r[0].N != 2 || !r[0].Held || r[0].Measured != 2 || r[0].Worst != string(ForConfirmation) {
		t.Errorf("got %+v", r)
	}
	outcomes = append(outcomes, of(ForCoverage, Invalid, 9))
	if r := Judge(p, outcomes); r[0].Held || !r[0].Known || r[0].N != 3 {
		t.Errorf("with an invalid run that took long: %+v", r)
	}
	outcomes = append(outcomes[:len(outcomes)-1], of(ForCoverage, Unknown, 9))
	if r := Judge(p, outcomes); r[0].Held || !r[0].Known || r[0].N != 3 {
		t.Errorf("with an unknown run that took long: %+v", r)
	}
}

// TestWhatCannotBeMeasuredIsNoValue has outcomes with numbers that nothing can have measured.
func TestWhatCannotBeMeasuredIsNoValue(t *testing.T) {
	p := Promises{
		Availability: map[string]float64{"fault": 0.5},
		Durations:    map[string]Limits{"recovery": {P50: time.Second, P99: time.Second, Max: time.Second}, "latency.read": {P50: time.Second, Max: time.Second}},
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.Copysign(1e-300, -1)} {
		bad := Measure{Values: []float64{v}, Least: []float64{v}, Of: -7}
		m := Measures{"availability.fault": bad, "recovery": bad, "latency.read.p50": bad, "latency.read.max": bad}
		reports := Judge(p, []Outcome{{Job: Job{ID: "a", Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: m}}}})
		if len(reports) != 6 {
			t.Errorf("%v: %d reports", v, len(reports))
		}
		for _, r := range reports {
			if r.Known || r.Held || r.N != 0 || !strings.Contains(r.Words, "nobody knows, as nothing of it was measured in 1 run") {
				t.Errorf("%v: %+v", v, r)
			}
		}
	}
	huge := Measure{Values: []float64{math.MaxFloat64}, Of: math.MaxInt64}
	m := Measures{"availability.fault": {Values: []float64{2}, Of: math.MaxInt64}, "recovery": huge, "latency.read.p50": huge}
	for _, r := range Judge(p, []Outcome{{Job: Job{ID: "a", Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: m}}}}) {
		if r.Held || r.Known != (r.Metric == "recovery" || r.Promise == "latency.read p50 at most 1s") {
			t.Errorf("%+v", r)
		}
	}
	of := Measures{"availability.fault": {Values: []float64{1}, Of: math.MaxInt64}}
	var outcomes []Outcome
	for range 4 {
		outcomes = append(outcomes, Outcome{Job: Job{Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: of}}})
	}
	if r := Judge(p, outcomes)[0]; !r.Held || r.Measured != 1 || r.N <= 0 {
		t.Errorf("of all calls that there can be: %+v", r)
	}
}

// judgeTimes judges bounds of 5 s for the gap.
func judgeTimes(m Measure) []PromiseReport {
	const bound = 5 * time.Second
	p := Promises{Durations: map[string]Limits{"gap": {P50: bound, P99: bound, Max: bound}}}
	return Judge(p, []Outcome{{Job: Job{Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: Measures{"gap": m}}}}})
}

func verdictOf(r PromiseReport) string {
	return map[[2]bool]string{{true, true}: "held", {true, false}: "broken", {false, false}: "unknown"}[[2]bool{r.Known, r.Held}]
}

// TestBrokenIsWhateverTheEndsWere takes small sets of values, of which some were not seen to their
// end, and tries the ends that these can have had at their best and worst: broken is what none of
// them holds, held is what some of them hold and whatever all of them hold.
//
// To each it adds one more that was not seen to its end: that never makes a promise held that
// was not, and if it is longer than the bound what was broken stays so.
func TestBrokenIsWhateverTheEndsWere(t *testing.T) {
	const bound = 5.0
	values := []float64{1, 5, 6, 9}
	counts := map[string]int{}
	for code := range 3 * 3 * 3 * 3 * 3 * 3 * 3 * 3 { // each value up to twice, as seen and as unseen
		var m Measure
		for i, c := 0, code; i < 8; i, c = i+1, c/3 {
			for range c % 3 {
				if v := values[i%4]; i < 4 {
					m.Values = append(m.Values, v)
				} else {
					m.Least = append(m.Least, v)
				}
			}
		}
		if len(m.Values)+len(m.Least) == 0 {
			continue
		}
		reports := judgeTimes(m)
		for _, r := range reports {
			q := map[string]float64{"gap p50 at most 5s": 0.5, "gap p99 at most 5s": 0.99, "gap max at most 5s": 1}[r.Promise]
			holds := func(ends []float64) bool { // the definition: enough of them are within the bound
				n := 0
				for _, v := range ends {
					if v <= bound {
						n++
					}
				}
				return float64(n) >= q*float64(len(ends))
			}
			best := slices.Concat(m.Values, m.Least) // all ended at once
			worst := slices.Clone(m.Values)          // none did
			for range m.Least {
				worst = append(worst, math.MaxFloat64)
			}
			what := fmt.Sprintf("%s of %v and at least %v", r.Promise, m.Values, m.Least)
			counts[verdictOf(r)]++
			switch {
			case r.Known && !r.Held:
				if holds(best) {
					t.Fatalf("%s: broken, and it may have been held", what)
				}
				if r.Measured <= bound {
					t.Fatalf("%s: broken by %v", what, r.Measured)
				}
			case r.Held:
				if !holds(best) || r.Measured > bound {
					t.Fatalf("%s: held, and it cannot have been: %v", what, r.Measured)
				}
			default:
				if holds(worst) || !holds(best) {
					t.Fatalf("%s: unknown, and all ends say the same", what)
				}
				if !strings.Contains(r.Words, fmt.Sprintf("nobody knows, as %d of %d time", len(m.Least), len(best))) {
					t.Fatalf("%s: it does not say how many are open: %s", what, r.Words)
				}
			}
		}
		for _, open := range []float64{2.5, bound, 6} {
			more := Measure{Values: m.Values, Least: append(slices.Clone(m.Least), open)}
			for i, r := range judgeTimes(more) {
				was, is := verdictOf(reports[i]), verdictOf(r)
				if is == "held" && was != "held" || was == "broken" && open > bound && is != "broken" {
					t.Fatalf("%s of %v and at least %v is %s, and %s with one more of at least %v", r.Promise, m.Values, m.Least, was, is, open)
				}
			}
		}
	}
	for _, word := range []string{"broken", "held", "unknown"} {
		if counts[word] < 500 {
			t.Errorf("%s: %d", word, counts[word])
		}
	}
}

// TestEstimatesOfTheLiterature has the example by which Kaplan and Meier explained theirs in 1958,
// and the remissions of leukaemia under 6-mercaptopurine (Freireich et al., 1963) that textbooks
// estimate by it; in months and weeks.
func TestEstimatesOfTheLiterature(t *testing.T) {
	never := math.Inf(1)
	for _, c := range []struct {
		name        string
		ended, open []float64
		steps       map[float64]float64 // the share that goes on beyond a time
		quantiles   map[int]float64
	}{
		{
			"Kaplan and Meier",
			[]float64{0.8, 3.1, 5.4, 9.2}, []float64{1, 2.7, 7, 12.1},
			map[float64]float64{0.8: 0.875, 3.1: 0.7, 5.4: 0.525, 9.2: 0.2625},
			map[int]float64{12: 0.8, 13: 3.1, 30: 3.1, 31: 5.4, 50: 9.2, 73: 9.2, 74: never, 99: never, 100: never},
		},
		{
			"6-MP",
			[]float64{6, 6, 6, 7, 10, 13, 16, 22, 23},
			[]float64{6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35},
			map[float64]float64{6: 0.8571, 7: 0.8067, 10: 0.7529, 13: 0.6902, 16: 0.6275, 22: 0.5378, 23: 0.4482},
			map[int]float64{14: 6, 25: 13, 50: 23, 55: 23, 56: never},
		},
		{"all ended", []float64{1, 2, 2, 4}, nil, map[float64]float64{1: 0.75, 2: 0.25, 4: 0}, map[int]float64{25: 1, 50: 2, 75: 2, 76: 4, 100: 4}},
		{"none ended", nil, []float64{1, 2}, nil, map[int]float64{1: never, 100: never}},
		{"one is seen until the other ends", []float64{3}, []float64{3}, map[float64]float64{3: 0.5}, map[int]float64{50: 3, 51: never}},
	} {
		for percent, want := range c.quantiles {
			if got, _ := estimate(c.ended, c.open, percent); got != want {
				t.Errorf("%s: %d %% within %v, want %v", c.name, percent, got, want)
			}
		}
		for at, want := range c.steps {
			until := slices.DeleteFunc(slices.Clone(c.ended), func(v float64) bool { return v > at })
			later := append(slices.Clone(c.open), make([]float64, len(c.ended)-len(until))...)
			for i := len(c.open); i < len(later); i++ {
				later[i] = 1000 // those that end later are still seen
			}
			slices.Sort(later)
			if _, got := estimate(until, later, 100); math.Abs(got-want) > 0.00005 {
				t.Errorf("%s: beyond %v goes on %.4f, want %.4f", c.name, at, got, want)
			}
		}
	}
}

// TestEstimateIsThatOfRedistribution compares with another way to the same estimate: the weight of
// whoever is not seen any more is given to those that are, in equal parts (Efron, "The two sample
// problem with censored data", 1967).
func TestEstimateIsThatOfRedistribution(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		type value struct {
			at     float64
			open   bool
			weight float64
		}
		var all []value
		var ended, open []float64
		n := 1 + r.IntN(30)
		for range n {
			v := value{float64(r.IntN(12)), r.IntN(3) == 0, 1 / float64(n)}
			if all = append(all, v); v.open {
				open = append(open, v.at)
			} else {
				ended = append(ended, v.at)
			}
		}
		slices.Sort(ended)
		slices.Sort(open)
		slices.SortFunc(all, func(a, b value) int {
			switch {
			case a.at != b.at:
				return cmp.Compare(a.at, b.at)
			case a.open == b.open:
				return 0
			case a.open:
				return 1
			}
			return -1
		})
		for i, v := range all {
			if v.open && i+1 < n {
				for j := range all[i+1:] {
					all[i+1+j].weight += v.weight / float64(n-i-1)
				}
				all[i].weight = 0
			}
		}
		for _, percent := range []int{1, 50, 90, 99, 100} {
			want, sum := math.Inf(1), 0.0
			for _, v := range all {
				if v.open {
					continue
				}
				if sum += v.weight; sum >= float64(percent)/100-1e-7 {
					want = v.at
					break
				}
			}
			if got, _ := estimate(ended, open, percent); got != want {
				t.Fatalf("%d %% of %v and at least %v: %v, want %v", percent, ended, open, got, want)
			}
		}
	}
}

// TestRunsThatEndInAFaultAreNoAlarm simulates cells of three runs with a fault each 3 s or so, as
// gates have them, whose last is often not seen to its end. Of a system that recovers as promised
// no cell is broken and none is unknown; of one that is well within its promises most of the
// time, and stops to recover at some moment of some run, none is held.
func TestRunsThatEndInAFaultAreNoAlarm(t *testing.T) {
	p := Promises{Durations: map[string]Limits{"recovery": {P50: 5 * time.Second, P99: 8 * time.Second, Max: 8 * time.Second}}}
	const length = 20.0
	for _, hangs := range []bool{false, true} {
		r := rand.New(rand.NewPCG(5, 6))
		counts := map[string]int{}
		open := 0
		for range 2000 {
			var outcomes []Outcome
			for run := range 3 {
				var m Measure
				hang := math.Inf(1)
				if hangs && run == 1 {
					hang = 4 + 8*r.Float64()
				}
				for at := 6 * r.Float64(); at < length; at += 2 + 2*r.Float64() {
					took := min(0.2*math.Exp(r.NormFloat64()), 4)
					if at >= hang {
						took = math.Inf(1)
					}
					if at+took < length {
						m.Values = append(m.Values, took)
					} else {
						m.Least = append(m.Least, length-at)
						open++
					}
				}
				outcomes = append(outcomes, Outcome{Job: Job{Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: Measures{"recovery": m}}}})
			}
			for _, report := range Judge(p, outcomes) {
				counts[report.Promise[len("recovery "):][:3]+" "+verdictOf(report)]++
			}
		}
		if open < 500 {
			t.Errorf("hangs %v: only %d were not seen to their end", hangs, open)
		}
		want := map[string]int{"p50 held": 2000, "p99 held": 2000, "max held": 2000}
		if hangs {
			want = map[string]int{"p50 held": 2000, "p99 held": 0, "max held": 0}
		}
		for what, n := range want {
			if counts[what] != n {
				t.Errorf("hangs %v: %s in %d of 2000, want %d: %v", hangs, what, counts[what], n, counts)
			}
		}
	}
}

func TestASharesWordsNeverRoundUp(t *testing.T) {
	for share, want := range map[float64]string{1: "100 %", 0.999: "99.9 %", 0.9999999: "99.9999 %", 0.5: "50 %", 0: "0 %", 0.07: "7 %", 0.29: "29 %", 2.0 / 3: "66.6666 %"} {
		if got := inPercent(share); got != want {
			t.Errorf("%v: got %s, want %s", share, got, want)
		}
	}
}
