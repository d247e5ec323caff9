package raftkvtest

import (
	"errors"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// leased puts a key with a lease of its own.
func leased(t *testing.T, kv *client.Client, key string, ttl time.Duration) client.Lease {
	t.Helper()
	lease, err := kv.Grant(within(t, 20*time.Second), ttl)
	must(t, err)
	if lease.TTL != ttl || lease.Bound <= 0 {
		t.Fatalf("asked for %v, got %+v", ttl, lease)
	}
	txn(t, kv, client.Txn{Then: []client.Op{client.OpPutLeased(key, []byte("v"), lease.ID)}})
	return lease
}

func reason(err error) api.Reason {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Reason
	}
	return api.Reason_REASON_UNSPECIFIED
}

// wantExpired wants the error of a lease that is over, which is definite.
func wantExpired(t *testing.T, err error) {
	t.Helper()
	if _, ok := errors.AsType[*client.Expired](err); !ok || !client.IsDefinite(err) {
		t.Errorf("got %v, want that it has expired", err)
	}
}

// keep keeps a lease alive for a while, and returns until when it lasts at least.
func keep(t *testing.T, kv *client.Client, lease client.Lease, while time.Duration) (until time.Time) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < while; time.Sleep(lease.TTL / 10) {
		asked := time.Now()
		kept, err := kv.KeepAlive(within(t, 20*time.Second), lease.ID)
		must(t, err)
		until = asked.Add(kept.TTL)
	}
	return until
}

// TestLeaseThatIsKeptSurvivesItsLeaders, and ends when it is not kept any more.
func TestLeaseThatIsKeptSurvivesItsLeaders(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		kv := at(t, c, c.names...)
		lease := leased(t, kv, "k", 2*time.Second)
		for round := range 4 {
			keep(t, kv, lease, 3*time.Second)
			if round%2 == 0 {
				depose(t, c)
			} else {
				lead := leader(t, c)
				must(t, c.Stop(lead))
				keep(t, kv, lease, 3*time.Second)
				must(t, c.Start(lead))
				must(t, c.Ready(t.Context()))
			}
			if look(t, c, "k") == nil {
				t.Fatalf("round %d: it is gone", round)
			}
		}
		state, err := kv.Describe(within(t, time.Second), lease.ID)
		if err != nil || state.TTL != lease.TTL || state.Left <= 0 || state.Left > lease.TTL || len(state.Keys) != 1 {
			t.Errorf("it stands so: %+v, %v", state, err)
		}
		until := keep(t, kv, lease, time.Second)
		time.Sleep(time.Until(until.Add(lease.Bound)))
		if look(t, c, "k") != nil {
			t.Error("it outlived its lease")
		}
		_, err = kv.Describe(within(t, time.Second), lease.ID)
		wantExpired(t, err)
		_, err = kv.Txn(within(t, time.Second), client.Txn{Then: []client.Op{client.OpPutLeased("k", nil, lease.ID)}})
		wantExpired(t, err)
		_, _, err = kv.Revoke(within(t, time.Second), lease.ID)
		wantExpired(t, err)
	})
}

// TestHolderThatIsCutOffLosesItsLease: as late as it may, and not before its time.
func TestHolderThatIsCutOffLosesItsLease(t *testing.T) {
	shows(t, bug.LeaseRevives, func(t *testing.T, c *Cluster) bool {
		lead := leader(t, c)
		node := others(c, lead)[0]
		holder := at(t, c, node)
		lease := leased(t, holder, "k", 2*time.Second)
		until := keep(t, holder, lease, 3*time.Second)
		cut := append(fromTester(node), toTester(node)...)
		must(t, c.Cut(cut...))
		if _, err := holder.KeepAlive(within(t, 500*time.Millisecond), lease.ID); err == nil || client.IsDefinite(err) {
			t.Errorf("it is cut off: %v", err)
		}
		for look(t, c, "k") != nil {
			if time.Now().After(until.Add(lease.Bound)) {
				t.Fatal("it outlived its lease")
			}
			time.Sleep(time.Millisecond)
		}
		if time.Now().Before(until) {
			t.Errorf("it died %v before its time", time.Until(until))
		}
		must(t, c.Heal(cut...))
		_, err := holder.KeepAlive(within(t, 5*time.Second), lease.ID)
		revived := look(t, c, "k") != nil
		if !revived {
			wantExpired(t, err)
		}
		return revived && err == nil
	})
}

func TestRevokedLeaseTakesItsKeys(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		kv := at(t, c, c.names...)
		lease := leased(t, kv, "k", time.Minute)
		put(t, kv, "other", "v")
		before := read(t, kv, "").Revision
		_, revision, err := kv.Revoke(within(t, time.Second), lease.ID)
		if err != nil || revision != before+1 {
			t.Errorf("revision %d after %d, %v", revision, before, err)
		}
		if r := read(t, kv, ""); len(r.KVs) != 1 || r.KVs[0].Key != "other" {
			t.Errorf("there is %+v", r.KVs)
		}
		_, err = kv.KeepAlive(within(t, time.Second), lease.ID)
		wantExpired(t, err)
	})
}

func TestLeaseBugsShow(t *testing.T) {
	t.Run(bug.LeaseForgottenByLeader, func(t *testing.T) {
		shows(t, bug.LeaseForgottenByLeader, func(t *testing.T, c *Cluster) bool {
			leased(t, at(t, c, c.names...), "k", 2*time.Second)
			depose(t, c)
			time.Sleep(10 * time.Second)
			return look(t, c, "k") != nil
		})
	})
	t.Run(bug.LeaseDiesEarly, func(t *testing.T) {
		shows(t, bug.LeaseDiesEarly, func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			lease := leased(t, kv, "k", 5*time.Second)
			until := keep(t, kv, lease, 7*time.Second)
			lead := leader(t, c)
			must(t, c.Stop(lead))
			gone := false
			for time.Now().Before(until.Add(-100 * time.Millisecond)) {
				gone = gone || reads(t, kv, "k") == "nothing"
				time.Sleep(100 * time.Millisecond)
			}
			must(t, c.Start(lead))
			return gone
		})
	})
	t.Run(bug.LeaseKeepsKeys, func(t *testing.T) {
		shows(t, bug.LeaseKeepsKeys, func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			lease := leased(t, kv, "k", time.Second)
			txn(t, kv, client.Txn{Then: []client.Op{client.OpPutLeased("k", []byte("again"), lease.ID)}})
			time.Sleep(5 * time.Second)
			return look(t, c, "k") != nil
		})
	})
	t.Run(bug.SnapshotDropsLeases, func(t *testing.T) {
		shows(t, bug.SnapshotDropsLeases, func(t *testing.T, c *Cluster) bool {
			leased(t, at(t, c, c.names...), "k", time.Minute)
			snapshotAll(t, c)
			restartAll(t, c)
			must(t, c.Ready(t.Context()))
			time.Sleep(70 * time.Second)
			return look(t, c, "k") != nil
		})
	})
}
