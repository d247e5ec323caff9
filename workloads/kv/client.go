package kv

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform performs an op by a call of a Store.
func perform(ctx context.Context, s Store, op histories.Op) (workloads.Reply, error) {
	in, err := ParseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	var out Output
	var said workloads.Said
	switch op.F {
	case Get, Range:
		var r Read
		if op.F == Get {
			r, err = s.Get(ctx, in.Key, in.Mode)
		} else {
			r, err = s.Range(ctx, in.Prefix, in.Mode)
		}
		said, out.KVs = r.Said, r.KVs
	case Put, Delete:
		var w Written
		if op.F == Put {
			w, err = s.Put(ctx, in.Key, in.Value)
		} else {
			w, err = s.Delete(ctx, in.Key)
		}
		said, out.Deleted = w.Said, w.Deleted
	case Transact:
		var d Decided
		d, err = s.Txn(ctx, in.Txn)
		said, out.Succeeded, out.Results = d.Said, d.Succeeded, d.Results
		if done := len(in.branch(d.Succeeded)); err == nil && len(d.Results) != done {
			err = fmt.Errorf("%d results of %d actions", len(d.Results), done)
		}
	case Compact:
		said, err = s.Compact(ctx, in.Revision)
		said.Revision = in.Revision
	}
	out.Revision, said.Revision = said.Revision, 0 // said once is enough
	reply := said.Reply()
	if err == nil {
		reply.Value, err = json.Marshal(out)
	}
	return reply, err
}

// branch returns what a transaction does.
func (t Txn) branch(succeeded bool) []Action {
	if succeeded {
		return t.Then
	}
	return t.Else
}
