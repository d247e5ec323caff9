package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A node that lost its disk has forgotten what it promised: whom it voted for, and
// what it holds for the majority that an acknowledged write needs. So it must not
// come back as the member that it was. It is made none, and joins as another, whose
// name among the members is the node's with something behind a "#". Who is asked by
// his address, and by somebody who has not heard of it, may still answer for the one
// before. That does no harm: the change that made that one no member is agreed on by
// a majority of the others, each of which refuses who does not know of it.

// nodeOf returns the name of the node that a member is.
func nodeOf(member raft.ServerID) string {
	node, _, _ := strings.Cut(string(member), "#")
	return node
}

// membership returns the members by the last change in the node's log, which may not
// be agreed on.
func (n *Node) membership() ([]raft.Server, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, err
	}
	return f.Configuration().Servers, nil
}

// changing says whether a change of members stands in the log behind what is known to
// be agreed on. (Raft knows, but does not tell.) A node that has just begun knows of
// nothing that it is agreed on, and so cannot say.
func (n *Node) changing(agreed uint64) bool {
	if agreed == 0 {
		return false
	}
	for index := agreed + 1; index <= n.raft.LastIndex(); index++ {
		var l raft.Log
		if n.logs.GetLog(index, &l) == nil && l.Type == raft.LogConfiguration {
			return true
		}
	}
	return false
}

func find(all []raft.Server, is func(raft.Server) bool) *raft.Server {
	at := slices.IndexFunc(all, is)
	if at < 0 {
		return nil
	}
	return &all[at]
}

// ChangeMember changes one member. Raft makes no change before the one in front of it
// is agreed on, and none before its leader has got an entry of its own agreed on.
func (n *Node) ChangeMember(ctx context.Context, in *api.ChangeMemberRequest) (*api.ChangeMemberResponse, error) {
	if in.GetMember() == "" {
		return nil, api.Definite(api.Reason_REASON_INVALID, "no member is named")
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.ChangeMemberResponse, error) {
			return &api.ChangeMemberResponse{}, n.await(ctx, func() error { return n.changeMember(ctx, in) })
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.ChangeMemberResponse, error) {
			return leader.ChangeMember(ctx, &api.ChangeMemberRequest{
				Route: passedOn, Change: in.GetChange(), Member: in.GetMember(), Address: in.GetAddress(),
			})
		})
}

// changeMember does it as the leader. One waits for another, so that what it finds
// is still so when it is done: to give a vote to who has been removed meanwhile would
// make him a member again.
func (n *Node) changeMember(ctx context.Context, in *api.ChangeMemberRequest) error {
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
	case <-ctx.Done():
		return api.Definite(api.Reason_REASON_BUSY, "wait for another change: %w", context.Cause(ctx))
	}
	// What this node's log says of the members is agreed on when an entry behind it
	// is.
	if _, err := n.reads.wait(ctx, n.life); err != nil {
		e := *classify(err)
		e.Definite = true // nothing was changed yet
		return &e
	}
	all, err := n.membership()
	if err != nil {
		return err
	}
	within := timeLeft(ctx)
	id := raft.ServerID(in.GetMember())
	is := find(all, func(s raft.Server) bool { return s.ID == id })
	switch in.GetChange() {
	case api.MemberChange_MEMBER_CHANGE_LEARN:
		if is != nil {
			return nil
		}
		if in.GetAddress() == "" {
			return api.Definite(api.Reason_REASON_INVALID, "%s has no address", id)
		}
		if was := find(all, func(s raft.Server) bool { return nodeOf(s.ID) == nodeOf(id) }); was != nil {
			return api.Definite(api.Reason_REASON_INVALID, "%s is a member yet, as %s", nodeOf(id), was.ID)
		}
		return n.raft.AddNonvoter(id, raft.ServerAddress(in.GetAddress()), 0, within).Error()
	case api.MemberChange_MEMBER_CHANGE_PROMOTE:
		switch {
		case is == nil:
			return api.Definite(api.Reason_REASON_INVALID, "%s is no member", id)
		case is.Suffrage == raft.Voter:
			return nil
		}
		if err := n.caughtUp(ctx, id); err != nil {
			return err
		}
		return n.raft.AddVoter(id, is.Address, 0, timeLeft(ctx)).Error()
	case api.MemberChange_MEMBER_CHANGE_REMOVE:
		switch {
		case is == nil:
			return nil
		case is.Suffrage == raft.Voter && find(all, func(s raft.Server) bool { return s.Suffrage == raft.Voter && s.ID != id }) == nil:
			return api.Definite(api.Reason_REASON_INVALID, "%s is the last one with a vote", id)
		}
		return n.raft.RemoveServer(id, 0, within).Error()
	}
	return api.Definite(api.Reason_REASON_INVALID, "no such change: %v", in.GetChange())
}

// caughtUp returns when a learner knows that everything is agreed on that is now. A
// vote of one that is behind would count for a majority that does not hold what
// majorities have acknowledged yet; and all would wait for it.
func (n *Node) caughtUp(ctx context.Context, learner raft.ServerID) error {
	goal := n.raft.CommitIndex()
	conn, err := n.peer(nodeOf(learner))
	if err != nil {
		return api.Definite(api.Reason_REASON_NOT_DONE, "ask %s how far it is: %w", learner, err)
	}
	var last error
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		s, err := statusOf(ctx, conn)
		switch {
		case err != nil:
			last = err
		case s.GetMember() != string(learner):
			last = fmt.Errorf("it is %s", s.GetMember())
		case s.GetCommit() < goal || s.GetLastLog() < goal:
			last = fmt.Errorf("it knows of %d entries of %d", min(s.GetCommit(), s.GetLastLog()), goal)
		default:
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return api.Definite(api.Reason_REASON_NOT_DONE, "%s has not caught up: %w", learner, last)
		case <-n.life.Done():
			return api.Definite(api.Reason_REASON_SHUTDOWN, "the node is stopping")
		}
	}
}

// statusOf asks a node how it is; for long enough, since it answers at once.
func statusOf(ctx context.Context, conn api.Conn) (*api.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := conn.Ready(ctx); err != nil {
		return nil, err
	}
	return api.NewRaftKVClient(conn).Status(ctx, &api.StatusRequest{})
}

// TransferLeadership makes the leader hand over.
func (n *Node) TransferLeadership(
	ctx context.Context, in *api.TransferLeadershipRequest,
) (*api.TransferLeadershipResponse, error) {
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.TransferLeadershipResponse, error) {
			return &api.TransferLeadershipResponse{}, n.transfer(ctx, in.GetTo())
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.TransferLeadershipResponse, error) {
			return leader.TransferLeadership(ctx, &api.TransferLeadershipRequest{Route: passedOn, To: in.GetTo()})
		})
}

func (n *Node) transfer(ctx context.Context, to string) error {
	if to == "" {
		return n.await(ctx, func() error { return n.raft.LeadershipTransfer().Error() })
	}
	all, err := n.membership()
	if err != nil {
		return err
	}
	next := find(all, func(s raft.Server) bool { return nodeOf(s.ID) == to && s.Suffrage == raft.Voter })
	switch {
	case next == nil:
		return api.Definite(api.Reason_REASON_INVALID, "%s has no vote, so it cannot lead", to)
	case next.ID == n.id:
		return nil
	}
	return n.await(ctx, func() error { return n.raft.LeadershipTransferToServer(next.ID, next.Address).Error() })
}

// StandForElection makes this node a candidate. To that end it sends itself what a
// leader sends that hands over: so it asks at once for real votes, and others give
// theirs though they have a leader.
func (n *Node) StandForElection(context.Context, *api.StandForElectionRequest) (*api.StandForElectionResponse, error) {
	if n.raft.State() == raft.Leader {
		return nil, api.Definite(api.Reason_REASON_INVALID, "%s leads already", n.config.ID)
	}
	all, err := n.membership()
	if err != nil {
		return nil, classify(err)
	}
	if !n.votes(all) {
		return nil, api.Definite(api.Reason_REASON_INVALID, "%s has no vote, so it cannot stand", n.config.ID)
	}
	own := n.transport.LocalAddr()
	in := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.id), Addr: n.transport.EncodePeer(n.id, own),
	}}
	if err := n.transport.TimeoutNow(n.id, own, in, &raft.TimeoutNowResponse{}); err != nil {
		return nil, api.Indeterminate(api.Reason_REASON_NOT_DONE, "stand for election: %w", err)
	}
	return &api.StandForElectionResponse{}, nil
}

// votes says whether this node has a vote.
func (n *Node) votes(all []raft.Server) bool {
	return find(all, func(s raft.Server) bool { return s.ID == n.id && s.Suffrage == raft.Voter }) != nil
}

// await does what is no entry of the machine's, and waits for it as long as the caller
// does.
func (n *Node) await(ctx context.Context, do func() error) error {
	if err := n.hold(); err != nil {
		return err
	}
	done := make(chan error, 1) // nobody may be there to take it
	go func() {
		defer n.pending.Done()
		done <- do()
	}()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		e := classify(err)
		if e.Reason == api.Reason_REASON_STORAGE { // what Raft says in words alone
			e = api.Indeterminate(api.Reason_REASON_NOT_DONE, "%w", err)
		}
		return e
	case <-ctx.Done():
		return api.Indeterminate(api.Reason_REASON_DEADLINE, "wait for it to be done: %w", context.Cause(ctx))
	}
}
