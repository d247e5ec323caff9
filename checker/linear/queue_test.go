package linear_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

const (
	queueCases  = 250 // small histories of each mix, which all judges judge
	queueMedium = 10  // longer ones, which brute force does not
)

// queueMixes are all of them, with few or more operations open at once.
func queueMixes(ops int) []lineartest.QueueMix {
	var mixes []lineartest.QueueMix
	for i := range 32 {
		mixes = append(mixes, lineartest.QueueMix{
			Ops: ops, Open: 1 + 2*(i>>4), Unsure: i&1 > 0, Unseen: i&2 > 0, Ties: i&4 > 0, Unordered: i&8 > 0, Damage: 4,
		})
	}
	return mixes
}

// TestQueueAgreesWithBruteForce decides histories of which every order can be tried, and
// tries every order of each that is said to be wrong by itself.
func TestQueueAgreesWithBruteForce(t *testing.T) {
	faults := map[linear.QueueFault]int{}
	for i, m := range queueMixes(9) {
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			illegal := 0
			for seed := range uint64(queueCases) {
				q := lineartest.RandomQueue(rand.New(rand.NewPCG(seed, uint64(i))), m)
				want := lineartest.BruteQueue(q)
				if !m.Unordered {
					if got := lineartest.PorcupineQueue(q, 0); want != (got == porcupine.Ok) {
						t.Fatalf("seed %d: brute force says %v, porcupine %v", seed, want, got)
					}
				}
				if !want {
					illegal++
				}
				if err := decided(q, want, faults); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, script(q))
				}
			}
			if illegal < queueCases/20 || illegal > queueCases*19/20 {
				t.Errorf("%d of %d are illegal: the histories say little", illegal, queueCases)
			}
		})
	}
	for f := linear.FromNowhere; f <= linear.NotEmpty; f++ {
		if faults[f] < 20 {
			t.Errorf("%v was the fault of %d histories: they say little", f, faults[f])
		}
	}
}

// decided says what is wrong with the decision of q, and with what proves it.
func decided(q *linear.Queue, want bool, faults map[linear.QueueFault]int) error {
	if err := q.Check(); err != nil {
		return err
	}
	d, least := q.Decide(nil)
	if (d.Verdict == linear.Linearizable) != want || (d.Verdict == linear.Illegal) == want || (least == nil) != want {
		return fmt.Errorf("it is linearizable: %v, but %v, %+v", want, d.Verdict, least)
	}
	if want {
		if err := q.Replay(d.Order); err != nil {
			return fmt.Errorf("%v is no order: %w", d.Order, err)
		}
	}
	all, err := q.Violations()
	if err != nil {
		return err
	}
	violations := slices.Collect(all)
	if (len(violations) == 0) != want {
		return fmt.Errorf("it is linearizable: %v, with violations %+v", want, violations)
	}
	if least != nil {
		violations = append(violations, *least)
	}
	for _, v := range violations {
		faults[v.Fault]++
		if err := shows(q, v); err != nil {
			return fmt.Errorf("%+v: %w", v, err)
		}
	}
	return nil
}

// shows says why v does not show that q is not linearizable, if so.
func shows(q *linear.Queue, v linear.QueueViolation) error {
	if !slices.IsSorted(v.Ops) || len(slices.Compact(slices.Clone(v.Ops))) != len(v.Ops) {
		return fmt.Errorf("not in order")
	}
	if !slices.Contains(v.Ops, v.Op) {
		return fmt.Errorf("without op %d", v.Op)
	}
	unseen := 0
	whole := map[linear.Value]bool{}
	for _, op := range v.Ops {
		if q.Value[op] != linear.Nothing {
			whole[q.Value[op]] = true
		}
	}
	for op, value := range q.Value {
		is := slices.Contains(v.Ops, int32(op))
		switch {
		case q.Kind[op] == linear.Dequeue && q.Return[op] == linear.Never:
			if unseen < v.Unseen != is {
				return fmt.Errorf("op %d is one of the first %d unseen ones, or is not", op, v.Unseen)
			}
			unseen++
		case whole[value] && !is && (v.Fault != linear.DequeuedTwice && v.Fault != linear.FromNowhere && v.Fault != linear.BeforeEnqueue):
			return fmt.Errorf("op %d of the same value is not part of it", op)
		}
	}
	part := q.Part(v.Ops)
	if err := part.Check(); err != nil {
		return err
	}
	if lineartest.BruteQueue(part) {
		return fmt.Errorf("its operations have an order")
	}
	return nil
}

// script writes q down.
func script(q *linear.Queue) string {
	var b []byte
	for op := range q.Kind {
		b = fmt.Appendf(b, "%d: %v %d [%d, %d]\n", op, q.Kind[op], q.Value[op], q.Call[op], q.Return[op])
	}
	return string(b)
}

// TestQueueAgreesWithPorcupine on histories that are too long for brute force, and of which
// porcupine does not decide all.
func TestQueueAgreesWithPorcupine(t *testing.T) {
	judged, illegal := 0, 0
	for i, m := range queueMixes(40) {
		if m.Unordered {
			continue
		}
		m.Damage = 1 + i&1
		for seed := range uint64(queueMedium) {
			q := lineartest.RandomQueue(rand.New(rand.NewPCG(seed, uint64(i))), m)
			d, v := q.Decide(nil)
			got := lineartest.PorcupineQueue(q, 20*time.Millisecond)
			if got == porcupine.Unknown {
				continue
			}
			judged++
			if (d.Verdict == linear.Linearizable) != (got == porcupine.Ok) {
				t.Fatalf("%+v, seed %d: %v, but porcupine says %v\n%s", m, seed, d.Verdict, got, script(q))
			}
			if d.Verdict == linear.Linearizable {
				if err := q.Replay(d.Order); err != nil {
					t.Fatalf("%+v, seed %d: %v\n%s", m, seed, err, script(q))
				}
				continue
			}
			illegal++
			if lineartest.PorcupineQueue(q.Part(v.Ops), 0) == porcupine.Ok {
				t.Fatalf("%+v, seed %d: %+v shows nothing\n%s", m, seed, *v, script(q))
			}
		}
	}
	t.Logf("%d were judged by both, %d are illegal", judged, illegal)
	if judged < 4*queueMedium || illegal < judged/10 || illegal > judged*9/10 {
		t.Errorf("%d were judged by both, %d are illegal: they say little", judged, illegal)
	}
}

// queueOf makes a history of operations given as kind, value, call and return.
func queueOf(ops ...[4]int) *linear.Queue {
	q := &linear.Queue{}
	for _, o := range ops {
		q.Add(linear.QueueKind(o[0]), linear.Value(o[1]), linear.Time(o[2]), linear.Time(o[3]))
	}
	q.Finish()
	return q
}

// TestQueueFaults: what is shown, and by what.
func TestQueueFaults(t *testing.T) {
	const e, d, z, never = int(linear.Enqueue), int(linear.Dequeue), int(linear.Empty), int(linear.Never)
	tests := map[string]struct {
		q     *linear.Queue
		any   bool   // it is one even if no order is promised
		fault string // with the operation, values, takers, unseen, and those that show it
	}{
		"nowhere": {queueOf([4]int{d, 0, 1, 2}, [4]int{e, 1, 3, 4}), true, "from nowhere 0 [0] [] 0 [0]"},
		"nothing": {queueOf([4]int{e, 0, 1, 2}, [4]int{d, -1, 3, 4}), true, "from nowhere 1 [] [] 0 [1]"},
		"early":   {queueOf([4]int{d, 0, 1, 2}, [4]int{e, 0, 3, never}), true, "before its enqueue 0 [0] [] 0 [0 1]"},
		"twice": {
			queueOf([4]int{e, 1, 0, 1}, [4]int{d, 0, 1, 9}, [4]int{e, 0, 3, 4}, [4]int{d, 0, 5, 6}, [4]int{d, 0, 8, 9}),
			true, "dequeued twice 3 [0] [] 0 [1 2 3]",
		},
		"overtaken": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{e, 1, 3, never}, [4]int{d, 1, 4, 5}, [4]int{d, 0, 6, 7}),
			false, "out of order 2 [0] [] 0 [0 1 2 3]",
		},
		"skipped": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{e, 1, 3, 4}, [4]int{d, 1, 5, 6}, [4]int{d, -1, 7, never}),
			false, "skipped 2 [0] [] 0 [0 1 2]",
		},
		"one of two skipped": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{d, -1, 1, never}, [4]int{e, 1, 2, 3}, [4]int{e, 2, 4, 5}, [4]int{d, 2, 6, 7}),
			false, "skipped 4 [0 1] [] 1 [0 1 2 3 4]",
		},
		"lost": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{e, 1, 1, 3}, [4]int{d, -1, 2, never}, [4]int{e, 2, 4, 5}, [4]int{z, 0, 6, 7}),
			true, "lost 4 [0 1 2] [] 1 [0 1 2 4]",
		},
		"not empty": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{z, 0, 3, 9}, [4]int{e, 1, 4, 5}, [4]int{d, 0, 6, 7}, [4]int{d, 1, 10, 11}),
			true, "not empty 1 [0 1] [3 4] 0 [0 1 2 3 4]",
		},
		"not empty, and what may be taken later": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{z, 0, 3, 9}, [4]int{e, 1, 4, 5}, [4]int{d, 0, 6, 7}, [4]int{d, -1, 10, never}),
			true, "not empty 1 [0 1] [3 4] 0 [0 1 2 3]",
		},
		"not empty, though one that was in before may have been taken": {
			queueOf([4]int{e, 0, 1, 2}, [4]int{d, -1, 2, never}, [4]int{z, 0, 3, 9}, [4]int{e, 1, 3, 4}, [4]int{e, 2, 2 + 3, 6},
				[4]int{e, 3, 7, 8}, [4]int{z, 0, 20, 21}),
			true, "lost 6 [0 1 2 3] [] 1 [0 1 3 6]",
		},
	}
	for name, test := range tests {
		for _, unordered := range []bool{false, true} {
			test.q.Unordered = unordered
			if err := test.q.Check(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			d, v := test.q.Decide(nil)
			if unordered && !test.any {
				if d.Verdict != linear.Linearizable || test.q.Replay(d.Order) != nil {
					t.Errorf("%s, unordered: got %v, %v", name, d.Verdict, test.q.Replay(d.Order))
				}
				continue
			}
			if d.Verdict != linear.Illegal {
				t.Errorf("%s: got %v", name, d.Verdict)
				continue
			}
			if got := fmt.Sprint(v.Fault, v.Op, v.Values, v.Takers, v.Unseen, v.Ops); got != test.fault {
				t.Errorf("%s: got %s, want %s", name, got, test.fault)
			}
		}
	}
}

// TestQueueIsUndecided where values are not distinct, and where a limit says so.
func TestQueueIsUndecided(t *testing.T) {
	twice := queueOf([4]int{1, 0, 1, 2}, [4]int{1, 0, 3, 4})
	if d, v := twice.Decide(nil); d.Verdict != linear.Undecided || v != nil {
		t.Errorf("got %v, %+v", d, v)
	}
	if _, err := twice.Violations(); err == nil {
		t.Error("no error")
	}
	for _, q := range []*linear.Queue{queueOf([4]int{1, 0, 1, 2}), queueOf([4]int{3, 0, 1, 2})} {
		want, _ := q.Decide(nil)
		asked := 0
		for allowed := 0; ; allowed++ {
			asked = 0
			d, _ := q.Decide(func(bytes int64) bool { asked++; return bytes > 0 && asked <= allowed })
			if asked <= allowed {
				if d.Verdict != want.Verdict {
					t.Errorf("got %v, want %v", d.Verdict, want.Verdict)
				}
				break
			}
			if d.Verdict != linear.Undecided {
				t.Errorf("got %v, though the limit said no", d.Verdict)
			}
		}
		if asked < 2 {
			t.Errorf("the limit was asked %d times", asked)
		}
	}
}

// TestQueueReplayRefuses orders that explain nothing.
func TestQueueReplayRefuses(t *testing.T) {
	// 0: enqueue 0, 1: enqueue 1, 2: dequeue 0, 3: dequeue 1, 4: empty, 5: indeterminate dequeue
	q := queueOf([4]int{1, 0, 1, 9}, [4]int{1, 1, 2, 9}, [4]int{2, 0, 3, 9}, [4]int{2, 1, 4, 9}, [4]int{3, 0, 10, 11}, [4]int{2, 0, 12, int(linear.Never)})
	for _, order := range [][]int32{{0, 1, 2, 3, 4}, {0, 2, 1, 3, 4, 5}} {
		for _, q.Unordered = range []bool{false, true} {
			if err := q.Replay(order); err != nil {
				t.Errorf("%v: %v", order, err)
			}
		}
	}
	for _, order := range [][]int32{
		{0, 1, 2, 3}, {0, 1, 2, 3, 4, 4}, {0, 1, 2, 3, 4, 6}, {0, 1, 2, 3, 4, -1}, {2, 0, 1, 3, 4}, {0, 1, 2, 4, 3},
		{4, 0, 1, 2, 3}, {5, 0, 1, 2, 3, 4}, {0, 2, 3, 1, 4},
	} {
		for _, q.Unordered = range []bool{false, true} {
			if q.Replay(order) == nil {
				t.Errorf("unordered %v: %v is an order", q.Unordered, order)
			}
		}
	}
	q.Unordered = false
	if q.Replay([]int32{1, 0, 2, 3, 4}) == nil {
		t.Error("1 was put in first, and comes out second")
	}
	q.Unordered = true
	if err := q.Replay([]int32{1, 0, 2, 3, 4}); err != nil {
		t.Errorf("no order is promised: %v", err)
	}
	unseen := queueOf([4]int{1, 0, 1, 9}, [4]int{2, 0, 2, int(linear.Never)}, [4]int{2, 0, 3, 9})
	for _, unseen.Unordered = range []bool{false, true} {
		if unseen.Replay([]int32{0, 1, 2}) == nil {
			t.Errorf("unordered %v: one value was taken twice", unseen.Unordered)
		}
	}
}

// TestQueueCheck: what is in no normal form.
func TestQueueCheck(t *testing.T) {
	never := linear.Never
	for name, spoil := range map[string]func(q *linear.Queue){
		"lengths":  func(q *linear.Queue) { q.Value = q.Value[:1] },
		"kind":     func(q *linear.Queue) { q.Kind[0] = 4 },
		"calls":    func(q *linear.Queue) { q.Call[1] = 0 },
		"interval": func(q *linear.Queue) { q.Return[0] = 0 },
		"empty":    func(q *linear.Queue) { q.Return[1] = never; q.Returns = q.Returns[:1] },
		"value":    func(q *linear.Queue) { q.Value[1] = 0 },
		"beyond":   func(q *linear.Queue) { q.Values = 0 },
		"nothing":  func(q *linear.Queue) { q.Value[0] = linear.Nothing },
		"returns":  func(q *linear.Queue) { q.Returns = q.Returns[:1] },
		"order":    func(q *linear.Queue) { slices.Reverse(q.Returns) },
	} {
		q := queueOf([4]int{1, 0, 1, 2}, [4]int{3, 0, 3, 4})
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
		if spoil(q); q.Check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzQueue compares the decider with brute force on whatever there is.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 1, 0, 2, 1, 5})
	f.Add([]byte{1, 1, 0, 3, 5, 0, 2, 1, 5, 9, 0, 0, 8, 2, 3, 6, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		q := &linear.Queue{}
		if len(data) > 0 {
			q.Unordered, data = data[0]&1 > 0, data[1:]
		}
		now := linear.Time(0)
		in := map[linear.Value]bool{}
		for ; len(data) > 2 && q.Len() < 8; data = data[3:] {
			kind, v := linear.QueueKind(1+data[0]%3), linear.Value(data[0]/16)
			now += linear.Time(data[1] % 4)
			ret := now + linear.Time(data[2]%16)
			if data[2] >= 224 {
				ret = linear.Never
			}
			if kind == linear.Enqueue {
				if in[v] {
					continue
				}
				in[v] = true
			}
			q.Add(kind, v, now, ret)
		}
		q.Finish()
		if err := decided(q, lineartest.BruteQueue(q), map[linear.QueueFault]int{}); err != nil {
			t.Fatalf("%v\n%s", err, script(q))
		}
	})
}
