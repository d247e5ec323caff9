package kv

import (
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
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultKeys       = 8
	DefaultFinalLimit = 10 * time.Second
)

// Prefix is what all keys begin with.
const Prefix = "kv/"

// finalPause is how long the final reads pause after one that failed.
const finalPause = 10 * time.Millisecond

// New returns the workload: puts, deletes, reads of keys, of a group and of everything,
// and transactions that compare what was seen last. When a write has ended a read
// mostly begins before the next, as what is overwritten unseen tells nobody that it
// was lost. Some processes only write; see writer. open connects the client of a
// worker.
func New(o Options, open func(ctx context.Context, worker int) (Store, error)) workloads.Workload {
	if o.Keys == 0 {
		o.Keys = DefaultKeys
	}
	if o.FinalLimit == 0 {
		o.FinalLimit = DefaultFinalLimit
	}
	l := &load{seen: map[string]KV{}}
	last := []histories.Op{{F: Range, Value: Input{Prefix: Prefix}.payload()}}
	for i := range o.Keys {
		key := Prefix + string("ab"[i%2]) + strconv.Itoa(i/2)
		l.keys = append(l.keys, key)
		last = append(last, histories.Op{F: Get, Value: Input{Key: key}.payload()})
	}
	var main generator.Generator = l
	if o.Rate > 0 {
		main = generator.Stagger(time.Duration(float64(time.Second)/o.Rate), main)
	}
	return workloads.Workload{
		Name:    "kv",
		Main:    generator.OnClients(main),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, generator.UntilOK(finalPause, last...))),
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
}

func (l *load) Next(c generator.Context) generator.Step {
	if len(c.Free) == 0 {
		return generator.Step{}
	}
	op := &histories.Op{Type: histories.Invoke, Process: c.Free[0]}
	var in Input
	reads := 3
	if l.unread {
		reads = 8
	}
	switch draw := c.Rand.IntN(10); {
	case writer(c, op.Process):
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

// writer says that a process only writes: those of every tenth worker do. All others
// soon wait for the answer to a read when a node has lost its majority; a system that
// goes on to acknowledge writes there is to be given some.
func writer(c generator.Context, p histories.Process) bool {
	const every = 10
	return c.Workers >= every && c.Worker(p) >= c.Workers-c.Workers/every
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

// history is how far back reads of the past go.
const history = 100

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
		in.At = l.revision - min(l.revision-1, c.Rand.Uint64N(history))
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
	if op.F != Get && op.F != Range && (op.Type == histories.OK || op.Type == histories.Info) {
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
