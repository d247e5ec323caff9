package register

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// perform performs an op by a call of a KV.
func perform(ctx context.Context, kv KV, op histories.Op) (workloads.Reply, error) {
	in, err := ParseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	var r Result
	reply := workloads.Reply{}
	switch op.F {
	case Read:
		if r, err = kv.Read(ctx, in.Key); err == nil {
			reply.Value = ReadPayload(in.Key, r.Value)
		}
	case Write:
		r, err = kv.Write(ctx, in.Key, in.New)
	case CAS:
		r, err = kv.CAS(ctx, in.Key, in.Old, in.New)
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
	said := r.Meta()
	if refused == nil {
		return said
	}
	current := []byte(`{"current":` + refused.Current.String())
	if said == nil {
		return append(current, '}')
	}
	return append(append(current, ','), said[1:]...)
}
