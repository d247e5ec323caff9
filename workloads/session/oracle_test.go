package session

import (
	"fmt"
	"maps"
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

// causal decides by what comes before what: an operation before what its session does
// next, and a write before who reads it. It shares with the checker nothing but the
// decoding.
func causal(t *testing.T, h *histories.History) bool {
	t.Helper()
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		t.Fatal(err)
	}
	before := make([][]bool, len(calls))
	for i := range calls {
		before[i] = make([]bool, len(calls))
	}
	for i, a := range calls {
		if a.F == Read && a.Type == histories.OK && a.Out != 0 {
			from := slices.IndexFunc(calls, func(b call) bool {
				return b.F == Write && b.In.key == a.In.key && b.In.version == a.Out && b.Type != histories.Fail && b.Invoked < a.Completed
			})
			if from < 0 {
				return false
			}
			before[from][i] = true
		}
		for j, b := range calls {
			if i < j && a.Process == b.Process && a.Type == histories.OK {
				before[i][j] = true
			}
		}
	}
	for k := range calls {
		for i := range calls {
			for j := range calls {
				before[i][j] = before[i][j] || before[i][k] && before[k][j]
			}
		}
	}
	for i, w := range calls {
		for j, r := range calls {
			if before[i][j] && w.F == Write && r.F == Read && r.Type == histories.OK && w.In.key == r.In.key && r.Out < w.In.version {
				return false
			}
		}
	}
	return true
}

// A step is an operation of a random history, in the order of invocations; it ends
// before the next one of its process begins, or, if open, just before the last step.
type step struct {
	process int
	f, key  string
	version int64 // that is written or was read
	typ     histories.Type
	open    bool
}

// randomSteps plays a few sessions, whose reads show any version of the past: some
// that is fresh enough, or just some.
func randomSteps(r *rand.Rand) []step {
	const processes = 3
	var steps []step
	written := map[string]int64{}
	knows := make([]map[string]int64, processes)
	at := map[string]map[string]int64{} // what the writer of a version knew
	for p := range knows {
		knows[p] = map[string]int64{}
	}
	dead := map[int]bool{}
	forgets := r.IntN(2) == 0 // what the writers of what it reads knew
	for range 10 + r.IntN(25) {
		p := r.IntN(processes)
		if dead[p] {
			continue
		}
		s := step{process: p, typ: histories.OK}
		if r.IntN(20) == 0 {
			s.typ = histories.Info
			if r.IntN(4) == 0 {
				s.typ = histories.Fail
			}
			dead[p] = s.typ == histories.Info
		}
		if r.IntN(3) == 0 {
			s.f, s.key = Write, someKey(r, p)
			written[s.key]++
			s.version = written[s.key]
			if s.typ == histories.OK {
				knows[p][s.key] = s.version
			}
			known := map[string]int64{}
			for k, v := range knows[p] {
				known[k] = v
			}
			at[fmt.Sprint(s.key, s.version)] = known
		} else {
			s.f, s.key = Read, someKey(r, r.IntN(processes))
			least := knows[p][s.key]
			if r.IntN(30) == 0 {
				least = 0
			}
			s.version = least + r.Int64N(written[s.key]-least+1)
			if s.typ == histories.OK && !forgets {
				for k, v := range at[fmt.Sprint(s.key, s.version)] {
					knows[p][k] = max(knows[p][k], v)
				}
			}
			if s.typ == histories.OK {
				knows[p][s.key] = max(knows[p][s.key], s.version)
			}
		}
		s.open = r.IntN(4) == 0
		steps = append(steps, s)
	}
	return steps
}

// someKey returns a key of a process: process 0 has two, the others one.
func someKey(r *rand.Rand, process int) string {
	if process == 0 && r.IntN(2) == 0 {
		return "y0"
	}
	return fmt.Sprintf("x%d", process)
}

// history writes steps down. An open one ends when its process goes on.
func history(t *testing.T, steps []step, process func(int) int, key func(string) string, version func(int64) int64) *histories.History {
	t.Helper()
	var b strings.Builder
	outstanding := map[int]string{}
	end := func(p int) {
		b.WriteString(outstanding[p])
		delete(outstanding, p)
	}
	for _, s := range steps {
		end(s.process)
		v := "null"
		if s.version != 0 {
			v = fmt.Sprint(version(s.version))
		}
		asked := v
		if s.f == Read {
			asked = "null"
		}
		p := process(s.process)
		fmt.Fprintf(&b, "%d invoke %s [%q,%s]\n", p, s.f, key(s.key), asked)
		outstanding[s.process] = fmt.Sprintf("%d %v %s [%q,%s]\n", p, s.typ, s.f, key(s.key), v)
		if !s.open {
			end(s.process)
		}
	}
	for p := range 10 {
		end(p)
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return h
}

func same[T any](v T) T { return v }

func plain(t *testing.T, steps []step) *histories.History {
	t.Helper()
	return history(t, steps, same[int], same[string], same[int64])
}

func TestVerdictsAgreeWithReachability(t *testing.T) {
	cases := workloadtest.Cases(1000)
	invalid, found := 0, map[string]int{}
	for seed := range uint64(cases) {
		h := plain(t, randomSteps(rand.New(rand.NewPCG(seed, 0))))
		got, want := judged(t, h), causal(t, h)
		if (got.Verdict == checker.Invalid) == want {
			t.Fatalf("seed %d: causal is %v, got %s\n%s", seed, want, checkertest.Format(got), workloadtest.Text(h))
		}
		if want {
			continue
		}
		invalid++
		for _, a := range got.Anomalies {
			found[a.Kind]++
			proven(t, a, h)
		}
	}
	t.Logf("%d of %d invalid: %v", invalid, cases, found)
	if !workloadtest.Raced && (invalid < cases/12 || len(found) < 5 || found[writeFirst] < 5) {
		t.Error("they say little")
	}
}

// proven checks the evidence: the ops that an anomaly names are wrong by themselves.
func proven(t *testing.T, a checker.Anomaly, h *histories.History) {
	t.Helper()
	part, err := checkertest.Pick(h, a.Ops)
	if err != nil {
		t.Fatal(err)
	}
	if causal(t, part) || a.Note == "" {
		t.Errorf("%+v proves nothing by itself:\n%s", a, workloadtest.Text(h))
	}
}

// behind counts the reads that find less than their session knows, where each write
// takes along a copy of all that its session knew: what the checker does by looking at
// what is news.
func behind(t *testing.T, h *histories.History) (n int64) {
	t.Helper()
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		t.Fatal(err)
	}
	at := map[int]call{} // by both ops
	for _, c := range calls {
		at[c.Index], at[c.Completion] = c, c
	}
	knows := map[histories.Process]map[string]int64{}
	took := map[input]map[string]int64{}
	for i := range h.Len() {
		c, ok := at[i]
		switch {
		case !ok || c.Type == histories.Fail && c.F == Read:
			continue
		case knows[c.Process] == nil:
			knows[c.Process] = map[string]int64{}
		}
		mine := knows[c.Process]
		switch wrote := (input{c.In.key, c.Out}); {
		case i == c.Index && c.F == Write:
			took[c.In] = maps.Clone(mine)
		case i == c.Index || c.Type != histories.OK:
		case c.F == Write:
			mine[c.In.key] = c.In.version
		default:
			if c.Out < mine[c.In.key] {
				n++
			}
			for k, v := range took[wrote] {
				mine[k] = max(mine[k], v)
			}
			mine[c.In.key] = max(mine[c.In.key], c.Out)
		}
	}
	return n
}

// TestKnowledgeIsAsByCopies: in longer histories, of many sessions that learn from one
// another.
func TestKnowledgeIsAsByCopies(t *testing.T) {
	total := int64(0)
	for seed := range uint64(workloadtest.Cases(40)) {
		m := []mistake{none, forgetsWrites, forgetsReads, forgetsOthers, swaps}[seed%5]
		h, run := judgedPlay(t, m, workloadtest.Play{Seed: seed, Workers: 2 + int(seed%9), Main: 400 * time.Millisecond, Lost: 0.02})
		r := run.Parts[0]
		got := r.Counts[ownWrite] + r.Counts[wentBack] + r.Counts[writesOrder] + r.Counts[writeFirst]
		if want := behind(t, h); got != want {
			t.Fatalf("seed %d, mistake %d: got %d, want %d: %s", seed, m, got, want, checkertest.Format(r))
		}
		total += got
	}
	if !workloadtest.Raced && total < 1000 {
		t.Errorf("only %d reads find too little", total)
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(200)) {
		steps := randomSteps(rand.New(rand.NewPCG(seed, 1)))
		want := judged(t, plain(t, steps)).Verdict
		other := func(v int64) int64 { return 7*v + 3 }
		if got := judged(t, history(t, steps, func(p int) int { return 9 - p }, func(k string) string { return k + "'" }, other)).Verdict; got != want {
			t.Fatalf("seed %d: other processes, keys and versions: got %v, want %v", seed, got, want)
		}
		kept := slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return s.typ == histories.Fail })
		if got := judged(t, plain(t, kept)).Verdict; got != want && want != checker.Invalid { // what failed may be what was read
			t.Fatalf("seed %d: without failed operations: got %v, want %v", seed, got, want)
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid forgets how a session's last operation
// ended, or that it had any before some.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(200)) {
		r := rand.New(rand.NewPCG(seed, 2))
		steps := randomSteps(r)
		if judged(t, plain(t, steps)).Verdict == checker.Invalid {
			continue
		}
		last := len(steps) - 1
		p := r.IntN(3)
		for last > 0 && steps[last].process != p {
			last--
		}
		if steps[last].process == p && steps[last].typ == histories.OK {
			unknown := slices.Clone(steps)
			unknown[last].typ = histories.Info
			if got := judged(t, plain(t, unknown)); got.Verdict == checker.Invalid {
				t.Fatalf("seed %d: step %d is indeterminate: %s", seed, last, checkertest.Format(got))
			}
		}
		open := slices.Clone(steps)
		open[r.IntN(len(open))].open = true
		if got := judged(t, plain(t, open)); got.Verdict == checker.Invalid {
			t.Fatalf("seed %d: one returns later: %s", seed, checkertest.Format(got))
		}
		// From some operation on the process is another one, and writes no more.
		i := r.IntN(len(steps))
		var parted []step
		for j, s := range steps {
			if j >= i && s.process == steps[i].process {
				if s.process += 5; s.f == Write {
					continue
				}
			}
			parted = append(parted, s)
		}
		gone := func(s step) bool { // it is written no more
			return s.f == Read && s.version != 0 && s.typ == histories.OK && !slices.ContainsFunc(parted, func(w step) bool {
				return w.f == Write && w.key == s.key && w.version == s.version
			})
		}
		parted = slices.DeleteFunc(parted, gone)
		if got := judged(t, plain(t, parted)); got.Verdict == checker.Invalid {
			t.Fatalf("seed %d: process %d is two: %s\n%s", seed, steps[i].process, checkertest.Format(got), workloadtest.Text(plain(t, parted)))
		}
	}
}
