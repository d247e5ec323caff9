// Package lease is the workload of leases: keys that live for as long as somebody
// keeps them alive, and no longer.
//
// Each key is attached to a lease of its own and used once, so that its life is one
// stretch of time. A key must not die while its lease is sure to last, counted from
// when the grant or the last keep-alive that succeeded was invoked; it must be gone
// within a bound, which the system states, after it cannot last any more; and it must
// not come back.
package lease

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of the workload, with the payloads of their ops.
const (
	Grant     = "grant"     // ["k0",{"ttl_ms":1000}], completed by ["k0",{"lease":7,"ttl_ms":1000,"bound_ms":500}]
	KeepAlive = "keepalive" // ["k0",{"lease":7}], completed by ["k0",{"lease":7,"ttl_ms":1000}]
	Revoke    = "revoke"    // ["k0",{"lease":7}]
	Read      = "read"      // ["k0",null], completed by ["k0",{"lease":7}] or, if it is not there, ["k0",null]
)

// expired is why the system refuses, as meta has it: the lease is over.
const expired = "expired"

// Leases is what a system under test offers to this workload, as one client sees it.
// Its calls come one at a time and return soon after ctx has ended. What an error means
// is what [workloads.Client] says. To close a client revokes nothing.
type Leases interface {
	// Grant grants a lease of the given TTL and puts a key that is attached to it, with
	// the lease for its value. The key was never there before. An error that is marked
	// as definite says that the key will never be there.
	Grant(ctx context.Context, key string, ttl time.Duration) (Granted, error)
	// KeepAlive has a lease last for its TTL from now on. If there is no such lease any
	// more, and so no key of it, the error is an [*Expired].
	KeepAlive(ctx context.Context, lease uint64) (Kept, error)
	// Revoke ends a lease, and removes its key. If there is no such lease any more the
	// error is an [*Expired] or none.
	Revoke(ctx context.Context, lease uint64) (workloads.Said, error)
	// Read looks for a key. It is linearizable.
	Read(ctx context.Context, key string) (Found, error)
	// Close ends the connection.
	Close() error
}

// A Granted is a lease.
type Granted struct {
	// Lease is its number, which no other lease has ever had: above 0.
	Lease uint64
	// TTL is how long the lease lasts after it was granted or last kept alive, at
	// least. Another leader may grant it anew.
	TTL time.Duration
	// Bound is by how much more the lease may outlive that, as the system states it:
	// while no node fails, no message is lost and the leader stays the same, and counted
	// from when this began.
	Bound time.Duration
	workloads.Said
}

// A Kept is a lease that was kept alive.
type Kept struct {
	TTL time.Duration // as it is of a [Granted]
	workloads.Said
}

// A Found says what a read found.
type Found struct {
	Present bool
	// Lease is the lease that the key's value names: 0 if it names none, as that of no
	// key does that was granted.
	Lease uint64
	workloads.Said
}

// Expired is the error of what was refused since there is no such lease any more. It
// is definite by itself.
type Expired struct{}

func (*Expired) Error() string { return "refused: there is no such lease any more" }

// payload is what an op's value says.
type payload struct {
	Key     string `json:"-"`
	Present bool   `json:"-"` // there was a value beside the key
	Lease   uint64 `json:"lease,omitempty"`
	TTL     int64  `json:"ttl_ms,omitempty"`
	Bound   int64  `json:"bound_ms,omitempty"`
}

// ttl returns how long a lease lasts at least, most how long it does at most.
func (p payload) ttl() time.Duration  { return time.Duration(p.TTL) * time.Millisecond }
func (p payload) most() time.Duration { return time.Duration(p.TTL+1) * time.Millisecond }

func (p payload) bound() time.Duration { return time.Duration(p.Bound) * time.Millisecond }

// encode returns p as an op carries it.
func (p payload) encode() json.RawMessage {
	if !p.Present {
		return workloads.Keyed(p.Key, nil)
	}
	return workloads.Keyed(p.Key, p)
}

// decode reads the argument or the result of function f.
func decode(f string, value json.RawMessage) (p payload, err error) {
	switch f {
	case Grant, KeepAlive, Revoke, Read:
	default:
		return p, errors.New("is no function of leases")
	}
	key, arg, err := workloads.ParseKeyed(value)
	if err != nil {
		return p, err
	}
	p.Key = key
	p.Present = string(arg) != "null"
	return p, json.Unmarshal(arg, &p)
}
