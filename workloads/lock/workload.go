package lock

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Options say what clients do. Zero fields mean the defaults.
type Options struct {
	// Locks is the number of locks.
	Locks int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final reads.
	FinalLimit time.Duration
}

// The default options.
const DefaultLocks = 5

// New returns the workload: clients take turns in holding locks, as [workloads.Tenures]
// says, and read what the locks protect; in the end it is read once more. open connects
// the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Locks, error)) workloads.Workload {
	o.Locks = cmp.Or(o.Locks, DefaultLocks)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	tenures := workloads.Tenures{
		Claim: func(lock string, _ histories.Process) histories.Op {
			return operation(Acquire, payload{Lock: lock})
		},
		Look:    func(lock string) histories.Op { return operation(Read, payload{Lock: lock}) },
		Renew:   func(lock string, t uint64) histories.Op { return operation(Renew, payload{Lock: lock, Token: t}) },
		GiveUp:  func(lock string, t uint64) histories.Op { return operation(Release, payload{Lock: lock, Token: t}) },
		Write:   write,
		Granted: granted,
		Lost:    func(op histories.Op) bool { return op.Type == histories.Fail && workloads.RefusedAs(op.Meta) == fenced },
	}
	var reads []histories.Op
	for i := range o.Locks {
		lock := "l" + strconv.Itoa(i)
		tenures.Objects = append(tenures.Objects, lock)
		reads = append(reads, tenures.Look(lock))
	}
	return workloads.Workload{
		Name:    "lock",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, tenures.Generator())),
		Final:   workloads.Final(o.FinalLimit, func() []histories.Op { return reads }),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

func operation(f string, p payload) histories.Op { return histories.Op{F: f, Value: p.encode()} }

func write(lock string, token uint64, value int64) histories.Op {
	return operation(Write, payload{Lock: lock, Token: token, Value: value})
}

// granted returns what an acquire that succeeded was granted.
func granted(op histories.Op) (token uint64, ttl time.Duration) {
	p, err := decode(op.F, op.Value)
	if err != nil {
		return 0, 0
	}
	return p.Token, p.ttl()
}

func (p payload) ttl() time.Duration { return time.Duration(p.TTL) * time.Millisecond }

// perform performs an op by a call of a Locks.
func perform(ctx context.Context, l Locks, op histories.Op) (workloads.Reply, error) {
	in, err := decode(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	out := payload{Lock: in.Lock}
	var said workloads.Said
	switch op.F {
	case Acquire, Renew:
		var g Grant
		if op.F == Acquire {
			g, err = l.Acquire(ctx, in.Lock)
		} else {
			g, err = l.Renew(ctx, in.Lock, in.Token)
		}
		// A lease is to be relied on for no longer than it lasts: cut to milliseconds.
		out.Token, out.TTL, said = g.Token, g.TTL.Milliseconds(), g.Said
		if op.F == Renew {
			out.Token = in.Token
		}
	case Release:
		out.Token = in.Token
		said, err = l.Release(ctx, in.Lock, in.Token)
	case Write:
		out = in
		said, err = l.Write(ctx, in.Lock, in.Token, in.Value)
	case Read:
		var r Resource
		r, err = l.Read(ctx, in.Lock)
		out.Token, out.Value, said = r.Token, r.Value, r.Said
	}
	reply := said.Reply()
	if err == nil {
		reply.Value = out.encode()
		return reply, nil
	}
	why := ""
	if _, ok := errors.AsType[*Held](err); ok {
		why = held
	} else if _, ok := errors.AsType[*Fenced](err); ok {
		why = fenced
	}
	if why != "" {
		reply.Meta, err = said.Refused(why), workloads.Definite(err)
	}
	return reply, err
}
