package register

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
	// writes ended indeterminate: it is in those that judging is exponential.
	OpsPerKey int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// CAS makes most changes compare-and-sets. In what they see of each other they are
	// stricter than writes.
	CAS bool
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultKeys      = 5
	DefaultOpsPerKey = 400
)

// maxIndeterminate is how many indeterminate writes a key may have. Those that are
// outstanding when it is retired may still add to them.
const maxIndeterminate = 16

// New returns the workload: reads, writes of a value that nothing else writes to
// that key, and compare-and-set. When a write has ended a read mostly begins before
// the next: a system that lost what it acknowledged, or did what it refused, would
// get away with it otherwise. Some processes only write; see [workloads.OnlyWrites].
// open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (KV, error), b checker.Budget) workloads.Workload {
	o.Keys = cmp.Or(o.Keys, DefaultKeys)
	o.OpsPerKey = cmp.Or(o.OpsPerKey, DefaultOpsPerKey)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	keys := &keys{}
	main := generator.Independent(o.Keys, func(int) generator.Generator { return keys.open(o.OpsPerKey, o.CAS) })
	return workloads.Workload{
		Name:    "register",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   workloads.Final(o.FinalLimit, keys.final),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(b),
	}
}

// keys are the names of the registers that were opened.
type keys struct{ names []string }

func (k *keys) open(ops int, cas bool) *key {
	name := "k" + strconv.Itoa(len(k.names))
	k.names = append(k.names, name)
	return &key{name: name, cas: cas, left: ops, read: Input{Key: name}.Payload(Read)}
}

// A key generates the operations on one register.
type key struct {
	name          string
	cas           bool   // most changes are
	read          []byte // the payload of every read
	left          int    // operations until it is retired
	indeterminate int    // of its writes
	written       int64  // the last value that was to be written
	unread        bool   // no read was begun since the last write ended, or it did not succeed
	seen          Value  // the last one that is known to have been there
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
	if k.unread && !workloads.OnlyWrites(c, op.Process) && c.Rand.IntN(8) > 0 {
		k.unread = false
		return generator.Step{Op: op}
	}
	in := Input{Key: k.name}
	switch draw := c.Rand.IntN(10); {
	case workloads.OnlyWrites(c, op.Process):
		op.F = Write
	case draw >= 8 || k.cas && draw >= 5:
		op.F, in.Old = CAS, k.expect(c)
	case draw >= 4:
		op.F = Write
	default:
		return generator.Step{Op: op}
	}
	k.written++
	in.New = Of(k.written)
	op.Value = in.Payload(op.F)
	return generator.Step{Op: op}
}

// expect returns what a cas expects: mostly what was seen last, which succeeds if
// nobody else came between; sometimes a value of the past, which must be refused.
func (k *key) expect(c generator.Context) Value {
	if k.written > 0 && c.Rand.IntN(8) == 0 {
		return Of(1 + c.Rand.Int64N(k.written))
	}
	return k.seen
}

func (k *key) Update(_ generator.Context, op histories.Op) {
	if op.Type == histories.Invoke {
		return
	}
	if op.F != Read && op.Type == histories.Info {
		k.indeterminate++
	}
	in, err := ParseInput(op.F, op.Value)
	if err != nil {
		return
	}
	c := call{F: op.F, In: in, Type: op.Type, Meta: op.Meta}
	if op.Type == histories.OK {
		if c.Out, err = parseOutput(op.F, op.Value); err != nil {
			return
		}
	}
	v, looked := seen(c)
	switch {
	case op.Type == histories.OK && op.F != Read:
		k.seen, k.unread = in.New, true
	case !looked: // nobody knows what is there now
		k.unread = k.written > 0
	case !v.IsText(): // which nobody wrote: no cas could expect it
		k.seen = v
	}
}

// final returns a read of each key that was ever opened.
func (k *keys) final() (ops []histories.Op) {
	for _, name := range k.names {
		ops = append(ops, histories.Op{F: Read, Value: Input{Key: name}.Payload(Read)})
	}
	return ops
}
