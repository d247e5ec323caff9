package raftkv

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads/appends"
)

// lists have a key each, with the elements as JSON: "append/k0". A transaction reads all
// its keys at one revision, and then writes those that it appends to if none of its keys
// has changed since.
type lists struct{ client *client.Client }

func (l *lists) Close() error { return l.client.Close() }

func (l *lists) Txn(ctx context.Context, mops []appends.Mop) (appends.Result, error) {
	var keys []string
	writes := false
	for _, m := range mops {
		if key := listKey(m.Key); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		writes = writes || m.F == appends.Append
	}
	var look []client.Op
	for _, key := range keys {
		look = append(look, client.OpRange(client.Key(key)))
	}
	there, err := l.client.Txn(ctx, client.Txn{Then: look})
	if err != nil {
		// Nothing was written, whatever became of it.
		return appends.Result{Said: said(there.Stamp, 0)}, classify(&client.Error{Definite: true, Node: there.Node, Err: err})
	}
	for {
		found := map[string]client.KeyValue{}
		for i, key := range keys {
			if len(there.Results[i]) > 0 {
				found[key] = there.Results[i][0]
			}
		}
		done, after, err := play(mops, found)
		out := appends.Result{Mops: done, Said: said(there.Stamp, there.Revision)}
		if err != nil || !writes {
			return out, err
		}
		txn := client.Txn{Else: look}
		for _, key := range keys {
			txn.If = append(txn.If, client.IfMod(key, client.Equal, found[key].Mod))
			if list, ok := after[key]; ok {
				txn.Then = append(txn.Then, client.OpPut(key, list))
			}
		}
		if there, err = l.client.Txn(ctx, txn); err != nil || there.Succeeded {
			out.Said = said(there.Stamp, there.Revision)
			return out, classify(err)
		}
		if ctx.Err() != nil {
			return out, classify(overtaken(there.Node, keys[0], context.Cause(ctx)))
		}
	}
}

// play performs mops on what was found, and returns them with what they read, and what is
// to be written. What is no list is one of garbage, and stays so, for reads to tell.
func play(mops []appends.Mop, found map[string]client.KeyValue) (done []appends.Mop, after map[string][]byte, err error) {
	now := map[string][]int64{}
	for key, kv := range found {
		var list []int64
		if err := json.Unmarshal(kv.Value, &list); err != nil {
			list = []int64{appends.Garbage}
		}
		now[key] = list
	}
	after = map[string][]byte{}
	for _, m := range mops {
		key := listKey(m.Key)
		if m.F == appends.Read {
			m.List = append([]int64{}, now[key]...)
			done = append(done, m)
			continue
		}
		now[key] = append(now[key], m.Element)
		if after[key], err = json.Marshal(now[key]); err != nil {
			return nil, nil, err
		}
		done = append(done, m)
	}
	return done, after, nil
}

func listKey(key string) string { return "append/" + key }
