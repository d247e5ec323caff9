package kv

import (
	"encoding/json"
	"errors"
	"fmt"
)

// The functions of the workload. The values of their ops are objects:
//
//	get     {"key":"a"}             {"revision":7,"kvs":[["a","12",5,7,2]]}
//	range   {"prefix":"a"}          likewise
//	put     {"key":"a","value":"3"} {"revision":8}
//	delete  {"key":"a"}             {"revision":9,"deleted":true}
//	txn     {"if":[["a","value","3"],["b","mod",0]],
//	         "then":[["put","a","4"],["delete","b"],["get","c"]],
//	         "else":[["get","a"]]}  {"revision":9,"succeeded":true,"results":[null,false,["c","1",2,2,1]]}
//	compact {"revision":5}          likewise: what was before that may be forgotten
//
// A key with what it holds is [key, value, create, mod, version]. Reads may have "at":
// a revision of the past, or "serializable":true. Values are texts that nothing
// else in the history puts.
const (
	Get      = "get"
	Range    = "range"
	Put      = "put"
	Delete   = "delete"
	Transact = "txn"
	Compact  = "compact"
)

// Input is the argument of an operation.
type Input struct {
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	// Revision is the first that remains of those that are compacted.
	Revision uint64 `json:"revision,omitempty"`
	Mode
	Txn
}

// Output is the result of an operation that took place.
type Output struct {
	Revision  uint64   `json:"revision"`
	KVs       []KV     `json:"kvs,omitempty"`
	Deleted   bool     `json:"deleted,omitempty"`
	Succeeded bool     `json:"succeeded,omitempty"`
	Results   []Result `json:"results,omitempty"`
}

// payload returns in as an op carries it.
func (in Input) payload() json.RawMessage {
	b, err := json.Marshal(in)
	if err != nil {
		panic("kv: " + err.Error()) // texts and numbers always marshal
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
	case Get, Range, Put, Delete, Compact:
		return in, nil
	case Transact:
		return in, errors.Join(sound(in.Then), sound(in.Else))
	}
	return in, errors.New("is no function of a store")
}

// sound says what is wrong with a branch of a transaction. Systems differ in whether
// an action sees what others of its transaction did; here none can tell.
func sound(branch []Action) error {
	written := map[string]bool{}
	for _, a := range branch {
		if written[a.Key] {
			return fmt.Errorf("%s of %s, which the transaction has written", a.F, a.Key)
		}
		written[a.Key] = a.F != Get
	}
	return nil
}

// parseOutput reads the value of an ok completion.
func parseOutput(_ string, value json.RawMessage) (Output, error) {
	var out Output
	err := json.Unmarshal(value, &out)
	return out, err
}

// MarshalJSON returns [key, value, create, mod, version].
func (kv KV) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{kv.Key, kv.Value, kv.Create, kv.Mod, kv.Version})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (kv *KV) UnmarshalJSON(b []byte) error {
	return tuple(b, &kv.Key, &kv.Value, &kv.Create, &kv.Mod, &kv.Version)
}

// MarshalJSON returns [key, "value", value] or [key, "mod", revision].
func (c Compare) MarshalJSON() ([]byte, error) {
	if c.By == Mod {
		return json.Marshal([]any{c.Key, Mod, c.Mod})
	}
	return json.Marshal([]any{c.Key, Value, c.Value})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (c *Compare) UnmarshalJSON(b []byte) error {
	var to json.RawMessage
	if err := tuple(b, &c.Key, &c.By, &to); err != nil {
		return err
	}
	switch c.By {
	case Mod:
		return json.Unmarshal(to, &c.Mod)
	case Value:
		return json.Unmarshal(to, &c.Value)
	}
	return fmt.Errorf("%s compares neither value nor mod revision", b)
}

// MarshalJSON returns ["put", key, value], or ["get", key], or ["delete", key].
func (a Action) MarshalJSON() ([]byte, error) {
	if a.F == Put {
		return json.Marshal([]string{a.F, a.Key, a.Value})
	}
	return json.Marshal([]string{a.F, a.Key})
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (a *Action) UnmarshalJSON(b []byte) error {
	var s []string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	switch {
	case len(s) == 3 && s[0] == Put:
		a.Value = s[2]
	case len(s) != 2 || s[0] != Get && s[0] != Delete:
		return fmt.Errorf("%s is no action of a transaction", b)
	}
	a.F, a.Key = s[0], s[1]
	return nil
}

// MarshalJSON returns what a get found, true if a delete found something, and null
// otherwise.
func (r Result) MarshalJSON() ([]byte, error) {
	if r.Deleted {
		return []byte("true"), nil
	}
	return json.Marshal(r.KV)
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (r *Result) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true", "false":
		r.Deleted = string(b) == "true"
		return nil
	}
	return json.Unmarshal(b, &r.KV)
}

// tuple reads a JSON array of a fixed length.
func tuple(b []byte, into ...any) error {
	n := len(into)
	if err := json.Unmarshal(b, &into); err != nil {
		return err
	}
	if len(into) != n {
		return fmt.Errorf("%s has not %d elements", b, n)
	}
	return nil
}
