package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/uniqueids"
)

// ids are numbers of blocks that are taken from the key "ids", which holds the first that
// is free. One whose block is not known to be taken is not handed out: nobody has it then.
type ids struct {
	client *client.Client
	bug    string

	next, end int64 // what is left of the block
	from      uniqueids.Result
}

// idBlock is how many numbers are taken at once.
const idBlock = 20

func (i *ids) Close() error { return i.client.Close() }

func (i *ids) Generate(ctx context.Context) (uniqueids.Result, error) {
	if i.next == i.end {
		if err := i.take(ctx); err != nil {
			return i.from, workloads.Definite(err)
		}
	}
	out := i.from
	out.ID = string(decimal(i.next))
	i.next++
	return out, nil
}

// take takes a block. That nothing was handed out is definite, whatever became of it.
func (i *ids) take(ctx context.Context) error {
	var first int64
	r, err := update(ctx, i.client, "ids", false, func(before *client.KeyValue) []client.Op {
		first = 0
		if before != nil {
			first, _ = number(before.Value)
		}
		return []client.Op{client.OpPut("ids", decimal(first+idBlock))}
	})
	i.from.Said = said(r.Stamp, r.Revision)
	if err != nil && (client.IsDefinite(err) || i.bug != bug.IDBlockReused) {
		return err
	}
	i.next, i.end = first, first+idBlock
	return nil
}
