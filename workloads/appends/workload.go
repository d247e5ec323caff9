package appends

import (
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
	DefaultFinalLimit    = 10 * time.Second
)

const (
	// finalPause is how long the final reads pause after one that failed.
	finalPause = 10 * time.Millisecond
	// finalKeys is how many lists a final transaction reads.
	finalKeys = 8
)

// New returns the workload: transactions of a few appends and reads, about as many
// of either, on few lists, and in the end a read of every list. open connects the
// client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Store, error)) workloads.Workload {
	if o.Keys == 0 {
		o.Keys = DefaultKeys
	}
	if o.AppendsPerKey == 0 {
		o.AppendsPerKey = DefaultAppendsPerKey
	}
	if o.MopsPerTxn == 0 {
		o.MopsPerTxn = DefaultMopsPerTxn
	}
	if o.FinalLimit == 0 {
		o.FinalLimit = DefaultFinalLimit
	}
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
	if o.Rate > 0 {
		main = generator.Stagger(time.Duration(float64(time.Second)/o.Rate), main)
	}
	return workloads.Workload{
		Name:    "append",
		Main:    generator.OnClients(main),
		Final:   generator.OnClients(generator.TimeLimit(o.FinalLimit, &final{lists: lists})),
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

// final reads each list that was ever opened until that succeeds.
type final struct {
	lists *lists
	generator.Generator
}

func (f *final) Next(c generator.Context) generator.Step {
	if f.Generator == nil {
		var ops []histories.Op
		for names := range slices.Chunk(f.lists.names, finalKeys) {
			var mops []Mop
			for _, name := range names {
				mops = append(mops, Mop{F: Read, Key: name})
			}
			ops = append(ops, histories.Op{F: Txn, Value: payload(mops)})
		}
		f.Generator = generator.UntilOK(finalPause, ops...)
	}
	return f.Generator.Next(c)
}

func (f *final) Update(c generator.Context, op histories.Op) {
	if f.Generator != nil {
		f.Generator.Update(c, op)
	}
}
