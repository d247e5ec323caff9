package checker_test

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
)

var fencedActs = map[string]checker.FencedAct{
	"grant": checker.FencedGrant, "use": checker.FencedUse, "write": checker.FencedWrite,
	"release": checker.FencedRelease, "read": checker.FencedRead,
}

// decodeFenced reads ["x",[token,value,current,free]].
func decodeFenced(f string, value json.RawMessage) (c checker.Fenced, err error) {
	var numbers []uint64
	pair := []any{&c.Object, &numbers}
	err = json.Unmarshal(value, &pair)
	numbers = append(numbers, 0, 0, 0, 0)
	c.Act, c.Token, c.Value, c.Current, c.Free = fencedActs[f], numbers[0], int64(numbers[1]), numbers[2], numbers[3] > 0
	return c, err
}

func refusedFenced(c checker.FencedCall) bool { return string(c.Meta) == `"over"` }

func fencing() checker.Fencing {
	return checker.Fencing{
		In: decodeFenced, Out: decodeFenced, Refused: refusedFenced,
		Describe: func(c checker.FencedCall) string {
			return fmt.Sprintf("did %s (%d, %d, %d, %v)", c.F, max(c.In.Token, c.Out.Token), max(c.In.Value, c.Out.Value), c.Out.Current, c.Out.Free)
		},
		Object: "object", Token: "token", Twice: "twice", Unfenced: "not fenced off",
	}
}

// A fencedState is an object as it should be.
type fencedState struct {
	token          uint64 // the last one that was granted
	over           bool   // it was given back, or ended by itself
	written, value uint64
}

// accept returns the state in which token is the current one, if it can be: one that
// nobody was seen to be granted may have been, to somebody who never heard of it.
func (s fencedState) accept(token uint64) (fencedState, bool) {
	if token > s.token {
		s.token, s.over = token, false
	}
	return s, token == s.token && !s.over
}

// step returns the state after c, and whether it can be.
func (s fencedState) step(c checker.FencedCall) (fencedState, bool) {
	out := c.Out
	if c.Type != histories.OK {
		out = c.In
	}
	act := c.In.Act
	if c.Type == histories.Fail {
		act = checker.FencedRelease // or before; it is over after either
	}
	switch act {
	case checker.FencedGrant:
		return fencedState{out.Token, false, s.written, s.value}, out.Token > s.token
	case checker.FencedUse:
		return s.accept(out.Token)
	case checker.FencedWrite:
		s, ok := s.accept(out.Token)
		s.written, s.value = out.Token, uint64(out.Value)
		return s, ok
	case checker.FencedRelease:
		if next, ok := s.accept(out.Token); ok {
			next.over = true
			return next, true
		}
		return s, true
	}
	ok := s.written == out.Token && s.value == uint64(out.Value)
	if out.Current != 0 && ok {
		s, ok = s.accept(out.Current)
	}
	s.over = s.over || out.Free
	return s, ok
}

// explained decides by trying every order.
func explained(s fencedState, calls []checker.FencedCall) bool {
	if !slices.ContainsFunc(calls, func(c checker.FencedCall) bool { return c.Type != histories.Info }) {
		return true
	}
	for i, c := range calls {
		first := !slices.ContainsFunc(calls, func(d checker.FencedCall) bool { return d.Completed < c.Invoked })
		if next, ok := s.step(c); ok && first && explained(next, slices.Delete(slices.Clone(calls), i, i+1)) {
			return true
		}
	}
	return false
}

// A fencedCall is a call of a random history; its ends are positions in time.
type fencedCall struct {
	f          string
	in, out    [4]uint64
	typ        histories.Type
	refused    bool // as its token was over
	begin, end int
}

// fencedCalls plays calls against an object, one after the other, each at some time
// between its ends, which overlap; and lies about a few of them.
func fencedCalls(r *rand.Rand) []fencedCall {
	calls := make([]fencedCall, 4+r.IntN(5))
	var ends []float64
	for i := range calls {
		ends = append(ends, float64(i)-1.2*r.Float64(), float64(i)+1.2*r.Float64())
	}
	positions := slices.Sorted(slices.Values(ends))
	for i := range calls {
		calls[i].begin, _ = slices.BinarySearch(positions, ends[2*i])
		calls[i].end, _ = slices.BinarySearch(positions, ends[2*i+1])
	}
	s := fencedState{token: 1}
	acts := []string{"grant", "use", "write", "write", "write", "release", "read", "read", "read", "read"}
	for i := range calls {
		c := &calls[i]
		c.typ = histories.OK
		lie := r.IntN(5) == 0
		s.over = s.over || r.IntN(8) == 0 // it ends by itself
		token := s.token
		if r.IntN(4) == 0 {
			token = max(token, 2) - 1
		}
		accepted := token == s.token && !s.over
		if c.f = acts[r.IntN(len(acts))]; i == 0 {
			c.f = "grant"
		}
		switch c.f {
		case "grant":
			s.token, s.over = s.token+1, false
			c.out[0] = s.token
			if lie {
				c.out[0]--
			}
		case "use", "write", "release":
			c.in[0] = token
			if c.f == "write" {
				c.in[1] = uint64(i + 1)
			}
			switch {
			case c.f == "release":
				s.over = s.over || accepted
			case c.f == "write" && (accepted || lie):
				s.written, s.value = c.in[0], c.in[1]
			}
			if c.out = c.in; !accepted && !lie {
				c.typ, c.refused = histories.Fail, r.IntN(2) == 0
			}
		case "read":
			c.out = [4]uint64{s.written, s.value}
			switch {
			case r.IntN(2) == 0:
			case s.over:
				c.out[3] = 1
			default:
				c.out[2] = s.token
			}
			if lie {
				old := calls[r.IntN(len(calls))]
				c.out[0], c.out[1] = old.in[0], old.in[1]
			}
		}
		if r.IntN(7) == 0 {
			c.typ, c.refused = histories.Info, false
			if c.f == "grant" || c.f == "read" {
				c.out = c.in
			}
		}
	}
	return calls
}

// writeFenced writes calls down, each with a process of its own.
func writeFenced(t *testing.T, calls []fencedCall, process func(i int) int, object string) *histories.History {
	t.Helper()
	var b strings.Builder
	numbers := func(n [4]uint64) string { return fmt.Sprintf("%s=[%d,%d,%d,%d]", object, n[0], n[1], n[2], n[3]) }
	for now := range 2 * 8 { // the ends of eight calls, which is the most
		for i, c := range calls {
			switch now {
			case c.begin:
				fmt.Fprintf(&b, "%d invoke %s %s\n", process(i), c.f, numbers(c.in))
			case c.end:
				why := ""
				if c.refused {
					why = ` meta="over"`
				}
				fmt.Fprintf(&b, "%d %v %s %s%s\n", process(i), c.typ, c.f, numbers(c.out), why)
			}
		}
	}
	h, err := checkertest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func judgedFenced(t *testing.T, h *histories.History) checker.Result {
	t.Helper()
	r, err := fencing().Check(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// inOneOrder says whether writes with one token do not overlap.
func inOneOrder(calls []checker.FencedCall) bool {
	last := map[uint64]time.Duration{}
	for _, c := range calls {
		if c.In.Act != checker.FencedWrite {
			continue
		}
		if end, ok := last[c.In.Token]; ok && end > c.Invoked {
			return false
		}
		last[c.In.Token] = c.Completed
	}
	return true
}

// toldFenced returns those of calls that say anything.
func toldFenced(calls []checker.FencedCall) []checker.FencedCall {
	return slices.DeleteFunc(slices.Clone(calls), func(c checker.FencedCall) bool {
		return c.Type == histories.Fail && !refusedFenced(c) || c.Type == histories.Info && c.In.Act != checker.FencedWrite
	})
}

// provenFenced checks the evidence: the ops that an anomaly names are wrong by
// themselves.
func provenFenced(t *testing.T, h *histories.History, a checker.Anomaly) {
	t.Helper()
	part, err := checkertest.Pick(h, a.Ops)
	if err != nil {
		t.Fatal(err)
	}
	calls, err := histories.Calls(part, decodeFenced, decodeFenced)
	if err != nil {
		t.Fatal(err)
	}
	if explained(fencedState{}, toldFenced(calls)) {
		t.Errorf("%+v proves nothing by itself:\n%s", a, shown(h))
	}
}

func TestFencingAgreesWithBruteForce(t *testing.T) {
	const cases = 4000
	count := map[checker.Verdict]int{}
	kinds := map[string]int{}
	exact := 0
	for seed := range uint64(cases) {
		h := writeFenced(t, fencedCalls(rand.New(rand.NewPCG(seed, 0))), func(i int) int { return i }, "x")
		calls, err := histories.Calls(h, decodeFenced, decodeFenced)
		if err != nil {
			t.Fatal(err)
		}
		told := toldFenced(calls)
		right := explained(fencedState{}, told)
		r := judgedFenced(t, h)
		count[r.Verdict]++
		for _, a := range r.Anomalies {
			kinds[a.Kind]++
			provenFenced(t, h, a)
		}
		if inOneOrder(told) {
			exact++
			if right != (r.Verdict != checker.Invalid) {
				t.Fatalf("seed %d: explained: %v\n%s%s", seed, right, shown(h), checkertest.Format(r))
			}
		}
		if right && r.Verdict == checker.Invalid {
			t.Fatalf("seed %d: a false alarm\n%s%s", seed, shown(h), checkertest.Format(r))
		}
	}
	t.Log(count, kinds, exact)
	for _, kind := range []string{"twice", "token went back", "not fenced off", "lost write", "stale read", "phantom value", "refused write took place"} {
		if kinds[kind] < 4 {
			t.Errorf("only %d times %s: the histories say little", kinds[kind], kind)
		}
	}
	if count[checker.Valid] < cases/10 || exact < cases/2 {
		t.Errorf("only %d are valid, %d are exact", count[checker.Valid], exact)
	}
}

// shown returns a history as a person reads it.
func shown(h *histories.History) string {
	var b strings.Builder
	for i, op := range h.All() {
		fmt.Fprintf(&b, "%d: %v %v\n", i, op.Time, op)
	}
	return b.String()
}

// TestFencingIsBlindToWhatDoesNotMatter changes names, drops calls that failed, and
// forgets how others ended.
func TestFencingIsBlindToWhatDoesNotMatter(t *testing.T) {
	same := func(i int) int { return i }
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 1))
		calls := fencedCalls(r)
		want := judgedFenced(t, writeFenced(t, calls, same, "x")).Verdict
		if got := judgedFenced(t, writeFenced(t, calls, func(i int) int { return 100 - i }, "yy")).Verdict; got != want {
			t.Fatalf("seed %d: other names: got %v, want %v", seed, got, want)
		}
		kept := slices.DeleteFunc(slices.Clone(calls), func(c fencedCall) bool { return c.typ == histories.Fail && !c.refused })
		if got := judgedFenced(t, writeFenced(t, kept, same, "x")).Verdict; got != want && len(kept) > 0 {
			t.Fatalf("seed %d: without what failed: got %v, want %v", seed, got, want)
		}
		if i := r.IntN(len(calls)); want == checker.Valid && calls[i].typ == histories.OK {
			open := slices.Clone(calls)
			open[i].typ, open[i].out = histories.Info, open[i].in
			if got := judgedFenced(t, writeFenced(t, open, same, "x")).Verdict; got == checker.Invalid {
				t.Fatalf("seed %d: call %d is indeterminate: got %v", seed, i, got)
			}
		}
	}
}

func BenchmarkFencing(b *testing.B) {
	var ops []histories.Op
	for i := range 200_000 {
		token := uint64(i/100 + 1)
		op := histories.Op{Process: histories.Process(i % 3), F: "write"}
		in, out := [4]uint64{token, uint64(i + 1)}, [4]uint64{token, uint64(i + 1)}
		switch {
		case i%100 == 0:
			op.F, in, out = "grant", [4]uint64{}, [4]uint64{token}
		case i%2 == 0:
			op.F, in, out = "read", [4]uint64{}, [4]uint64{token, uint64(i)}
		}
		for _, half := range []struct {
			typ   histories.Type
			value [4]uint64
		}{{histories.Invoke, in}, {histories.OK, out}} {
			op.Index, op.Time, op.Type = len(ops), time.Duration(len(ops)), half.typ
			op.Value, _ = json.Marshal([]any{"x", half.value})
			ops = append(ops, op)
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if r, err := fencing().Check(b.Context(), h); err != nil || r.Counts["granted"] == 0 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200_000, "ns/call")
}

func TestTrouble(t *testing.T) {
	h, err := checkertest.Parse(`
10ms nemesis invoke clock {"id":1,"fault":"clock:jump"}
12ms nemesis info clock {"id":1,"fault":"clock:jump"}
20ms nemesis invoke heal {"id":1,"fault":"clock:jump"}
24ms nemesis info heal {"id":1,"fault":"clock:jump","acted":1}
30ms nemesis invoke kill {"id":2,"fault":"kill:one"}
31ms nemesis info kill {"id":2,"fault":"kill:one"} error=no
40ms nemesis invoke clock {"id":3,"fault":"clock:skew"}
41ms nemesis info clock {"id":3,"fault":"clock:skew"}
50ms nemesis invoke heal {"id":3,"fault":"clock:skew"}
51ms nemesis info heal {"id":3,"fault":"clock:skew"} error=no`)
	if err != nil {
		t.Fatal(err)
	}
	clocks, err := checker.TroubleBy(h, func(name string) bool { return strings.HasPrefix(name, "clock") })
	if err != nil {
		t.Fatal(err)
	}
	all, err := checker.TroubleBy(h, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	for _, test := range []struct {
		of       checker.Trouble
		from, to time.Duration
		overlaps bool
		calm     time.Duration // since when, before from
	}{
		{clocks, 0, 9 * ms, false, 0},
		{clocks, 0, 10 * ms, true, 0},
		{clocks, 15 * ms, 16 * ms, true, 15 * ms},
		{clocks, 24 * ms, 30 * ms, true, 24 * ms},
		{clocks, 25 * ms, 39 * ms, false, 24 * ms},
		{clocks, 25 * ms, 40 * ms, true, 24 * ms},
		{clocks, time.Hour, time.Hour, true, time.Hour}, // who knows whether it was healed
		{all, 25 * ms, 29 * ms, false, 24 * ms},
		{all, 35 * ms, 36 * ms, true, 35 * ms}, // it was never healed
		{checker.Trouble{}, 1, histories.Never, false, 0},
	} {
		if got := test.of.Overlaps(test.from, test.to); got != test.overlaps {
			t.Errorf("%v to %v: overlaps: %v", test.from, test.to, got)
		}
		if got := test.of.CalmSince(test.from); got != test.calm {
			t.Errorf("%v: calm since %v, want %v", test.from, got, test.calm)
		}
	}
}
