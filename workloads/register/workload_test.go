package register_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/register"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// played returns what a simulation makes of a workload: its main phase to the
// limit, then the final reads.
func played(t *testing.T, o register.Options, limit time.Duration, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(register.New(o, nil, checker.Budget{}), limit, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// argument returns the argument of an invocation.
func argument(t *testing.T, op histories.Op) register.Input {
	t.Helper()
	in, err := register.ParseInput(op.F, op.Value)
	if err != nil {
		t.Fatalf("%v: %v", op, err)
	}
	return in
}

func TestMixOfOperations(t *testing.T) {
	counts := map[string]int{}
	written := map[string]map[register.Value]bool{}
	expectable, all := 0, 0
	known := map[string]map[register.Value]bool{}
	for _, op := range played(t, register.Options{}, 20*time.Second, generatortest.Simulation{}) {
		in := argument(t, op)
		if op.Type == histories.OK && op.F != register.Read {
			if known[in.Key] == nil {
				known[in.Key] = map[register.Value]bool{}
			}
			known[in.Key][in.New] = true
		}
		if op.Type != histories.Invoke || op.Time > 20*time.Second {
			continue
		}
		counts[op.F]++
		if op.F == register.Read {
			continue
		}
		if written[in.Key] == nil {
			written[in.Key] = map[register.Value]bool{}
		}
		if written[in.Key][in.New] {
			t.Errorf("%v: written before", op)
		}
		written[in.Key][in.New] = true
		if op.F == register.CAS {
			all++
			if in.Old == register.Absent || known[in.Key][in.Old] {
				expectable++
			}
		}
	}
	total := counts[register.Read] + counts[register.Write] + counts[register.CAS]
	for f, want := range map[string]int{register.Read: 53, register.Write: 34, register.CAS: 13} {
		if got := 100 * counts[f] / total; got < want-3 || got > want+3 {
			t.Errorf("%d%% are %s, want %d%%", got, f, want)
		}
	}
	if expectable < all*9/10 || expectable == all {
		t.Errorf("%d of %d cas expect what was there once", expectable, all)
	}
}

func TestKeysAreUsedAndRetired(t *testing.T) {
	const keys, perKey = 3, 50
	ops := played(t, register.Options{Keys: keys, OpsPerKey: perKey}, 5*time.Second, generatortest.Simulation{})
	count := map[string]int{}
	for _, op := range ops {
		if op.Type == histories.Invoke && op.Time < 5*time.Second {
			count[argument(t, op).Key]++
		}
	}
	unfinished := 0
	for key, n := range count {
		if n > perKey {
			t.Errorf("%s: %d operations", key, n)
		}
		if n < perKey {
			unfinished++
		}
	}
	if unfinished > keys || len(count) < 50 {
		t.Errorf("%d of %d keys were given up early", unfinished, len(count))
	}
}

// TestManyIndeterminateWritesRetireAKey: they are what judging is exponential in.
func TestManyIndeterminateWritesRetireAKey(t *testing.T) {
	ops := played(t, register.Options{OpsPerKey: 1000}, time.Minute, generatortest.Simulation{
		Outcome: func(r *rand.Rand, op histories.Op) (histories.Type, time.Duration) {
			if r.IntN(4) == 0 {
				return histories.Info, 100 * time.Millisecond
			}
			return histories.OK, 10 * time.Millisecond
		},
	})
	lost := map[string]int{}
	for _, op := range ops {
		if op.Type == histories.Info && op.F != register.Read {
			lost[argument(t, op).Key]++
		}
	}
	for key, n := range lost {
		if n > 26 { // of the ten workers each may have another outstanding
			t.Errorf("%s: %d indeterminate writes", key, n)
		}
	}
	if len(lost) < 20 {
		t.Errorf("only %d keys", len(lost))
	}
}

func TestRateIsKept(t *testing.T) {
	if err := workloadtest.KeepsRate(register.New(register.Options{Rate: 50}, nil, checker.Budget{}), 50); err != nil {
		t.Error(err)
	}
}

func TestEveryKeyIsReadInTheEnd(t *testing.T) {
	const limit = 5 * time.Second
	ops := played(t, register.Options{OpsPerKey: 50}, limit, generatortest.Simulation{
		Outcome: generatortest.Mixed(10 * time.Millisecond),
	})
	used, read, workers := map[string]bool{}, map[string]int{}, map[histories.Process]bool{}
	final := map[histories.Process]bool{} // the op outstanding is a final one
	for _, op := range ops {
		key := argument(t, op).Key
		switch {
		case op.Type == histories.Invoke:
			if final[op.Process] = op.Time >= limit; !final[op.Process] {
				used[key] = true
			}
		case op.Type == histories.OK && final[op.Process]:
			read[key]++
			workers[op.Process%10] = true
		}
	}
	for key := range used {
		if read[key] != 1 {
			t.Errorf("%s was read %d times", key, read[key])
		}
	}
	if len(used) < 20 || len(workers) < 8 {
		t.Errorf("%d keys, read by %d workers", len(used), len(workers))
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(register.New(register.Options{FinalLimit: 2 * time.Second}, nil, checker.Budget{}), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// A stub is a KV that says what it is told.
type stub struct {
	calls  []string
	result register.Result
	err    error
}

func (s *stub) say(format string, args ...any) (register.Result, error) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return s.result, s.err
}

func (s *stub) Read(_ context.Context, key string) (register.Result, error) {
	return s.say("read %s", key)
}

func (s *stub) Write(_ context.Context, key string, v register.Value) (register.Result, error) {
	return s.say("write %s %v", key, v)
}

func (s *stub) CAS(_ context.Context, key string, old, v register.Value) (register.Result, error) {
	return s.say("cas %s %v %v", key, old, v)
}

func (s *stub) Close() error {
	_, err := s.say("close")
	return err
}

func TestOpsBecomeCalls(t *testing.T) {
	seven := register.Result{Value: register.Of(7), Said: workloads.Said{Node: "n2", Revision: 5, Term: 2}}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		result   register.Result
		err      error

		call, reply, meta string
		definite          bool
	}{
		{"read", `["k",null]`, seven, nil, "read k", `["k",7]`, `{"revision":5,"term":2}`, false},
		{"read", `["k",null]`, register.Result{}, nil, "read k", `["k",null]`, ``, false},
		{"read", `["k",null]`, register.Result{Said: workloads.Said{Node: "n2"}}, silent, "read k", ``, ``, false},
		{"write", `["k",3]`, seven, nil, "write k 3", ``, `{"revision":5,"term":2}`, false},
		{"write", `["k",3]`, register.Result{Said: workloads.Said{Node: "n2"}}, silent, "write k 3", ``, ``, false},
		{"write", `["k",3]`, register.Result{Said: workloads.Said{Node: "n2"}}, workloads.Definite(silent), "write k 3", ``, ``, true},
		{"cas", `["k",[null,3]]`, seven, nil, "cas k null 3", ``, `{"revision":5,"term":2}`, false},
		{"cas", `["k",[1,3]]`, seven, &register.Refused{Current: register.Of(9)}, "cas k 1 3", ``, `{"current":9,"revision":5,"term":2}`, true},
		{"cas", `["k",[1,3]]`, register.Result{}, fmt.Errorf("cas: %w", &register.Refused{}), "cas k 1 3", ``, `{"current":null}`, true},
		{"push", `["k",3]`, register.Result{}, nil, "", ``, ``, true},
		{"write", `["k",1.5]`, register.Result{}, nil, "", ``, ``, true},
		{"write", `["k","x"]`, register.Result{}, nil, `write k "x"`, ``, ``, false},
		{"read", `["k",null]`, register.Result{Value: register.Text("rotten")}, nil, "read k", `["k","rotten"]`, ``, false},
		{"cas", `["k",[1,3]]`, register.Result{}, &register.Refused{Current: register.Text("rotten")}, "cas k 1 3", ``, `{"current":"rotten"}`, true},
	} {
		kv := &stub{result: test.result, err: test.err}
		w := register.New(register.Options{}, func(context.Context, int) (register.KV, error) { return kv, nil }, checker.Budget{})
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if got := strings.Join(kv.calls, ", "); got != test.call {
			t.Errorf("%s: called %s, want %s", name, got, test.call)
		}
		if got := string(reply.Value); got != test.reply {
			t.Errorf("%s: got %s, want %s", name, got, test.reply)
		}
		if got := string(reply.Meta); got != test.meta || reply.Node != test.result.Node {
			t.Errorf("%s: got %s of %s, want %s", name, got, reply.Node, test.meta)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.err == nil && test.call != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestClientThatIsNotThere(t *testing.T) {
	want := errors.New("nobody there")
	w := register.New(register.Options{}, func(context.Context, int) (register.KV, error) { return nil, want }, checker.Budget{})
	if c, err := w.Open(t.Context(), 0); c != nil || !errors.Is(err, want) {
		t.Errorf("got %v, %v", c, err)
	}
}
