package register

import "encoding/json"

// Semantics say what others mean by the histories that they record, where they do not
// mean the same. The zero Semantics are those of this workload.
type Semantics struct {
	// Initial is what every register holds at first.
	Initial Value
	// NilUnknown says that a read that found null says nothing, and does not say that
	// nothing was there. So it is in Knossos, the checker of Jepsen.
	NilUnknown bool
	// FailedCASObserves says that a cas fails only if it found another value than it
	// expected, whether or not it says which. So it is in porcupine's model of etcd.
	// Otherwise one that does not say what it found says nothing: a request that no
	// leader took fails just the same.
	FailedCASObserves bool
}

// unknown is what a call has found that does not say what. No register holds it.
var unknown = Value{text: "unknown"}

// output reads the value of an ok completion.
func (s Semantics) output(f string, value json.RawMessage) (Value, error) {
	v, err := parseOutput(f, value)
	if s.NilUnknown && f == Read && v == Absent {
		v = unknown
	}
	return v, err
}

// refused makes of a failed cas the observation that it is, if it is one.
func (s Semantics) refused(c call) (call, bool) {
	seen, says := refused(c)
	if says || c.F != CAS || !s.FailedCASObserves {
		return seen, says
	}
	c.Out = unknown
	return c, true
}
