package member

import (
	"encoding/json"
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

// A plain call is one with its payloads as they stand in the history.
type plain = histories.Call[string, string]

// orders decides by trying every order of every choice of the calls that need not have
// happened. apply returns the state after a call that took place, and whether it can
// have.
func orders[S any](start S, calls []plain, apply func(S, plain) (S, bool)) bool {
	if !slices.ContainsFunc(calls, func(c plain) bool { return c.Type == histories.OK }) {
		return true
	}
	for i, c := range calls {
		first := !slices.ContainsFunc(calls, func(d plain) bool { return d.Completed < c.Invoked })
		if !first {
			continue
		}
		if next, possible := apply(start, c); possible && orders(next, slices.Delete(slices.Clone(calls), i, i+1), apply) {
			return true
		}
	}
	return false
}

// applyRegister is a register that holds what it was last told, as text.
func applyRegister(holds string, c plain) (string, bool) {
	if c.F == Write {
		return c.In, true
	}
	return holds, c.Type == histories.Info || c.Out == holds
}

// applyMembers is a sorted list of nodes.
func applyMembers(in []string, c plain) ([]string, bool) {
	node := strings.Trim(c.In, `"`)
	switch c.F {
	case Leave:
		return slices.DeleteFunc(slices.Clone(in), func(n string) bool { return n == node }), true
	case Join:
		return slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(in), node)))), true
	}
	var m struct{ Voters []string }
	if c.Type == histories.OK && json.Unmarshal([]byte(c.Out), &m) != nil {
		return nil, false
	}
	return in, c.Type == histories.Info || slices.Equal(m.Voters, in)
}

// plainCalls returns the calls of h that may have happened.
func plainCalls(t *testing.T, h *histories.History) []plain {
	t.Helper()
	text := func(_ string, b json.RawMessage) (string, error) { return string(b), nil }
	calls, err := histories.Calls(h, text, text)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(calls, func(c plain) bool { return c.Type == histories.Fail })
}

var nodes = []string{"n1", "n2", "n3"}

// A randomCall is a call of a random history: its ends are positions in time.
type randomCall struct {
	f, argument, result string
	typ                 histories.Type
	begin, end          int // -1: it never ends
}

// randomCalls plays calls, each taking effect at some time between its ends, and lies
// about one in lies of them. On members they are if so, or else on one register.
func randomCalls(r *rand.Rand, n int, members bool, lies int) []randomCall {
	windows := workloadtest.Windows(r, n)
	calls := make([]randomCall, n)
	in := slices.DeleteFunc(slices.Clone(nodes), func(string) bool { return r.IntN(4) == 0 })
	if len(in) == 0 {
		in = []string{"n1"}
	}
	holds, written := "null", 0
	lie := func() bool { return r.IntN(lies) == 0 }
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end = windows[i].Begin, windows[i].End
		c.typ = histories.OK
		happens := r.IntN(6) > 0
		switch node := nodes[r.IntN(3)]; {
		case members && (r.IntN(2) == 0 || len(in) == 1 && in[0] == node):
			seen := slices.Clone(in)
			if lie() {
				seen = nodes[:1+r.IntN(3)]
			}
			b, err := json.Marshal(Membership{Voters: seen})
			if err != nil {
				panic(err)
			}
			c.f, c.argument, c.result = Members, "null", string(b)
		case members:
			c.f, c.argument = Join, fmt.Sprintf("%q", node)
			if slices.Contains(in, node) {
				c.f = Leave
			}
			if happens {
				in, _ = applyMembers(in, plain{F: c.f, In: c.argument})
			}
		case r.IntN(2) == 0:
			c.f, c.argument, c.result = Read, `["x",null]`, `["x",`+holds+`]`
			if lie() {
				c.result = fmt.Sprintf(`["x",%d]`, 1+r.IntN(written+1))
			}
		default:
			written++
			c.f, c.argument = Write, fmt.Sprintf(`["x",%d]`, written)
			if happens {
				holds = fmt.Sprint(written)
			}
		}
		switch read := c.f == Members || c.f == Read; {
		case r.IntN(7) == 0:
			c.typ = histories.Info
			if r.IntN(2) == 0 {
				c.end = -1
			}
		case !happens && !read && !lie():
			c.typ = histories.Fail
		}
	}
	return calls
}

// history writes calls down, each with a process of its own, beside lines of others at
// some positions in time.
func history(t *testing.T, calls []randomCall, process func(i int) int, others map[int]string) *histories.History {
	t.Helper()
	var b strings.Builder
	for now := range 10 * (len(calls) + 1) {
		if others[now] != "" {
			fmt.Fprintln(&b, others[now])
		}
		for i, c := range calls {
			switch now {
			case c.begin:
				fmt.Fprintf(&b, "%d invoke %s %s\n", process(i), c.f, c.argument)
			case c.end:
				value := c.argument
				if c.typ == histories.OK && c.result != "" {
					value = c.result
				}
				fmt.Fprintf(&b, "%d %v %s %s\n", process(i), c.typ, c.f, value)
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

// judged returns what is found of the members, or of the registers.
func judged(t *testing.T, h *histories.History, members bool) checker.Result {
	t.Helper()
	judge := checker.Linearizable(registerModel(), checker.Budget{})
	if members {
		judge = membersJudged(checker.Budget{})
	}
	r, err := judge.Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	if members {
		changes, model, err := membership(h)
		if err == nil {
			_, err = checkertest.Orders(t.Context(), changes, model.model(), r)
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, workloadtest.Text(h))
		}
	} else if _, err := checkertest.Orders(t.Context(), h, registerModel(), r); err != nil {
		t.Fatalf("%v\n%s", err, workloadtest.Text(h))
	}
	return r
}

func TestVerdictsAgreeWithBruteForce(t *testing.T) {
	for _, members := range []bool{true, false} {
		cases := workloadtest.Cases(400)
		count := map[checker.Verdict]int{}
		for seed := range uint64(cases) {
			r := rand.New(rand.NewPCG(seed, 0))
			h := history(t, randomCalls(r, 2+r.IntN(6), members, 6), same, nil)
			calls := plainCalls(t, h)
			if !slices.ContainsFunc(calls, func(c plain) bool { return c.Type == histories.OK }) {
				continue // nothing is known
			}
			good := false
			if members { // whoever they were at first
				for subset := range 1 << len(nodes) {
					in := []string{}
					for i, node := range nodes {
						if subset>>i&1 == 1 {
							in = append(in, node)
						}
					}
					good = good || orders(in, calls, applyMembers)
				}
			} else {
				good = orders(`["x",null]`, calls, applyRegister)
			}
			want := checker.Invalid
			if good {
				want = checker.Valid
			}
			got := judged(t, h, members)
			if got.Verdict != want {
				t.Fatalf("members %v, seed %d: got %v, want %v", members, seed, got.Verdict, want)
			}
			count[got.Verdict]++
			for _, a := range got.Anomalies {
				if !slices.IsSorted(a.Ops) || len(a.Ops) == 0 || a.Note == "" {
					t.Fatalf("seed %d: got %v as evidence", seed, a)
				}
			}
		}
		t.Logf("members %v: %v", members, count)
		if !workloadtest.Raced && (count[checker.Invalid] < cases/10 || count[checker.Valid] < cases/10) {
			t.Errorf("members %v: one verdict is rare: %v", members, count)
		}
	}
}

// TestWritesThatNobodySawCostNothing: with the orders of so many no search comes to an
// end, and they explain nothing.
func TestWritesThatNobodySawCostNothing(t *testing.T) {
	var b strings.Builder
	for i := range 40 {
		fmt.Fprintf(&b, "%d invoke write x=%d\n", i, 100+i)
		if i%2 == 0 {
			fmt.Fprintf(&b, "%d info write\n", i)
		}
	}
	b.WriteString("50 invoke write x=1\n50 ok write\n50 invoke write x=2\n50 ok write\n")
	for _, test := range []struct {
		found int
		want  checker.Verdict
	}{{2, checker.Valid}, {1, checker.Invalid}, {139, checker.Valid}} {
		h, err := checkertest.Parse(fmt.Sprintf("%s51 invoke read x\n51 ok read x=%d", &b, test.found))
		if err != nil {
			t.Fatal(err)
		}
		r, err := checker.Linearizable(registerModel(), checker.Budget{Time: 2 * time.Second}).Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != test.want {
			t.Errorf("%d: got %s", test.found, checkertest.Format(r))
		}
	}
}

// TestManyCallsAtOnceAreNoTrouble: no search would come to an end.
func TestManyCallsAtOnceAreNoTrouble(t *testing.T) {
	for seed := range uint64(3) {
		h := history(t, randomCalls(rand.New(rand.NewPCG(seed, 6)), 300, false, 1_000_000), same, nil)
		r, err := checker.Linearizable(registerModel(), checker.Budget{Time: 2 * time.Second}).Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != checker.Valid {
			t.Errorf("seed %d: got %s", seed, checkertest.Format(r))
		}
	}
}

// TestOneKeyHidesNoOther: one key is wrong, and the others do not hide it.
func TestOneKeyHidesNoOther(t *testing.T) {
	h, err := checkertest.Parse(`0 invoke write x=1
0 ok write
0 invoke write y=1
0 ok write
0 invoke read x
0 ok read x
0 invoke read y
0 ok read y=1`)
	if err != nil {
		t.Fatal(err)
	}
	r := judged(t, h, false)
	if r.Verdict != checker.Invalid || len(r.Anomalies) != 1 || !slices.Equal(r.Anomalies[0].Ops, []int{0, 1, 4, 5}) || !strings.HasPrefix(r.Note, "not linearizable: x; 1 call that no order explains, none before op 5; 1 of 2 keys linearizable;") {
		t.Errorf("got %s", checkertest.Format(r))
	}
}

// TestWhatTheNemesisDoesIsNoAnomaly: while its fault holds it changes a node as it
// likes, and reads tell the truth.
func TestWhatTheNemesisDoesIsNoAnomaly(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(100)) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := map[string]bool{"n1": true, "n2": true, "n3": true}
		held := ""
		var b strings.Builder
		begun := 0
		for step := range 40 {
			switch r.IntN(6) {
			case 0:
				if held == "" {
					begun++
					held = nodes[r.IntN(3)]
					fault := fmt.Sprintf(`{"id":%d,"fault":"member","detail":{"nodes":[%q]}}`, begun, held)
					fmt.Fprintf(&b, "nemesis invoke member %s\n", fault)
					in[held] = r.IntN(2) == 0
					fmt.Fprintf(&b, "nemesis info member %s\n", fault)
				} else if r.IntN(3) == 0 {
					fmt.Fprintf(&b, "nemesis invoke heal {\"id\":%d,\"fault\":\"member\"}\n", begun)
					in[held] = r.IntN(2) == 0
					fmt.Fprintf(&b, "nemesis info heal {\"id\":%d,\"fault\":\"member\",\"acted\":1}\n", begun)
					held = ""
				}
			case 1:
				node := nodes[r.IntN(3)]
				f := []string{Leave, Join}[r.IntN(2)]
				in[node] = f == Join
				fmt.Fprintf(&b, "0 invoke %s %q\n0 ok %s\n", f, node, f)
			default:
				if held != "" && r.IntN(2) == 0 {
					in[held] = !in[held]
				}
				var voters []string
				for _, node := range append([]string{"n0"}, nodes...) {
					if node == "n0" || in[node] {
						voters = append(voters, node)
					}
				}
				m, err := json.Marshal(Membership{Voters: voters})
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%d invoke members\n%d ok members %s\n", step%3, step%3, m)
			}
		}
		h, err := checkertest.Parse(b.String())
		if err != nil {
			t.Fatal(err)
		}
		if got := judged(t, h, true); got.Verdict != checker.Valid {
			t.Fatalf("seed %d: %s\n%s", seed, checkertest.Format(got), &b)
		}
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	rename := strings.NewReplacer("n1", "n7", "n2", "n1", "n3", "a", `"x"`, `"y"`)
	for seed := range uint64(workloadtest.Cases(60)) {
		for _, members := range []bool{true, false} {
			calls := randomCalls(rand.New(rand.NewPCG(seed, 2)), 6, members, 5)
			want := judged(t, history(t, calls, same, nil), members).Verdict
			if got := judged(t, history(t, calls, func(i int) int { return 100 - i }, nil), members).Verdict; got != want {
				t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
			}
			named := slices.Clone(calls)
			for i := range named {
				named[i].argument, named[i].result = rename.Replace(named[i].argument), rename.Replace(named[i].result)
			}
			if got := judged(t, history(t, named, same, nil), members).Verdict; got != want {
				t.Fatalf("seed %d: other names: got %v, want %v", seed, got, want)
			}
			kept := slices.DeleteFunc(slices.Clone(calls), func(c randomCall) bool { return c.typ == histories.Fail })
			if got := judged(t, history(t, kept, same, nil), members).Verdict; got != want {
				t.Fatalf("seed %d: without failed calls: got %v, want %v", seed, got, want)
			}
		}
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid forgets how a call ended, ends it later, or
// lets the nemesis have had a hand in it.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for seed := range uint64(workloadtest.Cases(60)) {
		for _, members := range []bool{true, false} {
			r := rand.New(rand.NewPCG(seed, 3))
			calls := randomCalls(r, 6, members, 20)
			if judged(t, history(t, calls, same, nil), members).Verdict != checker.Valid {
				continue
			}
			i := r.IntN(len(calls))
			late := slices.Clone(calls)
			if late[i].end >= 0 {
				late[i].end = 3*len(calls) + 1
			}
			open := slices.Clone(calls)
			open[i].typ = histories.Info
			begin := r.IntN(3 * len(calls))
			fault := map[int]string{begin: "nemesis invoke member {\"id\":1,\"fault\":\"member\",\"detail\":{\"nodes\":[\"n2\"]}}\nnemesis info member"}
			for what, h := range map[string]*histories.History{
				"returns later":    history(t, late, same, nil),
				"is indeterminate": history(t, open, same, nil),
				"meets a nemesis":  history(t, calls, same, fault),
			} {
				if got := judged(t, h, members).Verdict; got == checker.Invalid {
					t.Fatalf("seed %d: call %d %s: got %v", seed, i, what, got)
				}
			}
		}
	}
}
