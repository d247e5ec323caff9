package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hacheck/hacheck/internal/campaign"
	"github.com/hacheck/hacheck/internal/gate"
)

// led returns a leading of a gate of one cell, with a queue of its own, which performs as it is told.
func led(t *testing.T, dir string, perform func(context.Context, *campaign.Campaign) error) *leading {
	t.Helper()
	server, err := campaign.Serve(campaign.ServerOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	c, err := campaign.Open(t.Context(), campaign.Access{Server: server}, campaign.Options{Name: gateDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	plan := gate.Plan{Cells: []gate.Cell{{Name: "a", Runs: 2, Weight: 1}}}
	return &leading{
		gate: gate.New(plan, gate.Options{Draw: draw}), campaign: c, server: server, tell: t.Logf,
		perform: func(ctx context.Context) error { return perform(ctx, c) },
	}
}

// Whatever its own worker comes to, whoever leads hears of it, and has what was done before.
func TestALeadHearsOfItsWorker(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("no room for its runs")
	once := func(ctx context.Context, c *campaign.Campaign) error {
		ctx, end := context.WithCancelCause(ctx)
		err := c.Work(ctx, campaign.WorkOptions{Name: "w", Jobs: 1, Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
			defer end(broken)
			return gate.Outcome{Job: j, Class: gate.Valid, Attempts: []gate.Attempt{{Class: gate.Valid}}}, "", nil
		}})
		return errors.Join(broken, err)
	}
	l := led(t, dir, once)
	u, stop := urged(t.Context(), 0)
	defer stop()
	if early, err := l.run(u); early || !errors.Is(err, broken) || len(l.report().Cells[0].Outcomes) != 1 {
		t.Fatalf("early %t, %v: %d outcomes", early, err, len(l.report().Cells[0].Outcomes))
	}
	l.campaign.Close()
	l.server.Close()
	// It cannot even begin: what was done before is known all the same.
	l = led(t, dir, func(context.Context, *campaign.Campaign) error { return broken })
	if early, err := l.run(u); early || !errors.Is(err, broken) {
		t.Fatalf("early %t, %v", early, err)
	}
	l.campaign.Close()
	l.server.Close()
	// Somebody else has sent it home.
	l = led(t, dir, func(context.Context, *campaign.Campaign) error { return nil })
	if early, err := l.run(u); early || !errors.Is(err, errElsewhere) {
		t.Errorf("early %t, %v", early, err)
	}
}

// Nobody works for a campaign that another version leads; before it is begun nobody knows which does.
func TestWorkersAreOfTheSameVersion(t *testing.T) {
	l := led(t, t.TempDir(), nil)
	if err := sameVersion(t.Context(), l.campaign); err != nil {
		t.Errorf("before it is begun: %v", err)
	}
	text, err := assignment{Plan: "matrix: []", Hacheck: "v0.0.1"}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.campaign.Begin(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := sameVersion(t.Context(), l.campaign); err == nil || !strings.Contains(err.Error(), "began with hacheck v0.0.1") {
		t.Errorf("of another version: %v", err)
	}
}

// Who was told to outlive the terminal does.
func TestAHangupThatIsIgnoredStaysSo(t *testing.T) {
	signal.Ignore(syscall.SIGHUP)
	defer signal.Reset(syscall.SIGHUP)
	if all := endings(); !slices.Equal(all, []os.Signal{syscall.SIGINT, syscall.SIGTERM}) {
		t.Errorf("heeds %v", all)
	}
}
