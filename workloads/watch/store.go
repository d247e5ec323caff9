// Package watch is the workload of watch streams: clients write keys, and watchers
// follow what changes, from one operation to the next, over every failure. Each is to
// be told of every change once, in the order of revisions, up to the last one.
package watch

import (
	"context"
	"time"

	"github.com/hacheck/hacheck/workloads"
)

// A Store is what a system under test offers to this workload, as one client sees
// it. Its calls come one at a time and return soon after ctx has ended. What an
// error means is what [workloads.Client] says: one that is not marked as definite
// leaves open whether the operation took place.
type Store interface {
	// Put sets key to value. Said.Revision is the one that it made.
	Put(ctx context.Context, key, value string) (workloads.Said, error)
	// Delete removes key. Said.Revision is the one that it made, or 0 if there was
	// nothing to remove: then nothing changes, and nobody is told.
	Delete(ctx context.Context, key string) (workloads.Said, error)
	// Compact lets the store forget what was before a revision. Nothing else does.
	Compact(ctx context.Context, revision uint64) (workloads.Said, error)
	// Revision asks, linearizably, for the store's present revision: Said.Revision.
	Revision(ctx context.Context) (workloads.Said, error)
	// Watch collects the events that r asks for. It returns when r.Wait has passed, or
	// sooner if it has r.Limit events, with what it has by then, be it nothing. A stream
	// that breaks meanwhile it resumes, on whichever node answers.
	//
	// The call that follows mostly asks for the same keys, from batch.To+1 on, so
	// that the stream may be kept until then. One that asks for something else gets
	// a new stream.
	Watch(ctx context.Context, r Request) (Batch, error)
	// Close ends the connection, and the stream.
	Close() error
}

// A Request says which events a watcher wants.
type Request struct {
	Keys Keys
	// From is the first revision of interest; the store may not have come to it yet.
	From uint64
	// Wait is how long to collect events; Limit is when there are enough of them.
	Wait  time.Duration
	Limit int
}

// Keys are the keys from Key on that are below End; or if End is empty, Key alone.
type Keys struct {
	Key string `json:"key,omitempty"`
	End string `json:"end,omitempty"`
}

func (k Keys) contain(key string) bool {
	return key == k.Key || k.End != "" && k.Key < key && key < k.End
}

// A Batch is what a watcher was told.
type Batch struct {
	// Events in the order in which they came.
	Events []Event
	// To is the revision up to which every event has been told, as events and notices
	// of progress say; at least Request.From-1. Of the last revision no event is missing.
	To uint64
	// Compacted is the first revision that remains, if what comes after To was
	// compacted; otherwise 0. Events are to be had from the revision after it on.
	Compacted uint64
	// Resumed is how often the stream broke and was resumed.
	Resumed int
	workloads.Said
}

// An Event is a change of a key.
type Event struct {
	Revision uint64
	Deleted  bool
	Key      string
	Value    string // that was put
}
