package queue

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Queues is the number of queues in use at the same time.
	Queues int
	// OpsPerQueue is after how many operations a queue is retired and another takes
	// its place. One is retired before if several of its dequeues ended
	// indeterminate: each of them excuses the loss of a value.
	OpsPerQueue int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the time in which all queues are emptied in the end.
	FinalLimit time.Duration
	// Unordered says that the system promises no order: a value may overtake others.
	Unordered bool
}

// The default options.
const (
	DefaultQueues      = 5
	DefaultOpsPerQueue = 400
)

const (
	// maxIndeterminate is how many indeterminate dequeues a queue may have. Those
	// that are outstanding when it is retired may still add to them.
	maxIndeterminate = 4
	// long is the length from which on a queue is dequeued from more often than not.
	// What is left when it is retired has to be taken out in the end.
	long = 16
	// Every storeEvery-th queue is a store, which takes storeOps values and gives
	// none back until the end. No indeterminate dequeue excuses what it loses.
	storeEvery, storeOps = 4, 40
)

// New returns the workload: values are enqueued and dequeued in about equal number,
// so that queues are short and often empty, and in the end each queue is dequeued
// from until it says that it is empty. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Queue, error)) workloads.Workload {
	o.Queues = cmp.Or(o.Queues, DefaultQueues)
	o.OpsPerQueue = cmp.Or(o.OpsPerQueue, DefaultOpsPerQueue)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	queues := &queues{}
	main := generator.Independent(o.Queues, func(i int) generator.Generator { return queues.open(i, o.OpsPerQueue) })
	return workloads.Workload{
		Name:    name(!o.Unordered),
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, &drain{queues: queues})),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(!o.Unordered),
	}
}

// queues are the names of the queues that were opened.
type queues struct {
	names    []string
	enqueued int64 // the last value that was to go into any
}

func (q *queues) open(i, ops int) *user {
	u := &user{queues: q, queue: "q" + strconv.Itoa(i), left: ops}
	if i%storeEvery == storeEvery-1 {
		u.store, u.left = true, min(ops, storeOps)
	}
	q.names = append(q.names, u.queue)
	return u
}

// A user generates the operations on one queue.
type user struct {
	queues        *queues
	queue         string
	store         bool
	left          int // operations until it is retired
	indeterminate int // of its dequeues
	length        int // of the queue, as far as is known
}

func (u *user) Next(c generator.Context) generator.Step {
	if u.left == 0 || u.indeterminate >= maxIndeterminate {
		return generator.Step{Done: true}
	}
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	u.left--
	enqueues := 55 // of a hundred
	if u.length >= long {
		enqueues = 35
	}
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: Dequeue, Value: workloads.Keyed(u.queue, nil)}
	if u.store || c.Rand.IntN(100) < enqueues {
		u.queues.enqueued++ // all values differ, so that it shows if queues are mixed up
		op.F, op.Value = Enqueue, workloads.Keyed(u.queue, u.queues.enqueued)
	}
	return generator.Step{Op: op}
}

func (u *user) Update(_ generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.Type == histories.Info && op.F == Dequeue:
		u.indeterminate++
	case op.Type == histories.OK && op.F == Enqueue:
		u.length++
	case op.Type == histories.OK:
		if out, err := parseOutput(op.F, op.Value); err == nil && !out.empty {
			u.length--
		}
	}
}

// A drain empties all queues that were ever opened, each by one process at a time,
// until it has said that it is empty.
type drain struct {
	queues *queues
	begun  bool
	idle   []turn // what is to be done; who waits longest is first
	busy   map[histories.Process]string
}

// A turn is the next dequeue from a queue, not before a time.
type turn struct {
	queue string
	from  time.Duration
}

func (d *drain) Next(c generator.Context) generator.Step {
	if !d.begun {
		d.begun, d.busy = true, map[histories.Process]string{}
		for _, name := range d.queues.names {
			d.idle = append(d.idle, turn{queue: name})
		}
	}
	if len(d.idle) == 0 && len(d.busy) == 0 {
		return generator.Step{Done: true}
	}
	if len(d.idle) == 0 || len(c.Free) == 0 {
		return generator.Step{}
	}
	at := slices.IndexFunc(d.idle, func(t turn) bool { return t.from <= c.Now })
	if at < 0 {
		first := slices.MinFunc(d.idle, func(a, b turn) int { return int(a.from - b.from) })
		return generator.Step{Wait: first.from - c.Now}
	}
	next, p := d.idle[at], c.Free[0]
	d.idle = slices.Delete(d.idle, at, at+1)
	d.busy[p] = next.queue
	return generator.Step{Op: &histories.Op{
		Type: histories.Invoke, Process: p, F: Dequeue, Value: workloads.Keyed(next.queue, nil),
	}}
}

func (d *drain) Update(c generator.Context, op histories.Op) {
	queue, ours := d.busy[op.Process]
	if !ours || op.Type == histories.Invoke {
		return
	}
	delete(d.busy, op.Process)
	if op.Type != histories.OK {
		d.idle = append(d.idle, turn{queue, c.Now + workloads.FinalPause})
		return
	}
	if out, err := parseOutput(op.F, op.Value); err != nil || !out.empty {
		d.idle = append(d.idle, turn{queue: queue})
	}
}
