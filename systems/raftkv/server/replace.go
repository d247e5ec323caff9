package server

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// replaceLog empties a log that a snapshot replaces: one that ends before the
// snapshot's last entry, or holds another in its place. index and term are those of
// that entry.
//
// Raft leaves this to its store, and offers two ways. If the store calls itself
// monotonic, Raft empties it after every snapshot that a leader sends, though it
// may be one that comes late or twice, and the log hold entries after it that were
// acknowledged. If not, Raft keeps what is there and writes behind a gap; and a
// node that comes to lead before that sends entries from before the gap, which may
// be others than were committed. This is the rule of the Raft paper (section 7).
//
// Nothing is lost. A snapshot is on the disk before this is called, and holds what
// is committed up to its end. An entry after that is dropped only if it follows one
// that the snapshot shows was never committed: then it was not, either, and cannot
// be, since who leads later has the entry that was.
func replaceLog(logs raft.LogStore, index, term uint64) error {
	first, err := logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("replace log: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("replace log: %w", err)
	}
	switch {
	case last == 0:
		return nil
	case index <= last:
		var ours raft.Log
		err := logs.GetLog(index, &ours)
		switch {
		case errors.Is(err, raft.ErrLogNotFound):
			return nil // it is in an earlier snapshot, so it is the same
		case err != nil:
			return fmt.Errorf("replace log: %w", err)
		case ours.Term == term:
			return nil
		}
	}
	if err := logs.DeleteRange(first, last); err != nil {
		return fmt.Errorf("replace log: %w", err)
	}
	return nil
}

// finishReplacing does what a node did not come to do that ended between saving a
// snapshot and emptying the log, and makes sure that the log goes on from where the
// snapshot ends. It must be done before Raft looks at the log. The snapshot is the one
// that Raft will start from.
func finishReplacing(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	all, err := snapshots.List()
	if err != nil {
		return err
	}
	from := uint64(0)
	if len(all) > 0 {
		from = all[0].Index
		if err := replaceLog(logs, from, all[0].Term); err != nil {
			return err
		}
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	if first > from+1 {
		return fmt.Errorf("the disk is damaged: the log begins with entry %d, and no snapshot holds those before it from %d", first, from+1)
	}
	return nil
}

// Watched snapshots know of those that are being written and read.
type watched struct {
	raft.SnapshotStore
	writing, reading atomic.Int32
}

// now returns how many are.
func (w *watched) now() (writing, reading int32) { return w.writing.Load(), w.reading.Load() }

// Create begins a snapshot.
func (w *watched) Create(
	version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport,
) (raft.SnapshotSink, error) {
	s, err := w.SnapshotStore.Create(version, index, term, c, at, t)
	if err != nil {
		return nil, err
	}
	w.writing.Add(1)
	return &watchedSink{s, position{index, term}, sync.OnceFunc(func() { w.writing.Add(-1) })}, nil
}

type watchedSink struct {
	raft.SnapshotSink
	end  position // of the snapshot
	over func()
}

func (s *watchedSink) Close() error {
	defer s.over()
	return s.SnapshotSink.Close()
}

func (s *watchedSink) Cancel() error {
	defer s.over()
	return s.SnapshotSink.Cancel()
}

// Open returns a snapshot.
func (w *watched) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, r, err := w.SnapshotStore.Open(id)
	if err != nil {
		return nil, nil, err
	}
	w.reading.Add(1)
	return meta, &watchedReader{r, sync.OnceFunc(func() { w.reading.Add(-1) })}, nil
}

type watchedReader struct {
	io.ReadCloser
	over func()
}

func (r *watchedReader) Close() error {
	defer r.over()
	return r.ReadCloser.Close()
}
