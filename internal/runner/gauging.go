package runner

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// What is measured is recorded every gaugeEvery, but no more than gaugeRate bytes of it a
// second: of many nodes there is more to say.
const (
	gaugeEvery = 500 * time.Millisecond
	gaugeRate  = 1 << 10
)

// measure records what the lab measures, if it measures anything: at once, again and again,
// and a last time when the returned function is called, which waits for that, but no longer
// than for a worker. It is for people who look at the run: no generator is told of it, and
// no checker asks.
func (r *run) measure() (end func() error) {
	lab, ok := r.Lab.(cluster.Gauged)
	if !ok {
		return func() error { return nil }
	}
	over, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.gauge(lab, over) }()
	return func() error {
		close(over)
		return patiently(ended, "measure the lab: it has not answered")
	}
}

// gauge records until over is closed, and once more.
func (r *run) gauge(lab cluster.Gauged, over <-chan struct{}) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for last := false; !last; {
		select {
		case <-pause.C:
		case <-over:
			last = true
		}
		value, err := r.gauges(lab)
		if err != nil {
			return fmt.Errorf("measure the lab: %w", err)
		}
		_, err = r.in.journal.Append(histories.Op{Type: histories.Event, Process: histories.Observer, F: histories.Gauges, Value: value})
		if err != nil {
			return nil // whoever does the next op says why
		}
		pause.Reset(max(gaugeEvery, time.Duration(len(value))*time.Second/gaugeRate))
	}
	return nil
}

// gauges returns what the lab measures now.
func (r *run) gauges(lab cluster.Gauged) (value json.RawMessage, err error) {
	defer r.in.recovered("measure", &err)
	return json.Marshal(lab.Gauges())
}
