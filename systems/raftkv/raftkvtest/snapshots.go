package raftkvtest

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// snapshots keep a node's last snapshot in memory. Raft's own in-memory store
// shows a snapshot before it is whole.
type snapshots struct {
	mu   sync.Mutex
	last *snapshot // nil: none yet
}

type snapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// Create begins a snapshot.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: c.Clone(), ConfigurationIndex: at,
	}}, nil
}

// List returns what the last snapshot is.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return nil, nil
	}
	meta := s.last.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open returns the last snapshot.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.last.meta.ID != id {
		return nil, nil, fmt.Errorf("open snapshot: there is no %s (any more)", id)
	}
	meta := s.last.meta
	return &meta, io.NopCloser(bytes.NewReader(s.last.data)), nil
}

// A sink is a snapshot that is being written.
type sink struct {
	store *snapshots
	meta  raft.SnapshotMeta
	data  bytes.Buffer
	over  bool
}

func (s *sink) Write(p []byte) (int, error) { return s.data.Write(p) }
func (s *sink) ID() string                  { return s.meta.ID }

// Cancel throws it away.
func (s *sink) Cancel() error {
	s.over = true
	return nil
}

// Close makes it the last one, unless a newer has come in between.
func (s *sink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	s.meta.Size = int64(s.data.Len())
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.last == nil || s.store.last.meta.Index <= s.meta.Index {
		s.store.last = &snapshot{s.meta, s.data.Bytes()}
	}
	return nil
}
