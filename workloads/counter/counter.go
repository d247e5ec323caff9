// Package counter is the workload of counters: numbers are added to them, also
// negative ones, and their sums are read. What a read may return is judged
// exactly where that is feasible, and not only by bounds as Jepsen's counter is,
// which accepts sums that no subset of the adds makes (jepsen-io/jepsen issue 303).
package counter

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
// Jepsen's. A counter that has no name, as where there is only one, is not
// mentioned: 3, null and 17.
const (
	Add  = "add"  // ["c1",-3]
	Read = "read" // ["c1",null], completed by ["c1",17]
)

// A Counter is what a system under test offers to this workload, as one client
// sees it. Its calls come one at a time and return soon after ctx has ended. What
// an error means is what [workloads.Client] says: one that is not marked as
// definite leaves open whether the operation took place.
type Counter interface {
	// Add adds delta to a counter, which is 0 if nobody has added to it before.
	Add(ctx context.Context, counter string, delta int64) (workloads.Said, error)
	// Read returns the sum of a counter, linearizably.
	Read(ctx context.Context, counter string) (Result, error)
	// Close ends the connection.
	Close() error
}

// A Result is what a read returned.
type Result struct {
	// Sum is the sum found.
	Sum int64
	// Garbage is what was found instead, as text, if it is no whole number; empty
	// if it is one. To return it as an error would hide it.
	Garbage string
	workloads.Said
}

// perform performs an op by a call of a Counter.
func perform(ctx context.Context, c Counter, op histories.Op) (workloads.Reply, error) {
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	if op.F == Add {
		said, err := c.Add(ctx, in.counter, in.delta)
		return said.Reply(), err
	}
	r, err := c.Read(ctx, in.counter)
	reply := r.Reply()
	switch {
	case err != nil:
	case r.Garbage != "":
		reply.Value = workloads.Keyed(in.counter, r.Garbage)
	default:
		reply.Value = workloads.Keyed(in.counter, r.Sum)
	}
	return reply, err
}

// input is the argument of an operation.
type input struct {
	counter string
	delta   int64 // to be added
}

// output is what a read found: garbage, if that is not empty.
type output struct {
	sum     int64
	garbage string
}

// maxDelta bounds what is added, so that no sum of a history overflows.
const maxDelta = 1 << 32

func parseInput(f string, value json.RawMessage) (input, error) {
	counter, arg, err := split(value)
	if err != nil {
		return input{}, err
	}
	in := input{counter: counter}
	switch f {
	case Read: // whatever stands where the result will: null, or nothing
	case Add:
		in.delta, err = strconv.ParseInt(string(arg), 10, 64)
		if err != nil || in.delta > maxDelta || in.delta < -maxDelta {
			err = fmt.Errorf("%s is no whole number up to %d", arg, int64(maxDelta))
		}
	default:
		err = errors.New("is no function of a counter")
	}
	return in, err
}

// parseOutput reads the value of an ok completion: of a read, what it found. What
// is no whole number is garbage, as it is spelt, or said if it is a text.
func parseOutput(f string, value json.RawMessage) (output, error) {
	if f != Read {
		return output{}, nil
	}
	_, arg, err := split(value)
	if err != nil {
		return output{}, err
	}
	if len(arg) == 0 || string(arg) == "null" {
		return output{}, errors.New("is no sum")
	}
	var text string
	if n, err := strconv.ParseInt(string(arg), 10, 64); err == nil {
		return output{sum: n}, nil
	} else if json.Unmarshal(arg, &text) == nil && text != "" {
		return output{garbage: text}, nil
	}
	return output{garbage: string(arg)}, nil
}

// split parts [key, argument]. A bare argument has no key.
func split(value json.RawMessage) (key string, arg json.RawMessage, err error) {
	value = bytes.TrimSpace(value)
	if len(value) == 0 || value[0] != '[' {
		return "", value, nil
	}
	return workloads.ParseKeyed(value)
}
