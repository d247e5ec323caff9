package raftkvtest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// shows has a play played with a bug and without. It says whether the bug shows.
func shows(t *testing.T, mistake string, play func(t *testing.T, c *Cluster) bool) {
	t.Helper()
	for _, m := range []string{"", mistake} {
		with(t, m, func(t *testing.T, c *Cluster) {
			if got, want := play(t, c), m != ""; got != want {
				t.Errorf("bug %q: it shows: %v", m, got)
			}
		})
	}
}

// fromTester and toTester are the links between the tester and nodes.
func fromTester(nodes ...string) []cluster.Link {
	var links []cluster.Link
	for _, name := range nodes {
		links = append(links, cluster.Link{From: cluster.Tester, To: name})
	}
	return links
}

func toTester(nodes ...string) []cluster.Link {
	var links []cluster.Link
	for _, name := range nodes {
		links = append(links, cluster.Link{From: name, To: cluster.Tester})
	}
	return links
}

// look reads what a key holds, whatever is cut between the nodes and the tester; nil:
// nothing.
func look(t *testing.T, c *Cluster, key string) *api.KeyValue {
	t.Helper()
	r, err := c.server(c.names[0]).Range(within(t, 20*time.Second), &api.RangeRequest{Span: &api.Span{Key: key}})
	must(t, err)
	if len(r.GetKvs()) == 0 {
		return nil
	}
	return r.GetKvs()[0]
}

// idle makes an entry that changes nothing, at a node or by it.
func idle(t *testing.T, c *Cluster, node string) {
	t.Helper()
	_, err := c.server(node).Txn(within(t, 20*time.Second), &api.TxnRequest{})
	must(t, err)
}

// snapshotAll returns when every node has a snapshot of what is there now.
func snapshotAll(t *testing.T, c *Cluster) {
	t.Helper()
	now := applied(t, c, leader(t, c))
	eventually(t, "all have a snapshot of that", func() bool {
		idle(t, c, c.names[0])
		return !slices.ContainsFunc(c.names, func(name string) bool {
			all, err := c.nodes[name].snapshots.List()
			must(t, err)
			return len(all) == 0 || all[0].Index < now
		})
	})
}

// restartAll stops all nodes, and starts them again.
func restartAll(t *testing.T, c *Cluster) {
	t.Helper()
	for _, name := range c.names {
		must(t, c.Stop(name))
	}
	for _, name := range c.names {
		must(t, c.Start(name))
	}
}

// depose makes another node lead, and returns when it does.
func depose(t *testing.T, c *Cluster) {
	t.Helper()
	next := others(c, leader(t, c))[0]
	must(t, c.Transfer(within(t, 20*time.Second), next))
	eventually(t, "another leads", func() bool { now, err := c.Leader(t.Context()); return err == nil && now == next })
}

// read reads all keys with a prefix.
func read(t *testing.T, kv *client.Client, prefix string) client.RangeResult {
	t.Helper()
	r, err := kv.Range(within(t, 20*time.Second), client.Prefix(prefix), client.RangeOptions{})
	must(t, err)
	return r
}

func txn(t *testing.T, kv *client.Client, x client.Txn) client.TxnResult {
	t.Helper()
	r, err := kv.Txn(within(t, 20*time.Second), x)
	must(t, err)
	return r
}

// TestStreamBreaksWhenItsMessagesAreLost, and both ends hear of it: the bubble would
// tell of a node that went on to send.
func TestStreamBreaksWhenItsMessagesAreLost(t *testing.T) {
	for _, cut := range [][]cluster.Link{fromTester("n1"), toTester("n1"), slices.Concat(fromTester("n1"), toTester("n1"))} {
		with(t, "", func(t *testing.T, c *Cluster) {
			conn, err := c.conn(cluster.Tester, "n1")
			must(t, err)
			stream, err := api.NewRaftKVClient(conn).Watch(t.Context(), &api.WatchRequest{Span: &api.Span{Prefix: true}})
			must(t, err)
			_, err = stream.Recv()
			must(t, err)
			must(t, c.Cut(cut...))
			begun := time.Now()
			for err == nil && time.Since(begun) < 10*time.Second {
				_, err = stream.Recv()
			}
			if lost := cut[len(cut)-1].To == cluster.Tester; (err != nil) != lost {
				t.Errorf("%v is cut: after %v the stream ended with %v", cut, time.Since(begun), err)
			}
			must(t, c.Heal(cut...))
		})
	}
}

// TestStreamEndsWithItsCaller at the node, too, though the bubble goes on.
func TestStreamEndsWithItsCaller(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		w := at(t, c, "n1").Watch(t.Context(), client.Prefix(""), 0)
		_, err := w.Next(within(t, time.Second))
		must(t, err)
		w.Close()
		time.Sleep(time.Second)
		before := c.Dropped(toTester("n1")...)
		must(t, c.Cut(toTester("n1")...))
		time.Sleep(time.Second) // in which it would send four notices
		if after := c.Dropped(toTester("n1")...); after[0] != before[0] {
			t.Errorf("%d messages were sent to who does not listen", after[0]-before[0])
		}
		must(t, c.Heal(toTester("n1")...))
		synctest.Wait()
	})
}
