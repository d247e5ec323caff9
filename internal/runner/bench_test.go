package runner

import (
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// idleClient does nothing, so that what is measured is what a run costs.
type idleClient struct{}

func (idleClient) Invoke(context.Context, histories.Op) (workloads.Reply, error) {
	return workloads.Reply{}, nil
}
func (idleClient) Close() error { return nil }

func BenchmarkInterpreter(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "history.jsonl"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	begun := time.Now()
	in := &interpreter{
		journal: histories.NewJournal(f, func() time.Duration { return time.Since(begun) }),
		begun:   begun,
		log:     slog.New(slog.DiscardHandler),
		open:    func(context.Context, int) (workloads.Client, error) { return idleClient{}, nil },
		timeout: time.Second,
		grace:   5 * time.Second,
	}
	in.start(10, rand.New(rand.NewPCG(1, 2)))
	op := histories.Op{F: "write", Value: json.RawMessage(`["k17",123]`)}
	g := generator.Of(func(generator.Context, histories.Process) histories.Op { return op })
	b.ResetTimer()
	if err := in.run(b.Context(), generator.OnClients(generator.Limit(b.N, g)), nil); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	if err := in.close(); err != nil {
		b.Fatal(err)
	}
	if err := in.journal.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
