package register

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// A client performs ops by the calls of a KV.
type client struct{ kv KV }

func (c client) Close() error { return c.kv.Close() }

func (c client) Invoke(ctx context.Context, op histories.Op) (workloads.Reply, error) {
	in, err := ParseInput(op.F, op.Value)
	if err != nil {
		return workloads.Reply{}, workloads.Definite(fmt.Errorf("%s %s: %w", op.F, op.Value, err))
	}
	var r Result
	reply := workloads.Reply{}
	switch op.F {
	case Read:
		if r, err = c.kv.Read(ctx, in.Key); err == nil {
			reply.Value = ReadPayload(in.Key, r.Value)
		}
	case Write:
		r, err = c.kv.Write(ctx, in.Key, in.New)
	case CAS:
		r, err = c.kv.CAS(ctx, in.Key, in.Old, in.New)
	}
	reply.Node = r.Node
	refused, ok := errors.AsType[*Refused](err)
	if ok {
		err = workloads.Definite(err)
	}
	reply.Meta = meta(r, refused)
	return reply, err
}

// meta returns what r says beside the value, and what a refusal found; see refused
// for who reads it.
func meta(r Result, refused *Refused) json.RawMessage {
	var b []byte
	add := func(name, value string) {
		b = append(b, `,"`+name+`":`+value...)
	}
	if refused != nil {
		add("current", refused.Current.String())
	}
	if r.Revision != 0 {
		add("revision", strconv.FormatUint(r.Revision, 10))
	}
	if r.Term != 0 {
		add("term", strconv.FormatUint(r.Term, 10))
	}
	if b == nil {
		return nil
	}
	b[0] = '{'
	return append(b, '}')
}
