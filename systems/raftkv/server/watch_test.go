package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A watcher is a stream from a node, without a network between.
type watcher struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan error

	mu sync.Mutex
	// slow is closed when the stream takes more; nil: it does.
	slow chan struct{}
	got  []*api.WatchResponse
}

// watch begins to watch, until the test ends.
func watch(t *testing.T, n *Node, in *api.WatchRequest) *watcher {
	w := &watcher{ended: make(chan error, 1)}
	w.ctx, w.cancel = context.WithCancel(t.Context())
	go func() { w.ended <- n.Watch(in, w) }()
	synctest.Wait()
	return w
}

func (w *watcher) Context() context.Context { return w.ctx }

func (w *watcher) Send(r *api.WatchResponse) error {
	w.mu.Lock()
	slow := w.slow
	w.mu.Unlock()
	if slow != nil {
		<-slow
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, r)
	return w.ctx.Err()
}

func (w *watcher) responses() []*api.WatchResponse {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// events are those that have come.
func (w *watcher) events() []string {
	all := []string{}
	for _, r := range w.responses() {
		for _, e := range r.Events {
			if e.Deleted {
				all = append(all, fmt.Sprintf("%s gone@%d", e.Kv.Key, e.Kv.Mod))
			} else {
				all = append(all, fmt.Sprintf("%s=%s@%d", e.Kv.Key, e.Kv.Value, e.Kv.Mod))
			}
		}
	}
	return all
}

// told is what the last response says of how far it has come.
func (w *watcher) told() uint64 {
	all := w.responses()
	return all[len(all)-1].Revision
}

// whole fails unless the responses keep to the contract.
func (w *watcher) whole(t *testing.T, n *Node, from uint64) {
	t.Helper()
	last, told := from-1, uint64(0)
	for i, r := range w.responses() {
		if r.Node != n.config.ID || r.Revision < told || i == 0 && (r.Revision != from-1 || len(r.Events) > 0) {
			t.Errorf("response %d: %v, after %d", i, r, told)
		}
		first := told + 1
		told = r.Revision
		for _, e := range r.Events {
			if e.Kv.Mod < last || e.Kv.Mod < first || e.Kv.Mod > told {
				t.Errorf("response %d: %v, after revision %d, of %d to %d", i, e, last, first, told)
			}
			last = e.Kv.Mod
		}
	}
}

// write puts keys, two in a revision each other time, and says what events that makes.
func write(t *testing.T, n *Node, times int) (events []string) {
	t.Helper()
	for i := range times {
		in := &api.TxnRequest{Success: []*api.Op{putOp(fmt.Sprint("k", i%3), fmt.Sprint(i), 0)}}
		if i%2 == 1 {
			in.Success = append(in.Success, &api.Op{Op: &api.Op_Delete{Delete: one(fmt.Sprint("k", (i+1)%3))}})
		}
		out, err := n.Txn(t.Context(), in)
		must(t, err)
		events = append(events, fmt.Sprintf("k%d=%d@%d", i%3, i, out.Revision))
		if i%2 == 1 && len(out.Results[1].Kvs) > 0 {
			events = append(events, fmt.Sprintf("k%d gone@%d", (i+1)%3, out.Revision))
		}
	}
	synctest.Wait()
	return events
}

var everything = &api.Span{Prefix: true}

func TestWatcherSeesEveryChangeOnceInOrderAtEveryNode(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		early := map[string]*watcher{}
		for _, name := range m.names {
			early[name] = watch(t, m.nodes[name], &api.WatchRequest{Span: everything, From: 1})
		}
		want := write(t, m.leader(), 600)
		time.Sleep(time.Second)
		for name, w := range early {
			w.whole(t, m.nodes[name], 1)
			late := watch(t, m.nodes[name], &api.WatchRequest{Span: everything, From: 1})
			late.whole(t, m.nodes[name], 1)
			for which, w := range map[string]*watcher{"from the beginning on": w, "afterwards": late} {
				if got := w.events(); !slices.Equal(got, want) {
					t.Errorf("at %s, %s: it saw %d events, want %d", name, which, len(got), len(want))
				}
			}
			one := watch(t, m.nodes[name], &api.WatchRequest{Span: one("k1"), From: 100})
			one.whole(t, m.nodes[name], 100)
			wantOne := slices.DeleteFunc(slices.Clone(want), func(e string) bool {
				var revision int
				fmt.Sscanf(e[strings.Index(e, "@"):], "@%d", &revision)
				return !strings.HasPrefix(e, "k1") || revision < 100
			})
			if got := one.events(); !slices.Equal(got, wantOne) {
				t.Errorf("at %s, one key: it saw %d events, want %d", name, len(got), len(wantOne))
			}
		}
	})
}

// TestWatcherThatComesBackMissesNothing: it goes on after what it was told last, at another
// node.
func TestWatcherThatComesBackMissesNothing(t *testing.T) {
	with(t, 3, Config{}, func(t *testing.T, m *team) {
		var want, got []string
		next := uint64(1)
		for i := range 30 {
			n := m.nodes[m.names[i%3]]
			w := watch(t, n, &api.WatchRequest{Span: everything, From: next})
			want = append(want, write(t, m.leader(), 20)...)
			w.cancel()
			if err := <-w.ended; err == nil {
				t.Error("it ended well, though it was given up")
			}
			w.whole(t, n, next)
			got, next = append(got, w.events()...), w.told()+1
		}
		time.Sleep(time.Second)
		got = append(got, watch(t, m.leader(), &api.WatchRequest{Span: everything, From: next}).events()...)
		if !slices.Equal(got, want) {
			t.Errorf("it saw %d events, want %d", len(got), len(want))
		}
	})
}

func TestWatcherIsToldHowFarItIs(t *testing.T) {
	with(t, 1, Config{}, func(t *testing.T, m *team) {
		n := m.leader()
		write(t, n, 5)
		w := watch(t, n, &api.WatchRequest{Span: one("quiet")}) // from now on
		if all := w.responses(); len(all) != 1 || all[0].Revision != 5 {
			t.Fatalf("at once: %v", all)
		}
		write(t, n, 5)
		time.Sleep(progressEvery)
		synctest.Wait()
		if all := w.responses(); len(all) != 2 || all[1].Revision != 10 || len(all[1].Events) > 0 {
			t.Fatalf("after a while: %v", all)
		}
		time.Sleep(4 * progressEvery)
		synctest.Wait()
		if all := w.responses(); len(all) != 6 {
			t.Errorf("after a second more there are %d", len(all))
		}
		w.whole(t, n, 6)

		ahead := watch(t, n, &api.WatchRequest{Span: everything, From: 13})
		write(t, n, 1)
		time.Sleep(2 * progressEvery)
		if ahead.told() != 12 || len(ahead.events()) > 0 {
			t.Errorf("of the future: %v", ahead.responses())
		}
		want := write(t, n, 3)[1:]
		if got := ahead.events(); !slices.Equal(got, want) {
			t.Errorf("when it has come: %v, want %v", got, want)
		}
		ahead.whole(t, n, 13)
	})
}

func TestWatcherThatComesTooLateIsToldSo(t *testing.T) {
	with(t, 1, Config{}, func(t *testing.T, m *team) {
		n := m.leader()
		write(t, n, 10)
		_, err := n.Compact(t.Context(), &api.CompactRequest{Revision: 6})
		must(t, err)
		for from, compacted := range map[uint64]uint64{1: 6, 6: 6, 7: 0} {
			w := watch(t, n, &api.WatchRequest{Span: everything, From: from})
			all := w.responses()
			if last := all[len(all)-1]; last.Compacted != compacted {
				t.Errorf("from %d: %v", from, last)
			}
			if compacted != 0 {
				if err := <-w.ended; err != nil {
					t.Errorf("from %d: it ended with %v", from, err)
				}
			}
		}
		// Who watches a quiet key is as far as the others.
		w := watch(t, n, &api.WatchRequest{Span: one("quiet"), From: 7})
		_, err = n.Compact(t.Context(), &api.CompactRequest{Revision: 10})
		must(t, err)
		time.Sleep(2 * progressEvery)
		if len(w.ended) > 0 || w.told() != 10 {
			t.Errorf("it is told %v", w.responses())
		}
	})
}

// TestSlowWatcherHoldsUpNobody, and misses nothing while it is not compacted.
func TestSlowWatcherHoldsUpNobody(t *testing.T) {
	for _, late := range []bool{false, true} {
		with(t, 1, Config{}, func(t *testing.T, m *team) {
			n := m.leader()
			slow := watch(t, n, &api.WatchRequest{Span: everything, From: 1})
			quick := watch(t, n, &api.WatchRequest{Span: everything, From: 1})
			slow.mu.Lock()
			slow.slow = make(chan struct{})
			slow.mu.Unlock()
			want := write(t, n, 1000)
			if got := quick.events(); !slices.Equal(got, want) {
				t.Errorf("beside it another saw %d events, want %d", len(got), len(want))
			}
			if got := slow.events(); len(got) > 0 {
				t.Errorf("it saw %d events", len(got))
			}
			if late {
				_, err := n.Compact(t.Context(), &api.CompactRequest{Revision: 900})
				must(t, err)
			}
			close(slow.slow)
			time.Sleep(time.Second)
			slow.whole(t, n, 1)
			got := slow.events()
			if !late && !slices.Equal(got, want) {
				t.Errorf("when it reads again it sees %d events, want %d", len(got), len(want))
			}
			if all := slow.responses(); late && (all[len(all)-1].Compacted != 900 || !slices.Equal(got, want[:len(got)])) {
				t.Errorf("when it reads again it is told %v", all[len(all)-1])
			}
		})
	}
}

func TestWatcherEndsWithTheNode(t *testing.T) {
	with(t, 1, Config{}, func(t *testing.T, m *team) {
		w := watch(t, m.leader(), &api.WatchRequest{Span: everything})
		must(t, m.leader().Close())
		if err := <-w.ended; api.Understand(err).Reason != api.Reason_REASON_SHUTDOWN {
			t.Errorf("it ended with %v", err)
		}
		delete(m.nodes, "n1")
	})
}

func TestBugsOfWatchingShow(t *testing.T) {
	for _, name := range []string{"", bug.WatchDrops, bug.WatchEarlyProgress} {
		with(t, 1, Config{Bug: name}, func(t *testing.T, m *team) {
			n := m.leader()
			want := write(t, n, 100)
			w := watch(t, n, &api.WatchRequest{Span: everything, From: 1})
			time.Sleep(time.Second)
			if dropped := !slices.Equal(w.events(), want); dropped != (name == bug.WatchDrops) {
				t.Errorf("bug %q: it saw %d events of %d", name, len(w.events()), len(want))
			}
			early, told := false, uint64(0)
			for _, r := range w.responses() {
				for _, e := range r.Events {
					early = early || e.Kv.Mod <= told
				}
				told = r.Revision
			}
			if early != (name == bug.WatchEarlyProgress) {
				t.Errorf("bug %q: it is told too early: %v", name, early)
			}
		})
	}
}
