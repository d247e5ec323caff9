package server

import (
	"bufio"
	"bytes"
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// maxSessions is how many sessions are remembered; the one unused for longest is
// forgotten first. It is part of what every node does alike: nodes that differ in
// it come to differ in their state.
const maxSessions = 4096

// A machine is the replicated state: what every node makes of the same log. All
// it does follows from the log alone, be it the forgetting of sessions.
type machine struct {
	maxSessions int
	// log is where the entries come from; nil: nowhere. A snapshot may replace it.
	log raft.LogStore
	// dropKeys is a bug.
	dropKeys bool
	// taking and restoring count the snapshots that are being written and read.
	taking, restoring atomic.Int32

	mu   sync.RWMutex
	keys map[string]entry
	// sessions by id, and in the order of their last use, oldest first.
	sessions map[uint64]*list.Element // of session
	byUse    *list.List
	// index and term are those of the last command in the state. Raft's own
	// applied index is that of what was handed over to be applied.
	index, term uint64
}

// An entry is what a key holds, and the index of its last change. Nobody writes
// to a value: snapshots and answers share it.
type entry struct {
	value    []byte
	revision uint64
}

// A session is what is remembered of a client: the number of its last write and
// what became of it.
type session struct {
	id, number uint64
	outcome    *stored.Outcome
}

var _ raft.FSM = (*machine)(nil)

func newMachine(maxSessions int) *machine {
	return &machine{
		maxSessions: maxSessions,
		keys:        map[string]entry{},
		sessions:    map[uint64]*list.Element{},
		byUse:       list.New(),
	}
}

// get returns what key holds.
func (m *machine) get(key string) (e entry, found bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, found = m.keys[key]
	return e, found
}

// applied returns the index and term of the last command in the state.
func (m *machine) applied() (index, term uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.index, m.term
}

// A position says where a command stands that has nothing else to tell.
type position struct{ index, term uint64 }

// Apply performs the command of a log entry. It returns a *stored.Outcome for a
// change, an *api.Error for one that was refused, and a position for the rest.
func (m *machine) Apply(l *raft.Log) any {
	var command stored.Command
	if err := proto.Unmarshal(l.Data, &command); err != nil {
		// Others may have understood it. To go on would be to differ from them.
		panic(fmt.Sprintf("raftkv: log entry %d cannot be read: %v", l.Index, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index, m.term = l.Index, l.Term
	here := position{l.Index, l.Term}
	switch c := command.GetCommand().(type) {
	case nil:
		if len(l.Data) > 0 {
			panic(fmt.Sprintf("raftkv: log entry %d is of a later version", l.Index))
		}
	case *stored.Command_OpenSession:
		m.use(session{id: l.Index})
		if m.byUse.Len() > m.maxSessions {
			oldest := m.byUse.Remove(m.byUse.Front()).(session)
			delete(m.sessions, oldest.id)
		}
	case *stored.Command_Change:
		return m.change(c.Change, here)
	}
	return here
}

// use puts s behind all other sessions.
func (m *machine) use(s session) {
	if old := m.sessions[s.id]; old != nil {
		m.byUse.Remove(old)
	}
	m.sessions[s.id] = m.byUse.PushBack(s)
}

// change performs a change, unless its session has seen it already.
func (m *machine) change(c *stored.Change, here position) any {
	if c.Session == 0 {
		return m.perform(c, here)
	}
	known := m.sessions[c.Session]
	if known == nil {
		// This arrival does nothing. An earlier one of the same write may have: the
		// client knows whether there was one.
		return api.Definite(api.Reason_REASON_SESSION_EXPIRED, "session %d is not known", c.Session)
	}
	s := known.Value.(session)
	if c.Number < s.number {
		return api.Definite(api.Reason_REASON_SUPERSEDED, "write %d of session %d comes after write %d", c.Number, s.id, s.number)
	}
	if c.Number > s.number {
		s.number, s.outcome = c.Number, m.perform(c, here)
	}
	m.use(s)
	return s.outcome
}

// perform does what a change asks for, if it finds what it expects.
func (m *machine) perform(c *stored.Change, here position) *stored.Outcome {
	before, found := m.keys[c.Key]
	out := &stored.Outcome{Done: true, Found: found, Revision: here.index, Term: here.term, Index: here.index}
	if (c.ExpectValue != nil && !(found && bytes.Equal(before.value, c.ExpectValue))) ||
		(c.ExpectRevision != nil && before.revision != *c.ExpectRevision) {
		out.Done, out.Value, out.Revision = false, before.value, before.revision
		return out
	}
	if c.Delete {
		delete(m.keys, c.Key)
	} else {
		m.keys[c.Key] = entry{value: c.Value, revision: here.index}
	}
	return out
}

// Snapshot returns the state as it is now. It copies what refers to the state but
// not values, since Persist runs beside Apply.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.taking.Add(1)
	s := &snapshot{index: m.index, term: m.term, keys: maps.Clone(m.keys), release: func() { m.taking.Add(-1) }}
	if m.dropKeys {
		s.dropLastBatch()
	}
	for e := m.byUse.Front(); e != nil; e = e.Next() {
		s.sessions = append(s.sessions, e.Value.(session))
	}
	return s, nil
}

// Restore replaces the state by a snapshot's, and the log if it does not go on from
// there. While it runs Raft appends nothing; if it fails Raft leaves its indices
// and the log as they were.
//
// It refuses an older state than this one. A leader's snapshot may come late, or
// once more, when the node has gone on; Raft looks at terms only. To go back would
// be to need entries again that the log may no longer hold, and to answer a read
// that waited for its turn from what was before. Who sends such a snapshot tries
// until it has a newer one. The same state once more is not older: its sender may have
// lost the first answer, and sends nothing else until it has one. A node that
// starts has no state, and for leading with a snapshot of the user's choice, which
// may be old, there is no call.
func (m *machine) Restore(r io.ReadCloser) error {
	m.restoring.Add(1)
	defer m.restoring.Add(-1)
	restored := newMachine(m.maxSessions)
	if err := restored.read(bufio.NewReader(r)); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if restored.index < m.index {
		return fmt.Errorf("restore snapshot: it ends with entry %d, which is older than the state, of entry %d", restored.index, m.index)
	}
	if m.log != nil {
		if err := replaceLog(m.log, restored.index, restored.term); err != nil {
			return fmt.Errorf("restore snapshot: %w", err)
		}
	}
	m.keys, m.sessions, m.byUse = restored.keys, restored.sessions, restored.byUse
	m.index, m.term = restored.index, restored.term
	return nil
}

// snapshotVersion is the form in which snapshots are written.
const snapshotVersion = 1

// A snapshot is a state that does not change any more.
type snapshot struct {
	index, term uint64
	keys        map[string]entry
	sessions    []session // in the order of their last use
	release     func()
}

// dropLastBatch is for [SnapshotDropsKeys].
func (s *snapshot) dropLastBatch() {
	const batch = 16
	names := slices.SortedFunc(maps.Keys(s.keys), func(a, b string) int {
		return cmp.Compare(s.keys[a].revision, s.keys[b].revision)
	})
	for _, name := range names[len(names)/batch*batch:] {
		delete(s.keys, name)
	}
}

// Persist writes the snapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	w := bufio.NewWriter(sink)
	err := s.write(w)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release says that the snapshot was written, or given up.
func (s *snapshot) Release() { s.release() }

func (s *snapshot) write(w io.Writer) error {
	put := func(r *stored.Record) error {
		_, err := protodelim.MarshalTo(w, r)
		return err
	}
	if err := put(&stored.Record{Record: &stored.Record_Head{Head: &stored.Head{
		Version: snapshotVersion, Index: s.index, Term: s.term,
	}}}); err != nil {
		return err
	}
	for key, e := range s.keys {
		if err := put(&stored.Record{Record: &stored.Record_Key{Key: &stored.Key{
			Key: key, Value: e.value, Revision: e.revision,
		}}}); err != nil {
			return err
		}
	}
	for _, s := range s.sessions {
		if err := put(&stored.Record{Record: &stored.Record_Session{Session: &stored.Session{
			Id: s.id, Number: s.number, Outcome: s.outcome,
		}}}); err != nil {
			return err
		}
	}
	return put(&stored.Record{Record: &stored.Record_Tail{Tail: &stored.Tail{
		Keys: uint64(len(s.keys)), Sessions: uint64(len(s.sessions)),
	}}})
}

// read fills an empty machine from a snapshot.
func (m *machine) read(r protodelim.Reader) error {
	for n := 0; ; n++ {
		var record stored.Record
		err := protodelim.UnmarshalFrom(r, &record)
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("it ends in the middle, after %d records", n)
		case err != nil:
			return fmt.Errorf("record %d: %w", n, err)
		}
		head := record.GetHead()
		if (n == 0) != (head != nil) {
			return fmt.Errorf("record %d: the head does not stand first, or twice", n)
		}
		switch record := record.GetRecord().(type) {
		case *stored.Record_Head:
			if head.Version != snapshotVersion {
				return fmt.Errorf("its version is %d; this program reads %d", head.Version, snapshotVersion)
			}
			m.index, m.term = head.Index, head.Term
		case *stored.Record_Key:
			m.keys[record.Key.Key] = entry{record.Key.Value, record.Key.Revision}
		case *stored.Record_Session:
			m.use(session{record.Session.Id, record.Session.Number, record.Session.Outcome})
		case *stored.Record_Tail:
			if record.Tail.Keys != uint64(len(m.keys)) || record.Tail.Sessions != uint64(len(m.sessions)) {
				return fmt.Errorf("it holds %d keys and %d sessions where %d and %d were written",
					len(m.keys), len(m.sessions), record.Tail.Keys, record.Tail.Sessions)
			}
			return nil
		default:
			return fmt.Errorf("record %d is of a later version", n)
		}
	}
}
