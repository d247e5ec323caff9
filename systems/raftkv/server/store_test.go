package server

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"

	"github.com/hacheck/hacheck/systems/raftkv/server/mvcc"
)

func openStore(t testing.TB, path string) *Store {
	t.Helper()
	s, err := OpenStore(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func entries(from, to, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Data: fmt.Append(nil, i)})
	}
	return logs
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bounds returns the first and last index of a log.
func bounds(t testing.TB, s raft.LogStore) [2]uint64 {
	t.Helper()
	first, err := s.FirstIndex()
	must(t, err)
	last, err := s.LastIndex()
	must(t, err)
	return [2]uint64{first, last}
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	all := []*raft.Log{
		{Index: 7, Term: 1, Type: raft.LogConfiguration, Data: []byte("who"), AppendedAt: time.Unix(5, 6)},
		{Index: 8, Term: 1 << 40, Type: raft.LogNoop},
		{Index: 9, Term: 1 << 63, Type: raft.LogCommand, Data: make([]byte, 100_000), Extensions: []byte{0}},
		{Index: 10, Term: 1<<64 - 1, Type: raft.LogBarrier, AppendedAt: time.Unix(-5, 0)},
	}
	must(t, s.StoreLogs(all))
	must(t, s.Close())
	s = openStore(t, path)
	if got, want := bounds(t, s), [2]uint64{7, 10}; got != want {
		t.Errorf("the log holds %v, want %v", got, want)
	}
	for _, want := range all {
		var got raft.Log
		must(t, s.GetLog(want.Index, &got))
		if !reflect.DeepEqual(&got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, index := range []uint64{0, 6, 11} {
		if err := s.GetLog(index, &raft.Log{}); !errors.Is(err, raft.ErrLogNotFound) {
			t.Errorf("entry %d: got %v", index, err)
		}
	}
}

// TestLogDoesAsAnObviousOneDoes compares the store with a map, step by step, and
// opens it again in between.
func TestLogDoesAsAnObviousOneDoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	first, last := uint64(0), uint64(0)
	terms := map[uint64]uint64{}
	for step := range 200 {
		switch random.IntN(5) {
		case 0, 1: // append
			from := last + 1
			if last == 0 {
				from = 1 + random.Uint64N(100)
				first = from
			}
			last = from + random.Uint64N(20)
			must(t, s.StoreLogs(entries(from, last, uint64(step))))
			for i := from; i <= last; i++ {
				terms[i] = uint64(step)
			}
		case 2: // what a new leader does not have is taken back
			if from := last - min(last, random.Uint64N(10)); last > 0 && from >= first {
				must(t, s.DeleteRange(from, last+random.Uint64N(5)))
				if last = from - 1; from == first {
					first, last = 0, 0
				}
			}
		case 3: // what is in a snapshot goes
			if to := first + random.Uint64N(10); last > 0 {
				must(t, s.DeleteRange(0, to))
				if first = to + 1; to >= last {
					first, last = 0, 0
				}
			}
		case 4:
			must(t, s.Close())
			s = openStore(t, path)
		}
		if got, want := bounds(t, s), [2]uint64{first, last}; got != want {
			t.Fatalf("step %d: the log holds %v, want %v", step, got, want)
		}
		for i := first; i <= last && last > 0; i++ {
			var got raft.Log
			must(t, s.GetLog(i, &got))
			if got.Index != i || got.Term != terms[i] || string(got.Data) != fmt.Sprint(i) {
				t.Fatalf("step %d: entry %d is %+v", step, i, got)
			}
		}
	}
}

func TestLogKeepsNoGaps(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.StoreLogs(entries(1, 10, 1)))
	for _, bad := range [][]*raft.Log{entries(12, 13, 1), entries(10, 10, 1), append(entries(11, 12, 1), entries(14, 14, 1)...)} {
		if err := s.StoreLogs(bad); err == nil {
			t.Errorf("entry %d was taken", bad[0].Index)
		}
	}
	if err := s.DeleteRange(4, 6); err == nil {
		t.Error("entries were taken out of the middle")
	}
	if got, want := bounds(t, s), [2]uint64{1, 10}; got != want {
		t.Errorf("the log holds %v, want %v", got, want)
	}
	// Raft takes the end back and fails to write another: it still believes in the
	// old one.
	must(t, s.DeleteRange(8, 10))
	if err := s.StoreLogs(entries(11, 12, 1)); err == nil {
		t.Error("entries were taken after ones that are gone")
	}
	must(t, s.StoreLogs(entries(8, 9, 2)))
	if got, want := bounds(t, s), [2]uint64{1, 9}; got != want {
		t.Errorf("the log holds %v, want %v", got, want)
	}
}

func TestStableValuesComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	for _, get := range []func() error{
		func() error { _, err := s.Get([]byte("k")); return err },
		func() error { _, err := s.GetUint64([]byte("k")); return err },
	} {
		if err := get(); err == nil || err.Error() != "not found" { // Raft compares the text
			t.Errorf("got %v for a key that is not there", err)
		}
	}
	must(t, s.SetUint64([]byte("CurrentTerm"), 1<<63))
	must(t, s.Set([]byte("empty"), nil))
	must(t, s.Close())
	s = openStore(t, path)
	if n, err := s.GetUint64([]byte("CurrentTerm")); err != nil || n != 1<<63 {
		t.Errorf("got %d, %v", n, err)
	}
	if b, err := s.Get([]byte("empty")); err != nil || b == nil || len(b) != 0 {
		t.Errorf("got %v, %v", b, err)
	}
	if _, err := s.GetUint64([]byte("empty")); err == nil {
		t.Error("nothing was taken for a number")
	}
}

func TestForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	must(t, os.WriteFile(garbage, []byte(strings.Repeat("x", 100_000)), 0o600))

	foreign := filepath.Join(dir, "foreign")
	db, err := bbolt.Open(foreign, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("theirs")); return err }))
	must(t, db.Close())

	future := filepath.Join(dir, "future")
	s := openStore(t, future)
	h := s.head
	h.Format = "raftkv store 3"
	must(t, s.update(h, nil))
	must(t, s.Close())

	empty := filepath.Join(dir, "empty") // no new one: whose was it?
	must(t, os.WriteFile(empty, nil, 0o600))

	for path, want := range map[string]string{garbage: "no store", foreign: "theirs", future: "raftkv store 3", empty: "damaged"} {
		s, err := OpenStore(path)
		if err == nil {
			s.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q in it", path, err, want)
		}
	}
}

// contents returns all that a store holds, but for what must not matter.
func contents(t *testing.T, s *Store) string {
	t.Helper()
	out := fmt.Sprintf("%+v", s.head)
	for i := s.head.First; i <= s.head.Last && i > 0; i++ {
		var l raft.Log
		must(t, s.GetLog(i, &l))
		out += fmt.Sprintf("\n%+v", l)
	}
	return out
}

// aFullStore returns the file of one with a log, a vote and free pages in it, and
// what it holds.
func aFullStore(t *testing.T) (file []byte, holds string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	must(t, s.Claim("n1"))
	for i := uint64(1); i <= 300; i += 10 {
		must(t, s.StoreLogs(entries(i, i+9, i)))
		must(t, s.SetUint64(currentTerm, i))
	}
	must(t, s.SetUint64(lastVoteTerm, 291))
	must(t, s.Set(lastVoteCand, []byte("n2")))
	must(t, s.DeleteRange(1, 50))
	must(t, s.DeleteRange(281, 300))
	holds = contents(t, s)
	must(t, s.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	return file, holds
}

// TestDamageIsRefusedOrDoesNoHarm: whatever a disk has made of a file, it is either
// refused or holds what it did. Never is it a store of something else.
func TestDamageIsRefusedOrDoesNoHarm(t *testing.T) {
	whole, want := aFullStore(t)
	path := filepath.Join(t.TempDir(), "raft.db")
	random := rand.New(rand.NewPCG(3, 4))
	refused, harmless := 0, 0
	try := func(what string, b []byte) {
		t.Helper()
		must(t, os.WriteFile(path, b, 0o600))
		s, err := OpenStore(path)
		if err != nil {
			refused++
			return
		}
		defer s.Close()
		harmless++
		if got := contents(t, s); got != want {
			t.Errorf("%s: it holds\n%.300s\ninstead of\n%.300s", what, got, want)
		}
	}
	try("nothing", whole)
	if refused > 0 {
		t.Fatal("the whole file was refused")
	}
	used := len(bytes.TrimRight(whole, "\x00"))
	for range 200 {
		b := bytes.Clone(whole)
		bit := random.IntN(8 * used)
		b[bit/8] ^= 1 << (bit % 8)
		try(fmt.Sprint("bit ", bit, " is flipped"), b)
	}
	// The heads of pages are what bbolt trusts most.
	for page := 0; page < used; page += pageSize {
		for bit := range 8 * 16 {
			if random.IntN(8) == 0 {
				b := bytes.Clone(whole)
				b[page+bit/8] ^= 1 << (bit % 8)
				try(fmt.Sprintf("bit %d of page %d is flipped", bit, page/pageSize), b)
			}
		}
	}
	flips := refused
	for range 40 {
		length := random.IntN(used)
		try(fmt.Sprint("cut to ", length), whole[:length])
	}
	t.Logf("%d refused, %d of them cut short; %d did no harm", refused, refused-flips, harmless)
	if flips < 20 || refused-flips < 20 {
		t.Errorf("only %d flips and %d cuts were refused: does it look?", flips, refused-flips)
	}
}

func TestDamagedEntryIsNotRead(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.StoreLogs(entries(1, 3, 1)))
	must(t, s.db.Update(func(tx *bbolt.Tx) error { // an entry in another's place
		log := tx.Bucket(logBucket)
		return log.Put(logKey(1), bytes.Clone(log.Get(logKey(2))))
	}))
	if err := s.GetLog(1, &raft.Log{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged entry: got %v", err)
	}
}

func TestDiskOfAnotherMemberIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	must(t, s.Claim("n1"))
	must(t, s.Close())
	s = openStore(t, path)
	must(t, s.Claim("n1"))
	if err := s.Claim("n1#2"); err == nil || !strings.Contains(err.Error(), `"n1"`) {
		t.Errorf("got %v", err)
	}
}

// TestNothingIsWrittenAfterAFailure: bbolt's view of the file is not that of the
// disk then.
func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.StoreLogs(entries(1, 3, 1)))
	must(t, s.Set(lastVoteCand, []byte("old")))
	before := contents(t, s)
	s.mu.Lock()
	err := s.update(head{}, func(*bbolt.Bucket) error { return errors.New("input/output error") })
	s.mu.Unlock()
	if err == nil || s.Err() == nil {
		t.Fatalf("got %v, and it says %v", err, s.Err())
	}
	select {
	case <-s.Failed():
	default:
		t.Error("it does not say that it failed")
	}
	for what, err := range map[string]error{
		"log": s.StoreLogs(entries(4, 4, 1)), "deletion": s.DeleteRange(1, 1), "value": s.Set(lastVoteCand, []byte("new")),
	} {
		if err == nil || !strings.Contains(err.Error(), "input/output") {
			t.Errorf("a %s after the failure: %v", what, err)
		}
	}
	if got := contents(t, s); got != before {
		t.Errorf("it has become %s", got)
	}
}

// TestTermsDoNotGoBack: Raft's own mistakes are no reason to vote twice.
func TestTermsDoNotGoBack(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	must(t, s.SetUint64(currentTerm, 5))
	if err := s.SetUint64(currentTerm, 4); err == nil {
		t.Error("the term went back")
	}
	must(t, s.SetUint64(lastVoteTerm, 5))
	must(t, s.Set(lastVoteCand, []byte("new")))
	must(t, s.SetUint64(lastVoteTerm, 4))
	if err := s.Set(lastVoteCand, []byte("old")); err == nil {
		t.Error("it voted in a term before that of its last vote")
	}
	must(t, s.SetUint64(currentTerm, 5)) // and is well
}

func TestSecondNodeOnTheSameFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	openStore(t, path)
	if _, err := OpenStore(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
}

// TestVoteIsWrittenWholeOrNotAtAll: the node dies between Raft's two writes.
func TestVoteIsWrittenWholeOrNotAtAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	vote := func(s *Store) string {
		t.Helper()
		term, err := s.GetUint64(lastVoteTerm)
		must(t, err)
		candidate, err := s.Get(lastVoteCand)
		must(t, err)
		return fmt.Sprintf("%s in %d", candidate, term)
	}
	s := openStore(t, path)
	must(t, s.SetUint64(lastVoteTerm, 4))
	must(t, s.Set(lastVoteCand, []byte("old")))
	must(t, s.SetUint64(lastVoteTerm, 5))
	if got := vote(s); got != "old in 4" {
		t.Errorf("between the writes it is %s", got)
	}
	must(t, s.Close())
	s = openStore(t, path)
	if got := vote(s); got != "old in 4" {
		t.Errorf("after a crash between the writes it is %s", got)
	}
	must(t, s.SetUint64(lastVoteTerm, 5))
	must(t, s.Set(lastVoteCand, []byte("new")))
	if got := vote(s); got != "new in 5" {
		t.Errorf("after both writes it is %s", got)
	}
}

// A faultyStable fails to write the candidates that it is told to.
type faultyStable struct {
	raft.StableStore
	fail string
}

func (f *faultyStable) Set(key, value []byte) error {
	if string(key) == string(lastVoteCand) && string(value) == f.fail {
		return errors.New("input/output error")
	}
	return f.StableStore.Set(key, value)
}

// TestNoVoteForAnOldLogAfterAFault lets Raft itself fall into the trap, on the
// store that Raft ships, and shows that it does not on ours. A node votes for "old"
// in term 4; in term 5 it is asked by "new", but cannot write down that candidate;
// then by "old", whose log lacks what this node has committed.
func TestNoVoteForAnOldLogAfterAFault(t *testing.T) {
	inmem := raft.NewInmemStore()
	if !votesForOldLog(t, inmem, inmem) {
		t.Error("Raft's own store does not show the fault: this test shows nothing")
	}
	s := openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	if votesForOldLog(t, s, s) {
		t.Error("a candidate with an old log got the vote")
	}
	s = openStore(t, filepath.Join(t.TempDir(), "raft.db"))
	torn, err := openTornVotes(filepath.Join(t.TempDir(), "vote"), s)
	must(t, err)
	if !votesForOldLog(t, s, torn) {
		t.Error("the bug does not show")
	}
}

func votesForOldLog(t *testing.T, logs raft.LogStore, stable raft.StableStore) bool {
	t.Helper()
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = "voter", hclog.NewNullLogger()
	c.HeartbeatTimeout, c.ElectionTimeout = time.Hour, time.Hour // it never stands itself
	_, transport := raft.NewInmemTransport("voter")
	snapshots := raft.NewInmemSnapshotStore()
	var all raft.Configuration
	for _, id := range []string{"voter", "old", "new"} {
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id)})
	}
	must(t, raft.BootstrapCluster(c, logs, stable, snapshots, transport, all))
	must(t, logs.StoreLogs(entries(2, 3, 3)))
	faulty := &faultyStable{stable, ""}
	r, err := raft.NewRaft(c, newMachine(1, mvcc.Options{}), logs, faulty, snapshots, transport)
	must(t, err)
	defer func() { must(t, r.Shutdown().Error()) }()
	_, sender := raft.NewInmemTransport("sender")
	sender.Connect("voter", transport)

	ask := func(candidate string, term, lastIndex, lastTerm uint64) bool {
		t.Helper()
		var answer raft.RequestVoteResponse
		must(t, sender.RequestVote("voter", "voter", &raft.RequestVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(candidate), Addr: []byte(candidate)},
			Term:      term, LastLogIndex: lastIndex, LastLogTerm: lastTerm,
		}, &answer))
		return answer.Granted
	}
	if !ask("old", 4, 3, 3) {
		t.Fatal("a candidate with a whole log got no vote")
	}
	faulty.fail = "new"
	if ask("new", 5, 3, 3) {
		t.Fatal("it voted without writing it down")
	}
	return ask("old", 5, 1, 1)
}

func BenchmarkStoreLogs(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			s := openStore(b, filepath.Join(b.TempDir(), "raft.db"))
			next := uint64(1)
			for b.Loop() {
				must(b, s.StoreLogs(entries(next, next+uint64(batch)-1, 1)))
				next += uint64(batch)
			}
		})
	}
}
