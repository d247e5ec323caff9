package raftkv

import (
	"context"
	"errors"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/election"
)

// elections are those of the client. Nobody keeps a lead: it ends with its lease, unless
// the leader resigns before. What a leader proclaims is a key beside, which is written
// with the term: "proclaimed/e0".
type elections struct {
	client *client.Client
	won    map[uint64]*client.Leadership // by term
}

func (e *elections) Close() error { return e.client.Close() }

func (e *elections) Campaign(ctx context.Context, name, candidate string) (election.Leadership, error) {
	got, err := e.client.TryCampaign(ctx, name, candidate, claimTTL)
	if _, led := errors.AsType[*client.Held](err); led && client.IsDefinite(err) {
		return election.Leadership{Said: workloads.Said{Node: nodeOf(err)}}, &election.Led{}
	}
	if err != nil {
		return election.Leadership{Said: workloads.Said{Node: nodeOf(err)}}, classify(err)
	}
	e.won[got.Token] = got
	return election.Leadership{Term: got.Token, Said: said(got.Stamp, got.Token)}, nil
}

func (e *elections) Proclaim(ctx context.Context, name string, term uint64, value int64) (workloads.Said, error) {
	won := e.won[term]
	if won == nil {
		return workloads.Said{}, &election.Deposed{}
	}
	r, err := e.client.Txn(ctx, won.Fenced(client.Txn{
		Then: []client.Op{client.OpPut(proclaimed(name), tokened(term, value))},
	}))
	if err == nil && !r.Succeeded {
		return said(r.Stamp, r.Revision), &election.Deposed{}
	}
	return said(r.Stamp, r.Revision), classify(err)
}

func (e *elections) Resign(ctx context.Context, _ string, term uint64) (workloads.Said, error) {
	won := e.won[term]
	if won == nil {
		return workloads.Said{}, &election.Deposed{}
	}
	r, err := won.Resign(ctx)
	if _, lost := errors.AsType[*client.Lost](err); lost {
		return said(r.Stamp, r.Revision), &election.Deposed{}
	}
	return said(r.Stamp, r.Revision), classify(err)
}

// Observe reads both keys at one revision: that of the leader, and then what was
// proclaimed then.
func (e *elections) Observe(ctx context.Context, name string) (election.Observation, error) {
	l, err := e.client.Observe(ctx, name)
	out := election.Observation{Leader: l.Value, Term: l.Term, Said: said(l.Stamp, l.Revision)}
	if err != nil || l.Revision == 0 {
		return out, classify(err)
	}
	r, err := e.client.Range(ctx, client.Key(proclaimed(name)), client.RangeOptions{Revision: l.Revision})
	if err == nil && len(r.KVs) > 0 {
		term, value, ok := untokened(r.KVs[0].Value)
		if !ok {
			value = election.Garbled
		}
		out.Proclaimed = election.Proclamation{Term: term, Value: value}
	}
	return out, classify(err)
}

func proclaimed(name string) string { return "proclaimed/" + name }
