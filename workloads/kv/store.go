// Package kv is the workload of a whole key-value store over revisions: puts,
// deletes, reads of a key and of a range, and transactions, all judged as one object.
//
// A store of etcd's kind numbers the transactions that change something, densely, and
// says of every answer at which revision it stood. So the order of the writes is not
// to be searched for: it is claimed, and what is left is to look whether everything
// agrees with the claim. That takes O(n log n), where linearizability of many keys
// together is NP-complete (Gibbons and Korach, "Testing shared memories", 1997). A
// claim that is wrong is a finding of its own.
package kv

import (
	"context"

	"github.com/hacheck/hacheck/workloads"
)

// A Store is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether the operation took place.
//
// In each answer Said.Revision is the revision of the store at which the operation
// took place, and is what the verdict rests on: of a write the one that it made, of
// all that changed nothing the one whose state it saw. Revisions grow by one with
// each transaction that changes something, whoever asked for it, and by nothing else.
type Store interface {
	// Get returns what key holds: one KV or none.
	Get(ctx context.Context, key string, m Mode) (Read, error)
	// Range returns all keys that begin with prefix, in one state of the store.
	Range(ctx context.Context, prefix string, m Mode) (Read, error)
	// Put sets key to value.
	Put(ctx context.Context, key, value string) (Written, error)
	// Delete removes key. It changes nothing, and makes no revision, if there is
	// nothing to remove.
	Delete(ctx context.Context, key string) (Written, error)
	// Txn does one of two things, all at once. That it did the other thing is no error.
	Txn(ctx context.Context, t Txn) (Decided, error)
	// Compact lets the store forget what was before a revision, of which no more than
	// that is to be seen: what there is stays. It makes no revision.
	Compact(ctx context.Context, revision uint64) (workloads.Said, error)
	// Close ends the connection.
	Close() error
}

// A Mode says which state a read is to see. The zero Mode is that of a linearizable
// read: of the latest state, which nobody can have seen being replaced before.
type Mode struct {
	// At is the revision whose state is asked for; 0 is the latest. A system that does
	// not have it any more, as it was compacted, or not yet, refuses, which is definite.
	// The revision of the answer is At or a later one.
	At uint64 `json:"at,omitempty"`
	// Serializable permits an old state, the one that the node asked happens to have.
	Serializable bool `json:"serializable,omitempty"`
}

// A KV is a key with what it holds.
type KV struct {
	Key, Value string
	// Create is the revision at which it came to be, Mod that of its last change;
	// Version counts the puts since it came to be, from 1.
	Create, Mod, Version uint64
}

// A Read is the answer to a read.
type Read struct {
	KVs []KV
	workloads.Said
}

// Written is the answer to a write.
type Written struct {
	// Deleted says that a delete found something to delete.
	Deleted bool
	workloads.Said
}

// A Txn is a transaction: if all comparisons hold, Then is done, and otherwise Else,
// one action after the other. No branch writes a key twice, or reads what it wrote.
type Txn struct {
	If   []Compare `json:"if,omitempty"`
	Then []Action  `json:"then,omitempty"`
	Else []Action  `json:"else,omitempty"`
}

// A Compare is a condition of a transaction on the state before it.
type Compare struct {
	Key string
	// By says what is compared: [Value] or [Mod].
	By string
	// Value is what the key must hold.
	Value string
	// Mod is what the key's mod revision must be; 0: the key is not there.
	Mod uint64
}

// What can be compared.
const (
	Value = "value"
	Mod   = "mod"
)

// An Action is a part of a transaction.
type Action struct {
	// F is [Get], [Put] or [Delete].
	F          string
	Key, Value string
}

// A Result is what became of an action.
type Result struct {
	// KV is what a get found, nil for nothing.
	KV *KV
	// Deleted says that a delete found something to delete.
	Deleted bool
}

// Decided is the answer to a transaction.
type Decided struct {
	// Succeeded says that the comparisons held.
	Succeeded bool
	// Results are those of the actions that were done, in their order.
	Results []Result
	workloads.Said
}
