package campaign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

const (
	// connectLimit bounds the first connection, all addresses together.
	connectLimit = 5 * time.Second
	// requestLimit bounds each request, also of a server that is there and says nothing.
	requestLimit = 5 * time.Second
	reconnect    = 200 * time.Millisecond
)

// An Access is how a server is reached: one of ours, or those of the user.
type Access struct {
	// Server is one within this process; the others are not looked at.
	Server *Server
	// URL is nats://HOST:PORT, tls://HOST:PORT, or several of one cluster with commas between;
	// a token, or a user and a password, may be in it.
	URL string
	// Creds is a file of credentials, as nsc writes it; Token is another way to be let in.
	Creds string
	Token string
	// CA is a file with the certificates by which that of the server is judged; none: those of
	// the machine. Cert and Key are files of ours, for a server that wants one.
	CA        string
	Cert, Key string
}

// options are those of the connection. What is wrong with files shows here, and not as an
// address that nobody answers at.
func (a Access) options() ([]nats.Option, string, error) {
	if a.Server != nil {
		options := []nats.Option{nats.InProcessServer(a.Server.server)}
		if a.Server.token != "" {
			options = append(options, nats.Token(a.Server.token))
		}
		return options, nats.DefaultURL, nil
	}
	if a.URL == "" {
		return nil, "", problem(ErrOptions, "the address of a server is missing (nats://HOST:PORT)")
	}
	if (a.Cert == "") != (a.Key == "") {
		return nil, "", problem(ErrOptions, "a certificate of ours and its key go together: one of them is missing")
	}
	for _, file := range []string{a.Creds, a.CA, a.Cert, a.Key} {
		if file == "" {
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, "", problem(ErrOptions, "%v", err)
		}
		f.Close()
	}
	var options []nats.Option
	if a.Creds != "" {
		text, err := os.ReadFile(a.Creds)
		if err == nil {
			_, err = nkeys.ParseDecoratedUserNKey(text)
		}
		if err != nil {
			return nil, "", problem(ErrOptions, "%s: %v (is it a file of credentials, as nsc writes it?)", a.Creds, err)
		}
		options = append(options, nats.UserCredentials(a.Creds))
	}
	if a.Token != "" {
		options = append(options, nats.Token(a.Token))
	}
	if a.CA != "" {
		options = append(options, nats.RootCAs(a.CA))
	}
	if a.Cert != "" {
		options = append(options, nats.ClientCert(a.Cert, a.Key))
	}
	return options, a.URL, nil
}

// A link is a connection that comes back by itself, for ever.
type link struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	log    *slog.Logger
	shown  string  // the address
	server *Server // nil: not in this process

	mu     sync.Mutex
	alive  context.Context // ends when the connection is lost; a new one comes with the next
	lost   context.CancelFunc
	back   chan struct{} // closed when there is a connection
	denied error         // the last thing that was not permitted
	closed bool
}

// connect connects, or says within a few seconds why not.
func connect(a Access, log *slog.Logger) (*link, error) {
	options, address, err := a.options()
	if err != nil {
		return nil, err
	}
	l := &link{log: log, shown: shown(address), server: a.Server, back: make(chan struct{})}
	if a.Server != nil {
		l.shown = "the server of this process"
	}
	options = append(options,
		nats.Name("hacheck"),
		nats.Timeout(connectLimit/time.Duration(1+strings.Count(address, ","))),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnect), nats.ReconnectJitter(reconnect, reconnect),
		nats.ReconnectBufSize(-1),   // what cannot be sent is an error, and not sent some day
		nats.IgnoreAuthErrorAbort(), // a server that is set up anew may let us in later
		nats.PingInterval(5*time.Second), nats.MaxPingsOutstanding(2),
		nats.ConnectHandler(func(*nats.Conn) { l.up() }),
		nats.ReconnectHandler(func(*nats.Conn) {
			l.log.Info("campaign: the server is back", "server", l.shown)
			l.up()
		}),
		nats.DisconnectErrHandler(func(c *nats.Conn, err error) {
			if !c.IsClosed() && err != nil {
				l.log.Warn("campaign: the server is away", "server", l.shown, "why", err)
			}
			l.down()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.log.Debug("campaign: " + err.Error())
			if errors.Is(err, nats.ErrPermissionViolation) || strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
				l.mu.Lock()
				l.denied = err
				l.mu.Unlock()
			}
		}),
	)
	l.conn, err = nats.Connect(address, options...)
	if err != nil {
		return nil, ofConnecting(l.shown, err)
	}
	l.up() // the handler may not have been called yet
	l.js, err = jetstream.New(l.conn, jetstream.WithDefaultTimeout(requestLimit), jetstream.WithPublishAsyncTimeout(requestLimit))
	if err != nil {
		l.close()
		return nil, fmt.Errorf("%s: %w", l.shown, err)
	}
	return l, nil
}

func (l *link) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil || l.closed {
		return
	}
	l.alive, l.lost = context.WithCancel(context.Background())
	close(l.back)
}

func (l *link) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost == nil {
		return
	}
	l.lost()
	l.lost, l.back = nil, make(chan struct{})
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.conn.Close()
	l.down()
}

// session waits for a connection, and returns a context that ends with it, or with ctx.
// Call end when it is no longer needed. The error is that of ctx.
func (l *link) session(ctx context.Context) (_ context.Context, end func(), err error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		l.mu.Lock()
		alive, up, back := l.alive, l.lost != nil, l.back
		l.mu.Unlock()
		if up {
			during, cancel := context.WithCancel(ctx)
			stop := context.AfterFunc(alive, cancel)
			return during, func() { stop(); cancel() }, nil
		}
		select {
		case <-back:
		case <-ctx.Done():
		}
	}
}

// try calls f, again and again, until it succeeds, says that it is pointless (see final), or
// ctx ends. While the server is away it waits without end. A server that is there, and fails for
// as long as patience, or says that it is full, has had its time, unless patience is endless. The context of f ends with the
// connection: who waits for an answer that is lost with it, waits for nothing.
func (l *link) try(ctx context.Context, patience time.Duration, f func(context.Context) error) error {
	pause := 50 * time.Millisecond
	var since time.Time // when it began to fail; zero: it does not
	warned := false
	for {
		during, end, err := l.session(ctx)
		if err != nil {
			return err
		}
		limited, cancel := context.WithTimeout(during, 2*requestLimit)
		err = f(limited)
		cancel()
		away := during.Err() != nil
		end()
		var done final
		switch {
		case err == nil:
			return nil
		case errors.As(err, &done):
			return done.error
		case ctx.Err() != nil:
			return ctx.Err()
		case away || l.conn.Status() != nats.CONNECTED: // the next session begins when it is back
			pause, since = 50*time.Millisecond, time.Time{}
		default:
			if since.IsZero() {
				since = time.Now()
			}
			if patience != endless && (full(err) || l.server != nil && l.server.Err() != nil || time.Since(since) >= patience) {
				return l.of(err)
			}
			if !warned && time.Since(since) > time.Second {
				warned = true
				l.log.Warn("campaign: the server does not do what it is asked; trying on", "server", l.shown, "why", l.of(err))
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// gone is a server that was there, and is no more.
func (l *link) gone() error {
	return problem(ErrUnreachable, "%s: it has gone away (is the campaign over, or the server to be started again?)", l.shown)
}

// endless is the patience of who has something that must not be lost.
const endless time.Duration = 0

// final is an answer that stays the same however often one asks.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// of says what an error of a request is, where there is more to say than it does.
func (l *link) of(err error) error {
	if err == nil {
		return nil
	}
	l.mu.Lock()
	denied := l.denied
	l.mu.Unlock()
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrAsyncPublishTimeout)
	switch {
	case l.server != nil && l.server.Err() != nil:
		return l.server.Err()
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return problem(ErrJetStream, "%s: %v (switch it on for the server and the account)", l.shown, err)
	case replicas(err):
		return problem(ErrReplicas, "%s: %v (ask for fewer replicas, or give the cluster more servers)", l.shown, err)
	case full(err):
		return problem(ErrFull, "%s: %v (make room, or let it have more)", l.shown, err)
	case denied != nil && silent:
		return problem(ErrPermission, "%s: %v", l.shown, denied)
	case silent:
		return fmt.Errorf("%s: it is there, but does not answer in time: %w (is its disk full?)", l.shown, err)
	}
	return fmt.Errorf("%s: %w", l.shown, err)
}
