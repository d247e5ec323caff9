// Package server is raftkv, a key-value store on Raft: keys with all their revisions,
// transactions, leases, watching, sessions by which a repeated write happens once, and
// linearizable reads from every node. It is a system to be tested and knows nothing of
// the tester.
//
// [Run] is the server as a process runs it. [NewNode] is the same without sockets
// and disks.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/durable"
)

// raftTimeout bounds what Raft waits for an answer, or for a connection. It is
// short so that a node comes back soon when the network does.
const raftTimeout = 500 * time.Millisecond

// Run runs a node until ctx ends, then stops it and returns nil. It logs to
// standard error. The process is to be the node's own.
func Run(ctx context.Context, c Config) error {
	// What a node holds is little, and what it passes on is much: as it is, its heap would
	// be collected many times a second.
	debug.SetGCPercent(300)
	log := hclog.New(&hclog.LoggerOptions{Name: c.ID, Level: hclog.Info, Output: os.Stderr})
	if err := run(ctx, c, log); err != nil {
		return fmt.Errorf("raftkv node %s: %w", c.ID, err)
	}
	return nil
}

func run(ctx context.Context, c Config, log hclog.Logger) (err error) {
	closeAlso := func(close func() error) { err = errors.Join(err, close()) }

	// First of all, so that a second node on the same disk comes no further.
	listener, err := net.Listen("tcp", c.ClientAddr)
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	defer listener.Close() // for when nobody came to serve it
	if err := durable.MakeDir(c.Dir); err != nil {
		return err
	}
	snapshots, err := OpenSnapshots(filepath.Join(c.Dir, "snapshots"))
	if err != nil {
		return err
	}
	store, err := OpenStore(filepath.Join(c.Dir, "raft.db"))
	if err != nil {
		return err
	}
	defer closeAlso(store.Close)
	if all, err := snapshots.List(); err != nil || store.fresh && len(all) > 0 {
		return cmp.Or(err, errors.New("the disk is damaged: there are snapshots, and no log"))
	}
	if err := store.Claim(cmp.Or(c.Member, c.ID)); err != nil {
		return err
	}
	var onDisk raft.LogStore = store
	var stable raft.StableStore = store
	if c.Bug == bug.TornVote {
		if stable, err = openTornVotes(filepath.Join(c.Dir, "raft.vote"), store); err != nil {
			return err
		}
	}
	if c.Bug == bug.NoFsync {
		lazy, err := openLazyLog(filepath.Join(c.Dir, "raft.late"), store)
		if err != nil {
			return err
		}
		defer closeAlso(lazy.Close)
		onDisk = lazy
	}
	// Raft reads entries back to send them to followers; these it has at hand.
	logs, err := raft.NewLogCache(512, onDisk)
	if err != nil {
		return err
	}
	transport, err := raft.NewTCPTransportWithLogger(c.RaftAddr, nil, 3, raftTimeout, log.Named("transport"))
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	defer transport.Close()
	peers := &peers{config: c, conns: map[string]api.Conn{}}
	defer closeAlso(peers.Close)

	node, err := NewNode(c, Deps{
		Logs: logs, Stable: stable, Snapshots: snapshots, Transport: transport, Peer: peers.conn, Log: log,
	})
	if err != nil {
		return err
	}
	server := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		// A watcher that is gone without a word would be sent to for a quarter of an hour.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 5 * time.Second, Timeout: 5 * time.Second}),
		grpc.StaticStreamWindowSize(api.Window), grpc.StaticConnWindowSize(api.Window),
		grpc.UnaryInterceptor(node.Answer),
	)
	api.RegisterRaftKVServer(server, node)
	reflection.Register(server)
	state := health.NewServer()
	state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING) // until there is a leader
	grpc_health_v1.RegisterHealthServer(server, state)
	node.running.Go(func() { node.tellHealth(state) })
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("serving", "clients", listener.Addr(), "nodes", transport.LocalAddr(), "bug", c.Bug)

	select {
	case <-ctx.Done():
	case <-store.Failed():
		// Nothing is waited for: what is on its way will not be written.
		server.Stop()
		return fmt.Errorf("write to the disk: %w", store.Err())
	case err = <-served:
		err = fmt.Errorf("serve clients: %w", err)
	}
	// The node first: it answers whom it can, and refuses the rest.
	state.Shutdown()
	closeAlso(node.Close)
	stopped := time.AfterFunc(time.Second, server.Stop)
	server.GracefulStop()
	stopped.Stop()
	return err
}

// tellHealth tells gRPC's health service, as long as the node lives: it serves, as a
// whole and as [api.RaftKV_ServiceDesc], while it knows a leader.
func (n *Node) tellHealth(state *health.Server) {
	for {
		leader, news := n.leader()
		now := grpc_health_v1.HealthCheckResponse_SERVING
		if leader == "" {
			now = grpc_health_v1.HealthCheckResponse_NOT_SERVING
		}
		for _, service := range []string{"", api.RaftKV_ServiceDesc.ServiceName} {
			state.SetServingStatus(service, now)
		}
		select {
		case <-news:
		case <-n.life.Done():
			return
		}
	}
}

// peers are a node's connections to the others, made as they are needed.
type peers struct {
	config Config

	mu    sync.Mutex
	conns map[string]api.Conn
}

func (p *peers) conn(id string) (api.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.conns[id]; c != nil {
		return c, nil
	}
	for _, peer := range p.config.Peers {
		if peer.ID == id {
			c, err := api.Dial(peer.ClientAddr)
			if err == nil {
				p.conns[id] = c
			}
			return c, err
		}
	}
	return nil, fmt.Errorf("no node is called %q", id)
}

func (p *peers) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, c := range p.conns {
		err = errors.Join(err, c.Close())
	}
	return err
}
