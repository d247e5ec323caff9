package raftkvtest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// TestTransactionIsAllOrNothing: what it compares, what it changes, and what it sees of
// its own.
func TestTransactionIsAllOrNothing(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		for _, kv := range []*client.Client{at(t, c, "n1"), at(t, c, c.names...)} {
			r := txn(t, kv, client.Txn{
				If:   []client.Compare{client.IfVersion("a", client.Equal, 0), client.IfCreate("b", client.Less, 1)},
				Then: []client.Op{client.OpPut("a", []byte("1")), client.OpPut("b", []byte("2")), client.OpRange(client.Prefix(""))},
				Else: []client.Op{client.OpDelete(client.Prefix(""))},
			})
			if !r.Succeeded || len(r.Results) != 3 || len(r.Results[0]) != 0 || len(r.Results[2]) != 2 || r.Results[2][1].Mod != r.Revision || r.Term == 0 || r.Node == "" {
				t.Errorf("got %+v", r)
			}
			again := txn(t, kv, client.Txn{
				If: []client.Compare{
					client.IfValue("a", client.Equal, []byte("1")), client.IfMod("a", client.Equal, r.Revision),
					client.IfLease("a", client.Equal, 0), client.IfValue("b", client.NotEqual, []byte("2")),
				},
				Else: []client.Op{client.OpDelete(client.Span{Key: "a", End: "b"}), client.OpRange(client.Prefix("")), client.OpDelete(client.Key("b"))},
			})
			if again.Succeeded || again.Revision != r.Revision+1 || len(again.Results[0]) != 1 || len(again.Results[1]) != 1 || string(again.Results[2][0].Value) != "2" {
				t.Errorf("got %+v after %+v", again, r)
			}
			past, err := kv.Range(within(t, time.Second), client.Prefix(""), client.RangeOptions{Revision: r.Revision, Limit: 1})
			if err != nil || past.Count != 2 || len(past.KVs) != 1 || past.Revision != r.Revision {
				t.Errorf("it was %+v, %v", past, err)
			}
		}
	})
}

// unanswered puts a key while no answers reach the tester for a while, so that it is sent
// again and again, and returns what the key is then.
func unanswered(t *testing.T, c *Cluster, meanwhile func()) (version uint64) {
	kv := at(t, c, c.names...)
	put(t, kv, "other", "v") // it has a session now
	must(t, c.Cut(toTester(c.names...)...))
	var writing sync.WaitGroup
	writing.Go(func() {
		if _, err := kv.Put(within(t, time.Minute), "k", []byte("v")); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it was written", func() bool { return look(t, c, "k") != nil })
	meanwhile()
	must(t, c.Heal(toTester(c.names...)...))
	writing.Wait()
	return look(t, c, "k").GetVersion()
}

func TestWriteThatIsSentAgainHappensOnce(t *testing.T) {
	for _, mistake := range []string{bug.DoubleApply, bug.RetryRenumbered} {
		t.Run(mistake, func(t *testing.T) {
			shows(t, mistake, func(t *testing.T, c *Cluster) bool {
				return unanswered(t, c, func() { time.Sleep(3 * time.Second) }) > 1
			})
		})
	}
	t.Run(bug.SnapshotDropsSessions, func(t *testing.T) {
		shows(t, bug.SnapshotDropsSessions, func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			put(t, kv, "k", "old")
			snapshotAll(t, c)
			restarted := others(c, leader(t, c))[0]
			must(t, c.Stop(restarted))
			must(t, c.Start(restarted))
			must(t, c.Ready(t.Context()))
			put(t, kv, "k", "new") // which that node refuses, with the bug
			must(t, c.Transfer(within(t, 20*time.Second), restarted))
			return string(look(t, c, "k").GetValue()) != "new"
		})
	})
}

func TestTransactionBugsShow(t *testing.T) {
	plays := map[string]func(t *testing.T, c *Cluster) bool{
		bug.CheckThenAct: func(t *testing.T, c *Cluster) bool {
			one, other := at(t, c, c.names...), at(t, c, c.names...)
			put(t, one, "k", "v")
			put(t, other, "k", "v") // both have a session, and know the leader
			both := false
			for round := range 20 {
				swapped := make([]bool, 2)
				var all sync.WaitGroup
				for i, kv := range []*client.Client{one, other} {
					all.Go(func() {
						r, err := kv.CAS(within(t, 20*time.Second), fmt.Sprint("k", round), client.Absent(), fmt.Append(nil, i))
						if err != nil {
							t.Error(err)
						}
						swapped[i] = r.Swapped
					})
				}
				all.Wait()
				if !swapped[0] && !swapped[1] {
					t.Error("none was made")
				}
				both = both || swapped[0] && swapped[1]
			}
			return both
		},
		bug.FirstCompare: func(t *testing.T, c *Cluster) bool {
			return txn(t, at(t, c, c.names...), client.Txn{
				If:   []client.Compare{client.IfVersion("k", client.Equal, 0), client.IfVersion("k", client.Greater, 0)},
				Then: []client.Op{client.OpPut("k", []byte("v"))},
			}).Succeeded
		},
		bug.TxnSplit: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			txn(t, kv, client.Txn{Then: []client.Op{client.OpPut("a", nil), client.OpPut("b", nil)}})
			r := read(t, kv, "")
			return len(r.KVs) != 2 || r.KVs[0].Mod != r.KVs[1].Mod
		},
		bug.KeyCollision: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			wrong := false
			for i := range 60 { // of 256 hashes
				put(t, kv, fmt.Sprint("k", i), fmt.Sprint(i))
			}
			for i := range 60 {
				wrong = wrong || reads(t, kv, fmt.Sprint("k", i)) != fmt.Sprint(i)
			}
			return wrong
		},
		bug.CompactLive: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			put(t, kv, "k", "v")
			put(t, kv, "other", "v")
			_, err := kv.Compact(within(t, time.Second), read(t, kv, "").Revision)
			must(t, err)
			return reads(t, kv, "k") != "v"
		},
		bug.VersionKept: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			put(t, kv, "k", "v")
			if r, err := kv.Delete(within(t, time.Second), "k"); err != nil || !r.Found {
				t.Errorf("%+v, %v", r, err)
			}
			put(t, kv, "k", "v")
			return look(t, c, "k").GetVersion() != 1
		},
		bug.SnapshotResurrects: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			put(t, kv, "k", "v")
			_, err := kv.Delete(within(t, time.Second), "k")
			must(t, err)
			snapshotAll(t, c)
			restartAll(t, c)
			must(t, c.Ready(t.Context()))
			return reads(t, kv, "k") != "nothing"
		},
		bug.RevisionGoesBack: func(t *testing.T, c *Cluster) bool {
			kv := at(t, c, c.names...)
			put(t, kv, "other", "v")
			put(t, kv, "k", "v")
			deleted, err := kv.Delete(within(t, time.Second), "k")
			must(t, err)
			snapshotAll(t, c)
			restartAll(t, c)
			must(t, c.Ready(t.Context()))
			return read(t, kv, "").Revision < deleted.Revision
		},
		bug.DirtyRead: func(t *testing.T, c *Cluster) bool {
			old := leader(t, c)
			kv := at(t, c, old)
			put(t, kv, "k", "before")
			must(t, c.Cut(isolate(c, old)...))
			if _, err := kv.Put(within(t, 50*time.Millisecond), "k", []byte("in the minority")); err == nil {
				t.Error("a minority has acknowledged it")
			}
			r, err := kv.Get(within(t, 50*time.Millisecond), "k")
			after, failed := at(t, c, others(c, old)...).Get(within(t, 20*time.Second), "k")
			if failed != nil || string(after.Value) != "before" {
				t.Errorf("the majority reads %q, %v", after.Value, failed)
			}
			must(t, c.Heal(isolate(c, old)...))
			return err == nil && string(r.Value) == "in the minority"
		},
		bug.LeaveEarly: func(t *testing.T, c *Cluster) bool {
			lead := leader(t, c)
			leaves := others(c, lead)[0]
			_, err := c.server(lead).ChangeMember(within(t, 5*time.Second), &api.ChangeMemberRequest{
				Change: api.MemberChange_MEMBER_CHANGE_REMOVE, Member: leaves,
			})
			must(t, err)
			must(t, c.Cut(isolate(c, lead)...)) // what is on its way is lost
			eventually(t, "another leads", func() bool { now, err := c.Leader(t.Context()); return err == nil && now != lead })
			s, err := c.Observe(t.Context())
			must(t, err)
			must(t, c.Heal(isolate(c, lead)...))
			return slices.Contains(s[leader(t, c)].Voters, leaves)
		},
		bug.MembersStale: func(t *testing.T, c *Cluster) bool {
			lead := leader(t, c)
			behind, leaves := others(c, lead)[0], others(c, lead)[1]
			must(t, c.Cut(isolate(c, behind)...))
			must(t, at(t, c, lead).Remove(within(t, 20*time.Second), leaves))
			err := at(t, c, behind).Promote(within(t, time.Second), leaves)
			must(t, c.Heal(isolate(c, behind)...))
			return err == nil
		},
	}
	for mistake, play := range plays {
		t.Run(mistake, func(t *testing.T) { shows(t, mistake, play) })
	}
}
