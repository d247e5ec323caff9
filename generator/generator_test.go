package generator_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
)

const ms = time.Millisecond

// does yields ops of function f for ever.
func does(f string) generator.Generator {
	return generator.Of(func(generator.Context, histories.Process) histories.Op { return histories.Op{F: f} })
}

// once yields one op for each of fs, in turn.
func once(fs ...string) generator.Generator {
	var gs []generator.Generator
	for _, f := range fs {
		gs = append(gs, generator.Limit(1, does(f)))
	}
	return generator.Phases(gs...)
}

// simulate runs g, and sees to it that what it returns is a history.
func simulate(t *testing.T, s generatortest.Simulation, g generator.Generator) []histories.Op {
	t.Helper()
	ops, err := s.Run(g)
	if err != nil {
		t.Fatalf("%v, after\n%s", err, generatortest.Format(ops))
	}
	if _, err := histories.FromOps(ops); err != nil {
		t.Fatalf("the simulator made no history: %v\n%s", err, generatortest.Format(ops))
	}
	return ops
}

// A table is a list of ops as Format writes them, indented as it likes.
func table(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// Every combinator, with three workers whose ops take 10 ms and succeed, but for
// what the case says.
func TestWhatGeneratorsYield(t *testing.T) {
	for _, test := range []struct {
		name string
		sim  generatortest.Simulation
		g    generator.Generator
		want string
	}{
		{name: "nothing", g: generator.Nothing()},
		{name: "of: on the process that has been idle longest", sim: generatortest.Simulation{Ops: 6}, g: does("read"), want: `
			0s 0 invoke read
			0s 1 invoke read
			0s 2 invoke read
			0s nemesis invoke read
			10ms 0 ok read
			10ms 1 ok read
			10ms 2 ok read
			10ms nemesis info read
			10ms 0 invoke read
			10ms 1 invoke read
			20ms 0 ok read
			20ms 1 ok read`},
		{name: "limit", g: generator.Limit(2, does("read")), want: `
			0s 0 invoke read
			0s 1 invoke read
			10ms 0 ok read
			10ms 1 ok read`},
		{name: "limit: zero", g: generator.Limit(0, does("read"))},
		{name: "limit: below zero", g: generator.Limit(-1, does("read"))},
		{name: "limit: of what ends before", g: generator.Limit(5, once("read")), want: `
			0s 0 invoke read
			10ms 0 ok read`},
		{name: "time limit: ends what would go on", g: generator.TimeLimit(15*ms, generator.OnNemesis(does("cut"))), want: `
			0s nemesis invoke cut
			10ms nemesis info cut
			10ms nemesis invoke cut
			20ms nemesis info cut`},
		{name: "time limit: counts from when it is first asked", g: generator.Phases(once("read"), generator.TimeLimit(5*ms, generator.OnNemesis(does("cut")))), want: `
			0s 0 invoke read
			10ms 0 ok read
			10ms nemesis invoke cut
			20ms nemesis info cut`},
		{name: "time limit: zero", g: generator.TimeLimit(0, does("read"))},
		{name: "time limit: of what waits longer", g: generator.Phases(generator.TimeLimit(3*ms, generator.Sleep(time.Hour)), once("read")), want: `
			3ms 0 invoke read
			13ms 0 ok read`},
		{name: "sleep", g: generator.Phases(once("read"), generator.Sleep(5*ms), once("write")), want: `
			0s 0 invoke read
			10ms 0 ok read
			15ms 1 invoke write
			25ms 1 ok write`},
		{name: "sleep: no time", g: generator.Phases(generator.Sleep(0), once("write")), want: `
			0s 0 invoke write
			10ms 0 ok write`},
		{name: "phases: the next begins when nothing is outstanding", g: generator.Phases(generator.Limit(2, does("read")), nil, generator.Nothing(), generator.Limit(1, does("write"))), want: `
			0s 0 invoke read
			0s 1 invoke read
			10ms 0 ok read
			10ms 1 ok read
			10ms 2 invoke write
			20ms 2 ok write`},
		{name: "phases: none", g: generator.Phases()},
		{name: "phases: inside On wait for their own processes alone",
			sim: generatortest.Simulation{Outcome: nemesisTakes(50 * ms)},
			g: generator.Any(
				generator.OnNemesis(generator.Limit(1, does("cut"))),
				generator.OnClients(once("read", "write"))), want: `
			0s nemesis invoke cut
			0s 0 invoke read
			10ms 0 ok read
			10ms 1 invoke write
			20ms 1 ok write
			50ms nemesis info cut`},
		{name: "cycle: makes it anew, and does not wait", sim: generatortest.Simulation{Workers: 2}, g: generator.Cycle(2, func() generator.Generator {
			return generator.OnClients(generator.Limit(1, does("read")))
		}), want: `
			0s 0 invoke read
			0s 1 invoke read
			10ms 0 ok read
			10ms 1 ok read`},
		{name: "cycle: of phases waits", sim: generatortest.Simulation{Ops: 3}, g: generator.Cycle(-1, func() generator.Generator {
			return generator.OnNemesis(once("cut", "heal"))
		}), want: `
			0s nemesis invoke cut
			10ms nemesis info cut
			10ms nemesis invoke heal
			20ms nemesis info heal
			20ms nemesis invoke cut
			30ms nemesis info cut`},
		{name: "cycle: zero times", g: generator.Cycle(0, func() generator.Generator { return does("read") })},
		{name: "cycle: one empty turn of a few ends nothing", g: generator.Cycle(5, scripted(once("a"), nil, generator.Nothing(), once("b"), nil)), want: `
			0s 0 invoke a
			10ms 0 ok a
			10ms 1 invoke b
			20ms 1 ok b`},
		{name: "cycle: an endless one ends with an empty turn", g: generator.Cycle(-1, scripted(once("a"), once("b"), generator.Nothing(), once("c"))), want: `
			0s 0 invoke a
			10ms 0 ok a
			10ms 1 invoke b
			20ms 1 ok b`},
		{name: "any: none", g: generator.Any()},
		{name: "any: nobody", g: generator.Any(nil, generator.Nothing(), nil)},
		{name: "any: each keeps its own pace", g: generator.Any(
			generator.OnNemesis(generator.Phases(generator.Sleep(12*ms), generator.Limit(1, does("cut")))),
			generator.OnClients(every(5*ms, "read", 4))), want: `
			0s 0 invoke read
			5ms 1 invoke read
			10ms 0 ok read
			10ms 2 invoke read
			12ms nemesis invoke cut
			15ms 1 ok read
			15ms 0 invoke read
			20ms 2 ok read
			22ms nemesis info cut
			25ms 0 ok read`},
		{name: "mix: none", g: generator.Mix()},
		{name: "mix: nobody", g: generator.Mix(nil, generator.Nothing(), nil)},
		{name: "mix: goes on with who is left", g: generator.Mix(generator.Nothing(), generator.Limit(2, does("read"))), want: `
			0s 0 invoke read
			0s 1 invoke read
			10ms 0 ok read
			10ms 1 ok read`},
		{name: "stagger: no time is no wait", g: generator.Stagger(0, generator.Limit(2, does("read"))), want: `
			0s 0 invoke read
			0s 1 invoke read
			10ms 0 ok read
			10ms 1 ok read`},
		{name: "on: some processes",
			g: generator.On(func(c generator.Context, p histories.Process) bool { return p >= 0 && c.Worker(p) == 1 }, generator.Limit(2, does("read"))), want: `
			0s 1 invoke read
			10ms 1 ok read
			10ms 1 invoke read
			20ms 1 ok read`},
		{name: "on clients: goes with the process that follows a dead one",
			sim: generatortest.Simulation{Workers: 1, Outcome: ends(histories.Info)},
			g:   generator.OnClients(generator.Limit(3, does("read"))), want: `
			0s 0 invoke read
			10ms 0 info read
			10ms 1 invoke read
			20ms 1 info read
			20ms 2 invoke read
			30ms 2 info read`},
		{name: "on nemesis", g: generator.OnNemesis(generator.Limit(1, does("cut"))), want: `
			0s nemesis invoke cut
			10ms nemesis info cut`},
		{name: "reserve: workers in order, also after a death",
			sim: generatortest.Simulation{Workers: 4, Outcome: ends(histories.Info)},
			g: generator.Reserve(generator.Limit(1, does("rest")),
				generator.Part{Workers: 1, Generator: generator.Limit(2, does("first"))},
				generator.Part{Workers: 2, Generator: generator.Limit(2, does("next"))}), want: `
			0s 0 invoke first
			0s 1 invoke next
			0s 2 invoke next
			0s 3 invoke rest
			10ms 0 info first
			10ms 1 info next
			10ms 2 info next
			10ms 3 info rest
			10ms 4 invoke first
			20ms 4 info first`},
		{name: "reserve: nobody for the rest", g: generator.Reserve(nil, generator.Part{Workers: 1, Generator: generator.Limit(1, does("first"))}, generator.Part{Workers: 1}), want: `
			0s 0 invoke first
			10ms 0 ok first`},
		{name: "each process: one of its own for each", sim: generatortest.Simulation{Workers: 2}, g: generator.OnClients(generator.EachProcess(func(p histories.Process) generator.Generator {
			return once(fmt.Sprint("a", p), fmt.Sprint("b", p))
		})), want: `
			0s 0 invoke a0
			0s 1 invoke a1
			10ms 0 ok a0
			10ms 1 ok a1
			10ms 0 invoke b0
			10ms 1 invoke b1
			20ms 0 ok b0
			20ms 1 ok b1`},
		{name: "each process: the one that follows a dead one begins afresh", sim: generatortest.Simulation{Workers: 1, Outcome: endsInTurn(histories.OK, histories.Info, histories.OK)},
			g: generator.OnClients(generator.EachProcess(func(p histories.Process) generator.Generator { return once("a", "b") })), want: `
			0s 0 invoke a
			10ms 0 ok a
			10ms 0 invoke b
			20ms 0 info b
			20ms 1 invoke a
			30ms 1 ok a
			30ms 1 invoke b
			40ms 1 ok b`},
		{name: "each process: nothing for one", sim: generatortest.Simulation{Workers: 2}, g: generator.OnClients(generator.EachProcess(func(p histories.Process) generator.Generator {
			if p == 0 {
				return nil
			}
			return once("a")
		})), want: `
			0s 1 invoke a
			10ms 1 ok a`},
		{name: "independent: the next key takes the place of one that is done", sim: generatortest.Simulation{Workers: 1},
			g: generator.OnClients(generator.Independent(1, func(i int) generator.Generator {
				if i == 2 {
					return nil
				}
				return once(fmt.Sprint("write", i), fmt.Sprint("read", i))
			})), want: `
			0s 0 invoke write0
			10ms 0 ok write0
			10ms 0 invoke read0
			20ms 0 ok read0
			20ms 0 invoke write1
			30ms 0 ok write1
			30ms 0 invoke read1
			40ms 0 ok read1`},
		{name: "independent: a phase ends with the key's own ops",
			sim: generatortest.Simulation{Outcome: takes(map[string]time.Duration{"slow": 100 * ms})},
			g: generator.OnClients(generator.Independent(2, func(i int) generator.Generator {
				return []generator.Generator{once("slow"), once("write", "read"), nil}[i]
			})), want: `
			0s 0 invoke slow
			0s 1 invoke write
			10ms 1 ok write
			10ms 2 invoke read
			20ms 2 ok read
			100ms 0 ok slow`},
		{name: "independent: no keys", g: generator.Independent(3, func(int) generator.Generator { return nil })},
		{name: "independent: no room for keys", g: generator.Independent(0, func(int) generator.Generator { return does("read") })},
		{name: "independent: empty keys are passed over", g: generator.Independent(2, func(i int) generator.Generator {
			return []generator.Generator{generator.Nothing(), generator.Nothing(), once("a"), generator.Nothing(), once("b"), nil}[i]
		}), want: `
			0s 0 invoke a
			0s 1 invoke b
			10ms 0 ok a
			10ms 1 ok b`},
		{name: "independent: empty keys for ever are the end", g: generator.Independent(2, func(i int) generator.Generator {
			if i == 0 {
				return once("a")
			}
			return generator.Nothing()
		}), want: `
			0s 0 invoke a
			10ms 0 ok a`},
		{name: "until ok: again after a pause, on whatever process", sim: generatortest.Simulation{Workers: 2, Outcome: endsInTurn(histories.Fail, histories.OK, histories.Info, histories.OK)},
			g: generator.OnClients(generator.UntilOK(5*ms, histories.Op{F: "a"}, histories.Op{F: "b"})), want: `
			0s 0 invoke a
			0s 1 invoke b
			10ms 0 fail a
			10ms 1 ok b
			15ms 0 invoke a
			25ms 0 info a
			30ms 1 invoke a
			40ms 1 ok a`},
		{name: "until ok: nothing to do", g: generator.UntilOK(ms)},
		{name: "until ok: more ops than processes", sim: generatortest.Simulation{Workers: 1}, g: generator.OnClients(generator.UntilOK(ms, histories.Op{F: "a"}, histories.Op{F: "b"})), want: `
			0s 0 invoke a
			10ms 0 ok a
			10ms 0 invoke b
			20ms 0 ok b`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, want := generatortest.Format(simulate(t, test.sim, test.g)), table(test.want); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}
