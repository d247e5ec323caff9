package server

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// classify says what an error of Raft's means for the operation that it ended.
// What is definite was read in Raft's sources: the entry was never put into a log.
// All else is indeterminate, be it unlikely that it took place.
func classify(err error) *api.Error {
	if e, ok := errors.AsType[*api.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return api.Definite(api.Reason_REASON_NOT_LEADER, "%w", err)
	case errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return api.Definite(api.Reason_REASON_BUSY, "%w", err)

	case errors.Is(err, raft.ErrLeadershipLost):
		return api.Indeterminate(api.Reason_REASON_LEADERSHIP_LOST, "%w", err)
	case errors.Is(err, raft.ErrRaftShutdown):
		// Raft says so of what it never took, and of what it had committed, too.
		return api.Indeterminate(api.Reason_REASON_SHUTDOWN, "%w", err)
	case errors.Is(err, raft.ErrAbortedByRestore):
		return api.Indeterminate(api.Reason_REASON_UNSPECIFIED, "%w", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return api.Indeterminate(api.Reason_REASON_DEADLINE, "%w", err)
	}
	// Such as an error of the log store: what it wrote of the entry, and whether
	// others have it, is not known.
	return api.Indeterminate(api.Reason_REASON_STORAGE, "%w", err)
}

// elsewhere says of an error that the operation did not take place because of
// where it was sent, so that it may be sent again, elsewhere or later.
func elsewhere(e *api.Error) bool {
	if !e.Definite {
		return false
	}
	switch e.Reason {
	case api.Reason_REASON_NOT_LEADER, api.Reason_REASON_NO_LEADER, api.Reason_REASON_BUSY, api.Reason_REASON_NOT_SENT,
		api.Reason_REASON_LEADERSHIP_LOST: // of a read alone
		return true
	}
	return false
}
