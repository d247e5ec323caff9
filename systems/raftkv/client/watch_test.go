package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

type watching = grpc.ServerStreamingServer[api.WatchResponse]

// changes is a response of one event of k at each of the revisions, with none a notice.
func changes(upTo uint64, at ...uint64) *api.WatchResponse {
	r := &api.WatchResponse{Revision: upTo, Node: "?"}
	for _, revision := range at {
		r.Events = append(r.Events, &api.Event{Kv: &api.KeyValue{Key: "k", Value: []byte("v"), Mod: revision}})
	}
	return r
}

// tells returns a node that sends these, and then is silent, or breaks the stream.
func tells(breaks bool, all ...*api.WatchResponse) func(*api.WatchRequest, watching) error {
	return func(_ *api.WatchRequest, out watching) error {
		for _, r := range all {
			if err := out.Send(r); err != nil {
				return err
			}
		}
		if breaks {
			return errors.New("broken")
		}
		<-out.Context().Done()
		return out.Context().Err()
	}
}

// heard is what a watcher tells: the revisions of n events.
func heard(t *testing.T, w *Watcher, n int) []uint64 {
	t.Helper()
	var all []uint64
	for len(all) < n {
		b, err := next(t, w, 5*time.Second)
		if err != nil {
			t.Fatalf("after %d: %v", all, err)
		}
		for _, e := range b.Events {
			all = append(all, e.KV.Mod)
		}
	}
	return all
}

func next(t *testing.T, w *Watcher, within time.Duration) (Batch, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return w.Next(ctx)
}

func TestWatcherGoesOnWhereItWas(t *testing.T) {
	for _, c := range []struct {
		bug     string
		from    uint64
		first   []*api.WatchResponse
		resumed string
	}{
		{"", 2, []*api.WatchResponse{changes(3, 2, 3)}, "watch 4"},
		{"", 0, []*api.WatchResponse{changes(3)}, "watch 4"},
		{"", 0, []*api.WatchResponse{changes(0)}, "watch 1"}, // nothing ever happened
		{"", 0, nil, "watch 0"},                              // and nothing was told
		{"", 2, []*api.WatchResponse{changes(3, 3), changes(9)}, "watch 10"},
		{"", 12, []*api.WatchResponse{changes(3)}, "watch 12"}, // the node was behind
		{"", 2, []*api.WatchResponse{changes(9, 9), changes(3)}, "watch 10"},
		{bug.WatchGap, 2, []*api.WatchResponse{changes(3, 2, 3)}, "watch 0"},
		{bug.WatchRepeats, 2, []*api.WatchResponse{changes(3, 2, 3), changes(9)}, "watch 3"},
	} {
		for _, breaks := range []bool{true, false} {
			in(t, func(t *testing.T, s []*script) {
				s[0].watch, s[1].watch = tells(breaks, c.first...), tells(false, changes(20, 20))
				client := connectWith(t, c.bug, s[0], s[1])
				defer client.Close()
				w := client.Watch(t.Context(), Key("k"), c.from)
				defer w.Close()
				told := uint64(0)
				for range c.first {
					b, err := next(t, w, time.Second)
					if err != nil || b.Resumed != 0 || b.Node != "n1" || b.Revision < told {
						t.Errorf("got %+v, %v after %d", b, err, told)
					}
					told = b.Revision
				}
				begun := time.Now()
				b, err := next(t, w, 5*time.Second)
				if err != nil || b.Node != "n2" || len(b.Events) != 1 || b.Revision != 20 {
					t.Errorf("got %+v, %v", b, err)
				}
				if b.Resumed != min(len(c.first), 1) {
					t.Errorf("resumed %d times", b.Resumed)
				}
				if took := time.Since(begun); took > silence+firstPause {
					t.Errorf("to go on took %v", took)
				}
				wantCalls(t, s[0], fmt.Sprintf("watch %d", c.from))
				wantCalls(t, s[1], c.resumed)
			})
		}
	}
}

// TestWatcherLosesNothingByTimeThatEnds: neither the stream nor what has arrived.
func TestWatcherLosesNothingByTimeThatEnds(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].watch = func(_ *api.WatchRequest, out watching) error {
			for i := uint64(1); ; i++ {
				select {
				case <-time.After(50 * time.Millisecond):
				case <-out.Context().Done():
					return out.Context().Err()
				}
				if err := out.Send(changes(i, i)); err != nil {
					return err
				}
			}
		}
		c := connect(t, s[0])
		defer c.Close()
		w := c.Watch(t.Context(), Key("k"), 1)
		defer w.Close()
		var all []uint64
		for len(all) < 40 {
			b, err := next(t, w, 3*time.Millisecond)
			if err != nil && !(IsDefinite(err) && errors.Is(err, context.DeadlineExceeded)) {
				t.Fatal(err)
			}
			for _, e := range b.Events {
				all = append(all, e.KV.Mod)
			}
		}
		for i, revision := range all {
			if revision != uint64(i+1) {
				t.Fatalf("got %d", all)
			}
		}
		time.Sleep(time.Minute) // whoever does not ask is not silent
		if got := heard(t, w, 2); got[0] != 41 || got[1] != 42 {
			t.Errorf("then %d", got)
		}
		wantCalls(t, s[0], "watch 1")
	})
}

// TestSilenceIsNoticedWithHoweverLittleTime: it counts from what was heard last, not from
// when it was asked.
func TestSilenceIsNoticedWithHoweverLittleTime(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].watch, s[1].watch = tells(false, changes(1, 1)), tells(false, changes(2, 2))
		c := connect(t, s[0], s[1])
		defer c.Close()
		w := c.Watch(t.Context(), Key("k"), 1)
		defer w.Close()
		begun := time.Now()
		var all []uint64
		for len(all) < 2 && time.Since(begun) < 10*time.Second {
			b, err := next(t, w, 100*time.Millisecond)
			if err == nil {
				all = append(all, b.Events[0].KV.Mod)
			}
		}
		if took := time.Since(begun); !slices.Equal(all, []uint64{1, 2}) || took > time.Second {
			t.Errorf("got %d in %v", all, took)
		}
	})
}

func TestCompactedIsAnAnswerAndTheLast(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].watch = tells(false, changes(3, 3), &api.WatchResponse{Compacted: 9})
		c := connect(t, s[0], s[1])
		defer c.Close()
		w := c.Watch(t.Context(), Key("k"), 1)
		defer w.Close()
		heard(t, w, 1)
		if b, err := next(t, w, time.Second); err != nil || b.Compacted != 9 || len(b.Events) != 0 {
			t.Errorf("got %+v, %v", b, err)
		}
		for range 2 {
			_, err := next(t, w, time.Second)
			if e, ok := errors.AsType[*Error](err); !ok || !e.Definite || e.Reason != api.Reason_REASON_COMPACTED || e.Node != "n1" {
				t.Errorf("then %v", err)
			}
		}
		wantCalls(t, s[1])
	})
}

func TestSenselessWatchIsOver(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].watch = func(*api.WatchRequest, watching) error {
			return api.Definite(api.Reason_REASON_INVALID, "no such span")
		}
		c := connect(t, s[0], s[1])
		defer c.Close()
		w := c.Watch(t.Context(), Span{}, 1)
		defer w.Close()
		_, err := next(t, w, time.Second)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != api.Reason_REASON_INVALID {
			t.Errorf("got %v", err)
		}
		wantCalls(t, s[1])
	})
}

// TestWatcherEndsWithItsContext, and says why nothing came before that.
func TestWatcherEndsWithItsContext(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		c := connect(t, nil)
		defer c.Close()
		life, end := context.WithCancelCause(t.Context())
		w := c.Watch(life, Key("k"), 1)
		defer w.Close()
		_, err := next(t, w, 3*time.Second)
		if !IsDefinite(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		enough := errors.New("enough")
		end(enough)
		synctest.Wait()
		if _, err = next(t, w, time.Second); !errors.Is(err, enough) {
			t.Errorf("after its end: %v", err)
		}
	})
}

// TestWatcherEndsWithItsClient, also while it holds what nobody has asked for.
func TestWatcherEndsWithItsClient(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].watch = tells(false, changes(1, 1), changes(2, 2))
		c := connect(t, s[0])
		w := c.Watch(t.Context(), Key("k"), 1)
		defer w.Close()
		heard(t, w, 1)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		ended := make(chan struct{})
		go func() { w.receiving.Wait(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("it still receives")
		}
		var err error
		for err == nil {
			_, err = next(t, w, time.Second)
		}
		if !IsDefinite(err) || !errors.Is(err, errClosed) {
			t.Errorf("got %v", err)
		}
	})
}
