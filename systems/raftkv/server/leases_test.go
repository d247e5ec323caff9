package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// lease grants one, and puts a key with it.
func lease(t *testing.T, n *Node, key string, ttl time.Duration) uint64 {
	t.Helper()
	out, err := n.GrantLease(t.Context(), &api.GrantLeaseRequest{TtlMs: uint64(ttl.Milliseconds())})
	must(t, err)
	if out.Lease == 0 || out.TtlMs != uint64(ttl.Milliseconds()) || out.BoundMs != 1000 {
		t.Errorf("granted: %v", out)
	}
	_, err = txn(n, t.Context(), putLeased(key, out.Lease))
	must(t, err)
	return out.Lease
}

// there says whether a key is.
func there(t *testing.T, n *Node, key string) bool {
	t.Helper()
	return reads(n, t.Context(), &api.RangeRequest{Span: one(key)}) == "leased"
}

func alive(n *Node, t *testing.T, id uint64) error {
	_, err := n.KeepAlive(t.Context(), &api.KeepAliveRequest{Lease: id})
	return err
}

func TestLeaseLastsAsLongAsItWasSaidAndNotMuchLonger(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead, other := m.leader(), m.other(m.leader())
		time.Sleep(time.Minute) // in which nobody tells the time
		id := lease(t, other, "k", 2*time.Second)
		w := watch(t, other, &api.WatchRequest{Span: one("k"), From: 2})
		time.Sleep(1900 * time.Millisecond)
		must(t, alive(other, t, id))
		time.Sleep(1990 * time.Millisecond)
		if !there(t, lead, "k") {
			t.Error("it has ended too early")
		}
		out, err := other.DescribeLease(t.Context(), &api.DescribeLeaseRequest{Lease: id})
		if err != nil || out.TtlMs != 2000 || out.LeftMs > 110 || len(out.Keys) != 1 || out.Keys[0] != "k" || out.Stamp.Node != lead.config.ID {
			t.Errorf("just before it ends: %v, %v", out, err)
		}
		time.Sleep(300 * time.Millisecond)
		if there(t, lead, "k") {
			t.Error("it has not ended")
		}
		if got := fmt.Sprint(w.events()); got != "[k gone@2]" {
			t.Errorf("who watches saw %v", got)
		}
		for name, err := range map[string]error{
			"keep alive": alive(other, t, id),
			"describe": func() error {
				_, err := other.DescribeLease(t.Context(), &api.DescribeLeaseRequest{Lease: id})
				return err
			}(),
			"put":    func() error { _, err := txn(other, t.Context(), putLeased("k", id)); return err }(),
			"revoke": func() error { _, err := other.RevokeLease(t.Context(), &api.RevokeLeaseRequest{Lease: id}); return err }(),
		} {
			if e := api.Understand(err); e == nil || !e.Definite || e.Reason != api.Reason_REASON_LEASE_EXPIRED {
				t.Errorf("%s, when it has ended: %v", name, err)
			}
		}
		// Nobody tells the time when there is none to be looked after.
		before := lead.raft.LastIndex()
		time.Sleep(time.Hour)
		if now := lead.raft.LastIndex(); now != before {
			t.Errorf("%d entries were made in an hour", now-before)
		}
	})
}

func TestRevokedLeaseEndsAtOnce(t *testing.T) {
	with(t, 1, Config{}, func(t *testing.T, m *team) {
		n := m.leader()
		id := lease(t, n, "k", time.Hour)
		out, err := n.RevokeLease(t.Context(), &api.RevokeLeaseRequest{Lease: id})
		if err != nil || out.Revision != 2 {
			t.Errorf("%v, %v", out, err)
		}
		if there(t, n, "k") {
			t.Error("its key is there")
		}
	})
}

// TestLeaseOutlivesItsLeader: time goes on with the next one, and what passes in between is
// not counted.
func TestLeaseOutlivesItsLeader(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		lead := m.leader()
		id := lease(t, lead, "k", 3*time.Second)
		time.Sleep(2 * time.Second)
		m.cut(lead.config.ID, true)
		next := m.leader()
		time.Sleep(500 * time.Millisecond)
		if !there(t, next, "k") {
			t.Error("it has ended too early")
		}
		time.Sleep(time.Second)
		if there(t, next, "k") {
			t.Error("it has not ended")
		}
		m.cut(lead.config.ID, false)
		time.Sleep(time.Second)
		if err := alive(lead, t, id); api.Understand(err).Reason != api.Reason_REASON_LEASE_EXPIRED {
			t.Errorf("at the old leader: %v", err)
		}
	})
}

// TestBugsOfLeasesShowWhenTheLeaderChanges and are none while it does not.
func TestBugsOfLeasesShowWhenTheLeaderChanges(t *testing.T) {
	for name, want := range map[string]string{
		"":                         "kept: true, left: false",
		bug.LeaseDiesEarly:         "kept: false, left: false",
		bug.LeaseForgottenByLeader: "kept: true, left: true",
	} {
		with(t, 3, Config{Bug: name}, func(t *testing.T, m *team) {
			lead := m.leader()
			play := func(change func()) string {
				t.Helper()
				kept := lease(t, lead, "kept", 5*time.Second)
				time.Sleep(4 * time.Second)
				must(t, alive(lead, t, kept))
				lease(t, lead, "left", 2*time.Second)
				change()
				time.Sleep(3 * time.Second)
				got := fmt.Sprintf("kept: %v, left: %v", there(t, m.leader(), "kept"), there(t, m.leader(), "left"))
				time.Sleep(3 * time.Second)
				if there(t, m.leader(), "kept") && name != bug.LeaseForgottenByLeader {
					t.Errorf("bug %q: it does not end", name)
				}
				return got
			}
			if got := play(func() {}); got != "kept: true, left: false" {
				t.Errorf("bug %q: %s", name, got)
			}
			if got := play(func() { m.handOver(m.other(lead)) }); got != want {
				t.Errorf("bug %q: %s, want %s", name, got, want)
			}
		})
	}
}
