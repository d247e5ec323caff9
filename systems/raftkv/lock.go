package raftkv

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/lock"
)

// locks are those of the client. What a lock protects is a key beside it, which is
// written with the token: "protected/l0".
type locks struct {
	client *client.Client
	holder string
	held   map[uint64]*client.Lock // or were, by token
}

// claimTTL is how long a lock, or a lead, is held that nobody keeps.
const claimTTL = 1500 * time.Millisecond

func (l *locks) Close() error { return l.client.Close() }

func (l *locks) Acquire(ctx context.Context, name string) (lock.Grant, error) {
	got, err := l.client.TryAcquire(ctx, name, l.holder, claimTTL)
	if _, held := errors.AsType[*client.Held](err); held && client.IsDefinite(err) {
		return lock.Grant{Said: workloads.Said{Node: nodeOf(err)}}, &lock.Held{}
	}
	if err != nil {
		return lock.Grant{Said: workloads.Said{Node: nodeOf(err)}}, classify(err)
	}
	l.held[got.Token] = got
	return lock.Grant{Token: got.Token, TTL: got.Lease.TTL, Said: said(got.Stamp, got.Token)}, nil
}

func (l *locks) Renew(ctx context.Context, _ string, token uint64) (lock.Grant, error) {
	held := l.held[token]
	if held == nil {
		return lock.Grant{}, &lock.Fenced{}
	}
	r, err := held.Renew(ctx)
	if _, gone := errors.AsType[*client.Expired](err); gone {
		return lock.Grant{Said: said(r.Stamp, 0)}, &lock.Fenced{}
	}
	return lock.Grant{Token: token, TTL: r.TTL, Said: said(r.Stamp, 0)}, classify(err)
}

func (l *locks) Release(ctx context.Context, _ string, token uint64) (workloads.Said, error) {
	held := l.held[token]
	if held == nil {
		return workloads.Said{}, &lock.Fenced{}
	}
	r, err := held.Release(ctx)
	if _, lost := errors.AsType[*client.Lost](err); lost {
		return said(r.Stamp, r.Revision), &lock.Fenced{}
	}
	return said(r.Stamp, r.Revision), classify(err)
}

func (l *locks) Write(ctx context.Context, name string, token uint64, value int64) (workloads.Said, error) {
	held := l.held[token]
	if held == nil {
		return workloads.Said{}, &lock.Fenced{}
	}
	r, err := l.client.Txn(ctx, held.Fenced(client.Txn{
		Then: []client.Op{client.OpPut(protected(name), tokened(token, value))},
	}))
	if err == nil && !r.Succeeded {
		return said(r.Stamp, r.Revision), &lock.Fenced{}
	}
	return said(r.Stamp, r.Revision), classify(err)
}

func (l *locks) Read(ctx context.Context, name string) (lock.Resource, error) {
	r, err := l.client.Get(ctx, protected(name))
	out := lock.Resource{Said: said(r.Stamp, r.Revision)}
	if r.Found {
		var ok bool
		if out.Token, out.Value, ok = untokened(r.Value); !ok {
			out.Value = lock.Garbled
		}
	}
	return out, classify(err)
}

func protected(name string) string { return "protected/" + name }

// tokened spells what was written in the name of a token.
func tokened(token uint64, value int64) []byte { return fmt.Appendf(nil, "%d %d", token, value) }

// untokened is the inverse of tokened.
func untokened(text []byte) (token uint64, value int64, ok bool) {
	n, err := fmt.Sscanf(string(text), "%d %d", &token, &value)
	return token, value, n == 2 && err == nil && string(tokened(token, value)) == string(text)
}

// nodeOf returns the node that an error is of.
func nodeOf(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Node
	}
	return ""
}
