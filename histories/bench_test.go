package histories_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// traffic calls add with n events as a register workload records them: calls of
// ten workers, one in a hundred of them indeterminate.
func traffic(n int, add func(histories.Op)) {
	const workers = 10
	var processes [workers]histories.Process
	for w := range processes {
		processes[w] = histories.Process(w)
	}
	for i := 0; i+1 < n; i += 2 {
		w := i / 2 % workers
		op := histories.Op{
			Index: i, Time: time.Duration(i) * 2000, Process: processes[w], Type: histories.Invoke,
			F: "write", Node: "n" + string('1'+byte(w%5)), Value: fmt.Appendf(nil, `["k%d",%d]`, i/2000, i),
		}
		add(op)
		op.Index, op.Time, op.Type = i+1, op.Time+1500, histories.OK
		op.Meta = fmt.Appendf(nil, `{"revision":%d,"term":3}`, i)
		if i%200 == 0 {
			op.Type, op.Error, op.Meta = histories.Info, "deadline exceeded", nil
			processes[w] += workers
		}
		add(op)
	}
}

// BenchmarkJournal writes a history to a file. Budget: 500,000 events/s on one
// core; see events/s.
func BenchmarkJournal(b *testing.B) {
	var ops []histories.Op
	traffic(100_000, func(op histories.Op) { ops = append(ops, op) })
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f, err := os.Create(filepath.Join(b.TempDir(), "history.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	begun := time.Now()
	j := histories.NewJournal(f, func() time.Duration { return time.Since(begun) })
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := j.Append(ops[i%len(ops)]); err != nil {
			b.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkRead reads a file of 2 million events. Budget: 1.5 CPU-seconds, twice the
// file's size in all that is allocated, freed or not, and 100 bytes of heap an event
// beyond the payloads; see CPU-s/file, B/B and B/event.
func BenchmarkRead(b *testing.B) {
	const events = 2_000_000
	name := filepath.Join(b.TempDir(), "history.jsonl")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var now time.Duration
	payloads := 0
	j := histories.NewJournal(f, func() time.Duration { return now })
	traffic(events, func(op histories.Op) {
		now = op.Time
		payloads += len(op.Value) + len(op.Meta)
		if _, err := j.Append(op); err != nil {
			b.Fatal(err)
		}
	})
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	stat, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	var h *histories.History
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := cpu(b)
	for b.Loop() {
		if h, err = histories.ReadFile(name); err != nil {
			b.Fatal(err)
		}
	}
	used := cpu(b) - begun
	runtime.GC()
	runtime.ReadMemStats(&after)
	if h.Len() != events {
		b.Fatalf("got %d events", h.Len())
	}
	b.ReportMetric(used.Seconds()/float64(b.N), "CPU-s/file")
	b.ReportMetric(float64(stat.Size())/(1<<20), "MiB")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/float64(stat.Size()), "B/B")
	b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)-int64(payloads))/events, "B/event")
	runtime.KeepAlive(h)
}

// cpu returns the time that this process has had on processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
