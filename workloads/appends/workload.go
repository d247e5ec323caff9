package appends

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
	// Keys is the number of lists in use at the same time.
	Keys int
	// AppendsPerKey is after how many appends a list is retired and another takes
	// its place, since every read of a list returns all of it.
	AppendsPerKey int
	// MopsPerTxn is how many micro-operations a transaction has at most.
	MopsPerTxn int
	// Rate is the number of transactions per second, all clients together; 0 means
	// as many as they can.
	Rate float64
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const (
	DefaultKeys          = 5
	DefaultAppendsPerKey = 100
	DefaultMopsPerTxn    = 4
)

// finalKeys is how many lists a final transaction reads.
const finalKeys = 8

// New returns the workload: transactions of a few appends and reads, about as many
// of either, on few lists, and in the end a read of every list. open connects the
// client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Store, error)) workloads.Workload {
	o.Keys = cmp.Or(o.Keys, DefaultKeys)
	o.AppendsPerKey = cmp.Or(o.AppendsPerKey, DefaultAppendsPerKey)
	o.MopsPerTxn = cmp.Or(o.MopsPerTxn, DefaultMopsPerTxn)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	lists := &lists{perKey: o.AppendsPerKey, active: make([]list, o.Keys)}
	for i := range lists.active {
		lists.open(i)
	}
	main := generator.Of(func(c generator.Context, _ histories.Process) histories.Op {
		mops := make([]Mop, 1+c.Rand.IntN(o.MopsPerTxn))
		for i := range mops {
			mops[i] = lists.mop(c.Rand.IntN(o.Keys), c.Rand.IntN(2) == 0)
		}
		return histories.Op{F: Txn, Value: payload(mops)}
	})
	return workloads.Workload{
		Name:    "append",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, main)),
		Final:   workloads.Final(o.FinalLimit, lists.final),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

// lists are the lists that are in use, and the names of all that ever were.
type lists struct {
	perKey int
	active []list
	names  []string
}

// A list that is in use, with the number of elements that were to be appended.
type list struct {
	key      string
	appended int
}

// open puts a list that is new into a place.
func (l *lists) open(i int) {
	l.active[i] = list{key: "l" + strconv.Itoa(len(l.names))}
	l.names = append(l.names, l.active[i].key)
}

// mop returns a micro-operation on the list in a place.
func (l *lists) mop(i int, reads bool) Mop {
	at := &l.active[i]
	if reads {
		return Mop{F: Read, Key: at.key}
	}
	if at.appended == l.perKey {
		l.open(i)
	}
	at.appended++
	// The lists in use have no elements in common, so that it shows if they are mixed up.
	return Mop{F: Append, Key: at.key, Element: int64(at.appended*len(l.active) + i)}
}

// final returns reads of each list that was ever opened.
func (l *lists) final() (ops []histories.Op) {
	for names := range slices.Chunk(l.names, finalKeys) {
		var mops []Mop
		for _, name := range names {
			mops = append(mops, Mop{F: Read, Key: name})
		}
		ops = append(ops, histories.Op{F: Txn, Value: payload(mops)})
	}
	return ops
}
