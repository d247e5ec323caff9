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
	"github.com/hacheck/hacheck/systems/raftkv/raftkvtest"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/workloads"
	"github.com/hacheck/hacheck/workloads/appends"
	"github.com/hacheck/hacheck/workloads/counter"
	"github.com/hacheck/hacheck/workloads/election"
	"github.com/hacheck/hacheck/workloads/kv"
	"github.com/hacheck/hacheck/workloads/lease"
	"github.com/hacheck/hacheck/workloads/lock"
	"github.com/hacheck/hacheck/workloads/member"
	"github.com/hacheck/hacheck/workloads/queue"
	"github.com/hacheck/hacheck/workloads/register"
	sessions "github.com/hacheck/hacheck/workloads/session"
	"github.com/hacheck/hacheck/workloads/set"
	"github.com/hacheck/hacheck/workloads/uniqueids"
	"github.com/hacheck/hacheck/workloads/watch"
)

// performedOnRaft performs a run of 20 virtual seconds on raftkv in memory, and
// judges it. Clients do a fraction of what they could, which makes a run cheap;
// for that the network is worse.
func performedOnRaft(t *testing.T, seed uint64, bug string) checker.Result {
	return performedWith(t, seed, bug, func(c *raftkvtest.Cluster) workloads.Workload {
		return register.New(register.Options{Rate: 200}, c.OpenRegister, checker.Budget{})
	})
}

// performedWith is that with a workload.
func performedWith(t *testing.T, seed uint64, bug string, workload func(*raftkvtest.Cluster) workloads.Workload) checker.Result {
	t.Helper()
	history, judge := recordedWith(t, seed, bug, workload)
	return judged(t, judge, history)
}

// recordedWith returns what such a run records, and who judges it.
func recordedWith(t *testing.T, seed uint64, bug string, workload func(*raftkvtest.Cluster) workloads.Workload) ([]byte, checker.Checker) {
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
		w := workload(c)
		outcome, err := runner.Run(t.Context(), runner.Plan{System: c, Workload: w, Nemesis: p, History: &history, Seed: seed})
		if err != nil || len(outcome.Trouble) > 0 || !outcome.Recovered {
			t.Errorf("seed %d: %v, %+v", seed, err, outcome)
		}
		judge = w.Checker
	})
	if judge == nil {
		t.FailNow()
	}
	return history.Bytes(), judge
}

func TestCorrectRaftIsValid(t *testing.T) {
	for seed := range uint64(seeds(30)) {
		if r := performedOnRaft(t, seed, ""); r.Verdict != checker.Valid {
			t.Errorf("seed %d: %s", seed, checkertest.Format(r))
		}
	}
}

func TestBugsOfRaftAreFound(t *testing.T) {
	for _, name := range []string{bug.StaleRead, bug.AckBeforeCommit, bug.TimeoutAsFail} {
		expectFound(t, name, performedOnRaft)
	}
}

// onRaft are all the workloads, at a fraction of the rate that they could have.
var onRaft = map[string]func(*raftkvtest.Cluster) workloads.Workload{
	"kv":  func(c *raftkvtest.Cluster) workloads.Workload { return kv.New(kv.Options{Rate: 200}, c.OpenKV) },
	"set": func(c *raftkvtest.Cluster) workloads.Workload { return set.New(set.Options{Rate: 200}, c.OpenSet) },
	"append": func(c *raftkvtest.Cluster) workloads.Workload {
		return appends.New(appends.Options{Rate: 100}, c.OpenAppend)
	},
	"counter": func(c *raftkvtest.Cluster) workloads.Workload {
		return counter.New(counter.Options{Rate: 200}, c.OpenCounter)
	},
	"unique-ids": func(c *raftkvtest.Cluster) workloads.Workload {
		return uniqueids.New(uniqueids.Options{Rate: 500}, c.OpenIDs)
	},
	"queue": func(c *raftkvtest.Cluster) workloads.Workload {
		return queue.New(queue.Options{Rate: 100}, c.OpenQueue)
	},
	"lock": func(c *raftkvtest.Cluster) workloads.Workload { return lock.New(lock.Options{Rate: 100}, c.OpenLock) },
	"lease": func(c *raftkvtest.Cluster) workloads.Workload {
		return lease.New(lease.Options{Rate: 200}, c.OpenLease)
	},
	"watch": func(c *raftkvtest.Cluster) workloads.Workload {
		return watch.New(watch.Options{Rate: 100}, c.OpenWatch)
	},
	"election": func(c *raftkvtest.Cluster) workloads.Workload {
		return election.New(election.Options{Rate: 100}, c.OpenElection)
	},
	"member": func(c *raftkvtest.Cluster) workloads.Workload {
		return member.New(member.Options{Rate: 200}, c.OpenMember, checker.Budget{})
	},
	"session": func(c *raftkvtest.Cluster) workloads.Workload {
		return sessions.New(sessions.Options{Rate: 200}, c.OpenSession)
	},
}

func TestCorrectRaftIsValidUnderEveryWorkload(t *testing.T) {
	for name, workload := range onRaft {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(max(1, seeds(3))) {
				if r := performedWith(t, seed, "", workload); r.Verdict != checker.Valid {
					t.Errorf("seed %d: %s", seed, checkertest.Format(r))
				}
			}
		})
	}
}
