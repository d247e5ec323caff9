package member

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform performs an op by a call of a Cluster.
func perform(ctx context.Context, c Cluster, op histories.Op) (workloads.Reply, error) {
	refuse := func(err error) (workloads.Reply, error) {
		return workloads.Reply{}, workloads.Definite(fmt.Errorf("%s %s: %w", op.F, op.Value, err))
	}
	switch op.F {
	case Read, Write:
		in, err := parseRegister(op.F, op.Value)
		if err != nil {
			return refuse(err)
		}
		if op.F == Write {
			said, err := c.Write(ctx, in.key, in.v)
			return answer(said, nil, err)
		}
		r, err := c.Read(ctx, in.key)
		found := [2]any{in.key, nil}
		if r.Present {
			found[1] = r.Value
		}
		return answer(r.Said, found, err)
	case Members:
		m, err := c.Members(ctx)
		m.Voters = slices.Sorted(slices.Values(m.Voters))
		m.Learners = slices.Sorted(slices.Values(m.Learners))
		if err == nil && len(m.Voters) == 0 {
			err = errors.New("nobody has a vote") // then nobody can have said so
		}
		return answer(m.Said, m, err)
	}
	change := map[string]func(context.Context, string) error{Leave: c.Leave, Join: c.Join, Transfer: c.Transfer}[op.F]
	if change == nil {
		return refuse(errors.New("is no function of a cluster"))
	}
	node, err := parseNode(op.Value)
	if err != nil {
		return refuse(err)
	}
	return workloads.Reply{}, change(ctx, node)
}

// answer returns the reply to an operation that ended in err, or else found v.
func answer(said workloads.Said, v any, err error) (workloads.Reply, error) {
	if err != nil {
		v = nil
	}
	reply, errEncode := said.Reply(v)
	if err == nil {
		err = errEncode
	}
	return reply, err
}
