package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// A script is a server that does what the test says. Its calls are noted as
// "txn 1/2" and so on, of session and number.
type script struct {
	api.UnimplementedRaftKVServer
	server *grpc.Server
	listen *bufconn.Listener

	txn   func(context.Context, *api.TxnRequest) (*api.TxnResponse, error)
	get   func(context.Context, *api.RangeRequest) (*api.RangeResponse, error)
	open  func(context.Context) (*api.OpenSessionResponse, error)
	watch func(*api.WatchRequest, grpc.ServerStreamingServer[api.WatchResponse]) error
	grant func(context.Context) (*api.GrantLeaseResponse, error)
	keep  func(context.Context) error

	mu    sync.Mutex
	calls []string
}

// serve starts a script that answers everything well.
func serve() *script {
	s := &script{
		server: grpc.NewServer(), listen: bufconn.Listen(1 << 16),
		txn: func(_ context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			out := &api.TxnResponse{Succeeded: true, Revision: 7}
			for range in.GetSuccess() {
				out.Results = append(out.Results, &api.Result{})
			}
			return out, nil
		},
		get: func(context.Context, *api.RangeRequest) (*api.RangeResponse, error) {
			return &api.RangeResponse{Revision: 7, Kvs: []*api.KeyValue{{Key: "k", Value: []byte("v"), Mod: 5}}, Count: 1}, nil
		},
		open: func(context.Context) (*api.OpenSessionResponse, error) {
			return &api.OpenSessionResponse{Session: 1}, nil
		},
	}
	api.RegisterRaftKVServer(s.server, s)
	go s.server.Serve(s.listen)
	return s
}

func (s *script) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *script) noted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *script) Txn(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
	s.note("txn %d/%d", in.GetWrite().GetSession(), in.GetWrite().GetNumber())
	return s.txn(ctx, in)
}

func (s *script) Range(ctx context.Context, in *api.RangeRequest) (*api.RangeResponse, error) {
	s.note("range")
	return s.get(ctx, in)
}

func (s *script) GrantLease(ctx context.Context, in *api.GrantLeaseRequest) (*api.GrantLeaseResponse, error) {
	s.note("grant %d/%d", in.GetWrite().GetSession(), in.GetWrite().GetNumber())
	return s.grant(ctx)
}

func (s *script) KeepAlive(ctx context.Context, in *api.KeepAliveRequest) (*api.KeepAliveResponse, error) {
	s.note("keep %d/%d", in.GetWrite().GetSession(), in.GetWrite().GetNumber())
	return &api.KeepAliveResponse{}, s.keep(ctx)
}

func (s *script) RevokeLease(_ context.Context, in *api.RevokeLeaseRequest) (*api.RevokeLeaseResponse, error) {
	s.note("revoke %d/%d %d", in.GetWrite().GetSession(), in.GetWrite().GetNumber(), in.GetLease())
	return &api.RevokeLeaseResponse{}, nil
}

func (s *script) Watch(in *api.WatchRequest, out grpc.ServerStreamingServer[api.WatchResponse]) error {
	s.note("watch %d", in.GetFrom())
	return s.watch(in, out)
}

func (s *script) OpenSession(ctx context.Context, _ *api.OpenSessionRequest) (*api.OpenSessionResponse, error) {
	s.note("open")
	return s.open(ctx)
}

// connect returns a client of the scripts, which are n1 and so on. A nil one is a
// node on which nobody listens.
func connect(t *testing.T, scripts ...*script) *Client {
	t.Helper()
	return connectWith(t, "", scripts...)
}

// connectWith is connect with a bug.
func connectWith(t *testing.T, mistake string, scripts ...*script) *Client {
	t.Helper()
	var nodes []Node
	byName := map[string]*script{}
	for i, s := range scripts {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, Node{Name: name, Addr: name})
		byName[name] = s
	}
	c, err := NewWith(nodes, Options{Bug: mistake, Dial: func(n Node) (api.Conn, error) {
		return api.Dial(n.Addr, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if s := byName[n.Name]; s != nil {
				return s.listen.DialContext(ctx)
			}
			return nil, errors.New("connection refused")
		}))
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// in runs f in a bubble with the scripts, and ends everything.
func in(t *testing.T, f func(t *testing.T, s []*script)) {
	synctest.Test(t, func(t *testing.T) {
		s := []*script{serve(), serve()}
		f(t, s)
		for _, s := range s {
			s.server.Stop()
			s.listen.Close()
		}
	})
}

func put(t *testing.T, c *Client) (Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	r, err := c.Put(ctx, "k", []byte("v"))
	if took := time.Since(begun); took > 1100*time.Millisecond {
		t.Errorf("it took %v of 1s", took)
	}
	return r, err
}

func refuse(r api.Reason, leader string) func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) {
	return func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) {
		return nil, &api.Error{Definite: true, Reason: r, Leader: leader, Err: errors.New("refused")}
	}
}

func silent(ctx context.Context, _ *api.TxnRequest) (*api.TxnResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// wants checks an error of a write: "ok", "definite" or "indeterminate".
func wants(t *testing.T, err error, want string) {
	t.Helper()
	got := "indeterminate"
	switch {
	case err == nil:
		got = "ok"
	case IsDefinite(err):
		got = "definite"
	}
	if got != want {
		t.Errorf("the write is %s (%v), want %s", got, err, want)
	}
}

func wantCalls(t *testing.T, s *script, want ...string) {
	t.Helper()
	if got := s.noted(); !slices.Equal(got, want) {
		t.Errorf("the server saw %q, want %q", got, want)
	}
}

func TestWriteThatWasNeverSentIsDefinite(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		for _, c := range []*Client{connect(t, nil), connect(t, nil, nil, nil)} {
			_, err := put(t, c)
			wants(t, err, "definite")
			c.Close()
		}
		// With a session open, too.
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "ok")
		s[0].server.Stop()
		synctest.Wait()
		_, err = put(t, c)
		wants(t, err, "definite")
	})
}

func TestWriteWithoutAnswerIsIndeterminate(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].txn = silent
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "indeterminate")
		wantCalls(t, s[0], "open", "txn 1/1")
	})
}

func TestWriteWhoseServerDiesIsIndeterminate(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			go s[0].server.Stop()
			return silent(ctx, in)
		}
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "indeterminate") // though the attempts that follow are not even sent
	})
}

func TestRefusedWriteIsDefiniteAndNotTriedInAHotLoop(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].txn = refuse(api.Reason_REASON_NO_LEADER, "")
		c := connect(t, s[0])
		defer c.Close()
		begun := time.Now()
		_, err := put(t, c)
		wants(t, err, "definite")
		if n := len(s[0].noted()); n < 3 || n > 20 {
			t.Errorf("%d calls in 1s", n)
		}
		if took := time.Since(begun); took < 900*time.Millisecond {
			t.Errorf("it returned after %v, to be asked again at once", took)
		}
	})
}

func TestErrorWithoutDetailsIsIndeterminate(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		for _, code := range []codes.Code{codes.Unavailable, codes.FailedPrecondition, codes.Aborted, codes.Internal} {
			s[0].txn = func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) {
				return nil, status.Error(code, "says nothing")
			}
			c := connect(t, s[0])
			_, err := put(t, c)
			wants(t, err, "indeterminate")
			c.Close()
		}
	})
}

func TestRepeatedWriteKeepsItsNumber(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		well := s[0].txn
		attempt := 0
		s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			if attempt++; attempt < 3 {
				return nil, api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "deposed")
			}
			return well(ctx, in)
		}
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "ok")
		_, err = put(t, c)
		wants(t, err, "ok")
		wantCalls(t, s[0], "open", "txn 1/1", "txn 1/1", "txn 1/1", "txn 1/2")
	})
}

// TestLastWordDoesNotUndoDoubt: an attempt that is refused says nothing of the one
// before it.
func TestLastWordDoesNotUndoDoubt(t *testing.T) {
	for _, reason := range []api.Reason{
		api.Reason_REASON_NO_LEADER, api.Reason_REASON_SESSION_EXPIRED, api.Reason_REASON_SUPERSEDED,
	} {
		in(t, func(t *testing.T, s []*script) {
			first := true
			s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
				if first {
					first = false
					return nil, api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "deposed")
				}
				return refuse(reason, "")(ctx, in)
			}
			c := connect(t, s[0])
			defer c.Close()
			_, err := put(t, c)
			wants(t, err, "indeterminate")
			if calls := s[0].noted(); slices.Contains(calls[1:], "open") {
				t.Errorf("%v: it was tried in a new session: %q", reason, calls)
			}
		})
	}
}

func TestSessionThatCannotBeOpenedMakesNoDoubt(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].open = func(ctx context.Context) (*api.OpenSessionResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "definite")
		wantCalls(t, s[0], "open")
	})
}

func TestExpiredSessionIsReplaced(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		sessions := uint64(0)
		s[0].open = func(context.Context) (*api.OpenSessionResponse, error) {
			sessions++
			return &api.OpenSessionResponse{Session: sessions}, nil
		}
		well := s[0].txn
		s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			if in.Write.Session == 1 && in.Write.Number == 2 {
				return refuse(api.Reason_REASON_SESSION_EXPIRED, "")(ctx, in)
			}
			return well(ctx, in)
		}
		c := connect(t, s[0])
		defer c.Close()
		for range 2 {
			_, err := put(t, c)
			wants(t, err, "ok")
		}
		wantCalls(t, s[0], "open", "txn 1/1", "txn 1/2", "open", "txn 2/1")
	})
}

func TestSeekingClientFollowsAndRemembersTheLeader(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].open = func(context.Context) (*api.OpenSessionResponse, error) {
			return nil, &api.Error{Definite: true, Reason: api.Reason_REASON_NOT_LEADER, Leader: "n2", Err: errors.New("not me")}
		}
		c := connect(t, s[0], s[1])
		defer c.Close()
		begun := time.Now()
		for range 2 {
			r, err := put(t, c)
			wants(t, err, "ok")
			if r.Node != "n2" || r.Revision != 7 {
				t.Errorf("got %+v", r)
			}
		}
		if took := time.Since(begun); took > firstPause {
			t.Errorf("to be told where to go took %v", took)
		}
		wantCalls(t, s[0], "open")
		wantCalls(t, s[1], "open", "txn 1/1", "txn 1/2")
	})
}

func TestSeekingClientLeavesASilentNode(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].txn = silent
		c := connect(t, s[0], s[1])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "ok")
		wantCalls(t, s[0], "open", "txn 1/1")
		wantCalls(t, s[1], "txn 1/1")
	})
}

// TestLeaderThatTheClientDoesNotReachIsAskedThroughAnother: n1 leads and is cut off
// from the client alone, which would else be sent back to it again and again.
func TestLeaderThatTheClientDoesNotReachIsAskedThroughAnother(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].txn = silent
		well := s[1].txn
		s[1].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			if in.Route.GetRedirect() {
				return refuse(api.Reason_REASON_NOT_LEADER, "n1")(ctx, in)
			}
			return well(ctx, in)
		}
		c := connect(t, s[0], s[1])
		defer c.Close()
		for range 3 {
			_, err := put(t, c)
			wants(t, err, "ok")
		}
		wantCalls(t, s[0], "open", "txn 1/1")
		wantCalls(t, s[1], "txn 1/1", "txn 1/2", "txn 1/3")
	})
}

func TestReadIsNeverInDoubt(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].get = func(ctx context.Context, _ *api.RangeRequest) (*api.RangeResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		c := connect(t, s[0])
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "k")
		wants(t, err, "definite")
	})
}

func TestBugsOfTheClientAreWhatTheyAreCalled(t *testing.T) {
	for name, want := range map[string]string{"": "indeterminate", bug.TimeoutAsFail: "definite", bug.TimeoutAsOK: "ok"} {
		in(t, func(t *testing.T, s []*script) {
			s[0].txn = silent
			c := connectWith(t, name, s[0])
			defer c.Close()
			_, err := put(t, c)
			wants(t, err, want)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = c.Delete(ctx, "k") // which looks at what it is told
			wants(t, err, want)
		})
	}
	in(t, func(t *testing.T, s []*script) {
		well := s[0].txn
		attempt := 0
		s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			if attempt++; attempt == 1 {
				return nil, api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "deposed")
			}
			return well(ctx, in)
		}
		c := connectWith(t, bug.RetryRenumbered, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "ok")
		wantCalls(t, s[0], "open", "txn 1/1", "txn 1/2")
	})
}

// TestRefusalByTheLogHoldsForAllAttempts: they had one number.
func TestRefusalByTheLogHoldsForAllAttempts(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		first := map[string]bool{}
		refused := func(what string) error {
			if !first[what] {
				first[what] = true
				return api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "deposed")
			}
			return api.Definite(api.Reason_REASON_LEASE_EXPIRED, "no such lease")
		}
		s[0].txn = func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) { return nil, refused("txn") }
		s[0].keep = func(context.Context) error { return refused("keep") }
		c := connect(t, s[0])
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, txn := c.Txn(ctx, Txn{Then: []Op{OpPutLeased("k", nil, 3)}})
		_, keep := c.KeepAlive(ctx, 3)
		wants(t, txn, "definite")
		wants(t, keep, "definite")
		for _, err := range []error{txn, keep} {
			if _, ok := errors.AsType[*Expired](err); !ok {
				t.Errorf("%v does not say that the lease has expired", err)
			}
		}
	})
}

// TestKeepAliveIsNumberedAndWaitsForNoWrite: one that comes late does nothing then; and a
// lease must not end because a write takes long.
func TestKeepAliveIsNumberedAndWaitsForNoWrite(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		sessions := uint64(0)
		s[0].open = func(context.Context) (*api.OpenSessionResponse, error) {
			sessions++
			return &api.OpenSessionResponse{Session: sessions}, nil
		}
		s[0].txn = func(ctx context.Context, _ *api.TxnRequest) (*api.TxnResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		deposed := true
		s[0].keep = func(context.Context) error {
			if deposed {
				deposed = false
				return api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "deposed")
			}
			return nil
		}
		c := connect(t, s[0])
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var putting sync.WaitGroup
		putting.Go(func() { _, _ = c.Put(ctx, "k", nil) })
		synctest.Wait()
		for range 2 {
			if _, err := c.KeepAlive(ctx, 3); err != nil {
				t.Error(err)
			}
		}
		cancel()
		putting.Wait()
		wantCalls(t, s[0], "open", "txn 1/1", "open", "keep 2/1", "keep 2/1", "keep 2/2")
	})
}

func TestSerializableReadsTakeTurnsAndSessionsForgetNothing(t *testing.T) {
	for name, want := range map[string][]uint64{"": {0, 8, 8, 9}, bug.SessionForgets: {0, 0, 0, 0}} {
		in(t, func(t *testing.T, s []*script) {
			var atLeast []uint64
			at := map[*script]uint64{s[0]: 8, s[1]: 6}
			for _, node := range s[:2] {
				node.get = func(_ context.Context, in *api.RangeRequest) (*api.RangeResponse, error) {
					if !in.GetSerializable() {
						t.Error("it is not serializable")
					}
					atLeast = append(atLeast, in.GetAtLeast())
					return &api.RangeResponse{Revision: at[node]}, nil
				}
			}
			s[0].txn = func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) {
				return &api.TxnResponse{Succeeded: true, Revision: 9}, nil
			}
			c := connectWith(t, name, s[0], s[1])
			defer c.Close()
			session := c.Session()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			read := func() {
				if _, err := session.Range(ctx, Key("k"), RangeOptions{}); err != nil {
					t.Error(err)
				}
			}
			read()
			read()
			read()
			if _, err := session.Txn(ctx, Txn{}); err != nil {
				t.Error(err)
			}
			read()
			if !slices.Equal(atLeast, want) || session.Seen() != 9 {
				t.Errorf("bug %q: at least %d, want %d; it has seen %d", name, atLeast, want, session.Seen())
			}
			wantCalls(t, s[1], "range", "range")
		})
	}
}

// TestLockWhoseLeaseMayNotBeThereIsNotTaken, and one whose key may be there may be: then
// nobody keeps its lease.
func TestLockWhoseLeaseMayNotBeThereIsNotTaken(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		c := connect(t, s[0])
		defer c.Close()
		acquire := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.TryAcquire(ctx, "a", "me", time.Second)
			synctest.Wait() // until the server is done with it
			return err
		}
		s[0].grant = func(ctx context.Context) (*api.GrantLeaseResponse, error) { <-ctx.Done(); return nil, ctx.Err() }
		wants(t, acquire(), "definite")
		s[0].grant = func(context.Context) (*api.GrantLeaseResponse, error) {
			return &api.GrantLeaseResponse{Lease: 3, TtlMs: 1000}, nil
		}
		s[0].txn = silent
		wants(t, acquire(), "indeterminate")
		wantCalls(t, s[0], "open", "grant 1/1", "grant 1/2", "txn 1/3")
		// Of one that was certainly not taken the lease is not needed.
		s[0].txn = refuse(api.Reason_REASON_INVALID, "")
		wants(t, acquire(), "definite")
		if calls := s[0].noted(); calls[len(calls)-1] != "revoke 1/6 3" {
			t.Errorf("the server saw %q", calls)
		}
	})
}

// TestLockThatWasCertainlyNotGivenBackIsKept: its lease, too.
func TestLockThatWasCertainlyNotGivenBackIsKept(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].grant = func(context.Context) (*api.GrantLeaseResponse, error) {
			return &api.GrantLeaseResponse{Lease: 3, TtlMs: 1000}, nil
		}
		c := connect(t, s[0])
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		lock, err := c.TryAcquire(ctx, "a", "me", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		s[0].txn = refuse(api.Reason_REASON_INVALID, "")
		_, err = lock.Release(ctx)
		wants(t, err, "definite")
		wantCalls(t, s[0], "open", "grant 1/1", "txn 1/2", "txn 1/3")
		s[0].txn = func(context.Context, *api.TxnRequest) (*api.TxnResponse, error) { return &api.TxnResponse{}, nil }
		_, err = lock.Release(ctx) // that it was lost needs no lease
		if _, lost := errors.AsType[*Lost](err); !lost {
			t.Errorf("got %v", err)
		}
		wantCalls(t, s[0], "open", "grant 1/1", "txn 1/2", "txn 1/3", "txn 1/4", "revoke 1/5 3")
	})
}

// TestCloseEndsWhatIsUnderWay though nobody has said for how long that may take.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		for _, c := range []*Client{connect(t, nil), connect(t, nil, nil)} {
			w := c.Watch(context.Background(), Key("k"), 1)
			ended := make(chan error, 3)
			go func() { _, err := c.Get(context.Background(), "k"); ended <- err }()
			go func() { _, err := c.Put(context.Background(), "k", nil); ended <- err }()
			go func() { _, err := w.Next(context.Background()); ended <- err }()
			time.Sleep(10 * time.Second)
			c.Close()
			begun := time.Now()
			for range 3 {
				wants(t, <-ended, "definite")
			}
			if took := time.Since(begun); took > 2*longestPause {
				t.Errorf("it took %v", took)
			}
			w.Close()
		}
	})
}

// TestLastMomentMakesNoDoubt: an attempt that has no time to be refused would.
func TestLastMomentMakesNoDoubt(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		no := refuse(api.Reason_REASON_NO_LEADER, "")
		s[0].txn = func(ctx context.Context, in *api.TxnRequest) (*api.TxnResponse, error) {
			time.Sleep(lastAttempt * 9 / 10)
			return no(ctx, in)
		}
		c := connect(t, s[0])
		defer c.Close()
		for range 30 {
			_, err := put(t, c)
			wants(t, err, "definite")
		}
	})
}
