package histories_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/histories"
)

func invoke(p histories.Process) histories.Op {
	return histories.Op{Process: p, Type: histories.Invoke, F: "write", Value: json.RawMessage(`["k1",3]`)}
}

// stopped is a clock that stands still, the worst that a clock may do.
func stopped() time.Duration { return 7 }

func TestConcurrentAppendsMakeAHistory(t *testing.T) {
	const workers, each = 8, 500
	var b bytes.Buffer
	j := histories.NewJournal(&b, stopped)
	recorded := make([][]histories.Op, workers)
	var working sync.WaitGroup
	for w := range workers {
		working.Go(func() {
			for range each {
				for _, typ := range []histories.Type{histories.Invoke, histories.OK} {
					op := invoke(histories.Process(w))
					op.Type = typ
					op, err := j.Append(op)
					if err != nil {
						t.Error(err)
					}
					recorded[w] = append(recorded[w], op)
				}
			}
		})
	}
	working.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	h := read(t, b.String()) // dense and strictly increasing, or it would be refused
	if h.Len() != 2*workers*each || j.Len() != h.Len() {
		t.Fatalf("got %d ops in the file, %d in the journal", h.Len(), j.Len())
	}
	for w, ops := range recorded {
		for _, op := range ops {
			if got := h.At(op.Index); !reflect.DeepEqual(got, op) {
				t.Fatalf("worker %d was told %v, the file says %v", w, op, got)
			}
		}
	}
	if first, last := h.At(0).Time, h.Duration(); first != 7 || last != first+time.Duration(h.Len()-1) {
		t.Errorf("a clock that stands still gave times from %d to %d ns", first, last)
	}
}

func TestLinesAreWrittenAsTheyHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		j := histories.NewJournal(&b, stopped)
		defer j.Close()
		for i := range 3 {
			if _, err := j.Append(invoke(histories.Process(i))); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if lines := strings.Count(b.String(), "\n"); lines != i+1 {
				t.Fatalf("after %d ops the file has %d lines", i+1, lines)
			}
		}
	})
}

func TestASlowDiskHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{ready: make(chan struct{})}
		j := histories.NewJournal(disk, stopped)
		for i := range 100 {
			if _, err := j.Append(invoke(histories.Process(i))); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if disk.writes != 1 {
			t.Errorf("got %d writes at a time", disk.writes)
		}
		close(disk.ready)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if h := read(t, disk.String()); h.Len() != 100 {
			t.Errorf("got %d ops", h.Len())
		}
		if disk.writes > 3 {
			t.Errorf("what had piled up was written in %d writes", disk.writes)
		}
	})
}

type slowDisk struct {
	bytes.Buffer
	ready  chan struct{}
	writes int
}

func (d *slowDisk) Write(b []byte) (int, error) {
	d.writes++
	<-d.ready
	return d.Buffer.Write(b)
}

// A disk that is full for a while must not leave a hole: what follows the first
// failure is never written, and everybody learns of it.
func TestAFailedWriteIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		disk := &fullDisk{fails: 3, err: full}
		j := histories.NewJournal(disk, stopped)
		for i := range 6 {
			_, err := j.Append(invoke(histories.Process(i)))
			if failed := i >= 3; failed != errors.Is(err, full) {
				t.Errorf("op %d: got error %v", i, err)
			}
			synctest.Wait()
		}
		for range 2 {
			if err := j.Close(); !errors.Is(err, full) {
				t.Errorf("close: got %v", err)
			}
		}
		if h := read(t, disk.String()); h.Len() != 2 || h.Torn() != 3 {
			t.Errorf("got %d ops, torn line %d:\n%s", h.Len(), h.Torn(), disk)
		}
		if disk.writes != 3 {
			t.Errorf("%d writes, though the third one failed", disk.writes)
		}
	})
}

// A fullDisk fails once, in the middle of a line, and takes everything after.
type fullDisk struct {
	bytes.Buffer
	fails, writes int
	err           error
}

func (d *fullDisk) Write(b []byte) (int, error) {
	d.writes++
	if d.writes == d.fails {
		n, _ := d.Buffer.Write(b[:len(b)/2])
		return n, d.err
	}
	return d.Buffer.Write(b)
}

func TestCloseEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails if the writer's goroutine stays
		var b bytes.Buffer
		j := histories.NewJournal(&b, stopped)
		if _, err := j.Append(invoke(0)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := j.Append(invoke(1)); err == nil {
			t.Error("appending to a closed journal is no error")
		}
		if h := read(t, b.String()); h.Len() != 1 || j.Len() != 1 {
			t.Errorf("got %d ops in the file, %d in the journal", h.Len(), j.Len())
		}
	})
}

func TestPayloadsStayOnTheirLine(t *testing.T) {
	op := invoke(0)
	op.Value, op.Meta = json.RawMessage("[\n \"a\\nb\",\n 1\n]"), json.RawMessage("\n{}\n")
	h := read(t, journalled(t, []histories.Op{op}))
	if got := h.At(0); string(got.Value) != `["a\nb",1]` || string(got.Meta) != "{}" {
		t.Errorf("got value %s, meta %s", got.Value, got.Meta)
	}
}

// What could not be read back is not written: it would make the whole history
// unreadable, and only a programmer can cause it.
func TestWhatIsNoOpIsNotRecorded(t *testing.T) {
	for name, op := range map[string]histories.Op{
		"no type":           {F: "write"},
		"no such type":      {F: "write", Type: histories.Event + 1},
		"no function":       {Type: histories.Invoke},
		"no such process":   {F: "write", Type: histories.Invoke, Process: histories.Observer - 1},
		"event of a client": {F: "exited", Type: histories.Event},
		"value is no JSON":  {F: "write", Type: histories.Invoke, Value: json.RawMessage(`{"k":`)},
		"value is two":      {F: "write", Type: histories.Invoke, Value: json.RawMessage(`1 2`)},
		"value of no JSON":  {F: "write", Type: histories.Invoke, Value: json.RawMessage("k1\n")},
		"meta is no JSON":   {F: "write", Type: histories.Invoke, Meta: json.RawMessage(`term=1`)},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			j := histories.NewJournal(&b, stopped)
			defer j.Close()
			func() {
				defer func() {
					if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "histories: ") {
						t.Errorf("got panic %v", r)
					}
				}()
				j.Append(op)
			}()
			if _, err := j.Append(invoke(0)); err != nil { // the lock was given back
				t.Fatal(err)
			}
			j.Close()
			if h := read(t, b.String()); h.Len() != 1 {
				t.Errorf("got %d ops:\n%s", h.Len(), &b)
			}
		})
	}
}

func TestWritingNowhereIsFine(t *testing.T) {
	j := histories.NewJournal(io.Discard, stopped)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
