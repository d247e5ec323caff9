package raftkvtest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server"
)

// TestTimeoutsSetHowLongAChangeOfLeadersTakes: from when the leader is gone until somebody is
// answered again; and holders of leases are
// told of as much.
func TestTimeoutsSetHowLongAChangeOfLeadersTakes(t *testing.T) {
	medians := map[float64]time.Duration{}
	for _, factor := range []float64{raftkv.MinTimeouts, 1, 2, raftkv.MaxTimeouts} {
		withTuned(t, "", raftkv.Tuning{Timeouts: factor}, func(t *testing.T, c *Cluster) {
			var took []time.Duration
			for round := range 9 {
				old := leader(t, c)
				kv := at(t, c, c.names...)
				_, err := kv.Put(within(t, 5*time.Second), "k", nil) // and it knows the leader
				must(t, err)
				begun := time.Now()
				must(t, c.Stop(old))
				_, err = kv.Put(within(t, 5*time.Minute), "k", fmt.Append(nil, round))
				must(t, err)
				took = append(took, time.Since(begun))
				must(t, c.Start(old))
				must(t, c.Ready(t.Context()))
			}
			slices.Sort(took)
			median := took[len(took)/2]
			t.Logf("timeouts=%v: %v", factor, took)
			// A follower that has just heard of the leader waits for once to twice as long, and it
			// may be a tenth since.
			waits := time.Duration(factor * float64(server.DefaultHeartbeat))
			if took[0] < waits*9/10 || median > 2*waits+200*time.Millisecond {
				t.Errorf("timeouts=%v: took %v, and followers wait for %v at least", factor, took, waits)
			}
			lease, err := at(t, c, c.names...).Grant(within(t, 20*time.Second), time.Second)
			must(t, err)
			if want := max(time.Second, 2*waits); lease.Bound != want {
				t.Errorf("timeouts=%v: a lease may outlive its time by %v, want %v", factor, lease.Bound, want)
			}
			medians[factor] = median
		})
	}
	if shipped := medians[1]; medians[0.5] > shipped*3/4 || medians[2] < shipped*3/2 || medians[10] < shipped*5 {
		t.Errorf("the medians are %v", medians)
	}
}

// TestTunedClusterIsLinearizable at both ends of what it may be tuned to.
func TestTunedClusterIsLinearizable(t *testing.T) {
	for _, tuned := range []raftkv.Tuning{
		{Timeouts: raftkv.MinTimeouts}, {Timeouts: raftkv.MaxTimeouts}, {Delay: raftkv.MaxDelay},
		{Timeouts: raftkv.MinTimeouts, Delay: raftkv.MaxDelay},
	} {
		for seed := range uint64(2) {
			h := simulateTuned(t, "", tuned, seed, 20*time.Second, seed > 0)
			n := count(h)
			t.Logf("%+v, seed %d: %d ok, %d fail, %d info", tuned, seed, n[histories.OK], n[histories.Fail], n[histories.Info])
			if n[histories.OK] < 100 {
				t.Errorf("%+v, seed %d: %v: too little happened", tuned, seed, n)
			}
			if r := judge(t, h); r.Verdict != checker.Valid {
				t.Errorf("%+v, seed %d: %s", tuned, seed, checkertest.Format(r))
			}
		}
	}
}

// TestDeposedLeaderAnswersNoReadsHoweverLongItLeads: the longer the time-outs are the longer it
// believes that it does.
func TestDeposedLeaderAnswersNoReadsHoweverLongItLeads(t *testing.T) {
	for _, factor := range []float64{raftkv.MinTimeouts, raftkv.MaxTimeouts} {
		withTuned(t, "", raftkv.Tuning{Timeouts: factor}, func(t *testing.T, c *Cluster) {
			if got, err := readAtDeposed(t, c); err == nil {
				t.Errorf("timeouts=%v: it read %q", factor, got.Value)
			}
		})
	}
}

// TestDelayPutsOffEachAnswerOnce: also of what nodes pass on to each other, and not of what a
// node says of itself.
func TestDelayPutsOffEachAnswerOnce(t *testing.T) {
	const delay, little = 200 * time.Millisecond, 50 * time.Millisecond
	withTuned(t, "", raftkv.Tuning{Delay: delay}, func(t *testing.T, c *Cluster) {
		took := func(what string, from, to time.Duration, do func() error) {
			t.Helper()
			begun := time.Now()
			err := do()
			if d := time.Since(begun); err != nil || d < from || d > to {
				t.Errorf("%s took %v, want %v to %v: %v", what, d, from, to, err)
			}
		}
		lead := leader(t, c)
		for _, node := range []string{lead, others(c, lead)[0]} {
			kv := at(t, c, node)
			_, err := kv.Put(within(t, 5*time.Second), "k", []byte("v")) // and there is a session
			must(t, err)
			took("a write by "+node, delay, delay+little, func() error {
				_, err := kv.Put(within(t, 5*time.Second), "k", []byte("v"))
				return err
			})
			took("a read by "+node, delay, delay+little, func() error {
				_, err := kv.Get(within(t, 5*time.Second), "k")
				return err
			})
			took("the status of "+node, 0, little, func() error {
				if all := kv.Status(within(t, 5*time.Second)); all[0] == nil {
					return fmt.Errorf("no answer")
				}
				return nil
			})
		}
	})
}

// TestDelayedRefusalComesInTime: so the client knows that nothing happened.
func TestDelayedRefusalComesInTime(t *testing.T) {
	withTuned(t, "", raftkv.Tuning{Delay: raftkv.MaxDelay}, func(t *testing.T, c *Cluster) {
		node := others(c, leader(t, c))[0]
		kv := at(t, c, node)
		_, err := kv.Put(within(t, 5*time.Second), "k", []byte("v"))
		must(t, err)
		must(t, c.Cut(isolate(c, node)...))
		time.Sleep(5 * time.Second) // until it knows no leader
		if _, err := kv.Put(within(t, time.Second), "k", []byte("w")); !client.IsDefinite(err) {
			t.Errorf("got %v", err)
		}
	})
}

// TestDelayedNodeStopsAtOnce: who waits for an answer gets it before.
func TestDelayedNodeStopsAtOnce(t *testing.T) {
	withTuned(t, "", raftkv.Tuning{Delay: raftkv.MaxDelay}, func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		kv := at(t, c, lead)
		_, err := kv.Put(within(t, 5*time.Second), "k", []byte("v"))
		must(t, err)
		begun, answered := time.Now(), make(chan error, 1)
		go func() {
			_, err := kv.Put(within(t, 5*time.Second), "k", []byte("w"))
			answered <- err
		}()
		time.Sleep(raftkv.MaxDelay / 2) // the write is done by now
		must(t, c.Stop(lead))
		must(t, <-answered)
		if took := time.Since(begun); took >= raftkv.MaxDelay {
			t.Errorf("the answer came after %v", took)
		}
	})
}
