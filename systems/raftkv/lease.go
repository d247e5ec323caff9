package raftkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/lease"
)

// leases are those of the client, each with a key that holds its number: "lease/k0".
type leases struct{ client *client.Client }

func (l *leases) Close() error { return l.client.Close() }

func (l *leases) Grant(ctx context.Context, key string, ttl time.Duration) (lease.Granted, error) {
	granted, err := l.client.Grant(ctx, ttl)
	if err != nil {
		// If there is such a lease there is no key of it, and never will be.
		return lease.Granted{Said: said(granted.Stamp, 0)}, workloads.Definite(err)
	}
	put := client.Txn{Then: []client.Op{client.OpPutLeased(leaseKey(key), decimal(int64(granted.ID)), granted.ID)}}
	r, err := l.client.Txn(ctx, put)
	out := lease.Granted{Lease: granted.ID, TTL: granted.TTL, Bound: granted.Bound, Said: said(r.Stamp, r.Revision)}
	if err != nil {
		return out, classify(err)
	}
	// Once more, since keys change while they have a lease. That this comes to nothing
	// does not say that the key was never there.
	if _, err := l.client.Txn(ctx, put); err != nil {
		return out, fmt.Errorf("put it again: %w", err)
	}
	return out, nil
}

func (l *leases) KeepAlive(ctx context.Context, id uint64) (lease.Kept, error) {
	kept, err := l.client.KeepAlive(ctx, id)
	return lease.Kept{TTL: kept.TTL, Said: said(kept.Stamp, 0)}, gone(err)
}

func (l *leases) Revoke(ctx context.Context, id uint64) (workloads.Said, error) {
	at, revision, err := l.client.Revoke(ctx, id)
	return said(at, revision), gone(err)
}

// gone is the error of what was to be done with a lease.
func gone(err error) error {
	if _, ok := errors.AsType[*client.Expired](err); ok && client.IsDefinite(err) {
		return &lease.Expired{}
	}
	return classify(err)
}

func (l *leases) Read(ctx context.Context, key string) (lease.Found, error) {
	r, err := l.client.Get(ctx, leaseKey(key))
	out := lease.Found{Present: r.Found, Said: said(r.Stamp, r.Revision)}
	if n, ok := number(r.Value); ok {
		out.Lease = uint64(n)
	}
	return out, classify(err)
}

func leaseKey(key string) string { return "lease/" + key }
