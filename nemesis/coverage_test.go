package nemesis_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
)

// recorded makes a history of the states of a cluster, one a second.
func recorded(t *testing.T, states ...cluster.State) *histories.History {
	t.Helper()
	var ops []histories.Op
	for i, s := range states {
		ops = append(ops, histories.Op{
			Index: i, Time: time.Duration(i) * time.Second, Process: histories.Observer, Type: histories.Event, F: histories.State, Value: encoded(t, s),
		})
	}
	return history(t, ops)
}

func TestCoverageCountsStatesAndEstimatesWhatIsLeft(t *testing.T) {
	calm, none, few := led("n1", 1), led("", 1), cluster.State{"n1": {Term: 1}}
	snap, change := with(led("n1", 1), "n2", taking), with(led("n1", 1), "n1", changing)
	c := nemesis.Covered(recorded(t,
		calm, led("n1", 7), led("n2", 8), // one state: who leads, and in which term, makes every moment different
		none, calm, none, // none twice
		snap, none, // none three times
		few, snap, change))
	// calm 2, none 3, snap 2, few 1, change 1
	if c.Observations != 9 || c.Distinct != 5 || c.Once != 2 || c.Twice != 2 {
		t.Errorf("got %+v", c)
	}
	if want := 2. / 9; math.Abs(c.New-want) > 1e-9 {
		t.Errorf("the next is new with %v, want %v", c.New, want)
	}
	if want := 2. * 1 / (2 * 3); math.Abs(c.Unseen-want) > 1e-9 {
		t.Errorf("%v are unseen, want %v", c.Unseen, want)
	}
	want := []nemesis.CoveragePoint{
		{Time: 0, Distinct: 1, State: "no fault, led"},
		{Time: 3 * time.Second, Distinct: 2, State: "no fault, leaderless"},
		{Time: 6 * time.Second, Distinct: 3, State: "no fault, led, snapshot"},
		{Time: 8 * time.Second, Distinct: 4, State: "no fault, lost"},
		{Time: 10 * time.Second, Distinct: 5, State: "no fault, led, members changing"},
	}
	if !reflect.DeepEqual(c.Curve, want) {
		t.Errorf("got %+v", c.Curve)
	}
	if b, err := json.Marshal(c); err != nil || len(b) == 0 {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestNothingIsCoveredByNothing(t *testing.T) {
	if c := nemesis.Covered(recorded(t)); !reflect.DeepEqual(c, nemesis.Coverage{}) {
		t.Errorf("got %+v", c)
	}
}

// TestStateTellsOfTheFault: what role its target has, and what came after it.
func TestStateTellsOfTheFault(t *testing.T) {
	add := func(ops []histories.Op, typ histories.Type, p histories.Process, f string, value any) []histories.Op {
		return append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)), Process: p, Type: typ, F: f, Value: encoded(t, value)})
	}
	for _, detail := range []any{
		nemesis.Aim{Target: "leader", Nodes: []string{"n1"}},
		nemesis.Cut{Shape: "isolate", Aim: "leader", Node: "n1"},
		nemesis.Strike{Aim: nemesis.Aim{Nodes: []string{"n1", "n2"}}},
	} {
		f := histories.Fault{ID: 3, Name: "kill:leader", Detail: encoded(t, detail)}
		event := func(ops []histories.Op, s cluster.State) []histories.Op {
			return add(ops, histories.Event, histories.Observer, histories.State, s)
		}
		ops := event(nil, led("n1", 1))
		ops = add(ops, histories.Invoke, histories.Nemesis, "kill", f)
		ops = add(ops, histories.Info, histories.Nemesis, "kill", f)
		without := led("", 2)
		delete(without, "n1")
		ops = event(ops, without)
		ops = event(ops, with(led("n2", 3), "n3", func(n *cluster.NodeState) { n.Commit = 1234 }))
		ops = add(ops, histories.Invoke, histories.Nemesis, histories.Heal, f)
		ops = add(ops, histories.Info, histories.Nemesis, histories.Heal, f)
		ops = event(ops, with(led("n2", 99), "n2", func(n *cluster.NodeState) { n.Voters = n.Voters[1:]; n.Learners = []string{"n1"} }))
		ops = event(ops, with(led("n2", 99), "n2", func(n *cluster.NodeState) { n.Voters = n.Voters[1:] }))
		var got []string
		for _, p := range nemesis.Covered(history(t, ops)).Curve {
			got = append(got, p.State)
		}
		want := []string{
			"no fault, led",
			"kill, target leader, led",
			"kill, target silent, leaderless, term +1",
			"kill, target follower, led, term +2, lag 1e3",
			"after kill, target follower, led, term +2, lag 1e3",
			"after kill, target follower, led, term +3, members learning",
			"after kill, target follower, led, term +3, members fewer",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q", got)
		}
	}
}

// TestStateTellsOfThePart that the last fault hit, where that shows no state; steps, what else
// a system tells, and gauges are no states.
func TestStateTellsOfThePart(t *testing.T) {
	var ops []histories.Op
	add := func(typ histories.Type, p histories.Process, f string, value any) {
		ops = append(ops, histories.Op{Index: len(ops), Time: time.Duration(len(ops)), Process: p, Type: typ, F: f, Value: encoded(t, value)})
	}
	add(histories.Event, histories.Observer, histories.Step, cluster.Step{Name: nemesis.VMPlaced})
	add(histories.Event, histories.Observer, histories.State, led("n1", 1))
	f := histories.Fault{ID: 1, Name: "host-kill", Detail: encoded(t, nemesis.Strike{Aim: nemesis.Aim{Target: "one", Part: "host", Nodes: []string{"n4"}}})}
	add(histories.Invoke, histories.Nemesis, "host-kill", f)
	add(histories.Info, histories.Nemesis, "host-kill", f)
	add(histories.Event, histories.Observer, histories.Step, cluster.Step{Name: nemesis.HostLost})
	add(histories.Event, histories.Observer, "beat", 1)
	add(histories.Event, histories.Observer, histories.Gauges, map[string]cluster.Gauge{"n1": {Sent: 1}})
	add(histories.Event, histories.Observer, histories.State, led("n1", 1))
	add(histories.Event, histories.Observer, histories.State, led("n2", 2))
	var got []string
	c := nemesis.Covered(history(t, ops))
	for _, p := range c.Curve {
		got = append(got, p.State)
	}
	if want := []string{"no fault, led", "host-kill, target host, led", "host-kill, target host, led, term +1"}; !reflect.DeepEqual(got, want) || c.Observations != len(want) {
		t.Errorf("got %q of %d observations", got, c.Observations)
	}
}

func TestStateIsRecordedWhenMoreThanIndicesHaveChanged(t *testing.T) {
	at := func(commit uint64) func(*cluster.NodeState) {
		return func(n *cluster.NodeState) { n.Commit, n.Applied, n.Last = commit, commit, commit+1 }
	}
	all := func(commit uint64) cluster.State {
		return with(with(with(led("n1", 1), "n1", at(commit)), "n2", at(commit)), "n3", at(commit))
	}
	for name, test := range map[string]struct {
		state cluster.State
		want  bool
	}{
		"nothing":          {all(10), false},
		"all have gone on": {all(5000), false},
		"one a bit less":   {with(all(5000), "n2", at(4950)), false},
		"one much less":    {with(all(5000), "n2", at(4000)), true},
		"term":             {with(all(10), "n2", func(n *cluster.NodeState) { n.Term++ }), true},
		"role":             {with(all(10), "n2", func(n *cluster.NodeState) { n.Role = cluster.RoleCandidate }), true},
		"leader":           {with(all(10), "n2", func(n *cluster.NodeState) { n.Leader = "" }), true},
		"voters":           {with(all(10), "n2", func(n *cluster.NodeState) { n.Voters = nil }), true},
		"learners":         {with(all(10), "n2", func(n *cluster.NodeState) { n.Learners = []string{"n4"} }), true},
		"snapshot":         {with(all(10), "n2", taking), true},
		"changing":         {with(all(10), "n2", changing), true},
		"one is not there": {cluster.State{"n1": all(10)["n1"], "n2": all(10)["n2"]}, true},
		"another is there": {cluster.State{"n1": all(10)["n1"], "n2": all(10)["n2"], "n4": all(10)["n3"]}, true},
		"nobody is there":  {cluster.State{}, true},
	} {
		if got := nemesis.Differs(all(10), test.state); got != test.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
