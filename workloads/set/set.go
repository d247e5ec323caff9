// Package set is the workload of sets that only grow: elements are added, each
// once, and whole sets are read, each of which must behave as if there were one
// copy of it and one client at a time. It is Jepsen's set-full for linearizable
// reads, with the check for duplicates that set-full lacks, and with those that
// look at several elements together.
package set

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops, which are
// Jepsen's. A set that has no name, as where there is only one, is not mentioned:
// 3, null and [1,2,3].
const (
	Add  = "add"  // ["s1",3]
	Read = "read" // ["s1",null], completed by ["s1",[1,2,3]]
)

// A Set is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether the operation took place.
type Set interface {
	// Add adds element to a set, which need not exist before.
	Add(ctx context.Context, set string, element int64) (workloads.Said, error)
	// Read returns all that is in a set, linearizably: nothing, if nobody has added
	// to it.
	Read(ctx context.Context, set string) (Result, error)
	// Close ends the connection.
	Close() error
}

// A Result is what a read returned, as it was: in any order, with what is there
// twice twice, and whoever may have put it there.
type Result struct {
	// Elements are the elements found.
	Elements []int64
	// Garbage is what was found beside, as text: what is no whole number, no client
	// has added. To return it as an error would hide it.
	Garbage []string
	workloads.Said
}

// perform performs an op by a call of a Set.
func perform(ctx context.Context, s Set, op histories.Op) (workloads.Reply, error) {
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	if op.F == Add {
		said, err := s.Add(ctx, in.set, in.element)
		return said.Reply(), err
	}
	r, err := s.Read(ctx, in.set)
	reply := r.Reply()
	if err == nil {
		reply.Value = workloads.Keyed(in.set, list(contents{r.Elements, r.Garbage}))
	}
	return reply, err
}

// input is the argument of an operation.
type input struct {
	set     string
	element int64 // to be added
}

// contents are what a read found.
type contents struct {
	elements []int64
	garbage  []string
}

// list returns c as JSON: [1,2,"rotten"].
func list(c contents) json.RawMessage {
	b := []byte{'['}
	for _, e := range c.elements {
		b = append(strconv.AppendInt(b, e, 10), ',')
	}
	for _, g := range c.garbage {
		text, err := json.Marshal(g)
		if err != nil {
			panic("set: " + err.Error()) // strings always marshal
		}
		b = append(append(b, text...), ',')
	}
	return append(bytes.TrimSuffix(b, []byte{','}), ']')
}

func parseInput(f string, value json.RawMessage) (input, error) {
	set, arg, err := split(f, value)
	if err != nil {
		return input{}, err
	}
	in := input{set: set}
	switch f {
	case Read: // whatever stands where the result will: null, or nothing
	case Add:
		if in.element, err = strconv.ParseInt(string(arg), 10, 64); err != nil {
			err = fmt.Errorf("%s is no whole number", arg)
		}
	default:
		err = errors.New("is no function of a set")
	}
	return in, err
}

// parseOutput reads the value of an ok completion: of a read, what it found.
func parseOutput(f string, value json.RawMessage) (contents, error) {
	if f != Read {
		return contents{}, nil
	}
	_, arg, err := split(f, value)
	if err != nil {
		return contents{}, err
	}
	return parseList(arg)
}

// split parts [key, argument]. A bare argument has no key; of those only what a
// read found is an array, and its elements are none.
func split(f string, value json.RawMessage) (key string, arg json.RawMessage, err error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || value[0] != '[' {
		return "", value, nil
	}
	key, arg, err = workloads.ParseKeyed(value)
	if keyed := err == nil && (arg[0] == '[' || string(arg) == "null"); f == Read && !keyed {
		return "", value, nil
	}
	return key, arg, err
}

// parseList reads what a read found. What is no whole number is garbage, and
// is kept as it is spelt, or said if it is a text.
func parseList(value json.RawMessage) (contents, error) {
	if len(value) == 0 || value[0] != '[' {
		return contents{}, errors.New("is no list of elements")
	}
	inner := bytes.TrimSpace(value[1 : len(value)-1])
	if len(inner) == 0 {
		return contents{}, nil
	}
	// Nearly all lists are numbers alone, and by hand they are read much faster.
	c := contents{elements: make([]int64, 0, bytes.Count(inner, []byte{','})+1)}
	for number := range bytes.SplitSeq(inner, []byte{','}) {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(number)), 10, 64)
		if err != nil {
			return parseMixed(value)
		}
		c.elements = append(c.elements, n)
	}
	return c, nil
}

func parseMixed(value json.RawMessage) (c contents, err error) {
	var all []json.RawMessage
	if err := json.Unmarshal(value, &all); err != nil {
		return c, err
	}
	for _, one := range all {
		var text string
		if n, err := strconv.ParseInt(string(one), 10, 64); err == nil {
			c.elements = append(c.elements, n)
		} else if json.Unmarshal(one, &text) == nil && one[0] == '"' {
			c.garbage = append(c.garbage, text)
		} else {
			c.garbage = append(c.garbage, string(one))
		}
	}
	return c, nil
}
