// Package mvcc is the state of raftkv: keys with all they held since some revision,
// and leases. It knows nothing of Raft. What it becomes depends on the calls alone
// that change it, and on their order, so nodes that make the same calls hold the same.
//
// What there is now is a tree, and so is what there was at every 256th revision.
// They share what did not change between them, so that keeping one costs little. The
// others are made when somebody reads them, of the one before and of what was changed
// since. A snapshot is the first of the trees and all that was changed.
package mvcc

import (
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// defaultKeep is for an Options without Keep.
const defaultKeep = 10_000

// Options are of a State. Nodes that differ in them come to differ in their state.
type Options struct {
	// Keep is how many revisions before the latest one remain at least, unless a client
	// compacts them: when there are a quarter more, they are compacted to as many; 0:
	// 10,000.
	Keep uint64
	// Bug is the name of a deliberate mistake, see package bug; empty: none.
	Bug string
}

// checkpoint is by how many revisions those are apart of which a tree is kept. Each makes
// changes dearer, since what it holds cannot be written to any more; without it old
// revisions would take long to read. A read of one makes up for half as many changes.
const checkpoint = 256

// A State is what a node holds. Its methods may be called by one goroutine that changes
// it, or by several that read. Nobody may write to what it was given or has returned:
// keys, values and events are shared between revisions, answers and snapshots.
type State struct {
	keep uint64
	bug  string

	// compacted is the first revision that remains, base what there was at it, and revisions
	// what was changed at it, which is forgotten, and at each that came after it. Elements
	// are never written to, since snapshots share them.
	compacted uint64
	base      *tree
	revisions []revision
	// head is what there is now. It is written in place where no tree shares it.
	head *iradix.Txn[*api.KeyValue]

	leases map[uint64]*lease
	// deadlines are the leases as they are stored, by what deadlineKey makes of them: in
	// the order in which they end.
	deadlines *iradix.Tree[*stored.Lease]
	// time is for how long leases have been looked after, in nanoseconds, and clock the
	// last reading that it was reckoned by; nil: none yet.
	time  uint64
	clock *stored.Clock

	loading *loading // while a snapshot is read, else nil

	// What bugs remember: of KeyCollision the key that is there, by its hash; of VersionKept
	// the version that a key had when it was deleted; of LeaseRevives what leases had that
	// ended.
	hashes map[byte]string
	ended  map[uint64]ended
	kept   map[string]uint64
}

// A tree holds what there is at a revision, by key.
type tree = iradix.Tree[*api.KeyValue]

// A revision is what was changed at it: of one key not more than once, in the order of
// the changes; and what there was then, if that is kept.
type revision struct {
	events []*api.Event
	tree   *tree // nil: it is not kept
}

// New returns a state in which there is nothing, at revision 0.
func New(o Options) *State {
	s := &State{keep: o.Keep, bug: o.Bug}
	if s.keep == 0 {
		s.keep = defaultKeep
	}
	s.reset()
	return s
}

// reset makes the state what it was when it was new.
func (s *State) reset() {
	empty := iradix.New[*api.KeyValue]()
	*s = State{
		keep: s.keep, bug: s.bug,
		base: empty, revisions: make([]revision, 1), head: empty.Txn(),
		leases:    map[uint64]*lease{},
		deadlines: iradix.New[*stored.Lease](),
		hashes:    map[byte]string{},
		ended:     map[uint64]ended{},
		kept:      map[string]uint64{},
	}
}

// Revision returns the revision of the last change; 0: there was none yet.
func (s *State) Revision() uint64 { return s.compacted + uint64(len(s.revisions)) - 1 }

// Compacted returns the first revision that remains: what there was at it can be read,
// and what was changed from the one after it on. It is 0 at first.
func (s *State) Compacted() uint64 { return s.compacted }

// at returns a tree that holds, in the span, what there was at a revision that remains.
// What it holds elsewhere may be older.
func (s *State) at(revision uint64, span *api.Span) *tree {
	index := int(revision - s.compacted)
	from := index
	for from > 0 && s.revisions[from].tree == nil {
		from--
	}
	t := s.base
	if from > 0 {
		t = s.revisions[from].tree
	}
	if from == index {
		return t
	}
	txn := t.Txn()
	for _, r := range s.revisions[from+1 : index+1] {
		for _, e := range r.events {
			switch {
			case !contains(span, e.Kv.Key):
			case e.Deleted:
				txn.Delete([]byte(e.Kv.Key))
			default:
				txn.Insert([]byte(e.Kv.Key), e.Kv)
			}
		}
	}
	return txn.Commit()
}

// Compact forgets what there was before a revision. One that is yet to come is refused
// with NOT_YET. If it was forgotten already nothing happens. The outcome says what
// remains.
func (s *State) Compact(revision uint64) *stored.Outcome {
	out := &stored.Outcome{}
	if revision > s.Revision() {
		out.Refused = api.Reason_REASON_NOT_YET
	} else {
		s.compact(revision)
	}
	out.Revision, out.Compacted = s.Revision(), s.compacted
	return out
}

// compact makes a revision that is not yet to come the first that remains, if it is not
// past that.
func (s *State) compact(revision uint64) {
	if revision <= s.compacted {
		return
	}
	s.base = s.at(revision, everything)
	gone := revision - s.compacted
	rest := s.revisions[gone:]
	// What is gone stays in memory as long as the array does. Copied when there is less to
	// copy than to free, it costs nothing that was not paid for by those revisions; else
	// the array goes when the next one outgrows it.
	if gone >= uint64(len(rest)) {
		rest = slices.Clone(rest)
	}
	s.compacted, s.revisions = revision, rest
	if s.bug == bug.CompactLive {
		s.forgetLive()
	}
}

// autoCompact does by itself what clients may forget to ask for. That depends on the
// state alone, and so happens everywhere at the same revision.
func (s *State) autoCompact() {
	if latest := s.Revision(); latest-s.compacted > s.keep+s.keep/4 {
		s.compact(latest - s.keep)
	}
}

// forgetLive is for [bug.CompactLive]: of keys that have not changed since the first
// revision that remains it drops the last thing that they held, too.
func (s *State) forgetLive() {
	base := s.base.Txn()
	for key := range walk(s.base.Root()) {
		if kv, found := s.head.Get(key); !found || kv.Mod <= s.compacted {
			base.Delete(key)
			s.head.Delete(key)
		}
	}
	s.base = base.Commit()
}

// commitHead returns what there is, as a tree that stays as it is.
func (s *State) commitHead() *tree {
	t := s.head.Commit()
	s.head = t.Txn()
	return t
}
