package workloads

import (
	"bytes"
	"encoding/json"
	"errors"
)

// Keyed returns [key, v], the value of an op on one of several objects. What v is
// always marshals, or Keyed panics.
func Keyed(key string, v any) json.RawMessage {
	b, err := json.Marshal([2]any{key, v})
	if err != nil {
		panic("workloads: " + err.Error())
	}
	return b
}

var errNotKeyed = errors.New("is not [key, value]")

// ParseKeyed takes [key, argument] apart. A key is a text, or a number, as Jepsen's are,
// and then is how that is spelt.
//
// It is written by hand since decoding is otherwise half of what judging costs. It leans
// on value being JSON, which reading the history has made sure of.
func ParseKeyed(value json.RawMessage) (key string, argument json.RawMessage, err error) {
	array := bytes.TrimSpace(value)
	if len(array) < 2 || array[0] != '[' {
		return "", nil, errNotKeyed
	}
	elements := array[1 : len(array)-1]
	at := comma(elements)
	if at < 0 {
		return "", nil, errNotKeyed
	}
	first, argument := bytes.TrimSpace(elements[:at]), bytes.TrimSpace(elements[at+1:])
	if len(first) == 0 || len(argument) == 0 || comma(argument) >= 0 {
		return "", nil, errNotKeyed
	}
	switch c := first[0]; {
	case c == '"' && bytes.IndexByte(first, '\\') < 0:
		return string(first[1 : len(first)-1]), argument, nil
	case c == '"':
		err = json.Unmarshal(first, &key)
		return key, argument, err
	case c == '-' || c >= '0' && c <= '9':
		return string(first), argument, nil
	}
	return "", nil, errNotKeyed
}

// comma returns where the first element of several ends; -1 if there is but one.
func comma(elements []byte) int {
	depth := 0
	for i := 0; i < len(elements); i++ {
		switch elements[i] {
		case '"':
			for i++; i < len(elements) && elements[i] != '"'; i++ {
				if elements[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}
