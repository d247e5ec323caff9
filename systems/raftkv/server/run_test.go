package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// A loopback is a cluster of real servers in this process.
type loopback struct {
	t     testing.TB
	peers []Peer
	dir   string
	tune  func(*Config)
	stops map[string]func()
}

func newLoopback(t testing.TB, nodes int, tune func(*Config)) *loopback {
	l := &loopback{t: t, dir: t.TempDir(), tune: tune, stops: map[string]func(){}}
	free := freeAddrs(t, 2*nodes)
	for i := range nodes {
		l.peers = append(l.peers, Peer{ID: fmt.Sprintf("n%d", i+1), RaftAddr: free[2*i], ClientAddr: free[2*i+1]})
	}
	for _, p := range l.peers {
		l.start(p.ID)
	}
	t.Cleanup(func() {
		for id := range l.stops {
			l.stop(id)
		}
	})
	return l
}

// freeAddrs returns addresses that nobody listens on, for now. Each is held until all are
// drawn, or the same one may be drawn twice.
func freeAddrs(t testing.TB, n int) (addrs []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

func (l *loopback) start(id string) {
	c := Config{ID: id, Empty: EmptyFounds, Dir: filepath.Join(l.dir, id), Peers: l.peers}
	for _, p := range l.peers {
		if p.ID == id {
			c.RaftAddr, c.ClientAddr = p.RaftAddr, p.ClientAddr
		}
	}
	if l.tune != nil {
		l.tune(&c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, c, hclog.NewNullLogger()) }()
	l.stops[id] = func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("%s: %v", id, err)
		}
	}
}

func (l *loopback) stop(id string) {
	l.stops[id]()
	delete(l.stops, id)
}

func (l *loopback) client(ids ...string) *client.Client {
	l.t.Helper()
	var nodes []client.Node
	for _, p := range l.peers {
		for _, id := range ids {
			if id == p.ID {
				nodes = append(nodes, client.Node{Name: p.ID, Addr: p.ClientAddr})
			}
		}
	}
	c, err := client.New(nodes)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

// leader waits until a node leads and a majority says so.
func (l *loopback) leader(c *client.Client) string {
	l.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(l.t.Context(), 200*time.Millisecond)
		votes := map[string]int{}
		for _, s := range c.Status(ctx) {
			if s != nil && s.Leader != "" {
				votes[s.Leader]++
			}
		}
		cancel()
		for id, n := range votes {
			if n > len(l.peers)/2 && l.stops[id] != nil {
				return id
			}
		}
	}
	l.t.Fatal("nobody leads")
	return ""
}

func TestClusterOutlivesItsLeader(t *testing.T) {
	l := newLoopback(t, 3, nil)
	seeking := l.client("n1", "n2", "n3")
	leader := l.leader(seeking)

	var bound *client.Client // to a node that does not lead
	for _, p := range l.peers {
		if p.ID != leader {
			bound = l.client(p.ID)
			break
		}
	}
	put, err := bound.Put(within(t, 10*time.Second), "k", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := seeking.Get(within(t, 10*time.Second), "k")
	if err != nil || string(got.Value) != "1" || got.Revision != put.Revision {
		t.Fatalf("read %+v, %v after %+v", got, err, put)
	}
	swap, err := bound.CAS(within(t, 10*time.Second), "k", client.At(put.Revision), []byte("2"))
	if err != nil || !swap.Swapped {
		t.Fatalf("cas on revision: %+v, %v", swap, err)
	}
	refused, err := bound.CAS(within(t, 10*time.Second), "k", client.Holds([]byte("1")), []byte("3"))
	if err != nil || refused.Swapped || string(refused.Value) != "2" || refused.Revision != swap.Revision {
		t.Fatalf("cas on a value that is gone: %+v, %v", refused, err)
	}

	l.stop(leader)
	if got, err = bound.Get(within(t, 20*time.Second), "k"); err != nil || string(got.Value) != "2" {
		t.Fatalf("read without %s: %+v, %v", leader, got, err)
	}
	if _, err := seeking.Put(within(t, 20*time.Second), "k", []byte("4")); err != nil {
		t.Fatal(err)
	}
	l.start(leader)
	back := l.client(leader)
	if got, err = back.Get(within(t, 20*time.Second), "k"); err != nil || string(got.Value) != "4" {
		t.Fatalf("read at %s, which is back: %+v, %v", leader, got, err)
	}
}

func TestNodeComesBackFromItsSnapshot(t *testing.T) {
	l := newLoopback(t, 1, func(c *Config) {
		c.SnapshotInterval, c.SnapshotThreshold, c.TrailingLogs = Duration(10*time.Millisecond), 20, 1
	})
	c := l.client("n1")
	var last client.Result
	deadline := time.Now().Add(20 * time.Second)
	for i := 0; ; i++ {
		var err error
		if last, err = c.Put(within(t, 10*time.Second), fmt.Sprint("k", i%10), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(l.dir, "n1", "snapshots", "*.snapshot"))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 && i%10 == 9 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no snapshot was taken")
		}
	}
	l.stop("n1")
	l.start("n1")
	got, err := c.Get(within(t, 20*time.Second), "k9")
	if err != nil || got.Revision != last.Revision {
		t.Fatalf("read %+v, %v; want revision %d", got, err, last.Revision)
	}
	// The session is remembered, too.
	if _, err := c.Put(within(t, 20*time.Second), "k9", []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func TestUnusableStateIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "raft.db"), []byte(strings.Repeat("no store\n", 4000)), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddrs(t, 1)[0]
	c := Config{ID: "n1", RaftAddr: addr, ClientAddr: addr, Dir: dir, Peers: []Peer{{"n1", addr, addr}}}
	err := run(t.Context(), c, hclog.NewNullLogger())
	if err == nil || !strings.Contains(err.Error(), "raft.db") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestMistakenConfigIsRefused(t *testing.T) {
	one := []Peer{{"n1", "a", "b"}}
	for name, c := range map[string]Config{
		"no id":           {Peers: one},
		"not among peers": {ID: "n2", Peers: one},
		"twice":           {ID: "n1", Peers: append(one, one...)},
		"no such bug":     {ID: "n1", Peers: one, Bug: "stale-reed"},
		"no address":      {ID: "n1", Peers: []Peer{{"n1", "", ""}}},
		"no such member":  {ID: "n1", Member: "n2#1", Peers: one},
		"no such thing":   {ID: "n1", Empty: "prays", Peers: one},
		"before its time": {ID: "n1", Peers: one, Delay: -1},
		"no founder":      {ID: "n1", Member: "n1#2", Empty: EmptyFounds, Peers: one},
	} {
		if err := c.withDefaults().validate(); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// TestTimesFollowTheHeartbeat, but that shorter ones make nobody less patient.
func TestTimesFollowTheHeartbeat(t *testing.T) {
	const ms = Duration(time.Millisecond)
	for heartbeat, want := range map[Duration][4]Duration{ // election, lease, patience, bound
		0:         {500 * ms, 250 * ms, 2000 * ms, 1000 * ms},
		250 * ms:  {250 * ms, 125 * ms, 2000 * ms, 1000 * ms},
		5000 * ms: {5000 * ms, 2500 * ms, 20000 * ms, 10000 * ms},
	} {
		c := Config{Heartbeat: heartbeat}.withDefaults()
		if got := [4]Duration{c.Election, c.Lease, c.Patience, Duration(c.leaseBound())}; got != want {
			t.Errorf("heartbeat %v: got %v, want %v", heartbeat, got, want)
		}
	}
}

// TestServerDelaysItsAnswers, as it is told.
func TestServerDelaysItsAnswers(t *testing.T) {
	const delay = 150 * time.Millisecond
	l := newLoopback(t, 1, func(c *Config) { c.Delay = Duration(delay) })
	c := l.client("n1")
	l.leader(c)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begun := time.Now()
	if _, err := c.Get(ctx, "k"); err != nil || time.Since(begun) < delay {
		t.Errorf("answered after %v: %v", time.Since(begun), err)
	}
}

// TestHealthIsWhetherThereIsALeader, and what the server offers can be asked.
func TestHealthIsWhetherThereIsALeader(t *testing.T) {
	l := newLoopback(t, 3, nil)
	leader := l.leader(l.client("n1", "n2", "n3"))
	ask := func(id string) *grpc.ClientConn {
		i := slices.IndexFunc(l.peers, func(p Peer) bool { return p.ID == id })
		conn, err := grpc.NewClient(l.peers[i].ClientAddr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// becomes waits until both services are so.
	becomes := func(conn *grpc.ClientConn, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		for _, service := range []string{"", "hacheck.raftkv.v1.RaftKV"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			must(t, err)
			for {
				now, err := watch.Recv()
				if err != nil {
					t.Fatalf("service %q has not become %v: %v", service, want, err)
				}
				if now.Status == want {
					break
				}
			}
		}
	}
	left := ask(leader)
	becomes(left, grpc_health_v1.HealthCheckResponse_SERVING)
	for _, p := range l.peers {
		if p.ID != leader {
			becomes(ask(p.ID), grpc_health_v1.HealthCheckResponse_SERVING)
		}
	}

	services, err := grpc_reflection_v1.NewServerReflectionClient(left).ServerReflectionInfo(within(t, 10*time.Second))
	must(t, err)
	must(t, services.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "hacheck.raftkv.v1.RaftKV.Watch"},
	}))
	if file, err := services.Recv(); err != nil || len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
		t.Errorf("what it offers: %v, %v", file, err)
	}

	for _, p := range l.peers {
		if p.ID != leader {
			l.stop(p.ID)
		}
	}
	becomes(left, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	for _, p := range l.peers {
		if p.ID != leader {
			l.start(p.ID)
		}
	}
	becomes(left, grpc_health_v1.HealthCheckResponse_SERVING)
}

// TestStreamThatIsNeverSentIsSaidToBe, and one that breaks is not.
func TestStreamThatIsNeverSentIsSaidToBe(t *testing.T) {
	l := newLoopback(t, 1, nil)
	c := l.client("n1")
	l.leader(c)
	conn, err := api.Dial(l.peers[0].ClientAddr)
	must(t, err)
	must(t, conn.Ready(within(t, 10*time.Second)))
	stream, err := api.NewRaftKVClient(conn).Watch(within(t, 10*time.Second), &api.WatchRequest{Span: everything, From: 1})
	must(t, err)
	if first, err := stream.Recv(); err != nil || first.Revision != 0 || first.Node != "n1" {
		t.Errorf("at first: %v, %v", first, err)
	}
	if _, err := c.Put(within(t, 10*time.Second), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	for {
		next, err := stream.Recv()
		must(t, err)
		if len(next.Events) > 0 {
			if kv := next.Events[0].Kv; string(kv.Value) != "v" || next.Revision != 1 {
				t.Errorf("then: %v", next)
			}
			break
		}
	}
	l.stop("n1")
	for err == nil {
		_, err = stream.Recv()
	}
	if e := api.Understand(err); e.Reason != api.Reason_REASON_SHUTDOWN {
		t.Errorf("when the node stopped: %v", e)
	}
	// There is no connection any more.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		_, err = api.NewRaftKVClient(conn).Watch(within(t, time.Second), &api.WatchRequest{Span: everything})
		if err != nil {
			break
		}
	}
	if e := api.Understand(err); e == nil || !e.Definite || e.Reason != api.Reason_REASON_NOT_SENT {
		t.Errorf("without a connection: %v", err)
	}
	must(t, conn.Close())
	if _, err = api.NewRaftKVClient(conn).Watch(within(t, time.Second), &api.WatchRequest{}); api.Understand(err).Reason != api.Reason_REASON_NOT_SENT {
		t.Errorf("on a connection that was closed: %v", err)
	}
}

// BenchmarkCluster measures five nodes with twenty clients, the half of them bound.
func BenchmarkCluster(b *testing.B) {
	for _, f := range []string{"put", "get", "mixed"} {
		b.Run(f, func(b *testing.B) {
			l := newLoopback(b, 5, nil)
			ids := []string{"n1", "n2", "n3", "n4", "n5"}
			l.leader(l.client(ids...))
			var worker, failed atomic.Int64
			b.SetParallelism(10) // of two cores
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				w := int(worker.Add(1))
				c := l.client(ids...)
				if w%2 == 0 {
					c = l.client(ids[w/2%5])
				}
				for i := 0; pb.Next(); i++ {
					ctx, cancel := context.WithTimeout(b.Context(), time.Second)
					var err error
					if f == "put" || (f == "mixed" && i%2 == 0) {
						_, err = c.Put(ctx, fmt.Sprint("k", w), fmt.Append(nil, i))
					} else {
						_, err = c.Get(ctx, "k1")
					}
					cancel()
					if err != nil {
						failed.Add(1)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			b.ReportMetric(float64(failed.Load()), "failed")
		})
	}
}
