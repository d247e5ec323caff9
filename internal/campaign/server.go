package campaign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// LockFile is what a server has locked in its directory as long as it runs.
const LockFile = "hacheck.lock"

// startLimit is how long a server may take to start: it reads back all that it keeps.
const startLimit = 30 * time.Second

// ServerOptions say what is served.
type ServerOptions struct {
	// Dir is where everything is kept. It is made if it is not there.
	Dir string
	// Listen is the address for workers on other machines, "HOST:PORT", with port 0 for one that
	// is free; empty: it serves this process alone.
	Listen string
	// Token is what everybody has to know who comes from outside. There is no server that
	// listens without one.
	Token string
	// MaxStore is how many bytes it keeps at most; 0: three quarters of what is free.
	MaxStore int64
	// Log is told what the server does; nil: nobody.
	Log *slog.Logger

	// slack leaves the writing to the disk to the kernel, for the benchmark that tells what it
	// costs to wait for it.
	slack bool
}

// A Server is a JetStream server within this process.
//
// It has written to the disk what it has said yes to. That is not what a server of NATS does
// by default, which is to sync every two minutes, and to lose what it has acknowledged when
// the machine loses its power (Jepsen, "NATS 2.12.1", 2025).
type Server struct {
	server *server.Server
	lock   *os.File
	token  string
	log    *natsLog
	close  sync.Once
}

// Serve starts a server, and returns when it answers. An error wraps ErrTaken, ErrLocked,
// ErrWritable, ErrFull or ErrOptions where it is one of these.
func Serve(o ServerOptions) (*Server, error) {
	opts := &server.Options{
		JetStream:              true,
		StoreDir:               o.Dir,
		SyncAlways:             !o.slack,
		JetStreamMaxStore:      o.MaxStore,
		NoSigs:                 true,
		NoLog:                  true, // ours is set below
		DisableJetStreamBanner: true,
		DontListen:             o.Listen == "",
	}
	if o.Dir == "" {
		return nil, problem(ErrOptions, "a server needs a directory")
	}
	if o.Listen != "" {
		host, port, err := net.SplitHostPort(o.Listen)
		if err != nil {
			return nil, problem(ErrOptions, "listen on %q: %v (it is HOST:PORT)", o.Listen, err)
		}
		n, err := strconv.Atoi(port)
		if err != nil || n < 0 || n > 65535 {
			return nil, problem(ErrOptions, "listen on %q: its port is not one (0 to 65535)", o.Listen)
		}
		if o.Token == "" {
			return nil, problem(ErrOptions, "listen on %s: a server that listens needs a token", o.Listen)
		}
		if n == 0 {
			n = server.RANDOM_PORT
		}
		opts.Host, opts.Port, opts.Authorization = host, n, o.Token
	}
	held, err := hold(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{lock: held, token: opts.Authorization, log: newNatsLog(o.Log)}
	if err := s.start(opts); err != nil {
		s.Close()
		return nil, fmt.Errorf("serve %s: %w", o.Dir, err)
	}
	return s, nil
}

func (s *Server) start(opts *server.Options) error {
	if !opts.DontListen {
		// The server itself says so only to its log.
		if err := free(net.JoinHostPort(opts.Host, strconv.Itoa(max(opts.Port, 0)))); err != nil {
			return err
		}
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return problem(ErrOptions, "%v", err)
	}
	ns.SetLoggerV2(s.log, false, false, false)
	s.server = ns
	ready := make(chan bool, 1)
	go func() { // it ends when the server is up, or at the limit
		ns.Start()
		ready <- ns.ReadyForConnections(startLimit)
	}()
	select {
	case up := <-ready:
		if !up {
			return fmt.Errorf("it does not answer after %v", startLimit)
		}
	case <-s.log.fatal:
	case <-time.After(startLimit):
		return fmt.Errorf("it does not answer after %v", startLimit)
	}
	if err := s.Err(); err != nil {
		return err
	}
	if !ns.JetStreamEnabled() {
		return errors.New("JetStream has not started, and does not say why")
	}
	return nil
}

// free says whether an address can be listened on.
func free(address string) error {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return problem(ErrTaken, "listen on %s (choose another port, or end who has it)", address)
	case err != nil:
		return problem(ErrOptions, "listen on %s: %v", address, err)
	}
	return l.Close()
}

// hold makes the directory and takes its lock: two servers in one store are its end.
func hold(dir string) (_ *os.File, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, ofDisk(dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, LockFile), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, ofDisk(dir, err)
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	mine, err := lock(f)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if !mine {
		who, _ := os.ReadFile(f.Name())
		return nil, problem(ErrLocked, "serve %s: process %s (end it, or choose another directory)", dir, strings.TrimSpace(string(who)))
	}
	// Whether there is room shows in writing; a block of it is what the smallest message
	// takes.
	text := make([]byte, 4096)
	for i := range text {
		text[i] = ' '
	}
	copy(text, strconv.Itoa(os.Getpid())+"\n")
	if _, err := f.WriteAt(text, 0); err != nil {
		return nil, ofDisk(dir, err)
	}
	if err := f.Sync(); err != nil {
		return nil, ofDisk(dir, err)
	}
	return f, nil
}

func ofDisk(dir string, err error) error {
	if full(err) {
		return problem(ErrFull, "serve %s: %v", dir, err)
	}
	return problem(ErrWritable, "serve %s: %v", dir, err)
}

// URL is how others reach it, without the token; empty: it does not listen.
func (s *Server) URL() string {
	if s.token == "" {
		return ""
	}
	return s.server.ClientURL()
}

// Failed is closed when the server has stopped keeping what it is given, as Err then tells.
// It does not recover: start it again when there is room.
func (s *Server) Failed() <-chan struct{} { return s.log.fatal }

// Err says why the server has failed; nil: it has not. It wraps ErrFull, or ErrBroken.
func (s *Server) Err() error {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.err
}

// Close ends the server. What it keeps stays where it is.
func (s *Server) Close() {
	s.close.Do(func() {
		if s.server != nil {
			s.server.Shutdown()
			s.server.WaitForShutdown()
		}
		s.lock.Close() // which unlocks it
	})
}

// A natsLog is told by the server what goes on. What makes it useless it tells its log
// alone, so that this has to be found there.
type natsLog struct {
	log   *slog.Logger
	fatal chan struct{} // closed with err
	mu    sync.Mutex
	err   error
}

func newNatsLog(log *slog.Logger) *natsLog {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &natsLog{log: log, fatal: make(chan struct{})}
}

func (l *natsLog) fail(kind error, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = problem(kind, "%s", text)
		close(l.fatal)
	}
}

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }

func (l *natsLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Warn("nats: " + text)
	if strings.Contains(text, "disabling JetStream") {
		l.fail(ErrBroken, text)
	}
}

func (l *natsLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats: " + text)
	switch {
	case strings.Contains(text, "no space left"), strings.Contains(text, "out of space"), strings.Contains(text, "quota exceeded"):
		l.fail(ErrFull, text)
	case strings.Contains(text, "will be DISABLED"), strings.Contains(text, "Critical write error"), strings.Contains(text, "failed to store a msg"):
		l.fail(ErrBroken, text)
	}
}

func (l *natsLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("nats: " + text)
	switch {
	case strings.Contains(text, "address already in use"):
		l.fail(ErrTaken, text)
	case strings.Contains(text, "no space left"):
		l.fail(ErrFull, text)
	case strings.Contains(text, "not writable"), strings.Contains(text, "not a directory"), strings.Contains(text, "could not create storage"):
		l.fail(ErrWritable, text)
	default:
		l.fail(ErrBroken, text)
	}
}
