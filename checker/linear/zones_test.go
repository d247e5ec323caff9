package linear_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// scale is how many times as many random histories there are as there usually are.
var scale = 1

// mixes returns all mixes of one to so many operations.
func mixes(ops, values, open int) []lineartest.Mix {
	var all []lineartest.Mix
	for i := range 16 {
		all = append(all, lineartest.Mix{
			Ops: ops, Values: values, Open: open, Damage: 2,
			CAS: i&1 > 0, Refused: i&2 > 0, Indeterminate: i&4 > 0, Ties: i&8 > 0,
		})
	}
	return all
}

// register returns a history of operations in the order of their calls.
func register(ops ...operation) *linear.Register {
	r := &linear.Register{}
	for _, op := range ops {
		r.Add(op.kind, op.a, op.b, op.call, op.ret)
	}
	r.Finish()
	return r
}

type operation struct {
	kind      linear.Kind
	a, b      linear.Value
	call, ret linear.Time
}

func read(v linear.Value, call, ret linear.Time) operation {
	return operation{linear.Read, v, 0, call, ret}
}

func write(v linear.Value, call, ret linear.Time) operation {
	return operation{linear.Write, v, 0, call, ret}
}

func cas(a, b linear.Value, call, ret linear.Time) operation {
	return operation{linear.CAS, a, b, call, ret}
}

func refused(a linear.Value, call, ret linear.Time) operation {
	return operation{linear.Refused, a, 0, call, ret}
}

const never = linear.Never

func TestZones(t *testing.T) {
	tests := []struct {
		name    string
		history []operation
		verdict linear.Verdict
		witness []int32 // the operations of the history that are in it
	}{
		{"nothing happened", nil, linear.Linearizable, nil},
		{"the initial value", []operation{read(0, 1, 2)}, linear.Linearizable, nil},
		{"what no register holds", []operation{write(1, 0, 9), read(linear.Nothing, 1, 2)}, linear.Illegal, []int32{1}},
		{"out of thin air", []operation{write(1, 0, 9), read(2, 1, 2)}, linear.Illegal, []int32{1}},
		{"from the future", []operation{read(1, 1, 2), write(1, 3, 4)}, linear.Illegal, []int32{0, 1}},
		{"times that are equal are concurrent", []operation{read(1, 1, 2), write(1, 2, 4)}, linear.Linearizable, nil},
		{"stale", []operation{write(1, 1, 2), write(2, 3, 4), read(1, 5, 6)}, linear.Illegal, []int32{0, 1, 2}},
		{"the initial value is gone", []operation{write(1, 1, 2), read(0, 3, 4)}, linear.Illegal, []int32{0, 1}},
		{"back and forth", []operation{
			write(1, 0, 9), write(2, 0, 9), read(1, 1, 2), read(2, 1, 2), read(1, 3, 4), read(2, 3, 4),
		}, linear.Illegal, []int32{0, 1, 2, 3, 4, 5}},
		{"a value twice", []operation{write(1, 1, 2), write(1, 3, 4)}, linear.Undecided, nil},
		{"the initial value again", []operation{write(1, 1, 2), write(0, 3, 4)}, linear.Undecided, nil},
		{"two wrong, and a value twice", []operation{
			cas(0, 1, 1, 2), cas(0, 2, 3, 4), read(3, 5, 6), read(linear.Nothing, 5, 6), write(1, 7, 8),
		}, linear.Undecided, nil},
		{"an indeterminate write happened", []operation{write(1, 1, never), read(0, 2, 3), read(1, 4, 5)}, linear.Linearizable, nil},
		{"and did not", []operation{write(1, 1, never), read(0, 2, 3)}, linear.Linearizable, nil},
		{"it happened once only", []operation{
			write(1, 1, never), read(1, 2, 3), write(2, 4, 5), read(1, 6, 7), read(9, 8, 9),
		}, linear.Illegal, []int32{4}},
		{"two cas on one value", []operation{write(1, 1, 2), cas(1, 2, 3, 9), cas(1, 3, 3, 9)}, linear.Illegal, []int32{0, 1, 2}},
		{"two cas on the initial value, one of them proven", []operation{
			cas(0, 2, 3, never), cas(0, 3, 3, 9), read(2, 5, 6),
		}, linear.Illegal, []int32{0, 1, 2}},
		{"one of two cas is indeterminate", []operation{cas(0, 2, 3, never), cas(0, 3, 3, 9)}, linear.Linearizable, nil},
		{"indeterminate cas prove each other", []operation{
			cas(5, 1, 0, never), cas(1, 2, 0, never), cas(2, 3, 0, never), read(3, 1, 2),
		}, linear.Illegal, []int32{0, 1, 2, 3}},
		{"cas in a circle", []operation{cas(1, 2, 0, 9), cas(2, 3, 0, 9), cas(3, 1, 0, never)}, linear.Illegal, []int32{0, 1, 2}},
		{"indeterminate cas in a circle", []operation{cas(1, 2, 0, never), cas(2, 1, 0, never), read(1, 1, 2)}, linear.Illegal, []int32{0, 1, 2}},
		{"nobody needs the circle", []operation{cas(1, 2, 0, never), cas(2, 1, 0, never), read(0, 1, 2)}, linear.Linearizable, nil},
		{"a chain backwards", []operation{
			write(1, 0, 1), cas(2, 3, 2, 3), cas(1, 2, 4, 5), read(3, 6, 7),
		}, linear.Illegal, []int32{1, 2}},
		{"a chain held up", []operation{
			write(1, 0, 1), cas(1, 2, 2, 9), cas(2, 3, 2, 9), cas(3, 4, 2, 9), read(3, 3, 4), read(1, 5, 6),
		}, linear.Illegal, []int32{0, 1, 2, 4, 5}},
		{"a write into a chain", []operation{
			write(1, 0, 1), cas(1, 2, 2, 9), cas(2, 3, 2, 9), read(1, 3, 4), write(7, 5, 6), read(3, 7, 8),
		}, linear.Illegal, []int32{0, 1, 2, 4, 5}},
		{"a write into a long chain", []operation{
			write(1, 0, 1), cas(1, 2, 2, 20), cas(2, 3, 2, 20), cas(3, 4, 2, 20), read(2, 3, 4), write(7, 5, 6), read(2, 7, 8), read(4, 9, 10),
		}, linear.Illegal, []int32{1, 4, 5, 6}},
		{"refused where it may be", []operation{write(1, 1, 2), refused(1, 1, 9)}, linear.Linearizable, nil},
		{"refused what is there", []operation{write(1, 1, 2), refused(1, 3, 4), read(1, 5, 6)}, linear.Illegal, []int32{0, 1, 2}},
		{"refused the initial value", []operation{refused(0, 3, 4), cas(0, 1, 5, 6)}, linear.Illegal, []int32{0, 1}},
		{"refused what an indeterminate cas found", []operation{
			refused(0, 3, 4), cas(0, 1, 5, never), read(1, 7, 8),
		}, linear.Illegal, []int32{0, 1, 2}},
		{"refused what is there to the end", []operation{write(1, 1, 2), refused(1, 3, 4)}, linear.Undecided, nil},
		{"a lost write that nobody saw may explain a refusal", []operation{
			write(1, 1, 2), write(2, 1, never), refused(1, 3, 4),
		}, linear.Linearizable, nil},
		{"but it is lost only once", []operation{
			write(1, 1, 2), write(2, 1, never), refused(1, 3, 4), write(3, 5, 6), refused(3, 7, 8),
		}, linear.Undecided, nil},
		{"refused what may have been written first", []operation{
			write(1, 1, 9), write(2, 1, 9), refused(2, 10, 11),
		}, linear.Linearizable, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			slices.SortStableFunc(tt.history, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
			d := judge(t, register(tt.history...))
			if d.Verdict != tt.verdict {
				t.Fatalf("%v, not %v", d.Verdict, tt.verdict)
			}
			if d.Witness != nil && !slices.Equal(d.Witness.Ops, tt.witness) {
				t.Errorf("the witness is %v, not %v", d.Witness.Ops, tt.witness)
			}
		})
	}
}

// judge decides r, and sees to it that there is an order that explains it, or a witness
// that nothing explains.
func judge(t *testing.T, r *linear.Register) linear.Decision {
	t.Helper()
	if err := r.Check(); err != nil {
		t.Fatal(err)
	}
	d := linear.Zones(r, nil)
	if d.At != -1 {
		t.Errorf("zones do not go by time, and it says %d", d.At)
	}
	switch d.Verdict {
	case linear.Linearizable:
		if err := r.Replay(linear.Initial, d.Order); err != nil {
			t.Fatalf("the order is wrong: %v", err)
		}
	case linear.Illegal:
		checkWitness(t, r, d.Witness)
	}
	return d
}

// checkWitness sees to it that no order explains w, and that it says of r's operations
// nothing that is not so.
func checkWitness(t *testing.T, r *linear.Register, w *linear.Witness) {
	t.Helper()
	if err := w.Check(); err != nil {
		t.Fatalf("the witness is none: %v", err)
	}
	if len(w.Ops) != w.Len() || !slices.IsSorted(w.Ops) {
		t.Fatalf("the witness has %d ops, which are %v", w.Len(), w.Ops)
	}
	named := map[linear.Value]linear.Value{linear.Initial: linear.Initial, linear.Nothing: linear.Nothing}
	same := func(v, was linear.Value) bool {
		if _, ok := named[v]; !ok {
			for _, other := range named {
				if other == was {
					return false
				}
			}
			named[v] = was
		}
		return named[v] == was
	}
	for i, op := range w.Ops {
		weaker := w.Return[i] == r.Return[op] || w.Return[i] == never && !r.Kind[op].Pure()
		switch {
		case w.Kind[i] == linear.Write && r.Kind[op] == linear.CAS:
			weaker = weaker && same(w.A[i], r.B[op])
		case w.Kind[i] == linear.CAS:
			weaker = weaker && r.Kind[op] == linear.CAS && same(w.A[i], r.A[op]) && same(w.B[i], r.B[op])
		default:
			weaker = weaker && w.Kind[i] == r.Kind[op] && same(w.A[i], r.A[op])
		}
		if !weaker || w.Call[i] != r.Call[op] {
			t.Fatalf("op %d of the witness, a %v, is not what op %d was", i, w.Kind[i], op)
		}
	}
	for _, start := range w.Starts() {
		var explained bool
		if w.Len() <= 12 {
			explained = lineartest.Brute(&w.Register, start)
		} else {
			explained = lineartest.Porcupine(&w.Register, start, 0) != porcupine.Illegal
		}
		if explained {
			t.Fatalf("the witness is linearizable from %d: %v", start, w)
		}
	}
}

// TestZonesAgainstBruteForce also says that witnesses are small, and how often Refused
// operations leave no answer.
func TestZonesAgainstBruteForce(t *testing.T) {
	for _, values := range []int{0, 4} {
		for n, m := range mixes(9, values, 3) {
			t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
				var verdicts [3]int
				size := 0
				for seed := range uint64(1000 * scale) {
					r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(n))), m)
					d := judge(t, r)
					verdicts[d.Verdict]++
					if d.Verdict == linear.Undecided {
						if values == 0 && !m.Refused {
							t.Fatalf("seed %d is undecided", seed)
						}
						continue
					}
					if want := lineartest.Brute(r, linear.Initial); want != (d.Verdict == linear.Linearizable) {
						t.Fatalf("seed %d: %v, and brute force says %v", seed, d.Verdict, want)
					}
					if d.Verdict == linear.Illegal {
						size += d.Witness.Len()
					}
				}
				t.Logf("undecided, linearizable, illegal: %v; a witness is of %.2f ops", verdicts, float64(size)/float64(max(1, verdicts[linear.Illegal])))
			})
		}
	}
}

// TestZonesOfNonsense: operations at random times, which see random values, are not
// explained for many a reason.
func TestZonesOfNonsense(t *testing.T) {
	var verdicts [3]int
	sizes := map[int]int{}
	for seed := range uint64(50_000 * scale) {
		r := nonsense(rand.New(rand.NewPCG(seed, 5)), seed%2 > 0)
		d := judge(t, r)
		verdicts[d.Verdict]++
		if d.Verdict == linear.Undecided {
			if slices.Contains(r.Kind, linear.Refused) {
				continue
			}
			t.Fatalf("seed %d is undecided", seed)
		}
		if want := lineartest.Brute(r, linear.Initial); want != (d.Verdict == linear.Linearizable) {
			t.Fatalf("seed %d: %v, and brute force says %v", seed, d.Verdict, want)
		}
		if d.Verdict == linear.Illegal {
			sizes[d.Witness.Len()]++
		}
	}
	t.Logf("undecided, linearizable, illegal: %v; so many witnesses of so many operations: %v", verdicts, sizes)
	if verdicts[linear.Linearizable] == 0 || sizes[3] == 0 || sizes[4] == 0 || sizes[5] == 0 {
		t.Error("the histories say little")
	}
}

// nonsense returns a history in which every value is written once and every read sees one
// that is written, or the initial one; with all, there are cas and indeterminate ones.
func nonsense(random *rand.Rand, all bool) *linear.Register {
	n := 2 + random.IntN(7)
	owners := 1 + random.IntN(n)
	if owners > 4 {
		owners = 4
	}
	value := func() linear.Value { return linear.Value(random.IntN(owners + 1)) }
	ops := make([]operation, n)
	for i := range ops {
		o := &ops[i]
		o.call = linear.Time(random.IntN(2 * n))
		o.ret = o.call + linear.Time(random.IntN(n))
		switch {
		case i < owners:
			o.kind, o.a = linear.Write, linear.Value(i+1)
			if all && random.IntN(2) == 0 {
				o.kind, o.a, o.b = linear.CAS, value(), o.a
				if o.a == o.b {
					o.a = linear.Initial
				}
			}
			if all && random.IntN(3) == 0 {
				o.ret = never
			}
		case all && random.IntN(8) == 0:
			o.kind, o.a = linear.Refused, value()
		default:
			o.kind, o.a = linear.Read, value()
		}
	}
	slices.SortStableFunc(ops, func(a, b operation) int { return cmp.Compare(a.call, b.call) })
	return register(ops...)
}

func TestZonesAgainstPorcupine(t *testing.T) {
	for n, m := range mixes(350, 0, 3) {
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			var verdicts [3]int
			unknown := 0
			for seed := range uint64(20 * scale) {
				m := m
				if seed%4 > 0 {
					m.Damage = 0
				}
				r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(n))), m)
				if seed%4 == 2 {
					damage(r, rand.New(rand.NewPCG(seed, 1)))
				}
				d := judge(t, r)
				verdicts[d.Verdict]++
				if d.Verdict == linear.Undecided {
					continue
				}
				switch lineartest.Porcupine(r, linear.Initial, 100*time.Millisecond) {
				case porcupine.Unknown:
					unknown++
				case porcupine.Ok:
					if d.Verdict != linear.Linearizable {
						t.Fatalf("seed %d is %v, and porcupine says it is not", seed, d.Verdict)
					}
				case porcupine.Illegal:
					if d.Verdict != linear.Illegal {
						t.Fatalf("seed %d is %v, and porcupine says it is not", seed, d.Verdict)
					}
				}
			}
			t.Logf("undecided, linearizable, illegal: %v; porcupine did not know %d", verdicts, unknown)
		})
	}
}

// damage makes one read see what another saw.
func damage(r *linear.Register, random *rand.Rand) {
	var reads []int
	for i, kind := range r.Kind {
		if kind == linear.Read {
			reads = append(reads, i)
		}
	}
	if len(reads) > 1 {
		i, j := reads[random.IntN(len(reads))], reads[random.IntN(len(reads))]
		r.A[i] = r.A[j]
	}
}

// TestZonesUnsorted: the blocks need not be nearly sorted.
func TestZonesUnsorted(t *testing.T) {
	r := &linear.Register{}
	const n = 5000
	for i := range linear.Value(n) { // called in one order, done in the other
		r.Add(linear.Write, i+1, 0, linear.Time(i), 4*n-2*linear.Time(i))
	}
	for i := range linear.Value(n) {
		r.Add(linear.Read, n-i, 0, 2*n+2*linear.Time(i), 2*n+2*linear.Time(i)+1)
	}
	r.Finish()
	if d := judge(t, r); d.Verdict != linear.Linearizable {
		t.Errorf("it is %v", d.Verdict)
	}
}

// TestZonesLimit: without the memory there is no answer.
func TestZonesLimit(t *testing.T) {
	r := clients(10000, 10, true)
	most := int64(0)
	d := linear.Zones(r, func(bytes int64) bool {
		most = max(most, bytes)
		return true
	})
	if d.Verdict != linear.Linearizable {
		t.Fatalf("it is %v", d.Verdict)
	}
	if perOp := most / int64(r.Len()); perOp > 60 {
		t.Errorf("it holds %d bytes per op", perOp)
	}
	asked := 0
	for last := most; last > 0; {
		limit := last - 1
		last = 0
		d := linear.Zones(r, func(bytes int64) bool {
			asked++
			if bytes <= limit {
				last = max(last, bytes)
			}
			return bytes <= limit
		})
		if d.Verdict != linear.Undecided {
			t.Fatalf("with %d bytes it is %v", limit, d.Verdict)
		}
	}
	if asked < 4 {
		t.Errorf("it asked %d times", asked)
	}
}

// TestZonesMend: of what happened, with so many Refused, hardly anything is left undecided,
// however many operations are open, and whatever was lost.
func TestZonesMend(t *testing.T) {
	undecided := 0
	for seed := range uint64(100 * scale) {
		r := lineartest.Simulate(rand.New(rand.NewPCG(seed, 8)), lineartest.Load{
			Ops: 2000, Clients: 2 + int(seed%20), Indeterminate: int(seed % 5 * 5),
		})
		if d := judge(t, r); d.Verdict != linear.Linearizable {
			undecided++
		}
	}
	if undecided > scale {
		t.Errorf("%d are undecided", undecided)
	}
}

// clients returns a history of a register that n clients use all the time: reads and
// writes of new values, or, with all, cas, refused ones, and some indeterminate ones too.
func clients(ops, n int, all bool) *linear.Register {
	random := rand.New(rand.NewPCG(uint64(ops), uint64(n)))
	type op struct {
		kind             linear.Kind
		a, b             linear.Value
		call, point, ret linear.Time
	}
	history := make([]op, 0, ops)
	free := make([]linear.Time, n)
	for len(history) < ops {
		for c := range free {
			call := free[c] + linear.Time(random.IntN(20))
			point := call + 1 + linear.Time(random.IntN(50))
			ret := point + 1 + linear.Time(random.IntN(50))
			free[c] = ret + 1
			history = append(history, op{call: call, point: point, ret: ret})
		}
	}
	slices.SortFunc(history, func(a, b op) int { return cmp.Compare(a.point, b.point) })
	holds, fresh := linear.Initial, linear.Value(0)
	for i := range history {
		o := &history[i]
		lost := all && random.IntN(100) == 0
		if lost {
			o.ret = never
		}
		switch roll := random.IntN(10); {
		case roll < 5 && !lost:
			o.kind, o.a = linear.Read, holds
		case roll < 8 || !all:
			fresh++
			o.kind, o.a = linear.Write, fresh
			if !lost || random.IntN(2) == 0 {
				holds = fresh
			}
		case random.IntN(50) > 0:
			fresh++
			o.kind, o.a, o.b = linear.CAS, holds, fresh
			if !lost || random.IntN(2) == 0 {
				holds = fresh
			}
		default:
			o.kind, o.a = linear.Refused, max(0, holds-linear.Value(1+random.IntN(5)))
			if holds == 0 {
				o.kind = linear.Read
			}
		}
	}
	slices.SortFunc(history, func(a, b op) int { return cmp.Compare(a.call, b.call) })
	r := &linear.Register{}
	for _, o := range history {
		r.Add(o.kind, o.a, o.b, o.call, o.ret)
	}
	r.Finish()
	return r
}

// TestZonesOfManyOperations: a history that is right is not always decided if there are
// Refused in it, but it is never Illegal, and one more that is wrong is found.
func TestZonesOfManyOperations(t *testing.T) {
	for _, all := range []bool{false, true} {
		r := clients(100_000, 20, all)
		if d := judge(t, r); d.Verdict == linear.Illegal || d.Verdict == linear.Undecided && !all {
			t.Fatalf("it is %v", d.Verdict)
		}
		end := r.Call[r.Len()-1] + 1000
		r.Add(linear.Read, 40, 0, end, end+1)
		r.Finish()
		d := judge(t, r)
		if d.Verdict != linear.Illegal {
			t.Fatalf("with a stale read it is %v", d.Verdict)
		}
		if n := d.Witness.Len(); n > 6 || d.Witness.Ops[n-1] != int32(r.Len()-1) {
			t.Errorf("the witness is %v", d.Witness.Ops)
		}
	}
}

func BenchmarkZones(b *testing.B) {
	for _, ops := range []int{1_000_000, 10_000_000} {
		for _, all := range []bool{false, true} {
			b.Run(fmt.Sprintf("ops=%d/cas=%v", ops, all), func(b *testing.B) {
				r := clients(ops, 20, all)
				runtime.GC()
				b.ReportAllocs()
				for b.Loop() {
					if d := linear.Zones(r, nil); d.Verdict == linear.Illegal {
						b.Fatal(d.Verdict)
					}
				}
			})
		}
	}
}
