package server

import (
	"errors"
	"fmt"

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
// snapshot and emptying the log. It must be done before Raft looks at the log. The
// snapshot is the one that Raft will start from: the newest that is not damaged.
func finishReplacing(logs raft.LogStore, snapshots raft.SnapshotStore) error {
	all, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, s := range all {
		_, r, err := snapshots.Open(s.ID)
		if err != nil {
			continue // Raft will say so
		}
		return errors.Join(replaceLog(logs, s.Index, s.Term), r.Close())
	}
	return nil
}
