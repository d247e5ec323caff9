package server

import "github.com/hashicorp/raft"

// A Transport carries Raft's messages, and can carry all of them: one that knew no
// pre-votes would do silently without.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// inOrder has heartbeats handled as all other messages are: one after the other. Raft
// would rather handle them beside, so that a leader is heard of also while the disk
// is slow. But one that comes with a new term changes the node's term and makes it
// follow in the middle of whatever else it does, such as to append an entry, with the
// term of a leader that it is not, or to vote in a term that it goes back from:
// hashicorp/raft issue 695.
type inOrder struct{ Transport }

// SetHeartbeatHandler sets none.
func (inOrder) SetHeartbeatHandler(func(raft.RPC)) {}
