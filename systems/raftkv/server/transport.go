package server

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A Transport carries Raft's messages, and can carry all of them: one that knew no
// pre-votes would do silently without.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// A transport is the node's own. It carries heartbeats as all other messages, hears from
// what is answered to them how far followers are, and lets one that was not reached have
// its entries as soon as it answers again.
//
// Raft would rather handle heartbeats beside the rest, so that a leader is heard of also
// while the disk is slow. But one that comes with a new term changes the node's term and
// makes it follow in the middle of whatever else it does, such as to append an entry,
// with the term of a leader that it is not, or to vote in a term that it goes back from:
// hashicorp/raft issue 695.
//
// And a leader that does not reach a follower tries ever less often, after a while each
// ten seconds, whatever becomes of heartbeats meanwhile. So a node that was down for long
// would lack for as long what others have, and a majority that needs it would not be one.
type transport struct {
	Transport
	over <-chan struct{} // nobody is to wait any more

	mu       sync.Mutex
	contacts map[raft.ServerID]*contact
}

// A contact is what is known of a member that heartbeats are sent to.
type contact struct {
	last  uint64 // the last entry in its log, as it has said last
	known bool   // it has
	// answers has news of that.
	answers news
	// turn is held by a heartbeat of [transport.followed].
	turn chan struct{}
}

// longestSilence is for how long an error is held back of who does not answer.
const longestSilence = 5 * time.Second

func newTransport(t Transport, over <-chan struct{}) *transport {
	return &transport{Transport: t, over: over, contacts: map[raft.ServerID]*contact{}}
}

// SetHeartbeatHandler sets none.
func (*transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntries sends entries, or a heartbeat, which is known by that there is nothing
// in it.
func (t *transport) AppendEntries(
	id raft.ServerID, to raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse,
) error {
	err := t.Transport.AppendEntries(id, to, in, out)
	switch heartbeat := len(in.Entries) == 0 && in.PrevLogEntry == 0 && in.LeaderCommitIndex == 0; {
	case !heartbeat && err != nil:
		t.holdBack(id)
	case heartbeat && err == nil:
		t.mu.Lock()
		defer t.mu.Unlock()
		c := t.contact(id)
		c.last, c.known = out.LastLog, true
		c.answers.tell()
	}
	return err
}

// followed sends a heartbeat, and says whether the member answers that it follows in the
// term of at, and that its log is not short of that. What was sent before and not answered
// yet is waited for, but not when it is over.
func (t *transport) followed(member raft.Server, header raft.RPCHeader, at position, over <-chan struct{}) bool {
	t.mu.Lock()
	turn := t.contact(member.ID).turn
	t.mu.Unlock()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-over:
		return false
	}
	var out raft.AppendEntriesResponse
	err := t.AppendEntries(member.ID, member.Address, &raft.AppendEntriesRequest{RPCHeader: header, Term: at.term}, &out)
	return err == nil && out.Success && out.LastLog >= at.index
}

// InstallSnapshot sends a snapshot.
func (t *transport) InstallSnapshot(
	id raft.ServerID, to raft.ServerAddress, in *raft.InstallSnapshotRequest, out *raft.InstallSnapshotResponse, state io.Reader,
) error {
	err := t.Transport.InstallSnapshot(id, to, in, out, state)
	if err != nil {
		t.holdBack(id)
	}
	return err
}

// holdBack returns when a member answers a heartbeat, or long after: to Raft that is one
// failure, and not one more of many.
func (t *transport) holdBack(id raft.ServerID) {
	t.mu.Lock()
	answers := t.contact(id).answers.next()
	t.mu.Unlock()
	timer := time.NewTimer(longestSilence)
	defer timer.Stop()
	select {
	case <-answers:
	case <-timer.C:
	case <-t.over:
	}
}

// contact returns what is known of a member. The caller holds mu.
func (t *transport) contact(id raft.ServerID) *contact {
	if t.contacts[id] == nil {
		t.contacts[id] = &contact{turn: make(chan struct{}, 1)}
	}
	return t.contacts[id]
}

// last returns what a member has said of the last entry in its log, if it has.
func (t *transport) last(id raft.ServerID) (index uint64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.contact(id)
	return c.last, c.known
}
