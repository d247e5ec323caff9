package raftkv

import (
	"context"
	"fmt"

	"github.com/hacheck/hacheck/systems/raftkv/client"
)

// update reads a key, and writes what change makes of it if nobody has written meanwhile;
// else it begins anew with what is there by then. That it came to nothing before ctx
// ended is definite: each attempt that took place wrote nothing. heedless writes whatever
// is there by then: a bug.
//
// change returns the transaction's steps beside the comparison.
func update(ctx context.Context, c *client.Client, key string, heedless bool, change func(before *client.KeyValue) []client.Op) (client.TxnResult, error) {
	there, err := c.Range(ctx, client.Key(key), client.RangeOptions{})
	if err != nil {
		return client.TxnResult{Stamp: there.Stamp}, err
	}
	found := there.KVs
	for {
		var before *client.KeyValue
		mod := uint64(0)
		if len(found) > 0 {
			before, mod = &found[0], found[0].Mod
		}
		txn := client.Txn{Then: change(before)}
		if !heedless {
			txn.If = []client.Compare{client.IfMod(key, client.Equal, mod)}
			txn.Else = []client.Op{client.OpRange(client.Key(key))}
		}
		r, err := c.Txn(ctx, txn)
		if err != nil || r.Succeeded {
			return r, err
		}
		if ctx.Err() != nil {
			return r, overtaken(r.Node, key, context.Cause(ctx))
		}
		found = r.Results[0]
	}
}

// overtaken is the error of what came to nothing, since others were always faster.
func overtaken(node, key string, cause error) error {
	return &client.Error{Definite: true, Node: node, Err: fmt.Errorf("others have changed %s again and again: %w", key, cause)}
}
