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
)

// A script is a server that does what the test says. Its calls are noted as
// "put 1/2" and so on, of session and number.
type script struct {
	api.UnimplementedRaftKVServer
	server *grpc.Server
	listen *bufconn.Listener

	put  func(context.Context, *api.PutRequest) (*api.PutResponse, error)
	get  func(context.Context) (*api.GetResponse, error)
	open func(context.Context) (*api.OpenSessionResponse, error)

	mu    sync.Mutex
	calls []string
}

// serve starts a script that answers everything well.
func serve() *script {
	s := &script{
		server: grpc.NewServer(), listen: bufconn.Listen(1 << 16),
		put: func(context.Context, *api.PutRequest) (*api.PutResponse, error) {
			return &api.PutResponse{Revision: 7}, nil
		},
		get: func(context.Context) (*api.GetResponse, error) {
			return &api.GetResponse{Found: true, Value: []byte("v")}, nil
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

func (s *script) Put(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
	s.note("put %d/%d", in.Write.GetSession(), in.Write.GetNumber())
	return s.put(ctx, in)
}

func (s *script) Get(ctx context.Context, _ *api.GetRequest) (*api.GetResponse, error) {
	s.note("get")
	return s.get(ctx)
}

func (s *script) OpenSession(ctx context.Context, _ *api.OpenSessionRequest) (*api.OpenSessionResponse, error) {
	s.note("open")
	return s.open(ctx)
}

// connect returns a client of the scripts, which are n1 and so on. A nil one is a
// node on which nobody listens.
func connect(t *testing.T, scripts ...*script) *Client {
	t.Helper()
	var nodes []Node
	byName := map[string]*script{}
	for i, s := range scripts {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, Node{Name: name, Addr: name})
		byName[name] = s
	}
	c, err := NewWith(nodes, func(n Node) (api.Conn, error) {
		return api.Dial(n.Addr, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if s := byName[n.Name]; s != nil {
				return s.listen.DialContext(ctx)
			}
			return nil, errors.New("connection refused")
		}))
	})
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

func refuse(r api.Reason, leader string) func(context.Context, *api.PutRequest) (*api.PutResponse, error) {
	return func(context.Context, *api.PutRequest) (*api.PutResponse, error) {
		return nil, &api.Error{Definite: true, Reason: r, Leader: leader, Err: errors.New("refused")}
	}
}

func silent(ctx context.Context, _ *api.PutRequest) (*api.PutResponse, error) {
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
		s[0].put = silent
		c := connect(t, s[0])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "indeterminate")
		wantCalls(t, s[0], "open", "put 1/1")
	})
}

func TestWriteWhoseServerDiesIsIndeterminate(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].put = func(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
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
		s[0].put = refuse(api.Reason_REASON_NO_LEADER, "")
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
			s[0].put = func(context.Context, *api.PutRequest) (*api.PutResponse, error) {
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
		well := s[0].put
		attempt := 0
		s[0].put = func(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
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
		wantCalls(t, s[0], "open", "put 1/1", "put 1/1", "put 1/1", "put 1/2")
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
			s[0].put = func(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
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
		well := s[0].put
		s[0].put = func(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
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
		wantCalls(t, s[0], "open", "put 1/1", "put 1/2", "open", "put 2/1")
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
		wantCalls(t, s[1], "open", "put 1/1", "put 1/2")
	})
}

func TestSeekingClientLeavesASilentNode(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].put = silent
		c := connect(t, s[0], s[1])
		defer c.Close()
		_, err := put(t, c)
		wants(t, err, "ok")
		wantCalls(t, s[0], "open", "put 1/1")
		wantCalls(t, s[1], "put 1/1")
	})
}

// TestLeaderThatTheClientDoesNotReachIsAskedThroughAnother: n1 leads and is cut off
// from the client alone, which would else be sent back to it again and again.
func TestLeaderThatTheClientDoesNotReachIsAskedThroughAnother(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].put = silent
		well := s[1].put
		s[1].put = func(ctx context.Context, in *api.PutRequest) (*api.PutResponse, error) {
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
		wantCalls(t, s[0], "open", "put 1/1")
		wantCalls(t, s[1], "put 1/1", "put 1/2", "put 1/3")
	})
}

func TestReadIsNeverInDoubt(t *testing.T) {
	in(t, func(t *testing.T, s []*script) {
		s[0].get = func(ctx context.Context) (*api.GetResponse, error) { <-ctx.Done(); return nil, ctx.Err() }
		c := connect(t, s[0])
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "k")
		wants(t, err, "definite")
	})
}
