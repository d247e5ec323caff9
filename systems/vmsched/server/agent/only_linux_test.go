package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A word is what was logged, and says when there is some.
type word struct {
	mu   sync.Mutex
	text bytes.Buffer
	said chan struct{}
}

func (w *word) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text.Len() == 0 {
		close(w.said)
	}
	return w.text.Write(b)
}

func TestOneAgentOfAHost(t *testing.T) {
	host := fmt.Sprintf("only-%d", os.Getpid())
	first, err := only(t.Context(), host, slog.New(slog.DiscardHandler))
	must(t, err)
	other, err := only(t.Context(), host+"-other", slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, other.Close())

	var log word
	log.said = make(chan struct{})
	type got struct {
		lock io.Closer
		err  error
	}
	second := make(chan got)
	waits := func(ctx context.Context) {
		lock, err := only(ctx, host, slog.New(slog.NewTextHandler(&log, nil)))
		second <- got{lock, err}
	}
	ctx, cancel := context.WithCancel(t.Context())
	go waits(ctx)
	<-log.said
	cancel()
	if g := <-second; !errors.Is(g.err, context.Canceled) {
		t.Fatalf("who is to end waits on: %v", g.err)
	}

	log.said = make(chan struct{})
	log.text.Reset()
	go waits(t.Context())
	<-log.said
	select {
	case g := <-second:
		t.Fatalf("there are two: %v", g.err)
	default:
	}
	must(t, first.Close())
	g := <-second
	must(t, g.err)
	must(t, g.lock.Close())
	if text := log.text.String(); strings.Count(text, "another agent") != 1 {
		t.Errorf("logged: %q", text)
	}
}

// TestAgentWaitsForItsPredecessor: it neither registers nor looks for guests before that is
// gone.
func TestAgentWaitsForItsPredecessor(t *testing.T) {
	host := fmt.Sprintf("waits-%d", os.Getpid())
	first, err := only(t.Context(), host, slog.New(slog.DiscardHandler))
	must(t, err)
	defer first.Close()
	log := word{said: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Config{Host: host, Dir: "/nowhere"}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	<-log.said
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	// A host whose name is too long for one could have two.
	if err := Run(t.Context(), Config{Host: strings.Repeat("h", 200)}, nil, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("it ended with %v", err)
	}
}
