package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, c Config) *Service {
	tb.Helper()
	s, err := New(c, slog.New(slog.DiscardHandler))
	must(tb, err)
	tb.Cleanup(func() { _ = s.Close() }) // tests that close it look at the error
	return s
}

// said is what a call was answered, in a word.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	e := api.Understand(err)
	if !e.Definite {
		return "unknown"
	}
	return e.Reason.Text()
}

func (s *Service) doOpen(tb testing.TB, vm string, epoch uint64) string {
	out, err := s.Open(tb.Context(), &api.OpenRequest{Vm: vm, Epoch: epoch})
	if err != nil {
		return said(err)
	}
	return fmt.Sprint("ok ", out.GetLast())
}

func (s *Service) doWrite(tb testing.TB, vm string, epoch, seq uint64, data string) string {
	_, err := s.Write(tb.Context(), &api.WriteRequest{Vm: vm, Epoch: epoch, Seq: seq, Data: []byte(data)})
	return said(err)
}

func (s *Service) doRead(tb testing.TB, vm string) string {
	out, err := s.Read(tb.Context(), &api.ReadRequest{Vm: vm})
	if err != nil {
		return said(err)
	}
	b := fmt.Sprint(out.GetLast())
	for _, e := range out.GetExtents() {
		b += fmt.Sprintf(" %d:%d-%d", e.GetEpoch(), e.GetFrom(), e.GetTo())
	}
	return b
}

func is(tb testing.TB, what, got, want string) {
	tb.Helper()
	if got != want {
		tb.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestCalls(t *testing.T) {
	for _, test := range []struct{ name, bug, calls string }{
		{"an epoch has to be opened", "", `write 1 1 a = stale; open 1 = ok 0; write 1 1 a = ok; read = 1 1:1-1`},
		{"writes come one after the other", "", `open 1 = ok 0; write 1 2 a = gap; write 1 1 a = ok; write 1 2 b = ok; write 1 4 d = gap; read = 2 1:1-2`},
		{"a write that comes again", "", `open 1 = ok 0; write 1 1 a = ok; write 1 1 a = ok; write 1 2 b = ok; write 1 1 a = ok; read = 2 1:1-2`},
		{"another in its place", "", `open 1 = ok 0; write 1 1 a = ok; write 1 1 b = gap; read = 1 1:1-1`},
		{"the same of another epoch", "", `open 1 = ok 0; write 1 1 a = ok; open 2 = ok 1; write 2 1 a = gap; write 2 2 b = ok; read = 2 1:1-1 2:2-2`},
		{"an older epoch", "", `open 2 = ok 0; open 1 = stale; write 1 1 a = stale; open 2 = ok 0; write 2 1 a = ok`},
		{"who is not the last", "", `open 1 = ok 0; write 1 1 a = ok; open 3 = ok 1; write 1 2 b = stale; write 1 1 a = stale; write 3 2 b = ok; write 2 3 c = stale`},
		{"an epoch that nobody opened", "", `open 1 = ok 0; write 2 1 a = stale`},
		{"there is nothing", "", `read = 0`},
		{"no sense", "", `open 0 = invalid; write 0 1 a = invalid; write 1 0 a = invalid`},
		{"any epoch", bug.VolumeNoEpoch, `open 2 = ok 0; write 2 1 a = ok; write 1 1 x = ok; open 1 = ok 2; write 2 2 b = ok; read = 3 2:1-1 1:2-2 2:3-3`},
		{"not synced", bug.VolumeNoSync, `open 1 = ok 0; write 1 1 a = ok; read = 1 1:1-1`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := Config{Dir: t.TempDir(), Bug: test.bug}
			s := open(t, c)
			for call := range strings.SplitSeq(test.calls, "; ") {
				what, want, _ := strings.Cut(call, " = ")
				var kind, data string
				var epoch, seq uint64
				_, _ = fmt.Sscan(what, &kind, &epoch, &seq, &data)
				var got string
				switch kind {
				case "open":
					got = s.doOpen(t, "vm1", epoch)
				case "write":
					got = s.doWrite(t, "vm1", epoch, seq, data)
				case "read":
					got = s.doRead(t, "vm1")
				default:
					t.Fatalf("no call is %q", what)
				}
				is(t, what, got, want)
			}
			was := s.doRead(t, "vm1")
			must(t, s.Close())
			is(t, "read when it has ended", s.doRead(t, "vm1"), "unavailable")
			is(t, "read after another start", open(t, c).doRead(t, "vm1"), was)
		})
	}
	s := open(t, Config{Dir: t.TempDir()})
	is(t, "no name", s.doOpen(t, "", 1), "invalid")
	is(t, "a long name", s.doOpen(t, strings.Repeat("x", maxName+1), 1), "invalid")
	is(t, "too much", s.doWrite(t, "vm1", 1, 1, strings.Repeat("x", maxData+1)), "invalid")
}

func TestRestart(t *testing.T) {
	c := Config{Dir: filepath.Join(t.TempDir(), "a", "b")}
	s := open(t, c)
	is(t, "open", s.doOpen(t, "vm1", 1), "ok 0")
	for n := range uint64(remembered + 2) {
		is(t, "write", s.doWrite(t, "vm1", 1, n+1, "text"), "ok")
	}
	is(t, "open", s.doOpen(t, "vm2", 7), "ok 0")
	must(t, s.Close())
	s = open(t, c)
	is(t, "open what is older", s.doOpen(t, "vm2", 6), "stale")
	is(t, "write with what was opened", s.doWrite(t, "vm2", 7, 1, "x"), "ok")
	is(t, "write again", s.doWrite(t, "vm1", 1, remembered, "text"), "ok")
	is(t, "write again, of which nobody knows any more", s.doWrite(t, "vm1", 1, 2, "text"), "gap")
	is(t, "write on", s.doWrite(t, "vm1", 1, remembered+3, "text"), "ok")
}

// TestTorn: of the last batch every beginning may be there, and every sector may be missing;
// all else is damage, and nothing that was acknowledged is dropped.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	c := Config{Dir: dir}
	path := filepath.Join(dir, "volumes.journal")
	s := open(t, c)
	is(t, "open", s.doOpen(t, "vm1", 1), "ok 0")
	var ends []int
	for n := range uint64(3) {
		is(t, "write", s.doWrite(t, "vm1", 1, n+1, strings.Repeat("x", 1500)), "ok")
		ends = append(ends, int(s.journal.end))
	}
	must(t, s.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	begin, end := ends[1], ends[2]
	if len(whole) != end {
		t.Fatalf("the journal has %d bytes, want %d", len(whole), end)
	}
	try := func(b []byte) (last string, err error) {
		must(t, os.WriteFile(path, b, 0o600))
		s, err := New(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return "", err
		}
		last = s.doRead(t, "vm1")
		is(t, "write after a start", s.doWrite(t, "vm1", 1, s.volumes["vm1"].last+1, "y"), "ok")
		must(t, s.Close())
		again := open(t, c)
		if got := again.doRead(t, "vm1"); got == last {
			t.Errorf("what was written behind %s is not there", last)
		}
		return last, again.Close()
	}
	for cut := begin; cut < end; cut += 7 {
		last, err := try(whole[:cut])
		if err != nil || last != "2 1:1-2" {
			t.Errorf("cut at %d of %d to %d: %s, %v", cut, begin, end, last, err)
		}
	}
	damaged := func(from, to int, with byte) []byte {
		b := []byte(string(whole))
		for at := from; at < to; at++ {
			b[at] = with
		}
		return b
	}
	for at := begin; at < end; {
		next := min(end, (at/sectorSize+1)*sectorSize)
		last, err := try(damaged(at, next, 0))
		if err != nil || last != "2 1:1-2" {
			t.Errorf("without sector %d: %s, %v", at/sectorSize, last, err)
		}
		at = next
	}
	if last, err := try(damaged(begin, end, 0)); err != nil || last != "2 1:1-2" {
		t.Errorf("without the last batch: %s, %v", last, err)
	}
	for name, b := range map[string][]byte{
		"a bit of the last batch":       damaged(begin+700, begin+701, 'y'),
		"a bit of one in the middle":    damaged(ends[0]+700, ends[0]+701, 'y'),
		"a sector of one in the middle": damaged(ends[0]/sectorSize*sectorSize+sectorSize, ends[0]/sectorSize*sectorSize+2*sectorSize, 0),
		"the head of one in the middle": damaged(ends[0], ends[0]+batchHead, 0),
		"the length of one":             damaged(ends[0]+lengthAt, ends[0]+lengthAt+1, 0x7f),
		"the format":                    damaged(0, 1, 'x'),
		"nothing":                       {},
		"one batch missing":             append([]byte(string(whole[:ends[0]])), whole[ends[1]:]...),
	} {
		if last, err := try(b); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s is damaged: %s, %v", name, last, err)
		}
	}
}

// A faultyFile is a disk that can be slow, and can fail.
type faultyFile struct {
	journalFile
	syncs   atomic.Int64
	syncing func() error
}

func (f *faultyFile) Sync() error {
	f.syncs.Add(1)
	if err := f.syncing(); err != nil {
		return err
	}
	return f.journalFile.Sync()
}

func TestWritesShareASync(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	is(t, "open", s.doOpen(t, "vm0", 1), "ok 0")
	begun, goOn := make(chan struct{}, 10), make(chan struct{})
	f := &faultyFile{journalFile: s.journal.file, syncing: func() error {
		begun <- struct{}{}
		<-goOn
		return nil
	}}
	s.journal.file = f
	var asking sync.WaitGroup
	answered := make(chan string, 10)
	asking.Go(func() { answered <- s.doWrite(t, "vm0", 1, 1, "x") })
	<-begun
	const others = 9
	for n := range others { // of which one comes again
		asking.Go(func() { answered <- s.doOpen(t, fmt.Sprint("vm", 1+n/2), 1) })
	}
	for {
		s.mu.Lock()
		n := len(s.volumes)
		s.mu.Unlock()
		if n == 1+others/2+1 {
			break
		}
	}
	select {
	case got := <-answered:
		t.Errorf("answered %s before anything was synced", got)
	default:
	}
	close(goOn)
	asking.Wait()
	if n := f.syncs.Load(); n > 3 {
		t.Errorf("%d syncs for one write, and %d that came meanwhile", n, others)
	}
}

func TestFailingDiskEnds(t *testing.T) {
	c := Config{Dir: t.TempDir()}
	s := open(t, c)
	is(t, "open", s.doOpen(t, "vm1", 1), "ok 0")
	f := &faultyFile{journalFile: s.journal.file, syncing: func() error { return syscall.EIO }}
	s.journal.file = f
	is(t, "write to a disk that fails", s.doWrite(t, "vm1", 1, 1, "x"), "unknown")
	<-s.Failed()
	is(t, "write to one that has failed", s.doWrite(t, "vm1", 1, 1, "x"), "unavailable")
	is(t, "read from it", s.doRead(t, "vm1"), "unavailable")
	if err := s.Close(); !errors.Is(err, syscall.EIO) {
		t.Errorf("it ended with %v", err)
	}
	if n := f.syncs.Load(); n != 1 {
		t.Errorf("synced %d times, where the first failed", n)
	}
}

func TestCallerWhoDoesNotWait(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()})
	goOn := make(chan struct{})
	s.journal.file = &faultyFile{journalFile: s.journal.file, syncing: func() error { <-goOn; return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := s.Open(ctx, &api.OpenRequest{Vm: "vm1", Epoch: 1})
		answered <- err
	}()
	cancel()
	is(t, "open", said(<-answered), "unknown")
	close(goOn)
	is(t, "open again", s.doOpen(t, "vm1", 1), "ok 0")
}

func TestTold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "probe")
	must(t, syscall.Mkfifo(path, 0o600))
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer func() { must(t, syscall.Close(fd)) }()
	s := open(t, Config{Node: "n8", Dir: filepath.Join(dir, "volumes"), Probe: path})
	s.doOpen(t, "vm1", 1)
	s.doWrite(t, "vm1", 1, 1, "a")
	s.doWrite(t, "vm1", 1, 2, "b")
	s.doOpen(t, "vm1", 3)
	s.doWrite(t, "vm1", 1, 3, "c") // told
	s.doWrite(t, "vm1", 1, 3, "c") // just told
	s.doWrite(t, "vm1", 2, 3, "c") // another
	s.doWrite(t, "vm1", 3, 3, "c")
	s.doWrite(t, "vm1", 3, 5, "c") // not for its epoch
	b := make([]byte, 4096)
	n, err := syscall.Read(fd, b)
	must(t, err)
	want := `{"kind":"took","vm":"vm1","host":"n8","epoch":1,"seq":1}
{"kind":"refused","vm":"vm1","host":"n8","epoch":1,"seq":3}
{"kind":"refused","vm":"vm1","host":"n8","epoch":2,"seq":3}
{"kind":"took","vm":"vm1","host":"n8","epoch":3,"seq":3}
`
	is(t, "told", string(b[:n]), want)
}

func TestRefusalsAreToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Service{refusals: map[attempt]time.Time{}, teller: &probe.Teller{}, log: slog.New(slog.DiscardHandler)}
		told := func(epoch uint64) (now bool) {
			before, ok := s.refusals[attempt{"vm1", epoch}]
			s.refuse("vm1", epoch, 1)
			return !ok || s.refusals[attempt{"vm1", epoch}] != before
		}
		var got []bool
		got = append(got, told(1), told(1), told(2))
		time.Sleep(refusedEvery)
		got = append(got, told(2), told(2))
		if want := []bool{true, false, true, true, false}; !reflect.DeepEqual(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if len(s.refusals) != 1 {
			t.Errorf("%d refusals are remembered, want the last", len(s.refusals))
		}
	})
}

// TestModel compares a service that is restarted now and then with what api.proto says,
// written down as simply as it can be.
func TestModel(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		type write struct {
			epoch uint64
			data  string
		}
		epochs, writes := map[string]uint64{}, map[string][]write{}
		c := Config{Dir: t.TempDir()}
		s := open(t, c)
		for range 150 {
			vm := fmt.Sprint("vm", rnd.IntN(2))
			epoch := max(1, epochs[vm]+uint64(rnd.IntN(3))-1)
			all := writes[vm]
			switch rnd.IntN(12) {
			case 0:
				must(t, s.Close())
				s = open(t, c)
			case 1, 2:
				want := "stale"
				if epoch >= epochs[vm] {
					epochs[vm], want = epoch, fmt.Sprint("ok ", len(all))
				}
				is(t, "open", s.doOpen(t, vm, epoch), want)
			default:
				seq := max(1, len(all)+rnd.IntN(4)-1)
				data := fmt.Sprint(rnd.IntN(2))
				want := "gap"
				switch {
				case epoch != epochs[vm]:
					want = "stale"
				case seq == len(all)+1:
					writes[vm], want = append(all, write{epoch, data}), "ok"
				case seq <= len(all) && all[seq-1] == write{epoch, data}:
					want = "ok"
				}
				is(t, fmt.Sprintf("seed %d: write %d %d %s", seed, epoch, seq, data), s.doWrite(t, vm, epoch, uint64(seq), data), want)
			}
			want := fmt.Sprint(len(writes[vm]))
			for n := 0; n < len(writes[vm]); {
				from, epoch := n, writes[vm][n].epoch
				for n < len(writes[vm]) && writes[vm][n].epoch == epoch {
					n++
				}
				want += fmt.Sprintf(" %d:%d-%d", epoch, from+1, n)
			}
			is(t, "read", s.doRead(t, vm), want)
		}
		if t.Failed() {
			return
		}
	}
}

// BenchmarkWrite measures writes that were answered: by one guest, and by ten at a time.
func BenchmarkWrite(b *testing.B) {
	for _, guests := range []int{1, 10} {
		b.Run(fmt.Sprint("guests=", guests), func(b *testing.B) {
			s := open(b, Config{Dir: b.TempDir()})
			var writing sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			for n := range guests {
				writing.Go(func() {
					vm := fmt.Sprint("vm", n)
					is(b, "open", s.doOpen(b, vm, 1), "ok 0")
					for seq := uint64(1); left.Add(-1) >= 0; seq++ {
						if got := s.doWrite(b, vm, 1, seq, "what a guest writes"); got != "ok" {
							b.Error(got)
							return
						}
					}
				})
			}
			writing.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
