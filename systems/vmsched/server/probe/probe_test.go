package probe

import (
	"bufio"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// pipe returns the name of a pipe, and who reads it.
func pipe(t *testing.T) (string, *os.File) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return name, f
}

func open(t *testing.T, name string) *Teller {
	t.Helper()
	teller, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return teller
}

// rest reads what is told until all tellers are closed.
func rest(t *testing.T, f *os.File) (all []Event) {
	t.Helper()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		all = append(all, parse(t, lines.Bytes()))
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func parse(t *testing.T, line []byte) (e Event) {
	t.Helper()
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return e
}

func TestTells(t *testing.T) {
	name, f := pipe(t)
	want := []Event{
		{Kind: Boot, VM: "vm1", Host: "n4", Epoch: 3, PID: 7},
		{Kind: Beat, VM: "vm1", Host: "n4", Epoch: 3, PID: 7, Count: 12, Acked: 5},
		{Kind: Refused, VM: "vm1", Epoch: 2, Seq: 6},
	}
	teller := open(t, name)
	for _, e := range want {
		teller.Tell(e)
	}
	if err := teller.Close(); err != nil {
		t.Fatal(err)
	}
	got := rest(t, f)
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	teller.Tell(want[0]) // to nobody, and nothing happens
}

func TestNobodyIsTold(t *testing.T) {
	teller := open(t, "")
	teller.Tell(Event{Kind: Beat})
	if err := teller.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a pipe that is not there: %v", err)
	}
	name, f := pipe(t)
	f.Close()
	if _, err := Open(name); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("a pipe that nobody reads: %v", err)
	}
}

// A reader who is gone takes no teller with it.
func TestReaderIsGone(t *testing.T) {
	name, f := pipe(t)
	teller := open(t, name)
	f.Close()
	teller.Tell(Event{Kind: Beat})
	if teller.lost != 1 {
		t.Errorf("lost are %d", teller.lost)
	}
}

// A teller does not wait for room, and says how many it has lost.
func TestFullPipe(t *testing.T) {
	name, f := pipe(t)
	teller := open(t, name)
	told := 0
	for ; teller.lost == 0; told++ {
		teller.Tell(Event{Kind: Beat, Count: uint64(told)})
	}
	teller.Tell(Event{Kind: Beat})
	lines := bufio.NewReader(f)
	for i := range told - 1 {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if e := parse(t, line); e.Count != uint64(i) || e.Lost != 0 {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
	for _, want := range []uint64{2, 0} {
		teller.Tell(Event{Kind: Beat})
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if e := parse(t, line); e.Lost != want {
			t.Errorf("got %+v, want %d lost", e, want)
		}
	}
}

// No event is divided or mixed with others, each teller's are in order, and none goes missing
// unsaid.
func TestManyTellers(t *testing.T) {
	name, f := pipe(t)
	const tellers, each = 8, 2000
	keep := open(t, name)
	var busy sync.WaitGroup
	for id := range tellers {
		teller := open(t, name)
		busy.Go(func() {
			for i := range each {
				teller.Tell(Event{Kind: Beat, VM: "a machine", Host: "a host", PID: id, Count: uint64(i + 1)})
			}
			for last := false; !last; last = teller.lost == 0 {
				teller.Tell(Event{Kind: Paused, PID: id, Count: each + 1})
			}
			teller.Close()
		})
	}
	busy.Go(func() { keep.Close() })
	seen, last := map[int]uint64{}, map[int]uint64{}
	for _, e := range rest(t, f) {
		if e.Count <= last[e.PID] {
			t.Fatalf("%+v is behind %d", e, last[e.PID])
		}
		last[e.PID] = e.Count
		seen[e.PID] += 1 + e.Lost
	}
	busy.Wait()
	for id := range tellers {
		if last[id] != each+1 || seen[id] < each+1 {
			t.Errorf("of %d seen or lost are %d, up to %d", id, seen[id], last[id])
		}
	}
}

// The longest that there may be goes in one write; what would not is lost.
func TestLength(t *testing.T) {
	name, f := pipe(t)
	teller := open(t, name)
	const most = math.MaxUint64
	long := Event{
		Kind: Continued, VM: strings.Repeat("v", 64), Host: strings.Repeat("h", 64),
		Epoch: most, PID: 1 << 22, Count: most, Acked: most, Seq: most,
	}
	teller.Tell(long)
	teller.Tell(Event{Kind: Beat, VM: strings.Repeat("v", longest)})
	teller.Tell(Event{Kind: Beat})
	teller.Close()
	all := rest(t, f)
	if len(all) != 2 || all[0] != long || all[1].Lost != 1 {
		t.Errorf("got %+v", all)
	}
}
