package kv

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Keys is the number of keys, half of them in either of two groups that are read
	// as ranges.
	Keys int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// Compact is how often the store is compacted.
	Compact time.Duration
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultKeys    = 8
	DefaultCompact = time.Second
)

// Prefix is what all keys begin with.
const Prefix = "kv/"

// New returns the workload: puts, deletes, reads of keys, of a group and of everything,
// and transactions that compare what was seen last; and now and then the store is
// compacted, at a revision of a moment ago. When a write has ended a read mostly begins
// before the next, as what is overwritten unseen tells nobody that it was lost. Some
// processes only write; see [workloads.OnlyWrites]. open connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Store, error)) workloads.Workload {
	o.Keys = cmp.Or(o.Keys, DefaultKeys)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	o.Compact = cmp.Or(o.Compact, DefaultCompact)
	l := &load{every: o.Compact, seen: map[string]KV{}}
	last := []histories.Op{{F: Range, Value: Input{Prefix: Prefix}.payload()}}
	for i := range o.Keys {
		key := Prefix + string("ab"[i%2]) + strconv.Itoa(i/2)
		l.keys = append(l.keys, key)
		last = append(last, histories.Op{F: Get, Value: Input{Key: key}.payload()})
	}
	return workloads.Workload{
		Name:    "kv",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, l)),
		Final:   workloads.Final(o.FinalLimit, func() []histories.Op { return last }),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// A load generates operations on a few keys, for ever.
type load struct {
	keys     []string
	written  int           // the last value that was to be put
	seen     map[string]KV // as each key was known last; a zero KV if it was not there
	revision uint64        // the last that was known
	unread   bool          // no read was begun since the last write ended

	every     time.Duration // between compactions
	begun     bool
	due       time.Duration // the next one
	compacted uint64        // the revision of the last one
}

func (l *load) Next(c generator.Context) generator.Step {
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	if !l.begun {
		l.begun, l.due = true, c.Now+l.every/2
	}
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0]}
	var in Input
	reads := 3
	if l.unread {
		reads = 8
	}
	switch draw := c.Rand.IntN(10); {
	case c.Now >= l.due && l.revision > 0:
		l.due = c.Now + l.every
		l.compacted = l.past(c, behind)
		op.F, in.Revision = Compact, l.compacted
	case workloads.OnlyWrites(c, op.Process):
		op.F, in = Put, l.put(c)
	case draw < reads:
		l.unread = false
		op.F, in = l.read(c)
	default:
		op.F, in = l.write(c)
	}
	op.Value = in.payload()
	return generator.Step{Op: op}
}

func (l *load) key(c generator.Context) string { return l.keys[c.Rand.IntN(len(l.keys))] }

// value returns one that nobody else puts.
func (l *load) value() string {
	l.written++
	return strconv.Itoa(l.written)
}

// write returns a put, a delete or a transaction.
func (l *load) write(c generator.Context) (string, Input) {
	switch draw := c.Rand.IntN(8); {
	case draw < 4:
		return Put, l.put(c)
	case draw < 5:
		return Delete, Input{Key: l.key(c)}
	}
	return Transact, Input{Txn: l.txn(c)}
}

func (l *load) put(c generator.Context) Input { return Input{Key: l.key(c), Value: l.value()} }

const (
	// behind is by how much at the most a compaction is behind the last revision that
	// is known.
	behind = 20
	// history is how far back reads of the past go, and beyond by how much they go past
	// the last compaction, to be refused.
	history, beyond = 100, 5
)

// past returns a revision that is at most so many before the last one.
func (l *load) past(c generator.Context, most uint64) uint64 {
	return l.revision - min(l.revision-1, c.Rand.Uint64N(most+1))
}

// read returns a read: of a key, a group or everything; some of the past, and some
// that may be stale.
func (l *load) read(c generator.Context) (string, Input) {
	f, in := Range, Input{Prefix: Prefix}
	switch c.Rand.IntN(4) {
	case 0:
		in.Prefix += string("ab"[c.Rand.IntN(2)])
	case 1, 2:
		f, in = Get, Input{Key: l.key(c)}
	}
	switch draw := c.Rand.IntN(10); {
	case draw == 0 && l.revision > 0:
		in.At = l.past(c, min(history, l.revision-l.compacted+beyond))
	case draw <= 2:
		in.Serializable = true
	}
	return f, in
}

// txn returns a transaction on two or three keys. Mostly it asks for what was there
// last, which holds if nobody came between; sometimes for what cannot be. What it
// compares it reads, too, if the comparison fails, so that one that lies shows.
func (l *load) txn(c generator.Context) Txn {
	var t Txn
	order := c.Rand.Perm(len(l.keys))
	key := func(i int) string { return l.keys[order[i%len(order)]] }
	for i := range min(1+c.Rand.IntN(2), len(l.keys)) {
		is := Compare{Key: key(i), By: Mod, Mod: l.seen[key(i)].Mod}
		switch {
		case is.Mod > 0 && c.Rand.IntN(2) == 0:
			is.By, is.Mod, is.Value = Value, 0, l.seen[key(i)].Value
		case c.Rand.IntN(4) == 0:
			is.Mod = 0
		}
		t.If = append(t.If, is)
		t.Else = append(t.Else, Action{F: Get, Key: is.Key})
	}
	for i := range min(2+c.Rand.IntN(2), len(l.keys)) {
		a := Action{F: Put, Key: key(i)}
		switch draw := c.Rand.IntN(8); {
		case draw == 0:
			a.F = Delete
		case draw == 1:
			a.F = Get
		default:
			a.Value = l.value()
		}
		t.Then = append(t.Then, a)
	}
	return t
}

func (l *load) Update(_ generator.Context, op histories.Op) {
	if op.Type == histories.OK {
		l.saw(op)
	}
	if op.F != Get && op.F != Range && op.F != Compact && (op.Type == histories.OK || op.Type == histories.Info) {
		l.unread = true
	}
}

// saw remembers what a completion says of keys and of the revision.
func (l *load) saw(op histories.Op) {
	out, err := parseOutput(op.F, op.Value)
	if err != nil {
		return
	}
	l.revision = max(l.revision, out.Revision)
	for _, kv := range out.KVs {
		l.know(kv)
	}
	for _, r := range out.Results {
		if r.KV != nil {
			l.know(*r.KV)
		}
	}
}

func (l *load) know(kv KV) {
	if kv.Mod > l.seen[kv.Key].Mod {
		l.seen[kv.Key] = kv
	}
}
