package raftkvtest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// Each of these has somebody want what does not come about. It has to end in the time
// that there is, and to say why.

// wantEnd wants a definite error for a reason, which says all of these.
func wantEnd(t *testing.T, err error, r api.Reason, says ...string) {
	t.Helper()
	if !client.IsDefinite(err) || reason(err) != r {
		t.Fatalf("got %v, want that it is not done: %s", err, r.Text())
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// TestWatcherLeavesANodeThatHasLostTheOthers: it is reached, and says nothing any more.
func TestWatcherLeavesANodeThatHasLostTheOthers(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		lost, kv := others(c, lead)[0], at(t, c, lead)
		w := at(t, c, lost, others(c, lead)[1]).Watch(t.Context(), client.Prefix("w/"), 1)
		defer w.Close()
		put := puts(t, kv, "w/", 3)
		told, last := follow(t, w, put[2])
		if last.Node != lost {
			t.Fatalf("it watches %s, want %s", last.Node, lost)
		}
		cut := isolate(c, lost)
		must(t, c.Cut(cut...))
		put = append(put, puts(t, kv, "w/", 3)...)
		begun := time.Now()
		more, last := follow(t, w, put[5])
		if told = append(told, more...); !slices.Equal(told, put) || last.Node == lost || time.Since(begun) > 3*time.Second {
			t.Errorf("put %d, told %d by %s, after %v", put, told, last.Node, time.Since(begun))
		}
		must(t, c.Heal(cut...))
	})
}

// TestWatcherWhoseOnlyNodeIsCutOffSaysSo, each time that it is asked, and goes on when it
// can.
func TestWatcherWhoseOnlyNodeIsCutOffSaysSo(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		node, kv := others(c, lead)[0], at(t, c, lead)
		w := at(t, c, node).Watch(t.Context(), client.Prefix("w/"), 1)
		defer w.Close()
		put := puts(t, kv, "w/", 3)
		told, _ := follow(t, w, put[2])
		cut := append(fromTester(node), toTester(node)...)
		must(t, c.Cut(cut...))
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			put = append(put, puts(t, kv, "w/", 1)...)
			asked := time.Now()
			b, err := w.Next(within(t, 2*time.Second))
			if err == nil && len(b.Events) == 0 {
				continue // it was on its way
			}
			wantEnd(t, err, api.Reason_REASON_DEADLINE, "watch: ", node+": ", "silent for 750ms")
			if took := time.Since(asked); took > 2*time.Second {
				t.Errorf("it took %v of 2s", took)
			}
		}
		must(t, c.Heal(cut...))
		more, last := follow(t, w, put[len(put)-1])
		if told = append(told, more...); !slices.Equal(told, put) || last.Resumed == 0 {
			t.Errorf("put %d, told %d, resumed %d times", put, told, last.Resumed)
		}
	})
}

// TestWatchersOfANodeThatGoesOnFromASnapshotMissNothing, on the stream that they have; or
// are told that what they missed was compacted.
func TestWatchersOfANodeThatGoesOnFromASnapshotMissNothing(t *testing.T) {
	for _, compacts := range []bool{false, true} {
		with(t, "", func(t *testing.T, c *Cluster) {
			lead := leader(t, c)
			behind, kv := others(c, lead)[0], at(t, c, lead)
			conn, err := c.conn(cluster.Tester, behind)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			// Not by a client's watcher, who would go to another node.
			stream, err := api.NewRaftKVClient(conn).Watch(ctx, &api.WatchRequest{Span: &api.Span{Key: "w/", Prefix: true}, From: 1})
			must(t, err)
			put := puts(t, kv, "w/", 3)
			told, _ := hear(t, stream, put[2])
			must(t, c.Cut(isolate(c, behind)...))
			put = append(put, puts(t, kv, "w/", 1000)...)
			if compacts {
				_, err := kv.Compact(within(t, time.Second), put[500])
				must(t, err)
				now := applied(t, c, lead)
				eventually(t, "the leader has a snapshot of that", func() bool {
					idle(t, c, lead)
					all, err := c.nodes[lead].snapshots.List()
					must(t, err)
					return len(all) > 0 && all[0].Index >= now
				})
				time.Sleep(20 * time.Second) // and it is that which it wants to send
			}
			has, err := c.nodes[behind].store.LastIndex()
			must(t, err)
			if kept, err := c.nodes[lead].store.FirstIndex(); err != nil || kept <= has+1 {
				t.Errorf("the leader's log begins at %d (%v): %d is not so far behind that a snapshot is needed", kept, err, has)
			}
			must(t, c.Heal(isolate(c, behind)...))
			more, remains := hear(t, stream, put[len(put)-1])
			told = append(told, more...)
			switch {
			case !compacts && !slices.Equal(told, put):
				t.Errorf("put %d, told %d", put, told)
			case compacts && (remains != put[500] || !slices.Equal(told, put[:3])):
				t.Errorf("told %d, and that %d remains", told, remains)
			}
		})
	}
}

// hear returns the revisions of the events that a stream tells of, up to one; or the
// first revision that remains, if the next was compacted.
func hear(t *testing.T, stream grpc.ServerStreamingClient[api.WatchResponse], upTo uint64) (told []uint64, compacted uint64) {
	t.Helper()
	for {
		r, err := stream.Recv()
		must(t, err)
		for _, e := range r.GetEvents() {
			told = append(told, e.GetKv().GetMod())
		}
		if r.GetRevision() >= upTo || r.GetCompacted() > 0 {
			return told, r.GetCompacted()
		}
	}
}

// TestHolderThatWasPausedForTooLongIsTold, whatever it asks for, and so is who watches.
func TestHolderThatWasPausedForTooLongIsTold(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		holder := at(t, c, c.names...)
		w := at(t, c, c.names...).Watch(t.Context(), client.Key("k"), 1)
		defer w.Close()
		lease := leased(t, holder, "k", 2*time.Second)
		time.Sleep(lease.TTL + lease.Bound)
		_, err := holder.KeepAlive(within(t, time.Second), lease.ID)
		wantEnd(t, err, api.Reason_REASON_LEASE_EXPIRED, "has expired")
		wantExpired(t, err)
		_, err = holder.Describe(within(t, time.Second), lease.ID)
		wantExpired(t, err)
		_, err = holder.Txn(within(t, time.Second), client.Txn{Then: []client.Op{client.OpPutLeased("k", nil, lease.ID)}})
		wantExpired(t, err)
		_, _, err = holder.Revoke(within(t, time.Second), lease.ID)
		wantExpired(t, err)
		var events []client.Event
		for len(events) < 2 {
			b, err := w.Next(within(t, time.Second))
			must(t, err)
			events = append(events, b.Events...)
		}
		if events[0].Deleted || !events[1].Deleted || look(t, c, "k") != nil {
			t.Errorf("what became of its key: %+v", events)
		}
	})
}

// TestLearnerThatNeverCatchesUpGetsNoVote, which is said in time, with how far behind it
// is; and it is in nobody's way.
func TestLearnerThatNeverCatchesUpGetsNoVote(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		name := others(c, lead)[0]
		must(t, c.Leave(within(t, 20*time.Second), name))
		rest := others(c, name)
		must(t, c.Cut(isolate(c, name)...))
		for _, kv := range []*client.Client{c.all, at(t, c, rest...), at(t, c, lead), at(t, c, others(c, lead)[1])} {
			begun := time.Now()
			err := c.Join(within(t, 4*time.Second), name) // which makes it a learner
			wantEnd(t, err, api.Reason_REASON_NOT_DONE, name+" joins", "has not caught up", "behind")
			err = kv.Promote(within(t, 4*time.Second), name+"#2")
			wantEnd(t, err, api.Reason_REASON_NOT_DONE, name+"#2 has not caught up", "behind")
			if took := time.Since(begun); took > 8*time.Second {
				t.Errorf("it took %v of 8s", took)
			}
			put(t, kv, "k", "v")
		}
		s, err := c.server(lead).Status(t.Context(), &api.StatusRequest{})
		must(t, err)
		if len(s.Voters) != 4 || !slices.Equal(s.Learners, []string{name}) {
			t.Errorf("the leader sees %v", s)
		}
		must(t, c.Leave(within(t, 4*time.Second), name)) // and so it may be given up
		m, err := c.all.Members(within(t, time.Second))
		if err != nil || len(m.Voters) != 4 || len(m.Learners) != 0 {
			t.Errorf("the members are %+v, %v", m, err)
		}
		must(t, c.Heal(isolate(c, name)...))
	})
}

// TestSessionWhoseNodeIsBehindIsTold, and does not see what is older than it has seen.
func TestSessionWhoseNodeIsBehindIsTold(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		behind := others(c, lead)[0]
		session := at(t, c, behind).Session()
		_, err := session.Txn(within(t, time.Second), client.Txn{Then: []client.Op{client.OpPut("k", nil)}})
		must(t, err)
		_, err = session.Range(within(t, time.Second), client.Key("k"), client.RangeOptions{})
		must(t, err)
		cut := isolate(c, behind)
		must(t, c.Cut(cut...))
		put(t, at(t, c, lead), "k", "v")
		begun := time.Now()
		_, err = session.Range(within(t, 2*time.Second), client.Key("k"), client.RangeOptions{AtLeast: session.Seen() + 1})
		wantEnd(t, err, api.Reason_REASON_NOT_YET, behind+" has come to revision 1, and 2 is asked for")
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %v of 2s", took)
		}
		must(t, c.Heal(cut...))
		r, err := session.Range(within(t, 20*time.Second), client.Key("k"), client.RangeOptions{AtLeast: session.Seen() + 1})
		if err != nil || r.Revision != 2 {
			t.Errorf("then %+v, %v", r, err)
		}
	})
}
