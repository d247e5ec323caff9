package election

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
	// Elections is the number of elections.
	Elections int
	// Rate is the number of operations per second, all clients together; 0 means as
	// many as they can.
	Rate float64
	// FinalLimit bounds the final observations.
	FinalLimit time.Duration
}

// The default options.
const DefaultElections = 5

// New returns the workload: clients take turns in leading, as [workloads.Tenures] says,
// and observe who does and what was proclaimed; in the end they do once more. open
// connects the client of a worker.
func New(o Options, open func(ctx context.Context, worker int) (Elections, error)) workloads.Workload {
	o.Elections = cmp.Or(o.Elections, DefaultElections)
	o.FinalLimit = cmp.Or(o.FinalLimit, workloads.DefaultFinalLimit)
	tenures := workloads.Tenures{
		Claim: func(election string, p histories.Process) histories.Op {
			return operation(Campaign, payload{Election: election, Leader: "p" + p.String()})
		},
		Look: func(election string) histories.Op { return operation(Observe, payload{Election: election}) },
		GiveUp: func(election string, term uint64) histories.Op {
			return operation(Resign, payload{Election: election, Term: term})
		},
		Write: func(election string, term uint64, value int64) histories.Op {
			return operation(Proclaim, payload{Election: election, Term: term, Value: value})
		},
		Granted: granted,
		Lost: func(op histories.Op) bool {
			return op.Type == histories.Fail && workloads.RefusedAs(op.Meta) == deposed
		},
	}
	var observations []histories.Op
	for i := range o.Elections {
		election := "e" + strconv.Itoa(i)
		tenures.Objects = append(tenures.Objects, election)
		observations = append(observations, tenures.Look(election))
	}
	return workloads.Workload{
		Name:    "election",
		Main:    generator.OnClients(workloads.AtRate(o.Rate, tenures.Generator())),
		Final:   workloads.Final(o.FinalLimit, func() []histories.Op { return observations }),
		Open:    workloads.Connect(open, perform),
		Checker: Checker(),
	}
}

func operation(f string, p payload) histories.Op { return histories.Op{F: f, Value: p.encode()} }

// granted returns the term that a campaign won.
func granted(op histories.Op) (term uint64, ttl time.Duration) {
	p, err := decode(op.F, op.Value)
	if err != nil {
		return 0, 0
	}
	return p.Term, 0
}

// perform performs an op by a call of an Elections.
func perform(ctx context.Context, e Elections, op histories.Op) (workloads.Reply, error) {
	in, err := decode(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	out := in
	var said workloads.Said
	switch op.F {
	case Campaign:
		var l Leadership
		l, err = e.Campaign(ctx, in.Election, in.Leader)
		out.Term, said = l.Term, l.Said
	case Proclaim:
		said, err = e.Proclaim(ctx, in.Election, in.Term, in.Value)
	case Resign:
		said, err = e.Resign(ctx, in.Election, in.Term)
	case Observe:
		var o Observation
		o, err = e.Observe(ctx, in.Election)
		out.Leader, out.Term, said = o.Leader, o.Term, o.Said
		if o.Proclaimed != (Proclamation{}) {
			out.Proclaimed = &o.Proclaimed
		}
	}
	reply := said.Reply()
	if err == nil {
		reply.Value = out.encode()
		return reply, nil
	}
	why := ""
	if _, ok := errors.AsType[*Led](err); ok {
		why = led
	} else if _, ok := errors.AsType[*Deposed](err); ok {
		why = deposed
	}
	if why != "" {
		reply.Meta, err = said.Refused(why), workloads.Definite(err)
	}
	return reply, err
}
