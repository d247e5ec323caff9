package mvcc

import (
	"fmt"
	"testing"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

func filled(b *testing.B, keys int) *State {
	b.Helper()
	s := New(Options{})
	for i := range keys {
		if out := s.Txn(puts(fmt.Sprintf("key/%05d", i), "value")); out.Refused != 0 {
			b.Fatal(out)
		}
	}
	return s
}

func BenchmarkTxn(b *testing.B) {
	const keys = 10_000
	s := filled(b, keys)
	txns := make([]*stored.Txn, keys)
	for i := range txns {
		txns[i] = puts(fmt.Sprintf("key/%05d", i*7919%keys), "value")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Txn(txns[i%keys])
	}
}

func BenchmarkRange(b *testing.B) {
	s := filled(b, 10_000)
	for _, bench := range []struct {
		name string
		span *api.Span
	}{
		{"one", &api.Span{Key: "key/05000"}},
		{"hundred", &api.Span{Key: "key/050", Prefix: true}},
		{"all", &api.Span{Prefix: true}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Range(bench.span, 0, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEvents(b *testing.B) {
	s := filled(b, 10_000)
	span := &api.Span{Key: "key/", Prefix: true}
	for b.Loop() { // what a watcher does with each revision
		if events, _, _ := s.Events(span, s.Revision(), 1000); len(events) != 1 {
			b.Fatal(events)
		}
	}
}

func BenchmarkFreeze(b *testing.B) {
	s := filled(b, 10_000)
	for b.Loop() {
		s.Freeze()
	}
}

func BenchmarkKeepAlive(b *testing.B) {
	s := New(Options{})
	for id := range uint64(1000) {
		s.Grant(id+1, 10_000)
	}
	for i := uint64(0); b.Loop(); i++ {
		s.Advance(&stored.Clock{Term: 1, Ns: i * 1000})
		s.KeepAlive(i%1000 + 1)
	}
}
