package raftkvtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// Each of these plays what makes a bug show, with the bug and without. What shows is
// that a value which was acknowledged is not read.

func put(t *testing.T, kv *client.Client, key, value string) {
	t.Helper()
	_, err := kv.Put(within(t, 20*time.Second), key, []byte(value))
	must(t, err)
}

// reads says what is read, at once or never.
func reads(t *testing.T, kv *client.Client, key string) string {
	t.Helper()
	r, err := kv.Get(within(t, time.Second), key)
	switch {
	case err != nil:
		return "error"
	case !r.Found:
		return "nothing"
	}
	return string(r.Value)
}

// between returns the links between two groups.
func between(a, b []string) []cluster.Link {
	var links []cluster.Link
	for _, x := range a {
		for _, y := range b {
			links = append(links, cluster.Link{From: x, To: y}, cluster.Link{From: y, To: x})
		}
	}
	return links
}

// eventually polls.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

func TestLeaseReadIsStaleWhenTheClockGoesBack(t *testing.T) {
	for mistake, want := range map[string]string{"": "error", bug.LeaseRead: "old"} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			old := leader(t, c)
			put(t, at(t, c, old), "k", "old")
			reads(t, at(t, c, old), "k") // it has a lease now
			c.SkewClock(old, -time.Hour)
			must(t, c.Cut(isolate(c, old)...))
			put(t, at(t, c, others(c, old)...), "k", "new")
			if got := reads(t, at(t, c, old), "k"); got != want {
				t.Errorf("bug %q: it reads %s, want %s", mistake, got, want)
			}
			must(t, c.Heal(isolate(c, old)...))
		})
	}
	// Where clocks are right, so is it.
	with(t, bug.LeaseRead, func(t *testing.T, c *Cluster) {
		old := leader(t, c)
		put(t, at(t, c, old), "k", "old")
		reads(t, at(t, c, old), "k")
		must(t, c.Cut(isolate(c, old)...))
		put(t, at(t, c, others(c, old)...), "k", "new")
		if got := reads(t, at(t, c, old), "k"); got != "error" {
			t.Errorf("without a fault of clocks it reads %s", got)
		}
		must(t, c.Heal(isolate(c, old)...))
	})
}

func TestSnapshotDropsKeysThatAreMissedAfterARestart(t *testing.T) {
	for mistake, missing := range map[string]bool{"": false, bug.SnapshotDropsKeys: true} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			kv := at(t, c, c.names...)
			for i := range 300 {
				put(t, kv, "often", fmt.Sprint(i))
			}
			for i := range 7 { // the last of each is in the last batch, whenever that is written
				put(t, kv, fmt.Sprint("k", i), "v")
			}
			for range 500 {
				idle(t, c, c.names[0])
			}
			eventually(t, "all have a snapshot of that", func() bool {
				return !slices.ContainsFunc(c.names, func(name string) bool {
					all, err := c.nodes[name].snapshots.List()
					must(t, err)
					return len(all) == 0 || all[0].Index < 320
				})
			})
			for _, name := range c.names {
				must(t, c.Stop(name))
			}
			for _, name := range c.names {
				must(t, c.Start(name))
			}
			must(t, c.Ready(t.Context()))
			if got := reads(t, at(t, c, c.names...), "k6") == "nothing"; got != missing {
				t.Errorf("bug %q: a key is missing: %v", mistake, got)
			}
		})
	}
}

// TestWipedNodeThatVotesUnderItsOldNameLosesAWrite: of the three that hold it, one is
// wiped, and with two that do not it is a majority.
func TestWipedNodeThatVotesUnderItsOldNameLosesAWrite(t *testing.T) {
	for mistake, want := range map[string]string{"": "error", bug.WipeRejoin: "old"} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			lead := leader(t, c)
			rest := others(c, lead)
			wiped, keeps, behind := rest[0], rest[1], rest[2:]
			put(t, at(t, c, lead), "k", "old")
			reads(t, at(t, c, lead), "k")
			holders := []string{lead, keeps}
			must(t, c.Cut(between(behind, append(holders, wiped))...))
			put(t, at(t, c, lead), "k", "new")

			left := c.Leave(within(t, 2*time.Second), wiped)
			if mistake == "" && left == nil {
				t.Fatal("it left, though there was no majority to agree")
			}
			must(t, c.Cut(between(holders, []string{wiped})...))
			must(t, c.Heal(between(behind, []string{wiped})...))
			if left == nil {
				must(t, c.Join(within(t, 20*time.Second), wiped))
			}
			if mistake != "" {
				eventually(t, "there is another leader", func() bool {
					now, err := c.Leader(t.Context())
					return err == nil && now != lead
				})
			}
			got := reads(t, at(t, c, behind[0]), "k")
			if mistake == "" && got == "new" {
				got = want // who holds it may have come to lead: then it is not lost
			}
			if got != want {
				t.Errorf("bug %q: it reads %s, want %s", mistake, got, want)
			}
			must(t, c.Heal(between(holders, append(behind, wiped))...))
		})
	}
}

func TestNodeThatBeginsAClusterByItselfForgetsTheOthers(t *testing.T) {
	for mistake, want := range map[string]string{"": "error", bug.SplitBrainBootstrap: "old"} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			alone := others(c, leader(t, c))[0]
			put(t, at(t, c, c.names...), "k", "old")
			eventually(t, "it has that", func() bool { return applied(t, c, alone) >= applied(t, c, leader(t, c)) })
			must(t, c.Stop(alone))
			must(t, c.Cut(isolate(c, alone)...))
			must(t, c.Start(alone))
			put(t, at(t, c, others(c, alone)...), "k", "new")
			time.Sleep(5 * time.Second)
			if got := reads(t, at(t, c, alone), "k"); got != want {
				t.Errorf("bug %q: it reads %s, want %s", mistake, got, want)
			}
			must(t, c.Heal(isolate(c, alone)...))
		})
	}
	// With a leader to be found it is well.
	with(t, bug.SplitBrainBootstrap, func(t *testing.T, c *Cluster) {
		one := others(c, leader(t, c))[0]
		must(t, c.Stop(one))
		must(t, c.Start(one))
		must(t, c.Ready(t.Context()))
		s, err := c.Observe(t.Context())
		must(t, err)
		if len(s[one].Voters) != 5 || s[one].Role != cluster.RoleFollower {
			t.Errorf("it sees itself so: %+v", s[one])
		}
	})
}

func applied(t *testing.T, c *Cluster, name string) uint64 {
	t.Helper()
	s, err := c.server(name).Status(t.Context(), &api.StatusRequest{})
	must(t, err)
	return s.Applied
}

// TestTornVoteElectsWhoLacksAnAcknowledgedWrite: see playTornVote. Messages that cross
// may spoil it, but not always.
func TestTornVoteElectsWhoLacksAnAcknowledgedWrite(t *testing.T) {
	// It shows in about a quarter of the plays.
	const plays = 100
	for mistake, want := range map[string]bool{"": false, bug.TornVote: true} {
		found := false
		for seed := uint64(0); seed < plays && !found; seed++ {
			found = playTornVote(t, mistake, seed) == "old"
		}
		if found != want {
			t.Errorf("bug %q: a write is lost: %v", mistake, found)
		}
	}
}

// playTornVote has three nodes. The first leads, by everybody's vote. A second comes
// to lead, and then the voter stands itself, and its disk takes of these votes the
// terms alone: it holds that of the last with the first as the candidate. That one
// lacks what was written since, and stands in the same term.
func playTornVote(t *testing.T, mistake string, seed uint64) (read string) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(3, mistake, seed)
		must(t, err)
		defer func() { must(t, c.Close()) }()
		must(t, c.Ready(t.Context()))
		first := leader(t, c)
		voter, second := others(c, first)[0], others(c, first)[1]
		put(t, at(t, c, first), "k", "old")
		c.nodes[voter].store.fail(true)
		must(t, c.Transfer(within(t, 5*time.Second), second))
		eventually(t, "the second leads", func() bool { now, err := c.Leader(t.Context()); return err == nil && now == second })
		reads(t, at(t, c, second), "k") // so that all before is committed
		must(t, c.Cut(isolate(c, first)...))
		put(t, at(t, c, second), "k", "new")
		must(t, c.Stop(second))
		must(t, c.Elect(within(t, 5*time.Second), voter))
		synctest.Wait() // if it stands in the configuration before the first, it asks it nothing
		must(t, c.Heal(isolate(c, first)...))
		must(t, c.Elect(within(t, 5*time.Second), first))
		time.Sleep(20 * time.Millisecond)
		read = reads(t, at(t, c, first), "k")
		c.nodes[voter].store.fail(false)
	})
	return read
}

func TestMemberLeavesAndComesBackAsAnother(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		for range 3 {
			for _, name := range c.names { // who leads, too
				put(t, at(t, c, c.names...), "k", name)
				must(t, c.Leave(within(t, 20*time.Second), name))
				must(t, c.Leave(within(t, 20*time.Second), name))
				must(t, c.Ready(t.Context()))
				if got := reads(t, at(t, c, others(c, name)...), "k"); got != name {
					t.Errorf("without %s: %s", name, got)
				}
				must(t, c.Join(within(t, 20*time.Second), name))
				must(t, c.Join(within(t, 20*time.Second), name))
				must(t, c.Ready(t.Context()))
			}
		}
		s, err := c.Observe(t.Context())
		must(t, err)
		for _, name := range c.names {
			if got := len(s[name].Voters); got != 5 || len(s[name].Learners) > 0 || s[name].Changing {
				t.Errorf("%s sees %+v", name, s[name])
			}
		}
	})
}

// TestWipedNodeDoesNotStart: it would be taken for what it was.
func TestWipedNodeDoesNotStart(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		must(t, c.Stop("n2"))
		must(t, c.Wipe("n2"))
		if err := c.Start("n2"); err == nil {
			t.Error("it started")
		}
	})
}

// TestChangeWithoutMajorityIsNotDone, and whoever asked is not told that it is.
func TestChangeWithoutMajorityIsNotDone(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		rest := others(c, lead)
		must(t, c.Cut(between([]string{lead, rest[0]}, rest[1:])...))
		if err := at(t, c, lead).Remove(within(t, 2*time.Second), rest[0]); err == nil {
			t.Error("a minority has removed a member")
		}
		must(t, c.Heal(between([]string{lead, rest[0]}, rest[1:])...))
		must(t, c.Ready(t.Context()))
		must(t, c.Leave(within(t, 20*time.Second), rest[0])) // once more
		s, err := c.Observe(t.Context())
		must(t, err)
		if n := s[leader(t, c)]; len(n.Voters) != 4 {
			t.Errorf("the leader sees %+v", n)
		}
	})
}

// TestLearnerGetsItsVoteWhenItHasCaughtUp and not before.
func TestLearnerGetsItsVoteWhenItHasCaughtUp(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		name := others(c, leader(t, c))[0]
		must(t, c.Leave(within(t, 20*time.Second), name))
		for i := range 700 { // so that it takes a snapshot
			put(t, at(t, c, others(c, name)...), "k", fmt.Sprint(i))
		}
		must(t, c.Cut(isolate(c, name)...))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.Join(ctx, name); err == nil {
			t.Fatal("it joined, though nobody reaches it")
		}
		lead := leader(t, c)
		s, err := c.Observe(t.Context())
		must(t, err)
		if n := s[lead]; len(n.Voters) != 4 || len(n.Learners) != 1 {
			t.Errorf("the leader sees %+v", n)
		}
		if n := s[name]; n.Role != cluster.RoleLearner {
			t.Errorf("it sees itself so: %+v", n)
		}
		if err := c.Elect(within(t, time.Second), name); err == nil {
			t.Error("a learner stands for election")
		}
		must(t, c.Heal(isolate(c, name)...))
		must(t, c.Join(within(t, 20*time.Second), name))
		must(t, c.Ready(t.Context()))
		s, err = c.Observe(t.Context())
		must(t, err)
		if n := s[leader(t, c)]; len(n.Voters) != 5 || len(n.Learners) != 0 {
			t.Errorf("the leader sees %+v", n)
		}
	})
}

// TestNodeThatSleptThroughTwoChangesDoesNotLead by the votes of two that have left, were
// wiped, and run as other members now: it has not heard of that, and they have forgotten
// everything.
func TestNodeThatSleptThroughTwoChangesDoesNotLead(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		rest := others(c, lead)
		keeps, again, asleep := rest[0], rest[1:3], rest[3]
		put(t, at(t, c, lead), "k", "old")
		must(t, c.Cut(isolate(c, asleep)...))
		for _, name := range again {
			must(t, c.Leave(within(t, 20*time.Second), name))
		}
		must(t, c.Cut(between(again, []string{lead, keeps})...)) // so that they learn nothing
		for _, name := range again {
			if err := c.Join(within(t, 2*time.Second), name); err == nil {
				t.Fatalf("%s has a vote, and no log", name)
			}
		}
		put(t, at(t, c, lead), "k", "new")
		must(t, c.Heal(between(again, []string{asleep})...))
		for range 20 { // elections
			if got := reads(t, at(t, c, asleep), "k"); got != "error" {
				t.Fatalf("it leads, and reads %s", got)
			}
		}
		must(t, c.Heal(between(again, []string{lead, keeps})...))
		must(t, c.Heal(between([]string{asleep}, []string{lead, keeps})...))
	})
}
