package linear_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// TestMutations: what a system does wrong is found if brute force finds it, and only then.
// Often it does not show.
func TestMutations(t *testing.T) {
	for _, d := range lineartest.Damages() {
		t.Run(d.Name, func(t *testing.T) {
			all := make([]said, len(deciders))
			var harmless, found atomic.Int64
			tryAll(t, lineartest.Cases(400), func(seed uint64) error {
				r := rand.New(rand.NewPCG(seed, 3))
				l := lineartest.Load{
					Ops: 4 + r.IntN(7), Clients: 1 + r.IntN(4), Values: r.IntN(4),
					Shows: r.IntN(2) > 0, NoCAS: r.IntN(3) == 0, Indeterminate: max(0, r.IntN(5)-2),
				}
				reg, order := lineartest.SimulateOrder(r, l)
				wrong := d.Wrong(r, reg, order)
				if wrong == nil {
					return nil
				}
				reg = lineartest.Execute(reg, wrong)
				want, err := agree(reg, all, 0)
				is := lineartest.Brute(reg, linear.Initial)
				if err == nil && is != (want == porcupine.Ok) {
					err = fmt.Errorf("porcupine says it is %s, brute force that it is not", want)
				}
				if err != nil {
					return fmt.Errorf("%+v, order %v: %w%s", l, wrong, err, written(reg))
				}
				if is {
					harmless.Add(1)
				} else {
					found.Add(1)
				}
				return nil
			})
			t.Logf("%d found, %d harmless", found.Load(), harmless.Load())
			if found.Load() == 0 || harmless.Load() == 0 {
				t.Error("it was not tried")
			}
		})
	}
}

// TestQueueMutations does the same to queues.
func TestQueueMutations(t *testing.T) {
	// Each is given the dequeues at which values came out, by their returns, and says
	// whether it did anything.
	damages := map[string]func(r *rand.Rand, q *linear.Queue, out []int32) bool{
		"duplicated dequeue": func(r *rand.Rand, q *linear.Queue, out []int32) bool {
			i, j := r.IntN(len(out)), r.IntN(len(out))
			q.Value[out[i]] = q.Value[out[j]]
			return i != j
		},
		"swapped order": func(r *rand.Rand, q *linear.Queue, out []int32) bool {
			i := 1 + r.IntN(max(len(out)-1, 1))
			if i == len(out) {
				return false
			}
			a, b := out[i-1], out[i]
			q.Value[a], q.Value[b] = q.Value[b], q.Value[a]
			return true
		},
		"lost value": func(r *rand.Rand, q *linear.Queue, out []int32) bool {
			i := r.IntN(len(out))
			for ; i+1 < len(out); i++ { // others come out in its stead
				q.Value[out[i]] = q.Value[out[i+1]]
			}
			q.Kind[out[i]], q.Value[out[i]] = linear.Empty, linear.Nothing
			return true
		},
		"empty, it was said": func(r *rand.Rand, q *linear.Queue, out []int32) bool {
			i := out[r.IntN(len(out))]
			q.Kind[i], q.Value[i] = linear.Empty, linear.Nothing
			return true
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			var harmless, found atomic.Int64
			tryAll(t, lineartest.Cases(400), func(seed uint64) error {
				r := rand.New(rand.NewPCG(seed, 7))
				q := lineartest.BusyQueue(r, 4+r.IntN(8), 1+r.IntN(3), []float64{0, 0.2}[r.IntN(2)])
				var out []int32
				for _, op := range q.Returns {
					if q.Kind[op] == linear.Dequeue {
						out = append(out, op)
					}
				}
				if len(out) == 0 || !damage(r, q, out) {
					return nil
				}
				is := lineartest.BruteQueue(q)
				d, violation := q.Decide(nil)
				switch {
				case (d.Verdict == linear.Linearizable) != is || (d.Verdict == linear.Illegal) == is:
					return fmt.Errorf("it is linearizable: %v, but %v: %+v", is, d.Verdict, q)
				case is:
					harmless.Add(1)
					return q.Replay(d.Order)
				case lineartest.BruteQueue(q.Part(violation.Ops)):
					return fmt.Errorf("%+v shows nothing of %+v", violation, q)
				}
				found.Add(1)
				return nil
			})
			t.Logf("%d found, %d harmless", found.Load(), harmless.Load())
			if found.Load() == 0 || harmless.Load() == 0 && name != "duplicated dequeue" {
				t.Error("it was not tried")
			}
		})
	}
}
