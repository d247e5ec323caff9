package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
)

// A follower is a real node on real files that a test leads by hand: it plays "l",
// the leader, and there is one more, or there would be no majority without "f".
type follower struct {
	t   *testing.T
	dir string
	// trailing is how many entries it keeps that are in a snapshot.
	trailing uint64

	*Node
	store     *Store
	snapshots *Snapshots
	lead      *raft.InmemTransport // of the leader
}

var peersOfFollower = []Peer{{ID: "f", RaftAddr: "f"}, {ID: "l", RaftAddr: "l"}, {ID: "x", RaftAddr: "x"}}

// follow runs test with a follower, in a bubble.
func follow(t *testing.T, test func(t *testing.T, f *follower)) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{t: t, dir: t.TempDir(), trailing: 1000}
		f.start()
		defer func() { f.stop() }()
		test(t, f)
	})
}

func (f *follower) start() {
	f.t.Helper()
	var err error
	f.store, err = OpenStore(filepath.Join(f.dir, "raft.db"))
	must(f.t, err)
	logs, err := raft.NewLogCache(512, f.store)
	must(f.t, err)
	f.snapshots, err = OpenSnapshots(filepath.Join(f.dir, "snapshots"))
	must(f.t, err)
	_, transport := raft.NewInmemTransport("f")
	_, f.lead = raft.NewInmemTransport("l")
	f.lead.Connect("f", transport)
	never := Duration(1000 * time.Hour) // it does not stand itself, nor take snapshots unasked
	f.Node, err = NewNode(Config{
		ID: "f", Empty: EmptyFounds, Peers: peersOfFollower, TrailingLogs: f.trailing, Heartbeat: never, Election: never, SnapshotInterval: never,
	}, Deps{Logs: logs, Stable: f.store, Snapshots: f.snapshots, Transport: transport, Log: hclog.NewNullLogger()})
	must(f.t, err)
}

func (f *follower) stop() {
	f.t.Helper()
	must(f.t, f.Node.Close())
	must(f.t, f.store.Close())
}

func (f *follower) restart() {
	f.t.Helper()
	f.stop()
	f.start()
}

// command returns an entry that sets the key "k" to its own index.
func command(t *testing.T, index, term uint64) *raft.Log {
	t.Helper()
	data, err := proto.Marshal(put("k", fmt.Sprint(index)))
	must(t, err)
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

// header is of the leader.
var header = raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("l"), Addr: []byte("l")}

// append sends entries of a term, after one of prevTerm, and what is committed. It
// says whether they were taken, and returns when what can be applied is.
func (f *follower) append(prevTerm, term, from, to, commit uint64) bool {
	f.t.Helper()
	in := &raft.AppendEntriesRequest{
		RPCHeader: header, Term: term, PrevLogEntry: from - 1, PrevLogTerm: prevTerm, LeaderCommitIndex: commit,
	}
	for i := from; i <= to; i++ {
		in.Entries = append(in.Entries, command(f.t, i, term))
	}
	var out raft.AppendEntriesResponse
	must(f.t, f.lead.AppendEntries("f", "f", in, &out))
	synctest.Wait()
	return out.Success
}

// snapshotAt returns the snapshot of a leader that has applied the entries to
// index, all of them of one term but the first.
func snapshotAt(t *testing.T, index, term uint64) []byte {
	t.Helper()
	m := newMachine(1, mvcc.Options{})
	for i := uint64(2); i <= index; i++ {
		m.Apply(command(t, i, term))
	}
	return saved(t, m)
}

func configurationOfFollower() raft.Configuration {
	var c raft.Configuration
	for _, p := range peersOfFollower {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.RaftAddr)})
	}
	return c
}

// install sends a snapshot.
func (f *follower) install(index, term uint64) error {
	f.t.Helper()
	return f.send(index, term, snapshotAt(f.t, index, term))
}

// send sends a snapshot that holds data.
func (f *follower) send(index, term uint64, data []byte) error {
	f.t.Helper()
	var out raft.InstallSnapshotResponse
	err := f.lead.InstallSnapshot("f", "f", &raft.InstallSnapshotRequest{
		RPCHeader: header, SnapshotVersion: raft.SnapshotVersionMax, Term: term, LastLogIndex: index, LastLogTerm: term,
		Configuration: raft.EncodeConfiguration(configurationOfFollower()), ConfigurationIndex: 1, Size: int64(len(data)),
	}, &out, bytes.NewReader(data))
	if err == nil && !out.Success {
		f.t.Fatalf("snapshot %d: neither taken nor refused", index)
	}
	return err
}

// save leaves a snapshot on the disk, as a node does that dies after that.
func (f *follower) save(index, term uint64) (path string) {
	f.t.Helper()
	sink, err := f.snapshots.Create(raft.SnapshotVersionMax, index, term, configurationOfFollower(), 1, f.lead)
	must(f.t, err)
	_, err = sink.Write(snapshotAt(f.t, index, term))
	must(f.t, err)
	must(f.t, sink.Close())
	return f.snapshots.path(sink.ID())
}

// expect says what the log and the state have to be.
func (f *follower) expect(when string, log [2]uint64, applied uint64) {
	f.t.Helper()
	if got := bounds(f.t, f.store); got != log {
		f.t.Errorf("%s: the log holds %v, want %v", when, got, log)
	}
	want := "nothing"
	if applied > 0 { // the first entry is none of ours
		want = fmt.Sprintf("%d at %d, version %[2]d", applied, applied-1)
	}
	if index, got := f.machine.applied().index, f.machine.holds("k"); index != applied || got != want {
		f.t.Errorf("%s: applied %d, which left %s; want %d, and %s", when, index, got, applied, want)
	}
}

// take is append of what has to be taken.
func (f *follower) take(prevTerm, term, from, to, commit uint64) {
	f.t.Helper()
	if !f.append(prevTerm, term, from, to, commit) {
		f.t.Fatalf("entries %d to %d were not taken", from, to)
	}
}

// TestLateSnapshotTakesNothingBack: the leader's snapshot arrives twice, and in
// between come entries that the follower has acknowledged.
func TestLateSnapshotTakesNothingBack(t *testing.T) {
	follow(t, func(t *testing.T, f *follower) {
		must(t, f.install(50, 2))
		f.expect("the snapshot", [2]uint64{}, 50)
		f.take(2, 2, 51, 60, 50)
		must(t, f.install(50, 2)) // nothing is applied yet: it is no older
		f.expect("the same, late", [2]uint64{51, 60}, 50)
		f.take(2, 2, 61, 61, 55)
		f.expect("more", [2]uint64{51, 61}, 55)
		before := f.raft.AppliedIndex()
		if err := f.install(50, 2); err == nil || !strings.Contains(err.Error(), "older than the state") {
			t.Errorf("the same, later still: got %v", err)
		}
		f.expect("the same, later still", [2]uint64{51, 61}, 55)
		if now := f.raft.AppliedIndex(); now != before || f.raft.LastIndex() != 61 {
			t.Errorf("Raft has applied %d, before it was %d; its last entry is %d", now, before, f.raft.LastIndex())
		}
		f.take(2, 2, 62, 62, 62)
		f.expect("all", [2]uint64{51, 62}, 62)

		f.restart()
		f.expect("after a restart", [2]uint64{51, 62}, 50)
		f.take(2, 2, 63, 63, 63)
		f.expect("in the end", [2]uint64{51, 63}, 63)
	})
}

// TestLateSnapshotIsRefusedWhenTheLogBeginsAfterIt: what the state was made of
// since is gone, so to go back would be to stay there.
func TestLateSnapshotIsRefusedWhenTheLogBeginsAfterIt(t *testing.T) {
	follow(t, func(t *testing.T, f *follower) {
		f.stop()
		f.trailing = 1
		f.start()
		must(t, f.install(50, 2))
		f.take(2, 2, 51, 60, 58)
		must(t, f.raft.Snapshot().Error())
		f.expect("its own snapshot", [2]uint64{59, 60}, 58)
		if f.install(50, 2) == nil {
			t.Error("an old snapshot was taken")
		}
		f.take(2, 2, 61, 61, 61)
		f.expect("more", [2]uint64{59, 61}, 61)
		f.restart()
		f.expect("after a restart", [2]uint64{59, 61}, 58)
		f.take(2, 2, 62, 62, 62)
		f.expect("in the end", [2]uint64{59, 62}, 62)
	})
}

// Logs of entries 1 to 100, and snapshots: what becomes of the log.
var replacements = []struct {
	name        string
	index, term uint64 // of the snapshot; the log's entries are of term 2
	log         [2]uint64
	// stuck says that Raft takes no entries before it is started anew: it goes on
	// to believe that the log ends where it did.
	stuck bool
}{
	{"the log goes on from it", 80, 2, [2]uint64{1, 100}, false},
	{"the log ends with it", 100, 2, [2]uint64{1, 100}, false},
	{"the log holds others than were committed", 80, 3, [2]uint64{}, true},
	{"the log's last is another", 100, 3, [2]uint64{}, true},
	{"the log ends before it", 500, 3, [2]uint64{}, false},
	{"the log is to be continued", 101, 2, [2]uint64{}, false},
}

// goOn lets the leader append after a snapshot, and the rest of the log if it is
// kept.
func (f *follower) goOn(index, term uint64, log [2]uint64) {
	f.t.Helper()
	last := max(index, log[1])
	f.take(term, term, last+1, last+5, last+5)
	if log[0] == 0 {
		log[0] = last + 1
	}
	f.expect("it goes on", [2]uint64{log[0], last + 5}, last+5)
	f.restart()
	f.expect("after a restart", [2]uint64{log[0], last + 5}, index)
	f.take(term, term, last+6, last+6, last+6)
	f.expect("in the end", [2]uint64{log[0], last + 6}, last+6)
}

func TestSnapshotReplacesTheLogThatDoesNotGoOnFromIt(t *testing.T) {
	for _, r := range replacements {
		t.Run(r.name, func(t *testing.T) {
			follow(t, func(t *testing.T, f *follower) {
				f.take(1, 2, 2, 100, 50)
				f.expect("before", [2]uint64{1, 100}, 50)
				must(t, f.install(r.index, r.term))
				f.expect("the snapshot", r.log, r.index)
				if r.stuck {
					if f.append(r.term, r.term, r.index+1, r.index+1, r.index) {
						t.Error("Raft has mended this: so does the test have to be")
					}
					f.restart()
				}
				f.goOn(r.index, r.term, r.log)
			})
		})
	}
}

func TestNodeThatDiedBeforeItReplacedTheLogDoesSoWhenItStarts(t *testing.T) {
	for _, r := range replacements {
		t.Run(r.name, func(t *testing.T) {
			follow(t, func(t *testing.T, f *follower) {
				f.take(1, 2, 2, 100, 50)
				f.stop()
				f.save(r.index, r.term)
				f.start()
				f.expect("after a restart", r.log, r.index)
				f.goOn(r.index, r.term, r.log)
			})
		})
	}
}

// TestLogThatCannotBeReplacedLeavesAllAsItWas: the state must not go on alone.
func TestLogThatCannotBeReplacedLeavesAllAsItWas(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.StoreLogs(entries(1, 10, 1)))
	m := newMachine(1, mvcc.Options{})
	m.log = stubbornLog{s}
	if err := m.Restore(io.NopCloser(bytes.NewReader(snapshotAt(t, 50, 2)))); err == nil || !strings.Contains(err.Error(), "input/output") {
		t.Errorf("got %v", err)
	}
	if at := m.applied(); at.index != 0 {
		t.Errorf("the state has become that of entry %d", at.index)
	}
}

// A stubbornLog cannot delete.
type stubbornLog struct{ raft.LogStore }

func (stubbornLog) DeleteRange(uint64, uint64) error { return errors.New("input/output error") }

// TestSnapshotThatEndsWithNoCommandReplacesALogThatEndsBefore: its last entry is
// a change of members.
func TestSnapshotThatEndsWithNoCommandReplacesALogThatEndsBefore(t *testing.T) {
	var data []byte
	follow(t, func(t *testing.T, f *follower) {
		f.take(1, 2, 2, 100, 100)
		var out raft.AppendEntriesResponse
		must(t, f.lead.AppendEntries("f", "f", &raft.AppendEntriesRequest{
			RPCHeader: header, Term: 3, PrevLogEntry: 100, PrevLogTerm: 2, LeaderCommitIndex: 101,
			Entries: []*raft.Log{{Index: 101, Term: 3, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configurationOfFollower())}},
		}, &out))
		synctest.Wait()
		must(t, f.raft.Snapshot().Error())
		all, err := f.snapshots.List()
		must(t, err)
		if !out.Success || len(all) != 1 || all[0].Index != 101 {
			t.Fatalf("its snapshot: %+v, %v", all[0], out.Success)
		}
		_, state, err := f.snapshots.Open(all[0].ID)
		must(t, err)
		data, err = io.ReadAll(state)
		must(t, err)
	})
	follow(t, func(t *testing.T, f *follower) {
		f.take(1, 2, 2, 100, 50)
		must(t, f.send(101, 3, data))
		if got := bounds(t, f.store); got != [2]uint64{} {
			t.Errorf("the log holds %v, and lacks entry 101", got)
		}
		f.take(3, 3, 102, 110, 110)
		if got := f.machine.holds("k"); got != "110 at 108, version 108" {
			t.Errorf("in the end it holds %s", got)
		}
	})
}
