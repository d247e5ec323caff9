// Package register is the workload of registers: keys that are read, written and
// compared-and-set, each of which must behave as if there were one copy of it
// and one client at a time. It must be linearizable.
package register

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops. All but meta
// are as Jepsen writes them, so that its tools and ours read each other's files.
const (
	Read  = "read"  // ["k",null], completed by ["k",3] or ["k","x"]; null: nothing is there
	Write = "write" // ["k",3]
	CAS   = "cas"   // ["k",[3,4]]: set 4 if it is 3
)

// A Value is what a register holds: a number, a text or, in the zero Value,
// nothing. Values are compared by ==; the number 1 and the text "1" are two.
//
// The workload writes numbers. A text is what a system may answer all the same,
// and what registers of others hold: an answer that is no number is an answer,
// and to call it an error would hide it.
type Value struct {
	Number  int64
	Present bool
	text    string // as JSON spells it, which is never empty; "" of a number
}

// Absent is what a register holds that was never written.
var Absent Value

// Of returns the value n.
func Of(n int64) Value { return Value{Number: n, Present: true} }

// Text returns the value s. What in s is no UTF-8 becomes U+FFFD, as in any JSON.
func Text(s string) Value {
	b, err := json.Marshal(strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("register: " + err.Error()) // strings always marshal
	}
	return Value{Present: true, text: string(b)}
}

// IsText says whether the value is a text, which has no number.
func (v Value) IsText() bool { return v.text != "" }

// Text returns what the text says; "" of a value that is none.
func (v Value) Text() string {
	var s string
	if v.IsText() && json.Unmarshal([]byte(v.text), &s) != nil {
		panic("register: " + v.text + " is no text")
	}
	return s
}

// String returns the value as the history spells it: 3, "three" or null.
func (v Value) String() string {
	switch {
	case !v.Present:
		return "null"
	case v.IsText():
		return v.text
	}
	return strconv.FormatInt(v.Number, 10)
}

// MarshalJSON returns the number, the text, or null.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalJSON reads a whole number, a text, or null.
func (v *Value) UnmarshalJSON(b []byte) error {
	switch {
	case string(b) == "null":
		*v = Absent
		return nil
	case len(b) > 0 && b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%s is no text: %w", b, err)
		}
		*v = Text(s) // spelt anew, since one text has many spellings
		return nil
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%s is neither a whole number of 64 bits, nor a text, nor null", b)
	}
	*v = Of(n)
	return nil
}

// Input is the argument of an operation.
type Input struct {
	Key string
	// New is what a write or a cas sets; Old is what the cas expects.
	Old, New Value
}

// Payload returns the argument of function f as an op carries it. It is the
// value of the completion, too, but for a read's: see [ReadPayload].
func (in Input) Payload(f string) json.RawMessage {
	switch f {
	case Write:
		return workloads.Keyed(in.Key, in.New)
	case CAS:
		return workloads.Keyed(in.Key, [2]Value{in.Old, in.New})
	}
	return workloads.Keyed(in.Key, nil)
}

// ReadPayload returns the result of a read of key that found v.
func ReadPayload(key string, v Value) json.RawMessage { return workloads.Keyed(key, v) }

// ParseInput reads the argument of function f. Values without a key, as in the
// histories of other tools, belong to the key "".
func ParseInput(f string, value json.RawMessage) (Input, error) {
	key, arg, err := split(f, value)
	if err != nil {
		return Input{}, err
	}
	in := Input{Key: key}
	switch f {
	case Read: // whatever stands where the result will: null, or nothing
	case Write:
		err = in.New.UnmarshalJSON(arg)
	case CAS:
		in.Old, in.New, err = parsePair(arg)
	default:
		err = errors.New("is no function of a register")
	}
	return in, err
}

// parsePair reads [old, new]. Where both are numbers, as in most histories, it does so by
// hand: decoding is a good part of what judging costs.
func parsePair(arg []byte) (old, replacement Value, err error) {
	if n := len(arg); n > 2 && bytes.IndexByte(arg, '"') < 0 {
		if a, b, two := bytes.Cut(arg[1:n-1], []byte(",")); two && arg[n-1] == ']' {
			if old.UnmarshalJSON(bytes.TrimSpace(a)) == nil && replacement.UnmarshalJSON(bytes.TrimSpace(b)) == nil {
				return old, replacement, nil
			}
		}
	}
	var pair []Value
	if err = json.Unmarshal(arg, &pair); err == nil && len(pair) != 2 {
		err = fmt.Errorf("%s is no pair of old and new value", arg)
	}
	if err != nil {
		return Absent, Absent, err
	}
	return pair[0], pair[1], nil
}

// parseOutput reads the value of an ok completion: of a read, what it found.
func parseOutput(f string, value json.RawMessage) (Value, error) {
	if f != Read {
		return Absent, nil
	}
	_, arg, err := split(f, value)
	if err != nil {
		return Absent, err
	}
	var v Value
	err = v.UnmarshalJSON(arg)
	return v, err
}

// split parts [key, argument]. A bare argument has no key; of bare arguments only
// a cas's is an array, and then [key, argument] ends in an array of its own. One that
// begins like [key, argument], with a text, must end like a pair of texts.
func split(f string, value json.RawMessage) (key string, arg []byte, err error) {
	arg = bytes.TrimSpace(value)
	if len(arg) == 0 {
		return "", []byte("null"), nil
	}
	if arg[0] != '[' {
		return "", arg, nil
	}
	pair := bytes.TrimSpace(arg[1 : len(arg)-1])
	if f == CAS && !bytes.HasSuffix(pair, []byte("]")) {
		if bytes.HasPrefix(pair, []byte(`"`)) && !bytes.HasSuffix(pair, []byte(`"`)) {
			return "", nil, errors.New("is neither [key, [old, new]] nor [old, new]")
		}
		return "", arg, nil
	}
	return workloads.ParseKeyed(arg)
}
