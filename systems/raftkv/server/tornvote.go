package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// A tornVotes is for [bug.TornVote]: stable values of a Store, but for the candidate that
// was voted for, who is in a file of his own. So a vote is written in two parts, and
// the second fails where there is no space, no descriptor, or no process any more.
type tornVotes struct {
	*Store
	path      string
	candidate []byte // as in the file; nil: there is none
}

var _ raft.StableStore = (*tornVotes)(nil)

func openTornVotes(path string, s *Store) (*tornVotes, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &tornVotes{s, path, b}, nil
}

// SetUint64 writes a number, be it the term of a vote.
func (v *tornVotes) SetUint64(key []byte, value uint64) error {
	return v.Store.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// Set writes a value.
func (v *tornVotes) Set(key, value []byte) error {
	if string(key) != string(lastVoteCand) {
		return v.Store.Set(key, value)
	}
	f, err := os.Create(v.path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(v.path+".new", v.path); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(v.path)); err != nil {
		return err
	}
	v.candidate = bytes.Clone(value)
	return nil
}

// Get returns a value.
func (v *tornVotes) Get(key []byte) ([]byte, error) {
	if string(key) != string(lastVoteCand) {
		return v.Store.Get(key)
	}
	if v.candidate == nil {
		return nil, errNotFound
	}
	return bytes.Clone(v.candidate), nil
}
