package register

import (
	"context"

	"github.com/hacheck/hacheck/workloads"
)

// A KV is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether the operation took place.
type KV interface {
	// Read returns what key holds, whatever it is. An answer that no client can have
	// written is no error, or nobody would hear of it: see [Text].
	Read(ctx context.Context, key string) (Result, error)
	// Write sets key to v.
	Write(ctx context.Context, key string, v Value) (Result, error)
	// CAS sets key to v if it holds old. A refusal because of what it held is a
	// [*Refused] error, which is definite by itself.
	CAS(ctx context.Context, key string, old, v Value) (Result, error)
	// Close ends the connection.
	Close() error
}

// A Result is what a system said of an operation: the answer and evidence for it.
// It may hold some of it beside an error, too.
type Result struct {
	// Value is what a read found.
	Value Value
	workloads.Said
}

// Refused is the error of a CAS that was refused since the key held something
// else than was expected.
type Refused struct {
	// Current is what it held.
	Current Value
}

func (r *Refused) Error() string { return "refused: it is " + r.Current.String() }
