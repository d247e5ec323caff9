package runner_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/internal/runner"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
	"github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/workloads/register"
)

// performedOnRaft performs a run of 20 virtual seconds on raftkv in memory, and
// judges it. Clients do a fraction of what they could, which makes a run cheap;
// for that the network is worse.
func performedOnRaft(t *testing.T, seed uint64, bug string) checker.Result {
	t.Helper()
	var history bytes.Buffer
	var judge checker.Checker
	synctest.Test(t, func(t *testing.T) {
		c, err := raftkvtest.New(5, bug, seed)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		env := nemesis.Env{Nodes: []string{"n1", "n2", "n3", "n4", "n5"}, Network: c, Leader: c}
		faults := []nemesis.Spec{{Fault: "partition"}, {Fault: "partition", Variant: "client"}}
		p, err := nemesis.New([]nemesis.Fault{nemesis.Partition()}, env, nemesis.Options{Specs: faults, Interval: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		w := register.New(register.Options{Rate: 200}, c.OpenRegister, checker.Budget{})
		outcome, err := runner.Run(t.Context(), runner.Plan{System: c, Workload: w, Nemesis: p, History: &history, Seed: seed})
		if err != nil || len(outcome.Trouble) > 0 || !outcome.Recovered {
			t.Errorf("seed %d: %v, %+v", seed, err, outcome)
		}
		judge = w.Checker
	})
	if judge == nil {
		t.FailNow()
	}
	return judged(t, judge, history.Bytes())
}

func TestCorrectRaftIsValid(t *testing.T) {
	for seed := range uint64(seeds(30)) {
		if r := performedOnRaft(t, seed, ""); r.Verdict != checker.Valid {
			t.Errorf("seed %d: %s", seed, checkertest.Format(r))
		}
	}
}

func TestBugsOfRaftAreFound(t *testing.T) {
	for _, bug := range []string{server.StaleRead, server.AckBeforeCommit, raftkv.TimeoutAsFail} {
		expectFound(t, bug, performedOnRaft)
	}
}
