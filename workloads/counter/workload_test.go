package counter

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// memory is a Counter as it should be, but for a mistake.
type memory struct {
	sums    map[string]int64
	before  map[string]int64 // as they were when they were read last
	mistake string
	calls   int
}

func (m *memory) Add(_ context.Context, counter string, delta int64) (workloads.Said, error) {
	m.calls++
	said := workloads.Said{Node: "n1", Revision: uint64(m.calls)}
	if m.calls%20 == 0 {
		switch m.mistake {
		case "lose":
			return said, nil
		case "twice":
			m.sums[counter] += delta
		case "elsewhere":
			counter += "'"
		}
	}
	m.sums[counter] += delta
	return said, nil
}

func (m *memory) Read(_ context.Context, counter string) (Result, error) {
	m.calls++
	r := Result{Sum: m.sums[counter], Said: workloads.Said{Node: "n2"}}
	if m.calls%20 == 0 {
		switch m.mistake {
		case "stale":
			r.Sum = m.before[counter]
		case "rotten":
			r.Garbage = "x"
		}
	}
	m.before[counter] = m.sums[counter]
	return r, nil
}

func (m *memory) Close() error { return nil }

const mainPhase = 5 * time.Second

// played returns what a simulation makes of the workload's generators.
func played(t *testing.T, w workloads.Workload, s generatortest.Simulation) []histories.Op {
	t.Helper()
	ops, err := workloadtest.Simulate(w, mainPhase, s)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// inTrouble is the outcome of a system that mostly works.
func inTrouble(r *rand.Rand, _ histories.Op) (histories.Type, time.Duration) {
	typ := histories.OK
	if draw := r.IntN(50); draw < 4 {
		typ = []histories.Type{histories.Fail, histories.Info, histories.Info, histories.Info}[draw]
	}
	return typ, time.Duration(1 + r.Int64N(int64(20*time.Millisecond)))
}

func TestFindsMistakes(t *testing.T) {
	for _, mistake := range []string{"", "lose", "stale", "twice", "elsewhere", "rotten"} {
		m := &memory{sums: map[string]int64{}, before: map[string]int64{}, mistake: mistake}
		w := New(Options{}, func(context.Context, int) (Counter, error) { return m, nil })
		_, r, err := workloadtest.Play{Main: 2 * time.Second, Refused: 0.02, Lost: 0.06}.Judge(w)
		if err != nil {
			t.Fatal(err)
		}
		if mistake != "" {
			if r.Verdict != checker.Invalid {
				t.Errorf("%s: got %s", mistake, checkertest.Format(r))
			}
			continue
		}
		n := r.Parts[0].Counts
		if r.Verdict != checker.Valid || n["reads"] < 500 || n["reads_exact"] != n["reads"] || n["counters_ordered"] != n["counters"] {
			t.Errorf("no mistake, but got %s", checkertest.Format(r))
		}
	}
}

// TestGenerators: of what is done, and to which counters.
func TestGenerators(t *testing.T) {
	const perCounter = 50
	for _, workers := range []int{1, 10} {
		w := New(Options{Counters: 2, OpsPerCounter: perCounter}, nil)
		ops := played(t, w, generatortest.Simulation{Workers: workers, Outcome: inTrouble})
		done, lost, readInTheEnd := map[string]int{}, map[string]int{}, map[string]bool{}
		reads, adds, subtracts, onlyAdds := 0, 0, 0, map[int]bool{}
		for worker := range workers {
			onlyAdds[worker] = true
		}
		final := map[histories.Process]bool{}
		for _, op := range ops {
			in, err := parseInput(op.F, op.Value)
			if err != nil {
				t.Fatal(err)
			}
			if op.Type != histories.Invoke {
				if op.F == Read && op.Type == histories.OK && final[op.Process] {
					readInTheEnd[in.counter] = true
				}
				if op.F == Add && op.Type == histories.Info {
					lost[in.counter]++
				}
				continue
			}
			if final[op.Process] = op.Time >= mainPhase; final[op.Process] {
				continue
			}
			done[in.counter]++
			switch {
			case op.F == Read:
				reads++
				onlyAdds[int(op.Process)%workers] = false
			case in.delta < 0:
				subtracts++
			case in.delta > 0:
				adds++
			}
		}
		unfinished := 0
		for counter, n := range done {
			if n > perCounter || lost[counter] > maxIndeterminate+workers || !readInTheEnd[counter] {
				t.Errorf("%s: %d ops, %d adds lost, read in the end: %v", counter, n, lost[counter], readInTheEnd[counter])
			}
			if n < perCounter && lost[counter] < maxIndeterminate {
				unfinished++
			}
		}
		if unfinished > 2 || len(done) < 2 {
			t.Errorf("%d workers: %d of %d counters were given up early", workers, unfinished, len(done))
		}
		all := reads + adds + subtracts
		if share := 100 * reads / all; share < 35 || share > 60 {
			t.Errorf("%d workers: %d%% are reads", workers, share)
		}
		if subtracts < adds/3 || subtracts > adds {
			t.Errorf("%d workers: %d add, %d subtract", workers, adds, subtracts)
		}
		for worker, only := range onlyAdds {
			if want := worker == 9; only != want {
				t.Errorf("worker %d of %d only adds: %v", worker, workers, only)
			}
		}
	}
}

func TestRateIsKept(t *testing.T) {
	if err := workloadtest.KeepsRate(New(Options{Rate: 50}, nil), 50); err != nil {
		t.Error(err)
	}
}

func TestFinalPhaseEnds(t *testing.T) {
	if err := workloadtest.FinalEnds(New(Options{FinalLimit: 2 * time.Second}, nil), 2*time.Second); err != nil {
		t.Error(err)
	}
}

// stub says what it is told.
type stub struct {
	result Result
	err    error
}

func (s stub) Add(context.Context, string, int64) (workloads.Said, error) {
	return s.result.Said, s.err
}
func (s stub) Read(context.Context, string) (Result, error) { return s.result, s.err }
func (s stub) Close() error                                 { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	said := workloads.Said{Node: "n2", Revision: 5}
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		stub     stub

		reply, meta string
		failed      bool
		definite    bool
	}{
		{"add", `["c",-3]`, stub{result: Result{Said: said}}, ``, `{"revision":5}`, false, false},
		{"add", `["c",3]`, stub{result: Result{Said: said}, err: silent}, ``, `{"revision":5}`, true, false},
		{"add", `["c",3]`, stub{err: workloads.Definite(silent)}, ``, ``, true, true},
		{"add", `["c",null]`, stub{}, ``, ``, true, true},
		{"drop", `["c",3]`, stub{}, ``, ``, true, true},
		{"read", `["c",null]`, stub{result: Result{Said: said}}, `["c",0]`, `{"revision":5}`, false, false},
		{"read", `["c",null]`, stub{result: Result{Sum: -17}}, `["c",-17]`, ``, false, false},
		{"read", `["c",null]`, stub{result: Result{Garbage: "12\"x"}}, `["c","12\"x"]`, ``, false, false},
		{"read", `["c",null]`, stub{result: Result{Said: said}, err: silent}, ``, `{"revision":5}`, true, false},
	} {
		w := New(Options{}, func(context.Context, int) (Counter, error) { return test.stub, nil })
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		if string(reply.Value) != test.reply || string(reply.Meta) != test.meta || reply.Node != test.stub.result.Node {
			t.Errorf("%s %s: got %s, %s of %q", test.f, test.value, reply.Value, reply.Meta, reply.Node)
		}
		if (err != nil) != test.failed || workloads.IsDefinite(err) != test.definite {
			t.Errorf("%s %s: got %v", test.f, test.value, err)
		}
		if test.reply != "" {
			out, err := parseOutput(test.f, reply.Value)
			if err != nil || out.sum != test.stub.result.Sum || out.garbage != test.stub.result.Garbage {
				t.Errorf("%s reads as %v, %v", reply.Value, out, err)
			}
		}
	}
}
