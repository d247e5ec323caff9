package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Claim is a key that is one's own for as long as one keeps its lease alive: a
// [Lock], or a [Leadership]. That one is told to have it does not say that one has it
// now: whoever is paused, or cut off, for longer than the lease lasts has lost it, and
// cannot know. So what it protects is written by transactions that are fenced.
type Claim struct {
	Stamp // of the transaction that made it
	Name  string
	// Token is the revision that made the key. Of two claims to one name the later
	// has the greater token.
	Token uint64
	Lease Lease

	client   *Client
	key      string
	unfenced bool // a bug
}

// Held is the error of who wants to have what another has.
type Held struct {
	Name string
	// Holder is the value of the key, and Token the revision that made it.
	Holder string
	Token  uint64
	seen   uint64 // the revision at which it was so
}

func (e *Held) Error() string {
	return fmt.Sprintf("%q is held by %q, with token %d", e.Name, e.Holder, e.Token)
}

// Lost is the error of who had something that is another's, or nobody's, by now.
type Lost struct {
	Name  string
	Token uint64
}

func (e *Lost) Error() string {
	return fmt.Sprintf("%q was lost: token %d is not valid any more", e.Name, e.Token)
}

// claim makes a key, with a lease of its own, if it is not there. If what became of that
// is not known, nobody will keep that lease alive.
func (c *Client) claim(ctx context.Context, prefix, name, holder string, ttl time.Duration) (*Claim, error) {
	lease, err := c.Grant(ctx, ttl)
	if err != nil {
		e, _ := errors.AsType[*Error](err)
		return nil, &Error{Definite: true, Reason: e.Reason, Node: e.Node, Err: fmt.Errorf("grant lease: %w", err)}
	}
	claim := &Claim{Name: name, Lease: lease, client: c, key: prefix + name}
	r, err := claim.take(ctx, holder)
	if IsDefinite(err) {
		claim.revoke(ctx)
	}
	if err != nil {
		return nil, err
	}
	claim.Stamp, claim.Token = r.Stamp, r.Revision
	if len(r.Results[0]) > 0 { // it was there, after all: see bug.LockTwice
		claim.Token = r.Results[0][0].Create
	}
	return claim, nil
}

// take puts the key.
func (k *Claim) take(ctx context.Context, holder string) (TxnResult, error) {
	put := Txn{
		If:   []Compare{IfCreate(k.key, Equal, 0)},
		Then: []Op{OpPutLeased(k.key, []byte(holder), k.Lease.ID)},
		Else: []Op{OpRange(Key(k.key))},
	}
	if k.client.bug == bug.LockTwice {
		there, err := k.client.Range(ctx, Key(k.key), RangeOptions{})
		if err == nil && len(there.KVs) > 0 {
			err = k.held(there.Stamp, there.Revision, there.KVs)
		}
		if err != nil {
			return TxnResult{}, err
		}
		put.If = nil
	}
	r, err := k.client.Txn(ctx, put)
	if err == nil && !r.Succeeded {
		err = k.held(r.Stamp, r.Revision, r.Results[0])
	}
	return r, err
}

func (k *Claim) held(at Stamp, seen uint64, by []KeyValue) error {
	held := &Held{Name: k.Name, seen: seen}
	if len(by) > 0 {
		held.Holder, held.Token = string(by[0].Value), by[0].Create
	}
	return &Error{Definite: true, Reason: api.Reason_REASON_NOT_DONE, Node: at.Node, Err: held}
}

// await claims as soon as it can: whenever the key is deleted. If time is up before, the
// error is [Held].
func (c *Client) await(ctx context.Context, prefix, name, holder string, ttl time.Duration) (*Claim, error) {
	for {
		claim, err := c.claim(ctx, prefix, name, holder, ttl)
		held, ok := errors.AsType[*Held](err)
		if !ok {
			return claim, err
		}
		if err := c.deleted(ctx, prefix+name, held.seen); err != nil {
			e, _ := errors.AsType[*Error](err)
			return nil, &Error{Definite: true, Reason: e.Reason, Node: e.Node, Err: fmt.Errorf("%w; wait for it: %w", held, err)}
		}
	}
}

// deleted returns when a key was deleted after a revision, or may have been.
func (c *Client) deleted(ctx context.Context, key string, after uint64) error {
	w := c.Watch(ctx, Key(key), after+1)
	defer w.Close()
	for {
		b, err := w.Next(ctx)
		if err != nil || b.Compacted > 0 || slices.ContainsFunc(b.Events, func(e Event) bool { return e.Deleted }) {
			return err
		}
	}
}

// Fenced returns the transaction with the condition that the claim is held when it takes
// place. That it did not succeed may be for that, or for a comparison of its own: let it
// read the key ([Claim.Key]) if it has any.
func (k *Claim) Fenced(t Txn) Txn {
	if !k.unfenced {
		t.If = slices.Concat(t.If, []Compare{IfCreate(k.key, Equal, k.Token)})
	}
	return t
}

// Key is the key that is claimed.
func (k *Claim) Key() string { return k.key }

// Renew makes the claim last for its time from now on. The error of one whose lease has
// ended is [Expired].
func (k *Claim) Renew(ctx context.Context) (Lease, error) {
	return k.client.KeepAlive(ctx, k.Lease.ID)
}

// still performs a transaction that is fenced, and has no other comparisons. That it does
// not succeed is [Lost].
func (k *Claim) still(ctx context.Context, t Txn) (TxnResult, error) {
	r, err := k.client.Txn(ctx, t)
	if err == nil && !r.Succeeded {
		err = &Error{Definite: true, Reason: api.Reason_REASON_NOT_DONE, Node: r.Node, Err: &Lost{k.Name, k.Token}}
	}
	return r, err
}

// release gives the claim back. Whose it is by now is looked at whatever the bug: else
// it would be somebody else's that is given back.
func (k *Claim) release(ctx context.Context) (TxnResult, error) {
	r, err := k.still(ctx, Txn{
		If: []Compare{IfCreate(k.key, Equal, k.Token)}, Then: []Op{OpDelete(Key(k.key))},
	})
	if _, lost := errors.AsType[*Lost](err); err == nil || lost {
		k.revoke(ctx) // in any other case the key may be there, and is to stay
	}
	return r, err
}

// revoke ends a lease that nobody needs. If that fails it ends by itself.
func (k *Claim) revoke(ctx context.Context) { _, _, _ = k.client.Revoke(ctx, k.Lease.ID) }
