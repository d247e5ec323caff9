// Package workloads says what a workload is: a vocabulary of operations, the
// generators that choose them, the clients that perform them and the checker
// that judges what came of it. Each workload is a package below this one, and
// asks of a system under test a small typed interface, such as register.KV, so
// that whoever connects a system never sees an op.
package workloads

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// A Workload is what clients do in one run, and how it is judged. It is used
// once, since its generators keep state.
type Workload struct {
	Name string
	// Main yields the operations of the main phase, without end.
	Main generator.Generator
	// Final yields the operations after everything has healed and the system
	// answers again, such as a last read of every key. It ends by itself.
	Final generator.Generator
	// Open connects a client for a process of the given worker. The runner calls
	// it again for the process that follows one that died.
	Open func(ctx context.Context, worker int) (Client, error)
	// Checker judges the run's history.
	Checker checker.Checker
}

// A Client performs the operations of one process, one at a time.
type Client interface {
	// Invoke performs op. What the error says is what the history records:
	//
	//   - nil: op took place;
	//   - an error marked [Definite]: it did not, and never will;
	//   - any other error: nobody knows. It is always safe to say so.
	//
	// Invoke returns soon after ctx has ended. The reply's Node and Meta are
	// recorded whatever the error.
	Invoke(ctx context.Context, op histories.Op) (Reply, error)
	// Close ends the connection.
	Close() error
}

// A Reply is what a client learned of an operation.
type Reply struct {
	// Value is the result, recorded if the operation took place. If nil the
	// completion repeats the invocation's value.
	Value json.RawMessage
	// Meta is what else the system said; see [histories.Op].
	Meta json.RawMessage
	// Node is the node that was asked, if the client knows.
	Node string
}

// Definite marks err as definite: the operation did not take place and never
// will. Say it only where it is certain; a refusal that arrived is, a timeout is
// not. Definite(nil) is nil.
func Definite(err error) error {
	if err == nil {
		return nil
	}
	return &definite{err}
}

// IsDefinite says whether err, or an error it wraps, was marked by [Definite].
func IsDefinite(err error) bool {
	_, ok := errors.AsType[*definite](err)
	return ok
}

type definite struct{ err error }

func (d *definite) Error() string { return d.err.Error() }
func (d *definite) Unwrap() error { return d.err }
