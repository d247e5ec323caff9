package generator_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
)

// count returns how many ops of each function were invoked.
func count(ops []histories.Op) map[string]int {
	n := map[string]int{}
	for _, op := range ops {
		if op.Type == histories.Invoke {
			n[op.F]++
		}
	}
	return n
}

func TestMixKeepsItsProportions(t *testing.T) {
	read := does("read")
	g := generator.OnClients(generator.Mix(read, read, does("write"), generator.Stagger(ms, does("cas"))))
	got := count(simulate(t, generatortest.Simulation{Ops: 20_000}, g))
	for f, want := range map[string]int{"read": 10_000, "write": 5_000, "cas": 5_000} {
		if got[f] < want*94/100 || got[f] > want*106/100 {
			t.Errorf("got %d of %s, want %d", got[f], f, want)
		}
	}
}

func TestNothingStarves(t *testing.T) {
	greedy := func() []generator.Generator { return []generator.Generator{does("a"), does("b"), nil, does("c")} }
	for name, g := range map[string]generator.Generator{
		"any": generator.Any(greedy()...),
		"mix": generator.Mix(greedy()...),
		"independent": generator.Independent(3, func(i int) generator.Generator {
			return does([]string{"a", "b", "c"}[i])
		}),
	} {
		got := count(simulate(t, generatortest.Simulation{Ops: 3000}, generator.OnClients(g)))
		for _, f := range []string{"a", "b", "c"} {
			if got[f] < 600 {
				t.Errorf("%s: got %v", name, got)
			}
		}
	}
}

func TestStaggerSpacesOpsEvenlyEnough(t *testing.T) {
	const n, mean = 20_000, 10 * ms
	var invoked []time.Duration
	for _, op := range simulate(t, generatortest.Simulation{Ops: n, Workers: 10}, generator.OnClients(generator.Stagger(mean, does("read")))) {
		if op.Type == histories.Invoke {
			invoked = append(invoked, op.Time)
		}
	}
	for i := range invoked[1:] {
		if gap := invoked[i+1] - invoked[i]; gap > 2*mean+ms {
			t.Fatalf("a gap of %v", gap)
		}
	}
	if got := invoked[n-1] / n; got < mean*97/100 || got > mean*103/100 {
		t.Errorf("on average an op each %v, want %v", got, mean)
	}
}

func TestStaggerMakesUpForNoStall(t *testing.T) {
	stall := func(_ *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
		if op.Time < time.Second { // nobody is free before
			return histories.OK, time.Second - op.Time
		}
		return histories.OK, 0
	}
	ops := simulate(t, generatortest.Simulation{Ops: 20, Workers: 2, Outcome: stall}, generator.OnClients(generator.Stagger(10*ms, does("read"))))
	burst := 0
	for _, op := range ops {
		if op.Type == histories.Invoke && op.Time > time.Second-ms && op.Time < time.Second+ms {
			burst++
		}
	}
	if burst > 3 {
		t.Errorf("%d ops at once after the stall:\n%s", burst, generatortest.Format(ops))
	}
}

func TestCombinatorsLeaveTheirArgumentsAlone(t *testing.T) {
	for name, combine := range map[string]func(...generator.Generator) generator.Generator{
		"any": generator.Any, "mix": generator.Mix, "phases": generator.Phases,
	} {
		gs := []generator.Generator{once("a"), generator.Nothing(), once("b")}
		want := slices.Clone(gs)
		simulate(t, generatortest.Simulation{}, combine(gs...))
		if !reflect.DeepEqual(gs, want) || gs[1] == nil || gs[2] == nil {
			t.Errorf("%s changed its caller's slice", name)
		}
	}
}

// A spy takes note of what it is told, and yields nothing.
type spy struct {
	generator.Generator
	told []string
}

func (s *spy) Update(c generator.Context, op histories.Op) {
	s.told = append(s.told, fmt.Sprintf("%v free %v busy %v", op, c.Free, c.Busy))
	if s.Generator != nil {
		s.Generator.Update(c, op)
	}
}

func (s *spy) Next(c generator.Context) generator.Step {
	if s.Generator == nil {
		return generator.Step{}
	}
	return s.Generator.Next(c)
}

func TestWhatGeneratorsAreTold(t *testing.T) {
	everything := []string{
		"0 invoke a free [1 nemesis] busy [0]",
		"0 ok a free [1 nemesis 0] busy []",
	}
	sim := generatortest.Simulation{Workers: 2}
	for _, test := range []struct {
		name string
		in   func(spy, a generator.Generator) generator.Generator
		want []string
	}{
		{"any: everything", func(spy, a generator.Generator) generator.Generator { return generator.Any(spy, a) }, everything},
		{"phases: only of its own time", func(spy, a generator.Generator) generator.Generator {
			return generator.Phases(a, generator.Any(spy, once("b")))
		}, []string{"1 invoke b free [nemesis 0] busy [1]", "1 ok b free [nemesis 0 1] busy []"}},
		{"on: others' ops, but not others' processes", func(spy, a generator.Generator) generator.Generator {
			return generator.Any(generator.OnNemesis(spy), a)
		}, []string{"0 invoke a free [nemesis] busy []", "0 ok a free [nemesis] busy []"}},
		{"independent: nothing of other keys", func(spy, a generator.Generator) generator.Generator {
			return generator.Independent(2, func(i int) generator.Generator { return []generator.Generator{spy, a, nil}[i] })
		}, nil},
		{"limit, time limit, stagger: everything", func(spy, a generator.Generator) generator.Generator {
			return generator.Any(generator.Limit(1, generator.TimeLimit(time.Hour, generator.Stagger(ms, spy))), a)
		}, everything},
		{"cycle: everything", func(spy, a generator.Generator) generator.Generator {
			return generator.Any(generator.Cycle(1, func() generator.Generator { return spy }), a)
		}, everything},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &spy{}
			sim.Run(test.in(s, once("a"))) // it waits for ever at the end: the spy is never done
			if !slices.Equal(s.told, test.want) {
				t.Errorf("got %q\nwant %q", s.told, test.want)
			}
		})
	}
}

func TestMixTellsWhomItNamesTwiceOnce(t *testing.T) {
	s := &spy{Generator: once("a")}
	simulate(t, generatortest.Simulation{Workers: 2}, generator.Mix(s, s, generator.Limit(0, nil), s))
	want := []string{"0 invoke a free [1 nemesis] busy [0]", "0 ok a free [1 nemesis 0] busy []"}
	if !slices.Equal(s.told, want) {
		t.Errorf("got %q\nwant %q", s.told, want)
	}
}

func TestEachProcessKnowsItselfAlone(t *testing.T) {
	spies := map[histories.Process]*spy{}
	g := generator.OnClients(generator.EachProcess(func(p histories.Process) generator.Generator {
		spies[p] = &spy{Generator: once("a")}
		return spies[p]
	}))
	simulate(t, generatortest.Simulation{Workers: 2}, g)
	for p, s := range spies {
		want := []string{fmt.Sprintf("%v invoke a free [] busy [%v]", p, p), fmt.Sprintf("%v ok a free [%v] busy []", p, p)}
		if !slices.Equal(s.told, want) {
			t.Errorf("process %v was told %q", p, s.told)
		}
	}
}

func TestKeysKnowTheirOwnOpsAlone(t *testing.T) {
	s := &spy{Generator: once("a")}
	keys := generator.Independent(1, func(i int) generator.Generator { return []generator.Generator{s, nil}[i] })
	simulate(t, generatortest.Simulation{Workers: 1}, generator.OnClients(&hogging{keys, generator.Limit(1, does("b"))}))
	want := []string{"0 invoke a free [] busy [0]", "0 ok a free [0] busy []"}
	if !slices.Equal(s.told, want) {
		t.Errorf("got %q\nwant %q", s.told, want)
	}
}

// A process that is busy for somebody else from the beginning gets its turn.
func TestEachProcessWaitsForThoseItHasNotSeen(t *testing.T) {
	hog := generator.Limit(3, does("hog"))
	mine := generator.EachProcess(func(histories.Process) generator.Generator { return once("mine") })
	g := generator.OnClients(&hogging{hog, mine})
	if got := count(simulate(t, generatortest.Simulation{}, g)); got["mine"] != 3 {
		t.Errorf("got %v", got)
	}
}

// hogging asks mine only if hog has nothing to do.
type hogging struct{ hog, mine generator.Generator }

func (h *hogging) Next(c generator.Context) generator.Step {
	if s := h.hog.Next(c); s.Op != nil {
		return s
	}
	return h.mine.Next(c)
}

func (h *hogging) Update(c generator.Context, op histories.Op) {
	h.hog.Update(c, op)
	h.mine.Update(c, op)
}

// uncomparable is a generator that == panics on.
type uncomparable struct{ next []generator.Generator }

func (u uncomparable) Next(c generator.Context) generator.Step     { return u.next[0].Next(c) }
func (u uncomparable) Update(c generator.Context, op histories.Op) { u.next[0].Update(c, op) }
func (u uncomparable) with(g generator.Generator) generator.Generator {
	return uncomparable{[]generator.Generator{g}}
}

func TestMixTakesAnyKindOfGenerator(t *testing.T) {
	var u uncomparable
	g := generator.Mix(u.with(generator.Limit(3, does("a"))), u.with(generator.Limit(3, does("b"))), does("c"), does("d"))
	if got := count(simulate(t, generatortest.Simulation{Ops: 50}, g)); got["a"] != 3 || got["b"] != 3 || got["c"]+got["d"] != 44 {
		t.Errorf("got %v", got)
	}
}

// grow returns a random composition that comes to an end, of combinators up to
// depth deep.
func grow(r *rand.Rand, depth int) generator.Generator {
	if depth == 0 {
		if r.IntN(8) == 0 {
			return []generator.Generator{nil, generator.Nothing(), generator.Sleep(time.Duration(r.IntN(20)) * ms)}[r.IntN(3)]
		}
		return generator.Limit(r.IntN(6), does(string(rune('a'+r.IntN(26)))))
	}
	some := func() []generator.Generator {
		var gs []generator.Generator
		for range 1 + r.IntN(3) {
			gs = append(gs, grow(r, depth-1))
		}
		return gs
	}
	seeded := func() func() generator.Generator {
		seeds := rand.New(rand.NewPCG(r.Uint64(), 0))
		return func() generator.Generator { return grow(rand.New(rand.NewPCG(seeds.Uint64(), 0)), depth-1) }
	}
	switch r.IntN(13) {
	case 0:
		return generator.Any(some()...)
	case 1:
		return generator.Mix(some()...)
	case 2:
		return generator.Phases(some()...)
	case 3:
		return generator.Limit(r.IntN(12), grow(r, depth-1))
	case 4:
		return generator.TimeLimit(time.Duration(r.IntN(50))*ms, grow(r, depth-1))
	case 5:
		return generator.Stagger(time.Duration(r.IntN(6))*ms, grow(r, depth-1))
	case 6:
		return generator.OnClients(grow(r, depth-1))
	case 7:
		return generator.OnNemesis(grow(r, depth-1))
	case 8:
		return generator.Reserve(grow(r, depth-1), generator.Part{Workers: 1, Generator: grow(r, depth-1)})
	case 9:
		fresh := seeded()
		return generator.TimeLimit(100*ms, generator.OnClients(generator.EachProcess(func(histories.Process) generator.Generator { return fresh() })))
	case 10:
		return generator.Cycle(r.IntN(4), seeded())
	case 11:
		fresh, keys := seeded(), r.IntN(8)
		return generator.Independent(1+r.IntN(3), func(i int) generator.Generator {
			if i == keys {
				return nil
			}
			if g := fresh(); g != nil {
				return g
			}
			return generator.Nothing()
		})
	}
	return generator.TimeLimit(200*ms, generator.UntilOK(3*ms, histories.Op{F: "A"}, histories.Op{F: "B"}))
}

// Whatever the composition: it keeps the contract of a Generator, it ends, a seed
// fixes what it does, and asking it in vain changes nothing.
func TestRandomCompositions(t *testing.T) {
	total := 0
	for seed := range uint64(3000) {
		g := func() generator.Generator {
			return generator.TimeLimit(time.Second, grow(rand.New(rand.NewPCG(seed, 0)), 1+int(seed%4)))
		}
		sim := generatortest.Simulation{Seed: seed, Workers: 1 + int(seed%5), Outcome: generatortest.Mixed(8 * ms)}
		first, err := sim.Run(g())
		if err != nil {
			t.Fatalf("seed %d: %v, after\n%s", seed, err, generatortest.Format(first))
		}
		if _, err := histories.FromOps(first); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		total += len(first)
		for name, again := range map[string]generatortest.Simulation{
			"again":            sim,
			"asked more often": {Seed: sim.Seed, Workers: sim.Workers, Outcome: sim.Outcome, Repeat: 3},
		} {
			ops, err := again.Run(g())
			if err != nil {
				t.Fatalf("seed %d, %s: %v", seed, name, err)
			}
			if got, want := generatortest.Format(ops), generatortest.Format(first); got != want {
				t.Fatalf("seed %d, %s: got\n%swant\n%s", seed, name, got, want)
			}
		}
	}
	if total < 30_000 {
		t.Errorf("only %d events in all: too little happened to prove anything", total)
	}
}

func TestAnotherSeedIsAnotherRun(t *testing.T) {
	run := func(seed uint64) string {
		g := generator.Limit(100, generator.Stagger(ms, generator.Mix(does("a"), does("b"))))
		return generatortest.Format(simulate(t, generatortest.Simulation{Seed: seed}, g))
	}
	first, again, other := run(1), run(1), run(2)
	if first != again {
		t.Error("the same seed is another run")
	}
	if first == other {
		t.Error("another seed is the same run")
	}
}
