package server

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// beginAlone is for [bug.SplitBrainBootstrap].
func (n *Node) beginAlone(rc *raft.Config, d Deps) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for _, p := range n.config.Peers {
			conn, err := n.peer(p.ID)
			if err != nil || p.ID == n.config.ID {
				continue
			}
			if s, err := statusOf(ctx, conn); err == nil && s.GetLeader() != "" {
				return nil
			}
		}
		wait, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		<-wait.Done()
		stop()
	}
	d.Log.Warn("found no leader, so this is a cluster of its own")
	alone := raft.Configuration{Servers: []raft.Server{{ID: n.id, Address: n.transport.LocalAddr()}}}
	state := newMachine(maxSessions, n.config.machine())
	if err := raft.RecoverCluster(rc, state, d.Logs, d.Stable, n.snapshots, n.transport, alone); err != nil {
		return fmt.Errorf("begin a cluster of its own: %w", err)
	}
	return nil
}
