package server

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// A feeder applies commands at rising indices.
type feeder struct {
	t *testing.T
	*machine
	last uint64
}

func feed(t *testing.T, maxSessions int) *feeder { return feedWith(t, maxSessions, mvcc.Options{}) }

func feedWith(t *testing.T, maxSessions int, o mvcc.Options) *feeder {
	return &feeder{t, newMachine(maxSessions, o), 0}
}

func (f *feeder) apply(c *stored.Command) *stored.Outcome {
	f.t.Helper()
	data, err := proto.Marshal(c)
	must(f.t, err)
	f.last++
	term := cmp.Or(c.GetClock().GetTerm(), 3)
	return f.Apply(&raft.Log{Index: f.last, Term: term, Data: data}).(*stored.Outcome)
}

func (f *feeder) open() uint64 {
	f.t.Helper()
	return f.apply(&stored.Command{Command: &stored.Command_OpenSession{OpenSession: &stored.OpenSession{}}}).Index
}

// restore puts a machine into the place of the feeder's, from a snapshot of it.
func (f *feeder) restore() {
	f.t.Helper()
	restored := newMachine(f.maxSessions, f.options)
	must(f.t, restored.Restore(io.NopCloser(bytes.NewReader(saved(f.t, f.machine)))))
	f.machine = restored
}

func putOp(key, value string, lease uint64) *api.Op {
	return &api.Op{Op: &api.Op_Put{Put: &api.Put{Key: key, Value: []byte(value), Lease: lease}}}
}

func put(key, value string) *stored.Command {
	return &stored.Command{Command: &stored.Command_Txn{Txn: &stored.Txn{Success: []*api.Op{putOp(key, value, 0)}}}}
}

func putLeased(key string, lease uint64) *stored.Command {
	return &stored.Command{Command: &stored.Command_Txn{Txn: &stored.Txn{Success: []*api.Op{putOp(key, "leased", lease)}}}}
}

// swap is a put of what is as expected.
func swap(key, expect, value string) *stored.Command {
	return &stored.Command{Command: &stored.Command_Txn{Txn: &stored.Txn{
		Compare: []*api.Compare{{Key: key, Target: &api.Compare_Value{Value: []byte(expect)}}},
		Success: []*api.Op{putOp(key, value, 0)},
	}}}
}

func grant(ttl time.Duration) *stored.Command {
	return &stored.Command{Command: &stored.Command_GrantLease{GrantLease: &stored.GrantLease{TtlMs: uint64(ttl.Milliseconds())}}}
}

func compact(revision uint64) *stored.Command {
	return &stored.Command{Command: &stored.Command_Compact{Compact: &stored.Compact{Revision: revision}}}
}

func tick() *stored.Command {
	return &stored.Command{Command: &stored.Command_Tick{Tick: &stored.Tick{}}}
}

// at gives a command a reading of the clock of a term's leader.
func at(term uint64, now time.Duration, c *stored.Command) *stored.Command {
	c.Clock = &stored.Clock{Term: term, Ns: uint64(now)}
	return c
}

// numbered makes a command a write of a session.
func numbered(session, number uint64, c *stored.Command) *stored.Command {
	c.Session, c.Number = session, number
	return c
}

// saved is a machine's snapshot.
func saved(t *testing.T, m *machine) []byte {
	t.Helper()
	taken, err := m.Snapshot()
	must(t, err)
	defer taken.Release()
	var sink memorySink
	must(t, taken.Persist(&sink))
	return sink.Bytes()
}

// holds says what is there of a key: its value, its last revision, and how often it has
// changed since it was made.
func (m *machine) holds(key string) string {
	out, _, err := m.read(&api.Span{Key: key}, 0, 0)
	switch {
	case err != nil:
		return err.Error()
	case len(out.Kvs) == 0:
		return "nothing"
	}
	kv := out.Kvs[0]
	return fmt.Sprintf("%s at %d, version %d", kv.Value, kv.Mod, kv.Version)
}

// TestRepeatedCommandHappensOnceAndIsAnsweredAsAtFirst, whatever it asks for, and also if
// it was refused.
func TestRepeatedCommandHappensOnceAndIsAnsweredAsAtFirst(t *testing.T) {
	const id, lease, held = 1, 2, 3
	for name, c := range map[string]func() *stored.Command{
		"put":              func() *stored.Command { return put("k", "again") },
		"swap":             func() *stored.Command { return swap("k", "first", "second") },
		"swap in vain":     func() *stored.Command { return swap("k", "second", "third") },
		"grant":            func() *stored.Command { return grant(time.Second) },
		"grant in vain":    func() *stored.Command { return grant(0) },
		"revoke":           func() *stored.Command { return revoke(nil, lease) },
		"revoke in vain":   func() *stored.Command { return revoke(nil, 100) },
		"lease to be":      func() *stored.Command { return putLeased("k", 8) }, // granted between the two
		"compact":          func() *stored.Command { return compact(1) },
		"compact the next": func() *stored.Command { return compact(3) },
		"keep alive":       func() *stored.Command { return keepAlive(nil, held) },
	} {
		for _, restored := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restored %v", name, restored), func(t *testing.T) {
				f := feed(t, 10)
				if f.open() != id || f.apply(at(3, 0, grant(time.Hour))).Index != lease || f.apply(grant(time.Hour)).Index != held {
					t.Fatal("these are others than it takes")
				}
				f.apply(put("k", "first"))
				f.apply(putLeased("other", lease))
				first := f.apply(numbered(id, 1, c()))
				if restored {
					f.restore()
				}
				f.apply(put("k", "other"))
				f.apply(grant(time.Second))
				leases := f.leases()
				revision, compacted := f.revisions()
				if again := f.apply(numbered(id, 1, c())); !proto.Equal(again, first) {
					t.Errorf("again: %v, at first: %v", again, first)
				}
				if r, c := f.revisions(); r != revision || c != compacted || f.leases() != leases {
					t.Error("it happened twice")
				}
				if got := f.apply(numbered(id, 2, put("k", "next"))); got.Refused != 0 {
					t.Errorf("the next: %v", got)
				}
				if got := f.apply(numbered(id, 1, c())); got.Refused != api.Reason_REASON_SUPERSEDED || got.Index != f.last {
					t.Errorf("once more, after the next: %v", got)
				}
			})
		}
	}
}

func TestSessionUnusedForLongestIsForgotten(t *testing.T) {
	f := feed(t, 2)
	write := func(id, number uint64) api.Reason {
		return f.apply(numbered(id, number, put("k", "v"))).Refused
	}
	a, b := f.open(), f.open()
	write(a, 1) // so b is the one
	c := f.open()
	before := f.holds("k")
	if got := write(b, 1); got != api.Reason_REASON_SESSION_EXPIRED {
		t.Errorf("the forgotten session's write: %v", got)
	}
	if after := f.holds("k"); after != before {
		t.Error("it happened")
	}
	for _, id := range []uint64{a, c} {
		if got := write(id, 2); got != 0 {
			t.Errorf("session %d: %v", id, got)
		}
	}
	if got := write(99, 1); got != api.Reason_REASON_SESSION_EXPIRED {
		t.Errorf("a session that never was: %v", got)
	}
}

func TestForgottenSessionsAreWhatBugsMakeOfThem(t *testing.T) {
	for name, want := range map[string]string{
		"":                        "k at 3, version 2; next unspecified",
		bug.DoubleApply:           "again at 4, version 3; next unspecified",
		bug.SnapshotDropsSessions: "k at 3, version 2; next session expired",
	} {
		f := feedWith(t, 10, mvcc.Options{Bug: name})
		id := f.open()
		f.apply(put("k", "before"))
		f.apply(put("other", ""))
		f.apply(numbered(id, 1, put("k", "k")))
		f.restore()
		f.apply(numbered(id, 1, put("k", "again")))
		got := f.holds("k")
		got += "; next " + f.apply(numbered(id, 2, put("k", "next"))).Refused.Text()
		if got != want {
			t.Errorf("bug %q: it holds %s, want %s", name, got, want)
		}
	}
}

// TestBatchIsAppliedAsItsEntriesWouldBe: Raft hands over changes of members with the
// commands.
func TestBatchIsAppliedAsItsEntriesWouldBe(t *testing.T) {
	one, batch := feed(t, 10), feed(t, 10)
	var entries []*raft.Log
	for i, c := range []*stored.Command{put("a", "1"), nil, put("a", "2"), swap("a", "2", "3"), nil} {
		l := &raft.Log{Index: uint64(i + 1), Term: 3}
		if c != nil {
			data, err := proto.Marshal(c)
			must(t, err)
			l.Data = data
		}
		entries = append(entries, l)
	}
	entries[1].Type, entries[4].Type = raft.LogConfiguration, raft.LogConfiguration
	entries[1].Data = []byte("no command")
	news := batch.news.next()
	outcomes := batch.ApplyBatch(entries)
	select {
	case <-news:
	default:
		t.Error("nobody was told")
	}
	for i, l := range entries {
		if l.Type == raft.LogConfiguration {
			if outcomes[i] != nil {
				t.Errorf("entry %d: %v", l.Index, outcomes[i])
			}
			continue
		}
		if want := one.Apply(l).(*stored.Outcome); !proto.Equal(outcomes[i].(*stored.Outcome), want) {
			t.Errorf("entry %d: %v, want %v", l.Index, outcomes[i], want)
		}
	}
	if one.holds("a") != batch.holds("a") || batch.applied() != (position{4, 3}) {
		t.Errorf("it holds %s, up to %v", batch.holds("a"), batch.applied())
	}
	news = batch.news.next()
	batch.ApplyBatch([]*raft.Log{{Index: 6, Term: 3}})
	select {
	case <-news:
		t.Error("there are news of an entry without effect")
	default:
	}
}

// TestLeasesEndByTheLeadersClockInTheLog: a new leader's first reading is where time goes
// on, and who takes over from a snapshot at any point comes to the same.
func TestLeasesEndByTheLeadersClockInTheLog(t *testing.T) {
	const second = time.Second
	steps := []struct {
		c      *stored.Command
		leases int
		a, b   string // what is there
	}{
		{at(3, 100*second, grant(10*second)), 1, "nothing", "nothing"},
		{putLeased("a", 1), 1, "leased at 1, version 1", "nothing"},
		{at(3, 104*second, grant(2*second)), 2, "leased at 1, version 1", "nothing"},
		{putLeased("b", 3), 2, "leased at 1, version 1", "leased at 2, version 1"},
		{at(3, 105*second, tick()), 2, "leased at 1, version 1", "leased at 2, version 1"},
		{at(4, 7*second, tick()), 2, "leased at 1, version 1", "leased at 2, version 1"}, // another leads
		{at(4, 8*second-1, tick()), 2, "leased at 1, version 1", "leased at 2, version 1"},
		{at(4, 8*second, tick()), 1, "leased at 1, version 1", "nothing"},
		{at(4, 8*second, keepAlive(nil, 1)), 1, "leased at 1, version 1", "nothing"},
		{at(4, 7*second, keepAlive(nil, 1)), 1, "leased at 1, version 1", "nothing"}, // it was overtaken
		{at(4, 18*second-1, tick()), 1, "leased at 1, version 1", "nothing"},
		{at(6, 1000*second, keepAlive(nil, 1)), 1, "leased at 1, version 1", "nothing"},
		{at(6, 1010*second-1, tick()), 1, "leased at 1, version 1", "nothing"},
		{at(6, 1010*second, put("c", "v")), 0, "nothing", "nothing"},
		{at(6, 1010*second, keepAlive(nil, 1)), 0, "nothing", "nothing"}, // in vain
	}
	for restored := range len(steps) + 1 {
		f := feed(t, 10)
		for i, step := range steps {
			if i == restored {
				f.restore()
			}
			out := f.apply(step.c)
			if want := i == len(steps)-1; (out.Refused == api.Reason_REASON_LEASE_EXPIRED) != want {
				t.Errorf("restored before %d: step %d: refused: %v", restored, i, out.Refused)
			}
			if f.leases() != step.leases || f.holds("a") != step.a || f.holds("b") != step.b {
				t.Errorf("restored before %d: after step %d there are %d leases, %s and %s",
					restored, i, f.leases(), f.holds("a"), f.holds("b"))
			}
		}
		if revision, _ := f.revisions(); revision != 5 { // a, b, b's end, a's end, c
			t.Errorf("restored before %d: in the end it is at revision %d", restored, revision)
		}
	}
}

// TestReadingThatIsNotOfTheEntrysTermIsOfNoClock: a node has read its clock in the term of
// another, and has put the entry into the log when it led itself.
func TestReadingThatIsNotOfTheEntrysTermIsOfNoClock(t *testing.T) {
	const second = time.Second
	f := feed(t, 10)
	f.apply(at(3, 100*second, grant(10*second)))
	late := func(term uint64, now time.Duration) {
		t.Helper()
		data, err := proto.Marshal(at(term, now, keepAlive(nil, 100)))
		must(t, err)
		f.last++
		f.Apply(&raft.Log{Index: f.last, Term: 5, Data: data})
	}
	left := func() time.Duration {
		out, _ := f.lease(1)
		return time.Duration(out.GetLeftMs()) * time.Millisecond
	}
	late(3, 105*second)
	late(3, 500*second)
	f.apply(at(5, 7*second, tick()))
	late(4, 1*second)
	f.apply(at(5, 8*second, tick())) // nobody knows what it was before
	if got := left(); got != 10*second {
		t.Errorf("it has %v left of 10s", got)
	}
	if f.apply(at(5, 17*second, tick())); left() != second {
		t.Errorf("it has %v left of 1s", left())
	}
}

// A memorySink holds a snapshot.
type memorySink struct {
	bytes.Buffer
	cancelled bool
}

func (*memorySink) ID() string      { return "snapshot" }
func (*memorySink) Close() error    { return nil }
func (s *memorySink) Cancel() error { s.cancelled = true; return nil }

func TestSnapshotIsTheStateWhenItWasTaken(t *testing.T) {
	f := feed(t, 3)
	a, b := f.open(), f.open()
	lease := f.apply(at(3, time.Hour, grant(time.Minute))).Index
	f.apply(numbered(b, 1, put("x", "0")))
	f.apply(put("x", "1"))
	first := f.apply(numbered(a, 1, putLeased("y", lease)))
	f.apply(compact(2))
	taken, err := f.Snapshot()
	must(t, err)
	if f.taking.Load() != 1 {
		t.Error("it does not know that one is taken")
	}
	// What comes before it is written is not in it.
	f.apply(put("x", "later"))
	f.apply(numbered(a, 2, put("z", "later")))
	f.apply(at(3, 2*time.Hour, tick()))
	f.apply(compact(4))
	f.open()
	f.open() // b is forgotten
	var sink memorySink
	must(t, taken.Persist(&sink))
	taken.Release()
	if f.taking.Load() != 0 {
		t.Error("it does not know that it was taken")
	}

	g := feed(t, 3)
	g.apply(put("gone", "gone"))
	news := g.news.next()
	must(t, g.Restore(io.NopCloser(&sink)))
	select {
	case <-news:
	default:
		t.Error("who waits for news was not told")
	}
	g.last = 7
	for key, want := range map[string]string{"x": "1 at 2, version 2", "y": "leased at 3, version 1", "z": "nothing", "gone": "nothing"} {
		if got := g.holds(key); got != want {
			t.Errorf("%s holds %s, want %s", key, got, want)
		}
	}
	if at := g.applied(); at != (position{7, 3}) {
		t.Errorf("applied %v", at)
	}
	if revision, compacted := g.revisions(); revision != 3 || compacted != 2 {
		t.Errorf("revision %d, compacted %d", revision, compacted)
	}
	if l, found := g.lease(lease); !found || l.TtlMs != 60_000 || l.LeftMs != 60_000 || strings.Join(l.Keys, " ") != "y" {
		t.Errorf("the lease: %v", l)
	}
	if again := g.apply(numbered(a, 1, putLeased("y", lease))); !proto.Equal(again, first) {
		t.Errorf("again: %v, at first: %v", again, first)
	}
	g.open()
	g.open() // the order of use is remembered: b has to go, not a
	if got := g.apply(numbered(b, 2, put("x", ""))).Refused; got != api.Reason_REASON_SESSION_EXPIRED {
		t.Errorf("session %d: %v", b, got)
	}
	if got := g.apply(numbered(a, 2, put("x", ""))).Refused; got != 0 {
		t.Errorf("session %d: %v", a, got)
	}
}

func TestBadSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	f := feed(t, 3)
	id := f.open()
	f.apply(at(3, 0, grant(time.Minute)))
	f.apply(numbered(id, 1, put("x", "1")))
	whole := saved(t, f.machine)

	restore := func(b []byte) error { return f.Restore(io.NopCloser(bytes.NewReader(b))) }
	for n := range whole {
		if restore(whole[:n]) == nil {
			t.Errorf("the first %d of %d bytes were taken for a snapshot", n, len(whole))
		}
	}
	later := bytes.Replace(whole, []byte{8, snapshotVersion}, []byte{8, snapshotVersion + 1}, 1)
	if err := restore(later); err == nil || !strings.Contains(err.Error(), "version is 3") {
		t.Errorf("a later version: got %v", err)
	}
	if err := restore(whole[len(whole)-8:]); err == nil {
		t.Error("a snapshot without a head was taken")
	}
	// A record that is left out is missed, whichever it is.
	rest := whole
	for i := 0; len(rest) > 0; i++ {
		size := int(rest[0]) + 1 // all are short
		without := append(bytes.Clone(whole[:len(whole)-len(rest)]), rest[size:]...)
		if err := restore(without); err == nil {
			t.Errorf("without record %d it was taken", i)
		}
		rest = rest[size:]
	}
	if got := f.holds("x"); got != "1 at 1, version 1" {
		t.Errorf("the state has become %s", got)
	}
	must(t, restore(whole))
}

func TestOlderSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	f := feed(t, 3)
	restore := func(b []byte) error { return f.Restore(io.NopCloser(bytes.NewReader(b))) }
	f.apply(put("x", "old"))
	old := saved(t, f.machine)
	must(t, restore(old)) // the same is not older
	f.apply(put("x", "new"))
	if err := restore(old); err == nil || !strings.Contains(err.Error(), "entry 1, which is older than the state, of entry 2") {
		t.Errorf("got %v", err)
	}
	if got := f.holds("x"); got != "new at 2, version 2" {
		t.Errorf("the state has become %s", got)
	}
	must(t, restore(saved(t, f.machine)))
}
