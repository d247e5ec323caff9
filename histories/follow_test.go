package histories_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A growingFile is one that is being written.
type growingFile struct {
	b  []byte
	at int
}

func (f *growingFile) Read(b []byte) (int, error) {
	if f.at == len(f.b) {
		return 0, io.EOF
	}
	n := copy(b, f.b[f.at:])
	f.at += n
	return n, nil
}

// recorded returns a history of n ops as a journal writes it, with one line that is
// longer than what is read at once.
func recorded(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	j := histories.NewJournal(&b, func() time.Duration { return 0 })
	traffic(n, func(op histories.Op) {
		if op.Index == 6 {
			op.Value = []byte(`"` + strings.Repeat("x", 200<<10) + `"`)
		}
		if _, err := j.Append(op); err != nil {
			t.Fatal(err)
		}
	})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFollowerReadsWhatIsThere writes a history in pieces that end anywhere.
func TestFollowerReadsWhatIsThere(t *testing.T) {
	all := recorded(t, 300)
	want, err := histories.Read(bytes.NewReader(all))
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []int{1, 7, 100, 1 << 20} {
		f := &growingFile{}
		follower, grown := histories.Follow(f), histories.NewGrowing()
		for rest := all; len(rest) > 0; {
			n := min(piece, len(rest))
			f.b, rest = append(f.b, rest[:n]...), rest[n:]
			for {
				op, err := follower.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("piece %d: %v", piece, err)
				}
				if err := grown.Add(op); err != nil {
					t.Fatal(err)
				}
			}
			if lines := bytes.Count(f.b, []byte("\n")); grown.Len() != lines {
				t.Fatalf("piece %d: %d ops of %d lines", piece, grown.Len(), lines)
			}
		}
		if err := same(grown.Snapshot(), want); err != nil {
			t.Errorf("piece %d: %v", piece, err)
		}
	}
}

// same says where two histories differ.
func same(got, want *histories.History) error {
	if got.Len() != want.Len() {
		return fmt.Errorf("got %d ops, want %d", got.Len(), want.Len())
	}
	for i := range want.Len() {
		if g, w := got.At(i), want.At(i); !reflect.DeepEqual(g, w) || got.Pair(i) != want.Pair(i) {
			return fmt.Errorf("op %d: got %v with %d, want %v with %d", i, g, got.Pair(i), w, want.Pair(i))
		}
	}
	return nil
}

func TestFollowerRefusesWhatIsNoHistory(t *testing.T) {
	const good = `{"index":0,"time":1,"type":"invoke","process":0,"f":"read"}` + "\n"
	for text, line := range map[string]int{
		good + "{]\n": 2,
		good + "\n":   2,
		good + `{"index":2,"time":2,"type":"ok","process":0,"f":"read"}` + "\n": 2,
		good + `{"index":1,"time":2,"type":"ok","process":0,"f":"cas"}` + "\n":  2,
		`{"index":1,"time":2,"type":"ok","process":0,"f":"read"}` + "\n":        1,
	} {
		f := histories.Follow(strings.NewReader(text))
		_, err := f.Next()
		if line > 1 && err == nil {
			_, err = f.Next()
		}
		if invalid, ok := errors.AsType[*histories.InvalidError](err); !ok || invalid.Line != line {
			t.Errorf("%q: got %v, want line %d", text, err, line)
		}
	}
}

func TestFollowerTellsOfTheReader(t *testing.T) {
	broken := errors.New("broken")
	_, err := histories.Follow(io.MultiReader(strings.NewReader(`{"index":0,`), failing{broken})).Next()
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestSnapshotsStandStill reads each snapshot while the history grows, under the race
// detector if there is one, and compares it with the prefix that it is of.
func TestSnapshotsStandStill(t *testing.T) {
	const n, every = 40_000, 1500 // more than a block
	var ops []histories.Op
	traffic(n, func(op histories.Op) { ops = append(ops, op) })
	grown := histories.NewGrowing()
	var reading sync.WaitGroup
	for i, op := range ops {
		if err := grown.Add(op); err != nil {
			t.Fatal(err)
		}
		if i%every != 0 { // so that the last op is an invocation
			continue
		}
		h := grown.Snapshot()
		reading.Go(func() {
			for at := range h.Len() {
				pair := at ^ 1 // traffic completes one op after the other
				if pair == i+1 {
					pair = -1
				}
				if got := h.Pair(at); got != pair {
					t.Errorf("of %d ops: op %d belongs to %d, want %d", i+1, at, got, pair)
					return
				}
				if got := h.At(at); got.Index != at || got.Time != ops[at].Time || !bytes.Equal(got.Value, ops[at].Value) {
					t.Errorf("of %d ops: got %v, want %v", i+1, got, ops[at])
					return
				}
			}
			if h.Len() != i+1 {
				t.Errorf("%d ops, want %d", h.Len(), i+1)
			}
		})
	}
	reading.Wait()
}

func TestGrowingRefusesWhatMayNotFollow(t *testing.T) {
	invoke := histories.Op{Index: 0, Time: 1, Type: histories.Invoke, F: "read"}
	for _, op := range []histories.Op{
		{Index: 2, Time: 2, Type: histories.OK, F: "read"},
		{Index: 1, Time: 1, Type: histories.OK, F: "read"},
		{Index: 1, Time: 2, Type: histories.OK, F: "write"},
		{Index: 1, Time: 2, Type: histories.Invoke, F: "read"},
		{Index: 1, Time: 2, Type: histories.OK},
	} {
		g := histories.NewGrowing()
		if err := g.Add(invoke); err != nil {
			t.Fatal(err)
		}
		if invalid, ok := errors.AsType[*histories.InvalidError](g.Add(op)); !ok || invalid.Line != 2 {
			t.Errorf("%v was not refused", op)
		}
		if g.Len() != 1 {
			t.Errorf("%v was taken", op)
		}
	}
}

// BenchmarkFollow reads what BenchmarkRead does, without keeping it.
func BenchmarkFollow(b *testing.B) {
	const events = 200_000
	var buffer bytes.Buffer
	j := histories.NewJournal(&buffer, func() time.Duration { return 0 })
	traffic(events, func(op histories.Op) {
		if _, err := j.Append(op); err != nil {
			b.Fatal(err)
		}
	})
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := histories.Follow(bytes.NewReader(buffer.Bytes()))
		n := 0
		for ; ; n++ {
			if _, err := f.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		if n != events {
			b.Fatalf("got %d events", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
}

// An endless reader has a line without an end.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	clear(b)
	e.read += len(b)
	return len(b), nil
}

func TestALineHasAnEnd(t *testing.T) {
	for name, read := range map[string]func(r io.Reader) error{
		"followed": func(r io.Reader) error { _, err := histories.Follow(r).Next(); return err },
		"read":     func(r io.Reader) error { _, err := histories.Read(r); return err },
	} {
		e := &endless{}
		err := read(e)
		if _, ok := errors.AsType[*histories.InvalidError](err); !ok || e.read > 128<<20 {
			t.Errorf("%s: after %d bytes: %v", name, e.read, err)
		}
	}
}
