// Package recorded judges what others record and no workload here plays: mutexes,
// multi-registers, stores of texts that grow, queues and sets, each of which must be
// linearizable. The operations are spelt as Jepsen's, Knossos's and porcupine's tests
// spell them.
//
// Nothing is asked of the run, as whether its faults acted or its operations succeeded:
// what its recorder did not write down cannot be missed.
package recorded

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// judge returns the checker of a model, as that of a workload.
func judge[S comparable, In, Out any](name string, m checker.Model[S, In, Out], b checker.Budget) checker.Checker {
	return checker.Compose(name, checker.Part{Name: "linearizable", Checker: checker.Linearizable(m, b)})
}

// split parts [key, argument], as Jepsen's independent keys are written. What is not so
// written has no key, and is all argument; nothing at all is null.
func split(value json.RawMessage) (key, argument string) {
	if len(bytes.TrimSpace(value)) == 0 {
		return "", null
	}
	if key, argument, err := workloads.ParseKeyed(value); err == nil {
		return key, spelt(argument)
	}
	return "", spelt(value)
}

// null is how JSON spells nothing.
const null = "null"

// spelt returns a value of JSON so that equal values are spelt alike, without a newline.
// Numbers are compared as they are written.
func spelt(value json.RawMessage) string {
	if !bytes.ContainsAny(value, "\"[{ \t\r\n") { // most are numbers
		return string(value)
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		panic("recorded: " + err.Error()) // a history's values are JSON
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("recorded: " + err.Error()) // what was JSON still is
	}
	return string(b)
}

// named returns how an object is called: as it is if there is but one.
func named(key, one string) string {
	if key == "" {
		return one
	}
	return key
}

// unexplained says the little that is always true of a violation.
func unexplained[In, Out any](v checker.Violation[In, Out], did func(histories.Call[In, Out]) string) checker.Anomaly {
	note := fmt.Sprintf("no order of these %d calls explains that ", len(v.Witness))
	if len(v.Witness) == 1 {
		note = "nothing explains that "
	}
	return checker.Anomaly{Kind: "not linearizable", Note: note + did(v.Last)}
}
