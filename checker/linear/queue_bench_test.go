package linear_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// TestBusyQueues: what the benchmarks decide is as it should be, and stays so where it is long.
func TestBusyQueues(t *testing.T) {
	for _, unordered := range []bool{false, true} {
		for _, clients := range []int{1, 3, 50} {
			q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), 20_000, clients, 0.01)
			q.Unordered = unordered
			if err := q.Check(); err != nil {
				t.Fatal(err)
			}
			d, v := q.Decide(nil)
			if v != nil {
				t.Fatalf("%d clients: %v of %d operations", clients, v.Fault, len(v.Ops))
			}
			if err := q.Replay(d.Order); err != nil {
				t.Fatalf("%d clients: %v", clients, err)
			}
		}
	}
}

// BenchmarkQueue decides histories of three producers and three consumers: with an order,
// without, and with an order that is replayed.
func BenchmarkQueue(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, unseen := range []float64{0, 0.01} {
			q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), n, 3, unseen)
			of := fmt.Sprintf("ops=%d/indeterminate=%v/", n, unseen)
			b.Run(of+"order", func(b *testing.B) {
				for b.Loop() {
					if d, _ := q.Decide(nil); d.Verdict != linear.Linearizable {
						b.Fatal(d.Verdict)
					}
				}
			})
			b.Run(of+"verdict", func(b *testing.B) {
				for b.Loop() {
					all, err := q.Violations()
					if err != nil {
						b.Fatal(err)
					}
					for v := range all {
						b.Fatal(v)
					}
				}
			})
			b.Run(of+"replayed", func(b *testing.B) {
				for b.Loop() {
					d, _ := q.Decide(nil)
					if err := q.Replay(d.Order); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkQueueWrong decides one that lost a value near its end.
func BenchmarkQueueWrong(b *testing.B) {
	q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), 1_000_000, 3, 0)
	for op := q.Len() * 95 / 100; ; op++ {
		if q.Kind[op] == linear.Dequeue {
			q.Kind[op], q.Value[op] = linear.Empty, linear.Nothing
			break
		}
	}
	for b.Loop() {
		if d, v := q.Decide(nil); d.Verdict != linear.Illegal || len(v.Ops) > 4 {
			b.Fatal(d.Verdict, v)
		}
	}
}

// BenchmarkQueuePorcupine asks porcupine the same, which gives up after ten seconds.
func BenchmarkQueuePorcupine(b *testing.B) {
	for _, n := range []int{100, 1000, 100_000} {
		b.Run(fmt.Sprintf("ops=%d", n), func(b *testing.B) {
			q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), n, 3, 0)
			unknown := 0
			for b.Loop() {
				if lineartest.PorcupineQueue(q, 10*time.Second) == porcupine.Unknown {
					unknown++
				}
			}
			b.ReportMetric(float64(unknown)/float64(b.N), "unknown")
		})
	}
}
