package linear_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// A target is what a history may cost, on two cores of 2026.
type target struct {
	name string
	load lineartest.Load
	cpu  float64 // seconds
	mem  float64 // MiB of the whole program, with the history; 0: no target
}

var targets = []target{
	{"10 clients, 1 M, five values", lineartest.Load{Ops: 1_000_000, Clients: 10, Values: 5}, 0.6, 300},
	{"10 clients, 1 M, unique values", lineartest.Load{Ops: 1_000_000, Clients: 10}, 0.6, 300},
	{"10 clients, 10 M, five values", lineartest.Load{Ops: 10_000_000, Clients: 10, Values: 5}, 6, 2048},
	{"10 clients, 10 M, unique values", lineartest.Load{Ops: 10_000_000, Clients: 10}, 2, 2048},
	{"100 clients, 100 k, unique values", lineartest.Load{Ops: 100_000, Clients: 100}, 1, 0},
	{"100 clients, 100 k, five values", lineartest.Load{Ops: 100_000, Clients: 100, Values: 5}, 20, 0},
	{"10 clients, 10 k, 500 indeterminate, five values", lineartest.Load{Ops: 10_000, Clients: 10, Values: 5, Indeterminate: 500}, 3, 0},
	{"1000 keys, 100 clients, 1 M", lineartest.Load{Ops: 1_000_000, Clients: 100, Keys: 1000}, 0.4, 0},
	{"stale read at 95 % of 1 M", lineartest.Load{Ops: 1_000_000, Clients: 10, Stale: 0.95}, 1, 0},
	{"stale read at 95 % of 1 M, 50 values", lineartest.Load{Ops: 1_000_000, Clients: 10, Values: 50, Stale: 0.95}, 1, 0},
}

// patience is how much time of the processor porcupine gets.
const patience = 5 * time.Second

// BenchmarkTargets measures what deciding costs, and what it costs porcupine, which does
// not go on for more than 5 s of the processor, or 2 GiB. Of histories of more than a
// million operations it is asked of the first million.
func BenchmarkTargets(b *testing.B) {
	for _, t := range targets {
		b.Run(t.name, func(b *testing.B) {
			regs := lineartest.SimulateKeys(rand.New(rand.NewPCG(1, 5)), t.load)
			want := linear.Linearizable
			if t.load.Stale > 0 {
				want = linear.Illegal
			}
			b.Run("hacheck", func(b *testing.B) {
				measured(b, func() {
					for _, r := range regs {
						if got := decideConfirmed(b, r); got != want {
							b.Fatalf("it is %v", got)
						}
					}
				})
				b.ReportMetric(t.cpu, "target-cpu-s")
				if t.mem > 0 {
					b.ReportMetric(t.mem, "target-MiB")
				}
			})
			b.Run("porcupine", func(b *testing.B) {
				some := regs
				if t.load.Ops > 1_000_000 {
					some = []*linear.Register{knownAt(regs[0], regs[0].Call[1_000_000])}
				}
				var got porcupine.CheckResult
				measured(b, func() {
					begin := lineartest.Used()
					for _, r := range some {
						got = lineartest.Bounded(lineartest.Model(r, linear.Initial), lineartest.Operations(r), patience-(lineartest.Used()-begin), 2<<30)
						if got != porcupine.Ok {
							break
						}
					}
				})
				if got == porcupine.Unknown {
					b.Log("did not finish")
				} else if (got == porcupine.Ok) != (want == linear.Linearizable) {
					b.Errorf("it is %s", got)
				}
			})
		})
	}
	b.Run("queue, 3 consumers, 100 k", func(b *testing.B) {
		q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 5)), 100_000, 3, 0)
		b.Run("hacheck", func(b *testing.B) {
			measured(b, func() {
				if d, _ := q.Decide(nil); d.Verdict != linear.Linearizable {
					b.Fatalf("it is %v", d.Verdict)
				}
			})
			b.ReportMetric(0.1, "target-cpu-s")
		})
		b.Run("porcupine", func(b *testing.B) {
			var got porcupine.CheckResult
			measured(b, func() { got = lineartest.Bounded(lineartest.QueueModel(q), queueOperations(q), patience, 2<<30) })
			if got == porcupine.Unknown {
				b.Log("did not finish")
			} else if got != porcupine.Ok {
				b.Errorf("it is %s", got)
			}
		})
	})
}

// decideConfirmed decides r as whoever checks it would: by zones, and where they do not
// apply by JIT. If it is illegal it looks for a witness, and porcupine confirms that.
func decideConfirmed(b *testing.B, r *linear.Register) linear.Verdict {
	d := linear.Zones(r, nil)
	if d.Verdict == linear.Undecided {
		d = linear.JIT(r, linear.JITOptions{})
	}
	if d.Verdict != linear.Illegal {
		return d.Verdict
	}
	if d.Witness == nil {
		d.Witness, _ = linear.Shrink(r, d.At, stillIllegal)
	}
	if err := lineartest.Confirm(r, d); err != nil {
		b.Error(err)
	} else if n := d.Witness.Len(); n > 7 {
		b.Errorf("the witness has %d operations", n)
	}
	return d.Verdict
}

// measured reports the median of what work costs.
func measured(b *testing.B, work func()) {
	var cpu, peak []float64
	for b.Loop() {
		c := lineartest.Measure(work)
		cpu, peak = append(cpu, c.CPU.Seconds()), append(peak, float64(c.Peak)/(1<<20))
	}
	b.ReportMetric(0, "ns/op") // of the wall clock, which says less
	for unit, all := range map[string][]float64{"cpu-s": cpu, "peak-MiB": peak} {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], unit)
	}
}

// queueOperations returns the operations of q as porcupine has them.
func queueOperations(q *linear.Queue) []porcupine.Operation {
	ops := make([]porcupine.Operation, q.Len())
	for i := range ops {
		ops[i] = porcupine.Operation{Input: int32(i), Call: int64(q.Call[i]), Return: int64(q.Return[i])}
	}
	return ops
}
