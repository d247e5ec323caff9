package member

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform performs an op by a call of a Cluster.
func perform(ctx context.Context, c Cluster, op histories.Op) (workloads.Reply, error) {
	switch op.F {
	case Read, Write:
		in, err := parseRegister(op.F, op.Value)
		if err != nil {
			return workloads.Unreadable(op, err)
		}
		if op.F == Write {
			said, err := c.Write(ctx, in.key, in.v)
			return said.Reply(), err
		}
		r, err := c.Read(ctx, in.key)
		reply := r.Reply()
		switch {
		case err != nil:
		case r.Present:
			reply.Value = workloads.Keyed(in.key, r.Value)
		default:
			reply.Value = workloads.Keyed(in.key, nil)
		}
		return reply, err
	case Members:
		m, err := c.Members(ctx)
		m.Voters = slices.Sorted(slices.Values(m.Voters))
		m.Learners = slices.Sorted(slices.Values(m.Learners))
		if err == nil && len(m.Voters) == 0 {
			err = errors.New("nobody has a vote") // then nobody can have said so
		}
		reply := m.Reply()
		if err == nil {
			reply.Value, err = json.Marshal(m)
		}
		return reply, err
	}
	change := map[string]func(context.Context, string) error{Leave: c.Leave, Join: c.Join, Transfer: c.Transfer}[op.F]
	if change == nil {
		return workloads.Unreadable(op, errors.New("is no function of a cluster"))
	}
	node, err := parseNode(op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	return workloads.Reply{}, change(ctx, node)
}
