package mvcc

import (
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

func put(key, value string, lease uint64) *api.Op {
	return &api.Op{Op: &api.Op_Put{Put: &api.Put{Key: key, Value: []byte(value), Lease: lease}}}
}

func del(span *api.Span) *api.Op { return &api.Op{Op: &api.Op_Delete{Delete: span}} }

func get(span *api.Span) *api.Op { return &api.Op{Op: &api.Op_Range{Range: span}} }

func one(key string) *api.Span { return &api.Span{Key: key} }

func txn(ops ...*api.Op) *stored.Txn { return &stored.Txn{Success: ops} }

func puts(key, value string) *stored.Txn { return txn(put(key, value, 0)) }

func deletes(key string) *stored.Txn { return txn(del(one(key))) }

var all = &api.Span{Prefix: true}
