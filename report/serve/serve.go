// Package serve shows the runs of a store in a browser: a table of them, two side by side,
// one while it goes on, and the files of each.
//
// It believes nobody. What runs have left behind is text, or a page without an origin;
// what is outside of the store is not there; who is no page of its own deletes nothing.
package serve

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// Options say what is served, and to whom.
type Options struct {
	// Store is the root of the store, which has to be there.
	Store string
	// Listen is the address that is listened on. Requests have to name its host, or this
	// machine as it calls itself: so a page of elsewhere whose name is made to lead here
	// (DNS rebinding) is not answered. If it is every address, each is a name.
	Listen string
	// Names are other names that requests may come to, without a port.
	Names []string
	// ReadOnly refuses to delete.
	ReadOnly bool
	// Live returns what judges runs of a workload while they go on, if somebody looks on;
	// nil where nothing does. The function may be nil.
	Live func(workload string) checker.Live
	// Commands are what to type about the run in a directory, the most wanted first. The
	// function may be nil.
	Commands func(dir string) []report.Next
	// Log is told of what went wrong; nil: nobody is.
	Log *slog.Logger
}

const (
	// stale is how old what is told of the store may be before it is looked at again, and
	// tolerable before somebody who asks waits for that.
	stale     = 3 * time.Second
	tolerable = 30 * time.Second
	// looking is the time between two looks for somebody who waits for changes.
	looking = 2 * time.Second
	// maxStreams bounds how many may wait for changes at the same time.
	maxStreams = 256
)

// A Server is an [http.Handler] of a store. Whoever makes it closes it: streams have no
// end of their own, so that a shutdown of an [http.Server] waits for Close.
type Server struct {
	Options
	index *store.Index
	mux   *http.ServeMux
	stale time.Duration

	ctx     context.Context // the time between New and Close
	end     context.CancelFunc
	working sync.WaitGroup // goroutines that follow runs, or look at the store; each ends with ctx

	looked  atomic.Int64 // when, in nanoseconds since 1970
	current atomic.Pointer[view]
	lookout sync.Mutex // held while the store is looked at

	streams atomic.Int64
	pasts   pasts
	judging chan struct{} // holds a token of who judges a run: one at a time

	mu       sync.Mutex // guards what follows
	followed map[string]*following
	looking  bool // somebody looks at the store, for whom nobody waits
}

// New returns a server of the store. It starts nothing; what it starts for requests, it
// ends.
func New(o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Commands == nil {
		o.Commands = func(string) []report.Next { return nil }
	}
	if o.Live == nil {
		o.Live = func(string) checker.Live { return nil }
	}
	index, err := store.OpenIndex(o.Store, o.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Options: o, index: index, mux: http.NewServeMux(), stale: stale,
		judging: make(chan struct{}, 1), followed: map[string]*following{},
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	for pattern, handle := range map[string]http.HandlerFunc{
		"GET /{$}":                   s.tablePage,
		"GET /compare":               s.comparePage,
		"GET /live/{path...}":        s.livePage,
		"GET /run/{path...}":         s.file,
		"GET /assets/{name}":         s.asset,
		"GET /api/runs":              s.apiRuns,
		"GET /api/run/{path...}":     s.apiRun,
		"GET /api/compare":           s.apiCompare,
		"GET /api/events":            s.apiEvents,
		"GET /api/live/{path...}":    s.apiLive,
		"GET /api/zip/{path...}":     s.apiZip,
		"DELETE /api/runs/{path...}": s.apiDelete,
	} {
		s.mux.HandleFunc(pattern, handle)
	}
	return s, nil
}

// Close ends all streams, waits for what they are made of, and keeps the index. Nothing is
// served any more.
func (s *Server) Close() error {
	s.mu.Lock() // so that nothing begins any more
	s.end()
	s.mu.Unlock()
	s.working.Wait()
	return s.index.Close()
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	switch {
	case s.ctx.Err() != nil:
		s.refuse(w, r, http.StatusServiceUnavailable, "the server has ended")
	case !s.isName(r):
		s.refuse(w, r, http.StatusMisdirectedRequest, "this server does not go by the name "+r.Host)
	case !isPlain(r.URL):
		s.refuse(w, r, http.StatusBadRequest, "the path is not one of a file")
	case isForeign(r):
		s.refuse(w, r, http.StatusForbidden, "a page of elsewhere asks")
	default:
		s.mux.ServeHTTP(w, r)
	}
}

// known returns what the table is made of, if it was looked at no longer ago than old; else
// nil.
func (s *Server) known(old time.Duration) *view {
	v := s.current.Load()
	if v == nil || time.Since(time.Unix(0, s.looked.Load())) >= old {
		return nil
	}
	return v
}

// soon returns what the table is made of without waiting for a look, if the last one is not
// too long ago. Who shows it hears of what has changed; see apiEvents.
func (s *Server) soon() (*view, error) {
	v := s.known(min(s.stale*(tolerable/stale), tolerable))
	if v == nil {
		return s.view(s.stale)
	}
	if s.known(s.stale) == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.looking && s.ctx.Err() == nil {
			s.looking = true
			s.working.Go(func() {
				_, err := s.view(s.stale)
				if err != nil && s.ctx.Err() == nil {
					s.Log.Warn("the store cannot be looked at", "error", err)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				s.looking = false
			})
		}
	}
	return v, nil
}

// view returns what the table is made of, looked at no longer ago than old.
func (s *Server) view(old time.Duration) (*view, error) {
	if v := s.known(old); v != nil {
		return v, nil
	}
	s.lookout.Lock()
	defer s.lookout.Unlock()
	if v := s.known(old); v != nil { // somebody else has looked
		return v, nil
	}
	l, err := s.index.Refresh(s.ctx)
	if err != nil {
		return nil, err
	}
	s.looked.Store(time.Now().UnixNano())
	return s.show(l), nil
}

// show makes l what is shown. The caller holds lookout.
func (s *Server) show(l *store.Listing) *view {
	v := s.current.Load()
	if v == nil || v.Version != l.Version {
		v = newView(l)
		s.current.Store(v)
	}
	return v
}

// run returns the run of the path in r, or answers that there is none.
func (s *Server) run(w http.ResponseWriter, r *http.Request, path string) (*store.Entry, bool) {
	v, err := s.view(s.stale)
	if err != nil {
		s.fail(w, r, err)
		return nil, false
	}
	e, ok := v.Entry(path)
	if !ok { // it may have begun since
		if v, err = s.view(0); err != nil {
			s.fail(w, r, err)
			return nil, false
		}
		if e, ok = v.Entry(path); !ok {
			s.refuse(w, r, http.StatusNotFound, "there is no such run")
		}
	}
	return e, ok
}

// dir is where a run is.
func (s *Server) dir(path string) string { return filepath.Join(s.Store, filepath.FromSlash(path)) }

// fail answers that something went wrong here, or that what was asked for is not there.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.refuse(w, r, http.StatusNotFound, "there is nothing of that name")
	case s.ctx.Err() != nil || errors.Is(err, os.ErrClosed):
		s.refuse(w, r, http.StatusServiceUnavailable, "the server has ended")
	default:
		s.Log.Error("a request failed", "path", r.URL.Path, "error", err)
		s.refuse(w, r, http.StatusInternalServerError, err.Error())
	}
}
