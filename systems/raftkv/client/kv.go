package client

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Span is a set of keys.
type Span struct {
	Key string
	// End: all keys from Key on that are below this; empty: Key alone.
	End string
	// Prefix: all keys that begin with Key, which may be empty.
	Prefix bool
}

// Key is the span of one key.
func Key(key string) Span { return Span{Key: key} }

// Prefix is the span of all keys that begin so.
func Prefix(prefix string) Span { return Span{Key: prefix, Prefix: true} }

func (s Span) api() *api.Span { return &api.Span{Key: s.Key, End: s.End, Prefix: s.Prefix} }

// A KeyValue is what a key holds.
type KeyValue struct {
	Key     string
	Value   []byte
	Create  uint64 // revision that made it, when it had not been there
	Mod     uint64 // revision of its last change
	Version uint64 // 1 when it is made, and one more with each change
	Lease   uint64 // that it ends with; 0: none
}

func keyValue(kv *api.KeyValue) KeyValue {
	return KeyValue{
		Key: kv.GetKey(), Value: kv.GetValue(),
		Create: kv.GetCreate(), Mod: kv.GetMod(), Version: kv.GetVersion(), Lease: kv.GetLease(),
	}
}

func keyValues(all []*api.KeyValue) []KeyValue {
	var out []KeyValue
	for _, kv := range all {
		out = append(out, keyValue(kv))
	}
	return out
}

// RangeOptions say how to read. The zero one is a linearizable read of everything at
// the latest revision.
type RangeOptions struct {
	Revision uint64 // at which; 0: the latest
	// Serializable: any node may answer, from its own state, which may be old.
	// Calls of a client take turns among its nodes.
	Serializable bool
	// AtLeast is a revision that a node has to have come to that answers a serializable
	// read.
	AtLeast uint64
	Limit   uint32 // how many keys at the most; 0: all
}

// A RangeResult is what was read.
type RangeResult struct {
	Stamp
	Revision uint64     // of the store, at which this was there
	KVs      []KeyValue // ascending by key
	Count    uint64     // how many keys there are in the span, whatever the limit
}

// Range reads keys. Its errors are definite: a read that was not answered changed
// nothing, wherever it got to. Of a revision that was compacted, or is yet to come, the
// error says so by its reason.
func (c *Client) Range(ctx context.Context, s Span, o RangeOptions) (RangeResult, error) {
	var at *int
	if o.Serializable {
		node := c.anywhere()
		at = &node
	}
	var out *api.RangeResponse
	node, err := c.read(ctx, at, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) (err error) {
		out, err = kv.Range(ctx, &api.RangeRequest{
			Route: route, Span: s.api(), Revision: o.Revision,
			Serializable: o.Serializable, AtLeast: o.AtLeast, Limit: o.Limit,
		})
		return err
	})
	if err != nil {
		return RangeResult{Stamp: Stamp{Node: node}}, err
	}
	return RangeResult{
		Stamp: stamped(node, out.GetStamp()), Revision: out.GetRevision(),
		KVs: keyValues(out.GetKvs()), Count: out.GetCount(),
	}, nil
}

// A Relation is between what is there and what is given.
type Relation api.Relation

// The relations.
const (
	Equal    = Relation(api.Relation_RELATION_EQUAL)
	NotEqual = Relation(api.Relation_RELATION_NOT_EQUAL)
	Greater  = Relation(api.Relation_RELATION_GREATER) // what is there is greater
	Less     = Relation(api.Relation_RELATION_LESS)
)

// A Compare is of one thing that a key is known by. A key that is not there has create,
// mod, version and lease 0, and a value that equals none.
type Compare struct{ c *api.Compare }

// IfValue compares a key's value.
func IfValue(key string, r Relation, value []byte) Compare {
	return Compare{&api.Compare{Key: key, Relation: api.Relation(r), Target: &api.Compare_Value{Value: value}}}
}

// IfCreate compares the revision that made a key.
func IfCreate(key string, r Relation, revision uint64) Compare {
	return Compare{&api.Compare{Key: key, Relation: api.Relation(r), Target: &api.Compare_Create{Create: revision}}}
}

// IfMod compares the revision of a key's last change.
func IfMod(key string, r Relation, revision uint64) Compare {
	return Compare{&api.Compare{Key: key, Relation: api.Relation(r), Target: &api.Compare_Mod{Mod: revision}}}
}

// IfVersion compares a key's version.
func IfVersion(key string, r Relation, version uint64) Compare {
	return Compare{&api.Compare{Key: key, Relation: api.Relation(r), Target: &api.Compare_Version{Version: version}}}
}

// IfLease compares the lease that a key ends with.
func IfLease(key string, r Relation, lease uint64) Compare {
	return Compare{&api.Compare{Key: key, Relation: api.Relation(r), Target: &api.Compare_Lease{Lease: lease}}}
}

// An Op is one step of a transaction. It sees what those before it did.
type Op struct{ op *api.Op }

// OpPut sets a key. Its result is what was there before.
func OpPut(key string, value []byte) Op { return OpPutLeased(key, value, 0) }

// OpPutLeased sets a key that is to end with a lease. One that is not there (any more)
// refuses the transaction: see [Expired].
func OpPutLeased(key string, value []byte, lease uint64) Op {
	return Op{&api.Op{Op: &api.Op_Put{Put: &api.Put{Key: key, Value: value, Lease: lease}}}}
}

// OpDelete deletes keys. Its result is what it deleted.
func OpDelete(s Span) Op { return Op{&api.Op{Op: &api.Op_Delete{Delete: s.api()}}} }

// OpRange reads keys. Its result is what it found.
func OpRange(s Span) Op { return Op{&api.Op{Op: &api.Op_Range{Range: s.api()}}} }

// A Txn compares, and does the one thing or the other, all at once.
type Txn struct {
	If   []Compare
	Then []Op // if all comparisons hold
	Else []Op // if one does not
}

func (t *Txn) request(route *api.Route, w *api.Write) *api.TxnRequest {
	in := &api.TxnRequest{Route: route, Write: w}
	for _, c := range t.If {
		in.Compare = append(in.Compare, c.c)
	}
	for _, op := range t.Then {
		in.Success = append(in.Success, op.op)
	}
	for _, op := range t.Else {
		in.Failure = append(in.Failure, op.op)
	}
	return in
}

// A TxnResult is what a transaction did.
type TxnResult struct {
	Stamp
	Succeeded bool         // the comparisons held
	Revision  uint64       // of the store, after it
	Results   [][]KeyValue // of each op: see there
}

// Txn performs a transaction, once at most. That a comparison does not hold is no error:
// see Succeeded.
func (c *Client) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	var out *api.TxnResponse
	node, err := c.numbered(ctx, &c.writes, func(ctx context.Context, kv api.RaftKVClient, route *api.Route, w *api.Write) (err error) {
		out, err = kv.Txn(ctx, t.request(route, w))
		return err
	})
	switch {
	case err != nil && !err.Definite && c.bug == bug.TimeoutAsFail:
		err.Definite = true
	case err != nil && !err.Definite && c.bug == bug.TimeoutAsOK:
		return TxnResult{Stamp: Stamp{Node: node}, Succeeded: true, Results: make([][]KeyValue, len(t.Then))}, nil
	}
	if err != nil {
		return TxnResult{Stamp: Stamp{Node: node}}, expired(err, 0)
	}
	r := TxnResult{Stamp: stamped(node, out.GetStamp()), Succeeded: out.GetSucceeded(), Revision: out.GetRevision()}
	for _, result := range out.GetResults() {
		r.Results = append(r.Results, keyValues(result.GetKvs()))
	}
	return r, nil
}

// Compact forgets what was there before a revision, and returns the first that remains.
// To do so twice is to do so once.
func (c *Client) Compact(ctx context.Context, revision uint64) (compacted uint64, err error) {
	_, failed := c.try(ctx, nil, func(ctx context.Context, kv api.RaftKVClient, route *api.Route) error {
		out, err := kv.Compact(ctx, &api.CompactRequest{Route: route, Revision: revision})
		compacted = out.GetCompacted()
		return err
	})
	return compacted, orNil(failed)
}

// A Result is what the cluster said of an operation on one key.
type Result struct {
	Stamp
	// Found, Value and Revision are what the key holds, or held: a read's answer,
	// and what a CAS found that was not swapped. Revision is also that of a change
	// that was made.
	Found    bool
	Value    []byte
	Revision uint64
	// Swapped says that a CAS was made.
	Swapped bool
}

// holds fills in what a key holds.
func (r *Result) holds(kvs []KeyValue) {
	if len(kvs) > 0 {
		r.Found, r.Value, r.Revision = true, kvs[0].Value, kvs[0].Mod
	}
}

// Get reads a key. Its errors are definite.
func (c *Client) Get(ctx context.Context, key string) (Result, error) {
	out, err := c.Range(ctx, Key(key), RangeOptions{})
	r := Result{Stamp: out.Stamp}
	r.holds(out.KVs)
	return r, err
}

// Put sets a key.
func (c *Client) Put(ctx context.Context, key string, value []byte) (Result, error) {
	out, err := c.Txn(ctx, Txn{Then: []Op{OpPut(key, value)}})
	return Result{Stamp: out.Stamp, Revision: out.Revision}, err
}

// Delete removes a key; Found says whether it was there.
func (c *Client) Delete(ctx context.Context, key string) (Result, error) {
	out, err := c.Txn(ctx, Txn{Then: []Op{OpDelete(Key(key))}})
	r := Result{Stamp: out.Stamp}
	if err == nil && len(out.Results[0]) > 0 {
		r.Found, r.Revision = true, out.Revision
	}
	return r, err
}

// An Expectation is of what a key holds.
type Expectation struct{ compare func(key string) Compare }

// Holds expects a value.
func Holds(value []byte) Expectation {
	return Expectation{func(key string) Compare { return IfValue(key, Equal, value) }}
}

// Absent expects that the key is not there.
func Absent() Expectation { return At(0) }

// At expects that the key's last change is that of the given revision.
func At(revision uint64) Expectation {
	return Expectation{func(key string) Compare { return IfMod(key, Equal, revision) }}
}

// CAS sets a key if it is as expected. That it is not is no error: see Swapped.
func (c *Client) CAS(ctx context.Context, key string, expect Expectation, value []byte) (Result, error) {
	return c.cas(ctx, key, expect, OpPut(key, value))
}

// CompareAndDelete removes a key if it is as expected.
func (c *Client) CompareAndDelete(ctx context.Context, key string, expect Expectation) (Result, error) {
	return c.cas(ctx, key, expect, OpDelete(Key(key)))
}

func (c *Client) cas(ctx context.Context, key string, expect Expectation, op Op) (Result, error) {
	out, err := c.Txn(ctx, Txn{If: []Compare{expect.compare(key)}, Then: []Op{op}, Else: []Op{OpRange(Key(key))}})
	r := Result{Stamp: out.Stamp, Swapped: out.Succeeded}
	switch {
	case err != nil:
	case out.Succeeded:
		r.Found, r.Revision = len(out.Results[0]) > 0, out.Revision
	default:
		r.holds(out.Results[0])
	}
	return r, err
}
