package workloads

import (
	"time"
)

// A Remainder is what a system must hold at the end of a run, for a
// [checker.ReadBack]: objects, by what a note calls them, with what is known of when they
// were read. The zero Remainder is nothing.
type Remainder struct {
	names []string // in the order in which they became known
	held  map[string]time.Duration
	read  map[string]time.Duration
}

// Holds notes that an object holds something for certain, and that reads tell all of it
// only if they begin after a time; 0 if any does.
func (r *Remainder) Holds(name string, from time.Duration) {
	if r.held == nil {
		r.held = map[string]time.Duration{}
	}
	before, known := r.held[name]
	if !known {
		r.names = append(r.names, name)
	}
	r.held[name] = max(before, from)
}

// Read notes that a read of an object succeeded that had begun at a time.
func (r *Remainder) Read(name string, begun time.Duration) {
	if r.read == nil {
		r.read = map[string]time.Duration{}
	}
	r.read[name] = max(r.read[name], begun)
}

// Unread returns how many objects hold something, and those that no read has told of
// that began after since. There is no error.
func (r *Remainder) Unread(since time.Duration) (objects int, unread []string, _ error) {
	for _, name := range r.names {
		if r.read[name] <= max(since, r.held[name]) {
			unread = append(unread, name)
		}
	}
	return len(r.names), unread, nil
}
