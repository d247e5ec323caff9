package member_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/generator/generatortest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/member"
	"github.com/hacheck/hacheck/workloads/workloadtest"
)

// A memory is a cluster that is one map, with a mistake if it is asked for one.
type memory struct {
	mistake string
	rand    *rand.Rand
	nodes   []string
	voters  map[string]bool
	least   int // voters, at any time

	holds, before map[string]int64
	stale         []string // who had a vote before the last change
}

func newMemory(nodes int, mistake string) *memory {
	m := &memory{
		mistake: mistake, rand: rand.New(rand.NewPCG(1, 1)), least: nodes,
		voters: map[string]bool{}, holds: map[string]int64{}, before: map[string]int64{},
	}
	for i := range nodes {
		m.nodes = append(m.nodes, fmt.Sprintf("n%d", i+1))
		m.voters[m.nodes[i]] = true
	}
	return m
}

// errs says whether it makes its mistake now, if that is the one.
func (m *memory) errs(mistake string) bool { return m.mistake == mistake && m.rand.IntN(20) == 0 }

func (m *memory) list() (voters []string) {
	for _, node := range m.nodes {
		if m.voters[node] {
			voters = append(voters, node)
		}
	}
	return voters
}

func (m *memory) Read(_ context.Context, key string) (member.Result, error) {
	v, ok := m.holds[key]
	if old, was := m.before[key]; was && m.errs("stale read") {
		v = old
	}
	if m.errs("garbage") {
		v, ok = member.Garbage, true
	}
	return member.Result{Value: v, Present: ok, Said: workloads.Said{Node: "n1", Revision: 7}}, nil
}

func (m *memory) Write(_ context.Context, key string, v int64) (workloads.Said, error) {
	if old, ok := m.holds[key]; ok {
		m.before[key] = old
	}
	m.holds[key] = v
	return workloads.Said{Node: "n2"}, nil
}

func (m *memory) Members(context.Context) (member.Membership, error) {
	voters := m.list()
	if m.stale != nil && m.errs("stale members") {
		voters = m.stale
	}
	return member.Membership{Voters: voters}, nil
}

func (m *memory) change(node string, in bool) error {
	if m.voters[node] == in {
		return nil
	}
	m.stale = m.list()
	if !m.errs("change is forgotten") {
		m.voters[node] = in
	}
	m.least = min(m.least, len(m.list()))
	if m.mistake == "writes are lost on a change" && m.rand.IntN(2) == 0 {
		for key, old := range m.before {
			m.holds[key] = old
		}
	}
	if m.errs("change reports failure") {
		return workloads.Definite(errors.New("it was refused, but it was not"))
	}
	return nil
}

func (m *memory) Leave(_ context.Context, node string) error {
	if m.mistake == "others have it join" {
		return nil
	}
	return m.change(node, false)
}
func (m *memory) Join(_ context.Context, node string) error {
	if m.mistake == "never catches up" && node == "n3" {
		return errors.New("n3 has not caught up")
	}
	return m.change(node, true)
}
func (m *memory) Transfer(_ context.Context, node string) error {
	if !m.voters[node] {
		return workloads.Definite(errors.New("it has no vote"))
	}
	return nil
}
func (m *memory) Close() error { return nil }

// play returns what a play makes of the workload on m, and what is found of it.
func play(t *testing.T, m *memory, p workloadtest.Play) (*histories.History, checker.Result) {
	t.Helper()
	w := member.New(member.Options{Pause: 50 * time.Millisecond, FinalLimit: 3 * time.Second},
		func(context.Context, int) (member.Cluster, error) { return m, nil }, checker.Budget{})
	h, r, err := p.Judge(w)
	if err != nil {
		t.Fatal(err)
	}
	return h, r
}

func TestACorrectClusterIsValid(t *testing.T) {
	for _, test := range []struct {
		nodes int
		play  workloadtest.Play
	}{
		{5, workloadtest.Play{Lost: 0.002}},
		{3, workloadtest.Play{Workers: 5, Lost: 0.02, Refused: 0.1}},
		{4, workloadtest.Play{Workers: 2, Lost: 0.1}},
		{5, workloadtest.Play{Workers: 1, Lost: 0.01, Refused: 0.02}},
		{5, workloadtest.Play{Workers: 3, Lost: 0.2}},
	}[:workloadtest.Cases(5)] {
		m := newMemory(test.nodes, "")
		h, r := play(t, m, test.play)
		if r.Verdict != checker.Valid {
			t.Errorf("%+v: %s", test, checkertest.Format(r))
		}
		if want := test.nodes/2 + 1; m.least != want {
			t.Errorf("%+v: at least %d had a vote, want %d", test, m.least, want)
		}
		if len(m.list()) != test.nodes {
			t.Errorf("%+v: in the end only %v have a vote", test, m.list())
		}
		counts := map[string]int{}
		changing := false
		for _, op := range h.All() {
			if op.Type == histories.OK {
				counts[op.F]++
			}
			if op.F == member.Leave || op.F == member.Join || op.F == member.Transfer {
				if op.Type == histories.Invoke && changing {
					t.Fatalf("%+v: op %d is a second change at the same time", test, op.Index)
				}
				changing = op.Type == histories.Invoke
			}
		}
		for f, least := range map[string]int{member.Leave: 5, member.Join: 5, member.Transfer: 5, member.Members: 50, member.Read: 100, member.Write: 100} {
			if counts[f] < least {
				t.Errorf("%+v: only %d %s succeeded", test, counts[f], f)
			}
		}
	}
}

func TestMistakesAreNoticed(t *testing.T) {
	for mistake, want := range workloadtest.Some(map[string][]string{
		"stale read":                  {"linearizable", "stale read"},
		"garbage":                     {"linearizable", "phantom value"},
		"writes are lost on a change": {"linearizable", "lost write", "stale read"},
		"stale members":               {"members", "removed member", "lost member"},
		"change is forgotten":         {"members", "removed member", "lost member"},
		"change reports failure":      {"members", "failed change took effect"},
	}) {
		_, r := play(t, newMemory(5, mistake), workloadtest.Play{Main: 5 * time.Second, Lost: 0.005})
		if r.Verdict != checker.Invalid {
			t.Errorf("%s: %s", mistake, checkertest.Format(r))
			continue
		}
		for _, p := range r.Parts {
			if (p.Verdict == checker.Invalid) != (p.Name == want[0]) {
				t.Errorf("%s: %s", mistake, checkertest.Format(p))
			}
			for _, a := range p.Anomalies {
				if p.Name == want[0] && slices.Contains(want[1:], a.Kind) {
					want = want[:1]
				}
			}
		}
		if len(want) > 1 {
			t.Errorf("%s: none of %q in %s", mistake, want[1:], checkertest.Format(r))
		}
	}
}

// TestInTheEndSomebodyJoinsIfNobodyDid: in a short run there may have been no time, or
// a fault has had the one join that left.
func TestInTheEndSomebodyJoinsIfNobodyDid(t *testing.T) {
	for _, main := range []time.Duration{time.Millisecond, 200 * time.Millisecond} {
		m := newMemory(5, "others have it join")
		h, _ := play(t, m, workloadtest.Play{Main: main})
		joined := 0
		for _, op := range h.All() {
			if op.F == member.Join && op.Type == histories.OK {
				joined++
			}
		}
		if joined == 0 {
			t.Errorf("in %v nobody joined", main)
		}
	}
}

// TestANodeThatNeverCatchesUpEndsInUnknown: the run ends, and says of whom.
func TestANodeThatNeverCatchesUpEndsInUnknown(t *testing.T) {
	_, r := play(t, newMemory(3, "never catches up"), workloadtest.Play{Workers: 5})
	if note := checkertest.Format(r); r.Verdict != checker.Unknown || !strings.Contains(note, "n3 as a member") {
		t.Errorf("got %s", note)
	}
}

func TestRateIsKept(t *testing.T) {
	w := member.New(member.Options{Rate: 50}, nil, checker.Budget{})
	ops, err := generatortest.Simulation{Workers: 10, Ops: 100_000}.Run(generator.TimeLimit(20*time.Second, w.Main))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, op := range ops {
		if op.Type == histories.Invoke && (op.F == member.Read || op.F == member.Write) {
			n++
		}
	}
	if n < 900 || n > 1100 {
		t.Errorf("%d operations on registers in 20 s", n)
	}
}

// TestAskingChangesNothing runs the generators on a system in trouble, and asks them
// again where they yield nothing.
func TestAskingChangesNothing(t *testing.T) {
	for _, workers := range []int{1, 2, 10} {
		var texts []string
		for _, repeat := range []int{0, 3} {
			w := member.New(member.Options{Rate: 200}, nil, checker.Budget{})
			ops, err := generatortest.Simulation{
				Workers: workers, Ops: 2000, Repeat: repeat, Outcome: generatortest.Mixed(20 * time.Millisecond),
			}.Run(generator.Phases(generator.TimeLimit(5*time.Second, w.Main), generator.TimeLimit(5*time.Second, w.Final)))
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, generatortest.Format(ops))
		}
		if texts[0] != texts[1] {
			t.Errorf("%d workers: asked more often, they yield other ops", workers)
		}
	}
}

// A stub is a Cluster that says what it is told.
type stub struct {
	calls []string
	err   error
}

func (s *stub) say(format string, args ...any) error {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	return s.err
}

func (s *stub) Read(_ context.Context, key string) (member.Result, error) {
	return member.Result{Value: 7, Present: key != "none", Said: workloads.Said{Node: "n2", Term: 3}}, s.say("read %s", key)
}

func (s *stub) Write(_ context.Context, key string, v int64) (workloads.Said, error) {
	return workloads.Said{Node: "n1", Revision: 5}, s.say("write %s %d", key, v)
}

func (s *stub) Members(context.Context) (member.Membership, error) {
	return member.Membership{Voters: []string{"n2", "n1"}, Learners: []string{"n3"}, Said: workloads.Said{Term: 2}}, s.say("members")
}
func (s *stub) Leave(_ context.Context, node string) error    { return s.say("leave %s", node) }
func (s *stub) Join(_ context.Context, node string) error     { return s.say("join %s", node) }
func (s *stub) Transfer(_ context.Context, node string) error { return s.say("transfer %s", node) }
func (s *stub) Close() error                                  { return nil }

func TestOpsBecomeCalls(t *testing.T) {
	silent := errors.New("no answer")
	for _, test := range []struct {
		f, value string
		err      error

		call, reply, meta, node string
		definite                bool
	}{
		{"read", `["k",null]`, nil, "read k", `["k",7]`, `{"term":3}`, "n2", false},
		{"read", `["none",null]`, nil, "read none", `["none",null]`, `{"term":3}`, "n2", false},
		{"read", `["k",null]`, silent, "read k", ``, `{"term":3}`, "n2", false},
		{"write", `["k",3]`, nil, "write k 3", ``, `{"revision":5}`, "n1", false},
		{"write", `["k",3]`, workloads.Definite(silent), "write k 3", ``, `{"revision":5}`, "n1", true},
		{"write", `["k",null]`, nil, "", ``, ``, "", true},
		{"members", ``, nil, "members", `{"voters":["n1","n2"],"learners":["n3"]}`, `{"term":2}`, "", false},
		{"members", `null`, silent, "members", ``, `{"term":2}`, "", false},
		{"leave", `"n1"`, nil, "leave n1", ``, ``, "", false},
		{"join", `"n1"`, silent, "join n1", ``, ``, "", false},
		{"transfer", `"n1"`, workloads.Definite(silent), "transfer n1", ``, ``, "", true},
		{"leave", `7`, nil, "", ``, ``, "", true},
		{"push", `"n1"`, nil, "", ``, ``, "", true},
	} {
		s := &stub{err: test.err}
		w := member.New(member.Options{}, func(context.Context, int) (member.Cluster, error) { return s, nil }, checker.Budget{})
		c, err := w.Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := c.Invoke(t.Context(), histories.Op{F: test.f, Value: json.RawMessage(test.value)})
		name := test.f + " " + test.value
		if got := strings.Join(s.calls, ", "); got != test.call {
			t.Errorf("%s: called %s, want %s", name, got, test.call)
		}
		if string(reply.Value) != test.reply || string(reply.Meta) != test.meta || reply.Node != test.node {
			t.Errorf("%s: got %s with %s of %s", name, reply.Value, reply.Meta, reply.Node)
		}
		if workloads.IsDefinite(err) != test.definite || (err == nil) != (test.err == nil && test.call != "") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
