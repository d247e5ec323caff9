package server

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// Leases end by the log alone: entries tell what the leader's clock shows, and by that
// every node reckons the same. So a lease lasts at least as long as its holder was told,
// whoever comes to lead, since time is counted only from one reading of a leader to
// the next of the same. That it ends soon after is for the leader to see to, who lets the
// log know the time every so often while there are leases.
const (
	tickEvery = 100 * time.Millisecond
	// leastBound is what it takes on a busy machine to commit a tick, several times over.
	leastBound = time.Second
)

// leaseBound is what holders are told of by how much a lease may outlive its time: a tick,
// what it takes to commit it on a busy machine, and what a change of leaders leaves
// uncounted, several times over. That is longer where followers wait longer for their
// leader.
func (c Config) leaseBound() time.Duration {
	return max(leastBound, 2*time.Duration(c.Heartbeat))
}

// lookAfterLeases tells the log the time as long as the node lives.
func (n *Node) lookAfterLeases() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		// A new leader does so at once: what is counted begins with that.
		news := n.elected.next()
		if n.raft.State() == raft.Leader && n.machine.leases() > 0 {
			n.holdBack()
			// If it comes to nothing so does the next, or its time is none that counts.
			_, _ = n.propose(n.life, &stored.Command{Command: &stored.Command_Tick{Tick: &stored.Tick{}}})
		}
		select {
		case <-ticker.C:
		case <-news:
		case <-n.life.Done():
			return
		}
	}
}

// GrantLease makes a lease.
func (n *Node) GrantLease(ctx context.Context, in *api.GrantLeaseRequest) (*api.GrantLeaseResponse, error) {
	if err := checkWrite(in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.GrantLeaseResponse, error) {
			out, err := n.propose(ctx, &stored.Command{
				Session: in.GetWrite().GetSession(), Number: in.GetWrite().GetNumber(),
				Command: &stored.Command_GrantLease{GrantLease: &stored.GrantLease{TtlMs: in.GetTtlMs()}},
			})
			if err != nil {
				return nil, err
			}
			return &api.GrantLeaseResponse{
				Lease: out.Index, TtlMs: out.TtlMs, BoundMs: uint64(n.config.leaseBound().Milliseconds()), Stamp: n.stampOf(out),
			}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.GrantLeaseResponse, error) {
			return leader.GrantLease(ctx, &api.GrantLeaseRequest{Route: passedOn, Write: in.GetWrite(), TtlMs: in.GetTtlMs()})
		})
}

// KeepAlive makes a lease last for its time from now on.
func (n *Node) KeepAlive(ctx context.Context, in *api.KeepAliveRequest) (*api.KeepAliveResponse, error) {
	if err := checkWrite(in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.KeepAliveResponse, error) {
			if n.config.Bug == bug.LeaseDiesEarly {
				if out := n.keepInMind(in.GetLease()); out != nil {
					return out, nil
				}
			}
			out, err := n.propose(ctx, keepAlive(in.GetWrite(), in.GetLease()))
			if err != nil {
				return nil, err
			}
			return &api.KeepAliveResponse{TtlMs: out.TtlMs, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.KeepAliveResponse, error) {
			return leader.KeepAlive(ctx, &api.KeepAliveRequest{Route: passedOn, Write: in.GetWrite(), Lease: in.GetLease()})
		})
}

func keepAlive(w *api.Write, lease uint64) *stored.Command {
	return &stored.Command{
		Session: w.GetSession(), Number: w.GetNumber(),
		Command: &stored.Command_KeepAlive{KeepAlive: &stored.KeepAlive{Lease: lease}},
	}
}

// RevokeLease ends a lease.
func (n *Node) RevokeLease(ctx context.Context, in *api.RevokeLeaseRequest) (*api.RevokeLeaseResponse, error) {
	if err := checkWrite(in.GetWrite()); err != nil {
		return nil, err
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.RevokeLeaseResponse, error) {
			out, err := n.propose(ctx, revoke(in.GetWrite(), in.GetLease()))
			if err != nil {
				return nil, err
			}
			return &api.RevokeLeaseResponse{Revision: out.Revision, Stamp: n.stampOf(out)}, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.RevokeLeaseResponse, error) {
			return leader.RevokeLease(ctx, &api.RevokeLeaseRequest{Route: passedOn, Write: in.GetWrite(), Lease: in.GetLease()})
		})
}

func revoke(w *api.Write, lease uint64) *stored.Command {
	return &stored.Command{
		Session: w.GetSession(), Number: w.GetNumber(),
		Command: &stored.Command_RevokeLease{RevokeLease: &stored.RevokeLease{Lease: lease}},
	}
}

// DescribeLease says how a lease stands.
func (n *Node) DescribeLease(ctx context.Context, in *api.DescribeLeaseRequest) (*api.DescribeLeaseResponse, error) {
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.DescribeLeaseResponse, error) {
			at, err := n.mayRead(ctx)
			if err != nil {
				return nil, err
			}
			out, found := n.machine.lease(in.GetLease())
			if !found {
				return nil, api.Definite(api.Reason_REASON_LEASE_EXPIRED, "there is no such lease, or no more")
			}
			out.Stamp = n.stamp(at)
			return out, nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.DescribeLeaseResponse, error) {
			return leader.DescribeLease(ctx, &api.DescribeLeaseRequest{Route: passedOn, Lease: in.GetLease()})
		})
}
