package member

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Keys is the number of registers in use at the same time.
	Keys int
	// OpsPerKey is after how many operations a key is retired and another takes its
	// place, so that judging stays easy. A key is retired before if many of its
	// writes ended indeterminate.
	OpsPerKey int
	// Rate is the number of operations on registers per second, all clients together;
	// 0 means as many as they can.
	Rate float64
	// Pause is how long the members stay as they are between two changes, on average.
	Pause time.Duration
	// FinalLimit bounds how long it may take in the end until all nodes are members
	// again, and then the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultKeys      = 5
	DefaultOpsPerKey = 400
	DefaultPause     = 200 * time.Millisecond
)

const (
	// maxIndeterminate is how many indeterminate writes a key may have, and after how
	// many indeterminate changes nobody leaves any more: it is in those that judging is
	// exponential.
	maxIndeterminate = 16
	// membersEvery is how often clients ask for the members beside what else they do.
	membersEvery = 20 * time.Millisecond
)

// Absent is how many of so many nodes may be no members at a time by what clients do: a
// majority stays.
func Absent(nodes int) int { return nodes - (nodes/2 + 1) }

// New returns the workload. One worker is the admin: it has nodes leave as long as a
// majority of all stays, join again, often at once, and lead. There is never more than
// one change at a time; after one that did not succeed the members are read before
// there is another. All other workers write and read registers, and now and then read
// the members. In the end all nodes join that are not there, the members are read, and
// so is each key. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Cluster, error), b checker.Budget) workloads.Workload {
	o.Keys = cmp.Or(o.Keys, DefaultKeys)
	o.OpsPerKey = cmp.Or(o.OpsPerKey, DefaultOpsPerKey)
	o.Pause = cmp.Or(o.Pause, DefaultPause)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	keys := &keys{}
	registers := generator.Independent(o.Keys, func(int) generator.Generator { return keys.open(o.OpsPerKey) })
	looks := generator.Stagger(membersEvery, generator.Of(func(generator.Context, histories.Process) histories.Op {
		return histories.Op{F: Members}
	}))
	a := &admin{pause: o.Pause, nodes: map[string]bool{}, loose: map[string]bool{}, unsure: map[string]bool{}}
	return workloads.Workload{
		Name: "member",
		Main: generator.Any(
			generator.On(func(c generator.Context, p histories.Process) bool { return p >= 0 && c.Worker(p) == 0 }, a),
			generator.On(func(c generator.Context, p histories.Process) bool {
				return p >= 0 && (c.Worker(p) > 0 || c.Workers == 1)
			}, generator.Any(workloads.AtRate(o.Rate, registers), looks)),
		),
		Final: generator.OnClients(generator.Phases(
			generator.TimeLimit(o.FinalLimit, generator.Cycle(1, a.restore)),
			workloads.Final(o.FinalLimit, a.handOver),
			workloads.Final(o.FinalLimit, keys.final),
		)),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(b),
	}
}

// keys are the names of the registers that were opened.
type keys struct{ names []string }

func (k *keys) open(ops int) *key {
	name := "k" + strconv.Itoa(len(k.names))
	k.names = append(k.names, name)
	return &key{name: name, left: ops, read: workloads.Keyed(name, nil)}
}

// final returns a read of each key that was ever opened.
func (k *keys) final() (ops []histories.Op) {
	for _, name := range k.names {
		ops = append(ops, histories.Op{F: Read, Value: workloads.Keyed(name, nil)})
	}
	return ops
}

// A key generates the operations on one register. When a write has ended, a read
// mostly begins before the next: what was lost is to be missed before it is
// overwritten.
type key struct {
	name          string
	read          []byte // the payload of every read
	left          int    // operations until it is retired
	indeterminate int    // of its writes
	written       int64  // the last value that was to be written
	unread        bool   // no read was begun since the last write ended, or it did not succeed
}

func (k *key) Next(c generator.Context) generator.Step {
	if k.left == 0 || k.indeterminate >= maxIndeterminate {
		return generator.Step{Done: true}
	}
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	k.left--
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0], F: Read, Value: k.read}
	if k.unread && c.Rand.IntN(8) > 0 || c.Rand.IntN(3) == 0 {
		k.unread = false
		return generator.Step{Op: op}
	}
	k.written++
	op.F, op.Value = Write, workloads.Keyed(k.name, k.written)
	return generator.Step{Op: op}
}

func (k *key) Update(_ generator.Context, op histories.Op) {
	switch {
	case op.Type == histories.Invoke:
	case op.F == Read:
		k.unread = k.unread || op.Type != histories.OK && k.written > 0
	case op.Type == histories.OK:
		k.unread = true
	case op.Type == histories.Info:
		k.indeterminate++
	}
}
