package mvcc

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// A Frozen is a State as it was, which can be read while that goes on.
type Frozen struct {
	bug       string
	compacted uint64
	base      *tree
	revisions []revision
	leases    *iradix.Tree[*stored.Lease]
	time      uint64
	clock     *stored.Clock
}

// Freeze returns the state as it is now. It takes no longer for a large one.
func (s *State) Freeze() *Frozen {
	return &Frozen{
		bug:       s.bug,
		compacted: s.compacted,
		base:      s.base,
		revisions: s.revisions,
		leases:    s.deadlines,
		time:      s.time,
		clock:     s.clock,
	}
}

// Head returns what is to stand in the [stored.Head] of a snapshot; clock is nil if no
// clock was read yet.
func (f *Frozen) Head() (revision, compacted, timeNS uint64, clock *stored.Clock) {
	return f.compacted + uint64(len(f.revisions)) - 1, f.compacted, f.time, f.clock
}

// batch is by how many versions a writer goes that has [bug.SnapshotDropsKeys].
const batch = 16

// Write hands put the records of a snapshot that are the state's: versions, then leases.
// It returns how many they were, for the [stored.Tail], and the error of put.
func (f *Frozen) Write(put func(*stored.Record) error) (versions, leases uint64, err error) {
	end := ^uint64(0)
	if f.bug == bug.SnapshotDropsKeys {
		end = f.count() / batch * batch
	}
	for v := range f.versions() {
		if versions == end {
			break
		}
		if f.bug == bug.SnapshotResurrects && v.Deleted {
			continue
		}
		if err := put(&stored.Record{Record: &stored.Record_Version{Version: v}}); err != nil {
			return versions, leases, err
		}
		versions++
	}
	if f.bug == bug.SnapshotDropsLeases {
		return versions, leases, nil
	}
	for _, l := range walk(f.leases.Root()) {
		if err := put(&stored.Record{Record: &stored.Record_Lease{Lease: l}}); err != nil {
			return versions, leases, err
		}
		leases++
	}
	return versions, leases, nil
}

// versions yields what there was at the first revision that remains, and then what was
// changed, in the order of revisions.
func (f *Frozen) versions() iter.Seq[*stored.Version] {
	return func(yield func(*stored.Version) bool) {
		base := make([]*api.KeyValue, 0, f.base.Len())
		for _, kv := range walk(f.base.Root()) {
			base = append(base, kv)
		}
		slices.SortStableFunc(base, func(a, b *api.KeyValue) int { return cmp.Compare(a.Mod, b.Mod) })
		for _, kv := range base {
			if !yield(&stored.Version{Kv: kv}) {
				return
			}
		}
		for _, r := range f.revisions[1:] {
			for _, e := range r.events {
				if !yield(&stored.Version{Deleted: e.Deleted, Kv: e.Kv}) {
					return
				}
			}
		}
	}
}

// count returns how many versions there are.
func (f *Frozen) count() uint64 {
	n := f.base.Len()
	for _, r := range f.revisions[1:] {
		n += len(r.events)
	}
	return uint64(n)
}

// A loading is a state on its way from a snapshot.
type loading struct {
	revision         uint64 // of the state
	at               uint64 // revision of the last record
	change           *change
	versions, leases uint64
}

// Begin makes the state one that is to be what a snapshot says, of which Load is handed
// the versions and leases, in the order in which they stand, and then End the tail. Until
// that has returned no other method may be called, and if one of them returns an error
// the state is of no use.
func (s *State) Begin(h *stored.Head) {
	s.reset()
	s.compacted, s.time, s.clock = h.Compacted, h.TimeNs, h.Clock
	s.loading = &loading{revision: h.Revision, at: h.Compacted, change: s.change()}
}

// Load takes a record of a snapshot, which is a version or a lease. It returns an error
// if it is neither, or not what Write could have written.
func (s *State) Load(r *stored.Record) error {
	switch r := r.GetRecord().(type) {
	case *stored.Record_Version:
		s.loading.versions++
		return s.loadVersion(r.Version)
	case *stored.Record_Lease:
		s.loading.leases++
		if r.Lease.GetId() == 0 || s.leases[r.Lease.Id] != nil || r.Lease.DeadlineNs <= s.time {
			return fmt.Errorf("lease %d has no number, is there already, or has ended", r.Lease.GetId())
		}
		s.leases[r.Lease.Id] = &lease{keys: map[string]struct{}{}}
		s.schedule(r.Lease)
		return nil
	}
	return errors.New("it is neither a version nor a lease")
}

func (s *State) loadVersion(v *stored.Version) error {
	kv := v.GetKv()
	if kv.GetKey() == "" || kv.Mod == 0 || kv.Mod > s.loading.revision {
		return fmt.Errorf("version of key %q: revision %d, of %d", kv.GetKey(), kv.GetMod(), s.loading.revision)
	}
	switch at := max(kv.Mod, s.compacted); {
	case at < s.loading.at:
		return fmt.Errorf("version of key %q: revision %d comes after %d", kv.Key, kv.Mod, s.loading.at)
	case at > s.loading.at:
		s.loadUpTo(at)
	}
	if v.Deleted {
		s.loading.change.remove(kv.Key)
	} else {
		s.loading.change.set(kv)
	}
	return nil
}

// loadUpTo makes a revision of what was loaded, and empty ones up to that before at: those
// there are after bugs alone, and even then numbers have to be right.
func (s *State) loadUpTo(at uint64) {
	if s.loading.at == s.compacted {
		s.base = s.commitHead()
	} else {
		s.append(s.loading.change.events)
	}
	for s.Revision()+1 < at {
		s.append(nil)
	}
	s.loading.at, s.loading.change = at, s.change()
}

// End says that all was loaded. It returns an error if something is missing.
func (s *State) End(t *stored.Tail) error {
	switch l := s.loading; {
	case l.versions != t.Versions || l.leases != t.Leases:
		return fmt.Errorf("it holds %d versions of keys and %d leases where %d and %d were written", l.versions, l.leases, t.Versions, t.Leases)
	case l.revision < s.compacted:
		return fmt.Errorf("its revision is %d, and the first that remains %d", l.revision, s.compacted)
	}
	s.loadUpTo(s.loading.revision + 1)
	s.loading = nil
	for _, kv := range walk(s.head.Root()) {
		s.attach(kv)
	}
	if s.bug == bug.RevisionGoesBack {
		s.goBack()
	}
	return nil
}

// goBack is for [bug.RevisionGoesBack].
func (s *State) goBack() {
	head, last := s.commitHead(), uint64(0)
	for _, kv := range walk(head.Root()) {
		last = max(last, kv.Mod)
	}
	if last <= s.compacted {
		s.compacted, s.base, s.revisions = last, head, s.revisions[:1]
		return
	}
	s.revisions = s.revisions[:last-s.compacted+1]
	s.revisions[last-s.compacted].tree = head
}
