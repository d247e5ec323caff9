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

// BenchmarkQueueWrong decides queues in which a dequeue near the end found nothing where
// something was; in which one of the first values was lost, which each Empty shows from then on, and
// hundreds of indeterminate dequeues were there to excuse it; and of which all is wrong.
func BenchmarkQueueWrong(b *testing.B) {
	const n = 1_000_000
	denies := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), n, 3, 0)
	for op := n * 95 / 100; ; op++ {
		if denies.Kind[op] == linear.Dequeue {
			denies.Kind[op], denies.Value[op] = linear.Empty, linear.Nothing
			break
		}
	}
	loses := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), n, 3, 0.001)
	for op := range n {
		if loses.Kind[op] == linear.Dequeue && op%100 == 0 {
			loses.Kind[op], loses.Value[op] = linear.Empty, linear.Nothing
		}
	}
	random := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), n, 3, 0)
	rand.New(rand.NewPCG(1, 1)).Shuffle(n, func(i, j int) {
		if random.Kind[i] == random.Kind[j] {
			random.Value[i], random.Value[j] = random.Value[j], random.Value[i]
		}
	})
	for name, q := range map[string]*linear.Queue{"denies": denies, "loses": loses, "random": random} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if d, v := q.Decide(nil); d.Verdict != linear.Illegal || len(v.Ops) > 4 {
					b.Fatal(d.Verdict, v)
				}
			}
		})
		b.Run(name+"/all", func(b *testing.B) {
			for b.Loop() {
				all, err := q.Violations()
				if err != nil {
					b.Fatal(err)
				}
				found := 0
				for range all {
					found++
				}
				b.ReportMetric(float64(found), "violations")
			}
		})
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
