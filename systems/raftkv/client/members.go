package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// Status asks every node how it sees itself; what a node did not answer in time is
// nil. The order is that of the client's nodes.
func (c *Client) Status(ctx context.Context) []*api.StatusResponse {
	return c.StatusOf(ctx, ctx)
}

// StatusOf is Status with a time of its own for there to be a connection: who cannot
// be reached is not worth waiting for.
func (c *Client) StatusOf(ctx, connecting context.Context) []*api.StatusResponse {
	all := make([]*api.StatusResponse, len(c.nodes))
	var wg sync.WaitGroup
	for i, conn := range c.conns {
		wg.Go(func() {
			if conn.Ready(connecting) != nil {
				return
			}
			if s, err := api.NewRaftKVClient(conn).Status(ctx, &api.StatusRequest{}); err == nil {
				all[i] = s
			}
		})
	}
	wg.Wait()
	return all
}

// Learn makes a node follow without a vote, as the member of that name.
func (c *Client) Learn(ctx context.Context, member, addr string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_LEARN, Member: member, Address: addr})
}

// Promote gives a member that learns a vote, when it has caught up.
func (c *Client) Promote(ctx context.Context, member string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_PROMOTE, Member: member})
}

// Remove makes a member none.
func (c *Client) Remove(ctx context.Context, member string) error {
	return c.changeMember(ctx, &api.ChangeMemberRequest{Change: api.MemberChange_MEMBER_CHANGE_REMOVE, Member: member})
}

// Members are the members of a cluster, by the names of their nodes.
type Members struct {
	Stamp
	Voters, Learners []string
}

// Members returns who the members are. It is a linearizable read.
func (c *Client) Members(ctx context.Context) (Members, error) {
	var out *api.ListMembersResponse
	node, err := c.read(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) (err error) {
		out, err = kv.ListMembers(ctx, &api.ListMembersRequest{Route: route})
		return err
	})
	return Members{Stamp: stamped(node, out.GetStamp()), Voters: out.GetVoters(), Learners: out.GetLearners()}, orNil(err)
}

// changeMember makes a change that is the same if it is made twice.
func (c *Client) changeMember(ctx context.Context, in *api.ChangeMemberRequest) error {
	_, err := c.try(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		in := &api.ChangeMemberRequest{Route: route, Change: in.GetChange(), Member: in.GetMember(), Address: in.GetAddress()}
		_, err := kv.ChangeMember(ctx, in)
		return err
	})
	return orNil(err)
}

// Transfer makes the leader hand over to a node; or, if that is empty, to whom it
// likes, once at least.
func (c *Client) Transfer(ctx context.Context, to string) error {
	_, err := c.try(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		_, err := kv.TransferLeadership(ctx, &api.TransferLeadershipRequest{Route: route, To: to})
		return err
	})
	return orNil(err)
}

// Elect makes one of the client's nodes stand for election.
func (c *Client) Elect(ctx context.Context, node string) error {
	for i, n := range c.nodes {
		if n.Name != node {
			continue
		}
		err := c.conns[i].Ready(ctx)
		if err == nil {
			_, err = api.NewRaftKVClient(c.conns[i]).StandForElection(ctx, &api.StandForElectionRequest{})
		}
		if err == nil {
			return nil
		}
		e := api.Understand(err)
		return &Error{Definite: e.Definite, Reason: e.Reason, Node: node, Err: e.Err}
	}
	return fmt.Errorf("there is no node %q", node)
}
