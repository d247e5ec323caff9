package raftkv

import (
	"context"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/session"
)

// sessions read from any node, and nothing older than they have seen: "session/k0".
type sessions struct {
	client  *client.Client
	session *client.Session
}

func (s *sessions) Close() error { return s.client.Close() }

func (s *sessions) Write(ctx context.Context, key string, v int64) (workloads.Said, error) {
	r, err := s.session.Txn(ctx, client.Txn{Then: []client.Op{client.OpPut("session/"+key, decimal(v))}})
	return said(r.Stamp, r.Revision), classify(err)
}

func (s *sessions) Read(ctx context.Context, key string) (session.Result, error) {
	r, err := s.session.Range(ctx, client.Key("session/"+key), client.RangeOptions{})
	out := session.Result{Said: said(r.Stamp, r.Revision)}
	if len(r.KVs) > 0 {
		n, ok := number(r.KVs[0].Value)
		if out.Value = n; !ok {
			out.Value = -1 // nobody wrote that
		}
	}
	return out, classify(err)
}
