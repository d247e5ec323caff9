package raftkvtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// with runs f on a cluster of five that is ready, in a bubble.
func with(t *testing.T, mistake string, f func(t *testing.T, c *Cluster)) {
	withTuned(t, mistake, raftkv.Tuning{}, f)
}

// withTuned is with, and the nodes perform otherwise.
func withTuned(t *testing.T, mistake string, tuned raftkv.Tuning, f func(t *testing.T, c *Cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewTuned(5, mistake, tuned, 1)
		must(t, err)
		defer func() { // whatever happens, or the bubble hides it behind its own complaint
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		must(t, c.Ready(t.Context()))
		f(t, c)
	})
}

// at returns a client bound to a node.
func at(t *testing.T, c *Cluster, nodes ...string) *client.Client {
	t.Helper()
	kv, err := c.client(nodes)
	must(t, err)
	return kv
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// isolate returns the links between a node and all others, but not the tester.
func isolate(c *Cluster, node string) []cluster.Link {
	var links []cluster.Link
	for _, other := range c.names {
		if other != node {
			links = append(links, cluster.Link{From: node, To: other}, cluster.Link{From: other, To: node})
		}
	}
	return links
}

// others returns the nodes but one.
func others(c *Cluster, node string) []string {
	var names []string
	for _, name := range c.names {
		if name != node {
			names = append(names, name)
		}
	}
	return names
}

func leader(t *testing.T, c *Cluster) string {
	t.Helper()
	name, err := c.Leader(t.Context())
	must(t, err)
	return name
}

// TestFirstReadsAfterAnElectionSeeAllThatWasWritten asks every node at once, as
// soon as the leader is gone.
func TestFirstReadsAfterAnElectionSeeAllThatWasWritten(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		for round := range 10 {
			old := leader(t, c)
			want := fmt.Sprint(round)
			_, err := at(t, c, old).Put(within(t, 5*time.Second), "k", []byte(want))
			must(t, err)
			must(t, c.Stop(old))
			got := make(chan string, 4)
			for _, name := range others(c, old) {
				go func() {
					r, err := at(t, c, name).Get(within(t, 10*time.Second), "k")
					got <- fmt.Sprint(string(r.Value), err)
				}()
			}
			for range 4 {
				if got := <-got; got != want+"<nil>" {
					t.Errorf("round %d: read %s", round, got)
				}
			}
			must(t, c.Start(old))
			must(t, c.Ready(t.Context()))
		}
	})
}

// readAtDeposed returns what a leader that was cut off answers, while another has
// written "new".
func readAtDeposed(t *testing.T, c *Cluster) (client.Result, error) {
	t.Helper()
	old := leader(t, c)
	_, err := at(t, c, old).Put(within(t, 5*time.Second), "k", []byte("old"))
	must(t, err)
	cut := isolate(c, old)
	must(t, c.Cut(cut...))
	_, err = at(t, c, others(c, old)...).Put(within(t, 20*time.Second), "k", []byte("new"))
	must(t, err)
	got, failed := at(t, c, old).Get(within(t, time.Second), "k")
	must(t, c.Heal(cut...))
	after, err := at(t, c, old).Get(within(t, 20*time.Second), "k")
	must(t, err)
	if string(after.Value) != "new" && c.bug == "" {
		t.Errorf("after healing, %s reads %q", old, after.Value)
	}
	return got, failed
}

func TestDeposedLeaderAnswersNoReads(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		if got, err := readAtDeposed(t, c); err == nil {
			t.Errorf("it read %q", got.Value)
		} else if !client.IsDefinite(err) {
			t.Errorf("got %v, which is not definite", err)
		}
	})
	with(t, bug.StaleRead, func(t *testing.T, c *Cluster) {
		if got, err := readAtDeposed(t, c); err != nil || string(got.Value) != "old" {
			t.Errorf("with the bug it read %q, %v", got.Value, err)
		}
	})
}

// TestMinorityLeaderAcknowledgesNothing, but with the bug does, and it is lost.
func TestMinorityLeaderAcknowledgesNothing(t *testing.T) {
	for _, mistake := range []string{"", bug.AckBeforeCommit} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			old := leader(t, c)
			kv := at(t, c, old)
			_, err := kv.Put(within(t, 5*time.Second), "k", []byte("before"))
			must(t, err)
			_, err = kv.Get(within(t, 5*time.Second), "k") // and a majority has it, bug or not
			must(t, err)
			cut := isolate(c, old)
			must(t, c.Cut(cut...))
			_, err = kv.Put(within(t, time.Second), "k", []byte("in the minority"))
			if got, want := err == nil, mistake != ""; got != want {
				t.Errorf("bug %q: acknowledged: %v (%v)", mistake, got, err)
			}
			if client.IsDefinite(err) {
				t.Errorf("bug %q: %v is definite, but it may yet be replicated", mistake, err)
			}
			r, err := at(t, c, others(c, old)...).Get(within(t, 20*time.Second), "k")
			if err != nil || string(r.Value) != "before" {
				t.Errorf("bug %q: the majority reads %q, %v", mistake, r.Value, err)
			}
			must(t, c.Heal(cut...))
		})
	}
}

func TestLostAnswerDoesNotUndoAWriteAndLostCallDoesNothing(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		for _, test := range []struct {
			cut  cluster.Link
			want string
		}{
			{cluster.Link{From: cluster.Tester, To: "n1"}, "before"},
			{cluster.Link{From: "n1", To: cluster.Tester}, "after"},
		} {
			back := cluster.Link{From: test.cut.To, To: test.cut.From}
			kv := at(t, c, "n1")
			_, err := kv.Put(within(t, 5*time.Second), "k", []byte("before")) // it has a session now
			must(t, err)
			before := c.Dropped(test.cut, back)
			must(t, c.Cut(test.cut))
			_, err = kv.Put(within(t, time.Second), "k", []byte("after"))
			if err == nil || client.IsDefinite(err) {
				t.Errorf("%v is cut: got %v", test.cut, err)
			}
			r, err := at(t, c, "n2").Get(within(t, 5*time.Second), "k")
			if err != nil || string(r.Value) != test.want {
				t.Errorf("%v is cut: read %q, %v, want %s", test.cut, r.Value, err, test.want)
			}
			after := c.Dropped(test.cut, back)
			if after[0] == before[0] || after[1] != before[1] {
				t.Errorf("%v is cut: dropped %v, then %v", test.cut, before, after)
			}
			must(t, c.Heal(test.cut))
		}
	})
}

// TestForwardedWriteWhoseAnswerIsLostIsIndeterminate: the client reaches its node,
// and the node the leader.
func TestForwardedWriteWhoseAnswerIsLostIsIndeterminate(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		follower := others(c, lead)[0]
		kv := at(t, c, follower)
		_, err := kv.Put(within(t, 5*time.Second), "k", []byte("before"))
		must(t, err)
		cut := cluster.Link{From: lead, To: follower}
		must(t, c.Cut(cut))
		_, err = kv.Put(within(t, 400*time.Millisecond), "k", []byte("after"))
		if err == nil || client.IsDefinite(err) {
			t.Errorf("got %v", err)
		}
		must(t, c.Heal(cut))
		r, err := kv.Get(within(t, 20*time.Second), "k")
		if err != nil || string(r.Value) != "after" {
			t.Errorf("read %q, %v", r.Value, err)
		}
	})
}

func TestSeekingClientGetsToALeaderItDoesNotReach(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		kv := at(t, c, c.names...)
		_, err := kv.Put(within(t, 5*time.Second), "k", []byte("before"))
		must(t, err)
		must(t, c.Cut(cluster.Link{From: cluster.Tester, To: lead}))
		for i := range 20 {
			_, err := kv.Put(within(t, time.Second), "k", fmt.Append(nil, i))
			must(t, err)
		}
		must(t, c.Heal(cluster.Link{From: cluster.Tester, To: lead}))
	})
}

// TestNodeWithoutLeaderRefusesInTime: so the client knows that nothing happened.
func TestNodeWithoutLeaderRefusesInTime(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		for _, name := range []string{"n1", "n2", "n3"} {
			must(t, c.Stop(name))
		}
		kv := at(t, c, "n4")
		for range 5 { // the first may have met a leader that did not know yet
			kv.Put(within(t, time.Second), "k", []byte("v"))
		}
		begun := time.Now()
		_, err := kv.Put(within(t, time.Second), "k", []byte("v"))
		if !client.IsDefinite(err) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begun); took < 500*time.Millisecond {
			t.Errorf("it came after %v: clients would ask in a hot loop", took)
		}
	})
}

func TestNodeThatFellBehindCatchesUpFromASnapshot(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		behind := others(c, lead)[0]
		cut := isolate(c, behind)
		must(t, c.Cut(cut...))
		kv := at(t, c, lead)
		for i := range 1000 {
			_, err := kv.Put(within(t, 20*time.Second), fmt.Sprint("k", i%7), fmt.Append(nil, i))
			must(t, err)
		}
		has, err := c.nodes[behind].store.LastIndex()
		must(t, err)
		if kept, err := c.nodes[lead].store.FirstIndex(); err != nil || kept <= has+1 {
			t.Errorf("the leader's log begins at %d (%v): %d is not so far behind that a snapshot is needed", kept, err, has)
		}
		must(t, c.Heal(cut...))
		must(t, c.Ready(t.Context()))
		for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			s, err := c.server(behind).Status(t.Context(), &api.StatusRequest{})
			must(t, err)
			if s.Applied >= 1000 {
				break
			}
			if time.Since(begun) > time.Minute {
				t.Fatal("it does not catch up")
			}
		}
		// Its state is whole: with it in the majority, and its session known.
		must(t, c.Stop(lead))
		r, err := at(t, c, behind).Get(within(t, 20*time.Second), "k6")
		if err != nil || string(r.Value) != "993" {
			t.Errorf("read %q, %v", r.Value, err)
		}
	})
}

func TestLinkCutTwiceIsWholeWhenHealedTwice(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		l := cluster.Link{From: cluster.Tester, To: "n1"}
		works := func() bool {
			_, err := at(t, c, "n1").Get(within(t, time.Second), "k")
			return err == nil
		}
		must(t, c.Cut(l))
		must(t, c.Cut(l))
		must(t, c.Heal(l))
		if works() {
			t.Error("it is whole already")
		}
		must(t, c.Heal(l))
		if !works() {
			t.Error("it is still cut")
		}
		if err := c.Heal(l); err == nil || !strings.Contains(err.Error(), "not cut") {
			t.Errorf("healed once more: %v", err)
		}
	})
}

// TestClusterClosesWithEverythingInTheAir: the bubble would tell of a goroutine
// that is left.
func TestClusterClosesWithEverythingInTheAir(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		must(t, c.Cut(isolate(c, leader(t, c))...))
		for i := range 20 {
			kv := at(t, c, c.names[i%5])
			go kv.Put(within(t, time.Second), "k", []byte("v"))
			go kv.Get(within(t, time.Second), "k")
		}
		synctest.Wait()
	})
}

func TestUnknownBugIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if c, err := New(3, "stale-reed", 1); err == nil {
			t.Error("it was taken")
			must(t, c.Close())
		}
	})
}

func TestStoreBearsDeletingFromAnEmptyLog(t *testing.T) {
	s := newStore(false)
	must(t, s.DeleteRange(0, 5))
	if last, err := s.LastIndex(); last != 0 || err != nil {
		t.Errorf("its last entry is %d, %v", last, err)
	}
	must(t, s.StoreLog(&raft.Log{Index: 7}))
	must(t, s.DeleteRange(7, 7))
	if last, err := s.LastIndex(); last != 0 || err != nil {
		t.Errorf("after the only entry is gone, its last is %d, %v", last, err)
	}
}
