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

// puts puts n keys of a prefix one after the other, and returns their revisions.
func puts(t *testing.T, kv *client.Client, prefix string, n int) []uint64 {
	t.Helper()
	var revisions []uint64
	for i := range n {
		r, err := kv.Put(within(t, 20*time.Second), fmt.Sprint(prefix, n-i), fmt.Append(nil, i))
		must(t, err)
		revisions = append(revisions, r.Revision)
	}
	return revisions
}

// follow returns the revisions of the events that a watcher tells up to a revision, or
// until it says that they were compacted.
func follow(t *testing.T, w *client.Watcher, upTo uint64) (events []uint64, last client.Batch) {
	t.Helper()
	for last.Revision < upTo && last.Compacted == 0 {
		var err error
		last, err = w.Next(within(t, 20*time.Second))
		must(t, err)
		for _, e := range last.Events {
			events = append(events, e.KV.Mod)
		}
	}
	return events, last
}

// cutOff has a watcher whose node is cut off from it for ten seconds, while something
// is put every few milliseconds, and returns what was put and what the watcher was told.
func cutOff(t *testing.T, c *Cluster) (put, told []uint64, resumed int) {
	kv, seeking := at(t, c, leader(t, c)), at(t, c, others(c, leader(t, c))...)
	w := seeking.Watch(t.Context(), client.Prefix("w/"), 1)
	defer w.Close()
	first, err := w.Next(within(t, time.Second))
	must(t, err)
	put = puts(t, kv, "w/", 10)
	told, _ = follow(t, w, put[9])
	cut := append(fromTester(first.Node), toTester(first.Node)...)
	var writing sync.WaitGroup
	must(t, c.Cut(cut...))
	writing.Go(func() {
		for begun := time.Now(); time.Since(begun) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			put = append(put, puts(t, kv, "w/", 1)...)
		}
	})
	writing.Go(func() {
		more, last := follow(t, w, put[9]+500)
		told, resumed = append(told, more...), last.Resumed
		if last.Node == first.Node {
			t.Errorf("%s is cut off, and told of %d", last.Node, last.Revision)
		}
	})
	writing.Wait()
	must(t, c.Heal(cut...))
	put = append(put, puts(t, kv, "w/", 10)...)
	more, _ := follow(t, w, put[len(put)-1])
	return put, append(told, more...), resumed
}

func TestWatcherThatIsCutOffMissesNothing(t *testing.T) {
	for _, mistake := range []string{"", bug.WatchGap, bug.WatchRepeats} {
		with(t, mistake, func(t *testing.T, c *Cluster) {
			put, told, resumed := cutOff(t, c)
			if resumed == 0 {
				t.Error("it was not resumed")
			}
			missed := slices.ContainsFunc(put, func(r uint64) bool { return !slices.Contains(told, r) })
			repeated := len(slices.Compact(slices.Sorted(slices.Values(told)))) < len(told)
			if missed != (mistake == bug.WatchGap) || repeated != (mistake == bug.WatchRepeats) || !missed && !repeated && !slices.Equal(put, told) {
				t.Errorf("bug %q: missed: %v, repeated: %v; put %d, told %d", mistake, missed, repeated, put, told)
			}
		})
	}
}

// TestWatcherWhoseNodeStopsGoesOnAtOnce: it need not wait for silence.
func TestWatcherWhoseNodeStopsGoesOnAtOnce(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		lead := leader(t, c)
		w := at(t, c, append(others(c, lead), lead)...).Watch(t.Context(), client.Prefix("w/"), 1)
		defer w.Close()
		first, err := w.Next(within(t, time.Second))
		must(t, err)
		must(t, c.Stop(first.Node))
		begun := time.Now()
		put := puts(t, at(t, c, lead), "w/", 3)
		if told, last := follow(t, w, put[2]); !slices.Equal(put, told) || last.Resumed != 1 || time.Since(begun) > 200*time.Millisecond {
			t.Errorf("put %d, told %d by %+v after %v", put, told, last, time.Since(begun))
		}
	})
}

// TestWatcherIsToldWhatCameBefore, and from a revision that is yet to come nothing of it.
func TestWatcherIsToldWhatCameBefore(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		kv := at(t, c, c.names...)
		put := puts(t, kv, "w/", 700) // more than a batch
		for _, name := range c.names {
			told, _ := follow(t, at(t, c, name).Watch(t.Context(), client.Prefix("w/"), 1), put[699])
			if !slices.Equal(put, told) {
				t.Errorf("%s tells %d of %d", name, told, put)
			}
		}
		ahead := kv.Watch(t.Context(), client.Prefix("w/"), put[699]+3)
		defer ahead.Close()
		put = puts(t, kv, "w/", 5)
		if told, _ := follow(t, ahead, put[4]); !slices.Equal(told, put[2:]) {
			t.Errorf("from %d on it tells %d of %d", put[2], told, put)
		}
	})
}

// TestCompactionWhileAWatcherIsCutOffIsSaid: it has one node, which is cut off.
func TestCompactionWhileAWatcherIsCutOffIsSaid(t *testing.T) {
	shows(t, bug.WatchSkipsCompacted, func(t *testing.T, c *Cluster) bool {
		lead := leader(t, c)
		kv, node := at(t, c, lead), others(c, lead)[0]
		w := at(t, c, node).Watch(t.Context(), client.Prefix("w/"), 1)
		defer w.Close()
		put := puts(t, kv, "w/", 3)
		told, _ := follow(t, w, put[2])
		cut := append(fromTester(node), toTester(node)...)
		must(t, c.Cut(cut...))
		time.Sleep(3 * time.Second) // its stream is broken by now
		put = append(put, puts(t, kv, "w/", 10)...)
		compacted, err := kv.Compact(within(t, 20*time.Second), put[8])
		must(t, err)
		eventually(t, "its node knows", func() bool { return applied(t, c, node) >= applied(t, c, lead) })
		must(t, c.Heal(cut...))
		more, last := follow(t, w, put[12])
		told = append(told, more...)
		if last.Compacted > 0 {
			if last.Compacted != compacted || compacted != put[8] || !slices.Equal(told, put[:3]) {
				t.Errorf("told %d, and that %d remains, which is %d", told, last.Compacted, compacted)
			}
			// And so it goes on.
			r, err := kv.Range(within(t, time.Second), client.Prefix("w/"), client.RangeOptions{Revision: last.Compacted})
			if err != nil || len(r.KVs) == 0 {
				t.Errorf("what was there at %d: %+v, %v", last.Compacted, r, err)
			}
			rest, _ := follow(t, at(t, c, node).Watch(t.Context(), client.Prefix("w/"), last.Compacted+1), put[12])
			if !slices.Equal(rest, put[9:]) {
				t.Errorf("from there on it tells %d of %d", rest, put)
			}
			return false
		}
		return !slices.Equal(told, put)
	})
}

// TestReadOfWhatWasCompactedSaysSo, and of what is yet to come.
func TestReadOfWhatWasCompactedSaysSo(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		kv := at(t, c, c.names...)
		put := puts(t, kv, "w/", 5)
		_, err := kv.Compact(within(t, time.Second), put[2])
		must(t, err)
		for revision, want := range map[uint64]api.Reason{
			put[1]: api.Reason_REASON_COMPACTED, put[2]: 0, put[4]: 0, put[4] + 100: api.Reason_REASON_NOT_YET,
		} {
			r, err := kv.Range(within(t, time.Second), client.Prefix("w/"), client.RangeOptions{Revision: revision})
			if want == 0 && (err != nil || r.Count != revision-put[0]+1) {
				t.Errorf("at %d: %+v, %v", revision, r, err)
			}
			if want != 0 && (!client.IsDefinite(err) || reason(err) != want) {
				t.Errorf("at %d: %v, want %v", revision, err, want)
			}
		}
	})
}

func TestWatchBugsShow(t *testing.T) {
	t.Run(bug.WatchDrops, func(t *testing.T) {
		shows(t, bug.WatchDrops, func(t *testing.T, c *Cluster) bool {
			put := puts(t, at(t, c, c.names...), "w/", 200)
			w := at(t, c, c.names...).Watch(t.Context(), client.Prefix("w/"), 1)
			defer w.Close()
			told, _ := follow(t, w, put[199])
			return !slices.Equal(put, told)
		})
	})
	t.Run(bug.WatchReorders, func(t *testing.T) {
		shows(t, bug.WatchReorders, func(t *testing.T, c *Cluster) bool {
			put := puts(t, at(t, c, c.names...), "w/", 9)
			w := at(t, c, c.names...).Watch(t.Context(), client.Prefix("w/"), 1)
			defer w.Close()
			told, _ := follow(t, w, put[8])
			return !slices.IsSorted(told)
		})
	})
	t.Run(bug.WatchEarlyProgress, func(t *testing.T) {
		shows(t, bug.WatchEarlyProgress, func(t *testing.T, c *Cluster) bool {
			put := puts(t, at(t, c, c.names...), "w/", 9)
			w := at(t, c, c.names...).Watch(t.Context(), client.Prefix("w/"), 1)
			defer w.Close()
			// Who is told that there is everything needs nothing more.
			told, _ := follow(t, w, put[8])
			return !slices.Equal(put, told)
		})
	})
	t.Run(bug.WatchUncommitted, func(t *testing.T) {
		shows(t, bug.WatchUncommitted, func(t *testing.T, c *Cluster) bool {
			old := leader(t, c)
			kv := at(t, c, old)
			put(t, kv, "w/", "before")
			w := kv.Watch(t.Context(), client.Prefix("w/"), 0)
			defer w.Close()
			_, err := w.Next(within(t, time.Second))
			must(t, err)
			must(t, c.Cut(isolate(c, old)...))
			_, err = kv.Put(within(t, 100*time.Millisecond), "w/", []byte("in the minority"))
			if err == nil {
				t.Error("a minority has acknowledged it")
			}
			seen := false
			for begun := time.Now(); time.Since(begun) < time.Second; {
				b, err := w.Next(within(t, time.Second))
				must(t, err)
				seen = seen || len(b.Events) > 0
			}
			if got := reads(t, at(t, c, others(c, old)...), "w/"); got != "before" {
				t.Errorf("the majority reads %s", got)
			}
			must(t, c.Heal(isolate(c, old)...))
			return seen
		})
	})
}
