package watch

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The functions of the workload. The values of their ops are objects:
//
//	put      {"key":"a","value":"3"}  {"key":"a","value":"3","revision":8}
//	delete   {"key":"a"}              {"key":"a","revision":9}; without revision: nothing was there
//	compact  {"revision":5}           likewise
//	status   {}                       {"revision":9}
//	watch    {"watcher":1,"key":"a","end":"c","from":8}
//	         {"watcher":1,"from":8,"to":9,"events":[[8,"put","a","3"],[9,"delete","a"]]}
//
// What a watch was told may have "resumed":n, and "compacted":revision. Values are
// texts that nothing else in the history puts.
const (
	Put     = "put"
	Delete  = "delete"
	Compact = "compact"
	Status  = "status"
	Watch   = "watch"
)

// Input is the argument of an operation.
type Input struct {
	Watcher *int `json:"watcher,omitempty"`
	Keys
	Value    string `json:"value,omitempty"`
	From     uint64 `json:"from,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
}

// Output is the result of an operation that took place.
type Output struct {
	Watcher   *int    `json:"watcher,omitempty"`
	Key       string  `json:"key,omitempty"`
	Value     string  `json:"value,omitempty"`
	Revision  uint64  `json:"revision,omitempty"`
	From      uint64  `json:"from,omitempty"`
	To        uint64  `json:"to,omitempty"`
	Events    []Event `json:"events,omitempty"`
	Compacted uint64  `json:"compacted,omitempty"`
	Resumed   int     `json:"resumed,omitempty"`
}

// payload returns in as an op carries it.
func (in Input) payload() json.RawMessage {
	b, err := json.Marshal(in)
	if err != nil {
		panic("watch: " + err.Error()) // texts and numbers always marshal
	}
	return b
}

// ParseInput reads the argument of function f.
func ParseInput(f string, value json.RawMessage) (Input, error) {
	var in Input
	if err := json.Unmarshal(value, &in); err != nil {
		return in, err
	}
	switch f {
	case Put, Delete, Compact, Status:
	case Watch:
		if in.Watcher == nil {
			return in, errors.New("names no watcher")
		}
	default:
		return in, errors.New("is no function of this workload")
	}
	return in, nil
}

// parseOutput reads the value of an ok completion.
func parseOutput(_ string, value json.RawMessage) (Output, error) {
	var out Output
	err := json.Unmarshal(value, &out)
	return out, err
}

// MarshalJSON returns [revision, "put", key, value] or [revision, "delete", key].
func (e Event) MarshalJSON() ([]byte, error) {
	if e.Deleted {
		return json.Marshal([]any{e.Revision, Delete, e.Key})
	}
	return json.Marshal([]any{e.Revision, Put, e.Key, e.Value})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (e *Event) UnmarshalJSON(b []byte) error {
	var f string
	fields := []any{&e.Revision, &f, &e.Key, &e.Value}
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	e.Deleted = f == Delete
	if !(f == Put && len(fields) == 4 || f == Delete && len(fields) == 3) {
		return fmt.Errorf("%s is no event", b)
	}
	return nil
}

// String returns the event as people read it: "put a=3 at revision 8".
func (e Event) String() string {
	if e.Deleted {
		return fmt.Sprintf("delete %s at revision %d", e.Key, e.Revision)
	}
	return fmt.Sprintf("put %s=%s at revision %d", e.Key, e.Value, e.Revision)
}
