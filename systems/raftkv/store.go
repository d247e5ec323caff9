package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/kv"
)

// wholeStore is the store as it is.
type wholeStore struct{ client *client.Client }

func (s *wholeStore) Close() error { return s.client.Close() }

func (s *wholeStore) Get(ctx context.Context, key string, m kv.Mode) (kv.Read, error) {
	return s.read(ctx, client.Key(key), m)
}

func (s *wholeStore) Range(ctx context.Context, prefix string, m kv.Mode) (kv.Read, error) {
	return s.read(ctx, client.Prefix(prefix), m)
}

func (s *wholeStore) read(ctx context.Context, span client.Span, m kv.Mode) (kv.Read, error) {
	r, err := s.client.Range(ctx, span, client.RangeOptions{Revision: m.At, Serializable: m.Serializable})
	out := kv.Read{Said: said(r.Stamp, r.Revision)}
	for _, found := range r.KVs {
		out.KVs = append(out.KVs, stored(found))
	}
	return out, classify(err)
}

func stored(found client.KeyValue) kv.KV {
	return kv.KV{
		Key: found.Key, Value: string(found.Value),
		Create: found.Create, Mod: found.Mod, Version: found.Version,
	}
}

func (s *wholeStore) Put(ctx context.Context, key, value string) (kv.Written, error) {
	r, err := s.client.Put(ctx, key, []byte(value))
	return kv.Written{Said: said(r.Stamp, r.Revision)}, classify(err)
}

func (s *wholeStore) Delete(ctx context.Context, key string) (kv.Written, error) {
	r, err := s.client.Txn(ctx, client.Txn{Then: []client.Op{client.OpDelete(client.Key(key))}})
	out := kv.Written{Said: said(r.Stamp, r.Revision)}
	out.Deleted = err == nil && len(r.Results[0]) > 0
	return out, classify(err)
}

func (s *wholeStore) Txn(ctx context.Context, t kv.Txn) (kv.Decided, error) {
	var txn client.Txn
	for _, c := range t.If {
		if c.By == kv.Mod {
			txn.If = append(txn.If, client.IfMod(c.Key, client.Equal, c.Mod))
		} else {
			txn.If = append(txn.If, client.IfValue(c.Key, client.Equal, []byte(c.Value)))
		}
	}
	txn.Then, txn.Else = steps(t.Then), steps(t.Else)
	r, err := s.client.Txn(ctx, txn)
	out := kv.Decided{Succeeded: r.Succeeded, Said: said(r.Stamp, r.Revision)}
	if err != nil {
		return out, classify(err)
	}
	done := t.Else
	if r.Succeeded {
		done = t.Then
	}
	for i, a := range done {
		var result kv.Result
		switch found := r.Results[i]; {
		case len(found) == 0:
		case a.F == kv.Get:
			got := stored(found[0])
			result.KV = &got
		default:
			result.Deleted = a.F == kv.Delete
		}
		out.Results = append(out.Results, result)
	}
	return out, nil
}

func (s *wholeStore) Compact(ctx context.Context, revision uint64) (workloads.Said, error) {
	_, err := s.client.Compact(ctx, revision)
	return workloads.Said{}, classify(err)
}

func steps(actions []kv.Action) (ops []client.Op) {
	for _, a := range actions {
		switch a.F {
		case kv.Get:
			ops = append(ops, client.OpRange(client.Key(a.Key)))
		case kv.Put:
			ops = append(ops, client.OpPut(a.Key, []byte(a.Value)))
		case kv.Delete:
			ops = append(ops, client.OpDelete(client.Key(a.Key)))
		}
	}
	return ops
}
