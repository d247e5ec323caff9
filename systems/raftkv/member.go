package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/member"
)

// members are registers, and the members of the cluster that has them: "member/k0".
type members struct {
	client *client.Client
	admin  cluster.Members
}

func (m *members) Close() error { return m.client.Close() }

func (m *members) Read(ctx context.Context, key string) (member.Result, error) {
	r, err := m.client.Get(ctx, "member/"+key)
	out := member.Result{Present: r.Found, Said: said(r.Stamp, r.Revision)}
	if r.Found {
		var ok bool
		if out.Value, ok = number(r.Value); !ok {
			out.Value = member.Garbage
		}
	}
	return out, classify(err)
}

func (m *members) Write(ctx context.Context, key string, v int64) (workloads.Said, error) {
	r, err := m.client.Put(ctx, "member/"+key, decimal(v))
	return said(r.Stamp, r.Revision), classify(err)
}

func (m *members) Members(ctx context.Context) (member.Membership, error) {
	all, err := m.client.Members(ctx)
	return member.Membership{Voters: all.Voters, Learners: all.Learners, Said: said(all.Stamp, 0)}, classify(err)
}

func (m *members) Leave(ctx context.Context, node string) error {
	return classify(m.admin.Leave(ctx, node))
}

func (m *members) Join(ctx context.Context, node string) error {
	return classify(m.admin.Join(ctx, node))
}

func (m *members) Transfer(ctx context.Context, node string) error {
	return classify(m.client.Transfer(ctx, node))
}
