package checker

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// number is a register of numbers.
func number() Model[int, int, int] {
	parse := func(_ string, value json.RawMessage) (n int, err error) { return n, json.Unmarshal(value, &n) }
	return Model[int, int, int]{
		In: parse, Out: parse,
		Step: func(s int, c histories.Call[int, int]) (int, bool) {
			if c.F == "read" {
				return s, s == c.Out
			}
			return c.In, true
		},
		ReadOnly: func(c histories.Call[int, int]) bool { return c.F == "read" },
		Register: func(c histories.Call[int, int]) Access[int] {
			if c.F == "read" {
				return Access[int]{Kind: linear.Read, Old: c.Out}
			}
			return Access[int]{Kind: linear.Write, New: c.In}
		},
	}
}

// judging returns a history of one client, whose calls each follow upon the one before, as
// it is judged.
func judging(t *testing.T, calls ...string) (*judgement[int, int, int], *object[int, int, int]) {
	t.Helper()
	var ops []histories.Op
	for _, call := range calls {
		var f string
		var n int
		if _, err := fmt.Sscan(call, &f, &n); err != nil {
			t.Fatal(err)
		}
		for _, typ := range []histories.Type{histories.Invoke, histories.OK} {
			i := len(ops)
			ops = append(ops, histories.Op{Index: i, Time: time.Duration(i + 1), Type: typ, F: f, Value: json.RawMessage(fmt.Sprint(n))})
		}
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	m := number()
	j := &judgement[int, int, int]{model: &m, history: h, budget: Budget{}.withDefaults(), guard: newHeapGuard(math.MaxInt64)}
	if _, err := j.normalise(t.Context()); err != nil {
		t.Fatal(err)
	}
	return j, j.objects[0]
}

// lie has o judged after an engine has said d of it.
func (j *judgement[S, In, Out]) lie(ctx context.Context, o *object[S, In, Out], d linear.Decision) {
	m := j.guard.meter(ctx)
	defer m.done()
	o.by = byZones
	if !j.trust(o, func() bool { return j.believe(ctx, m, o, d, nil) }) {
		j.leave(ctx, o)
	}
}

// witness returns one that claims reads and writes, whole: negative numbers are reads.
func witness(whole bool, ops []int32, calls ...int) *linear.Witness {
	w := &linear.Witness{Ops: ops, Whole: whole}
	for i, n := range calls {
		kind := linear.Write
		if n < 0 {
			kind, n = linear.Read, -n
		}
		w.Add(kind, linear.Value(n), 0, linear.Time(2*i), linear.Time(2*i+1))
	}
	w.Finish()
	return w
}

// TestLies has an engine say what is not so. Whatever it says, the verdict is right, and
// the note says that there was a doubt.
func TestLies(t *testing.T) {
	valid := []string{"write 1", "read 1", "write 2", "read 2"}
	invalid := []string{"write 1", "write 2", "read 1", "read 2"}
	for name, test := range map[string]struct {
		calls []string
		says  linear.Decision
		want  Verdict
	}{
		"an order that leaves one out":        {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 1, 3}}, Invalid},
		"an order of none":                    {invalid, linear.Decision{Verdict: linear.Linearizable}, Invalid},
		"an order against time":               {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 2, 1, 3}}, Invalid},
		"an order that is not possible":       {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 1, 2, 3}}, Invalid},
		"one twice":                           {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 0, 1, 3}}, Invalid},
		"one that is none":                    {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 1, 3, 4}}, Invalid},
		"less than none":                      {invalid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{-1}}, Invalid},
		"an order that is wrong without need": {valid, linear.Decision{Verdict: linear.Linearizable, Order: []int32{0, 2, 1, 3}}, Valid},
		"no witness":                          {valid, linear.Decision{Verdict: linear.Illegal, At: -1}, Valid},
		"illegal where it is not":             {valid, linear.Decision{Verdict: linear.Illegal, At: 3}, Valid},
		"illegal too late":                    {invalid, linear.Decision{Verdict: linear.Illegal, At: 3}, Invalid},
		"illegal too early":                   {invalid, linear.Decision{Verdict: linear.Illegal, At: 1}, Invalid},
		"illegal at none":                     {valid, linear.Decision{Verdict: linear.Illegal, At: 99}, Valid},
		"a witness that happened otherwise":   {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(false, []int32{0, 1}, 1, -2)}, Valid},
		"a witness in another order":          {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(false, []int32{2, 1}, 2, -1)}, Valid},
		"a witness of others":                 {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(false, []int32{0, 99}, 1, -2)}, Valid},
		"a witness of more than it names":     {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(false, []int32{0}, 1, -2)}, Valid},
		"a witness without what was written":  {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(true, []int32{1}, -1)}, Valid},
		"a witness without what came between": {valid, linear.Decision{Verdict: linear.Illegal, At: -1, Witness: witness(false, []int32{0, 3}, 1, -2)}, Valid},
	} {
		t.Run(name, func(t *testing.T) {
			j, o := judging(t, test.calls...)
			j.lie(t.Context(), o, test.says)
			if o.verdict != test.want {
				t.Errorf("got %v, want %v", o.verdict, test.want)
			}
			if name != "illegal too late" && name != "illegal too early" && (o.by != byPorcupine || o.doubt == nil) {
				t.Errorf("decided by %s, with the doubt %v", o.by, o.doubt)
			}
		})
	}
}

// TestPanicOfAnEngineIsADoubt: porcupine has the last word even if there was none before.
func TestPanicOfAnEngineIsADoubt(t *testing.T) {
	j, o := judging(t, "write 1", "read 2")
	if j.trust(o, func() bool { panic("speechless") }) || o.doubt == nil || o.verdict != Unknown {
		t.Errorf("got %v, with the doubt %v", o.verdict, o.doubt)
	}
}

// TestPanicOnTheWayToEvidence has a model panic once its calls are known to be wrong, or once
// there is no time to find out.
func TestPanicOnTheWayToEvidence(t *testing.T) {
	m := number()
	m.Register = nil
	m.Removable = func([]histories.Call[int, int]) [][]int { panic("speechless") }
	m.States = func([]histories.Call[int, int]) []int { panic("speechless") }
	j, _ := judging(t, "write 1", "read 2", "write 2", "write 3", "read 2")
	r, err := Linearizable(m, Budget{}).Check(t.Context(), j.history)
	if err != nil || r.Verdict != Invalid || len(r.Anomalies) != 1 || len(r.Anomalies[0].Ops) == 0 {
		t.Errorf("got %v, %v: %s", r.Verdict, err, r.Note)
	}

	var ops []histories.Op
	for i := range 80 { // writes, all of them at once, and a read of what nobody wrote
		op := histories.Op{Index: i, Time: time.Duration(i), Process: histories.Process(i % 40), Type: histories.Invoke, F: "write", Value: json.RawMessage(fmt.Sprint(i%40 + 1))}
		if i >= 40 {
			op.Type = histories.OK
		}
		ops = append(ops, op)
	}
	for _, typ := range []histories.Type{histories.Invoke, histories.OK} {
		ops = append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)), Type: typ, F: "read", Value: json.RawMessage("99")})
	}
	h, err := histories.FromOps(ops)
	if err != nil {
		t.Fatal(err)
	}
	for _, alone := range []bool{false, true} {
		r, err := Linearizable(m, Budget{Time: 100 * time.Millisecond, Porcupine: alone}).Check(t.Context(), h)
		if err != nil || r.Verdict != Unknown {
			t.Errorf("got %v, %v: %s", r.Verdict, err, r.Note)
		}
	}
}

// TestReadingEndsWithTheTime: what was read in part only is not judged.
func TestReadingEndsWithTheTime(t *testing.T) {
	var calls []string
	for range 100_000 {
		calls = append(calls, "write 1")
	}
	j, _ := judging(t, calls...)
	m, read := number(), 0
	in := m.In
	m.In = func(f string, value json.RawMessage) (int, error) {
		read++
		return in(f, value)
	}
	r, err := Linearizable(m, Budget{Time: 1}).Check(t.Context(), j.history)
	if err != nil || r.Verdict != Unknown || read > len(calls)/2 || !strings.Contains(r.Note, fmt.Sprintf("reading ended after %d calls", read-1)) {
		t.Errorf("got %v, %v after %d calls: %s", r.Verdict, err, read, r.Note)
	}
}

// TestOnlyWhatIsAffordableIsToldWhole: a key of a million calls takes more to be told than a
// small budget has, and leaves what there is to the others.
func TestOnlyWhatIsAffordableIsToldWhole(t *testing.T) {
	m := number()
	j := judgement[int, int, int]{model: &m, budget: Budget{Memory: 64 << 20}}
	large := &object[int, int, int]{key: "large", call: make([]linear.Time, 1_000_000)}
	small := &object[int, int, int]{key: "small", call: make([]linear.Time, 1000), found: &excerpt[int, int]{whole: true}}
	both := []*object[int, int, int]{large, small}
	if got := j.affordable(both, time.Now().Add(time.Hour)); len(got) != 1 || got[0] != small {
		t.Errorf("of memory: %d of them", len(got))
	}
	j.budget.Memory = 1 << 40
	if got := j.affordable(both, time.Now().Add(time.Hour)); len(got) != 2 {
		t.Errorf("of plenty: %d of them", len(got))
	}
	if got := j.affordable(both, time.Now().Add(time.Second)); len(got) != 1 || got[0] != small {
		t.Errorf("of time: %d of them", len(got))
	}
	m.Explain = func(Violation[int, int]) Anomaly { panic("it was not told all") }
	a, _ := j.explain(t.Context(), small, nil)
	if want := "small: no order explains 0 calls; to say why takes more time or memory, with 1000 calls"; a.Note != want {
		t.Errorf("got %q, want %q", a.Note, want)
	}
}
