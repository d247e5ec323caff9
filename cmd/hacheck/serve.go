package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
	"github.com/hacheck/hacheck/report/serve"
)

// serving is what serve is asked for.
type serving struct {
	store, listen string
	readOnly      bool
}

// defaultListen is for those on this machine alone: whoever reaches it reads all runs, and
// may delete them.
const defaultListen = "127.0.0.1:7600"

// leave is how long those who still load something have when it ends.
const leave = time.Second

func (s *serving) flags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "store", Usage: "the directory of the runs: `DIR`", Value: text(&s.store, "a directory")},
		&cli.GenericFlag{Name: "listen", Usage: "answer at `HOST:PORT`; port 0 takes any that is free", Value: text(&s.listen, "an address such as "+defaultListen)},
		&cli.BoolFlag{Name: "read-only", Usage: "delete nothing", Destination: &s.readOnly},
	}
}

// serve shows the runs of a store in a browser, until it is interrupted.
func (p *program) serve(c *cli.Context, s *serving) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	switch stat, err := os.Stat(s.store); {
	case err != nil:
		return usage("serve: --store %s: there is no such directory; runs make it, as in: %s --workload register --nemesis partition", quote(s.store), p.invocation())
	case !stat.IsDir():
		return usage("serve: --store %s: it is no directory", quote(s.store))
	}
	host, _, err := net.SplitHostPort(s.listen)
	if err != nil {
		return usage("serve: --listen %q: want HOST:PORT, such as %s", s.listen, defaultListen)
	}
	ctx, stop := signal.NotifyContext(c.Context, endings()...)
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listen)
	if err != nil {
		return usage("serve: --listen %s: %v; another port may be free: --listen %s", s.listen, err, net.JoinHostPort(host, "0"))
	}
	defer listener.Close()
	names := []string{host} // it may stand for another address than it says
	if !serve.Loopback(listener.Addr().String()) {
		if self, err := os.Hostname(); err == nil {
			names = append(names, self)
		}
		may := "read all runs, and delete them; see --read-only"
		if s.readOnly {
			may = "read all runs"
		}
		fmt.Fprintf(p.stderr, "hacheck: whoever reaches %s can %s\n", listener.Addr(), may)
	}
	site, err := serve.New(serve.Options{
		Store: s.store, ReadOnly: s.readOnly, Listen: listener.Addr().String(), Names: names,
		Live: liveOf, Commands: p.commandsOf,
		Log: slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: site, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	fmt.Fprintf(p.stdout, "the runs in %s: http://%s/ (Ctrl-C ends it)\n", s.store, reached(listener.Addr()))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err = <-ended:
		return errors.Join(err, site.Close())
	case <-ctx.Done():
	}
	// Those who follow something live would follow for ever: they are let go first.
	err = site.Close()
	patience, cancel := context.WithTimeout(context.Background(), leave)
	defer cancel()
	if server.Shutdown(patience) != nil {
		err = errors.Join(err, server.Close())
	}
	if why := <-ended; !errors.Is(why, http.ErrServerClosed) {
		err = errors.Join(err, why)
	}
	return err
}

// reached is where somebody on this machine reaches what listens at an address: if that is
// every one, by the name that each machine has for itself.
func reached(listening net.Addr) string {
	if tcp, ok := listening.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return listening.String()
}

// liveOf is what judges a run of a workload while it goes on; nil of one that is not known.
func liveOf(name string) checker.Live {
	w := findWorkload(name)
	if w == nil || w.new == nil {
		return nil
	}
	return w.judgeLive()
}

// commandsOf returns what may be typed about the run in a directory.
func (p *program) commandsOf(dir string) []report.Next {
	r := &judged{run: &store.Run{Dir: dir}}
	info, err := r.run.Info()
	if err != nil {
		return nil
	}
	r.info = info
	_ = r.result.Verdict.UnmarshalText([]byte(info.Verdict)) // unknown, if there is none
	return p.commands(r)
}
