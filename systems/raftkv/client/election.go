package client

import (
	"context"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// electionPrefix is that of elections' keys.
const electionPrefix = "election/"

// A Leadership is an election that was won. Its term is its token. See [Claim] for what
// it is worth.
type Leadership struct{ *Claim }

// A Leader is who has won an election.
type Leader struct {
	Stamp
	// Value is what the leader has proclaimed, at first who it is.
	Value string
	// Term is the leader's token; 0: there is no leader.
	Term uint64
	// Revision is that of the store at which it was so.
	Revision uint64
}

// TryCampaign makes value the leader, if there is none, with a lease of ttl. The error is
// [Held] if there is one. If the outcome is not known it may lead, until the lease has
// ended: nobody keeps it alive.
func (c *Client) TryCampaign(ctx context.Context, name, value string, ttl time.Duration) (*Leadership, error) {
	return c.leads(c.claim(ctx, electionPrefix, name, value, ttl))
}

// Campaign makes value the leader as soon as there is none. See [Client.TryCampaign]; the
// error is [Held] if there was one until ctx ended.
func (c *Client) Campaign(ctx context.Context, name, value string, ttl time.Duration) (*Leadership, error) {
	return c.leads(c.await(ctx, electionPrefix, name, value, ttl))
}

func (c *Client) leads(claim *Claim, err error) (*Leadership, error) {
	if err != nil {
		return nil, err
	}
	claim.unfenced = c.bug == bug.ElectionUnfenced
	return &Leadership{claim}, nil
}

// Proclaim changes what observers are told, in the same term. The error of who was
// deposed before is [Lost], or [Expired] of whom only the lease has ended.
func (l *Leadership) Proclaim(ctx context.Context, value string) (TxnResult, error) {
	return l.still(ctx, l.Fenced(Txn{Then: []Op{OpPutLeased(l.key, []byte(value), l.Lease.ID)}}))
}

// Resign makes the leader none. The error of who was deposed before is [Lost].
func (l *Leadership) Resign(ctx context.Context) (TxnResult, error) { return l.release(ctx) }

// Observe reads who leads. It is a linearizable read.
func (c *Client) Observe(ctx context.Context, name string) (Leader, error) {
	r, err := c.Range(ctx, Key(electionPrefix+name), RangeOptions{})
	l := Leader{Stamp: r.Stamp, Revision: r.Revision}
	if len(r.KVs) > 0 {
		l.Value, l.Term = string(r.KVs[0].Value), r.KVs[0].Create
	}
	return l, err
}
