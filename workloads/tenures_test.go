package workloads_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// bench are tenures of two things whose tokens are given out in order, by whoever
// claims them.
func bench() workloads.Tenures {
	op := func(f string, value ...any) histories.Op {
		b, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		return histories.Op{F: f, Value: b}
	}
	token := uint64(0)
	return workloads.Tenures{
		Objects: []string{"a", "b"},
		Claim:   func(o string, _ histories.Process) histories.Op { return op("claim", o, 0, 0) },
		Look:    func(o string) histories.Op { return op("look", o, 0, 0) },
		Renew:   func(o string, t uint64) histories.Op { return op("renew", o, t, 0) },
		GiveUp:  func(o string, t uint64) histories.Op { return op("give-up", o, t, 0) },
		Write:   func(o string, t uint64, v int64) histories.Op { return op("write", o, t, v) },
		Granted: func(histories.Op) (uint64, time.Duration) { token++; return token, 600 * time.Millisecond },
		Lost:    func(op histories.Op) bool { return op.Type == histories.Fail && op.F == "write" },
	}
}

// TestTenures: who holds something renews, writes with its token, and ends, in one of
// two ways; and comes back, sometimes, when others have it.
func TestTenures(t *testing.T) {
	for _, workers := range []int{1, 10} {
		s := generatortest.Simulation{Workers: workers, Ops: 20000, Repeat: 1, Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			switch {
			case op.F == "claim" && r.IntN(2) == 0:
				return histories.Fail, time.Millisecond
			case r.IntN(500) == 0:
				return histories.Info, 20 * time.Millisecond
			}
			return histories.OK, 5 * time.Millisecond
		}}
		ops, err := s.Run(generator.OnClients(bench().Generator()))
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		token, values := uint64(0), map[int64]bool{}
		owner := map[uint64]histories.Process{}
		renewed := map[uint64]time.Duration{}
		over := map[string]uint64{} // the greatest token of an object
		for _, op := range ops {
			var object string
			var used uint64
			var value int64
			if err := json.Unmarshal(op.Value, &[]any{&object, &used, &value}); err != nil {
				t.Fatal(err)
			}
			if op.Type == histories.OK && op.F == "claim" {
				token++
				owner[token], renewed[token], over[object] = op.Process, op.Time, token
			}
			if op.Type != histories.Invoke {
				continue
			}
			count[op.F]++
			if used == 0 {
				continue
			}
			if owner[used] != op.Process {
				t.Fatalf("%v: the token is %d's", op, owner[used])
			}
			late := used < over[object]
			switch {
			case op.F == "write" && values[value]:
				t.Fatalf("%v: written before", op)
			case op.F == "write":
				values[value] = true
			case op.F == "renew" && !late && op.Time-renewed[used] > 500*time.Millisecond:
				count["renewed late"]++
			case op.F == "renew":
				renewed[used] = op.Time
			}
			if late {
				count["late "+op.F]++
			}
		}
		for what, least := range map[string]int{"claim": 100, "look": 1000, "renew": 20, "give-up": 20, "write": 1000, "late write": 10, "late renew": 2} {
			if count[what] < least {
				t.Errorf("%d workers: only %d × %s: %v", workers, count[what], what, count)
			}
		}
		if late := count["renewed late"]; late > count["renew"]/10 {
			t.Errorf("%d workers: %d of %d renewals came late", workers, late, count["renew"])
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, s := range []workloads.Said{{}, {Revision: 7, Term: 2}} {
		meta := s.Refused("held")
		if got := workloads.RefusedAs(meta); got != "held" || !json.Valid(meta) {
			t.Errorf("%s: got %q", meta, got)
		}
	}
	if got := string(workloads.Said{Term: 2}.Refused("held")); got != `{"refused":"held","term":2}` {
		t.Errorf("got %s", got)
	}
	for _, meta := range []string{``, `{}`, `7`, `{"refused":7}`, `{"term":1}`} {
		if got := workloads.RefusedAs(json.RawMessage(meta)); got != "" {
			t.Errorf("%s: got %q", meta, got)
		}
	}
}
