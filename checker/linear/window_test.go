package linear_test

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// variants are the same problem said in all ways that there are.
func variants(r *linear.Register) map[string]linear.Problem[linear.Value] {
	plain := r.Problem(linear.Initial)
	lax := plain // an indeterminate cas happens where it can, and else does nothing
	lax.Step = func(v linear.Value, op int32) (linear.Value, bool) {
		next, possible := r.Step(v, op)
		if !possible && r.Return[op] == linear.Never {
			return v, true
		}
		return next, possible
	}
	lazy, classes, all := plain, plain, lax
	lazy.ReadOnly = nil
	ids := map[[3]int]int32{}
	for i, kind := range r.Kind {
		key := [3]int{int(kind), int(r.A[i]), int(r.B[i])}
		if r.Return[i] == linear.Never {
			key[0] = -key[0]
		}
		if _, ok := ids[key]; !ok {
			ids[key] = int32(len(ids))
		}
		classes.Class = append(classes.Class, ids[key])
	}
	all.Class = classes.Class
	return map[string]linear.Problem[linear.Value]{"plain": plain, "lax": lax, "lazy": lazy, "classes": classes, "all": all}
}

// problemUpTo returns what is known of p when so many operations have returned.
func problemUpTo[S comparable](p linear.Problem[S], returns int) linear.Problem[S] {
	var order []int32
	for i, t := range p.Return {
		if t != linear.Never {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(i, j int32) int { return cmp.Compare(p.Return[i], p.Return[j]) })
	p.Return = slices.Clone(p.Return)
	for _, op := range order[returns:] {
		p.Return[op] = linear.Never
	}
	if returns == 0 {
		return p
	}
	calls := 0
	for calls < len(p.Call) && p.Call[calls] <= p.Return[order[returns-1]] {
		calls++
	}
	p.Call, p.Return = p.Call[:calls], p.Return[:calls]
	return p
}

// check compares what Search says of p with brute force.
func check[S comparable](p linear.Problem[S]) (linear.Verdict, error) {
	d := linear.Search(p, nil)
	if (d.Verdict == linear.Linearizable) != lineartest.BruteProblem(p) {
		return d.Verdict, fmt.Errorf("not so: %v", d.Verdict)
	}
	if d.Verdict == linear.Linearizable {
		return d.Verdict, replay(p, d.Order)
	}
	before := 0
	for op, t := range p.Return {
		if t < p.Return[d.At] || t == p.Return[d.At] && op < int(d.At) {
			before++
		}
	}
	if !lineartest.BruteProblem(problemUpTo(p, before)) {
		return d.Verdict, fmt.Errorf("it was illegal before the return of op %d", d.At)
	}
	if lineartest.BruteProblem(problemUpTo(p, before+1)) {
		return d.Verdict, fmt.Errorf("it was not illegal at the return of op %d", d.At)
	}
	return d.Verdict, nil
}

func replay[S comparable](p linear.Problem[S], order []int32) error {
	if err := linear.Respects(p.Call, p.Return, order); err != nil {
		return err
	}
	var err error
	for _, s := range p.Starts {
		if err = steps(p, s, order); err == nil {
			return nil
		}
	}
	return err
}

func steps[S comparable](p linear.Problem[S], s S, order []int32) error {
	for _, op := range order {
		next, possible := p.Step(s, op)
		if !possible {
			return fmt.Errorf("op %d is not possible in %v", op, s)
		}
		s = next
	}
	return nil
}

func TestSearchOfRegisters(t *testing.T) {
	for i := range 32 {
		m := lineartest.Mix{
			Ops: 9, Values: 3 * (i & 1), Open: 3, CAS: i&2 > 0, Refused: i&4 > 0, Indeterminate: i&8 > 0, Ties: i&16 > 0, Damage: 3,
		}
		t.Run(fmt.Sprintf("%+v", m), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(400) {
				r := lineartest.Random(rand.New(rand.NewPCG(seed, uint64(i))), m)
				for name, p := range variants(r) {
					verdict, err := check(p)
					if err != nil {
						t.Fatalf("seed %d, %s: %v", seed, name, err)
					}
					if says := lineartest.Porcupine(r, linear.Initial, 0); (verdict == linear.Linearizable) != (says == porcupine.Ok) {
						t.Fatalf("seed %d, %s: %v, but porcupine says %v", seed, name, verdict, says)
					}
				}
			}
		})
	}
}

// TestSearchOfMediumRegisters: of histories in which more goes on than brute force can try.
func TestSearchOfMediumRegisters(t *testing.T) {
	for seed := range uint64(400) {
		m := lineartest.Mix{Ops: 120, Values: int(seed%3) * 2, Open: 4, CAS: true, Refused: seed%2 > 0, Indeterminate: seed%5 == 0, Ties: seed%7 == 0, Damage: 2}
		if m.Indeterminate {
			m.Ops = 40
		}
		r := lineartest.Random(rand.New(rand.NewPCG(seed, 1)), m)
		want := lineartest.Porcupine(r, linear.Initial, 0)
		for name, p := range variants(r) {
			d := linear.Search(p, nil)
			if (d.Verdict == linear.Linearizable) != (want == porcupine.Ok) {
				t.Fatalf("seed %d, %s: %v, but porcupine says %v", seed, name, d.Verdict, want)
			}
			if d.Verdict == linear.Linearizable {
				if err := r.Replay(linear.Initial, d.Order); err != nil {
					t.Fatalf("seed %d, %s: %v", seed, name, err)
				}
			}
		}
	}
}

// TestSearchFromAnyStart: one start that explains the history is enough, and each counts.
func TestSearchFromAnyStart(t *testing.T) {
	illegal := 0
	for seed := range uint64(2000) {
		m := lineartest.Mix{Ops: 8, Values: 4, Open: 2, CAS: true, Indeterminate: true, Damage: 2}
		r := lineartest.Random(rand.New(rand.NewPCG(seed, 2)), m)
		verdict, err := check(r.Problem(3, 1, 2, 0))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if verdict == linear.Illegal {
			illegal++
		}
	}
	if illegal < 100 || illegal > 1900 {
		t.Errorf("%d are illegal: the histories say little", illegal)
	}
	if d := linear.Search((&linear.Register{}).Problem(), nil); d.Verdict != linear.Illegal || d.At != -1 {
		t.Errorf("without a start, a history that is empty is %v at %d", d.Verdict, d.At)
	}
}

// A trade is an operation on some object: what was asked, and what the answer was.
type trade struct{ ask, arg, answer int }

// A spec is an object for one client at a time.
type spec[S comparable] struct {
	name     string
	start    S
	asks     int // kinds of questions
	do       func(s S, ask, arg int) (S, int)
	readOnly func(o trade) bool // it was, given what it answered
}

// set holds elements below 16; 0 adds one, 1 removes it, 2 asks for it: each says whether
// it was there.
var set = spec[uint16]{
	name: "set", asks: 3,
	do: func(s uint16, ask, arg int) (uint16, int) {
		was := int(s >> (arg & 15) & 1)
		switch ask {
		case 0:
			return s | 1<<(arg&15), was
		case 1:
			return s &^ (1 << (arg & 15)), was
		}
		return s, was
	},
	readOnly: func(o trade) bool { return o.ask == 2 || o.ask == 0 && o.answer == 1 || o.ask == 1 && o.answer == 0 },
}

// lock is free (0) or held; 0 acquires it, 1 releases it: each says whether it could.
var lock = spec[int]{
	name: "lock", asks: 2,
	do: func(s, ask, arg int) (int, int) {
		switch {
		case ask == 0 && s == 0:
			return 1 + arg, 1
		case ask == 1 && s == 1+arg:
			return 0, 1
		}
		return s, 0
	},
	readOnly: func(o trade) bool { return o.answer == 0 },
}

// queue holds bytes; 0 puts one in, 1 takes one out, or says -1.
var queue = spec[string]{
	name: "queue", asks: 2,
	do: func(s string, ask, arg int) (string, int) {
		switch {
		case ask == 0:
			return s + string([]byte{byte(arg)}), 0
		case s == "":
			return s, -1
		}
		return s[1:], int(s[0])
	},
	readOnly: func(o trade) bool { return o.answer == -1 },
}

// both holds two numbers: 0 and 1 set them, 2 and 3 read them.
var both = spec[[2]int]{
	name: "both", asks: 4,
	do: func(s [2]int, ask, arg int) ([2]int, int) {
		if ask > 1 {
			return s, s[ask-2]
		}
		s[ask] = arg
		return s, 0
	},
	readOnly: func(o trade) bool { return o.ask > 1 },
}

// A load is how a history is made: clients that each do one thing after another.
type load struct {
	ops, clients, args int
	lost, lies         float64 // how many are indeterminate, and answer wrongly
	ties               bool
}

// simulate returns a history of an object. A latency has a median of 1, and what clients
// think in between is a tenth of that.
func simulate[S comparable](rng *rand.Rand, o spec[S], l load) linear.Problem[S] {
	type op struct {
		trade
		client           int
		call, point, end float64
		begin, ret       linear.Time
		lost             bool
	}
	ops := make([]op, l.ops)
	free := make([]float64, l.clients)
	for i := range ops {
		c := 0
		for k := range free {
			if free[k] < free[c] {
				c = k
			}
		}
		x := &ops[i]
		took := math.Exp(rng.NormFloat64() / 2)
		x.client, x.call = c, free[c]+rng.ExpFloat64()/10
		x.point, x.end = x.call+took*(0.1+0.8*rng.Float64()), x.call+took
		x.lost = rng.Float64() < l.lost
		if free[c] = x.end; x.lost {
			x.point += rng.ExpFloat64() * 5
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return cmp.Compare(a.point, b.point) })
	s := o.start
	holds := make([]bool, l.clients)
	for i := range ops {
		x := &ops[i]
		x.ask, x.arg = rng.IntN(o.asks), rng.IntN(l.args)
		if o.name == "lock" {
			x.arg = x.client
			if x.ask = 0; holds[x.client] {
				x.ask = 1
			}
		}
		if x.lost && rng.IntN(2) == 0 {
			continue
		}
		s, x.answer = o.do(s, x.ask, x.arg)
		if o.name == "lock" && x.answer == 1 {
			holds[x.client] = x.ask == 0
		}
		if rng.Float64() < l.lies {
			x.answer = rng.IntN(3) - 1
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return cmp.Compare(a.call, b.call) })
	if l.ties {
		for i := range ops {
			ops[i].begin, ops[i].ret = linear.Time(ops[i].call*2), linear.Time(ops[i].end*2)
		}
	} else {
		type event struct {
			at float64
			is *linear.Time
		}
		var events []event
		for i := range ops {
			events = append(events, event{ops[i].call, &ops[i].begin}, event{ops[i].end, &ops[i].ret})
		}
		slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
		for i, e := range events {
			*e.is = linear.Time(i)
		}
	}
	p := linear.Problem[S]{Starts: []S{o.start}}
	trades, lost := make([]trade, len(ops)), make([]bool, len(ops))
	type like struct {
		trade
		lost bool
	}
	classes := map[like]int32{}
	for i, x := range ops {
		if x.lost {
			x.ret = linear.Never
		}
		p.Call, p.Return = append(p.Call, x.begin), append(p.Return, x.ret)
		trades[i], lost[i] = x.trade, x.lost
		same := like{x.trade, x.lost}
		if x.lost {
			same.answer = 0
		}
		if _, ok := classes[same]; !ok {
			classes[same] = int32(len(classes))
		}
		p.Class = append(p.Class, classes[same])
	}
	p.Step = func(s S, op int32) (S, bool) {
		x := trades[op]
		next, answer := o.do(s, x.ask, x.arg)
		return next, lost[op] || answer == x.answer
	}
	p.ReadOnly = func(op int32) bool { return !lost[op] && o.readOnly(trades[op]) }
	return p
}

func TestSearchOfOtherObjects(t *testing.T) {
	t.Run("set", func(t *testing.T) { testObject(t, set) })
	t.Run("lock", func(t *testing.T) { testObject(t, lock) })
	t.Run("queue", func(t *testing.T) { testObject(t, queue) })
	t.Run("both", func(t *testing.T) { testObject(t, both) })
}

func testObject[S comparable](t *testing.T, o spec[S]) {
	t.Parallel()
	illegal := 0
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		l := load{ops: 2 + rng.IntN(8), clients: 1 + rng.IntN(4), args: 3, lost: float64(seed%3) / 8, lies: float64(seed%5) / 16, ties: seed%7 == 0}
		p := simulate(rng, o, l)
		if seed%2 == 0 {
			p.ReadOnly = nil
		}
		if seed%4 < 2 {
			p.Class = nil
		}
		verdict, err := check(p)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if verdict == linear.Illegal {
			illegal++
		} else if l.lies == 0 && verdict != linear.Linearizable {
			t.Fatalf("seed %d: %v without a lie", seed, verdict)
		}
	}
	if illegal < 200 || illegal > 1800 {
		t.Errorf("%d are illegal: the histories say little", illegal)
	}
}

// TestSearchStopsAtItsLimit: with what is known by then.
func TestSearchStopsAtItsLimit(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	p := simulate(rng, queue, load{ops: 400, clients: 4, args: 200})
	undecided := 0
	for asks := range 20 {
		left := asks
		d := linear.Search(p, func(int64) bool { left--; return left >= 0 })
		if d.Verdict != linear.Undecided {
			if left < 0 {
				t.Fatalf("after %d questions it went on", asks)
			}
			continue
		}
		undecided++
		returns := 0
		for _, at := range p.Return {
			if at <= d.Explained {
				returns++
			}
		}
		if asks > 1 && returns == 0 {
			t.Errorf("after %d questions nothing is explained", asks)
		}
		if q := problemUpTo(p, returns); linear.Search(q, nil).Verdict != linear.Linearizable {
			t.Errorf("after %d questions up to %d is explained, but is not", asks, d.Explained)
		}
	}
	if undecided < 3 {
		t.Errorf("it was stopped %d times", undecided)
	}
}

// hindsight is a history of two registers. Of one it does not show before the end which
// of two writes came last, at the beginning and again in the middle: then it is read, as
// one digit for each.
func hindsight(ops, read int) linear.Problem[[2]int] {
	one := spec[[2]int]{asks: 2, readOnly: func(o trade) bool { return o.ask == 1 }}
	one.do = func(s [2]int, ask, arg int) ([2]int, int) {
		if ask == 1 {
			return s, s[0] / 4
		}
		s[0] = (s[0] + arg) % 16 // so that different orders meet again
		return s, 0
	}
	middle := simulate(rand.New(rand.NewPCG(1, 5)), one, load{ops: ops, clients: 3, args: 5})
	p := linear.Problem[[2]int]{Starts: middle.Starts}
	do := []func(s [2]int) ([2]int, bool){}
	pure := []bool{}
	add := func(call, ret linear.Time, readOnly bool, step func(s [2]int) ([2]int, bool)) {
		p.Call, p.Return = append(p.Call, call), append(p.Return, ret)
		do, pure = append(do, step), append(pure, readOnly)
	}
	digit := func(unit, to int) func(s [2]int) ([2]int, bool) {
		return func(s [2]int) ([2]int, bool) {
			s[1] += (to - s[1]/unit%10) * unit
			return s, true
		}
	}
	for i, call := range middle.Call {
		if half := ops / 2; i == 0 || i == half {
			unit := 1 + 9*(i/half)
			add(6*call+1, 6*call+3, false, digit(unit, 1))
			add(6*call+2, 6*call+4, false, digit(unit, 2))
		}
		add(6*call+5, 6*middle.Return[i]+5, middle.ReadOnly(int32(i)), func(s [2]int) ([2]int, bool) { return middle.Step(s, int32(i)) })
	}
	end := slices.Max(p.Return) + 1
	add(end, end, true, func(s [2]int) ([2]int, bool) { return s, s[1] == read })
	p.Step = func(s [2]int, op int32) ([2]int, bool) { return do[op](s) }
	p.ReadOnly = func(op int32) bool { return pure[op] }
	return p
}

// TestSearchGoesFarBack: to where it has forgotten what it tried, and does not forget
// again, or it would go there for ever.
func TestSearchGoesFarBack(t *testing.T) {
	const ops = 150_000
	steps := func(read int, want linear.Verdict) int {
		p := hindsight(ops, read)
		n, step := 0, p.Step
		p.Step = func(s [2]int, op int32) ([2]int, bool) { n++; return step(s, op) }
		d := linear.Search(p, nil)
		if d.Verdict != want {
			t.Fatalf("%v, if %d is read", d.Verdict, read)
		}
		if want == linear.Linearizable {
			if err := replay(p, d.Order); err != nil {
				t.Error(err)
			}
		} else if int(d.At) != len(p.Call)-1 {
			t.Errorf("it was illegal at op %d", d.At)
		}
		return n
	}
	ahead := steps(22, linear.Linearizable) // the order of returns is right
	back, none := steps(11, linear.Linearizable), steps(33, linear.Illegal)
	t.Logf("steps: %d straight on, %d and back, %d to find nothing", ahead, back, none)
	if none > 20*ahead {
		t.Errorf("%d steps straight on, but %d to find nothing", ahead, none)
	}
}

// TestSearchHoldsAWindow: what it holds grows by a few numbers for each operation, and not
// by what it has tried.
func TestSearchHoldsAWindow(t *testing.T) {
	peak := func(n int) int64 {
		p := simulate(rand.New(rand.NewPCG(1, 6)), spec[int]{
			asks: 2, readOnly: func(o trade) bool { return o.ask == 1 },
			do: func(s, ask, arg int) (int, int) {
				if ask == 0 {
					return arg, 0
				}
				return s, s
			},
		}, load{ops: n, clients: 5, args: 1 << 30})
		most := int64(0)
		if d := linear.Search(p, func(bytes int64) bool { most = max(most, bytes); return true }); d.Verdict != linear.Linearizable {
			t.Fatal(d.Verdict)
		}
		return most
	}
	const n = 30_000
	const each = 6*4 + 1 + 8*5/4 // with a state before each, in a slice that has grown by a quarter
	small, big := peak(n)-n*each, peak(10*n)-10*n*each
	if big > 2*max(small, 2<<20) {
		t.Errorf("of %d operations it holds %d bytes beside what is theirs, of ten times as many %d", n, small, big)
	}
}

func FuzzSearch(f *testing.F) {
	f.Add([]byte{0x11, 0x02, 0x21, 0x43, 0x10, 0x00, 0x33, 0x05})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, now := &linear.Register{}, linear.Time(0)
		for ; len(data) >= 3 && r.Len() < 9; data = data[3:] {
			now += linear.Time(data[2] >> 5)
			until := now + linear.Time(data[2]&31)
			if until == now+31 {
				until = linear.Never
			}
			kind := linear.Read + linear.Kind(data[0]&3)
			r.Add(kind, linear.Value(data[1]&3), linear.Value(data[1]>>2&3), now, until)
		}
		r.Finish()
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		for name, p := range variants(r) {
			if _, err := check(p); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}
