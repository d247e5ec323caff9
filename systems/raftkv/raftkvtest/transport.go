package raftkvtest

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/cluster"
)

// A transport carries a node's Raft messages over the network. An address is what the
// node is called among the members.
type transport struct {
	*raft.InmemTransport
	network *network
	name    string
	addr    raft.ServerAddress
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// attach connects a node that starts.
func (n *network) attach(name string, addr raft.ServerAddress) *transport {
	_, inmem := raft.NewInmemTransportWithTimeout(addr, timeout)
	t := &transport{inmem, n, name, addr}
	t.Connect(addr, inmem) // a node may write to itself
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, o := range n.transports {
		if other != addr {
			t.Connect(other, o.InmemTransport)
			o.Connect(addr, t.InmemTransport)
		}
	}
	n.transports[addr] = t
	return t
}

// Close disconnects the node.
func (t *transport) Close() error {
	t.network.mu.Lock()
	defer t.network.mu.Unlock()
	if t.network.transports[t.addr] == t {
		delete(t.network.transports, t.addr)
		for _, o := range t.network.transports {
			o.Disconnect(t.addr)
		}
	}
	return t.InmemTransport.Close()
}

// exchange carries a message to another node and its answer back. That the answer
// is lost does not undo what the message did.
func (t *transport) exchange(to raft.ServerAddress, deliver func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	node, _, _ := strings.Cut(string(to), "#")
	if err := t.network.carry(ctx, cluster.Link{From: t.name, To: node}); err != nil {
		return fmt.Errorf("call %s: %w", to, err)
	}
	if err := deliver(); err != nil {
		return err
	}
	if err := t.network.carry(ctx, cluster.Link{From: node, To: t.name}); err != nil {
		return fmt.Errorf("wait for %s: %w", to, err)
	}
	return nil
}

// AppendEntriesPipeline is what a transport may do without.
func (t *transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// AppendEntries carries entries, or a heartbeat.
func (t *transport) AppendEntries(id raft.ServerID, to raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	return t.exchange(to, func() error { return t.InmemTransport.AppendEntries(id, to, in, out) })
}

// RequestVote asks for a vote.
func (t *transport) RequestVote(id raft.ServerID, to raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	return t.exchange(to, func() error { return t.InmemTransport.RequestVote(id, to, in, out) })
}

// RequestPreVote asks whether there would be a vote.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, in *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	return t.exchange(to, func() error { return t.InmemTransport.RequestPreVote(id, to, in, out) })
}

// InstallSnapshot carries a snapshot.
func (t *transport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, in *raft.InstallSnapshotRequest, out *raft.InstallSnapshotResponse, data io.Reader) error {
	return t.exchange(to, func() error { return t.InmemTransport.InstallSnapshot(id, to, in, out, data) })
}

// TimeoutNow hands the leadership over.
func (t *transport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, in *raft.TimeoutNowRequest, out *raft.TimeoutNowResponse) error {
	return t.exchange(to, func() error { return t.InmemTransport.TimeoutNow(id, to, in, out) })
}
