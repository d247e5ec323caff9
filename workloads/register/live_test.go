package register

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// prefix returns the first n ops of h.
func prefix(t *testing.T, h *histories.History, n int) *histories.History {
	t.Helper()
	var ops []histories.Op
	for _, op := range h.All() {
		ops = append(ops, op)
	}
	p, err := histories.FromOps(ops[:n])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// watched feeds h to a Live that looks after ops for which look is true, and after the
// last, up to its first finding; n is how many ops that took.
func watched(t *testing.T, h *histories.History, look func(i int) bool) (f *checker.Finding, n int) {
	t.Helper()
	live := Live()
	for i, op := range h.All() {
		if err := live.Feed(op); err != nil {
			t.Fatal(err)
		}
		if !look(i) && i < h.Len()-1 {
			continue
		}
		f, err := live.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			return f, i + 1
		}
	}
	return nil, 0
}

func always(int) bool { return true }

// TestLiveFindsViolationsWhereTheyAreProven: at the op with which the prefix is not
// linearizable, by brute force, for the first time.
func TestLiveFindsViolationsWhereTheyAreProven(t *testing.T) {
	cases := workloadtest.Cases(2000)
	invalid, early := 0, 0
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 4))
		h := history(t, randomCalls(r), same, "x")
		want := 0
		for n := 1; n <= h.Len() && want == 0; n++ {
			if !linearizable(Absent, relevant(t, prefix(t, h, n))) {
				want = n
			}
		}
		f, got := watched(t, h, always)
		if got != want {
			t.Fatalf("seed %d: found after %d ops, want %d: %+v", seed, got, want, f)
		}
		if rare, _ := watched(t, h, func(int) bool { return r.IntN(4) == 0 }); (rare == nil) != (want == 0) {
			t.Fatalf("seed %d: with fewer looks: got %+v, want one: %t", seed, rare, want > 0)
		}
		if f == nil {
			continue
		}
		invalid++
		if h.At(want-1).Type == histories.OK && slices.ContainsFunc(relevant(t, h), func(c call) bool {
			return c.Index < want && c.Completion >= want
		}) {
			early++ // something was outstanding
		}
		if op := h.At(f.At); op.Type == histories.Invoke || op.Time != f.Time || f.At >= want {
			t.Fatalf("seed %d: it showed with %v at %v, which is no completion of then", seed, op, f.Time)
		}
	}
	t.Logf("%d of %d invalid, %d of them with calls outstanding", invalid, cases, early)
	if !workloadtest.Raced && (invalid < cases/10 || early < invalid/20) {
		t.Error("one kind is rare: the histories say little")
	}
}

// TestLiveJudgesKeysApart mixes two keys, of which each is as it is alone.
func TestLiveJudgesKeysApart(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(500)) {
		r := rand.New(rand.NewPCG(seed, 5))
		x, y := randomCalls(r), randomCalls(r)
		a := history(t, x, same, "x")
		fx, _ := watched(t, a, always)
		fy, _ := watched(t, history(t, y, same, "y"), always)
		var ops []histories.Op
		for _, key := range []struct {
			h      *histories.History
			offset int
		}{{a, 0}, {history(t, y, same, "y"), 100}} {
			for _, op := range key.h.All() {
				op.Process += histories.Process(key.offset)
				ops = append(ops, op)
			}
		}
		slices.SortStableFunc(ops, func(a, b histories.Op) int { return int(a.Time - b.Time) })
		for i := range ops {
			ops[i].Index = i
			if i > 0 {
				ops[i].Time = max(ops[i].Time, ops[i-1].Time+1)
			}
		}
		h, err := histories.FromOps(ops)
		if err != nil {
			t.Fatal(err)
		}
		if f, _ := watched(t, h, always); (f != nil) != (fx != nil || fy != nil) {
			t.Fatalf("seed %d: got %+v; of x alone %+v, of y %+v", seed, f, fx, fy)
		}
	}
}

// TestLiveDoesNotWaitForWhoHangs: process 9 does not answer.
func TestLiveDoesNotWaitForWhoHangs(t *testing.T) {
	for _, hanging := range []string{"read x", "write x=7", "cas x=[1,7]"} {
		h, err := checkertest.Parse(`
			9 invoke ` + hanging + `
			0 invoke write x=1
			0 ok write
			0 invoke write x=2
			0 ok write
			1 invoke read x
			1 ok read x=1
			0 invoke write x=3
			0 ok write`)
		if err != nil {
			t.Fatal(err)
		}
		f, n := watched(t, h, always)
		if f == nil || n != 7 || f.At != 6 {
			t.Errorf("%s: got %+v after %d ops, want it with op 6", hanging, f, n)
		}
	}
}

// TestLiveTellsWhatTheCheckerTells: in the words of the whole, with the ops of the whole.
func TestLiveTellsWhatTheCheckerTells(t *testing.T) {
	h, err := checkertest.Parse(`
		0 invoke write y=5
		0 ok write
		0 invoke write x=1
		1 invoke read y
		0 ok write
		1 ok read y=5
		0 invoke write x=2
		0 ok write
		1 invoke read x
		1 ok read x=1
		0 invoke write y=6`)
	if err != nil {
		t.Fatal(err)
	}
	live := Live()
	var f *checker.Finding
	for _, op := range h.All() {
		if err := live.Feed(op); err != nil {
			t.Fatal(err)
		}
	}
	if f, err = live.Look(t.Context()); f == nil || err != nil {
		t.Fatalf("found %+v, %v", f, err)
	}
	if err := live.Explain(t.Context(), f, ops(h)); err != nil {
		t.Fatal(err)
	}
	want := judged(t, h).Anomalies[0]
	if f.Kind != want.Kind || f.Note != want.Note || !slices.Equal(f.Ops, want.Ops) {
		t.Errorf("got %+v, want %+v", f.Anomaly, want)
	}
	if f, err := live.Look(t.Context()); f != nil || err != nil {
		t.Errorf("found again: %+v, %v", f, err)
	}
}

func ops(h *histories.History) func(func(histories.Op, error) bool) {
	return func(yield func(histories.Op, error) bool) {
		for _, op := range h.All() {
			if !yield(op, nil) {
				return
			}
		}
	}
}

func TestLiveRefusesWhatItCannotRead(t *testing.T) {
	for _, text := range []string{"0 invoke push x=1", "0 invoke read x\n0 ok read x=1.5"} {
		h, err := checkertest.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		live := Live()
		var failed error
		for _, op := range h.All() {
			failed = live.Feed(op)
		}
		if failed == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
