package raftkvtest

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// A store is a node's disk, in memory. It is Raft's own, which is damaged by deleting
// from an empty log, and writes a vote in two parts: it differs from that as the
// server's does.
type store struct {
	*raft.InmemStore
	torn bool // it writes votes in two parts: a bug

	mu        sync.Mutex
	votedTerm *uint64
	failing   bool // it writes no candidates
}

func newStore(torn bool) *store { return &store{InmemStore: raft.NewInmemStore(), torn: torn} }

// DeleteRange deletes nothing from an empty log: its last index would become the
// highest number there is.
func (s *store) DeleteRange(low, high uint64) error {
	if last, err := s.LastIndex(); err != nil || last == 0 {
		return err
	}
	return s.InmemStore.DeleteRange(low, high)
}

// SetUint64 keeps the term of a vote until its candidate comes.
func (s *store) SetUint64(key []byte, value uint64) error {
	if string(key) != "LastVoteTerm" || s.torn {
		return s.InmemStore.SetUint64(key, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.votedTerm = &value
	return nil
}

// Set writes a value.
func (s *store) Set(key, value []byte) error {
	if string(key) != "LastVoteCand" {
		return s.InmemStore.Set(key, value)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	term := s.votedTerm
	s.votedTerm = nil
	if s.failing {
		return errors.New("input/output error")
	}
	if term != nil {
		if err := s.InmemStore.SetUint64([]byte("LastVoteTerm"), *term); err != nil {
			return err
		}
	}
	return s.InmemStore.Set(key, value)
}

// fail makes it write no candidates of votes, until it is called again.
func (s *store) fail(failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = failing
}
