// Package server is raftkv, a key-value store on Raft: revisioned keys, compare
// and set, sessions by which a repeated write happens once, and linearizable reads
// from every node. It is a system to be tested and knows nothing of the tester.
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
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// raftTimeout bounds what Raft waits for an answer, or for a connection. It is
// short so that a node comes back soon when the network does.
const raftTimeout = 500 * time.Millisecond

// Run runs a node until ctx ends, then stops it and returns nil. It logs to
// standard error.
func Run(ctx context.Context, c Config) error {
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
	if err := makeDir(c.Dir); err != nil {
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
	if c.Bug == TornVote {
		if stable, err = openTornVotes(filepath.Join(c.Dir, "raft.vote"), store); err != nil {
			return err
		}
	}
	if c.Bug == NoFsync {
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
	)
	api.RegisterRaftKVServer(server, node)
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
	closeAlso(node.Close)
	stopped := time.AfterFunc(time.Second, server.Stop)
	server.GracefulStop()
	stopped.Stop()
	return err
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
