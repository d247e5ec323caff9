package gate

// Measures are what a run has measured, by metric.
type Measures map[string]Measure

// A Measure is the values of one metric in one run, in the metric's unit: one, or, of a
// metric that is a distribution, one for each time that something was measured.
type Measure struct {
	Values []float64 `json:"values"`
	// Least are lower bounds of what did not come to its end, such as the time until an answer
	// that nobody saw: it took as long as that at least.
	Least []float64 `json:"least,omitempty"`
	// Of is how many calls a share is of; 0: of none, or nobody knows.
	Of int64 `json:"of,omitempty"`
}

// A Metric is something that is measured.
type Metric struct {
	// Name is as hacheck.yaml has it: "recovery", "availability.fault", "failover.detect",
	// "latency.read.p99".
	Name string
	// About says what it is in a few words: "until an answer after a fault began".
	About string
	// Unit is "s", "1/s" or "" of a share.
	Unit string
	// More says that more of it is better.
	More bool
	// Faulty says that only runs in which faults hold measure it.
	Faulty bool
	// GivenUp says that what has no end was waited for in vain for as long as anybody waits. Of
	// other times it was cut off by the end of the run, as any other might have been.
	GivenUp bool
	// Compared are the statistics of a run that are compared with the baseline: "p50", "p99",
	// "max"; of a metric with one value "p50" is that value. None of a metric that is only
	// promised.
	Compared []string
}
