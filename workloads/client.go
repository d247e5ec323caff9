package workloads

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/hacheck/hacheck/histories"
)

// Said is what a system says of an operation beside its answer. It may say some of
// it beside an error, too.
type Said struct {
	// Node is the node that was asked, if the client knows.
	Node string
	// Revision and Term say where in the system's own order the operation stood;
	// 0 if it does not tell.
	Revision, Term uint64
}

// Meta returns s as an op's meta, without the node: {"revision":7,"term":2}. Nothing
// said is nil.
func (s Said) Meta() json.RawMessage {
	var b []byte
	add := func(name string, n uint64) {
		if n != 0 {
			b = append(b, `,"`+name+`":`+strconv.FormatUint(n, 10)...)
		}
	}
	add("revision", s.Revision)
	add("term", s.Term)
	if b == nil {
		return nil
	}
	b[0] = '{'
	return append(b, '}')
}

// Reply returns the reply that records what the system said; its Value is yet to be set.
func (s Said) Reply() Reply { return Reply{Node: s.Node, Meta: s.Meta()} }

// Unreadable returns what a client says of an op that it can make nothing of: that
// nothing was done.
func Unreadable(op histories.Op, why error) (Reply, error) {
	return Reply{}, Definite(fmt.Errorf("%s %s: %w", op.F, op.Value, why))
}

// Connect returns what [Workload.Open] is, of a system's own typed client and of
// what performs an op by its calls.
func Connect[C io.Closer](
	open func(ctx context.Context, worker int) (C, error),
	perform func(ctx context.Context, c C, op histories.Op) (Reply, error),
) func(context.Context, int) (Client, error) {
	return func(ctx context.Context, worker int) (Client, error) {
		c, err := open(ctx, worker)
		if err != nil {
			return nil, err
		}
		return &connected[C]{c, perform}, nil
	}
}

type connected[C io.Closer] struct {
	client  C
	perform func(context.Context, C, histories.Op) (Reply, error)
}

func (c *connected[C]) Close() error { return c.client.Close() }

func (c *connected[C]) Invoke(ctx context.Context, op histories.Op) (Reply, error) {
	return c.perform(ctx, c.client, op)
}
