package generatortest_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
)

// next is a generator that is one function.
type next func(c generator.Context) generator.Step

func (n next) Next(c generator.Context) generator.Step { return n(c) }
func (next) Update(generator.Context, histories.Op)    {}

func yields(f string, typ histories.Type, p histories.Process) generator.Step {
	return generator.Step{Op: &histories.Op{F: f, Type: typ, Process: p}}
}

func TestBrokenGeneratorsAreFound(t *testing.T) {
	asked := 0
	for name, test := range map[string]struct {
		g    generator.Generator
		want string
	}{
		"busy process":    {next(func(generator.Context) generator.Step { return yields("read", histories.Invoke, 0) }), "for a process that is not free"},
		"no such process": {next(func(generator.Context) generator.Step { return yields("read", histories.Invoke, 7) }), "for a process that is not free"},
		"no function":     {next(func(generator.Context) generator.Step { return yields("", histories.Invoke, 0) }), "without a function"},
		"no invocation":   {next(func(generator.Context) generator.Step { return yields("read", histories.OK, 0) }), "no invocation"},
		"waits in vain":   {next(func(generator.Context) generator.Step { return generator.Step{} }), "waits for a completion, but none will come"},
		"waits for ever":  {next(func(generator.Context) generator.Step { return generator.Step{Wait: 1} }), "asked 100000 times and got nothing"},
		"changes its mind": {next(func(c generator.Context) generator.Step {
			asked++
			return generator.Step{Wait: time.Duration(asked)}
		}), "answered {Op:<nil> Wait:1ns Done:false}, and asked again at once {Op:<nil> Wait:2ns Done:false}"},
		"is done twice": {next(func(c generator.Context) generator.Step {
			if len(c.Busy) == 0 && c.Now == 0 {
				return yields("read", histories.Invoke, 0)
			}
			return generator.Step{Done: len(c.Busy) > 0}
		}), "was done, and then answered"},
	} {
		t.Run(name, func(t *testing.T) {
			asked = 0
			_, err := generatortest.Simulation{Repeat: 1}.Run(test.g)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// The runner hands out one and the same context again and again; here each one
// is a copy, so that who keeps or changes one is found out by a wrong answer.
func TestContextsAreCopies(t *testing.T) {
	vandal := next(func(c generator.Context) generator.Step {
		step := yields("read", histories.Invoke, c.Free[0])
		clear(c.Free)
		return step
	})
	ops, err := generatortest.Simulation{Ops: 3}.Run(vandal)
	if err != nil || len(ops) != 6 {
		t.Errorf("got %v, %v", ops, err)
	}
}

func TestWhatNeverCompletesStaysOutstanding(t *testing.T) {
	never := func(*rand.Rand, histories.Op) (histories.Type, time.Duration) { return 0, 0 }
	read := generator.Of(func(generator.Context, histories.Process) histories.Op { return histories.Op{F: "read"} })
	ops, err := generatortest.Simulation{Outcome: never}.Run(generator.Limit(2, read))
	if err != nil || len(ops) != 2 {
		t.Errorf("got %v, %v", ops, err)
	}
	ops, err = generatortest.Simulation{Outcome: never}.Run(read)
	if err == nil || len(ops) != 4 {
		t.Errorf("got %v, %v", ops, err)
	}
}
