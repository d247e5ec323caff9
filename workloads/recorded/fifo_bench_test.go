package recorded

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
	"github.com/hacheck/hacheck/histories"
)

// BenchmarkFIFOQueue decides a queue of three producers and three consumers; and has it
// decided and confirmed, which takes reading its history as well.
func BenchmarkFIFOQueue(b *testing.B) {
	q := lineartest.BusyQueue(rand.New(rand.NewPCG(1, 1)), 100_000, 3, 0)
	ends := make(map[linear.Time][]string)
	for op, kind := range q.Kind {
		f, argument, value := Enqueue, fmt.Sprint(q.Value[op]), fmt.Sprint(q.Value[op])
		if kind != linear.Enqueue {
			f, argument = Dequeue, null
		}
		if kind == linear.Empty {
			value = null
		}
		ends[q.Call[op]] = append(ends[q.Call[op]], fmt.Sprintf("%d invoke %s %s", op, f, argument))
		ends[q.Return[op]] = append(ends[q.Return[op]], fmt.Sprintf("%d ok %s %s", op, f, value))
	}
	var at []linear.Time
	for t := range ends {
		at = append(at, t)
	}
	slices.Sort(at)
	var lines []string
	for _, t := range at {
		lines = append(lines, ends[t]...)
	}
	h, err := checkertest.Parse(strings.Join(lines, "\n") + "\n")
	if err != nil {
		b.Fatal(err)
	}
	m := fifo()
	calls, err := histories.Calls(h, m.In, m.Out)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decided", func(b *testing.B) {
		for b.Loop() {
			if d, _ := decideQueue(calls, nil); d.Verdict != linear.Linearizable {
				b.Fatal(d.Verdict)
			}
		}
	})
	b.Run("confirmed", func(b *testing.B) {
		for b.Loop() {
			r, err := checker.Linearizable(m, checker.Budget{}).Check(b.Context(), h)
			if err != nil || r.Verdict != checker.Valid || r.Counts["decided_by_queue"] != 1 {
				b.Fatal(err, r)
			}
		}
	})
}
