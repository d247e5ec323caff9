// Package lock is the workload of locks that are held by a lease and fence what they
// protect: each grant of a lock is a token, greater than all before, and a resource
// that is written only in the name of the current one.
//
// A holder may rely on its lock for as long as its lease is sure to last. No two may
// at the same time; and since a holder can be wrong about the time, as one that was
// paused, what it writes when its token is over must be refused. That is told from
// the outside: from what holders were told, and from what the resource holds.
package lock

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops.
const (
	Acquire = "acquire" // ["l0",null], completed by ["l0",{"token":7,"ttl_ms":2000}]
	Renew   = "renew"   // ["l0",{"token":7}], completed by ["l0",{"token":7,"ttl_ms":2000}]
	Release = "release" // ["l0",{"token":7}]
	Write   = "write"   // ["l0",{"token":7,"value":3}]: to the resource
	Read    = "read"    // ["l0",null], completed by ["l0",{"token":7,"value":3}] or ["l0",null]
)

// refusals as meta has them
const (
	held   = "held"   // by another
	fenced = "fenced" // the token is not the current one
)

// Locks is what a system under test offers to this workload, as one client sees it.
// Its calls come one at a time and return soon after ctx has ended. What an error
// means is what [workloads.Client] says.
//
// A lock that was acquired is held until its token is released, or its lease ends:
// not before its TTL has passed since it was acquired or last renewed. Nothing but
// Renew renews a lease, and to close a client releases nothing.
type Locks interface {
	// Acquire acquires a lock for this client and returns the token of the grant. If
	// another holds it the error is a [*Held], at once or after some waiting.
	Acquire(ctx context.Context, lock string) (Grant, error)
	// Renew renews the lease of a lock that is held by token, and returns its TTL; or
	// else the error is a [*Fenced].
	Renew(ctx context.Context, lock string, token uint64) (Grant, error)
	// Release gives up a lock that is held by token. Of one that is not, the error may
	// be a [*Fenced] or none.
	Release(ctx context.Context, lock string, token uint64) (workloads.Said, error)
	// Write writes value to the resource of a lock, and with it the token, if the lock
	// is held by that, all at one moment; or else the error is a [*Fenced].
	Write(ctx context.Context, lock string, token uint64, value int64) (workloads.Said, error)
	// Read returns what was written last to the resource of a lock. It is linearizable.
	Read(ctx context.Context, lock string) (Resource, error)
	// Close ends the connection.
	Close() error
}

// A Grant is a lock that is held.
type Grant struct {
	// Token is what fences: above 0.
	Token uint64
	// TTL is how long the lease lasts at least, from the moment at which the system
	// granted or renewed it.
	TTL time.Duration
	workloads.Said
}

// A Resource is what a resource holds; the zero Resource, but for what was said, is
// one that was never written.
type Resource struct {
	Token uint64
	// Value is what was written: above 0. What a system finds that is no such thing it
	// returns as [Garbled], or nobody would hear of it.
	Value int64
	workloads.Said
}

// Garbled is a value that nobody writes.
const Garbled int64 = -1

// Held is the error of an Acquire that was refused since another holds the lock. It
// is definite by itself.
type Held struct{}

func (*Held) Error() string { return "refused: the lock is held" }

// Fenced is the error of what was refused since its token does not hold the lock. It
// is definite by itself.
type Fenced struct{}

func (*Fenced) Error() string { return "refused: the token does not hold the lock" }

// payload is what an op's value says beside the lock.
type payload struct {
	Lock  string `json:"-"`
	Token uint64 `json:"token"`
	Value int64  `json:"value,omitempty"`
	TTL   int64  `json:"ttl_ms,omitempty"`
}

// encode returns p as an op carries it.
func (p payload) encode() json.RawMessage {
	if p == (payload{Lock: p.Lock}) {
		return workloads.Keyed(p.Lock, nil)
	}
	return workloads.Keyed(p.Lock, p)
}

// decode reads the argument or the result of function f.
func decode(f string, value json.RawMessage) (p payload, err error) {
	switch f {
	case Acquire, Renew, Release, Write, Read:
	default:
		return p, errors.New("is no function of a lock")
	}
	key, arg, err := workloads.ParseKeyed(value)
	if err != nil {
		return p, err
	}
	p.Lock = key
	return p, json.Unmarshal(arg, &p)
}
