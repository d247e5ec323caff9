package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// beating is the time between two signs of life of a stream that has nothing to tell.
	beating = 15 * time.Second
	// stuck is how long somebody may not read before the stream ends.
	stuck = 30 * time.Second
)

// A stream is a response of server-sent events.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// stream begins one, or answers that there are too many, or that somebody asks for its
// head alone. The caller ends it.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) (st *stream, end func(), ok bool) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return nil, nil, false
	}
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		s.refuse(w, r, http.StatusServiceUnavailable, "too many wait for changes already")
		return nil, nil, false
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	return &stream{w, http.NewResponseController(w)}, func() { s.streams.Add(-1) }, true
}

// send sends an event. The data are one line, as JSON is here.
func (s *stream) send(event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("event: %s\ndata: %s\n\n", event, data))
}

// beat sends a sign of life, which browsers ignore.
func (s *stream) beat() error { return s.write(": still here\n\n") }

func (s *stream) write(text string) error {
	// What has no deadlines, as in tests, does without.
	if err := s.c.SetWriteDeadline(time.Now().Add(stuck)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.c.Flush()
}

// A Change says that runs have come, gone or changed.
type Change struct {
	Version int64 `json:"version"`
	Total   int   `json:"total"`
}

// apiEvents tells of changes of the store, as they are seen, until whoever asks has gone.
// The first event says how it is now.
func (s *Server) apiEvents(w http.ResponseWriter, r *http.Request) {
	st, end, ok := s.stream(w, r)
	if !ok {
		return
	}
	defer end()
	look := time.NewTicker(looking)
	defer look.Stop()
	var told uint64
	last := time.Now()
	for {
		v, err := s.view(looking / 2)
		if err != nil {
			if s.ctx.Err() == nil {
				s.Log.Warn("the store cannot be looked at", "error", err)
			}
			return
		}
		switch {
		case v.Version != told:
			told, last = v.Version, time.Now()
			err = st.send("runs", Change{int64(v.Version), len(v.Entries)})
		case time.Since(last) >= beating:
			last = time.Now()
			err = st.beat()
		}
		if err != nil { // nobody listens any more
			return
		}
		select {
		case <-look.C:
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
}
