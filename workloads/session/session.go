// Package session is the workload of session guarantees: what a client may rely on
// that reads where it is quick, and perhaps stale, and tells each node how far it has
// seen. Within such a session reads show what the client has written and do not go
// back, and writes are seen in the order in which they were made and after what
// their writer had read: read your writes, monotonic reads, monotonic writes, writes
// follow reads (Terry, Demers, Petersen, Spreitzer, Theimer, Welch: Session Guarantees
// for Weakly Consistent Replicated Data, PDIS 1994).
//
// A process is a session. The operations are write [key, version] and read [key, null],
// which completes with [key, version], or with [key, null] if nothing was there. Each
// key is written by one process, versions 1, 2, 3 and so on, so that nobody has to ask
// which of two is newer.
package session

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// The functions.
const (
	Read  = "read"
	Write = "write"
)

// A Session is what a system under test offers to this workload, as one client sees
// it. It carries what the client has seen, and is not shared. Its calls come one at a
// time and return soon after ctx has ended. What an error means is what
// [workloads.Client] says: one that is not marked as definite leaves open whether the
// operation took place.
type Session interface {
	// Write sets key to version v.
	Write(ctx context.Context, key string, v int64) (workloads.Said, error)
	// Read returns the version of key at some time that is not before what the
	// session has read and written.
	Read(ctx context.Context, key string) (Result, error)
	// Close ends the session.
	Close() error
}

// A Result is what a system said of a read.
type Result struct {
	// Value is the version that was found, 0 if there is none.
	Value int64
	workloads.Said
}

// perform performs an op by a call of a Session.
func perform(ctx context.Context, s Session, op histories.Op) (workloads.Reply, error) {
	in, err := parseInput(op.F, op.Value)
	if err != nil {
		return workloads.Unreadable(op, err)
	}
	if op.F == Write {
		said, err := s.Write(ctx, in.key, in.version)
		return said.Reply(), err
	}
	r, err := s.Read(ctx, in.key)
	reply := r.Reply()
	if err == nil {
		reply.Value = payload(in.key, r.Value)
	}
	return reply, err
}

// An input is what an operation is asked to do.
type input struct {
	key     string
	version int64 // to write
}

// A call is an operation; its Out is the version that was read.
type call = histories.Call[input, int64]

func parseInput(f string, value json.RawMessage) (input, error) {
	key, v, err := parse(value)
	switch {
	case err != nil:
		return input{}, err
	case f == Read:
		return input{key: key}, nil
	case f != Write:
		return input{}, errors.New("is no function of a session")
	case v <= 0:
		return input{}, errors.New("versions begin with 1")
	}
	return input{key, v}, nil
}

func parseOutput(_ string, value json.RawMessage) (int64, error) {
	_, v, err := parse(value)
	return v, err
}

// parse takes [key, version] apart, where null is version 0.
func parse(value json.RawMessage) (key string, v int64, err error) {
	key, arg, err := workloads.ParseKeyed(value)
	if err != nil {
		return "", 0, err
	}
	return key, v, json.Unmarshal(arg, &v)
}

// payload returns [key, v], or [key, null] for version 0.
func payload(key string, v int64) json.RawMessage {
	if v == 0 {
		return workloads.Keyed(key, nil)
	}
	return workloads.Keyed(key, v)
}
