package server

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// Snapshots keeps a node's last snapshot, in a file of its own in a directory. A
// file is complete when it has its name, and so has its name: both are on the disk
// when a snapshot is done. It is covered by a sum.
//
// What comes with Raft keeps several, of several files each. It does not make the
// names of these last, and puts a sum over the state alone. And it goes back to an
// earlier snapshot where the last one cannot be read: the log that it would take to
// go on from there may be gone, and with it what others count on this node to have.
// Snapshots says that it is damaged instead.
type Snapshots struct{ dir string }

var _ raft.SnapshotStore = (*Snapshots)(nil)

// Parts of a file: the head, the length of the description, the description as JSON,
// the state, and the sum of all that.
const (
	snapshotHead   = "raftkv snapshot 2\n"
	snapshotSuffix = ".snapshot"
	unfinished     = ".tmp"
)

var ecma = crc64.MakeTable(crc64.ECMA)

// OpenSnapshots opens the directory, or makes it.
func OpenSnapshots(dir string) (*Snapshots, error) {
	if err := durable.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"+unfinished))
	if err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("open snapshots: %w", err)
		}
	}
	return &Snapshots{dir}, nil
}

// names returns the identities of the snapshots that are there, the last one first.
func (s *Snapshots) names() ([]string, error) {
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), snapshotSuffix); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names) // digits enough, so it is by term and index
	slices.Reverse(names)
	return names, nil
}

func (s *Snapshots) path(name string) string { return filepath.Join(s.dir, name+snapshotSuffix) }

// List returns what the last snapshot is.
func (s *Snapshots) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	if len(names) == 0 {
		return nil, nil
	}
	meta, _, err := s.read(names[0])
	if err != nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// Open returns a snapshot.
func (s *Snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, state, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, io.NopCloser(bytes.NewReader(state)), nil
}

// read reads a snapshot as a whole, since it is good as a whole only. It is held in
// memory anyway, as the state is.
func (s *Snapshots) read(name string) (*raft.SnapshotMeta, []byte, error) {
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	damaged := fmt.Errorf("snapshot %s is damaged", s.path(name))
	rest, ok := bytes.CutPrefix(b, []byte(snapshotHead))
	if !ok || len(rest) < 4+8 {
		return nil, nil, damaged
	}
	end := len(b) - 8
	if binary.BigEndian.Uint64(b[end:]) != crc64.Checksum(b[:end], ecma) {
		return nil, nil, damaged
	}
	length := uint64(binary.BigEndian.Uint32(rest))
	rest = rest[4 : len(rest)-8]
	if length > uint64(len(rest)) {
		return nil, nil, damaged
	}
	var meta raft.SnapshotMeta
	if err := json.Unmarshal(rest[:length], &meta); err != nil || meta.ID != name {
		return nil, nil, errors.Join(damaged, err)
	}
	return &meta, rest[length:], nil
}

// Create begins a snapshot.
func (s *Snapshots) Create(
	version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &sink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%020d-%020d", term, index), Index: index, Term: term,
		Configuration: c.Clone(), ConfigurationIndex: at,
	}}, nil
}

// A sink is a snapshot in the making.
type sink struct {
	store *Snapshots
	meta  raft.SnapshotMeta
	state bytes.Buffer
	over  bool
}

func (s *sink) ID() string                  { return s.meta.ID }
func (s *sink) Write(p []byte) (int, error) { return s.state.Write(p) }

// Cancel throws it away.
func (s *sink) Cancel() error {
	s.over = true
	return nil
}

// Close writes it down.
func (s *sink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	s.meta.Size = int64(s.state.Len())
	if err := s.save(); err != nil {
		return fmt.Errorf("save snapshot %s: %w", s.meta.ID, err)
	}
	return s.store.forget(s.meta.ID)
}

func (s *sink) save() error {
	meta, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32([]byte(snapshotHead), uint32(len(meta)))
	b = append(append(b, meta...), s.state.Bytes()...)
	b = binary.BigEndian.AppendUint64(b, crc64.Checksum(b, ecma))

	f, err := os.CreateTemp(s.store.dir, "*"+unfinished)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.store.path(s.meta.ID))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return durable.SyncDir(s.store.dir)
}

// forget removes the snapshots before the one that has been saved. One that a power
// failure brings back does no harm.
func (s *Snapshots) forget(saved string) error {
	names, err := s.names()
	if err != nil {
		return fmt.Errorf("forget old snapshots: %w", err)
	}
	for _, name := range names {
		if name < saved {
			if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("forget old snapshots: %w", err)
			}
		}
	}
	return nil
}
