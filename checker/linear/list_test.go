package linear_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// A listOp is an operation on a list, with what only those know who make histories.
type listOp struct {
	begin, point, end linear.Time
	append            bool
	element           linear.Value
	saw               []linear.Value
}

// randomList returns the history of a list on which operations took effect one by one,
// with lies in it in three of four.
func randomList(rng *rand.Rand, most, open int) []listOp {
	n := 1 + rng.IntN(most)
	ops := make([]listOp, n)
	for i := range ops {
		o := &ops[i]
		o.begin = linear.Time(rng.IntN(4 * n))
		o.point = o.begin + linear.Time(rng.IntN(4*open))
		o.end = o.point + linear.Time(rng.IntN(4*open))
		o.append, o.element = rng.IntN(2) == 0, linear.Value(i)
	}
	slices.SortFunc(ops, func(a, b listOp) int { return cmp.Compare(a.point, b.point) })
	var list []linear.Value
	lies := rng.IntN(4) > 0
	for i := range ops {
		o := &ops[i]
		lost := rng.IntN(6) == 0
		if lost {
			o.end = linear.Never
		}
		switch {
		case !o.append:
			o.saw = slices.Clone(list)
		case !lost || rng.IntN(2) == 0:
			list = append(list, o.element)
		}
		if k := len(o.saw); lies && k > 0 && rng.IntN(2) == 0 {
			i, j := rng.IntN(k), rng.IntN(k)
			switch rng.IntN(5) {
			case 0:
				o.saw[i], o.saw[j] = o.saw[j], o.saw[i]
			case 1:
				o.saw[i] = o.saw[j]
			case 2:
				o.saw = slices.Delete(o.saw, i, i+1)
			case 3:
				o.saw = o.saw[:i]
			default:
				o.saw[i] = linear.Value(n) - linear.Value(rng.IntN(2)*(n+1)) // beyond all, or Nothing
			}
		}
	}
	slices.SortStableFunc(ops, func(a, b listOp) int { return cmp.Compare(a.begin, b.begin) })
	return slices.DeleteFunc(ops, func(o listOp) bool { return !o.append && o.end == linear.Never })
}

func listOf(ops []listOp) *linear.List {
	l := &linear.List{}
	for _, o := range ops {
		if o.append {
			l.Append(o.element, o.begin, o.end)
		} else {
			l.Read(o.saw, o.begin, o.end)
		}
	}
	return l
}

// listProblem says what a list is in the words of the other deciders.
func listProblem(ops []listOp) linear.Problem[string] {
	p := linear.Problem[string]{Starts: []string{""}}
	for _, o := range ops {
		p.Call, p.Return = append(p.Call, o.begin), append(p.Return, o.end)
	}
	text := func(list []linear.Value) string {
		var runes []rune
		for _, v := range list {
			runes = append(runes, 'b'+rune(v))
		}
		return string(runes)
	}
	p.Step = func(s string, op int32) (string, bool) {
		if o := ops[op]; o.append {
			return s + text([]linear.Value{o.element}), true
		}
		return s, s == text(ops[op].saw)
	}
	p.ReadOnly = func(op int32) bool { return !ops[op].append }
	return p
}

// opsOf is listOf the other way round: of a list that no two reads disagree about, or all
// that do are named.
func opsOf(l *linear.List) []listOp {
	var ops []listOp
	for i, e := range l.Element {
		o := listOp{begin: l.Call[i], end: l.Return[i], append: e != linear.Nothing, element: e}
		switch {
		case o.append:
		case int32(i) == l.ForkBy:
			o.saw = l.Fork
		default:
			o.saw = l.Longest[:l.Length[i]]
		}
		ops = append(ops, o)
	}
	return ops
}

func TestLists(t *testing.T) {
	illegal, sizes := 0, map[int]int{}
	for seed := range uint64(20_000) {
		ops := randomList(rand.New(rand.NewPCG(seed, 8)), 9, 3)
		l, p := listOf(ops), listProblem(ops)
		d, witness := l.Decide()
		want := lineartest.BruteProblem(p)
		if d.Verdict == linear.Undecided || want != (d.Verdict == linear.Linearizable) {
			t.Fatalf("seed %d: %v, but brute force says %v", seed, d.Verdict, want)
		}
		if seed%10 == 0 && want != (asPorcupine(p, time.Minute) == porcupine.Ok) {
			t.Fatalf("seed %d: %v, but porcupine says otherwise", seed, d.Verdict)
		}
		if want {
			if err := replay(p, d.Order); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			continue
		}
		illegal++
		sizes[len(witness)]++
		if len(witness) == 0 || len(witness) > 4 {
			t.Fatalf("seed %d: a witness of ops %v", seed, witness)
		}
		few := l.Project(witness)
		if few.Len() != len(witness) || lineartest.BruteProblem(listProblem(opsOf(few))) {
			t.Fatalf("seed %d: ops %v are linearizable by themselves", seed, witness)
		}
	}
	if illegal < 2_000 || illegal > 18_000 {
		t.Errorf("%d are illegal: the histories say little", illegal)
	}
	for size := 1; size <= 4; size++ {
		if sizes[size] == 0 {
			t.Errorf("no witness of %d ops: %v", size, sizes)
		}
	}
}

// TestListWitnessNeedsItsOps: what a witness shows is a contradiction between its
// operations, so that most say nothing without one of them.
func TestListWitnessNeedsItsOps(t *testing.T) {
	var l linear.List
	l.Append(0, 0, 1)
	l.Append(1, 2, 3)
	l.Append(2, 4, 5)
	l.Read([]linear.Value{1, 0, 2}, 6, 7) // 0 precedes 1
	d, witness := l.Decide()
	if d.Verdict != linear.Illegal || !slices.Equal(witness, []int32{0, 1, 3}) {
		t.Fatalf("%v: ops %v", d.Verdict, witness)
	}
	few := l.Project(witness)
	if !slices.Equal(few.Longest, []linear.Value{1, 0}) {
		t.Errorf("of the list is left %v", few.Longest)
	}
	for i := range witness {
		if d, _ := l.Project(slices.Delete(slices.Clone(witness), i, i+1)).Decide(); d.Verdict != linear.Linearizable {
			t.Errorf("without op %d: %v", witness[i], d.Verdict)
		}
	}
}

func TestListsOutOfReach(t *testing.T) {
	var l linear.List
	if d, _ := l.Decide(); d.Verdict != linear.Linearizable {
		t.Errorf("nothing happened: %v", d.Verdict)
	}
	if l.Read([]linear.Value{7}, 0, linear.Never) || l.Len() > 0 {
		t.Error("a read that did not return says something")
	}
	l.Append(0, 0, 1)
	l.Append(0, 2, 3)
	if d, _ := l.Decide(); d.Verdict != linear.Undecided {
		t.Errorf("an element appended twice: %v", d.Verdict)
	}
}

func BenchmarkList(b *testing.B) {
	var l linear.List
	var list []linear.Value
	for i := range linear.Time(100_000) {
		if i%10 > 0 {
			l.Append(linear.Value(i), 2*i, 2*i+5)
			list = append(list, linear.Value(i))
		} else {
			l.Read(list, 2*i, 2*i+5)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := l.Decide(); d.Verdict != linear.Linearizable {
			b.Fatal(d.Verdict)
		}
	}
}
