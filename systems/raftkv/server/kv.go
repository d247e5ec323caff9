package server

import (
	"context"
	"fmt"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// Range reads the keys of a span.
func (n *Node) Range(ctx context.Context, in *api.RangeRequest) (*api.RangeResponse, error) {
	if err := checkSpan(in.GetSpan()); err != nil {
		return nil, err
	}
	if in.GetSerializable() {
		if err := n.reach(ctx, in.GetAtLeast()); err != nil {
			return nil, err
		}
		return n.read(in, nil)
	}
	if n.config.Bug == bug.StaleRead || n.config.Bug == bug.LeaseRead && n.readLease.holds() {
		return n.read(in, nil)
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.RangeResponse, error) {
			if n.config.Bug == bug.DirtyRead {
				return n.readUnagreed(in)
			}
			at, err := n.mayRead(ctx)
			if err != nil {
				return nil, err
			}
			return n.read(in, &at)
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.RangeResponse, error) {
			return leader.Range(ctx, &api.RangeRequest{
				Route: passedOn, Span: in.GetSpan(), Revision: in.GetRevision(), Limit: in.GetLimit(),
			})
		})
}

// mayRead returns when what this node's state says is linearizable, and where it stood
// then: see [barrier]. Only a leader comes to that.
func (n *Node) mayRead(ctx context.Context) (position, error) {
	begun := n.readLease.now()
	at, err := n.reads.wait(ctx, n.life)
	if err != nil {
		return at, notRead(err)
	}
	n.readLease.extend(begun)
	return at, nil
}

// notRead is the error of a read that ends in err. What became of what it waited for is
// nothing to a read: it gave no answer, so it did not take place.
func notRead(err error) *api.Error {
	e := *classify(err)
	e.Definite = true
	return &e
}

// reach returns when the state has come to a revision. It gives up so early that its
// caller can still ask another node.
func (n *Node) reach(ctx context.Context, revision uint64) error {
	patience, cancel := context.WithDeadline(ctx, n.patience(ctx))
	defer cancel()
	for {
		news := n.machine.news.next()
		last, _ := n.machine.revisions()
		if last >= revision {
			return nil
		}
		select {
		case <-news:
		case <-patience.Done():
			return api.Definite(api.Reason_REASON_NOT_YET, "%s has come to revision %d, and %d is asked for", n.config.ID, last, revision)
		case <-n.stopping:
			return errStopping
		}
	}
}

// read answers from this node's state; at is where the answer stands if that is not where
// the state does.
func (n *Node) read(in *api.RangeRequest, at *position) (*api.RangeResponse, error) {
	out, stands, err := n.machine.read(in.GetSpan(), in.GetRevision(), in.GetLimit())
	if err != nil {
		return nil, err
	}
	if at != nil {
		stands = *at
	}
	out.Stamp = n.stamp(stands)
	return out, nil
}

// Txn performs a transaction.
func (n *Node) Txn(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
	t := &stored.Txn{Compare: in.GetCompare(), Success: in.GetSuccess(), Failure: in.GetFailure()}
	if err := checkTxn(t); err != nil {
		return nil, err
	}
	if err := checkWrite(in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.TxnResponse, error) {
			out, err := n.txn(ctx, in.GetWrite(), t)
			if err != nil {
				return nil, err
			}
			return &api.TxnResponse{
				Succeeded: out.Succeeded, Revision: out.Revision, Results: out.Results, Stamp: n.stampOf(out),
			}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.TxnResponse, error) {
			return leader.Txn(ctx, &api.TxnRequest{
				Route: passedOn, Write: in.GetWrite(), Compare: t.Compare, Success: t.Success, Failure: t.Failure,
			})
		})
}

// txn makes a transaction go through the log.
func (n *Node) txn(ctx context.Context, w *api.Write, t *stored.Txn) (*stored.Outcome, error) {
	switch n.config.Bug {
	case bug.CheckThenAct:
		t = n.decided(t)
	case bug.TxnSplit:
		return n.txnSplit(ctx, w, t)
	}
	return n.propose(ctx, txnCommand(w, t))
}

func txnCommand(w *api.Write, t *stored.Txn) *stored.Command {
	return &stored.Command{Session: w.GetSession(), Number: w.GetNumber(), Command: &stored.Command_Txn{Txn: t}}
}

// Compact forgets what was there before a revision.
func (n *Node) Compact(ctx context.Context, in *api.CompactRequest) (*api.CompactResponse, error) {
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.CompactResponse, error) {
			out, err := n.propose(ctx, &stored.Command{
				Command: &stored.Command_Compact{Compact: &stored.Compact{Revision: in.GetRevision()}},
			})
			if err != nil {
				return nil, err
			}
			return &api.CompactResponse{Compacted: out.Compacted, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.CompactResponse, error) {
			return leader.Compact(ctx, &api.CompactRequest{Route: passedOn, Revision: in.GetRevision()})
		})
}

// OpenSession begins a session.
func (n *Node) OpenSession(ctx context.Context, in *api.OpenSessionRequest) (*api.OpenSessionResponse, error) {
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.OpenSessionResponse, error) {
			out, err := n.propose(ctx, &stored.Command{
				Command: &stored.Command_OpenSession{OpenSession: &stored.OpenSession{}},
			})
			if err != nil {
				return nil, err
			}
			return &api.OpenSessionResponse{Session: out.Index, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.OpenSessionResponse, error) {
			return leader.OpenSession(ctx, &api.OpenSessionRequest{Route: passedOn})
		})
}

// Keys, values and transactions are small: a whole state is held in memory and copied
// to nodes that fell behind.
const (
	longestKey   = 1 << 10
	longestValue = 1 << 20
	mostOps      = 128 // of a transaction's branch, or comparisons
)

func checkSpan(span *api.Span) error {
	if err := mvcc.CheckSpan(span); err != nil {
		return api.Definite(api.Reason_REASON_INVALID, "%w", err)
	}
	if longest := max(len(span.Key), len(span.End)); longest > longestKey {
		return api.Definite(api.Reason_REASON_INVALID, "a key has up to %d bytes, not %d", longestKey, longest)
	}
	return nil
}

func checkTxn(t *stored.Txn) error {
	err := mvcc.Check(t)
	if most := max(len(t.Compare), len(t.Success), len(t.Failure)); err == nil && most > mostOps {
		err = fmt.Errorf("a transaction has up to %d comparisons or ops, not %d", mostOps, most)
	}
	if err != nil {
		return api.Definite(api.Reason_REASON_INVALID, "%w", err)
	}
	key, value := 0, 0
	for _, c := range t.Compare {
		key, value = max(key, len(c.Key)), max(value, len(c.GetValue()))
	}
	for _, ops := range [][]*api.Op{t.Success, t.Failure} {
		for _, op := range ops {
			for _, span := range []*api.Span{op.GetDelete(), op.GetRange()} {
				key = max(key, len(span.GetKey()), len(span.GetEnd()))
			}
			key, value = max(key, len(op.GetPut().GetKey())), max(value, len(op.GetPut().GetValue()))
		}
	}
	switch {
	case key > longestKey:
		return api.Definite(api.Reason_REASON_INVALID, "a key has up to %d bytes, not %d", longestKey, key)
	case value > longestValue:
		return api.Definite(api.Reason_REASON_INVALID, "a value has up to %d bytes, not %d", longestValue, value)
	}
	return nil
}

func checkWrite(w *api.Write) error {
	if w != nil && (w.Session == 0 || w.Number == 0) {
		return api.Definite(api.Reason_REASON_INVALID, "session and number of a write count from 1")
	}
	return nil
}
