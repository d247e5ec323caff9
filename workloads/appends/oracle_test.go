package appends

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// serializable decides by trying every order that respects time, of every choice of
// the transactions that need not have been committed. It shares with the checker
// nothing but the decoding.
func serializable(state map[string][]int64, txns []call) bool {
	done := true
	for _, c := range txns {
		done = done && c.Type == histories.Info
	}
	if done {
		return true
	}
	for i, c := range txns {
		next, possible := apply(state, c)
		for _, d := range txns {
			possible = possible && d.Completed >= c.Invoked // else d comes first
		}
		if possible && serializable(next, slices.Delete(slices.Clone(txns), i, i+1)) {
			return true
		}
	}
	return false
}

// apply returns what the lists are after c, and whether they can have been as c says.
func apply(state map[string][]int64, c call) (map[string][]int64, bool) {
	next := map[string][]int64{}
	for k, l := range state {
		next[k] = l
	}
	for i, m := range c.In {
		if m.F == Append {
			next[m.Key] = append(slices.Clone(next[m.Key]), m.Element)
		} else if c.Type == histories.OK && !slices.Equal(c.Out[i].List, next[m.Key]) {
			return nil, false
		}
	}
	return next, true
}

// strictly says what brute force has to say of h.
func strictly(t *testing.T, h *histories.History) bool {
	t.Helper()
	txns, err := histories.Calls(h, parse, parse)
	if err != nil {
		t.Fatal(err)
	}
	txns = slices.DeleteFunc(txns, func(c call) bool { return c.Type == histories.Fail })
	return serializable(nil, txns)
}

// A randomTxn is a transaction of a random history: its ends are positions in time.
type randomTxn struct {
	asked, done []Mop
	typ         histories.Type
	begin, end  int // -1: it never ends
}

// randomTxns plays transactions on two lists, each at some time between its ends,
// and then lies about some of them. If final, both lists are read in the end.
func randomTxns(r *rand.Rand, final bool) []randomTxn {
	n := 2 + r.IntN(4)
	txns := make([]randomTxn, n)
	windows := workloadtest.BriefWindows(r, n)
	// What was there at each moment: who reads what is not the last is stale.
	states := []map[string][]int64{{}}
	element := int64(0)
	for _, i := range workloadtest.ByEffect(windows) {
		x := &txns[i]
		x.begin, x.end = windows[i].Begin, windows[i].End
		x.typ = histories.OK
		for range 1 + r.IntN(3) {
			m := Mop{F: Read, Key: string(rune('x' + r.IntN(2)))}
			if r.IntN(2) == 0 {
				element++
				m.F, m.Element = Append, element
			}
			x.asked = append(x.asked, m)
		}
		from := states[len(states)-1]
		if r.IntN(8) == 0 {
			from = states[r.IntN(len(states))]
		}
		happens := r.IntN(8) > 0
		x.typ = histories.OK
		switch {
		case r.IntN(6) == 0:
			x.typ = histories.Info
			if r.IntN(2) == 0 {
				x.end = -1
			}
		case !happens && r.IntN(4) > 0:
			x.typ = histories.Fail
		}
		sees, leaves := copied(from), copied(states[len(states)-1])
		x.done = slices.Clone(x.asked)
		for j, m := range x.asked {
			switch {
			case m.F == Append && r.IntN(20) > 0:
				sees[m.Key] = append(slices.Clone(sees[m.Key]), m.Element)
				leaves[m.Key] = append(slices.Clone(leaves[m.Key]), m.Element)
			case m.F == Read:
				x.done[j].List = sees[m.Key]
				if len(sees[m.Key]) > 1 && r.IntN(20) == 0 {
					x.done[j].List = slices.Clone(sees[m.Key])
					r.Shuffle(len(x.done[j].List), func(a, b int) {
						l := x.done[j].List
						l[a], l[b] = l[b], l[a]
					})
				}
			}
		}
		if happens {
			states = append(states, leaves)
		}
	}
	if final {
		last := states[len(states)-1]
		txns = append(txns, randomTxn{
			asked: []Mop{{F: Read, Key: "x"}, {F: Read, Key: "y"}},
			done:  []Mop{{F: Read, Key: "x", List: last["x"]}, {F: Read, Key: "y", List: last["y"]}},
			typ:   histories.OK, begin: 90, end: 91,
		})
	}
	return txns
}

func copied(state map[string][]int64) map[string][]int64 {
	c := map[string][]int64{}
	for k, l := range state {
		c[k] = l
	}
	return c
}

// history writes transactions down, each with a process of its own.
func history(t *testing.T, txns []randomTxn, process func(i int) int, rename func(Mop) Mop) *histories.History {
	t.Helper()
	renamed := func(mops []Mop) string {
		mops = slices.Clone(mops)
		for i := range mops {
			mops[i] = rename(mops[i])
		}
		return string(payload(mops))
	}
	var b strings.Builder
	for now := range 100 {
		for i, x := range txns {
			switch now {
			case x.begin:
				fmt.Fprintf(&b, "%d invoke txn %s\n", process(i), renamed(x.asked))
			case x.end:
				value := ""
				if x.typ == histories.OK {
					value = renamed(x.done)
				}
				fmt.Fprintf(&b, "%d %v txn %s\n", process(i), x.typ, value)
			}
		}
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return h
}

func same(i int) int { return i }
func asIs(m Mop) Mop { return m }
func other(m Mop) Mop {
	m.Key, m.Element = "k"+m.Key, 1000-m.Element
	m.List = slices.Clone(m.List)
	for i := range m.List {
		m.List[i] = 1000 - m.List[i]
	}
	return m
}

// TestVerdictsAgreeWithBruteForce: exactly, where every list is read in the end;
// elsewhere what is invalid here is so there.
func TestVerdictsAgreeWithBruteForce(t *testing.T) {
	for _, final := range []bool{true, false} {
		cases := workloadtest.Cases(800)
		invalid, missed := 0, 0
		kinds := map[string]int{}
		for seed := range uint64(cases) {
			h := history(t, randomTxns(rand.New(rand.NewPCG(seed, 0)), final), same, asIs)
			got := judged(t, h)
			want := strictly(t, h)
			switch {
			case got.Verdict == checker.Invalid && want:
				t.Fatalf("seed %d: a false alarm: %s\n%s", seed, checkertest.Format(got), workloadtest.Text(h))
			case got.Verdict == checker.Invalid:
				invalid++
				for _, a := range got.Anomalies {
					kinds[a.Kind]++
					if len(a.Ops) == 0 || !slices.IsSorted(a.Ops) || a.Note == "" {
						t.Errorf("seed %d: %+v", seed, a)
					}
				}
			case !want && final:
				t.Fatalf("seed %d: missed\n%s", seed, workloadtest.Text(h))
			case !want:
				missed++
			}
		}
		t.Logf("final reads %v: %d of %d invalid, %d more by brute force alone; %v", final, invalid, cases, missed, kinds)
		if !workloadtest.Raced && (invalid < cases/15 || missed > invalid/20 || len(kinds) < 6) {
			t.Errorf("final reads %v: they say little", final)
		}
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(150)) {
		txns := randomTxns(rand.New(rand.NewPCG(seed, 1)), seed%2 == 0)
		want := judged(t, history(t, txns, same, asIs)).Verdict
		if got := judged(t, history(t, txns, func(i int) int { return 100 - i }, asIs)).Verdict; got != want {
			t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
		}
		if got := judged(t, history(t, txns, same, other)).Verdict; got != want {
			t.Fatalf("seed %d: other keys and elements: got %v, want %v", seed, got, want)
		}
		if want == checker.Invalid {
			continue // for what failed may be what was read
		}
		kept := slices.DeleteFunc(slices.Clone(txns), func(x randomTxn) bool { return x.typ == histories.Fail })
		if got := judged(t, history(t, kept, same, asIs)).Verdict; got != want {
			t.Fatalf("seed %d: without failed transactions: got %v, want %v", seed, got, want)
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid widens the windows of transactions, and
// forgets how they ended.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(150)) {
		r := rand.New(rand.NewPCG(seed, 2))
		txns := randomTxns(r, seed%2 == 0)
		if judged(t, history(t, txns, same, asIs)).Verdict != checker.Valid {
			continue
		}
		i := r.IntN(len(txns))
		late := slices.Clone(txns)
		if late[i].end >= 0 {
			late[i].end = 99
		}
		if got := judged(t, history(t, late, same, asIs)); got.Verdict == checker.Invalid {
			t.Fatalf("seed %d: transaction %d returns later: %s", seed, i, checkertest.Format(got))
		}
		if txns[i].typ == histories.OK {
			open := slices.Clone(txns)
			open[i].typ = histories.Info
			if got := judged(t, history(t, open, same, asIs)); got.Verdict == checker.Invalid {
				t.Fatalf("seed %d: transaction %d is indeterminate: %s", seed, i, checkertest.Format(got))
			}
		}
	}
}

// TestComponentsAgreeWithReachability on random graphs, and shortest cycles are.
func TestComponentsAgreeWithReachability(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(150)) {
		r := rand.New(rand.NewPCG(seed, 3))
		n := 2 + r.IntN(8)
		var edges []edge
		distance := make([][]int, n)
		for i := range distance {
			distance[i] = slices.Repeat([]int{1000}, n)
		}
		for range r.IntN(2 * n) {
			from, to := r.IntN(n), r.IntN(n)
			if from != to {
				edges = append(edges, edge{from: int32(from), to: int32(to), why: ww})
				distance[from][to] = 1
			}
		}
		for k := range n {
			for i := range n {
				for j := range n {
					distance[i][j] = min(distance[i][j], distance[i][k]+distance[k][j])
				}
			}
		}
		g := newGraph(n, edges)
		all := make([]int32, n)
		for i := range all {
			all[i] = int32(i)
		}
		together := map[[2]int32]bool{}
		for _, c := range g.components(all, ww) {
			shortest := 1000
			for _, a := range c {
				shortest = min(shortest, distance[a][a])
				for _, b := range c {
					together[[2]int32{a, b}] = true
				}
			}
			if got := g.cycle(c, classes[0]); len(got) != shortest || got[0].from != got[len(got)-1].to {
				t.Errorf("seed %d: got %v as the shortest cycle of %v, want %d edges", seed, got, c, shortest)
			}
		}
		for i := range n {
			for j := range n {
				if i != j && together[[2]int32{int32(i), int32(j)}] != (distance[i][j] < 1000 && distance[j][i] < 1000) {
					t.Errorf("seed %d: %d and %d", seed, i, j)
				}
			}
		}
	}
}

// TestTimeDependenciesAreAll: what had ended before something began can be reached.
func TestTimeDependenciesAreAll(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 5))
		n := 2 + r.IntN(12)
		f := &findings{txns: make([]call, n)}
		for i, w := range workloadtest.BriefWindows(r, n) {
			f.txns[i] = call{Type: histories.OK, Invoked: time.Duration(w.Begin), Completed: time.Duration(w.End)}
			if r.IntN(5) == 0 {
				f.txns[i].Type, f.txns[i].Completed = histories.Info, histories.Never
			}
		}
		slices.SortFunc(f.txns, func(a, b call) int { return cmp.Compare(a.Invoked, b.Invoked) })
		reach := make([][]bool, n)
		for i := range reach {
			reach[i] = make([]bool, n)
		}
		for _, e := range f.timeDependencies(nil) {
			reach[e.from][e.to] = true
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		for i, a := range f.txns {
			for j, b := range f.txns {
				if reach[i][j] != (a.Completed < b.Invoked) {
					t.Errorf("seed %d: %v before %v: %v", seed, a, b, reach[i][j])
				}
			}
		}
	}
}
