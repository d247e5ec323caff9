package checker

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker/linear"
	"github.com/hacheck/hacheck/histories"
)

// A cell is a register of numbers for these tests: its payloads are [key, value], or
// [key, old, new] of a cas.
type cell = Model[int, []int, int]

func cells() cell {
	return cell{
		In: numbers,
		Out: func(f string, value json.RawMessage) (int, error) {
			out, err := numbers(f, value)
			return out[len(out)-1], err
		},
		Key: func(in []int) string { return strconv.Itoa(in[0]) },
		Step: func(s int, c histories.Call[[]int, int]) (int, bool) {
			switch {
			case c.F == "write":
				return c.In[1], true
			case c.F == "read":
				return s, s == c.Out
			case s == c.In[1]:
				return c.In[2], true
			}
			return s, c.Type == histories.Info
		},
		ReadOnly: func(c histories.Call[[]int, int]) bool { return c.F == "read" },
		Register: func(c histories.Call[[]int, int]) Access[int] {
			switch c.F {
			case "write":
				return Access[int]{Kind: linear.Write, New: c.In[1]}
			case "read":
				return Access[int]{Kind: linear.Read, Old: c.Out}
			}
			return Access[int]{Kind: linear.CAS, Old: c.In[1], New: c.In[2]}
		},
	}
}

// numbers reads an array of them, without spaces.
func numbers(_ string, value json.RawMessage) (ns []int, err error) {
	for text := range strings.SplitSeq(string(value[1:len(value)-1]), ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		ns = append(ns, n)
	}
	return ns, nil
}

// A player makes histories of cells that are linearizable, but for what is damaged: each
// call takes effect when it begins, or when it ends.
type player struct {
	rand      *rand.Rand
	processes int
	key       func(p *player) int // of the next call
	value     func(p *player) int // of the next write
	stale     int                 // one of so many reads sees a value of the past; 0: none
	lost      int                 // one of so many changes is indeterminate; 0: none

	ops     int
	names   []int // of the processes
	calls   []playedCall
	cells   map[int]int
	before  map[int]int // what a cell held at some time
	written int
}

type playedCall struct {
	f       string
	args    []int
	saw     int
	happens bool // when it ends
	typ     histories.Type
}

func (p *player) op(process int, t histories.Type, f string, value []int) histories.Op {
	b := []byte{'['}
	for i, n := range value {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	b = append(b, ']')
	op := histories.Op{
		Index: p.ops, Time: time.Duration(p.ops) * time.Microsecond, Process: histories.Process(p.names[process]), Type: t, F: f, Value: b,
	}
	p.ops++
	return op
}

func (p *player) effect(c *playedCall) {
	key := c.args[0]
	now := p.cells[key]
	if p.rand.IntN(3) == 0 {
		p.before[key] = now
	}
	c.typ = histories.OK
	switch {
	case c.f == "write":
		p.cells[key] = c.args[1]
	case c.f == "read":
		if c.saw = now; p.stale > 0 && p.rand.IntN(p.stale) == 0 {
			c.saw = p.before[key]
		}
	case now == c.args[1]:
		p.cells[key] = c.args[2]
	default:
		c.typ = histories.Fail
	}
	if p.lost > 0 && p.rand.IntN(p.lost) == 0 {
		c.typ = histories.Info
	}
}

// next returns the next op.
func (p *player) next() histories.Op {
	if p.calls == nil {
		p.calls, p.cells, p.before = make([]playedCall, p.processes), map[int]int{}, map[int]int{}
		for i := range p.processes {
			p.names = append(p.names, i)
		}
	}
	i := p.rand.IntN(p.processes)
	c := &p.calls[i]
	if c.f == "" {
		key := p.key(p)
		switch p.rand.IntN(5) {
		case 0, 1:
			*c = playedCall{f: "write", args: []int{key, p.value(p)}}
		case 2:
			*c = playedCall{f: "cas", args: []int{key, p.cells[key], p.value(p)}}
		default:
			*c = playedCall{f: "read", args: []int{key}}
		}
		op := p.op(i, histories.Invoke, c.f, c.args)
		if c.happens = p.rand.IntN(2) == 0; !c.happens {
			p.effect(c)
		}
		return op
	}
	if c.happens {
		p.effect(c)
	}
	value := c.args
	if c.f == "read" {
		value = []int{c.args[0], c.saw}
	}
	op := p.op(i, c.typ, c.f, value)
	if c.typ == histories.Info {
		p.names[i] += p.processes
	}
	*c = playedCall{}
	return op
}

func fresh(p *player) int { p.written++; return p.written }

// TestLiveForgetsValuesThatAreGone: many values, some of which come back, of some keys
// that rest in between. It finds something if, and only if, the checker does.
func TestLiveForgetsValuesThatAreGone(t *testing.T) {
	const cases, ops = 300, 600
	invalid, rested, forgot := 0, 0, 0
	for seed := range uint64(cases) {
		p := &player{
			rand: rand.New(rand.NewPCG(seed, 1)), processes: 3, stale: []int{0, 30, 300}[seed%3], lost: []int{0, 100}[seed%2],
			key: func(p *player) int { return p.ops / 100 % 4 },
			value: func(p *player) int {
				if p.rand.IntN(4) == 0 {
					return p.rand.IntN(p.written + 1)
				}
				return fresh(p)
			},
		}
		live, whole := newLiveRegisters(cells()), histories.NewGrowing()
		live.sweepAt = 1
		found := false
		for range ops {
			op := p.next()
			if err := errors.Join(live.Feed(op), whole.Add(op)); err != nil {
				t.Fatal(err)
			}
			if p.rand.IntN(50) > 0 {
				continue
			}
			f, err := live.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			found = found || f != nil
			live.sweepAt = 1
			for _, k := range live.keys {
				if k.stream == nil {
					rested++
				}
				forgot += len(k.free)
			}
		}
		f, err := live.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found = found || f != nil
		r, err := Linearizable(cells(), Budget{}).Check(t.Context(), whole.Snapshot())
		if err != nil || r.Verdict == Unknown {
			t.Fatalf("seed %d: %v, %v", seed, r, err)
		}
		if found != (r.Verdict == Invalid) {
			t.Fatalf("seed %d: found %t, and it is %v: %v", seed, found, r.Verdict, r.Anomalies)
		}
		if found {
			invalid++
		}
	}
	t.Logf("%d of %d invalid; keys rested %d times, values forgotten %d", invalid, cases, rested, forgot)
	if invalid < cases/10 || invalid > cases*9/10 || rested < cases || forgot < cases {
		t.Error("one kind is rare: the histories say little")
	}
}

// TestLiveHoldsLittle: of a million ops on one key, and of a thousand keys after each
// other.
func TestLiveHoldsLittle(t *testing.T) {
	for name, keyed := range map[string]struct {
		ops    int
		key    func(p *player) int
		values int   // at most
		bytes  int64 // at most, of all keys
	}{
		"one key":   {1_000_000, func(*player) int { return 0 }, 5 * leastValues, 64 << 10},
		"many keys": {200_000, func(p *player) int { return p.ops / 200 }, 4 * leastValues * minSweep, 2 << 20},
	} {
		p := &player{rand: rand.New(rand.NewPCG(1, 1)), processes: 8, key: keyed.key, value: fresh}
		live := newLiveRegisters(cells())
		mostValues, mostBytes, mostAwake := 0, int64(0), 0
		for i := range keyed.ops {
			if err := live.Feed(p.next()); err != nil {
				t.Fatal(err)
			}
			if i%200 > 0 {
				continue
			}
			if f, err := live.Look(t.Context()); f != nil || err != nil {
				t.Fatalf("%s: after %d ops: %+v, %v", name, i, f, err)
			}
			values := 0
			for k := range live.awake {
				values += len(k.values) + len(k.held)
			}
			mostValues, mostBytes, mostAwake = max(mostValues, values), max(mostBytes, live.bytes), max(mostAwake, len(live.awake))
		}
		t.Logf("%s: %d values and events, %d bytes, %d keys of %d awake", name, mostValues, mostBytes, mostAwake, len(live.keys))
		if mostValues > keyed.values || mostBytes > keyed.bytes || mostAwake > 4*minSweep {
			t.Errorf("%s: more than %d values and events, %d bytes, %d keys", name, keyed.values, keyed.bytes, 4*minSweep)
		}
	}
}

// TestLiveGivesUpWhatTakesTooMuch: a key is dropped, and nothing is said of it.
func TestLiveGivesUpWhatTakesTooMuch(t *testing.T) {
	p := &player{rand: rand.New(rand.NewPCG(1, 1)), processes: 3, key: func(p *player) int { return p.ops & 1 }, value: fresh}
	live := newLiveRegisters(cells())
	for range 100 {
		if err := live.Feed(p.next()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := live.Look(t.Context()); err != nil || len(live.keys) != 2 {
		t.Fatalf("%d keys, %v", len(live.keys), err)
	}
	live.keys["0"].bytes += maxLiveKeys
	live.bytes += maxLiveKeys
	live.lighten()
	if len(live.keys) != 1 || live.keys["1"] == nil || live.bytes != live.keys["1"].bytes || live.GaveUp() != 1 {
		t.Errorf("there are %v, %d bytes; %d given up", live.keys, live.bytes, live.GaveUp())
	}
	p.stale = 2
	for range 1000 { // it returns, with violations
		if err := live.Feed(p.next()); err != nil {
			t.Fatal(err)
		}
	}
	f, err := live.Look(t.Context())
	if f == nil || f.key != "1" || err != nil {
		t.Errorf("found %+v, %v, want what is wrong with key 1", f, err)
	}
	if f, err = live.Look(t.Context()); f != nil || err != nil || len(live.keys) > 0 {
		t.Errorf("found %+v, %v, and there are %v", f, err, live.keys)
	}
}

// TestLiveGivesUpWhatTakesTooLong: a key may take its time now and then, but not always.
func TestLiveGivesUpWhatTakesTooLong(t *testing.T) {
	live := newLiveRegisters(cells())
	k := live.key("0")
	live.charge(k, 1, maxDebt)
	live.charge(k, 5000, 0)
	live.charge(k, 1, maxDebt)
	if live.GaveUp() != 0 || k.dropped {
		t.Fatal("it was given up for two ops in five thousand")
	}
	for range 500 {
		live.charge(k, 1, 5*fairOp)
	}
	live.charge(k, 1, maxDebt)
	if live.GaveUp() != 1 || live.key("0") != nil {
		t.Errorf("%d keys were given up", live.GaveUp())
	}
}

// TestLiveJudgesWhatTheModelDoes and nothing else: other functions have other payloads.
func TestLiveJudgesWhatTheModelDoes(t *testing.T) {
	m := cells()
	m.Functions = []string{"read", "write", "cas"}
	live := newLiveRegisters(m)
	for i, op := range []histories.Op{
		{Type: histories.Invoke, F: "members"}, {Type: histories.OK, F: "members", Value: []byte(`"n1"`)},
		{Type: histories.Invoke, F: "read", Value: []byte("[0]")}, {Type: histories.OK, F: "read", Value: []byte("[0,7]")},
	} {
		op.Index, op.Time = i, time.Duration(i)
		if err := live.Feed(op); err != nil {
			t.Fatal(err)
		}
	}
	if f, err := live.Look(t.Context()); f == nil || f.At != 3 || err != nil {
		t.Errorf("found %+v, %v", f, err)
	}
}

// TestLiveProvesWhatItSuspects: where not all orders were followed, the checker has the
// word. Without it nothing is found, and the key was given up.
func TestLiveProvesWhatItSuspects(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		stale int
		sure  bool
		want  error
	}{
		"it is so":         {t.Context(), 2, false, nil},
		"it is not":        {t.Context(), 0, false, errSuspected},
		"it was not":       {t.Context(), 0, true, errRefuted},
		"no time":          {ended, 2, false, errSuspected},
		"no time, no need": {ended, 2, true, nil},
	} {
		p := &player{rand: rand.New(rand.NewPCG(1, 1)), processes: 3, key: func(*player) int { return 0 }, value: fresh, stale: c.stale}
		live, whole := newLiveRegisters(cells()), histories.NewGrowing()
		live.key("0").unsure = !c.sure
		var f *Finding
		for range 300 {
			op := p.next()
			if err := errors.Join(live.Feed(op), whole.Add(op)); err != nil {
				t.Fatal(err)
			}
			found, err := live.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if f == nil {
				f = found
			}
		}
		if c.stale == 0 && f == nil { // as if too few had been followed
			f = &Finding{At: 299, Suspected: !c.sure, key: "0", by: 299}
		}
		if f == nil || f.Suspected == c.sure {
			t.Fatalf("%s: found %+v", name, f)
		}
		err := live.Explain(c.ctx, f, func(yield func(histories.Op, error) bool) {
			for _, op := range whole.Snapshot().All() {
				if !yield(op, nil) {
					return
				}
			}
		})
		gaveUp := 0
		if c.want != nil {
			gaveUp = 1
		}
		if !errors.Is(err, c.want) || live.GaveUp() != gaveUp || c.want == nil && f.Suspected {
			t.Errorf("%s: %v, given up %d, %+v; want %v", name, err, live.GaveUp(), f, c.want)
		}
	}
}

// BenchmarkLiveRegisters feeds ops of ten processes on one key, with a look now and then.
// Budget: 5 µs an op, so that ten thousand operations a second take a tenth of a core.
func BenchmarkLiveRegisters(b *testing.B) {
	p := &player{rand: rand.New(rand.NewPCG(1, 1)), processes: 10, key: func(*player) int { return 0 }, value: fresh}
	ops := make([]histories.Op, 100_000)
	for i := range ops {
		ops[i] = p.next()
	}
	b.ReportAllocs()
	for b.Loop() {
		live := newLiveRegisters(cells())
		for i, op := range ops {
			if err := live.Feed(op); err != nil {
				b.Fatal(err)
			}
			if i%1000 > 0 {
				continue
			}
			if f, err := live.Look(b.Context()); f != nil || err != nil {
				b.Fatal(f, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ops)), "ns/event")
}
