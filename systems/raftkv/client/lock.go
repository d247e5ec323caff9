package client

import (
	"context"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// lockPrefix is that of locks' keys.
const lockPrefix = "lock/"

// A Lock is a lock that was taken. See [Claim] for what that is worth.
type Lock struct{ *Claim }

// TryAcquire takes a lock, if it is free, with a lease of ttl; holder is what others are
// told who find it taken. The error is [Held] if it is. If the outcome is not known the
// lock may be taken, until the lease has ended: nobody keeps it alive.
func (c *Client) TryAcquire(ctx context.Context, name, holder string, ttl time.Duration) (*Lock, error) {
	return c.lock(c.claim(ctx, lockPrefix, name, holder, ttl))
}

// Acquire takes a lock as soon as it is free. See [Client.TryAcquire]; the error is [Held]
// if it was not before ctx ended.
func (c *Client) Acquire(ctx context.Context, name, holder string, ttl time.Duration) (*Lock, error) {
	return c.lock(c.await(ctx, lockPrefix, name, holder, ttl))
}

func (c *Client) lock(claim *Claim, err error) (*Lock, error) {
	if err != nil {
		return nil, err
	}
	claim.unfenced = c.bug == bug.LockUnfenced
	return &Lock{claim}, nil
}

// Release gives the lock back. The error of who had lost it before is [Lost].
func (l *Lock) Release(ctx context.Context) (TxnResult, error) { return l.release(ctx) }
