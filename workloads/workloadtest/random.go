package workloadtest

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Cases returns how many random cases of n a test tries: a tenth where the race
// detector makes everything slow. It finds no more in what has but one goroutine.
func Cases(n int) int {
	if Raced {
		return max(1, n/10)
	}
	return n
}

// Some returns all of cases, or [Cases] of them.
func Some[K comparable, V any](cases map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		left := Cases(len(cases))
		for k, v := range cases {
			if left == 0 || !yield(k, v) {
				return
			}
			left--
		}
	}
}

// A Window is a call of a random history: when it begins, takes effect and ends.
type Window struct{ Begin, Effect, End int }

// Windows returns those of n calls, the positions of all that happens, from 0 on. Any
// call may overlap any other.
func Windows(r *rand.Rand, n int) []Window {
	windows := make([]Window, n)
	times := r.Perm(3 * n)
	for i := range windows {
		three := times[3*i : 3*i+3]
		slices.Sort(three)
		windows[i] = Window{three[0], three[1], three[2]}
	}
	return windows
}

// BriefWindows returns windows of which about three are open at a time.
func BriefWindows(r *rand.Rand, n int) []Window {
	times := make([]float64, 0, 3*n)
	for range n {
		begin := r.Float64() * float64(n)
		effect := begin + r.ExpFloat64()
		times = append(times, begin, effect, effect+r.ExpFloat64())
	}
	position := make([]int, 3*n)
	for at, i := range inOrder(3*n, func(a, b int) int { return cmp.Compare(times[a], times[b]) }) {
		position[i] = at
	}
	windows := make([]Window, n)
	for i := range windows {
		windows[i] = Window{position[3*i], position[3*i+1], position[3*i+2]}
	}
	return windows
}

// ByEffect returns the positions of windows in the order in which those take effect.
func ByEffect(windows []Window) []int {
	return inOrder(len(windows), func(a, b int) int { return windows[a].Effect - windows[b].Effect })
}

// inOrder returns the numbers below n in an order.
func inOrder(n int, compare func(a, b int) int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, compare)
	return order
}

// Text returns h as people read it, one op a line.
func Text(h *histories.History) string {
	var b strings.Builder
	for i, op := range h.All() {
		fmt.Fprintf(&b, "%d: %v\n", i, op)
	}
	return b.String()
}

// A Scene is a few calls on a system in memory, each by a process of its own.
type Scene struct {
	Windows []Window
	// Lost is the share of calls whose answer gets lost. Some of them take effect only
	// after that.
	Lost float64
	// Choose returns what is called, when that begins; Perform performs it, when it takes
	// effect; Done is told how it ended, unless it is nil.
	Choose  func() histories.Op
	Perform func(histories.Op) (workloads.Reply, error)
	Done    func(histories.Op)
}

// Ops returns what happens.
func (s Scene) Ops(r *rand.Rand) []histories.Op {
	type moment struct {
		at int
		do func()
	}
	var moments []moment
	var ops []histories.Op
	record := func(op histories.Op) {
		op.Index, op.Time = len(ops), time.Duration(len(ops)+1)*time.Millisecond
		ops = append(ops, op)
	}
	for i, w := range s.Windows {
		var op histories.Op
		var reply workloads.Reply
		var err error
		lost := r.Float64() < s.Lost
		if lost && r.IntN(2) == 0 {
			w.Effect += r.IntN(3 * len(s.Windows))
		}
		moments = append(moments, moment{w.Begin, func() {
			op = s.Choose()
			op.Process, op.Type = histories.Process(i), histories.Invoke
			record(op)
		}}, moment{w.Effect, func() {
			reply, err = s.Perform(op)
		}}, moment{w.End, func() {
			switch {
			case lost:
				op.Type = histories.Info
			case err != nil:
				op.Type = histories.Fail
			default:
				op.Type, op.Value = histories.OK, reply.Value
			}
			record(op)
			if s.Done != nil {
				s.Done(op)
			}
		}})
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	for _, m := range moments {
		m.do()
	}
	return ops
}
