package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

func change(ctx context.Context, n *Node, c api.MemberChange, member string) error {
	_, err := n.ChangeMember(ctx, &api.ChangeMemberRequest{
		Change: c, Member: member, Address: nodeOf(raft.ServerID(member)),
	})
	return err
}

const (
	learn   = api.MemberChange_MEMBER_CHANGE_LEARN
	promote = api.MemberChange_MEMBER_CHANGE_PROMOTE
	remove  = api.MemberChange_MEMBER_CHANGE_REMOVE
)

// TestLearnerThatDoesNotCatchUpGetsNoVoteAndItIsSaidHowFarItIs, in the caller's time.
func TestLearnerThatDoesNotCatchUpGetsNoVoteAndItIsSaidHowFarItIs(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		name := m.other(lead).config.ID
		must(t, change(t.Context(), lead, remove, name))
		must(t, m.nodes[name].Close())
		m.mu.Lock()
		delete(m.nodes, name)
		m.mu.Unlock()
		lead = m.leader()
		for i := range 50 {
			_, err := txn(lead, t.Context(), put("k", fmt.Sprint(i)))
			must(t, err)
		}
		must(t, change(t.Context(), lead, learn, name+"#2"))
		begun := time.Now()
		err := change(within(t, 4*time.Second), lead, promote, name+"#2")
		if e := api.Understand(err); e == nil || !e.Definite || e.Reason != api.Reason_REASON_NOT_DONE ||
			!strings.Contains(err.Error(), "known to have 0 entries of 6") || !strings.Contains(err.Error(), "behind") {
			t.Errorf("nobody is there: %v", err)
		}
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("it was told after %v", took)
		}

		// It is there, but does not hear of the leader's entries; and of that it tells.
		c := lead.config
		c.ID, c.Member, c.Empty = name, name+"#2", EmptyJoins
		m.cut(name, true)
		learner := m.start(c)
		m.cut(name, true)
		if err := change(within(t, 4*time.Second), lead, promote, name+"#2"); !strings.Contains(fmt.Sprint(err), "when it was asked last") {
			t.Errorf("it is cut off: %v", err)
		}
		begun = time.Now()
		if err := change(t.Context(), lead, promote, name+"#2"); err == nil || time.Since(begun) != longestCatchUp {
			t.Errorf("who waits for ever: %v, after %v", err, time.Since(begun))
		}
		m.cut(name, false)
		must(t, change(within(t, 2*time.Second), lead, promote, name+"#2"))
		time.Sleep(time.Second)
		if s, err := learner.Status(t.Context(), &api.StatusRequest{}); err != nil || len(s.Voters) != 3 || s.State != "follower" {
			t.Errorf("it sees itself so: %v, %v", s, err)
		}
	})
}

// TestLearnerThatDoesNotCatchUpIsInNobodysWay: others leave meanwhile, and so may it.
func TestLearnerThatDoesNotCatchUpIsInNobodysWay(t *testing.T) {
	with(t, 5, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		var others []string
		for _, name := range m.names {
			if name != lead.config.ID {
				others = append(others, name)
			}
		}
		learner := others[0]
		must(t, change(t.Context(), lead, remove, learner))
		must(t, change(t.Context(), lead, learn, learner+"#2")) // nobody is there
		promoted := make(chan error, 1)
		go func() { promoted <- change(within(t, 20*time.Second), lead, promote, learner+"#2") }()
		time.Sleep(time.Second)
		must(t, change(within(t, time.Second), lead, remove, others[1]))
		must(t, change(within(t, time.Second), lead, remove, learner+"#2"))
		if e := api.Understand(<-promoted); e == nil || !e.Definite {
			t.Errorf("it was promoted: %v", e)
		}
		s, err := lead.ListMembers(t.Context(), &api.ListMembersRequest{})
		if err != nil || len(s.Voters) != 3 || len(s.Learners) != 0 {
			t.Errorf("the members are %v, %v", s, err)
		}
	})
}

func TestLeaderTellsHowFarLearnersAreBehind(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		behind := func(n *Node) map[string]uint64 {
			t.Helper()
			time.Sleep(200 * time.Millisecond)
			s, err := n.Status(t.Context(), &api.StatusRequest{})
			must(t, err)
			return s.Behind
		}
		if got := behind(lead); len(got) > 0 {
			t.Errorf("there are no learners: %v", got)
		}
		name := m.other(lead).config.ID
		must(t, change(t.Context(), lead, remove, name))
		must(t, change(t.Context(), lead, learn, name))
		for _, cut := range []bool{false, true, false} {
			m.cut(name, cut)
			for i := range 20 {
				_, err := txn(lead, t.Context(), put("k", fmt.Sprint(i)))
				must(t, err)
			}
			time.Sleep(time.Second)
			want := map[bool]uint64{false: 0, true: 20}[cut]
			if got, known := behind(lead)[name]; !known || got != want {
				t.Errorf("cut off: %v: it is %d behind, want %d", cut, got, want)
			}
		}
		for _, other := range m.names {
			if got := behind(m.nodes[other]); other != lead.config.ID && len(got) > 0 {
				t.Errorf("%s says that of others: %v", other, got)
			}
		}
	})
}

// TestBugsOfMembersShow at a leader that is cut off: what it alone believes is said to be
// so.
func TestBugsOfMembersShow(t *testing.T) {
	for name, want := range map[string]string{
		"":               "leaves: deadline; stands in the log: deadline",
		bug.LeaveEarly:   "leaves: done",
		bug.MembersStale: "leaves: deadline; stands in the log: done",
	} {
		with(t, 5, Config{Bug: name}, func(t *testing.T, m *team) {
			lead := m.leader()
			leaves := m.other(lead).config.ID
			m.cut(lead.config.ID, true)
			remove := func() string {
				if err := change(within(t, 50*time.Millisecond), lead, remove, leaves); err != nil {
					return api.Understand(err).Reason.Text()
				}
				return "done"
			}
			got := "leaves: " + remove()
			if name != bug.LeaveEarly {
				_ = lead.raft.RemoveServer(raft.ServerID(leaves), 0, time.Second) // as a call would have that was given up
				synctest.Wait()
				got += "; stands in the log: " + remove()
			}
			if got != want {
				t.Errorf("bug %q: %s, want %s", name, got, want)
			}
			m.leader()
			m.cut(lead.config.ID, false)
			time.Sleep(time.Minute)
			s, err := m.leader().Status(t.Context(), &api.StatusRequest{})
			if err != nil || len(s.Voters) != 5 {
				t.Errorf("bug %q: in the end: %v, %v", name, s, err)
			}
		})
	}
}

// TestMemberThatWasRemovedGetsNoVoteAfterAll: while a leader waits for it to catch up
// another one leads, and removes it, and then the first leads again.
func TestMemberThatWasRemovedGetsNoVoteAfterAll(t *testing.T) {
	with(t, 4, Config{}, func(t *testing.T, m *team) {
		first := m.leader()
		name := m.other(first).config.ID
		must(t, change(t.Context(), first, remove, name))
		must(t, change(t.Context(), first, learn, name))
		deaf := func(is bool) { // to questions, and not to the leader's entries
			m.mu.Lock()
			defer m.mu.Unlock()
			m.cutOff[name] = is
		}
		deaf(true)
		promoted := make(chan error, 1)
		go func() { promoted <- change(within(t, 20*time.Second), first, promote, name) }()
		time.Sleep(time.Second)
		var second *Node
		for _, other := range m.names {
			if n := m.nodes[other]; n != first && other != name {
				second = n
			}
		}
		m.handOver(second)
		must(t, change(t.Context(), second, remove, name))
		m.handOver(first)
		deaf(false)
		err := <-promoted
		if e := api.Understand(err); e == nil || !e.Definite {
			t.Errorf("it was promoted: %v", err)
		}
		s, err := m.leader().ListMembers(t.Context(), &api.ListMembersRequest{})
		if err != nil || len(s.Voters) != 3 || len(s.Learners) != 0 {
			t.Errorf("the members are %v, %v", s, err)
		}
	})
}
