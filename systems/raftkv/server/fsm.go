package server

import (
	"bufio"
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// maxSessions is how many sessions are remembered; the one unused for longest is
// forgotten first. It is part of what every node does alike: nodes that differ in
// it come to differ in their state.
const maxSessions = 4096

// A machine is the replicated state: what every node makes of the same log. All
// it does follows from the log alone, be it the forgetting of sessions or the end
// of leases.
type machine struct {
	maxSessions int
	options     mvcc.Options
	// log is where the entries come from; nil: nowhere. A snapshot may replace it.
	log raft.LogStore
	// taking and restoring count the snapshots that are being written and read.
	taking, restoring atomic.Int32
	// news are of the state's revision, and of what is compacted.
	news news

	mu    sync.RWMutex
	state *mvcc.State
	// sessions by id, and in the order of their last use, oldest first.
	sessions map[uint64]*list.Element // of session
	byUse    *list.List
	// at is where the last command stands that is in the state, or the snapshot ends that
	// it is of. Raft's own applied index is that of what was handed over to be applied.
	at position
}

// A position says where an entry stands.
type position struct{ index, term uint64 }

// A session is what is remembered of a client: the number of its last write and
// what became of it.
type session struct {
	id, number uint64
	outcome    *stored.Outcome
}

var _ raft.BatchingFSM = (*machine)(nil)

func newMachine(maxSessions int, o mvcc.Options) *machine {
	return &machine{
		maxSessions: maxSessions,
		options:     o,
		state:       mvcc.New(o),
		sessions:    map[uint64]*list.Element{},
		byUse:       list.New(),
	}
}

// applied returns where the last command stands that is in the state.
func (m *machine) applied() position {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.at
}

// revisions returns that of the last change, and the first that remains.
func (m *machine) revisions() (last, compacted uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Revision(), m.state.Compacted()
}

// read returns what is in a span at a revision, of as many keys as limit says, and
// where the state stands that says so.
func (m *machine) read(span *api.Span, revision uint64, limit uint32) (*api.RangeResponse, position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out, err := m.state.Range(span, revision, limit)
	if err != nil {
		return nil, position{}, err
	}
	return out, m.at, nil
}

// events returns changes in a span: see [mvcc.State.Events].
func (m *machine) events(span *api.Span, from uint64, atMost int) (events []*api.Event, to, compacted uint64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Events(span, from, atMost)
}

// lease says how a lease stands, if it does.
func (m *machine) lease(id uint64) (*api.DescribeLeaseResponse, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.Describe(id)
}

// leases returns how many there are.
func (m *machine) leases() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.LeaseCount()
}

// Apply performs the command of a log entry, and returns the *stored.Outcome.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch performs the commands of log entries. Whoever reads meanwhile sees none of
// them, or all. Of an entry without a command the outcome is nil.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	commands := make([]stored.Command, len(entries))
	for i, l := range entries {
		if l.Type != raft.LogCommand {
			continue
		}
		if err := proto.Unmarshal(l.Data, &commands[i]); err != nil {
			// Others may have understood it. To go on would be to differ from them.
			panic(fmt.Sprintf("raftkv: log entry %d cannot be read: %v", l.Index, err))
		}
		if commands[i].GetCommand() == nil && len(l.Data) > 0 {
			panic(fmt.Sprintf("raftkv: log entry %d is of a later version", l.Index))
		}
	}
	outcomes := make([]any, len(entries))
	m.mu.Lock()
	defer m.mu.Unlock()
	revision, compacted := m.state.Revision(), m.state.Compacted()
	for i, l := range entries {
		if l.Type == raft.LogCommand {
			m.at = position{l.Index, l.Term}
			outcomes[i] = m.once(&commands[i])
		}
	}
	if revision != m.state.Revision() || compacted != m.state.Compacted() {
		m.news.tell()
	}
	return outcomes
}

// once performs a command, unless its session has seen it already.
func (m *machine) once(c *stored.Command) *stored.Outcome {
	if clock := c.Clock; clock != nil {
		if clock.Term != m.at.term {
			// The node that read it did not lead in that term, or does so no more: it can be
			// compared with no other.
			clock = &stored.Clock{}
		}
		m.state.Advance(clock)
	}
	if c.Session == 0 || m.options.Bug == bug.DoubleApply {
		return m.perform(c)
	}
	known := m.sessions[c.Session]
	if known == nil {
		// This arrival does nothing. An earlier one of the same write may have: the
		// client knows whether there was one.
		return m.placed(&stored.Outcome{Refused: api.Reason_REASON_SESSION_EXPIRED})
	}
	s := known.Value.(session)
	if c.Number < s.number {
		return m.placed(&stored.Outcome{Refused: api.Reason_REASON_SUPERSEDED})
	}
	if c.Number > s.number {
		s.number, s.outcome = c.Number, m.perform(c)
	}
	m.use(s)
	return s.outcome
}

// use puts s behind all other sessions.
func (m *machine) use(s session) {
	if old := m.sessions[s.id]; old != nil {
		m.byUse.Remove(old)
	}
	m.sessions[s.id] = m.byUse.PushBack(s)
}

// perform does what a command asks for.
func (m *machine) perform(c *stored.Command) *stored.Outcome {
	out := &stored.Outcome{}
	switch c := c.GetCommand().(type) {
	case *stored.Command_OpenSession:
		m.use(session{id: m.at.index})
		if m.byUse.Len() > m.maxSessions {
			oldest := m.byUse.Remove(m.byUse.Front()).(session)
			delete(m.sessions, oldest.id)
		}
	case *stored.Command_Txn:
		out = m.state.Txn(c.Txn)
	case *stored.Command_Compact:
		out = m.state.Compact(c.Compact.GetRevision())
	case *stored.Command_GrantLease:
		out = m.state.Grant(m.at.index, c.GrantLease.GetTtlMs())
	case *stored.Command_KeepAlive:
		out = m.state.KeepAlive(c.KeepAlive.GetLease())
	case *stored.Command_RevokeLease:
		out = m.state.Revoke(c.RevokeLease.GetLease())
	}
	return m.placed(out)
}

// placed says in an outcome where it came about.
func (m *machine) placed(out *stored.Outcome) *stored.Outcome {
	out.Index, out.Term, out.Revision = m.at.index, m.at.term, m.state.Revision()
	return out
}

// Snapshot returns the state as it is now. Persist runs beside Apply.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.taking.Add(1)
	s := &snapshot{at: m.at, state: m.state.Freeze(), release: func() { m.taking.Add(-1) }}
	for e := m.byUse.Front(); e != nil; e = e.Next() {
		if m.options.Bug != bug.SnapshotDropsSessions {
			s.sessions = append(s.sessions, e.Value.(session))
		}
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
	restored := newMachine(m.maxSessions, m.options)
	if err := restored.load(bufio.NewReader(r)); err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if restored.at.index < m.at.index {
		return fmt.Errorf("restore snapshot: it ends with entry %d, which is older than the state, of entry %d", restored.at.index, m.at.index)
	}
	if m.log != nil {
		if err := replaceLog(m.log, restored.at.index, restored.at.term); err != nil {
			return fmt.Errorf("restore snapshot: %w", err)
		}
	}
	m.state, m.sessions, m.byUse, m.at = restored.state, restored.sessions, restored.byUse, restored.at
	m.news.tell()
	return nil
}

// snapshotVersion is the form in which snapshots are written.
const snapshotVersion = 2

// A snapshot is a state that does not change any more.
type snapshot struct {
	at       position
	state    *mvcc.Frozen
	sessions []session // in the order of their last use
	release  func()
}

// Persist writes the snapshot. Behind the last command there may be changes of members in
// it: where it ends decides what log goes on from it, and the sink knows.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if w, ok := sink.(*watchedSink); ok {
		s.at = w.end
	}
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
	head := &stored.Head{Version: snapshotVersion, Index: s.at.index, Term: s.at.term}
	head.Revision, head.Compacted, head.TimeNs, head.Clock = s.state.Head()
	if err := put(&stored.Record{Record: &stored.Record_Head{Head: head}}); err != nil {
		return err
	}
	versions, leases, err := s.state.Write(put)
	if err != nil {
		return err
	}
	for _, s := range s.sessions {
		if err := put(&stored.Record{Record: &stored.Record_Session{Session: &stored.Session{
			Id: s.id, Number: s.number, Outcome: s.outcome,
		}}}); err != nil {
			return err
		}
	}
	return put(&stored.Record{Record: &stored.Record_Tail{Tail: &stored.Tail{
		Versions: versions, Leases: leases, Sessions: uint64(len(s.sessions)),
	}}})
}

// longestRecord is of a snapshot. What a session remembers may be all that a
// transaction has read.
const longestRecord = 1 << 30

// load fills an empty machine from a snapshot.
func (m *machine) load(r protodelim.Reader) error {
	for n := 0; ; n++ {
		var record stored.Record
		err := protodelim.UnmarshalOptions{MaxSize: longestRecord}.UnmarshalFrom(r, &record)
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
		switch r := record.GetRecord().(type) {
		case *stored.Record_Head:
			if head.Version != snapshotVersion {
				return fmt.Errorf("its version is %d; this program reads %d", head.Version, snapshotVersion)
			}
			m.at = position{head.Index, head.Term}
			m.state.Begin(head)
		case *stored.Record_Version, *stored.Record_Lease:
			if err := m.state.Load(&record); err != nil {
				return fmt.Errorf("record %d: %w", n, err)
			}
		case *stored.Record_Session:
			m.use(session{r.Session.GetId(), r.Session.GetNumber(), r.Session.GetOutcome()})
		case *stored.Record_Tail:
			if got, want := uint64(len(m.sessions)), r.Tail.GetSessions(); got != want {
				return fmt.Errorf("it holds %d sessions where %d were written", got, want)
			}
			return m.state.End(r.Tail)
		default:
			return fmt.Errorf("record %d is of a later version", n)
		}
	}
}

// part returns a copy of what spans hold now, and of the leases of that, and where the
// state stands that it was taken from. Transactions can be tried on it: bugs do.
func (m *machine) part(spans []*api.Span, leases []uint64) (*mvcc.State, position) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	held := map[string]*api.KeyValue{}
	for _, span := range spans {
		if out, err := m.state.Range(span, 0, 0); err == nil {
			for _, kv := range out.GetKvs() {
				held[kv.Key] = kv
			}
		}
	}
	var versions, ends []*stored.Record
	for _, kv := range held {
		versions = append(versions, &stored.Record{Record: &stored.Record_Version{Version: &stored.Version{Kv: kv}}})
		leases = append(leases, kv.Lease)
	}
	slices.SortFunc(versions, func(a, b *stored.Record) int {
		return cmp.Or(
			cmp.Compare(a.GetVersion().GetKv().GetMod(), b.GetVersion().GetKv().GetMod()),
			cmp.Compare(a.GetVersion().GetKv().GetKey(), b.GetVersion().GetKv().GetKey()))
	})
	slices.Sort(leases)
	for _, id := range slices.Compact(leases) {
		if l, found := m.state.Describe(id); found {
			ends = append(ends, &stored.Record{Record: &stored.Record_Lease{Lease: &stored.Lease{
				Id: id, TtlMs: l.GetTtlMs(), DeadlineNs: (l.GetLeftMs() + 1) * 1e6,
			}}})
		}
	}
	part := mvcc.New(mvcc.Options{})
	part.Begin(&stored.Head{Revision: m.state.Revision(), Compacted: m.state.Revision()})
	for _, r := range append(versions, ends...) {
		if err := part.Load(r); err != nil {
			panic(fmt.Sprintf("raftkv: copy a part of the state: %v", err))
		}
	}
	if err := part.End(&stored.Tail{Versions: uint64(len(versions)), Leases: uint64(len(ends))}); err != nil {
		panic(fmt.Sprintf("raftkv: copy a part of the state: %v", err))
	}
	return part, m.at
}
