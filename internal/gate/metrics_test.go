package gate

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
)

// TestMeasured runs the file of verdicts: below each, as results.json has it, stands what its
// run has measured. Rewrite it with -rewrite, and read the diff.
func TestMeasured(t *testing.T) {
	datadriven.RunTest(t, "testdata/measures.txt", func(t *testing.T, d *datadriven.TestData) string {
		var r checker.Result
		if err := json.Unmarshal([]byte(d.Input), &r); err != nil {
			d.Fatalf(t, "%v", err)
		}
		m := Measured(r)
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(m)) {
			metric, ok := MetricOf(name)
			if !ok {
				d.Fatalf(t, "%s is no metric", name)
			}
			fmt.Fprintf(&b, "%s: %v %s", name, m[name].Values, metric.Unit)
			if m[name].Least != nil {
				fmt.Fprintf(&b, ", at least %v", m[name].Least)
			}
			if m[name].Of > 0 {
				fmt.Fprintf(&b, " of %d", m[name].Of)
			}
			b.WriteByte('\n')
		}
		return b.String()
	})
}

// TestARealRunIsMeasured reads the verdict of a run of virtual machines whose hosts were
// killed: whatever has a fixed name was measured.
func TestARealRunIsMeasured(t *testing.T) {
	b, err := os.ReadFile("testdata/results.json")
	if err != nil {
		t.Fatal(err)
	}
	var r checker.Result
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	m := Measured(r)
	for _, metric := range append(Metrics(), Metric{Name: "availability.host-kill"}, Metric{Name: "recovery.host-kill"}, Metric{Name: "latency.create.p99"}) {
		if len(m[metric.Name].Values) == 0 {
			t.Errorf("%s has no values", metric.Name)
		}
	}
	var again Measures
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &again); err != nil || !reflect.DeepEqual(again, m) {
		t.Errorf("as JSON it becomes %v (%v), and was %v", again, err, m)
	}
	if len(b) > 10_000 {
		t.Errorf("it takes %d bytes", len(b))
	}
}

func TestNamesOfMetrics(t *testing.T) {
	for name, want := range map[string]string{
		"recovery":                  "until an answer after a fault began, s [p50 max]",
		"recovery-90":               "until 90 % of the throughput after a fault began, s [p50]",
		"recovery.kill":             "until an answer after a fault began (kill), s []",
		"healing-90.host-partition": "until 90 % of the throughput after a fault was healed (host-partition), s []",
		"availability.fault":        "calls answered while a fault held,  [p50] more",
		"availability.kill":         "calls answered while kill held,  [] more",
		"throughput":                "answers without faults, 1/s [p50] more",
		"latency.read":              "how long read took, s []",
		"latency.read.p50":          "how long read took, p50, s [p50]",
		"latency.read.p99":          "how long read took, p99, s [p50]",
		"latency.read.max":          "how long read took, max, s []",
		"latency.max":               "how long max took, s []",
		"failover.detect":           "from the fault to the end of the host's lease, s [p50]",
		"downtime":                  "the pause of a live migration, s [p50]",

		"": "", ".": "", "availability": "", "availability.": "", "availability.a b": "", "availability.a.b": "", "recovery.": "",
		"failover.sleep": "", "gap.kill": "", "throughput.kill": "", "latency": "", "latency.": "", "latency..p50": "", "latency.read.p90": "",
		"latency.a.b.p50": "", "Recovery": "", "availability.\x00": "", "availability." + strings.Repeat("x", 101): "",
	} {
		m, ok := MetricOf(name)
		if ok != (want != "") {
			t.Errorf("%q: got %v, %v", name, m, ok)
			continue
		}
		if !ok {
			continue
		}
		got := fmt.Sprintf("%s, %s %v", m.About, m.Unit, m.Compared)
		if m.More {
			got += " more"
		}
		if got != want || m.Name != name {
			t.Errorf("%q: got %q of %q, want %q", name, got, m.Name, want)
		}
	}
	for _, name := range PromiseNames() {
		m, ok := MetricOf(strings.NewReplacer("FAMILY", "kill", "FUNCTION", "read").Replace(name))
		if !ok || m.Unit != seconds && !strings.HasPrefix(name, "availability.") {
			t.Errorf("%s is suggested, and nothing of it can be promised", name)
		}
	}
}

// TestFaultyMetricsAreThoseOfRunsWithFaults compares what Faulty says with what Measured does.
func TestFaultyMetricsAreThoseOfRunsWithFaults(t *testing.T) {
	quiet := checker.Result{Parts: []checker.Result{
		{Name: "availability", Counts: map[string]int64{"no_fault_calls": 9, "no_fault_answered": 9, "answers_per_second": 3}, Samples: map[string][]int64{"gap_us": {5}}},
		{Name: "recovery", Counts: map[string]int64{"took_us": 3}},
		{Name: "failover", Samples: map[string][]int64{"downtime_us": {7}, "outage_us": {8}}},
	}}
	m := Measured(quiet)
	for _, metric := range Metrics() {
		if _, ok := m[metric.Name]; ok == metric.Faulty {
			t.Errorf("%s: measured without faults %v, faulty %v", metric.Name, ok, metric.Faulty)
		}
	}
}

// TestAnyVerdictIsMeasured has verdicts of which nothing can be said beforehand: what is
// measured can be a time or a share, is not too much, and keeps when it is written.
func TestAnyVerdictIsMeasured(t *testing.T) {
	numbers := []int64{0, 1, -1, 3, 1000, 1001, math.MaxInt64, math.MinInt64, 5_000_000}
	names := [][]string{ // by how many levels there are below
		{"kill", "fault", "no-fault", "by fault"},
		{"by fault", "by node", "kill", "fault", "", "a b", "\x00", "read", strings.Repeat("x", 200)},
		{"availability", "stats", "recovery", "failover", "by fault"},
		{"", "register"},
	}
	counts := []string{"took_us", "took_least_us", "median_us", "p99_us", "max_us", "answers_per_second", "calls", "answered", "fault_calls", "fault_answered", "no_fault_calls", "no_fault_answered"}
	samples := []string{"gap", "begin_answer", "heal_90", "detect", "failover", "downtime"}
	r := rand.New(rand.NewPCG(1, 2))
	var verdict func(depth int) checker.Result
	verdict = func(depth int) checker.Result {
		p := checker.Result{Name: names[depth][r.IntN(len(names[depth]))], Counts: map[string]int64{}, Samples: map[string][]int64{}}
		for _, c := range counts {
			if r.IntN(2) == 0 {
				p.Counts[c] = numbers[r.IntN(len(numbers))]
			}
		}
		for _, s := range samples {
			for _, as := range []string{"_us", "_least_us"} {
				n := r.IntN(4)
				if r.IntN(50) == 0 {
					n = r.IntN(3 * maxValues)
				}
				for range n {
					p.Samples[s+as] = append(p.Samples[s+as], numbers[r.IntN(len(numbers))])
				}
			}
		}
		for range min(depth, 1) * r.IntN(8) {
			p.Parts = append(p.Parts, verdict(depth-1))
		}
		return p
	}
	seen := map[string]bool{}
	for range 60 {
		m := Measured(verdict(3))
		for name, values := range m {
			seen[name] = true
			metric, ok := MetricOf(name)
			if !ok {
				t.Fatalf("%q is no metric", name)
			}
			if n := len(values.Values) + len(values.Least); n == 0 || n > maxValues {
				t.Fatalf("%s has %d values", name, n)
			}
			for _, v := range slices.Concat(values.Values, values.Least) {
				if !usable(v) || metric.Unit == "" && v > 1 {
					t.Fatalf("%s is %v", name, v)
				}
			}
		}
		if _, err := json.Marshal(m); err != nil {
			t.Fatal(err)
		}
		Judge(Promises{Durations: map[string]Limits{"gap": {P50: 1, P99: 1, Max: 1}}}, []Outcome{{Job: Job{Purpose: ForCoverage}, Attempts: []Attempt{{Class: Valid, Measures: m}}}})
	}
	for _, name := range []string{"gap", "availability.fault", "availability.kill", "recovery.kill", "latency.read.p99", "failover.detect", "end-recovery"} {
		if !seen[name] {
			t.Errorf("%s was never measured", name)
		}
	}
}
