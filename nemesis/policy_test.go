package nemesis_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// aimed is a brake that draws the target it was asked for.
type aimed struct {
	brake
	target string
}

func (a *aimed) Draw(*rand.Rand) any { return nemesis.Aim{Target: a.target, Nodes: []string{"n1"}} }

// pedals are faults that are aimed; bad is one that cannot begin.
func pedals(names ...string) (table []nemesis.Fault) {
	for _, name := range names {
		f := nemesis.Fault{Name: name, Targets: []nemesis.Target{{Name: "one"}, {Name: "leader"}, {Name: "any", OnRequest: true}}}
		f.New = func(_ nemesis.Env, s nemesis.Spec) (nemesis.Breaker, error) {
			a := &aimed{target: s.Target}
			if name == "bad" {
				a.err = errors.New("jammed")
			}
			return a, nil
		}
		table = append(table, f)
	}
	return table
}

// adapted drives faults for two minutes, by a policy.
func adapted(t *testing.T, table []nemesis.Fault, policy nemesis.Policy, seed uint64, each func(histories.Op) *happening, happens ...happening) []histories.Op {
	t.Helper()
	o := nemesis.Options{Interval: time.Second, Policy: policy}
	for _, f := range table {
		o.Specs = append(o.Specs, nemesis.Spec{Fault: f.Name})
	}
	p, err := nemesis.New(table, nemesis.Env{Observed: shown{}}, o)
	if err != nil {
		t.Fatal(err)
	}
	d := drive{t: t, p: p, seed: seed, end: 2 * time.Minute, each: each, happens: append([]happening{{0, led("n1", 1)}}, happens...)}
	return d.run()
}

// begins counts the instances that began, by fault and target.
func begins(t *testing.T, ops []histories.Op) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, op := range ops {
		if op.Process == histories.Nemesis && op.Type == histories.Invoke && op.F != histories.Heal {
			target := "one"
			if strings.Contains(string(fault(t, op).Detail), "leader") {
				target = "leader"
			}
			counts[op.F]++
			counts[op.F+":"+target]++
		}
	}
	return counts
}

// lively makes a cluster that shows something new only after the fault of that name
// was begun at the leader.
func lively(t *testing.T) func(histories.Op) *happening {
	n := 0
	return func(op histories.Op) *happening {
		if op.F != "lively" || !strings.Contains(string(fault(t, op).Detail), "leader") {
			return nil
		}
		n++
		s := led("n1", 1)
		if n/4%2 == 1 {
			s = led("", 1)
		}
		s = with(s, "n2", func(m *cluster.NodeState) {
			m.Commit = []uint64{0, 200, 2000, 20000}[n%4]
			m.Snapshot = n/8%2 == 1
			m.Term = 1 + uint64(n/32)%4
		})
		s = with(s, "n1", func(m *cluster.NodeState) { m.Changing = n/16%2 == 1 })
		return &happening{op.Time + 300*time.Millisecond, s}
	}
}

func TestAdaptiveComesBackToWhatShowsSomethingNew(t *testing.T) {
	for seed := range uint64(5) {
		table := pedals("dull", "lively", "other", "bad")
		ops := adapted(t, table, nemesis.Adaptive, seed, lively(t))
		got := begins(t, ops)
		if got["lively"] < got["dull"]*6/5 || got["lively"] < got["other"]*6/5 || got["lively:leader"] < got["lively:one"]*3/2 {
			t.Errorf("seed %d: got %v", seed, got)
		}
		for _, f := range table {
			if got[f.Name] < 5 {
				t.Errorf("seed %d: %s is given up: %v", seed, f.Name, got)
			}
		}
		if u, a := covered(t, table, nemesis.Uniform, seed), covered(t, table, nemesis.Adaptive, seed); a < u {
			t.Errorf("seed %d: adaptive saw %d states, uniform %d", seed, a, u)
		}
	}
}

// covered returns how many states two minutes have shown.
func covered(t *testing.T, table []nemesis.Fault, policy nemesis.Policy, seed uint64) int {
	t.Helper()
	return nemesis.Covered(history(t, adapted(t, table, policy, seed, lively(t)))).Distinct
}

func TestAdaptiveIsTheSeedsAndTheObservations(t *testing.T) {
	run := func(seed uint64) string {
		return invoked(t, adapted(t, pedals("dull", "lively"), nemesis.Adaptive, seed, lively(t)))
	}
	if a, b := run(1), run(1); a != b {
		t.Errorf("got\n%s\nand\n%s", a, b)
	}
	if run(1) == run(2) {
		t.Error("another seed did the same")
	}
}

// TestAdaptiveWaitsForAPhaseButNotForLong: elections are short and seldom; faults
// begin in them far more often than by chance.
func TestAdaptiveWaitsForAPhaseButNotForLong(t *testing.T) {
	var happens []happening
	const every, lasts = 700 * time.Millisecond, 20 * time.Millisecond
	for at := every; at < 2*time.Minute; at += every {
		happens = append(happens, happening{at, led("", 1)}, happening{at + lasts, led("n1", 1)})
	}
	in, all := 0, 0
	var healed time.Duration
	for _, op := range adapted(t, pedals("dull"), nemesis.Adaptive, 1, nil, happens...) {
		switch {
		case op.Process != histories.Nemesis:
		case op.F == histories.Heal:
			healed = op.Time
		case op.Type == histories.Invoke:
			all++
			if op.Time%every < lasts {
				in++
			}
			if pause := op.Time - healed; pause > time.Second/2+time.Second/2+took {
				t.Errorf("op %d comes %v after the one before", op.Index, pause)
			}
		}
	}
	if all < 50 || in < all/10 { // by chance: one in 35
		t.Errorf("%d of %d began in an election", in, all)
	}
}

func TestPolicyIsRefusedThatCannotBe(t *testing.T) {
	table := pedals("dull")
	o := nemesis.Options{Interval: time.Second, Policy: nemesis.Adaptive, Specs: []nemesis.Spec{{Fault: "dull"}}}
	if _, err := nemesis.New(table, nemesis.Env{}, o); err == nil || !strings.Contains(err.Error(), "does not show it") {
		t.Errorf("got %v", err)
	}
	o.Policy = "clever"
	if _, err := nemesis.New(table, nemesis.Env{Observed: shown{}}, o); err == nil || err.Error() != `no such policy of the nemesis: "clever"; there are uniform, adaptive` {
		t.Errorf("got %v", err)
	}
	for _, name := range nemesis.Policies() {
		if p, err := nemesis.ParsePolicy(name); err != nil || string(p) != name {
			t.Errorf("got %v, %v", p, err)
		}
	}
	o = nemesis.Options{Interval: time.Second}
	a, errA := nemesis.New(table, nemesis.Env{}, o)
	o.Policy = nemesis.Adaptive // of no faults
	b, errB := nemesis.New(table, nemesis.Env{}, o)
	if errA != nil || errB != nil || !reflect.DeepEqual(a.LeftOut, b.LeftOut) {
		t.Errorf("got %v, %v", errA, errB)
	}
}
