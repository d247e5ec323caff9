package recorded

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// An object is one of those that are judged, as simple as can be: what it holds is a list
// of texts, whatever they mean. It shares nothing with the models.
type object struct {
	first []string
	// draw invents a call on the object of a name.
	draw func(r *rand.Rand, name string) (f, argument string)
	// do performs it; value is that of the completion. It is impossible if it fails.
	do func(holds []string, f, argument string) (after []string, value string, possible bool)
	// lie returns another value that the completion could have.
	lie func(r *rand.Rand, f, argument, value string) string
	// matches says that a value is what was to be; nil: if it is the same.
	matches func(want, value string) bool
	// others are what it may hold at any other time; nil if all evidence is whole.
	others [][]string

	judge func(t *testing.T, h *histories.History) (checker.Verdict, violation)
	// decider is of the model, and decides many of the histories of either kind.
	decider string
}

// A violation is what a model was given to explain.
type violation struct {
	whole   bool
	witness map[int]histories.Type // by the indices of invocations
	note    string                 // of the result
	decided map[string]int64       // by which engine, as its counts
}

// judged returns an object's judge.
func judged[S comparable, In, Out any](m checker.Model[S, In, Out]) func(t *testing.T, h *histories.History) (checker.Verdict, violation) {
	return func(t *testing.T, h *histories.History) (checker.Verdict, violation) {
		var found violation
		m := m
		explain := m.Explain
		m.Explain = func(v checker.Violation[In, Out]) checker.Anomaly {
			found = violation{whole: v.Whole, witness: map[int]histories.Type{}}
			for _, c := range v.Witness {
				found.witness[c.Index] = c.Type
			}
			return explain(v)
		}
		r, err := checker.Linearizable(m, checker.Budget{}).Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := checkertest.Orders(t.Context(), h, m, r); err != nil {
			t.Fatalf("%v\n%s", err, workloadtest.Text(h))
		}
		found.note, found.decided = r.Note, r.Counts
		return r.Verdict, found
	}
}

// keyed returns ["name",v].
func keyed(name, v string) string { return fmt.Sprintf("[%q,%s]", name, v) }

// argument returns v of ["name",v].
func argument(value string) string {
	_, v, _ := strings.Cut(strings.TrimSuffix(value, "]"), ",")
	return v
}

func some[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// accesses returns the parts of [["w","x",1],["r","y",null]].
func accesses(txn string) (all [][3]string) {
	for _, part := range strings.Split(strings.Trim(txn, "[]"), "],[") {
		all = append(all, [3]string(strings.Split(part, ",")))
	}
	return all
}

var objects = map[string]object{
	"mutex": {
		draw: func(r *rand.Rand, name string) (string, string) {
			return some(r, Acquire, Release), keyed(name, "null")
		},
		do: func(holds []string, f, argument string) ([]string, string, bool) {
			if f == Acquire {
				return []string{"held"}, argument, len(holds) == 0
			}
			return nil, argument, len(holds) == 1
		},
		lie:    func(_ *rand.Rand, _, _, value string) string { return value },
		others: [][]string{nil, {"held"}},
		judge:  judged(mutex()),
	},
	"linearizable-set": {
		draw: func(r *rand.Rand, name string) (string, string) {
			return some(r, Add, Remove, Contains), fmt.Sprintf("%q", name)
		},
		do: func(holds []string, f, argument string) ([]string, string, bool) {
			was := len(holds) == 1
			after := map[string][]string{Add: {"in"}, Remove: nil, Contains: holds}[f]
			return after, fmt.Sprintf("[%s,%t]", argument, was != (f == Add)), true
		},
		lie: func(r *rand.Rand, f, argument, value string) string {
			if f != Contains && r.IntN(2) == 0 {
				return argument
			}
			return fmt.Sprintf("[%s,%t]", argument, r.IntN(2) == 0)
		},
		matches: func(want, value string) bool { return want == value || value[0] != '[' },
		others:  [][]string{nil, {"in"}},
		judge:   judged(set()),
	},
	"fifo-queue":                    queues("1", "2", `"3"`),
	"fifo-queue of distinct values": queues("1", "2", `"3"`, `"4"`, "5", "6", "7"),
	"kv-append": {
		first: []string{""},
		draw: func(r *rand.Rand, name string) (string, string) {
			switch r.IntN(8) {
			case 0:
				return Put, keyed(name, some(r, `""`, `"a"`, `"b"`))
			case 1, 2, 3:
				return Append, keyed(name, some(r, `"a"`, `"b"`, `"ab"`))
			}
			return Get, keyed(name, "null")
		},
		do: doText,
		lie: func(r *rand.Rand, f, argument, value string) string {
			if f != Get {
				return value
			}
			return strings.TrimSuffix(argument, "null]") + some(r, `""`, `"a"`, `"ab"`, `"ba"`, `"aab"`) + "]"
		},
		others: allTexts(7),
		judge:  judged(kvAppend()),
	},
	"kv-append of distinct texts": {
		first: []string{""},
		draw: func(r *rand.Rand, name string) (string, string) {
			if r.IntN(2) == 0 {
				return Get, keyed(name, "null")
			}
			return some(r, Append, Append, Append, Put), keyed(name, some(r, `"a"`, `"ba"`, `"bba"`, `"bbba"`, `"bbbba"`, `"bbbbba"`))
		},
		do: doText,
		lie: func(r *rand.Rand, f, argument, value string) string {
			if f != Get {
				return value
			}
			text := "\""
			for range r.IntN(4) {
				text += some(r, "a", "ba", "bba", "bbba", "bbbba", "bbbbba")
			}
			return strings.TrimSuffix(argument, "null]") + text + some(r, "", "", "", "b") + "\"]"
		},
		others:  allTexts(7), // of what is undecided; that of the decider is whole
		judge:   judged(kvAppend()),
		decider: "text",
	},
	"multi-register": {
		first: []string{"0", "0"},
		draw: func(r *rand.Rand, _ string) (string, string) {
			var parts []string
			for range 1 + r.IntN(3) {
				parts = append(parts, some(r, `["r",`, `["w",`)+some(r, `"x",`, `"y",`)+"%s]")
			}
			for i, p := range parts {
				v := "null"
				if p[2] == 'w' {
					v = some(r, "0", "1", "2")
				}
				parts[i] = fmt.Sprintf(p, v)
			}
			return Txn, "[" + strings.Join(parts, ",") + "]"
		},
		do: func(holds []string, _, txn string) ([]string, string, bool) {
			holds = slices.Clone(holds)
			var did []string
			for _, a := range accesses(txn) {
				at := map[string]int{`"x"`: 0, `"y"`: 1}[a[1]]
				if a[0] == `"w"` {
					holds[at] = a[2]
				}
				did = append(did, "["+a[0]+","+a[1]+","+holds[at]+"]")
			}
			return holds, "[" + strings.Join(did, ",") + "]", true
		},
		lie: func(r *rand.Rand, _, argument, value string) string {
			if r.IntN(4) == 0 {
				return argument // with nulls
			}
			parts := accesses(value)
			if a := &parts[r.IntN(len(parts))]; a[0] == `"r"` {
				a[2] = some(r, "0", "1", "2", "null")
			}
			var said []string
			for _, a := range parts {
				said = append(said, "["+strings.Join(a[:], ",")+"]")
			}
			return "[" + strings.Join(said, ",") + "]"
		},
		matches: func(want, value string) bool {
			of := accesses(value)
			for i, a := range accesses(want) {
				if of[i][2] != "null" && a != of[i] {
					return false
				}
			}
			return true
		},
		judge: judged(multiRegister([]byte("0"))),
	},
}

// queues returns queues of few values.
func queues(values ...string) object {
	o := object{
		draw: func(r *rand.Rand, name string) (string, string) {
			if r.IntN(2) == 0 {
				return Dequeue, keyed(name, "null")
			}
			return Enqueue, keyed(name, some(r, values...))
		},
		do: func(holds []string, f, value string) ([]string, string, bool) {
			switch {
			case f == Enqueue:
				return append(slices.Clone(holds), value), value, true
			case len(holds) == 0:
				return nil, value, true
			}
			return holds[1:], holds[0], true
		},
		lie: func(r *rand.Rand, f, argument, value string) string {
			if f == Enqueue {
				return value
			}
			name, _, _ := strings.Cut(value, ",")
			return name + "," + some(r, append(slices.Clone(values), "null")...) + "]"
		},
		judge: judged(fifo()),
	}
	if len(values) > 5 {
		o.decider = "queue"
	}
	return o
}

// doText performs a call on a text.
func doText(holds []string, f, value string) ([]string, string, bool) {
	text := strings.Trim(argument(value), `"`)
	switch f {
	case Put:
		return []string{text}, value, true
	case Append:
		return []string{holds[0] + text}, value, true
	}
	return holds, fmt.Sprintf(`%s"%s"]`, strings.TrimSuffix(value, "null]"), holds[0]), true
}

// allTexts returns all of at most n letters, a and b, and one of others.
func allTexts(n int) [][]string {
	all := [][]string{{"z"}, {""}}
	for at := 1; at < len(all) && len(all[at][0]) < n; at++ {
		all = append(all, []string{all[at][0] + "a"}, []string{all[at][0] + "b"})
	}
	return all
}

// A played call is one of a random history: its ends are positions in time.
type played struct {
	f, argument, value string
	typ                histories.Type
	begin, end         int // -1: it never ends
}

// play plays calls on an object, each taking effect at some time between its ends, and
// then lies about a few of them.
func (o object) play(r *rand.Rand, name string) []played {
	n := 2 + r.IntN(6)
	windows := workloadtest.Windows(r, n)
	calls := make([]played, n)
	holds := o.first
	for _, i := range workloadtest.ByEffect(windows) {
		c := &calls[i]
		c.begin, c.end, c.typ = windows[i].Begin, windows[i].End, histories.OK
		c.f, c.argument = o.draw(r, name)
		after, value, possible := o.do(holds, c.f, c.argument)
		c.value = value
		happens := possible && r.IntN(8) > 0
		if happens {
			holds = after
		}
		if r.IntN(6) == 0 {
			c.value = o.lie(r, c.f, c.argument, value)
		}
		switch {
		case r.IntN(7) == 0:
			c.typ = histories.Info
			if r.IntN(2) == 0 {
				c.end = -1
			}
		case !happens && r.IntN(5) > 0:
			c.typ = histories.Fail
		}
		if c.typ != histories.OK {
			c.value = c.argument
		}
	}
	return calls
}

// history writes calls down, each with a process of its own; invoked are the calls by the
// indices of their invocations.
func history(t *testing.T, calls []played, process func(i int) int) (h *histories.History, invoked map[int]int) {
	t.Helper()
	var b strings.Builder
	invoked = map[int]int{}
	lines := 0
	for now := range 100 { // longer than any lasts
		for i, c := range calls {
			switch now {
			case c.begin:
				invoked[lines] = i
				fmt.Fprintf(&b, "%d invoke %s %s\n", process(i), c.f, c.argument)
				lines++
			case c.end:
				fmt.Fprintf(&b, "%d %v %s %s\n", process(i), c.typ, c.f, c.value)
				lines++
			}
		}
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	return h, invoked
}

func same(i int) int { return i }

// linearizable decides by trying every order of every choice of the calls that need not
// have happened.
func (o object) linearizable(holds []string, calls []played) bool {
	if !slices.ContainsFunc(calls, func(c played) bool { return c.typ == histories.OK }) {
		return true
	}
	for i, c := range calls {
		after, value, possible := o.do(holds, c.f, c.argument)
		if c.typ == histories.OK && value != c.value {
			possible = possible && o.matches != nil && o.matches(value, c.value)
		}
		for _, d := range calls {
			possible = possible && (d.typ != histories.OK || d.end >= c.begin) // else d comes first
		}
		if possible && o.linearizable(after, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// telling returns the calls that did not fail.
func telling(calls []played) []played {
	return slices.DeleteFunc(slices.Clone(calls), func(c played) bool { return c.typ == histories.Fail })
}

func TestVerdictsAndEvidenceAgreeWithBruteForce(t *testing.T) {
	for name, o := range objects {
		t.Run(name, func(t *testing.T) {
			cases, invalid := workloadtest.Cases(1500), 0
			decided := map[checker.Verdict]int64{} // by the model's decider
			for seed := range uint64(cases) {
				calls := o.play(rand.New(rand.NewPCG(seed, 0)), "x")
				h, invoked := history(t, calls, same)
				got, found := o.judge(t, h)
				want := checker.Invalid
				if o.linearizable(o.first, telling(calls)) {
					want = checker.Valid
				}
				if got == checker.Unknown && !slices.ContainsFunc(calls, func(c played) bool { return c.typ == histories.OK }) {
					continue // nothing is known
				}
				if got != want {
					t.Fatalf("seed %d: got %v, want %v\n%s", seed, got, want, workloadtest.Text(h))
				}
				decided[got] += found.decided["decided_by_"+o.decider]
				if strings.Contains(found.note, "mistake in hacheck") {
					t.Fatalf("seed %d: %s\n%s", seed, found.note, workloadtest.Text(h))
				}
				if got == checker.Valid {
					continue
				}
				invalid++
				var witness []played
				for index, typ := range found.witness {
					c := calls[invoked[index]]
					c.typ = typ
					witness = append(witness, c)
				}
				starts := [][]string{o.first}
				if !found.whole {
					starts = o.others
				}
				for _, start := range starts {
					if len(witness) == 0 || o.linearizable(start, witness) {
						t.Fatalf("seed %d: the witness %v is linearizable from %q\n%s", seed, witness, start, workloadtest.Text(h))
					}
				}
			}
			t.Logf("%d of %d invalid", invalid, cases)
			if !workloadtest.Raced && (invalid < cases/20 || invalid > cases*19/20) {
				t.Error("one kind is rare: the histories say little")
			}
			if o.decider != "" && !workloadtest.Raced && min(decided[checker.Valid], decided[checker.Invalid]) < int64(cases/20) {
				t.Errorf("%s decided only %v", o.decider, decided)
			}
		})
	}
}

// TestTheSameHistoryHasTheSameVerdict changes what does not matter.
func TestTheSameHistoryHasTheSameVerdict(t *testing.T) {
	for name, o := range objects {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(workloadtest.Cases(300)) {
				judge := func(calls []played, process func(int) int) checker.Verdict {
					h, _ := history(t, calls, process)
					verdict, _ := o.judge(t, h)
					return verdict
				}
				calls := o.play(rand.New(rand.NewPCG(seed, 1)), "x")
				want := judge(calls, same)
				if got := judge(calls, func(i int) int { return 100 - i }); got != want {
					t.Fatalf("seed %d: other processes: got %v, want %v", seed, got, want)
				}
				if got := judge(o.play(rand.New(rand.NewPCG(seed, 1)), "other"), same); got != want {
					t.Fatalf("seed %d: another key: got %v, want %v", seed, got, want)
				}
				if got := judge(telling(calls), same); got != want {
					t.Fatalf("seed %d: without failed calls: got %v, want %v", seed, got, want)
				}
			}
		})
	}
}

// TestKnowingLessNeverTurnsValidIntoInvalid widens the windows of calls, and forgets how
// they ended.
func TestKnowingLessNeverTurnsValidIntoInvalid(t *testing.T) {
	for name, o := range objects {
		t.Run(name, func(t *testing.T) {
			judge := func(calls []played) checker.Verdict {
				h, _ := history(t, calls, same)
				verdict, _ := o.judge(t, h)
				return verdict
			}
			for seed := range uint64(workloadtest.Cases(300)) {
				r := rand.New(rand.NewPCG(seed, 2))
				calls := o.play(r, "x")
				if judge(calls) != checker.Valid {
					continue
				}
				i := r.IntN(len(calls))
				late := slices.Clone(calls)
				if late[i].end >= 0 {
					late[i].end = 3*len(calls) + 1
				}
				if got := judge(late); got == checker.Invalid {
					t.Fatalf("seed %d: call %d returns later: got %v", seed, i, got)
				}
				if calls[i].typ == histories.OK {
					open := slices.Clone(calls)
					open[i].typ, open[i].value = histories.Info, calls[i].argument
					if got := judge(open); got == checker.Invalid {
						t.Fatalf("seed %d: call %d is indeterminate: got %v", seed, i, got)
					}
				}
			}
		})
	}
}
