package workloads

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A Track is what somebody or something was from time to time, as a history tells: where a
// machine ran, who held a lock. It is drawn beside the ops and proves nothing. Slices of one
// may overlap: what must not be is Bad, and of what is [Perhaps] nobody knows.
type Track struct {
	Group string // "machines", "hosts", "locks"
	Name  string // "vm3"
	// Subject is what it tells of, where Name says more, such as who says so: "vm3" of
	// "vm3 by the control plane". Empty: Name.
	Subject string
	// Keys are those of the calls that are about its subject, if that is not its key: the
	// token by which a client has asked for a machine. Events are the indices of the
	// events that are, ascending.
	Keys   []string
	Events []int
	// Node is where all of it took place; empty: at no one node.
	Node   string
	Slices []Slice // by From
}

// About returns the name of what t tells of.
func (t Track) About() string { return cmp.Or(t.Subject, t.Name) }

// A Slice is what it was from one time to another.
type Slice struct {
	From, To time.Duration // To is histories.Never if it did not end
	Label    string        // "on n4, epoch 2"
	// Class is what all slices of one colour have in common: the host, the holder.
	Class string
	// Bad says that it must not be, such as a second copy.
	Bad bool
	// Op is an op that tells of it; -1: none.
	Op int
}

// Perhaps is the class of slices of which nobody knows whether they were so.
const Perhaps = "perhaps"

// Held returns the slices of what somebody held: from one time on, for sure until another, and
// perhaps until it is known to be over, which is [histories.Never] if it never was. class is
// the holder, label says more, how says how it ended, to follow the label, and op tells of it.
// The first slice is the one that is sure, be it but a moment.
func Held(class, label, how string, from, sure, over time.Duration, op int) []Slice {
	sure = max(from, sure)
	held := Slice{From: from, To: sure, Label: label, Class: class, Op: op}
	if over <= sure {
		held.Label += how
		return []Slice{held}
	}
	return []Slice{held, Maybe(label+how, sure, over, op)}
}

// Maybe returns a slice of which nobody knows whether it was so.
func Maybe(label string, from, to time.Duration, op int) Slice {
	return Slice{From: from, To: max(from, to), Label: Perhaps + " " + label, Class: Perhaps, Op: op}
}

// Answered returns when it was last heard of a call whose outcome nobody knows: when it was
// given up, or if not even that is told, when it was invoked.
func Answered[In, Out any](h *histories.History, c histories.Call[In, Out]) time.Duration {
	if c.Completion < 0 {
		return c.Invoked
	}
	return h.At(c.Completion).Time
}

// Tracks returns the tracks of a group with their slices, which it puts in order. The tracks
// are ordered by their names, shorter ones first, so that l2 comes before l10.
func Tracks(group string, byName map[string][]Slice) []Track {
	names := slices.SortedFunc(maps.Keys(byName), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	var tracks []Track
	for _, name := range names {
		all := byName[name]
		slices.SortStableFunc(all, func(a, b Slice) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Op, b.Op)) })
		tracks = append(tracks, Track{Group: group, Name: name, Slices: all})
	}
	return tracks
}
