package server

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// Heard is a Transport whose heartbeats arrive at a test, which answers them.
type heard struct {
	Transport
	requests chan *raft.AppendEntriesRequest
	answers  chan raft.AppendEntriesResponse
}

func (h *heard) AppendEntries(
	_ raft.ServerID, _ raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse,
) error {
	h.requests <- in
	*out = <-h.answers
	return nil
}

// TestWhoFollowsSaysSoToAHeartbeatThatWasSentForIt: what was on the way before says how it
// was then.
func TestWhoFollowsSaysSoToAHeartbeatThatWasSentForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &heard{requests: make(chan *raft.AppendEntriesRequest, 10), answers: make(chan raft.AppendEntriesResponse)}
		n := newTransport(h, nil)
		got := make(chan bool, 1)
		ask := func(over <-chan struct{}) {
			go func() { got <- n.followed(raft.Server{ID: "n2"}, raft.RPCHeader{}, position{index: 7, term: 3}, over) }()
			synctest.Wait()
		}
		ask(nil)
		over := make(chan struct{})
		ask(over)
		if len(h.requests) != 1 {
			t.Fatalf("%d heartbeats are on their way to one member", len(h.requests))
		}
		close(over)
		if <-got {
			t.Error("it follows, and has not been asked")
		}
		ask(nil)
		h.answers <- raft.AppendEntriesResponse{Success: true, LastLog: 7, Term: 3}
		if !<-got {
			t.Error("it does not follow")
		}
		synctest.Wait()
		if len(got) > 0 || len(h.requests) != 2 {
			t.Fatal("the answer to an earlier heartbeat is taken for that to a later one")
		}
		h.answers <- raft.AppendEntriesResponse{Success: false, LastLog: 7, Term: 4}
		if <-got {
			t.Error("it follows in a term that it has left")
		}
		ask(nil)
		h.answers <- raft.AppendEntriesResponse{Success: true, LastLog: 6, Term: 3}
		if <-got {
			t.Error("it follows, and lacks what was agreed on")
		}
		for range 3 {
			if in := <-h.requests; in.Term != 3 || len(in.Entries) > 0 || in.PrevLogEntry != 0 || in.LeaderCommitIndex != 0 {
				t.Errorf("that is no heartbeat: %+v", in)
			}
		}
	})
}

// TestReadsMakeNoEntries, but for the first ones in a term and after a change of members:
// what there is has to be known to be agreed on.
func TestReadsMakeNoEntries(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		_, err := txn(lead, t.Context(), put("k", "v"))
		must(t, err)
		entries := func() uint64 {
			before := lead.raft.LastIndex()
			for range 10 {
				if got := reads(lead, t.Context(), &api.RangeRequest{Span: one("k")}); got != "v" {
					t.Errorf("it reads %s", got)
				}
			}
			return lead.raft.LastIndex() - before
		}
		if n := entries(); n != 0 {
			t.Errorf("ten reads made %d entries", n)
		}
		must(t, change(t.Context(), lead, remove, m.other(lead).config.ID))
		if n := entries(); n != 1 {
			t.Errorf("ten reads made %d entries after a change of members", n)
		}
		all, err := lead.membership()
		must(t, err)
		next := m.nodes[nodeOf(find(all, func(s raft.Server) bool { return s.ID != lead.id }).ID)]
		_, err = next.StandForElection(t.Context(), &api.StandForElectionRequest{})
		must(t, err)
		for next.raft.State() != raft.Leader {
			time.Sleep(time.Millisecond)
		}
		synctest.Wait() // it has written of itself that it leads
		if lead = next; entries() != 1 {
			t.Error("ten reads of a new leader did not make one entry")
		}
	})
}

// TestReadTakesAMajorityOfThoseWhoVote, and no more.
func TestReadTakesAMajorityOfThoseWhoVote(t *testing.T) {
	with(t, 5, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		_, err := txn(lead, t.Context(), put("k", "v"))
		must(t, err)
		others := slices.DeleteFunc(slices.Clone(m.names), func(name string) bool { return name == lead.config.ID })
		read := func() string {
			in := &api.RangeRequest{Route: &api.Route{Redirect: true}, Span: one("k")}
			return reads(lead, within(t, 100*time.Millisecond), in)
		}
		cut := func(off bool) {
			m.cut(others[0], off)
			m.cut(others[1], off)
		}
		time.Sleep(time.Second) // so that all have it
		cut(true)
		begun, before := time.Now(), lead.raft.LastIndex()
		if got := read(); got != "v" || time.Since(begun) > 0 || lead.raft.LastIndex() > before {
			t.Errorf("with three of five it reads %s, after %v", got, time.Since(begun))
		}
		cut(false)
		for _, name := range others[2:] { // they stay, without a vote
			must(t, change(t.Context(), lead, remove, name))
			must(t, change(t.Context(), lead, learn, name))
		}
		if got := read(); got != "v" {
			t.Errorf("with three of three it reads %s", got)
		}
		cut(true)
		if got := read(); got == "v" {
			t.Errorf("with one of three who vote it reads %s", got)
		}
		cut(false)
	})
}

// TestLeaderThatWasDeposedUnawaresAnswersNoRead: its lease lasts, and it knows no other.
func TestLeaderThatWasDeposedUnawaresAnswersNoRead(t *testing.T) {
	for _, name := range []string{"", bug.StaleRead} {
		with(t, 3, Config{Bug: name, Lease: Duration(400 * time.Millisecond)}, func(t *testing.T, m *team) {
			old := m.leader()
			_, err := txn(old, t.Context(), put("k", "old"))
			must(t, err)
			time.Sleep(time.Second) // so that all have it
			m.cut(old.config.ID, true)
			next := m.other(old)
			_, err = next.StandForElection(t.Context(), &api.StandForElectionRequest{})
			must(t, err)
			_, err = txn(m.leader(), t.Context(), put("k", "new"))
			must(t, err)
			if _, leads := old.leads(); !leads {
				t.Fatal("it knows that it leads no more")
			}
			got := reads(old, within(t, time.Second), &api.RangeRequest{Span: one("k")})
			if stale := got == "old"; stale != (name == bug.StaleRead) {
				t.Errorf("bug %q: it reads %s", name, got)
			}
			m.cut(old.config.ID, false)
		})
	}
}

// TestWhoLedInAnEarlierTermIsNotFollowedInIt: he learned meanwhile, from who led later, that
// he alone has a vote, and that he does not refuse himself says nothing of that term.
func TestWhoLedInAnEarlierTermIsNotFollowedInIt(t *testing.T) {
	with(t, 2, Config{}, func(t *testing.T, m *team) {
		first := m.leader()
		_, err := txn(first, t.Context(), put("k", "v"))
		must(t, err)
		at := first.machine.applied()
		if !first.followed(t.Context(), at) {
			t.Error("it is not followed in the term that it leads in")
		}
		next := m.other(first)
		m.handOver(next)
		must(t, change(t.Context(), next, remove, next.config.ID))
		all, err := first.membership()
		must(t, err)
		if len(all) != 1 || all[0].ID != first.id {
			t.Fatalf("the members are %v", all)
		}
		if first.followed(t.Context(), at) {
			t.Error("it is followed in a term that is over")
		}
	})
}
