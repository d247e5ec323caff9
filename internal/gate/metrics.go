package gate

import (
	"math"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
)

// Units of metrics; that of a share is none.
const (
	seconds   = "s"
	perSecond = "1/s"
)

// metrics are those whose names are fixed. What is compared of them is what moves little from
// run to run: medians; of times of which each run has a few the greatest, too, as what comes
// seldom and takes long shows nowhere else. Shares of families and of minorities are parts of
// the share under faults, and are not compared once more.
var metrics = []Metric{
	{Name: "availability.no-fault", About: "calls answered while no fault held", More: true, Compared: []string{"p50"}},
	{Name: "availability.fault", About: "calls answered while a fault held", More: true, Faulty: true, Compared: []string{"p50"}},
	{Name: "availability.minority", About: "calls answered while less than half of the nodes were hit", More: true, Faulty: true},
	{Name: "throughput", About: "answers without faults", Unit: perSecond, More: true, Compared: []string{"p50"}},
	{Name: "gap", About: "the longest time without an answer", Unit: seconds, Compared: []string{"p50"}},
	{Name: "recovery", About: "until an answer after a fault began", Unit: seconds, Faulty: true, Compared: []string{"p50", "max"}},
	{Name: "recovery-90", About: "until 90 % of the throughput after a fault began", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "healing", About: "until an answer after a fault was healed", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "healing-90", About: "until 90 % of the throughput after a fault was healed", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "end-recovery", About: "until an answer after everything was healed in the end", Unit: seconds, GivenUp: true, Compared: []string{"p50"}},
	{Name: "failover", About: "from the fault to the guest's first write elsewhere", Unit: seconds, Faulty: true, Compared: []string{"p50", "max"}},
	{Name: "failover.detect", About: "from the fault to the end of the host's lease", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.fence", About: "until the host's guests are stopped for certain", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.decide", About: "until the machine is taken from the host", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.place", About: "until the machine has another host", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.boot", About: "until the guest runs", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.write", About: "until the guest's first write is done", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "failover.full", About: "a failover for which no host had room at first", Unit: seconds, Faulty: true},
	{Name: "failover.outage", About: "without a sign of the machine that fails over", Unit: seconds, Faulty: true, Compared: []string{"p50"}},
	{Name: "outage", About: "the longest time without a sign of a machine that is to run", Unit: seconds},
	{Name: "downtime", About: "the pause of a live migration", Unit: seconds, Compared: []string{"p50"}},
}

// waits are the metrics of a part of [checker.Availability], by the samples that they are.
var waits = map[string]string{
	"recovery": "begin_answer", "recovery-90": "begin_90", "healing": "heal_answer", "healing-90": "heal_90",
}

// failovers are those of the part of that name that measures machines, likewise.
var failovers = map[string]string{
	"failover": "failover", "failover.full": "failover_full", "failover.outage": "failover_outage", "outage": "outage", "downtime": "downtime",
	"failover.detect": "detect", "failover.fence": "fence", "failover.decide": "decide",
	"failover.place": "place", "failover.boot": "boot", "failover.write": "write",
}

// latencies are the counts of a function in [checker.Stats], by the statistic.
var latencies = map[string]string{"p50": "median_us", "p99": "p99_us", "max": "max_us"}

// Metrics returns those whose names are fixed. Beside them there are families, see [MetricOf].
func Metrics() []Metric { return slices.Clone(metrics) }

// MetricOf returns the metric of a name; false if there can be none. Beside the fixed ones there
// are, for each family of faults:
//
//   - availability.FAMILY, the share of calls answered while such a fault held
//   - recovery.FAMILY, recovery-90.FAMILY, healing.FAMILY and healing-90.FAMILY, as without it,
//     after these faults alone
//
// and for each function that clients call latency.FUNCTION.p50, .p99 and .max, each of them one
// value of a run. They come of all its calls, which are too many to be kept. What may be promised
// of them has the name latency.FUNCTION, whose statistics they are; no run has a measure of that
// name. Whether there are such families and functions is not known here.
func MetricOf(name string) (Metric, bool) {
	if m, ok := fixed(name); ok {
		return m, true
	}
	kind, of, _ := strings.Cut(name, ".")
	switch _, isWait := waits[kind]; {
	case kind == "latency":
		function, statistic := of, ""
		if at := strings.LastIndexByte(of, '.'); at >= 0 {
			function, statistic = of[:at], of[at+1:]
		}
		m := Metric{Name: name, About: "how long " + function + " took", Unit: seconds}
		switch _, ok := latencies[statistic]; {
		case !named(function) || !ok && statistic != "":
			return Metric{}, false
		case ok:
			m.About += ", " + statistic
		}
		if statistic == "p50" || statistic == "p99" {
			m.Compared = []string{"p50"}
		}
		return m, true
	case !named(of):
	case kind == "availability":
		return Metric{Name: name, About: "calls answered while " + of + " held", More: true, Faulty: true}, true
	case isWait:
		m, _ := fixed(kind)
		return Metric{Name: name, About: m.About + " (" + of + ")", Unit: seconds, Faulty: true}, true
	}
	return Metric{}, false
}

func fixed(name string) (Metric, bool) {
	at := slices.IndexFunc(metrics, func(m Metric) bool { return m.Name == name })
	if at < 0 {
		return Metric{}, false
	}
	return metrics[at], true
}

// PromiseNames returns names of which something may be promised, with FAMILY and FUNCTION for
// what they are of, to be suggested where one is not known.
func PromiseNames() []string {
	var names []string
	for _, m := range metrics {
		if m.Unit != perSecond {
			names = append(names, m.Name)
		}
	}
	names = append(names, "availability.FAMILY", "latency.FUNCTION")
	for kind := range waits {
		names = append(names, kind+".FAMILY")
	}
	slices.Sort(names)
	return names
}

const (
	// maxValues is how many values of a metric a run has at most: it has tens as a rule.
	maxValues = 1_000
	// maxKinds is how many families, and how many functions.
	maxKinds = 100
	// longestName is that of one of them, in bytes.
	longestName = 100
)

// named says whether s can be the name of a family of faults, or of a function.
func named(s string) bool {
	return s != "" && len(s) <= longestName && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
	})
}

// Measured returns what a run has measured, by its verdict: the parts that are named stats,
// recovery, availability and failover, by custom. What is not there is not measured, and
// neither is what cannot be, such as a time below 0: a verdict may come from anywhere.
func Measured(r checker.Result) Measures {
	m := Measures{}
	a := part(r, "availability")
	for name, prefix := range map[string]string{"no-fault": "no_fault_", "fault": "fault_", "minority": "minority_"} {
		m.share("availability."+name, a.Counts, prefix)
	}
	for name, sample := range waits {
		m.times(name, a, sample)
	}
	m.times("gap", a, "gap")
	if n, ok := a.Counts["answers_per_second"]; ok && n >= 0 {
		m["throughput"] = Measure{Values: []float64{float64(n)}}
	}
	for _, family := range kinds(part(a, "by fault")) {
		if _, ok := fixed("availability." + family.Name); !ok {
			m.share("availability."+family.Name, family.Counts, "")
		}
		for name, sample := range waits {
			m.times(name+"."+family.Name, family, sample)
		}
	}
	for _, function := range kinds(part(r, "stats")) {
		for statistic, count := range latencies {
			m.time("latency."+function.Name+"."+statistic, function.Counts, count)
		}
	}
	recovery := part(r, "recovery").Counts
	m.time("end-recovery", recovery, "took_us")
	if us, ok := recovery["took_least_us"]; ok && us >= 0 {
		m["end-recovery"] = Measure{Values: m["end-recovery"].Values, Least: inSeconds([]int64{us})}
	}
	f := part(r, "failover")
	for name, sample := range failovers {
		m.times(name, f, sample)
	}
	return m
}

// part returns the part of a name; the zero Result if there is none.
func part(r checker.Result, name string) checker.Result {
	if at := slices.IndexFunc(r.Parts, func(p checker.Result) bool { return p.Name == name }); at >= 0 {
		return r.Parts[at]
	}
	return checker.Result{}
}

// kinds returns the parts of r that can be families or functions.
func kinds(r checker.Result) []checker.Result {
	all := slices.DeleteFunc(slices.Clone(r.Parts), func(p checker.Result) bool { return !named(p.Name) })
	return all[:min(len(all), maxKinds)]
}

// share adds a share of calls.
func (m Measures) share(name string, counts map[string]int64, prefix string) {
	calls, answered := counts[prefix+"calls"], counts[prefix+"answered"]
	if calls > 0 && 0 <= answered && answered <= calls {
		m[name] = Measure{Values: []float64{float64(answered) / float64(calls)}, Of: calls}
	}
}

// time adds a metric of one time.
func (m Measures) time(name string, counts map[string]int64, count string) {
	if us, ok := counts[count]; ok && us >= 0 {
		m[name] = Measure{Values: inSeconds([]int64{us})}
	}
}

// times adds what was measured value by value.
func (m Measures) times(name string, p checker.Result, sample string) {
	took, least := checker.Thin(sound(p.Samples[sample+"_us"]), sound(p.Samples[sample+"_least_us"]), maxValues)
	if len(took)+len(least) > 0 {
		m[name] = Measure{Values: inSeconds(took), Least: inSeconds(least)}
	}
}

// sound returns those of values that can be times, ascending.
func sound(values []int64) []int64 {
	values = slices.DeleteFunc(slices.Clone(values), func(us int64) bool { return us < 0 })
	slices.Sort(values)
	return values
}

func inSeconds(us []int64) []float64 {
	var s []float64
	for _, v := range us {
		s = append(s, float64(v)/1e6)
	}
	return s
}

// usable says whether v can have been measured: numbers of outcomes come over networks and
// out of files.
func usable(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }
