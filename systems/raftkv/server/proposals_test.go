package server

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// puts begins to put times keys at a node, and returns what becomes of each when all have
// ended.
func puts(t *testing.T, n *Node, times int) (wait func() []error) {
	errs := make([]error, times)
	var putting sync.WaitGroup
	for i := range times {
		putting.Go(func() { _, errs[i] = txn(n, within(t, 5*time.Second), put(fmt.Sprint("k", i), "v")) })
	}
	synctest.Wait()
	return func() []error { putting.Wait(); return errs }
}

// TestProposalsWaitWhileManyAreOnTheirWay, and are all handed over then.
func TestProposalsWaitWhileManyAreOnTheirWay(t *testing.T) {
	long := Config{Heartbeat: Duration(2 * time.Second), Lease: Duration(2 * time.Second)}
	with(t, 3, long, func(t *testing.T, m *team) {
		lead := m.leader()
		time.Sleep(time.Second) // so that all have what there is
		before := lead.raft.LastIndex()
		m.cut(lead.config.ID, true)
		first, others := puts(t, lead, few), puts(t, lead, 200)
		if n := lead.raft.LastIndex() - before; n != few {
			t.Errorf("%d proposals are on their way, want %d", n, few)
		}
		m.cut(lead.config.ID, false)
		for i, err := range append(first(), others()...) {
			if err != nil {
				t.Errorf("put %d: %v", i, err)
			}
		}
		synctest.Wait()
		if n := lead.raft.LastIndex() - before; n != few+200 {
			t.Errorf("%d entries", n)
		}
		if q := &lead.proposals; q.handed != 0 || q.handing || len(q.waiting) > 0 {
			t.Errorf("%d of them are on their way, and %d wait", q.handed, len(q.waiting))
		}
	})
}

// TestProposalsThatWaitedForALeaderThatIsDeposedAreNotDone: who waited was in no log.
func TestProposalsThatWaitedForALeaderThatIsDeposedAreNotDone(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		m.cut(lead.config.ID, true)
		first, others := puts(t, lead, few), puts(t, lead, 20)
		for i, err := range append(first(), others()...) {
			if err == nil || api.Understand(err).Definite != (i >= few) {
				t.Errorf("put %d: %v", i, err)
			}
		}
		m.cut(lead.config.ID, false)
	})
}

// TestProposalThatWaitedForTooLongIsNotHandedOver: who made it has given up, and what he
// wanted does not happen long after.
func TestProposalThatWaitedForTooLongIsNotHandedOver(t *testing.T) {
	long := Config{Heartbeat: Duration(4 * time.Second), Lease: Duration(4 * time.Second)}
	with(t, 3, long, func(t *testing.T, m *team) {
		lead := m.leader()
		time.Sleep(time.Second) // so that all have what there is
		before := lead.raft.LastIndex()
		m.cut(lead.config.ID, true)
		first := puts(t, lead, few)
		for i := range 20 {
			if _, err := txn(lead, within(t, 50*time.Millisecond), put(fmt.Sprint("late", i), "v")); err == nil {
				t.Errorf("late put %d took place", i)
			}
		}
		m.cut(lead.config.ID, false)
		for i, err := range first() {
			if err != nil {
				t.Errorf("put %d: %v", i, err)
			}
		}
		synctest.Wait()
		if n := lead.raft.LastIndex() - before; n != few {
			t.Errorf("%d entries, want %d", n, few)
		}
		if q := &lead.proposals; q.handed != 0 || q.handing || len(q.waiting) > 0 {
			t.Errorf("%d of them are on their way, and %d wait", q.handed, len(q.waiting))
		}
	})
}
