package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	store "github.com/hacheck/hacheck/systems/raftkv/client"
	kvserver "github.com/hacheck/hacheck/systems/raftkv/server"
	"github.com/hacheck/hacheck/systems/vmsched/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/api"
	"github.com/hacheck/hacheck/systems/vmsched/server/scheduler"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen returns a listener on a port of its own.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// A liar answers as it is told to: with these errors in turn, then well.
type liar struct {
	api.UnimplementedControlPlaneServer
	name   string
	errors []error
	asked  int
}

func (l *liar) answer() (*api.VMResponse, error) {
	l.asked++
	if l.asked <= len(l.errors) {
		return nil, l.errors[l.asked-1]
	}
	return &api.VMResponse{Vm: &api.VM{Id: "vm1"}, Node: l.name, Revision: 7}, nil
}

func (l *liar) CreateVM(context.Context, *api.CreateVMRequest) (*api.VMResponse, error) {
	return l.answer()
}
func (l *liar) GetVM(context.Context, *api.VMRequest) (*api.VMResponse, error)  { return l.answer() }
func (l *liar) StopVM(context.Context, *api.VMRequest) (*api.VMResponse, error) { return l.answer() }

// serve serves a liar, and says where.
func serve(t *testing.T, l *liar) client.Node {
	t.Helper()
	on := listen(t)
	s := grpc.NewServer()
	api.RegisterControlPlaneServer(s, l)
	var served errgroup.Group
	served.Go(func() error { return s.Serve(on) })
	t.Cleanup(func() {
		s.Stop()
		if err := served.Wait(); err != nil {
			t.Error(err)
		}
	})
	return client.Node{Name: l.name, Addr: on.Addr().String()}
}

// TestAsksTheNext says when another node is asked, and what is said of it at last.
func TestAsksTheNext(t *testing.T) {
	down := api.Definite(api.Reason_REASON_UNAVAILABLE, "no store")
	doubt := api.Indeterminate(api.Reason_REASON_UNAVAILABLE, "no answer")
	conflict := api.Definite(api.Reason_REASON_CONFLICT, "no")
	missing := api.Definite(api.Reason_REASON_NOT_FOUND, "none")
	odd := fmt.Errorf("unclassified")
	calls := map[string]func(*client.Client) (client.VM, client.Stamp, error){
		"create": func(c *client.Client) (client.VM, client.Stamp, error) {
			return c.CreateVM(context.Background(), "t", 1, "", nil)
		},
		"get":  func(c *client.Client) (client.VM, client.Stamp, error) { return c.GetVM(context.Background(), "vm1") },
		"stop": func(c *client.Client) (client.VM, client.Stamp, error) { return c.StopVM(context.Background(), "vm1") },
	}
	for _, x := range []struct {
		call    string
		a, b    []error
		outcome string // ok, definite or doubt
		asked   int    // how many nodes
	}{
		{"stop", nil, nil, "ok", 1},
		{"stop", []error{down}, nil, "ok", 2},
		{"stop", []error{doubt}, nil, "doubt", 1},
		{"stop", []error{odd}, nil, "doubt", 1},
		{"stop", []error{down}, []error{doubt}, "doubt", 2},
		{"stop", []error{down}, []error{down}, "definite", 2},
		{"stop", []error{conflict}, nil, "definite", 1},
		{"stop", []error{missing}, nil, "definite", 1},
		{"create", []error{doubt}, nil, "ok", 2},
		{"create", []error{doubt}, []error{down}, "doubt", 2},
		{"create", []error{doubt}, []error{conflict}, "doubt", 2},
		{"create", []error{down}, []error{down}, "definite", 2},
		{"get", []error{doubt}, nil, "ok", 2},
		{"get", []error{odd}, []error{doubt}, "definite", 2},
		{"get", []error{missing}, nil, "definite", 1},
	} {
		a, b := &liar{name: "a", errors: x.a}, &liar{name: "b", errors: x.b}
		c, err := client.New([]client.Node{serve(t, a), serve(t, b)})
		must(t, err)
		vm, stamp, err := calls[x.call](c)
		outcome := "ok"
		switch {
		case client.IsDefinite(err):
			outcome = "definite"
		case err != nil:
			outcome = "doubt"
		}
		if outcome != x.outcome || a.asked+b.asked != x.asked {
			t.Errorf("%+v: %s (%v), %d asked", x, outcome, err, a.asked+b.asked)
		}
		if want := map[int]string{1: "a", 2: "b"}[x.asked]; stamp.Node != want {
			t.Errorf("%+v: %s was asked last", x, stamp.Node)
		}
		if err == nil && (vm.ID != "vm1" || stamp.Revision != 7) {
			t.Errorf("%+v: %v, %v", x, vm, stamp)
		}
		if got := client.IsNotFound(err); got != (len(x.a) > 0 && errors.Is(x.a[0], missing)) {
			t.Errorf("%+v: not found: %v", x, got)
		}
		must(t, c.Close())
	}
}

// TestNobodyThere: what was never sent was not done, and who is bound asks nobody else.
func TestNobodyThere(t *testing.T) {
	gone := listen(t)
	must(t, gone.Close())
	nowhere := client.Node{Name: "x", Addr: gone.Addr().String()}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	bound, err := client.New([]client.Node{nowhere})
	must(t, err)
	defer bound.Close()
	if _, stamp, err := bound.StopVM(ctx, "vm1"); !client.IsDefinite(err) || stamp.Node != "x" {
		t.Errorf("%v, %v", stamp, err)
	}
	free, err := client.New([]client.Node{nowhere, serve(t, &liar{name: "a"})})
	must(t, err)
	defer free.Close()
	for range 2 {
		if _, stamp, err := free.StopVM(t.Context(), "vm1"); err != nil || stamp.Node != "a" {
			t.Errorf("%v, %v", stamp, err)
		}
	}
	if _, err := client.New(nil); err == nil {
		t.Error("a client of nobody")
	}
}

// TestOfAScheduler asks a real one, over the network, with a store of one node.
func TestOfAScheduler(t *testing.T) {
	var free []string
	func() {
		for range 3 {
			l := listen(t)
			defer l.Close() // when all are drawn, or one may be drawn twice
			free = append(free, l.Addr().String())
		}
	}()
	peer, here := kvserver.Peer{ID: "n1", RaftAddr: free[0], ClientAddr: free[1]}, free[2]
	ctx, end := context.WithCancel(t.Context())
	var running errgroup.Group
	running.Go(func() error {
		return kvserver.Run(ctx, kvserver.Config{
			ID: "n1", Empty: kvserver.EmptyFounds, RaftAddr: peer.RaftAddr, ClientAddr: peer.ClientAddr,
			Dir: t.TempDir(), Peers: []kvserver.Peer{peer},
		})
	})
	running.Go(func() error {
		return scheduler.Run(ctx, scheduler.Config{
			Node: "n1", Addr: here, Store: []store.Node{{Name: "n1", Addr: peer.ClientAddr}},
		}, slog.New(slog.DiscardHandler))
	})
	defer func() {
		end()
		must(t, running.Wait())
	}()
	c, err := client.New([]client.Node{{Name: "n1", Addr: here}})
	must(t, err)
	defer c.Close()
	vm, stamp, err := c.CreateVM(t.Context(), "t", 2, "g", map[string]string{"disk": "ssd"})
	must(t, err)
	if vm.ID != "vm1" || vm.Token != "t" || vm.Size != 2 || vm.Group != "g" || vm.Labels["disk"] != "ssd" || vm.Desired != "running" || stamp.Node != "n1" {
		t.Errorf("%+v, %+v", vm, stamp)
	}
	for begun := time.Now(); ; {
		leader, err := c.Leading(t.Context())
		must(t, err)
		vm, _, err := c.GetVM(t.Context(), "vm1")
		must(t, err)
		if leader == "n1" && vm.State == "pending" && vm.Reason != "" {
			break
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("%q leads, and it is %+v", leader, vm)
		}
	}
	stopped, _, err := c.StopVM(t.Context(), "vm1")
	must(t, err)
	if stopped.State != "stopped" {
		t.Errorf("%+v", stopped)
	}
	started, _, err := c.StartVM(t.Context(), "vm1")
	must(t, err)
	if started.Desired != "running" {
		t.Errorf("%+v", started)
	}
	if _, _, err := c.MigrateVM(t.Context(), "vm1", ""); !client.IsDefinite(err) || client.IsNotFound(err) {
		t.Errorf("migrate: %v", err)
	}
	if _, _, err := c.DeleteVM(t.Context(), "vm2"); !client.IsNotFound(err) {
		t.Errorf("delete of none: %v", err)
	}
	for name, call := range map[string]func(context.Context, string) (client.Host, client.Stamp, error){
		"drain": c.DrainHost, "cordon": c.CordonHost, "uncordon": c.UncordonHost,
	} {
		if _, _, err := call(t.Context(), "h1"); !client.IsNotFound(err) {
			t.Errorf("%s of none: %v", name, err)
		}
	}
	if _, _, err := c.DeleteVM(t.Context(), "vm1"); err != nil {
		t.Error(err)
	}
	vms, at, err := c.ListVMs(t.Context())
	must(t, err)
	if len(vms) != 1 || vms[0].State != "deleted" || at.Revision <= stamp.Revision {
		t.Errorf("%+v, %+v", vms, at)
	}
	if hosts, _, err := c.ListHosts(t.Context()); err != nil || len(hosts) != 0 {
		t.Errorf("%+v, %v", hosts, err)
	}
}
