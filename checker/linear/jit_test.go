package linear_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/checker/linear/lineartest"
)

// jitCases is how many small histories of each mix are compared with brute force.
const jitCases = 300

// manyMixes are all kinds of small histories.
func manyMixes(yield func(string, lineartest.Mix) bool) {
	for _, values := range []int{2, 3, 4, 0} {
		for i := range 16 {
			m := lineartest.Mix{
				Ops: 9, Values: values, Open: 2 + i%3, CAS: i&1 > 0, Refused: i&2 > 0, Indeterminate: i&4 > 0, Ties: i&8 > 0, Damage: 3,
			}
			if !yield(fmt.Sprintf("%+v", m), m) {
				return
			}
		}
	}
}

// prefix returns what is known of r when the first n operations have returned.
func prefix(r *linear.Register, n int) *linear.Register {
	p := &linear.Register{}
	returned := map[int32]bool{}
	for _, op := range r.Returns[:n] {
		returned[op] = true
	}
	var last linear.Time
	if n > 0 {
		last = r.Return[r.Returns[n-1]]
	}
	for i := range r.Kind {
		if r.Call[i] > last {
			break
		}
		ret := r.Return[i]
		if !returned[int32(i)] {
			ret = linear.Never
		}
		p.Add(r.Kind[i], r.A[i], r.B[i], r.Call[i], ret)
	}
	p.Finish()
	return p
}

// show writes a history, for a failure.
func show(r *linear.Register) string {
	s := ""
	for i, k := range r.Kind {
		s += fmt.Sprintf("%2d %-7v %d %d  [%d, %d]\n", i, k, r.A[i], r.B[i], r.Call[i], r.Return[i])
	}
	return s
}

// judge compares a decision with brute force. If the engine keeps few configurations at
// first, it has to find out that they were not enough.
func judgeJIT(r *linear.Register, starts []linear.Value, beam int) error {
	d := linear.JITBeam(r, linear.JITOptions{Starts: starts}, beam)
	if len(starts) == 0 {
		starts = []linear.Value{linear.Initial}
	}
	brute := func(r *linear.Register) bool {
		for _, v := range starts {
			if lineartest.Brute(r, v) {
				return true
			}
		}
		return false
	}
	want := brute(r)
	if want != (d.Verdict == linear.Linearizable) || d.Verdict == linear.Undecided {
		return fmt.Errorf("%v, brute force says %v", d.Verdict, want)
	}
	if want {
		var err error
		for _, v := range starts {
			if err = r.Replay(v, d.Order); err == nil {
				return nil
			}
		}
		return fmt.Errorf("order %v: %w", d.Order, err)
	}
	for n, op := range r.Returns {
		if op == d.At {
			if !brute(prefix(r, n)) {
				return fmt.Errorf("illegal at op %d, but it was before", d.At)
			}
			if brute(prefix(r, n+1)) {
				return fmt.Errorf("illegal at op %d, but it is not yet", d.At)
			}
			return nil
		}
	}
	return fmt.Errorf("illegal at op %d, which did not return", d.At)
}

// TestJITAgreesWithBruteForce: verdicts, orders, and where it becomes illegal.
func TestJITAgreesWithBruteForce(t *testing.T) {
	for name, m := range manyMixes {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(jitCases) {
				r := lineartest.Random(rand.New(rand.NewPCG(seed, 1)), m)
				if err := judgeJIT(r, nil, int(seed%3)); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, show(r))
				}
			}
		})
	}
}

// TestJITFromAnyStart: from several values it is linearizable if it is from one of them.
func TestJITFromAnyStart(t *testing.T) {
	for name, m := range manyMixes {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(jitCases / 2) {
				rng := rand.New(rand.NewPCG(seed, 2))
				r := lineartest.Random(rng, m)
				var starts []linear.Value
				for range 1 + rng.IntN(3) {
					starts = append(starts, linear.Value(rng.IntN(r.Values+1)))
				}
				if err := judgeJIT(r, starts, int(seed%3)); err != nil {
					t.Fatalf("seed %d from %v: %v\n%s", seed, starts, err, show(r))
				}
			}
		})
	}
}

// events tells s what happens in r, by time, until yield is false.
func events(r *linear.Register, call func(op int32), ret func(n int, op int32) bool) {
	called := 0
	for n, op := range r.Returns {
		for ; called < r.Len() && r.Call[called] <= r.Return[op]; called++ {
			call(int32(called))
		}
		if !ret(n, op) {
			return
		}
	}
}

// TestStreamAgreesWithJIT: without a look ahead it finds the same at the same time, also
// if its copies went another way meanwhile.
func TestStreamAgreesWithJIT(t *testing.T) {
	for name, m := range manyMixes {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(jitCases) {
				rng := rand.New(rand.NewPCG(seed, 3))
				r := lineartest.Random(rng, m)
				want := linear.JIT(r, linear.JITOptions{NoOrder: true}).At
				s, ids, got := linear.NewStream(linear.Initial), map[int32]int32{}, int32(-1)
				events(r, func(op int32) {
					ids[op] = s.Call(r.Kind[op], r.A[op], r.B[op], r.Return[op] != linear.Never)
				}, func(_ int, op int32) bool {
					switch rng.IntN(4) {
					case 0:
						s = s.Fork()
					case 1:
						f := s.Fork()
						f.Return(ids[op])
						f.Return(f.Call(linear.Write, 1, 0, true))
					}
					if !s.Return(ids[op]) {
						got = op
					}
					return got < 0
				})
				if got != want {
					t.Fatalf("seed %d: the stream breaks at %d, not %d\n%s", seed, got, want, show(r))
				}
			}
		})
	}
}

// TestStreamLeavesMarksToWhoNeedsThem: a cas that returns has the mark of a later one of
// its class, and takes effect at an end from before that was called.
func TestStreamLeavesMarksToWhoNeedsThem(t *testing.T) {
	type op struct {
		kind      linear.Kind
		a, b      linear.Value
		call, ret linear.Time
	}
	for name, ops := range map[string][]op{
		"before a write of what is there": {
			{linear.Write, 1, 0, 28, 31}, {linear.Write, 1, 0, 90, 94}, {linear.CAS, 1, 0, 93, 104},
			{linear.CAS, 1, 0, 101, 105}, {linear.CAS, 0, 1, 102, 103}, {linear.Read, 1, 0, 106, 107},
		},
		"before a write": {
			{linear.Write, 0, 0, 25, 32}, {linear.CAS, 0, 1, 26, 38}, {linear.CAS, 1, 0, 29, 37},
			{linear.CAS, 0, 1, 33, 41}, {linear.Read, 0, 0, 84, 93},
		},
		"after others": {
			{linear.CAS, 0, 1, 24, 29}, {linear.CAS, 1, 0, 34, 41}, {linear.CAS, 0, 1, 38, 46}, {linear.CAS, 0, 1, 46, 57},
			{linear.Write, 1, 0, 47, 51}, {linear.CAS, 1, 0, 49, 58}, {linear.CAS, 1, 0, 55, 60}, {linear.Read, 1, 0, 99, 106},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &linear.Register{}
			for _, o := range ops {
				r.Add(o.kind, o.a, o.b, o.call, o.ret)
			}
			r.Finish()
			if !lineartest.Brute(r, linear.Initial) {
				t.Fatal("it is not linearizable")
			}
			if at := streamed(r).At; at >= 0 {
				t.Errorf("the stream breaks at %d\n%s", at, show(r))
			}
		})
	}
}

// crowd plays clients of a register of few values, most of whom compare and set what is
// there when they begin: so cas are of few classes, and stand in for each other. One in so
// many changes that are lost never returns; 0: none.
func crowd(rng *rand.Rand, ops, clients, values, lost int) *linear.Register {
	type client struct {
		kind           linear.Kind
		a, b           linear.Value
		call, ret      linear.Time
		open, happened bool
	}
	var over []client
	holds, all := linear.Initial, make([]client, clients)
	for now := linear.Time(0); len(over) < ops; now++ {
		c := &all[rng.IntN(clients)]
		switch changes := c.kind == linear.Write || c.kind == linear.CAS; {
		case !c.open:
			*c = client{open: true, call: now, kind: linear.Write, a: linear.Value(rng.IntN(values))}
			switch roll := rng.IntN(8); {
			case roll < 2:
				c.kind = linear.Read
			case roll < 6:
				c.kind, c.a = linear.CAS, holds
				c.b = (holds + 1 + linear.Value(rng.IntN(values-1))) % linear.Value(values)
			}
		case !c.happened:
			c.happened = true
			switch {
			case c.kind == linear.Write:
				holds = c.a
			case c.kind == linear.Read:
				c.a = holds
			case c.a == holds:
				holds = c.b
			default:
				c.kind, c.b = linear.Refused, 0
			}
		default:
			c.open, c.ret = false, now
			if changes && lost > 0 && rng.IntN(lost) == 0 {
				c.ret = linear.Never
			}
			over = append(over, *c)
		}
	}
	for _, c := range all {
		if c.open && c.happened && (c.kind == linear.Write || c.kind == linear.CAS) {
			c.ret = linear.Never
			over = append(over, c)
		}
	}
	slices.SortFunc(over, func(a, b client) int { return int(a.call - b.call) })
	r := &linear.Register{}
	for _, c := range over {
		r.Add(c.kind, c.a, c.b, c.call, c.ret)
	}
	r.Finish()
	return r
}

// TestStreamAgreesWithJITInCrowds: where one of many histories, of some length, tells.
func TestStreamAgreesWithJITInCrowds(t *testing.T) {
	broken := 0
	for seed := range uint64(lineartest.Cases(10_000)) {
		rng := rand.New(rand.NewPCG(seed, 9))
		r := crowd(rng, 6+rng.IntN(40), 3+rng.IntN(4), 2+rng.IntN(3), int(seed%3)*6)
		if i := rng.IntN(r.Len()); seed%2 == 0 && r.Kind[i] == linear.Read {
			r.A[i] = linear.Value(rng.IntN(r.Values))
		}
		want := linear.JIT(r, linear.JITOptions{NoOrder: true}).At
		if got := streamed(r).At; got != want {
			t.Fatalf("seed %d: the stream breaks at %d, not %d\n%s", seed, got, want, show(r))
		}
		if want >= 0 {
			broken++
		}
	}
	if broken == 0 {
		t.Error("all are right")
	}
}

// ways is a register on which a read sees what is gone, and how many ways there are to
// that through cas that may have happened, all in vain, doubles with each cas.
func ways(cas int) *linear.Register {
	r, now := &linear.Register{}, linear.Time(0)
	add := func(kind linear.Kind, v linear.Value) {
		r.Add(kind, v, 0, now, now+1)
		now += 2
	}
	for i := range linear.Value(cas) {
		r.Add(linear.CAS, i%4, (i+1+i/4%3)%4, 0, linear.Never)
	}
	add(linear.Write, 4)
	add(linear.Write, 0)
	add(linear.Read, 4)
	for v := range linear.Value(4) {
		add(linear.Write, v)
		add(linear.Read, v)
	}
	r.Finish()
	return r
}

// TestJITAsksOnItsWay: also where it finds nothing for long.
func TestJITAsksOnItsWay(t *testing.T) {
	if d := linear.JIT(ways(12), linear.JITOptions{}); d.Verdict != linear.Illegal {
		t.Errorf("%v, want %v", d.Verdict, linear.Illegal)
	}
	asked := 0
	limit := func(int64) bool { asked++; return asked < 10 }
	if d := linear.JIT(ways(40), linear.JITOptions{Limit: limit}); d.Verdict != linear.Undecided || asked != 10 {
		t.Errorf("%v, asked %d times, want %v", d.Verdict, asked, linear.Undecided)
	}
}

// without returns r without operations, where cas are made writes.
func without(r *linear.Register, ops []int32) *linear.Register {
	out := map[int32]bool{}
	for _, op := range ops {
		out[op] = true
	}
	p := &linear.Register{}
	for i, kind := range r.Kind {
		a := r.A[i]
		if out[int32(i)] {
			if kind != linear.CAS {
				continue
			}
			kind, a = linear.Write, r.B[i]
		}
		p.Add(kind, a, r.B[i], r.Call[i], r.Return[i])
	}
	p.Finish()
	return p
}

// TestJITFindsAllViolations: the rest is linearizable.
func TestJITFindsAllViolations(t *testing.T) {
	several := 0
	for name, m := range manyMixes {
		m.Damage = 10
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(jitCases) {
				r := lineartest.Random(rand.New(rand.NewPCG(seed, 4)), m)
				d := linear.JIT(r, linear.JITOptions{All: true})
				if (d.Verdict == linear.Illegal) != (len(d.Violations) > 0) {
					t.Fatalf("seed %d: %v, with violations %v", seed, d.Verdict, d.Violations)
				}
				if len(d.Violations) == 0 {
					continue
				}
				if d.Violations[0] != d.At {
					t.Fatalf("seed %d: violations %v, the first at %d", seed, d.Violations, d.At)
				}
				if rest := without(r, d.Violations); !lineartest.Brute(rest, linear.Initial) {
					t.Fatalf("seed %d: without %v it is not linearizable\n%s", seed, d.Violations, show(r))
				}
				if len(d.Violations) > 1 {
					several++
				}
			}
		})
	}
	if several < 50 {
		t.Errorf("%d histories with several violations say little", several)
	}
}

// TestJITNeedsSeveralEnds: both cas take effect before a write overwrites what they set.
func TestJITNeedsSeveralEnds(t *testing.T) {
	r := &linear.Register{}
	r.Add(linear.Write, 0, 0, 1, 27)
	r.Add(linear.CAS, 0, 1, 8, 44)
	r.Add(linear.Write, 0, 0, 15, 27)
	r.Add(linear.Read, 2, 0, 23, 45)
	r.Add(linear.Read, 2, 0, 27, 52)
	r.Add(linear.Write, 2, 0, 29, 39)
	r.Add(linear.CAS, 0, 2, 31, 53)
	r.Finish()
	if err := judgeJIT(r, nil, 0); err != nil {
		t.Fatal(err)
	}
}

// TestEqualCASNeedSeveralDeadlines: the cas that was called early, and returns early, is
// what can go before a write; the equal one that was called late is what refuses. So
// neither the deadlines alone say which of them to take, nor the calls alone.
func TestEqualCASNeedSeveralDeadlines(t *testing.T) {
	for _, r := range []*linear.Register{
		register(write(0, 1, 3), cas(0, 1, 2, 7), refused(0, 4, 6), cas(0, 1, 5, 8)),
		register(cas(0, 2, 1, 7), cas(2, 0, 2, never), write(0, 3, 4), cas(0, 2, 5, 8), cas(0, 1, 6, 6)),
	} {
		if err := judgeJIT(r, nil, 0); err != nil {
			t.Errorf("%v\n%s", err, show(r))
		}
		if d := streamed(r); d.Verdict != linear.Linearizable {
			t.Errorf("the stream breaks at %d\n%s", d.At, show(r))
		}
	}
}

// TestJITExplainsLoads: what really happened has an order, however long it was, and
// however few values there were.
func TestJITExplainsLoads(t *testing.T) {
	for seed := range uint64(2 * jitCases / 50) {
		l := lineartest.Load{Clients: 6 + int(seed%7), Ops: 10_000, Values: 2 + int(seed%4), Indeterminate: int(seed % 3)}
		r := lineartest.Simulate(rand.New(rand.NewPCG(seed, 99)), l)
		d := linear.JITBeam(r, linear.JITOptions{}, 0)
		if d.Verdict != linear.Linearizable {
			t.Fatalf("%+v: %v", l, d.Verdict)
		}
		if err := r.Replay(linear.Initial, d.Order); err != nil {
			t.Fatalf("%+v: %v", l, err)
		}
	}
}

// TestJITStops: what it explained until then is linearizable.
func TestJITStops(t *testing.T) {
	r := lineartest.Simulate(rand.New(rand.NewPCG(1, 98)), lineartest.Load{Clients: 10, Ops: 40_000, Values: 5})
	asked := 0
	d := linear.JIT(r, linear.JITOptions{Limit: func(bytes int64) bool {
		asked++
		if bytes < 1000 || bytes > 10_000_000 {
			t.Errorf("it holds %d bytes", bytes)
		}
		return asked < 2
	}})
	if d.Verdict != linear.Undecided || asked != 2 {
		t.Fatalf("%v, asked %d times", d.Verdict, asked)
	}
	returned := 0
	for returned < len(r.Returns) && r.Return[r.Returns[returned]] <= d.Explained {
		returned++
	}
	if returned < 1000 || returned == len(r.Returns) {
		t.Errorf("%d returns are explained", returned)
	}
}

// TestStreamFollowsTheMostPromising where there are too many, says so, and gets through.
func TestStreamFollowsTheMostPromising(t *testing.T) {
	r := lineartest.Simulate(rand.New(rand.NewPCG(1, 95)), lineartest.Load{Clients: 100, Ops: 3000, Values: 5})
	s := linear.NewStream(linear.Initial)
	if at := breaks(s, r); at >= 0 {
		t.Errorf("it breaks at %d", at)
	}
	if f := s.Fork(); s.Sure() || f.Sure() || s.Stopped() {
		t.Errorf("sure: %t, its copy: %t; stopped: %t", s.Sure(), f.Sure(), s.Stopped())
	}
}

// TestStreamIsSureOnlyIfItFollowedAll: otherwise it may break where there is an order.
func TestStreamIsSureOnlyIfItFollowedAll(t *testing.T) {
	unsure, wrong := 0, 0
	for seed := range uint64(lineartest.Cases(3000)) {
		rng := rand.New(rand.NewPCG(seed, 11))
		r := crowd(rng, 20+rng.IntN(40), 6, 2+rng.IntN(3), int(seed%3)*6)
		want := linear.JIT(r, linear.JITOptions{NoOrder: true}).At
		s := linear.NewStream(linear.Initial)
		s.Beam(1 + int(seed%2))
		got := breaks(s, r)
		if s.Sure() && got != want {
			t.Fatalf("seed %d: it breaks at %d for sure, not %d\n%s", seed, got, want, show(r))
		}
		if !s.Sure() {
			unsure++
		}
		if got != want {
			wrong++
		}
	}
	if unsure == 0 || wrong == 0 {
		t.Errorf("unsure %d times, wrong %d times: that says little", unsure, wrong)
	}
}

// breaks tells s of r, and returns the op at whose return it breaks, or -1.
func breaks(s *linear.Stream, r *linear.Register) (at int32) {
	ids := make([]int32, r.Len())
	at = -1
	events(r, func(op int32) {
		ids[op] = s.Call(r.Kind[op], r.A[op], r.B[op], r.Return[op] != linear.Never)
	}, func(_ int, op int32) bool {
		if !s.Return(ids[op]) {
			at = op
		}
		return at < 0
	})
	return at
}

// TestStreamStopsWhereItTakesTooLong and finds nothing any more, nor do its copies.
func TestStreamStopsWhereItTakesTooLong(t *testing.T) {
	r := ways(40)
	s, ids := linear.NewStream(linear.Initial), make([]int32, r.Len())
	events(r, func(op int32) {
		ids[op] = s.Call(r.Kind[op], r.A[op], r.B[op], r.Return[op] != linear.Never)
	}, func(_ int, op int32) bool {
		stopped := r.Kind[op] == linear.Read && r.A[op] == 4 || s.Stopped()
		if !s.Return(ids[op]) || s.Stopped() != stopped || s.Fork().Stopped() != stopped {
			t.Fatalf("at %d: stopped %t, want %t", op, s.Stopped(), stopped)
		}
		return true
	})
	if !s.Return(s.Call(linear.Read, 9, 0, true)) {
		t.Error("it finds what it cannot know")
	}
}

// TestStreamForgets: it holds what is open, not what is over.
func TestStreamForgets(t *testing.T) {
	r := lineartest.Simulate(rand.New(rand.NewPCG(1, 97)), lineartest.Load{Clients: 10, Ops: 60_000})
	s, ids := linear.NewStream(linear.Initial), make([]int32, r.Len())
	var early int64
	events(r, func(op int32) {
		ids[op] = s.Call(r.Kind[op], r.A[op], r.B[op], true)
	}, func(n int, op int32) bool {
		if !s.Return(ids[op]) {
			t.Fatalf("it breaks at %d", op)
		}
		if n == 5000 {
			early = s.Bytes()
		}
		return true
	})
	if late := s.Bytes(); late > 2*early || late > 100_000 {
		t.Errorf("it holds %d bytes, after %d early on", late, early)
	}
}

// FuzzJIT: bytes are a small history, four of them an operation.
func FuzzJIT(f *testing.F) {
	f.Add([]byte{1, 0x12, 3, 5, 0, 0x10, 4, 2})
	f.Add([]byte{2, 0x01, 1, 9, 2, 0x12, 0, 200, 3, 0x20, 1, 1, 0, 0x20, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &linear.Register{}
		now := linear.Time(0)
		for ; len(data) >= 4 && r.Len() < 9; data = data[4:] {
			now += linear.Time(data[2] % 8)
			ret := now + linear.Time(data[3]%32)
			if data[3] >= 192 {
				ret = linear.Never
			}
			r.Add(linear.Kind(data[0]%4)+linear.Read, linear.Value(data[1]>>4%4), linear.Value(data[1]%4), now, ret)
		}
		r.Finish()
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		for beam := range 3 {
			if err := judgeJIT(r, nil, beam); err != nil {
				t.Fatalf("%v\n%s", err, show(r))
			}
		}
	})
}

// TestJITAgreesWithPorcupine: longer histories, of more clients.
func TestJITAgreesWithPorcupine(t *testing.T) {
	counts := map[linear.Verdict]int{}
	for seed := range uint64(jitCases) {
		rng := rand.New(rand.NewPCG(seed, 5))
		m := lineartest.Mix{
			Ops: 300, Values: []int{0, 2, 3, 5}[rng.IntN(4)], Open: 1 + rng.IntN(4), CAS: rng.IntN(3) > 0, Refused: rng.IntN(2) > 0,
			Ties: rng.IntN(2) > 0,
		}
		r := lineartest.Random(rng, m)
		for range rng.IntN(4) { // damage
			i := rng.IntN(r.Len())
			if r.A[i] != linear.Nothing && (r.Kind[i] != linear.CAS || r.B[i] != linear.Value(0)) {
				r.A[i] = linear.Value(rng.IntN(r.Values))
				if r.Kind[i] == linear.CAS && r.A[i] == r.B[i] {
					r.Kind[i], r.B[i] = linear.Read, 0
				}
			}
		}
		for range rng.IntN(6) {
			if i := rng.IntN(r.Len()); !r.Kind[i].Pure() {
				r.Return[i] = linear.Never
			}
		}
		r.Finish()
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
		d := linear.JIT(r, linear.JITOptions{})
		p := lineartest.Porcupine(r, linear.Initial, 2*time.Second)
		if p == porcupine.Unknown {
			counts[linear.Undecided]++
			continue
		}
		if (d.Verdict == linear.Linearizable) != (p == porcupine.Ok) {
			t.Fatalf("seed %d: %v, porcupine says %v", seed, d.Verdict, p)
		}
		counts[d.Verdict]++
		if d.Verdict == linear.Linearizable {
			if err := r.Replay(linear.Initial, d.Order); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
	t.Log(counts)
	if counts[linear.Illegal] < jitCases/10 || counts[linear.Linearizable] < jitCases/10 {
		t.Errorf("%v say little", counts)
	}
}

// BenchmarkJIT decides what zones would not be asked about, and what they would.
func BenchmarkJIT(b *testing.B) {
	for _, l := range []lineartest.Load{
		{Clients: 10, Ops: 1_000_000},
		{Clients: 10, Ops: 1_000_000, Values: 5},
		{Clients: 20, Ops: 100_000, Values: 5},
		{Clients: 50, Ops: 100_000, Values: 5},
		{Clients: 100, Ops: 100_000},
		{Clients: 10, Ops: 10_000, Values: 5, Indeterminate: 500},
	} {
		b.Run(fmt.Sprintf("clients=%d/ops=%d/values=%d/lost=%d", l.Clients, l.Ops, l.Values, l.Indeterminate), func(b *testing.B) {
			r := lineartest.Simulate(rand.New(rand.NewPCG(1, 96)), l)
			used := lineartest.Used()
			for b.Loop() {
				if d := linear.JIT(r, linear.JITOptions{}); d.Verdict != linear.Linearizable {
					b.Fatal(d.Verdict)
				}
			}
			b.ReportMetric((lineartest.Used()-used).Seconds()/float64(b.N), "cpu-s")
		})
	}
}
