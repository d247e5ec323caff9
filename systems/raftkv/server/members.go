package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A node that lost its disk has forgotten what it promised: whom it voted for, and
// what it holds for the majority that an acknowledged write needs. So it must not
// come back as the member that it was. It is made none, and joins as another, whose
// name among the members is the node's with something behind a "#", and it listens for
// the others at an address of its own. At the old one it would answer for the one before
// when somebody asks who has not heard of it: after one change that does no harm, as the
// majority that agreed on it refuses whoever does not know of it; after two, a node that
// slept through both may win by the votes of such as have forgotten everything.

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

// Status says how the node sees itself and its cluster.
func (n *Node) Status(context.Context, *api.StatusRequest) (*api.StatusResponse, error) {
	at := n.machine.applied()
	revision, compacted := n.machine.revisions()
	leader, _ := n.leader()
	// The term is read first: if the node is deposed in between it does not claim
	// to lead the term of another. And what is agreed on before the members, so that
	// those are not taken to be that come in between.
	term, commit := n.raft.CurrentTerm(), n.raft.CommitIndex()
	state := n.raft.State()
	all, err := n.membership()
	if err != nil {
		return nil, classify(err)
	}
	out := &api.StatusResponse{
		Id:       n.config.ID,
		State:    strings.ToLower(state.String()),
		Term:     term,
		Leader:   leader,
		Applied:  at.index,
		Commit:   commit,
		LastLog:  n.raft.LastIndex(),
		Member:   string(n.id),
		Changing: n.changing(commit),

		Revision:  revision,
		Compacted: compacted,
	}
	if state == raft.Follower && !n.votes(all) {
		out.State = "learner"
	}
	out.Voters, out.Learners = nodesOf(all)
	for _, s := range all {
		if last, known := n.transport.last(s.ID); known && s.Suffrage != raft.Voter && state == raft.Leader {
			if out.Behind == nil {
				out.Behind = map[string]uint64{}
			}
			out.Behind[nodeOf(s.ID)] = out.LastLog - min(last, out.LastLog)
		}
	}
	writing, reading := n.snapshots.now()
	taking, restoring := n.machine.taking.Load(), n.machine.restoring.Load()
	out.TakingSnapshot = taking > 0
	out.InstallingSnapshot = writing > taking || restoring > 0
	out.SendingSnapshot = reading > restoring
	return out, nil
}

// nodesOf returns the names of the nodes that have a vote, and of those that have none.
func nodesOf(all []raft.Server) (voters, learners []string) {
	for _, s := range all {
		if s.Suffrage == raft.Voter {
			voters = append(voters, nodeOf(s.ID))
		} else {
			learners = append(learners, nodeOf(s.ID))
		}
	}
	return voters, learners
}

// agreed returns the members that are agreed on, and where the entry stands that makes
// it so. What stands in the log of this node, which leads, is no older than the call when
// an entry behind it was agreed on; and it is agreed on when another one is that came
// later in the same term.
func (n *Node) agreed(ctx context.Context) ([]raft.Server, position, error) {
	before, err := n.settled(ctx)
	if err != nil {
		return nil, before, err
	}
	all, err := n.membership()
	if err != nil {
		return nil, before, err
	}
	after, err := n.settled(ctx)
	if err == nil && before.term != after.term {
		err = api.Definite(api.Reason_REASON_LEADERSHIP_LOST, "another led in between")
	}
	return all, before, err
}

// settled returns when an entry without effect is agreed on, and with it all that stood in
// this node's log when it was called, and where the entry stands. (To be followed says less:
// see [Node.followed].) Only a leader comes to that.
func (n *Node) settled(ctx context.Context) (position, error) {
	at, err := n.entry(ctx)
	if err != nil {
		return at, notRead(err)
	}
	return at, nil
}

// ListMembers says who the members are.
func (n *Node) ListMembers(ctx context.Context, in *api.ListMembersRequest) (*api.ListMembersResponse, error) {
	answer := func(all []raft.Server, at position) *api.ListMembersResponse {
		voters, learners := nodesOf(all)
		return &api.ListMembersResponse{Voters: voters, Learners: learners, Stamp: n.stamp(at)}
	}
	if n.config.Bug == bug.MembersStale {
		all, err := n.membership()
		if err != nil {
			return nil, err
		}
		return answer(all, n.machine.applied()), nil
	}
	return atLeader(ctx, n, in.GetRoute(),
		func(ctx context.Context) (*api.ListMembersResponse, error) {
			all, at, err := n.agreed(ctx)
			if err != nil {
				return nil, err
			}
			return answer(all, at), nil
		},
		func(ctx context.Context, leader api.RaftKVClient) (*api.ListMembersResponse, error) {
			return leader.ListMembers(ctx, &api.ListMembersRequest{Route: passedOn})
		})
}

// ChangeMember changes one member. Raft makes no change before the one in front of it
// is agreed on, and none before its leader has got an entry of its own agreed on.
func (n *Node) ChangeMember(ctx context.Context, in *api.ChangeMemberRequest) (*api.ChangeMemberResponse, error) {
	if in.GetMember() == "" {
		return nil, api.Definite(api.Reason_REASON_INVALID, "no member is named")
	}
	if n.config.Bug == bug.MembersStale {
		if all, err := n.membership(); err == nil && isSo(all, in) {
			return &api.ChangeMemberResponse{}, nil
		}
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
// make him a member again. But none waits for a learner to catch up.
func (n *Node) changeMember(ctx context.Context, in *api.ChangeMemberRequest) error {
	if in.GetChange() == api.MemberChange_MEMBER_CHANGE_PROMOTE {
		if err := n.mayVote(ctx, raft.ServerID(in.GetMember())); err != nil {
			return err
		}
	}
	select {
	case n.changes <- struct{}{}:
		defer func() { <-n.changes }()
	case <-ctx.Done():
		return api.Definite(api.Reason_REASON_BUSY, "wait for another change: %w", context.Cause(ctx))
	}
	early := n.config.Bug == bug.LeaveEarly && in.GetChange() == api.MemberChange_MEMBER_CHANGE_REMOVE
	var all []raft.Server
	var err error
	if early {
		all, err = n.membership()
	} else {
		all, _, err = n.agreed(ctx)
	}
	if err != nil {
		return err
	}
	if isSo(all, in) {
		return nil
	}
	within := timeLeft(ctx)
	id := raft.ServerID(in.GetMember())
	is := find(all, func(s raft.Server) bool { return s.ID == id })
	switch in.GetChange() {
	case api.MemberChange_MEMBER_CHANGE_LEARN:
		if in.GetAddress() == "" {
			return api.Definite(api.Reason_REASON_INVALID, "%s has no address", id)
		}
		if was := find(all, func(s raft.Server) bool { return nodeOf(s.ID) == nodeOf(id) }); was != nil {
			return api.Definite(api.Reason_REASON_INVALID, "%s is a member yet, as %s", nodeOf(id), was.ID)
		}
		return n.raft.AddNonvoter(id, raft.ServerAddress(in.GetAddress()), 0, within).Error()
	case api.MemberChange_MEMBER_CHANGE_PROMOTE:
		if is == nil { // while it was waited for somebody has removed it
			return api.Definite(api.Reason_REASON_INVALID, "%s is no member any more", id)
		}
		return n.raft.AddVoter(id, is.Address, 0, within).Error()
	case api.MemberChange_MEMBER_CHANGE_REMOVE:
		if is.Suffrage == raft.Voter && find(all, func(s raft.Server) bool { return s.Suffrage == raft.Voter && s.ID != id }) == nil {
			return api.Definite(api.Reason_REASON_INVALID, "%s is the last one with a vote", id)
		}
		done := n.raft.RemoveServer(id, 0, within)
		if early {
			return nil // whatever becomes of it
		}
		return done.Error()
	}
	return api.Definite(api.Reason_REASON_INVALID, "no such change: %v", in.GetChange())
}

// mayVote returns when a member has a vote or has caught up.
func (n *Node) mayVote(ctx context.Context, id raft.ServerID) error {
	all, _, err := n.agreed(ctx)
	if err != nil {
		return err
	}
	switch is := find(all, func(s raft.Server) bool { return s.ID == id }); {
	case is == nil:
		return api.Definite(api.Reason_REASON_INVALID, "%s is no member", id)
	case is.Suffrage == raft.Voter:
		return nil
	}
	return n.caughtUp(ctx, id)
}

// isSo says whether, among these members, one is what it is to become.
func isSo(all []raft.Server, in *api.ChangeMemberRequest) bool {
	is := find(all, func(s raft.Server) bool { return string(s.ID) == in.GetMember() })
	switch in.GetChange() {
	case api.MemberChange_MEMBER_CHANGE_LEARN:
		return is != nil
	case api.MemberChange_MEMBER_CHANGE_PROMOTE:
		return is != nil && is.Suffrage == raft.Voter
	case api.MemberChange_MEMBER_CHANGE_REMOVE:
		return is == nil
	}
	return false
}

// longestCatchUp is how long a learner may take at the most that is to get a vote,
// however much time the caller has. Whoever gives up may ask again: what it has it keeps.
const longestCatchUp = 30 * time.Second

// caughtUp returns when a learner knows that everything is agreed on that is now. A
// vote of one that is behind would count for a majority that does not hold what
// majorities have acknowledged yet; and all would wait for it.
//
// It ends so early that the caller hears how far the learner has come; how far it is
// meanwhile is part of the leader's status.
func (n *Node) caughtUp(ctx context.Context, learner raft.ServerID) error {
	until := time.Now().Add(longestCatchUp)
	if deadline, ok := ctx.Deadline(); ok {
		until = minTime(until, time.Now().Add(time.Until(deadline)*3/4))
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	goal := n.raft.CommitIndex()
	conn, err := n.peer(nodeOf(learner))
	if err != nil {
		return api.Definite(api.Reason_REASON_NOT_DONE, "ask %s how far it is: %w", learner, err)
	}
	begun, has := time.Now(), uint64(0)
	last := errors.New("it was not asked")
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		s, err := statusOf(ctx, conn)
		switch {
		case ctx.Err() != nil: // what the last answer was tells more
		case err != nil:
			last = fmt.Errorf("when it was asked last: %w", err)
		case s.GetMember() != string(learner):
			last = fmt.Errorf("it is %s", s.GetMember())
		default:
			has = min(s.GetCommit(), s.GetLastLog())
			if has >= goal {
				return nil
			}
			last = errors.New("it answers")
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return api.Definite(api.Reason_REASON_NOT_DONE, "%s has not caught up in %v: it is known to have %d entries of %d, and is %d behind (%w)",
				learner, time.Since(begun).Round(time.Millisecond), has, goal, goal-has, last)
		case <-n.stopping:
			return errStopping
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
	in := &raft.TimeoutNowRequest{RPCHeader: n.header()}
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
