package client

import (
	"context"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A Lease is what keys end with that were put with it ([OpPutLeased]).
type Lease struct {
	Stamp
	ID uint64
	// TTL is for how long it lasts, from when it was asked for.
	TTL time.Duration
	// Bound is by how much it may outlive that at the most, while there is a leader. A
	// grant says it.
	Bound time.Duration
}

// A LeaseState is how a lease stands.
type LeaseState struct {
	Stamp
	TTL, Left time.Duration
	Keys      []string // that end with it
}

// Expired is the error of what was to be done with a lease that is not there (any more).
type Expired struct {
	Lease uint64 // 0: one of those that a transaction named
}

func (e *Expired) Error() string {
	if e.Lease == 0 {
		return "the lease has expired"
	}
	return fmt.Sprintf("lease %d has expired", e.Lease)
}

// expired makes an [Expired] of an error that says so. Whether it is definite
// is as before.
func expired(err *Error, lease uint64) error {
	if err != nil && err.Reason == api.Reason_REASON_LEASE_EXPIRED {
		err.Err = fmt.Errorf("%w (%w)", &Expired{lease}, err.Err)
	}
	return orNil(err)
}

func milliseconds(ms uint64) time.Duration { return time.Duration(ms) * time.Millisecond }

// Grant makes a lease that lasts for ttl, in whole milliseconds. If its outcome is not
// known there may be one that nobody keeps alive, and that ends.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (Lease, error) {
	var out *api.GrantLeaseResponse
	node, err := c.numbered(ctx, &c.writes, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (err error) {
		out, err = kv.GrantLease(ctx, &api.GrantLeaseRequest{Route: route, Write: w, TtlMs: uint64(ttl.Milliseconds())})
		return err
	})
	return Lease{
		Stamp: stamped(node, out.GetStamp()), ID: out.GetLease(),
		TTL: milliseconds(out.GetTtlMs()), Bound: milliseconds(out.GetBoundMs()),
	}, orNil(err)
}

// KeepAlive makes a lease last for its time from now on. It is numbered, or an attempt
// that was given up and comes late would make the lease last longer than anybody knows of.
// The error of one that has ended is [Expired].
func (c *Client) KeepAlive(ctx context.Context, lease uint64) (Lease, error) {
	var out *api.KeepAliveResponse
	node, err := c.numbered(ctx, &c.beats, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (err error) {
		out, err = kv.KeepAlive(ctx, &api.KeepAliveRequest{Route: route, Write: w, Lease: lease})
		return err
	})
	return Lease{
		Stamp: stamped(node, out.GetStamp()), ID: lease, TTL: milliseconds(out.GetTtlMs()),
	}, expired(err, lease)
}

// Revoke ends a lease, and deletes its keys. It returns the revision of the store after
// that. The error of one that has ended before is [Expired].
func (c *Client) Revoke(ctx context.Context, lease uint64) (Stamp, uint64, error) {
	var out *api.RevokeLeaseResponse
	node, err := c.numbered(ctx, &c.writes, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (err error) {
		out, err = kv.RevokeLease(ctx, &api.RevokeLeaseRequest{Route: route, Write: w, Lease: lease})
		return err
	})
	return stamped(node, out.GetStamp()), out.GetRevision(), expired(err, lease)
}

// Describe says how a lease stands. It is a linearizable read. The error of one that has
// ended is [Expired].
func (c *Client) Describe(ctx context.Context, lease uint64) (LeaseState, error) {
	var out *api.DescribeLeaseResponse
	node, err := c.read(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) (err error) {
		out, err = kv.DescribeLease(ctx, &api.DescribeLeaseRequest{Route: route, Lease: lease})
		return err
	})
	return LeaseState{
		Stamp: stamped(node, out.GetStamp()),
		TTL:   milliseconds(out.GetTtlMs()), Left: milliseconds(out.GetLeftMs()), Keys: out.GetKeys(),
	}, expired(err, lease)
}
