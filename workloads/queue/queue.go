// Package queue is the workload of queues: clients enqueue values, each once, and
// dequeue them. Nothing that was acknowledged may be lost, nothing may come out
// twice or from nowhere, and, where the system promises it, what went in first
// comes out first.
//
// The operations are Jepsen's: enqueue [queue, value], and dequeue [queue, null],
// which completes with [queue, value], or with [queue, null] if the queue was empty.
package queue

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// The functions.
const (
	Enqueue = "enqueue"
	Dequeue = "dequeue"
)

// A Queue is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether a value went in, or whether one was taken out.
type Queue interface {
	// Enqueue adds value to the end of queue, which begins to be with its first.
	Enqueue(ctx context.Context, queue string, value int64) (workloads.Said, error)
	// Dequeue takes the first value out of queue. That there is none is no error.
	Dequeue(ctx context.Context, queue string) (Result, error)
	// Close ends the connection.
	Close() error
}

// Garbage is the value of what came out that no client can have put in. It is no error, or
// nobody would hear of it.
const Garbage int64 = -1

// A Result is what a system said of a dequeue.
type Result struct {
	// Value is what came out, unless the queue was Empty.
	Value int64
	Empty bool
	workloads.Said
}

// perform performs an op by a call of a Queue.
func perform(ctx context.Context, q Queue, op histories.Op) (workloads.Reply, error) {
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	if op.F == Enqueue {
		said, err := q.Enqueue(ctx, in.queue, in.value)
		return said.Reply(), err
	}
	r, err := q.Dequeue(ctx, in.queue)
	reply := r.Reply()
	switch {
	case err != nil:
	case r.Empty:
		reply.Value = workloads.Keyed(in.queue, nil)
	default:
		reply.Value = workloads.Keyed(in.queue, r.Value)
	}
	return reply, err
}

// An input is what an operation is asked to do.
type input struct {
	queue string
	value int64 // to enqueue
}

// An output is what a dequeue found.
type output struct {
	value int64
	empty bool
}

// A call is an operation on a queue.
type call = histories.Call[input, output]

func parseInput(f string, value json.RawMessage) (input, error) {
	queue, v, err := parse(value)
	switch {
	case err != nil:
		return input{}, err
	case f == Dequeue:
		return input{queue: queue}, nil
	case f != Enqueue:
		return input{}, errors.New("is no function of a queue")
	case v == nil:
		return input{}, errors.New("nothing to enqueue")
	}
	return input{queue, *v}, nil
}

func parseOutput(f string, value json.RawMessage) (output, error) {
	if f == Enqueue {
		return output{}, nil
	}
	_, v, err := parse(value)
	if err != nil || v == nil {
		return output{empty: true}, err
	}
	return output{value: *v}, nil
}

// parse takes [queue, value] apart; the value may be null.
func parse(value json.RawMessage) (queue string, v *int64, err error) {
	queue, arg, err := workloads.ParseKeyed(value)
	if err != nil {
		return "", nil, err
	}
	return queue, v, json.Unmarshal(arg, &v)
}
