package server

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/status"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

func TestOnlyWhatNeverEnteredALogIsDefinite(t *testing.T) {
	for err, want := range map[error]string{
		raft.ErrNotLeader:                    "definite not leader",
		raft.ErrEnqueueTimeout:               "definite busy",
		raft.ErrLeadershipTransferInProgress: "definite busy",

		raft.ErrLeadershipLost:   "leadership lost",
		raft.ErrRaftShutdown:     "shutdown",
		raft.ErrAbortedByRestore: "unspecified",
		context.DeadlineExceeded: "deadline",
		context.Canceled:         "deadline",
		errors.New("disk full"):  "storage",

		fmt.Errorf("wrapped: %w", raft.ErrNotLeader):      "definite not leader",
		fmt.Errorf("wrapped: %w", raft.ErrLeadershipLost): "leadership lost",

		api.Definite(api.Reason_REASON_SESSION_EXPIRED, "x"): "definite session expired",
	} {
		e := classify(err)
		got := e.Reason.Text()
		if e.Definite {
			got = "definite " + got
		}
		if got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
		// The same after a journey: as a gRPC status that another process reads.
		sent := status.Convert(e)
		back := api.Understand(status.FromProto(sent.Proto()).Err())
		if back.Definite != e.Definite || back.Reason != e.Reason {
			t.Errorf("%v: after its journey: definite %v, %v", err, back.Definite, back.Reason)
		}
	}
}

func TestWhatNobodyClassifiedIsIndeterminate(t *testing.T) {
	for _, err := range []error{
		errors.New("anything"),
		status.Error(14, "Unavailable, as of a connection that broke"),
		status.Error(9, "FailedPrecondition"),
		context.DeadlineExceeded,
	} {
		if api.Understand(err).Definite {
			t.Errorf("%v is definite", err)
		}
	}
}
