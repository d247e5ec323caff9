package linear_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// illegal says that no order explains w from any of its starts.
func illegal(w *linear.Witness) bool {
	return !slices.ContainsFunc(w.Starts(), func(start linear.Value) bool {
		if w.Len() <= 10 {
			return lineartest.Brute(&w.Register, start)
		}
		return lineartest.Porcupine(&w.Register, start, 50*time.Millisecond) != porcupine.Illegal
	})
}

// upTo returns r as it stood when op i of r.Returns had returned, but not those after it.
func upTo(r *linear.Register, i int) *linear.Register {
	returned := map[int32]bool{}
	for _, op := range r.Returns[:i+1] {
		returned[op] = true
	}
	end := r.Return[r.Returns[i]]
	q := &linear.Register{}
	for op, kind := range r.Kind {
		t := r.Return[op]
		if !returned[int32(op)] {
			t = never
		}
		if r.Call[op] <= end {
			q.Add(kind, r.A[op], r.B[op], r.Call[op], t)
		}
	}
	q.Finish()
	return q
}

// first returns the operation at whose return r became illegal, or -1: then it did not, or
// it takes too long to say.
func first(r *linear.Register) int32 {
	i := sort.Search(len(r.Returns), func(i int) bool {
		return illegal(&linear.Witness{Register: *upTo(r, i), Whole: true})
	})
	if i == len(r.Returns) {
		return -1
	}
	return r.Returns[i]
}

// TestStarts: those that it returns stand for all values.
func TestStarts(t *testing.T) {
	for n, m := range mixes(7, 4, 3) {
		for seed := range uint64(300 * scale) {
			r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(n))), m)
			w := linear.Window(r, int(seed)%(r.Len()+1), r.Len(), never-1)
			want := false
			for v := range linear.Value(w.Values + 3) {
				want = want || lineartest.Brute(&w.Register, v)
			}
			if illegal(w) == want {
				t.Fatalf("%+v, seed %d: it is linearizable from some value: %v", m, seed, want)
			}
		}
	}
}

// dense returns a history of a few operations at few times, of few values, with many that
// never return: so that everything happens to matter.
func dense(random *rand.Rand) *linear.Register {
	ops := make([]operation, 2+random.IntN(6))
	for i := range ops {
		o := &ops[i]
		o.kind = linear.Kind(1 + random.IntN(4))
		o.a, o.b = linear.Value(random.IntN(4)), linear.Value(random.IntN(4))
		o.call = linear.Time(random.IntN(len(ops) + 1))
		o.ret = o.call + linear.Time(random.IntN(3))
		if !o.kind.Pure() && random.IntN(3) == 0 {
			o.ret = never
		}
	}
	slices.SortStableFunc(ops, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	return register(ops...)
}

// TestWindowsAreLinearizable: every window of a history that is, is.
func TestWindowsAreLinearizable(t *testing.T) {
	for seed := range uint64(20_000 * scale) {
		random := rand.New(rand.NewPCG(seed, 6))
		r := dense(random)
		if !lineartest.Brute(r, linear.Initial) || r.Len() == 0 {
			continue
		}
		w := linear.Window(r, random.IntN(r.Len()), r.Len(), never-1)
		if illegal(w) {
			t.Fatalf("seed %d: %v is not", seed, w)
		}
	}
	for n, m := range mixes(12, 3, 3) {
		m.Damage = 0
		for seed := range uint64(300 * scale) {
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			r := lineartest.Random(random, m)
			from := random.IntN(r.Len() + 1)
			to := from + random.IntN(r.Len()-from+1)
			for to < r.Len() && to > 0 && r.Call[to] == r.Call[to-1] {
				to++
			}
			end := never - 1
			if to < r.Len() { // all that were called by then
				end = r.Call[to] - 1
			}
			w := linear.Window(r, from, to, end)
			if illegal(w) {
				t.Fatalf("%+v, seed %d: from %d to %d it is not", m, seed, from, to)
			}
		}
	}
}

// TestUnseenIsNotMissed: a history that is linearizable is so without any of what nobody
// sees, and with writes in place of any cas.
func TestUnseenIsNotMissed(t *testing.T) {
	for n, m := range mixes(9, 3, 3) {
		changes, tried := 0, 0
		for seed := range uint64(600 * scale) {
			random := rand.New(rand.NewPCG(seed, uint64(n)))
			m := m
			if seed%3 == 0 {
				m.Values = 0
			}
			r := lineartest.Random(random, m)
			w := linear.Window(r, 0, r.Len(), never-1)
			w.Whole = seed%2 > 0
			if illegal(w) {
				continue
			}
			tried++
			for _, op := range w.Unseen() {
				if !w.Kind[op].Pure() {
					changes++
				}
			}
			notMissed(t, fmt.Sprintf("%+v, seed %d", m, seed), w, random)
		}
		if tried < 50 || changes < 50 {
			t.Errorf("%+v: %d histories, and %d changes that nobody sees, say little", m, tried, changes)
		}
	}
	for seed := range uint64(20_000 * scale) {
		random := rand.New(rand.NewPCG(seed, 7))
		r := dense(random)
		w := linear.Window(r, 0, r.Len(), never-1)
		w.Whole = seed%2 > 0
		if !illegal(w) {
			notMissed(t, fmt.Sprintf("seed %d", seed), w, random)
		}
	}
}

func notMissed(t *testing.T, name string, w *linear.Witness, random *rand.Rand) {
	t.Helper()
	unseen := w.Unseen()
	for range 4 {
		drop := slices.DeleteFunc(slices.Clone(unseen), func(int32) bool { return random.IntN(3) == 0 })
		if v := w.Without(drop); illegal(v) {
			t.Fatalf("%s: without %v it is not linearizable: %v", name, drop, w)
		}
	}
	var cas []int32
	for i, kind := range w.Kind {
		if kind == linear.CAS && random.IntN(2) == 0 {
			cas = append(cas, int32(i))
		}
	}
	if v := w.Weakened(cas); illegal(v) {
		t.Fatalf("%s: with writes for %v it is not linearizable: %v", name, cas, w)
	}
}

// TestShrink: what it finds is illegal, and small.
func TestShrink(t *testing.T) {
	for _, ops := range []int{10, 40} {
		for _, values := range []int{0, 3, 50} {
			found, size, most := 0, 0, 0
			for n, m := range mixes(ops, values, 3) {
				m.Damage = 0
				for seed := range uint64(2500 / (ops * ops) * 10 * scale) {
					random := rand.New(rand.NewPCG(seed, uint64(n)))
					r := lineartest.Random(random, m)
					for range 1 + seed%3 {
						damage(r, random)
					}
					at := first(r)
					if at < 0 {
						continue
					}
					w, ok := linear.Shrink(r, at, illegal)
					if !ok {
						t.Fatalf("%+v, seed %d: nothing is wrong at op %d", m, seed, at)
					}
					checkWitness(t, r, w)
					found, size, most = found+1, size+w.Len(), max(most, w.Len())
				}
			}
			mean := float64(size) / float64(max(1, found))
			t.Logf("%d values, up to %d operations: %d histories are illegal, and witnesses are of %.2f operations, at most %d", values, ops, found, mean, most)
			if found < 30 || mean > 3 || most > 12 {
				t.Errorf("%d values, up to %d operations: %d histories, witnesses of %.2f, at most %d", values, ops, found, mean, most)
			}
		}
	}
}

// TestShrinkAccusesNobodyElse: if all is right but for one read, the witness is about it.
func TestShrinkAccusesNobodyElse(t *testing.T) {
	found, small, all := 0, 0, 0 // all would be, if porcupine always had an answer in time
	for n, m := range mixes(40, 5, 3) {
		m.Damage = 0
		all += 20 * scale
		for seed := range uint64(20 * scale) {
			r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(n))), m)
			end := linear.Time(0)
			for i := range r.Len() {
				end = max(end, r.Call[i])
				if r.Return[i] != never {
					end = max(end, r.Return[i])
				}
			}
			wrong := linear.Value(7) // which nobody wrote
			if seed%2 > 0 {
				wrong = linear.Nothing
			}
			at := int32(r.Len())
			r.Add(linear.Read, wrong, 0, end+1, end+2)
			r.Finish()
			w, ok := linear.Shrink(r, at, illegal)
			if !ok {
				continue
			}
			found++
			checkWitness(t, r, w)
			if !slices.Contains(w.Ops, at) {
				t.Fatalf("%+v, seed %d: the witness is %v, without %d", m, seed, w.Ops, at)
			}
			if rest := w.Without([]int32{int32(w.Len()) - 1}); illegal(rest) {
				t.Fatalf("%+v, seed %d: others are accused", m, seed)
			}
			if wrong != linear.Nothing && w.Len() <= 3 || w.Len() == 1 {
				small++
			}
		}
	}
	if small < all*9/10 {
		t.Errorf("%d of %d have a witness, %d of them a small one", found, all, small)
	}
}

func TestShrinkByHand(t *testing.T) {
	tests := []struct {
		name    string
		history []operation
		at      int32
		whole   bool
		witness []int32
	}{
		{"a stale read", []operation{
			write(1, 0, 1), write(2, 2, 3), write(1, 4, 5), read(1, 6, 7), write(3, 8, 9), read(3, 10, 11), read(2, 12, 13), read(1, 14, 15),
		}, 6, false, []int32{4, 6}},
		{"nobody wrote it, and nobody knows what was there", []operation{read(7, 1, 2)}, 0, true, []int32{0}},
		{"two cas of one value", []operation{
			write(1, 0, 1), cas(1, 2, 2, 9), cas(1, 3, 2, 10),
		}, 2, false, []int32{1, 2}},
		{"many writes are lost, and one would do", []operation{
			write(2, 0, never), write(3, 0, never), write(4, 0, never), write(1, 0, 1), refused(1, 2, 3), read(1, 4, 5),
		}, 5, false, []int32{0, 4, 5}},
		{"a cas is as good as a write", []operation{
			write(1, 0, 1), cas(1, 2, 2, 9), cas(2, 3, 3, 9), cas(3, 1, 4, 9), read(2, 10, 11),
		}, 4, false, []int32{0, 1, 2, 4}},
		{"the open write may be what a read saw", []operation{
			write(1, 0, never), write(2, 0, 9), read(1, 1, 2), read(2, 3, 4), read(1, 5, 6),
		}, 4, true, []int32{0, 1, 2, 3, 4}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := register(tt.history...)
			if at := first(r); at != tt.at {
				t.Fatalf("it became illegal at %d, not %d", at, tt.at)
			}
			w, ok := linear.Shrink(r, tt.at, illegal)
			if !ok {
				t.Fatal("nothing is wrong")
			}
			checkWitness(t, r, w)
			if w.Whole != tt.whole || !slices.Equal(w.Ops, tt.witness) {
				t.Errorf("the witness is %v, whole: %v; not %v, %v", w.Ops, w.Whole, tt.witness, tt.whole)
			}
		})
	}
}

// TestShrinkOfManyOperations: the last few hundred are enough.
func TestShrinkOfManyOperations(t *testing.T) {
	r := clients(200_000, 4, true)
	end := r.Call[r.Len()-1] + 1000
	r.Add(linear.Read, 40, 0, end, end+1)
	r.Finish()
	asked := 0
	w, ok := linear.Shrink(r, int32(r.Len()-1), func(w *linear.Witness) bool {
		asked += w.Len()
		return illegal(w)
	})
	if !ok {
		t.Fatal("nothing is wrong")
	}
	checkWitness(t, r, w)
	if w.Len() > 3 || asked > 2000 {
		t.Errorf("the witness is %v, after %d operations", w.Ops, asked)
	}
}

// TestShrinkAWideWindow: if an operation was open for long, all that happened meanwhile
// has to be looked at, but not over and over.
func TestShrinkAWideWindow(t *testing.T) {
	r := &linear.Register{}
	const n = 100_000
	r.Add(linear.Write, 1, 0, 0, 1)
	r.Add(linear.Read, 9, 0, 2, 2*n+8)
	for i := range linear.Time(n) {
		kind := linear.Read
		if i%3 == 0 {
			kind = linear.Write
		}
		r.Add(kind, linear.Value(i/3%5), 0, 2*i+3, 2*i+4)
	}
	r.Finish()
	asked, wide := 0, 0
	w, ok := linear.Shrink(r, 1, func(w *linear.Witness) bool {
		asked++
		if w.Len() > n/2 {
			wide++
		}
		// Who reads 9 did not see what the first write set, nor what others did.
		return len(w.Ops) > 1 && w.Ops[0] == 0 && w.Ops[1] == 1
	})
	if !ok {
		t.Fatal("nothing is wrong")
	}
	if !slices.Equal(w.Ops, []int32{0, 1}) {
		t.Errorf("the witness is %v", w.Ops)
	}
	if wide > 10 || asked > 200 {
		t.Errorf("it asked %d times, %d of them about most of the operations", asked, wide)
	}
}

// TestShrinkNothing: what is never said to be illegal has no witness.
func TestShrinkNothing(t *testing.T) {
	r := clients(1000, 5, true)
	asked := 0
	if w, ok := linear.Shrink(r, r.Returns[900], func(*linear.Witness) bool { asked++; return false }); ok {
		t.Errorf("the witness is %v", w)
	}
	if asked < 5 || asked > 12 {
		t.Errorf("it asked %d times", asked)
	}
}
