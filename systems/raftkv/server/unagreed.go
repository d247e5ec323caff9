package server

import (
	"bytes"
	"context"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// What is in this file bugs do alone: they go on from what stands in the node's log and
// no majority has agreed on, or from what a transaction will find, as they believe.

// A foresight is what the state will be, as far as it is concerned, if what stands in
// the log is agreed on.
type foresight struct {
	state *mvcc.State
	// revision is that of the state now, and at where it stands.
	revision uint64
	at       position
	last     *stored.Outcome // of the last transaction
}

// foresee says what spans will hold after the log's entry until; 0: after its last.
func (n *Node) foresee(until uint64, spans ...*api.Span) foresight {
	last, _ := n.logs.LastIndex()
	if until == 0 {
		until = last
	}
	var entries []*raft.Log
	var txns []*stored.Txn
	var leases []uint64
	for index := n.machine.applied().index + 1; index <= min(last, until); index++ {
		var l raft.Log
		var c stored.Command
		if n.logs.GetLog(index, &l) != nil || l.Type != raft.LogCommand || proto.Unmarshal(l.Data, &c) != nil || c.GetTxn() == nil {
			continue
		}
		entries, txns = append(entries, &l), append(txns, c.GetTxn())
		spans, leases = append(spans, touched(c.GetTxn())...), append(leases, attached(c.GetTxn())...)
	}
	var f foresight
	f.state, f.at = n.machine.part(spans, leases)
	f.revision = f.state.Revision()
	for i, t := range txns {
		if entries[i].Index > f.at.index { // else it has come to be agreed on
			f.at = position{entries[i].Index, entries[i].Term}
			f.last = f.state.Txn(t)
			f.last.Index, f.last.Term = f.at.index, f.at.term
		}
	}
	return f
}

// touched are the spans that decide about a transaction, or that it reads or writes.
func touched(t *stored.Txn) (spans []*api.Span) {
	for _, c := range t.GetCompare() {
		spans = append(spans, &api.Span{Key: c.GetKey()})
	}
	for _, ops := range [][]*api.Op{t.GetSuccess(), t.GetFailure()} {
		for _, op := range ops {
			switch op := op.GetOp().(type) {
			case *api.Op_Put:
				spans = append(spans, &api.Span{Key: op.Put.GetKey()})
			case *api.Op_Delete:
				spans = append(spans, op.Delete)
			case *api.Op_Range:
				spans = append(spans, op.Range)
			}
		}
	}
	return spans
}

// attached are the leases that a transaction puts keys with.
func attached(t *stored.Txn) (leases []uint64) {
	for _, ops := range [][]*api.Op{t.GetSuccess(), t.GetFailure()} {
		for _, op := range ops {
			leases = append(leases, op.GetPut().GetLease())
		}
	}
	return leases
}

// readUnagreed is for [bug.DirtyRead].
func (n *Node) readUnagreed(in *api.RangeRequest) (*api.RangeResponse, error) {
	if in.GetRevision() != 0 {
		return n.read(in, nil)
	}
	f := n.foresee(0, in.GetSpan())
	out, err := f.state.Range(in.GetSpan(), 0, in.GetLimit())
	if err != nil {
		return nil, err
	}
	out.Stamp = n.stamp(f.at)
	return out, nil
}

// eventsUnagreed is for [bug.WatchUncommitted]: changes from a revision on that is yet to
// come, and up to which revision they are.
func (n *Node) eventsUnagreed(span *api.Span, from uint64) (events []*api.Event, to uint64) {
	f := n.foresee(0, span)
	if from <= f.revision { // it has come meanwhile
		return nil, from - 1
	}
	events, to, _ = f.state.Events(span, from, 0)
	return events, max(to, from-1)
}

// heldHere is for [bug.AckBeforeCommit]: it returns, as soon as this node's log holds a
// transaction without comparisons, what is to become of it. Nil: it is done before, or
// it is something else.
func (n *Node) heldHere(c *stored.Command, done <-chan struct{}) *stored.Outcome {
	if c.GetTxn() == nil || len(c.GetTxn().GetCompare()) > 0 {
		return nil
	}
	data, err := proto.Marshal(c)
	if err != nil {
		return nil
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		last, _ := n.logs.LastIndex()
		for index := n.machine.applied().index + 1; index <= last; index++ {
			var l raft.Log
			if n.logs.GetLog(index, &l) == nil && bytes.Equal(l.Data, data) && n.raft.State() == raft.Leader {
				if f := n.foresee(index); f.at.index == index {
					return f.last
				}
			}
		}
		select {
		case <-again.C:
		case <-done:
			return nil
		}
	}
}

// decided is for [bug.CheckThenAct]: it makes of a transaction one that does what this
// node's state says now that it has to do.
func (n *Node) decided(t *stored.Txn) *stored.Txn {
	if len(t.Compare) == 0 {
		return t
	}
	part, _ := n.machine.part(touched(&stored.Txn{Compare: t.Compare}), nil)
	if part.Txn(&stored.Txn{Compare: t.Compare}).Succeeded {
		return &stored.Txn{Success: t.Success}
	}
	// What never holds leaves the other branch, and the answer that it is that one.
	never := &api.Compare{Key: t.Compare[0].Key, Relation: api.Relation_RELATION_LESS, Target: &api.Compare_Version{}}
	return &stored.Txn{Compare: []*api.Compare{never}, Failure: t.Failure}
}

// txnSplit is for [bug.TxnSplit]: the first op goes with the comparisons, and each of the
// others alone.
func (n *Node) txnSplit(ctx context.Context, w *api.Write, t *stored.Txn) (*stored.Outcome, error) {
	success, failure := t.Success, t.Failure
	first, err := n.propose(ctx, txnCommand(w, &stored.Txn{
		Compare: t.Compare, Success: success[:min(1, len(success))], Failure: failure[:min(1, len(failure))],
	}))
	if err != nil {
		return nil, err
	}
	ops := success
	if !first.Succeeded {
		ops = failure
	}
	all := &stored.Outcome{
		Term: first.Term, Index: first.Index, Revision: first.Revision, Succeeded: first.Succeeded,
		Results: append([]*api.Result{}, first.Results...), // what a session remembers is not ours
	}
	for _, op := range ops[min(1, len(ops)):] {
		next, err := n.propose(ctx, txnCommand(nil, &stored.Txn{Success: []*api.Op{op}}))
		if err != nil {
			e := *classify(err)
			e.Definite = false // a part has happened
			return nil, &e
		}
		all.Revision, all.Results = next.Revision, append(all.Results, next.Results...)
	}
	return all, nil
}
