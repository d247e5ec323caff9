package set

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// memory is a Set as it should be, but for a mistake.
type memory struct {
	sets    map[string][]int64
	before  map[string][]int64 // as they were a while ago
	mistake string
	calls   int
}

func (m *memory) Add(_ context.Context, set string, e int64) (workloads.Said, error) {
	m.calls++
	said := workloads.Said{Node: "n1", Revision: uint64(m.calls)}
	if m.calls%20 == 0 {
		switch m.mistake {
		case "lose":
			return said, nil
		case "twice":
			m.sets[set] = append(m.sets[set], e)
		case "elsewhere":
			set += "'"
		}
	}
	m.sets[set] = append(m.sets[set], e)
	return said, nil
}

func (m *memory) Read(_ context.Context, set string) (Result, error) {
	m.calls++
	found := m.sets[set]
	if m.mistake == "stale" && m.calls%20 == 0 {
		found = m.before[set]
	}
	m.before[set] = slices.Clone(m.sets[set])
	r := Result{Elements: slices.Clone(found), Said: workloads.Said{Node: "n2"}}
	if m.mistake == "rotten" && m.calls%20 == 0 {
		r.Garbage = []string{"\x00"}
	}
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
	for mistake, kind := range map[string]string{
		"": "", "lose": lost, "stale": stale, "twice": duplicated, "elsewhere": lost, "rotten": phantom,
	} {
		m := &memory{sets: map[string][]int64{}, before: map[string][]int64{}, mistake: mistake}
		w := New(Options{}, func(context.Context, int) (Set, error) { return m, nil })
		_, r, err := workloadtest.Play{Main: 2 * time.Second, Refused: 0.02, Lost: 0.06}.Judge(w)
		if err != nil {
			t.Fatal(err)
		}
		if mistake == "" {
			if r.Verdict != checker.Valid || r.Parts[0].Counts["stable"] < 500 {
				t.Errorf("no mistake, but got %s", checkertest.Format(r))
			}
			continue
		}
		if !slices.ContainsFunc(r.Parts[0].Anomalies, func(a checker.Anomaly) bool { return a.Kind == kind }) {
			t.Errorf("%s: got %s", mistake, checkertest.Format(r))
		}
	}
}

// TestGenerators: of what is done, and to which sets.
func TestGenerators(t *testing.T) {
	const perSet = 50
	for _, workers := range []int{1, 10} {
		w := New(Options{Sets: 2, ElementsPerSet: perSet}, nil)
		ops := played(t, w, generatortest.Simulation{Workers: workers, Outcome: inTrouble})
		adds, reads, readInTheEnd := map[string]int{}, 0, map[string]bool{}
		known, onlyAdds := map[int64]bool{}, map[int]bool{}
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
					readInTheEnd[in.set] = true
				}
				continue
			}
			if final[op.Process] = op.Time >= mainPhase; final[op.Process] {
				continue
			}
			if op.F == Read {
				reads++
				onlyAdds[int(op.Process)%workers] = false
				continue
			}
			if adds[in.set]++; known[in.element] {
				t.Errorf("%d is added twice", in.element)
			}
			known[in.element] = true
		}
		unfinished := 0
		for set, n := range adds {
			if n > perSet || !readInTheEnd[set] {
				t.Errorf("%s: %d adds, read in the end: %v", set, n, readInTheEnd[set])
			}
			if n < perSet {
				unfinished++
			}
		}
		if unfinished > 2 || len(adds) < 2 {
			t.Errorf("%d workers: %d of %d sets were given up early", workers, unfinished, len(adds))
		}
		if share := 100 * reads / (reads + len(known)); share < 35 || share > 60 {
			t.Errorf("%d workers: %d%% are reads", workers, share)
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
		{"add", `["s",3]`, stub{result: Result{Said: said}}, ``, `{"revision":5}`, false, false},
		{"add", `["s",3]`, stub{result: Result{Said: said}, err: silent}, ``, `{"revision":5}`, true, false},
		{"add", `["s",3]`, stub{err: workloads.Definite(silent)}, ``, ``, true, true},
		{"add", `["s",null]`, stub{}, ``, ``, true, true},
		{"drop", `["s",3]`, stub{}, ``, ``, true, true},
		{"read", `["s",null]`, stub{result: Result{Said: said}}, `["s",[]]`, `{"revision":5}`, false, false},
		{"read", `["s",null]`, stub{result: Result{Elements: []int64{2, 1, 2}}}, `["s",[2,1,2]]`, ``, false, false},
		{"read", `["s",null]`, stub{result: Result{Elements: []int64{2}, Garbage: []string{"a,\"b", "c"}}}, `["s",[2,"a,\"b","c"]]`, ``, false, false},
		{"read", `["s",null]`, stub{result: Result{Said: said}, err: silent}, ``, `{"revision":5}`, true, false},
	} {
		w := New(Options{}, func(context.Context, int) (Set, error) { return test.stub, nil })
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
			if err != nil || !slices.Equal(out.elements, test.stub.result.Elements) || !slices.Equal(out.garbage, test.stub.result.Garbage) {
				t.Errorf("%s reads as %v, %v", reply.Value, out, err)
			}
		}
	}
}
