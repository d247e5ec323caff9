package mvcc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

func TestCheck(t *testing.T) {
	prefix := func(p string) *api.Span { return &api.Span{Key: p, Prefix: true} }
	for _, test := range []struct {
		name string
		txn  *stored.Txn
		want string // part of the error; empty: none
	}{
		{"nothing", &stored.Txn{}, ""},
		{"put", puts("a", "1"), ""},
		{"put and read", txn(put("a", "1", 0), get(one("a"))), ""},
		{"put without a key", puts("", "1"), "no key"},
		{"op of a later version", txn(&api.Op{}), "none that is known"},
		{"two puts", txn(put("a", "1", 0), put("b", "1", 0), put("a", "2", 0)), `"a" is put twice`},
		{"put, delete", txn(put("a", "1", 0), del(one("a"))), `"a" is put and deleted`},
		{"delete, put", txn(del(one("a")), put("a", "1", 0)), `"a" is put and deleted`},
		{"delete what is put by prefix", txn(put("z", "1", 0), put("ab", "1", 0), del(prefix("a"))), `"ab" is put and deleted`},
		{"delete what is put by interval", txn(put("b", "1", 0), del(&api.Span{Key: "a", End: "c"})), `"b" is put and deleted`},
		{"delete up to what is put", txn(put("c", "1", 0), del(&api.Span{Key: "a", End: "c"})), ""},
		{"delete everything and put", txn(put("c", "1", 0), del(all)), `"c" is put and deleted`},
		{"deletes that overlap", txn(del(prefix("a")), del(one("ab"))), ""},
		{"the other branch", &stored.Txn{Failure: []*api.Op{put("a", "1", 0), put("a", "1", 0)}}, "failure"},
		{"one in each branch", &stored.Txn{Success: []*api.Op{put("a", "1", 0)}, Failure: []*api.Op{put("a", "1", 0)}}, ""},
		{"read nothing", txn(get(&api.Span{})), "no key"},
		{"read everything", txn(get(all)), ""},
		{"read from the start", txn(get(&api.Span{End: "c"})), ""},
		{"prefix and end", txn(get(&api.Span{Key: "a", End: "c", Prefix: true})), "both"},
		{"compare no key", &stored.Txn{Compare: []*api.Compare{{Target: &api.Compare_Mod{}}}}, "no key"},
		{"compare with nothing", &stored.Txn{Compare: []*api.Compare{{Key: "a"}}}, "with nothing"},
		{"compare by a later version", &stored.Txn{Compare: []*api.Compare{{Key: "a", Relation: 4, Target: &api.Compare_Mod{}}}}, "relation 4"},
	} {
		err := Check(test.txn)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if out := New(Options{}).Txn(test.txn); (out.Refused == api.Reason_REASON_INVALID) != (err != nil) {
			t.Errorf("%s: %v, want that it is refused: %v", test.name, out, err)
		}
	}
}

// What is not there is known by zeros, and its value by none, not by the empty one.
func TestCompareWhatIsNotThere(t *testing.T) {
	const (
		eq = api.Relation_RELATION_EQUAL
		ne = api.Relation_RELATION_NOT_EQUAL
		gt = api.Relation_RELATION_GREATER
		lt = api.Relation_RELATION_LESS
	)
	s := New(Options{})
	s.Txn(puts("there", ""))
	for _, test := range []struct {
		c    *api.Compare
		want bool
	}{
		{&api.Compare{Key: "there", Relation: eq, Target: &api.Compare_Value{}}, true},
		{&api.Compare{Key: "there", Relation: lt, Target: &api.Compare_Value{Value: []byte("a")}}, true},
		{&api.Compare{Key: "a", Relation: eq, Target: &api.Compare_Value{}}, false},
		{&api.Compare{Key: "a", Relation: ne, Target: &api.Compare_Value{}}, true},
		{&api.Compare{Key: "a", Relation: lt, Target: &api.Compare_Value{Value: []byte("a")}}, false},
		{&api.Compare{Key: "a", Relation: gt, Target: &api.Compare_Value{}}, false},
		{&api.Compare{Key: "a", Relation: eq, Target: &api.Compare_Create{}}, true},
		{&api.Compare{Key: "a", Relation: lt, Target: &api.Compare_Mod{Mod: 1}}, true},
		{&api.Compare{Key: "a", Relation: gt, Target: &api.Compare_Version{}}, false},
		{&api.Compare{Key: "a", Relation: ne, Target: &api.Compare_Lease{}}, false},
	} {
		if out := s.Txn(&stored.Txn{Compare: []*api.Compare{test.c}}); out.Succeeded != test.want || out.Refused != 0 {
			t.Errorf("%v: %v, want %v", test.c, out, test.want)
		}
	}
}

func TestPutWithALeaseThatIsNotThereChangesNothing(t *testing.T) {
	s := New(Options{})
	s.Grant(1, 1000)
	s.Txn(txn(put("a", "1", 1)))
	out := s.Txn(txn(put("b", "1", 0), del(one("a")), put("c", "1", 2)))
	if out.Refused != api.Reason_REASON_LEASE_EXPIRED || out.Revision != 1 || len(out.Results) > 0 || shown(s) != "a=1@1v1" {
		t.Errorf("%v: %s", out, shown(s))
	}
	out = s.Txn(&stored.Txn{Success: []*api.Op{put("b", "1", 0)}, Failure: []*api.Op{put("c", "1", 2)}})
	if out.Refused != 0 || out.Revision != 2 { // what is not done is not refused
		t.Error(out)
	}
}

func TestPutWithoutALeaseOutlivesIt(t *testing.T) {
	s := New(Options{})
	s.Grant(1, 1000)
	s.Grant(2, 2000)
	s.Txn(txn(put("a", "1", 1), put("b", "1", 1), put("c", "1", 1)))
	s.Txn(txn(put("a", "2", 0), put("b", "2", 2)))
	s.Advance(&stored.Clock{Term: 1, Ns: 5e9})
	s.Advance(&stored.Clock{Term: 1, Ns: 6e9 - 1})
	if s.Revision() != 2 {
		t.Fatalf("it ended too early: %s", shown(s))
	}
	s.Advance(&stored.Clock{Term: 1, Ns: 6e9})
	if s.Revision() != 3 || shown(s) != "a=2@2v2 b=2@2v2" {
		t.Errorf("revision %d: %s", s.Revision(), shown(s))
	}
}

func TestGrantRefuses(t *testing.T) {
	s := New(Options{})
	s.Grant(1, 1000)
	for _, test := range []struct{ id, ttl uint64 }{{0, 1000}, {1, 1000}, {2, 0}, {2, maxTTL + 1}, {2, 1 << 63}} {
		if out := s.Grant(test.id, test.ttl); out.Refused != api.Reason_REASON_INVALID || s.LeaseCount() != 1 {
			t.Errorf("%v: %v", test, out)
		}
	}
	if out := s.Grant(2, maxTTL); out.Refused != 0 || out.TtlMs != maxTTL {
		t.Error(out)
	}
}

// Leaders come and go; however they do, a lease lasts at least for its time after the
// reading that it was granted with, and time without readings is not counted.
func TestTime(t *testing.T) {
	for _, test := range []struct {
		name     string
		readings []*stored.Clock // after one of term 2 at 10 s, at which a lease of 1 s was granted
		left     uint64          // in ms; 0: it has ended
	}{
		{"half", []*stored.Clock{{Term: 2, Ns: 10_500e6}}, 500},
		{"all of it", []*stored.Clock{{Term: 2, Ns: 11e9}}, 0},
		{"another leader begins anew", []*stored.Clock{{Term: 3, Ns: 500e9}}, 1000},
		{"and goes on", []*stored.Clock{{Term: 2, Ns: 10_300e6}, {Term: 3, Ns: 500e9}, {Term: 3, Ns: 500_400e6}}, 300},
		{"until it ends", []*stored.Clock{{Term: 2, Ns: 10_300e6}, {Term: 3, Ns: 500e9}, {Term: 3, Ns: 500_700e6}}, 0},
		{"a late reading counts nothing", []*stored.Clock{{Term: 2, Ns: 10_500e6}, {Term: 2, Ns: 10_200e6}, {Term: 2, Ns: 10_700e6}}, 300},
		{"one of an earlier term neither", []*stored.Clock{{Term: 3, Ns: 0}, {Term: 2, Ns: 99e9}, {Term: 3, Ns: 900e6}, {Term: 3, Ns: 950e6}}, 950},
		{"none", []*stored.Clock{nil, nil}, 1000},
	} {
		s := New(Options{})
		s.Advance(&stored.Clock{Term: 2, Ns: 10e9})
		s.Grant(7, 1000)
		for _, c := range test.readings {
			s.Advance(c)
		}
		if l, found := s.Describe(7); found != (test.left > 0) || l.GetLeftMs() != test.left {
			t.Errorf("%s: %v, want %d left", test.name, l, test.left)
		}
	}
}

func TestOldRevisionsAreCompacted(t *testing.T) {
	s := New(Options{Keep: 8})
	for i := range uint64(100) {
		s.Txn(puts("a", fmt.Sprint(i)))
		if kept := s.Revision() - s.Compacted(); kept > 10 || s.Revision() > 10 && kept < 8 {
			t.Fatalf("at %d the first is %d", s.Revision(), s.Compacted())
		}
	}
}

// A snapshot is written while the state goes on; -race sees whether they share what is
// written to.
func TestFrozenIsWrittenWhileTheStateGoesOn(t *testing.T) {
	s := New(Options{Keep: 500})
	var writers sync.WaitGroup
	for i := range 3000 {
		s.Txn(txn(put(fmt.Sprint("key/", i%97), fmt.Sprint(i), 0), del(one(fmt.Sprint("key/", (i+31)%97)))))
		if i%100 == 0 {
			f, want := s.Freeze(), shown(s)
			writers.Go(func() {
				if got := shown(read(t, Options{}, write(t, f))); got != want {
					t.Errorf("after %d: %s, want %s", i, got, want)
				}
			})
		}
		if i%600 == 599 {
			s.Compact(s.Revision() - uint64(i%7))
		}
	}
	writers.Wait()
}

func TestLoadRefuses(t *testing.T) {
	version := func(key string, mod uint64) *stored.Record {
		return &stored.Record{Record: &stored.Record_Version{Version: &stored.Version{Kv: &api.KeyValue{Key: key, Create: mod, Mod: mod, Version: 1}}}}
	}
	lease := func(id, deadline uint64) *stored.Record {
		return &stored.Record{Record: &stored.Record_Lease{Lease: &stored.Lease{Id: id, TtlMs: 1, DeadlineNs: deadline}}}
	}
	head := &stored.Head{Revision: 5, Compacted: 2, TimeNs: 100}
	for _, test := range []struct {
		name    string
		head    *stored.Head
		records []*stored.Record
		tail    *stored.Tail
		want    string // part of the error; empty: none
	}{
		{"what is right", head, []*stored.Record{version("b", 1), version("a", 2), version("a", 3), version("b", 4), version("c", 5), lease(1, 101)}, &stored.Tail{Versions: 5, Leases: 1}, ""},
		{"a version is missing", head, []*stored.Record{version("a", 2), lease(1, 101)}, &stored.Tail{Versions: 2, Leases: 1}, "1 versions of keys and 1 leases"},
		{"a lease is missing", head, nil, &stored.Tail{Leases: 1}, "0 leases where 0 and 1"},
		{"a version of the future", head, []*stored.Record{version("a", 6)}, nil, "revision 6, of 5"},
		{"a version of revision 0", head, []*stored.Record{version("a", 0)}, nil, "revision 0"},
		{"versions out of order", head, []*stored.Record{version("a", 4), version("b", 3)}, nil, "revision 3 comes after 4"},
		{"no key", head, []*stored.Record{version("", 4)}, nil, `key ""`},
		{"a lease twice", head, []*stored.Record{lease(1, 101), lease(1, 102)}, nil, "lease 1"},
		{"a lease that has ended", head, []*stored.Record{lease(1, 100)}, nil, "lease 1"},
		{"a session", head, []*stored.Record{{Record: &stored.Record_Session{}}}, nil, "neither"},
		{"a head that cannot be", &stored.Head{Revision: 1, Compacted: 2}, nil, &stored.Tail{}, "its revision is 1"},
	} {
		s := New(Options{})
		s.Begin(test.head)
		var err error
		for _, r := range test.records {
			err = errors.Join(err, s.Load(r))
		}
		if test.tail != nil {
			err = errors.Join(err, s.End(test.tail))
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestWriteReturnsTheErrorOfPut(t *testing.T) {
	s := New(Options{})
	s.Txn(puts("a", "1"))
	s.Txn(puts("b", "1"))
	s.Grant(1, 1000)
	full := errors.New("disk full")
	for n := range 3 {
		left := n
		_, _, err := s.Freeze().Write(func(*stored.Record) error {
			if left--; left < 0 {
				return full
			}
			return nil
		})
		if !errors.Is(err, full) {
			t.Errorf("record %d: %v", n, err)
		}
	}
}

// shown returns what is there: key=value@revision of its last change v version.
func shown(s *State) string {
	answer, err := s.Range(all, 0, 0)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, kv := range answer.Kvs {
		all = append(all, fmt.Sprintf("%s=%s@%dv%d", kv.Key, kv.Value, kv.Mod, kv.Version))
	}
	return strings.Join(all, " ")
}

// Each bug shows something that is not so without it.
func TestBugs(t *testing.T) {
	twin := "b" // a key with the hash of "a"
	for i := 0; hash(twin) != hash("a"); i++ {
		twin = fmt.Sprint("b", i)
	}
	again := func(t *testing.T, s *State) *State {
		return read(t, Options{Bug: s.bug}, write(t, s.Freeze()))
	}
	type scenario struct {
		bug   string
		do    func(t *testing.T, s *State) string
		right string
		wrong string
	}
	scenarios := []scenario{
		{bug: bug.FirstCompare, right: "true false", wrong: "true true", do: func(t *testing.T, s *State) string {
			holds := &api.Compare{Key: "a", Target: &api.Compare_Mod{Mod: 0}}
			not := &api.Compare{Key: "a", Target: &api.Compare_Mod{Mod: 1}}
			return fmt.Sprint(s.Txn(&stored.Txn{Compare: []*api.Compare{holds}}).Succeeded, " ",
				s.Txn(&stored.Txn{Compare: []*api.Compare{holds, not}}).Succeeded)
		}},
		{bug: bug.KeyCollision, right: "0 a=1@1v1 b=2@2v1", wrong: "1 a=2@2v2", do: func(t *testing.T, s *State) string {
			s.Txn(puts("a", "1"))
			s = again(t, s)
			read := s.Txn(txn(get(one(twin)))).Results[0].Kvs
			s.Txn(puts(twin, "2"))
			return fmt.Sprint(len(read), " ", strings.ReplaceAll(shown(s), twin, "b"))
		}},
		{bug: bug.CompactLive, right: "a=1@1v1 b=2@3v2", wrong: "b=2@3v2", do: func(t *testing.T, s *State) string {
			s.Txn(puts("a", "1"))
			s.Txn(puts("b", "1"))
			s.Txn(puts("b", "2"))
			s.Compact(2)
			if here, there := shown(s), shown(again(t, s)); here != there {
				return here + " and, after a snapshot, " + there
			}
			return shown(s)
		}},
		{bug: bug.VersionKept, right: "a=3@4v1", wrong: "a=3@4v3", do: func(t *testing.T, s *State) string {
			s.Txn(puts("a", "1"))
			s.Txn(puts("a", "2"))
			s.Txn(deletes("a"))
			s = again(t, s)
			s.Txn(puts("a", "3"))
			return shown(s)
		}},
		{bug: bug.SnapshotDropsKeys, right: "20 at 20", wrong: "16 at 20", do: func(t *testing.T, s *State) string {
			for i := range 20 {
				s.Txn(puts(fmt.Sprint(i), ""))
			}
			s = again(t, s)
			answer, _ := s.Range(all, 0, 0)
			return fmt.Sprint(answer.Count, " at ", s.Revision())
		}},
		{bug: bug.SnapshotResurrects, right: "b=1@2v1", wrong: "a=1@1v1 b=1@2v1", do: func(t *testing.T, s *State) string {
			s.Txn(puts("a", "1"))
			s.Txn(puts("b", "1"))
			s.Txn(deletes("a"))
			return shown(again(t, s))
		}},
		{bug: bug.SnapshotDropsLeases, right: "", wrong: "a=1@1v1", do: func(t *testing.T, s *State) string {
			s.Grant(1, 1000)
			s.Txn(txn(put("a", "1", 1)))
			s = again(t, s)
			s.Advance(&stored.Clock{Term: 1})
			s.Advance(&stored.Clock{Term: 1, Ns: 2e9})
			return shown(s)
		}},
		{bug: bug.RevisionGoesBack, right: "3 a=1@1v1 4", wrong: "1 a=1@1v1 2", do: func(t *testing.T, s *State) string {
			s.Txn(puts("a", "1"))
			s.Txn(puts("b", "1"))
			s.Txn(deletes("b"))
			s = again(t, s)
			revision, there := s.Revision(), shown(s)
			return fmt.Sprint(revision, " ", there, " ", s.Txn(puts("c", "1")).Revision)
		}},
		{bug: bug.LeaseRevives, right: "REASON_LEASE_EXPIRED at 2: ", wrong: "REASON_UNSPECIFIED at 3: a=1@3v1", do: func(t *testing.T, s *State) string {
			s.Grant(1, 1000)
			s.Txn(txn(put("a", "1", 1)))
			s.Advance(&stored.Clock{Term: 1})
			s.Advance(&stored.Clock{Term: 1, Ns: 2e9})
			out := s.KeepAlive(1)
			return fmt.Sprint(out.Refused, " at ", out.Revision, ": ", shown(s))
		}},
		{bug: bug.LeaseKeepsKeys, right: "", wrong: "b=2@2v2", do: func(t *testing.T, s *State) string {
			s.Grant(1, 1000)
			s.Txn(txn(put("a", "1", 1), put("b", "1", 1)))
			s.Txn(txn(put("b", "2", 1)))
			s.Revoke(1)
			return shown(s)
		}},
		{bug: bug.WatchReorders, right: "b1 a2 b3", wrong: "a2 b1 b3", do: func(t *testing.T, s *State) string {
			s.Txn(puts("b", "1"))
			s.Txn(puts("a", "1"))
			s.Txn(puts("b", "2"))
			events, _, _ := s.Events(all, 1, 0)
			var all []string
			for _, e := range events {
				all = append(all, fmt.Sprint(e.Kv.Key, e.Kv.Mod))
			}
			return strings.Join(all, " ")
		}},
		{bug: bug.WatchSkipsCompacted, right: "0 up to 0, compacted 2", wrong: "1 up to 3, compacted 0", do: func(t *testing.T, s *State) string {
			for range 3 {
				s.Txn(puts("a", ""))
			}
			s.Compact(2)
			events, to, compacted := s.Events(all, 1, 0)
			return fmt.Sprint(len(events), " up to ", to, ", compacted ", compacted)
		}},
	}
	for _, test := range scenarios {
		t.Run(test.bug, func(t *testing.T) {
			if got := test.do(t, New(Options{})); got != test.right {
				t.Errorf("without it %q, want %q", got, test.right)
			}
			if got := test.do(t, New(Options{Bug: test.bug})); got != test.wrong {
				t.Errorf("with it %q, want %q", got, test.wrong)
			}
		})
	}
	for _, b := range bug.All { // those that are made elsewhere are not made here
		for _, test := range scenarios {
			if slices.ContainsFunc(scenarios, func(other scenario) bool { return other.bug == b.Name }) {
				continue
			}
			if got := test.do(t, New(Options{Bug: b.Name})); got != test.right {
				t.Errorf("%s: with %s %q, want %q", test.bug, b.Name, got, test.right)
			}
		}
	}
}
