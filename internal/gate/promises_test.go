package gate

import (
	"fmt"
	"math"
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
	outcomes := []Outcome{of(ForCoverage, Valid, 1), of(ForBaseline, Valid, 9), of(ForConfirmation, Valid, 2), {Job: Job{Purpose: ForCoverage}}}
	for _, class := range []Class{Unknown, Refused, Failed, SetAside} {
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

// TestBrokenIsWhateverTheEndsWere takes small sets of values, of which some were not seen to their
// end, and tries all ends that these can have had: broken is what none of them holds, and held
// is only what some of them hold. Where all that was not seen is longer than the bound the
// verdict is that of all ends.
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
		p := Promises{Durations: map[string]Limits{"gap": {P50: bound * time.Second, P99: bound * time.Second, Max: bound * time.Second}}}
		for _, r := range Judge(p, []Outcome{{Job: Job{Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: Measures{"gap": m}}}}}) {
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
			switch {
			case r.Known && !r.Held:
				counts["broken"]++
				if holds(best) {
					t.Fatalf("%s: broken, and it may have been held", what)
				}
				if r.Measured <= bound {
					t.Fatalf("%s: broken by %v", what, r.Measured)
				}
			case r.Held:
				counts["held"]++
				if !holds(best) || r.Measured > bound {
					t.Fatalf("%s: held, and it cannot have been: %v", what, r.Measured)
				}
			default:
				counts["unknown"]++
				if holds(worst) || !holds(best) {
					t.Fatalf("%s: unknown, and all ends say the same", what)
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

func TestASharesWordsNeverRoundUp(t *testing.T) {
	for share, want := range map[float64]string{1: "100 %", 0.999: "99.9 %", 0.9999999: "99.9999 %", 0.5: "50 %", 0: "0 %", 0.07: "7 %", 0.29: "29 %", 2.0 / 3: "66.6666 %"} {
		if got := inPercent(share); got != want {
			t.Errorf("%v: got %s, want %s", share, got, want)
		}
	}
}
