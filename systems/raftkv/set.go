package raftkv

import (
	"context"
	"strconv"
	"strings"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/set"
)

// sets have a key for each element, below that of the set: "set/s0/17".
type sets struct{ client *client.Client }

func (s *sets) Close() error { return s.client.Close() }

func (s *sets) Add(ctx context.Context, name string, element int64) (workloads.Said, error) {
	r, err := s.client.Put(ctx, setKey(name)+string(decimal(element)), nil)
	return said(r.Stamp, r.Revision), classify(err)
}

func (s *sets) Read(ctx context.Context, name string) (set.Result, error) {
	r, err := s.client.Range(ctx, client.Prefix(setKey(name)), client.RangeOptions{})
	out := set.Result{Said: said(r.Stamp, r.Revision)}
	for _, kv := range r.KVs {
		element := strings.TrimPrefix(kv.Key, setKey(name))
		if n, ok := number([]byte(element)); ok && kv.Key != element {
			out.Elements = append(out.Elements, n)
		} else {
			out.Garbage = append(out.Garbage, strconv.Quote(kv.Key))
		}
	}
	return out, classify(err)
}

func setKey(name string) string { return "set/" + name + "/" }
