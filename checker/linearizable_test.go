package checker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
)

// A cellInput is the argument of a call on a cell: a key, and what to write.
type cellInput struct {
	Key string
	N   int
}

type cellCall = histories.Call[cellInput, int]

// cell is the smallest model there is: numbers that are written and read, and a
// bug that writing 666 brings to light. It has none of the optional functions
// that serve the evidence.
func cell() checker.Model[int, cellInput, int] {
	in := func(f string, value json.RawMessage) (in cellInput, err error) {
		var n *int
		err = json.Unmarshal(value, &[]any{&in.Key, &n})
		if n != nil {
			in.N = *n
		}
		return in, err
	}
	return checker.Model[int, cellInput, int]{
		In: in,
		Out: func(f string, value json.RawMessage) (int, error) {
			out, err := in(f, value)
			return out.N, err
		},
		Key: func(in cellInput) string { return in.Key },
		Step: func(s int, c cellCall) (int, bool) {
			if c.F == "read" {
				return s, s == c.Out
			}
			if c.In.N == 666 {
				panic("the number of the beast")
			}
			return c.In.N, true
		},
		ReadOnly: func(c cellCall) bool { return c.F == "read" },
	}
}

// hopeless is a history on one key that no search comes to the end of: n writes
// at once, of which any set may have come before the last, and then a read of
// what nobody wrote.
func hopeless(key string, n int) string {
	return burst(key, n) + fmt.Sprintf("0 invoke read %s\n0 ok read %s=%d\n", key, key, n+1)
}

func burst(key string, n int) string {
	var b strings.Builder
	for _, typ := range []string{"invoke", "ok"} {
		for i := range n {
			fmt.Fprintf(&b, "%d %s write %s=%d\n", i, typ, key, i+1)
		}
	}
	return b.String()
}

const (
	good = "900 invoke write good=1\n900 ok write\n900 invoke read good\n900 ok read good=1\n"
	bad  = "901 invoke write bad=1\n901 ok write\n901 invoke read bad\n901 ok read bad=2\n"
)

func TestBudgetsEndInUnknownForTheirKeyAlone(t *testing.T) {
	for _, test := range []struct {
		budget checker.Budget
		want   string
	}{
		{checker.Budget{Time: 200 * time.Millisecond}, "out of time"},
		{checker.Budget{Memory: 8 << 20}, "out of memory"},
	} {
		t.Run(test.want, func(t *testing.T) {
			h := parse(t, hopeless("hard", 40)+good)
			begun := time.Now()
			r := check(t.Context(), t, cell(), test.budget, h)
			if took := time.Since(begun); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			want := "not judged: hard (" + test.want + "; valid up to op 80); 1 of 2 keys linearizable"
			if r.Verdict != checker.Unknown || !strings.Contains(r.Note, want) {
				t.Errorf("got %v: %s\nwant unknown: %s", r.Verdict, r.Note, want)
			}
			r = check(t.Context(), t, cell(), test.budget, parse(t, hopeless("hard", 40)+good+bad))
			if r.Verdict != checker.Invalid || len(r.Anomalies) != 1 {
				t.Errorf("one key is not linearizable, whatever the hard one is; got %v: %s", r.Verdict, r.Note)
			}
		})
	}
}

// It is kept within a tenth where nothing else runs; how far the heap grows while it is
// collected, and how late it is looked at, depends on what else does.
func TestMemoryBudgetIsKept(t *testing.T) {
	const budget = 64 << 20
	m := cell()
	step, base, steps, most := m.Step, heapBytes(), 0, uint64(0)
	m.Step = func(s int, c cellCall) (int, bool) {
		if steps++; steps%1000 == 0 { // on one goroutine: there is one key
			most = max(most, heapBytes())
		}
		return step(s, c)
	}
	r := check(t.Context(), t, m, checker.Budget{Memory: budget}, parse(t, hopeless("hard", 40)))
	if !strings.Contains(r.Note, "out of memory") {
		t.Errorf("got %v: %s", r.Verdict, r.Note)
	}
	if most > base+budget/2*3 {
		t.Errorf("the heap grew by %d MiB, of %d MiB allowed", (most-base)>>20, budget>>20)
	}
	if most < base+budget/2 {
		t.Errorf("given up at %d MiB, of %d MiB allowed", (most-base)>>20, budget>>20)
	}
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func TestEasyKeysLeaveTheirTimeToTheHardOnes(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "900 invoke write k%d=1\n900 ok write\n", i)
	}
	h := parse(t, hopeless("hard", 40)+b.String())
	const budget = 300 * time.Millisecond
	begun := time.Now()
	r := check(t.Context(), t, cell(), checker.Budget{Time: budget}, h)
	if took := time.Since(begun); r.Verdict != checker.Unknown || took < budget/2 {
		t.Errorf("gave up after %v of %v, with %v", took, budget, r.Verdict)
	}
}

func TestBugIsFoundWhereTheSearchCannotEnd(t *testing.T) {
	m := cell()
	m.States = func(calls []cellCall) []int {
		states := []int{-1}
		for _, c := range calls {
			states = append(states, c.Out)
		}
		return states
	}
	h := parse(t, burst("hard", 40)+"0 invoke write hard=99\n0 ok write\n0 invoke read hard\n0 ok read hard=7\n")
	var r checker.Result
	for budget := 200 * time.Millisecond; budget < 20*time.Second; budget *= 4 { // more, on a busy machine
		if r = check(t.Context(), t, m, checker.Budget{Time: budget}, h); r.Verdict != checker.Unknown {
			break
		}
	}
	if r.Verdict != checker.Invalid || len(r.Anomalies[0].Ops) != 4 {
		t.Errorf("got %s", checkertest.Format(r))
	}
}

func TestCancelledIsUnknown(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := check(ctx, t, cell(), checker.Budget{}, parse(t, good+bad))
	if want := "not judged: good (context canceled), bad (context canceled)"; r.Verdict != checker.Unknown || !strings.Contains(r.Note, want) {
		t.Errorf("got %v: %s", r.Verdict, r.Note)
	}
}

func TestPanicOfAModelIsUnknown(t *testing.T) {
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, good+"0 invoke write evil=666\n0 ok write\n"))
	if want := "not judged: evil (panicked: the number of the beast; valid up to op 4); 1 of 2 keys linearizable"; r.Verdict != checker.Unknown || !strings.Contains(r.Note, want) {
		t.Errorf("got %v: %s", r.Verdict, r.Note)
	}
	if stack := written(t, r.Artifacts["panic-evil.txt"]); !strings.Contains(stack, "linearizable_test.go") {
		t.Errorf("the stack does not lead to the panic:\n%s", stack)
	}
}

func TestPanicOfAnExplanationLeavesTheVerdict(t *testing.T) {
	m := cell()
	m.Explain = func(checker.Violation[cellInput, int]) checker.Anomaly { panic("speechless") }
	r := check(t.Context(), t, m, checker.Budget{}, parse(t, bad))
	if r.Verdict != checker.Invalid || !strings.Contains(r.Anomalies[0].Note, "speechless") {
		t.Errorf("got %s", checkertest.Format(r))
	}
}

func TestNoTimeForEvidenceLeavesTheVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := cell()
	m.States = func([]cellCall) []int { // asked for when the verdict is there
		cancel()
		return []int{0}
	}
	r := check(ctx, t, m, checker.Budget{Porcupine: true}, parse(t, strings.Repeat(good, 3)+"0 invoke read good\n0 ok read good=7"))
	const want = "good: no order explains its calls; there was no time to find out which, but all is well up to op 12"
	if r.Verdict != checker.Invalid || r.Anomalies[0].Note != want {
		t.Errorf("got %s", checkertest.Format(r))
	}
}

func TestUndecodablePayloadIsAnError(t *testing.T) {
	_, err := checker.Linearizable(cell(), checker.Budget{}).Check(t.Context(), parse(t, `0 invoke write {"k":1}`))
	if err == nil || !strings.Contains(err.Error(), "op 0") {
		t.Errorf("got %v", err)
	}
}

func TestFewOfManyViolationsAreExplained(t *testing.T) {
	var b strings.Builder
	for i := range 30 {
		b.WriteString(strings.ReplaceAll(bad, "bad", fmt.Sprintf("k%d", i)))
	}
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, b.String()))
	if len(r.Anomalies) != 8 || !strings.HasPrefix(r.Note, "not linearizable: k0, k1, k2, k3, k4, k5, k6, k7, and 22 more;") {
		t.Errorf("got %d anomalies, %s", len(r.Anomalies), r.Note)
	}
}

func TestPictureShowsTheCalls(t *testing.T) {
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, bad))
	html := written(t, r.Artifacts["linearizable-bad.html"])
	for _, want := range []string{"<html", "</html>", "write {bad 1}", "read {bad 0} → 2", "not linearizable", "process 901, op 2", "<title>bad: not linearizable</title>", "Rows are processes: 0 is 901."} {
		if !strings.Contains(html, want) {
			t.Errorf("the picture lacks %q", want)
		}
	}
}

func TestPictureOfALongHistoryIsSmall(t *testing.T) {
	var b strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&b, "0 invoke write k=%d\n0 ok write\n", i%500)
	}
	b.WriteString("0 invoke read k\n0 ok read k=7\n")
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, b.String()))
	if html := written(t, r.Artifacts["linearizable-k.html"]); len(html) > 1<<20 || !strings.Contains(html, "→ 7") {
		t.Errorf("got %d bytes", len(html))
	}
}

func TestBrokenWriterBreaksNothingElse(t *testing.T) {
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, bad))
	want := errors.New("disk full")
	if err := r.Artifacts["linearizable-bad.html"](brokenWriter{want}); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestEveryKeyHasAFileOfItsOwn(t *testing.T) {
	keys := []string{"a/b", "a_b", "..", strings.Repeat("long", 100), strings.Repeat("long", 100) + "er"}
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(strings.ReplaceAll(bad, "bad", key))
	}
	r := check(t.Context(), t, cell(), checker.Budget{}, parse(t, b.String()))
	for _, name := range slices.Collect(maps.Keys(r.Artifacts)) {
		if strings.ContainsAny(name, "/\\:") || len(name) > 140 {
			t.Errorf("%q is no name for a file", name)
		}
	}
	if len(r.Artifacts) != len(keys) {
		t.Errorf("got %d files for %d keys", len(r.Artifacts), len(keys))
	}
}

func check(ctx context.Context, t *testing.T, m checker.Model[int, cellInput, int], b checker.Budget, h *histories.History) checker.Result {
	t.Helper()
	r, err := checker.Linearizable(m, b).Check(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func written(t *testing.T, artifact func(io.Writer) error) string {
	t.Helper()
	if artifact == nil {
		t.Fatal("no such artifact")
	}
	var b bytes.Buffer
	if err := artifact(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
