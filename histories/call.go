package histories

import (
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// Never is the completion time of an operation whose outcome is unknown: it may
// take effect at any time after its invocation.
const Never = time.Duration(math.MaxInt64)

// A Call is an operation of a client: an invocation with its completion, the
// payloads decoded.
type Call[In, Out any] struct {
	// Index and Completion are the indices of its two ops; Completion is -1 if
	// there is none.
	Index, Completion int
	Process           Process
	F                 string
	In                In
	// Out is the result; meaningful only if Type is OK.
	Out Out
	// Type is OK, Fail or Info. An operation that never completed is Info: what
	// nobody reported is as unknown as what somebody reported as unknown.
	Type Type
	// Invoked and Completed bound the time at which it took effect. Completed is
	// Never if Type is Info.
	Invoked, Completed time.Duration
	// Error, Node and Meta are the completion's, or the invocation's where there
	// is none.
	Error, Node string
	Meta        json.RawMessage
}

// Calls returns the operations of the client processes in the order of their
// invocations. The workload says by in and out how the payloads of its
// functions read; out is called for ok completions alone.
func Calls[In, Out any](
	h *History,
	in func(f string, value json.RawMessage) (In, error),
	out func(f string, value json.RawMessage) (Out, error),
) ([]Call[In, Out], error) {
	var calls []Call[In, Out]
	for i := range h.Len() {
		if r := h.record(i); r.process < 0 || r.typ != Invoke {
			continue
		}
		c, err := CallAt(h, i, in, out)
		if err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	return calls, nil
}

// CallAt returns the operation that op i, which is one of a client, invokes.
func CallAt[In, Out any](
	h *History, i int,
	in func(f string, value json.RawMessage) (In, error),
	out func(f string, value json.RawMessage) (Out, error),
) (Call[In, Out], error) {
	op := h.At(i)
	c := Call[In, Out]{
		Index: i, Completion: h.Pair(i), Process: op.Process, F: op.F, Type: Info,
		Invoked: op.Time, Completed: Never, Node: op.Node, Meta: op.Meta,
	}
	var err error
	if c.In, err = in(op.F, op.Value); err != nil {
		return c, fmt.Errorf("op %d: %s %s: %w", i, op.F, op.Value, err)
	}
	if c.Completion < 0 {
		return c, nil
	}
	done := h.At(c.Completion)
	c.Type, c.Error, c.Meta = done.Type, done.Error, done.Meta
	if done.Node != "" {
		c.Node = done.Node
	}
	if c.Type != Info {
		c.Completed = done.Time
	}
	if c.Type == OK {
		if c.Out, err = out(done.F, done.Value); err != nil {
			return c, fmt.Errorf("op %d: %s %s: %w", c.Completion, done.F, done.Value, err)
		}
	}
	return c, nil
}
