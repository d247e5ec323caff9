package server

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// A feeder applies commands at rising indices.
type feeder struct {
	t *testing.T
	*machine
	last uint64
}

func feed(t *testing.T, maxSessions int) *feeder { return &feeder{t, newMachine(maxSessions), 0} }

func (f *feeder) apply(c *stored.Command) any {
	f.t.Helper()
	data, err := proto.Marshal(c)
	must(f.t, err)
	f.last++
	return f.Apply(&raft.Log{Index: f.last, Term: 3, Data: data})
}

func (f *feeder) open() uint64 {
	f.t.Helper()
	return f.apply(&stored.Command{Command: &stored.Command_OpenSession{OpenSession: &stored.OpenSession{}}}).(position).index
}

func (f *feeder) change(c *stored.Change) any {
	f.t.Helper()
	return f.apply(&stored.Command{Command: &stored.Command_Change{Change: c}})
}

// done says of a change's outcome whether it was made, or why it was refused.
func done(said any) string {
	switch said := said.(type) {
	case *api.Error:
		return said.Reason.Text()
	case *stored.Outcome:
		if said.Done {
			return "done"
		}
		return fmt.Sprintf("found %q at %d", said.Value, said.Revision)
	}
	return fmt.Sprintf("%T", said)
}

func TestChangesDoWhatTheySay(t *testing.T) {
	f := feed(t, 10)
	rev := func(n uint64) *uint64 { return &n }
	for i, step := range []struct {
		c    *stored.Change
		want string // of the outcome
		then string // what the key holds, and its revision
	}{
		{&stored.Change{Value: []byte("a")}, "done", `"a" 1`},
		{&stored.Change{Value: []byte("b"), ExpectValue: []byte("x")}, `found "a" at 1`, `"a" 1`},
		{&stored.Change{Value: []byte("b"), ExpectValue: []byte("a")}, "done", `"b" 3`},
		{&stored.Change{Value: []byte("c"), ExpectRevision: rev(1)}, `found "b" at 3`, `"b" 3`},
		{&stored.Change{Value: []byte("c"), ExpectRevision: rev(3)}, "done", `"c" 5`},
		{&stored.Change{Value: []byte("d"), ExpectRevision: rev(5), ExpectValue: []byte("b")}, `found "c" at 5`, `"c" 5`},
		{&stored.Change{Value: []byte("d"), ExpectRevision: rev(0)}, `found "c" at 5`, `"c" 5`},
		{&stored.Change{Delete: true, ExpectValue: []byte("x")}, `found "c" at 5`, `"c" 5`},
		{&stored.Change{Delete: true, ExpectValue: []byte("c")}, "done", `none`},
		{&stored.Change{Delete: true}, "done", `none`},
		{&stored.Change{Value: []byte("e"), ExpectValue: []byte{}}, `found "" at 0`, `none`}, // not there is not empty
		{&stored.Change{Value: []byte{}, ExpectRevision: rev(0)}, "done", `"" 12`},
		{&stored.Change{Value: []byte("f"), ExpectValue: []byte{}}, "done", `"f" 13`},
	} {
		step.c.Key = "k"
		if got := done(f.change(step.c)); got != step.want {
			t.Errorf("step %d: %s, want %s", i+1, got, step.want)
		}
		holds := "none"
		if e, found := f.get("k"); found {
			holds = fmt.Sprintf("%q %d", e.value, e.revision)
		}
		if holds != step.then {
			t.Errorf("step %d: then it holds %s, want %s", i+1, holds, step.then)
		}
	}
}

func TestRepeatedWriteHappensOnceAndIsAnsweredAsAtFirst(t *testing.T) {
	f := feed(t, 10)
	id := f.open()
	write := func(number uint64, value, expect string) any {
		c := &stored.Change{Session: id, Number: number, Key: "k", Value: []byte(value)}
		if expect != "" {
			c.ExpectValue = []byte(expect)
		}
		return f.change(c)
	}
	first := write(1, "a", "")
	other := f.change(&stored.Change{Key: "k", Value: []byte("b")})
	if again := write(1, "a", ""); !reflect.DeepEqual(again, first) {
		t.Errorf("again: %v, at first: %v", again, first)
	}
	if e, _ := f.get("k"); string(e.value) != "b" {
		t.Errorf("it happened twice: %q, after %v", e.value, done(other))
	}
	refused := write(2, "c", "a")
	f.change(&stored.Change{Key: "k", Value: []byte("a")}) // now it would be as expected
	if again := write(2, "c", "a"); done(again) != done(refused) || done(again) != `found "b" at 3` {
		t.Errorf("again: %s, at first: %s", done(again), done(refused))
	}
	if got := done(write(1, "z", "")); got != "superseded" {
		t.Errorf("a write that was overtaken: %s", got)
	}
	if e, _ := f.get("k"); string(e.value) != "a" {
		t.Errorf("in the end it holds %q", e.value)
	}
}

func TestSessionUnusedForLongestIsForgotten(t *testing.T) {
	f := feed(t, 2)
	write := func(id, number uint64) string {
		return done(f.change(&stored.Change{Session: id, Number: number, Key: "k", Value: []byte("v")}))
	}
	a, b := f.open(), f.open()
	write(a, 1) // so b is the one
	c := f.open()
	before, _ := f.get("k")
	if got := write(b, 1); got != "session expired" {
		t.Errorf("the forgotten session's write: %s", got)
	}
	if after, _ := f.get("k"); after.revision != before.revision {
		t.Error("it happened")
	}
	for _, id := range []uint64{a, c} {
		if got := write(id, 2); got != "done" {
			t.Errorf("session %d: %s", id, got)
		}
	}
	if got := write(99, 1); got != "session expired" {
		t.Errorf("a session that never was: %s", got)
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
	f.change(&stored.Change{Session: b, Number: 1, Key: "x", Value: []byte("1")})
	first := f.change(&stored.Change{Session: a, Number: 1, Key: "y", Value: []byte("2")})
	taken, err := f.Snapshot()
	must(t, err)
	// What comes before it is written is not in it.
	f.change(&stored.Change{Key: "x", Value: []byte("later")})
	f.change(&stored.Change{Session: a, Number: 2, Key: "z", Value: []byte("later")})
	f.open()
	f.open() // b is forgotten
	var sink memorySink
	must(t, taken.Persist(&sink))

	g := feed(t, 3)
	g.change(&stored.Change{Key: "gone", Value: []byte("gone")})
	must(t, g.Restore(io.NopCloser(&sink)))
	g.last = 4
	if want := map[string]entry{"x": {[]byte("1"), 3}, "y": {[]byte("2"), 4}}; !reflect.DeepEqual(g.keys, want) {
		t.Errorf("keys: %v, want %v", g.keys, want)
	}
	if index, term := g.applied(); index != 4 || term != 3 {
		t.Errorf("applied %d in term %d", index, term)
	}
	if again := g.change(&stored.Change{Session: a, Number: 1, Key: "y", Value: []byte("2")}); !proto.Equal(again.(*stored.Outcome), first.(*stored.Outcome)) {
		t.Errorf("again: %v, at first: %v", again, first)
	}
	g.open()
	g.open() // the order of use is remembered: b has to go, not a
	if got := done(g.change(&stored.Change{Session: b, Number: 2, Key: "x"})); got != "session expired" {
		t.Errorf("session %d: %s", b, got)
	}
	if got := done(g.change(&stored.Change{Session: a, Number: 2, Key: "x"})); got != "done" {
		t.Errorf("session %d: %s", a, got)
	}
}

func TestBadSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	f := feed(t, 3)
	id := f.open()
	f.change(&stored.Change{Session: id, Number: 1, Key: "x", Value: []byte("1")})
	taken, err := f.Snapshot()
	must(t, err)
	var sink memorySink
	must(t, taken.Persist(&sink))
	whole := sink.Bytes()

	restore := func(b []byte) error { return f.Restore(io.NopCloser(bytes.NewReader(b))) }
	for n := range whole {
		if restore(whole[:n]) == nil {
			t.Errorf("the first %d of %d bytes were taken for a snapshot", n, len(whole))
		}
	}
	later := bytes.Replace(whole, []byte{8, snapshotVersion}, []byte{8, snapshotVersion + 1}, 1)
	if err := restore(later); err == nil || !strings.Contains(err.Error(), "version is 2") {
		t.Errorf("a later version: got %v", err)
	}
	if err := restore(whole[len(whole)-4:]); err == nil {
		t.Error("a snapshot without a head was taken")
	}
	if e, _ := f.get("x"); string(e.value) != "1" {
		t.Errorf("the state has become %q", e.value)
	}
	must(t, restore(whole))
}

func TestOlderSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	f := feed(t, 3)
	put := func(value string) { f.change(&stored.Change{Key: "x", Value: []byte(value)}) }
	take := func() []byte {
		taken, err := f.Snapshot()
		must(t, err)
		var sink memorySink
		must(t, taken.Persist(&sink))
		return sink.Bytes()
	}
	restore := func(b []byte) error { return f.Restore(io.NopCloser(bytes.NewReader(b))) }
	put("old")
	old := take()
	must(t, restore(old)) // the same is not older
	put("new")
	if err := restore(old); err == nil || !strings.Contains(err.Error(), "entry 1, which is older than the state, of entry 2") {
		t.Errorf("got %v", err)
	}
	if e, _ := f.get("x"); string(e.value) != "new" {
		t.Errorf("the state has become %q", e.value)
	}
	must(t, restore(take()))
}
