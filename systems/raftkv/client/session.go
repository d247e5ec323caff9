package client

import (
	"context"
	"sync"

	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A Session reads from any node, and nothing older than it has seen, be it what it
// read or what it wrote: its reads are monotonic, and see its own writes. It is safe for
// concurrent use.
type Session struct {
	client *Client

	mu   sync.Mutex
	seen uint64
}

// Session returns a session that has seen nothing yet.
func (c *Client) Session() *Session { return &Session{client: c} }

// Seen returns the highest revision of which an answer has told.
func (s *Session) Seen() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *Session) saw(revision uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = max(s.seen, revision)
}

// Range reads keys at the latest revision of some node. What is there at a revision of
// the past it reads, too, but that tells nothing of what is there now.
func (s *Session) Range(ctx context.Context, span Span, o RangeOptions) (RangeResult, error) {
	o.Serializable = true
	if s.client.bug != bug.SessionForgets {
		o.AtLeast = max(o.AtLeast, s.Seen())
	}
	r, err := s.client.Range(ctx, span, o)
	if err == nil {
		s.saw(r.Revision)
	}
	return r, err
}

// Txn performs a transaction, as [Client.Txn] does.
func (s *Session) Txn(ctx context.Context, t Txn) (TxnResult, error) {
	r, err := s.client.Txn(ctx, t)
	if err == nil {
		s.saw(r.Revision)
	}
	return r, err
}
