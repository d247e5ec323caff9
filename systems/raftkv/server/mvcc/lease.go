package mvcc

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// maxTTL is the longest that a lease may last, in milliseconds: what it may in etcd
// (lease.MaxLeaseTTL), 285 years. Its nanoseconds are still a number.
const maxTTL = 9_000_000_000_000

// A lease is one that lasts. What is stored of it is never written to, since snapshots
// share it.
type lease struct {
	*stored.Lease
	keys map[string]struct{} // that were put with it
}

// ended is what [bug.LeaseRevives] remembers of a lease that ended.
type ended struct {
	ttlMS uint64
	kvs   []*api.KeyValue
}

// Grant makes a lease. An id that is 0, or that is there, and a time of 0, or of more
// than 285 years, are refused with INVALID. To know what the time is, Advance comes first.
func (s *State) Grant(id, ttlMS uint64) *stored.Outcome {
	out := &stored.Outcome{Revision: s.Revision()}
	if id == 0 || s.leases[id] != nil || ttlMS == 0 || ttlMS > maxTTL {
		out.Refused = api.Reason_REASON_INVALID
		return out
	}
	s.leases[id] = &lease{keys: map[string]struct{}{}}
	s.extend(id, ttlMS)
	out.TtlMs = ttlMS
	return out
}

// KeepAlive makes a lease last for its time from now on. One that is not there is
// refused with LEASE_EXPIRED. To know what the time is, Advance comes first.
func (s *State) KeepAlive(id uint64) *stored.Outcome {
	if s.bug == bug.LeaseRevives {
		s.revive(id)
	}
	out := &stored.Outcome{Revision: s.Revision()}
	l := s.leases[id]
	if l == nil {
		out.Refused = api.Reason_REASON_LEASE_EXPIRED
		return out
	}
	s.extend(id, l.TtlMs)
	out.TtlMs = l.TtlMs
	return out
}

// Revoke ends a lease, and deletes its keys, which makes one revision if it has any. One
// that is not there is refused with LEASE_EXPIRED.
func (s *State) Revoke(id uint64) *stored.Outcome {
	out := &stored.Outcome{}
	if l := s.leases[id]; l != nil {
		s.end(l)
	} else {
		out.Refused = api.Reason_REASON_LEASE_EXPIRED
	}
	out.Revision = s.Revision()
	return out
}

// Advance says what the leader's clock shows; nil: nothing. By as much as it has gone on
// since its last reading, the time of leases goes on, and those end whose time has come,
// by deadline and then by id, each with a revision of its own if it has keys.
//
// Readings of two terms are of two clocks: the first of a term only begins anew. So
// time in which nobody led is not counted, and a lease is never too short: what is
// counted after it was granted lies after the reading that it was granted with. A
// reading of an earlier term that came late begins anew, too, for that reason.
func (s *State) Advance(c *stored.Clock) {
	if c == nil {
		return
	}
	if s.clock != nil && c.Term == s.clock.Term {
		if c.Ns <= s.clock.Ns {
			return // entries of a leader may be a little out of order
		}
		s.time += c.Ns - s.clock.Ns
	}
	s.clock = c
	for {
		_, first, found := s.deadlines.Root().Minimum()
		if !found || first.DeadlineNs > s.time {
			return
		}
		s.end(s.leases[first.Id])
	}
}

// LeaseCount returns how many leases there are.
func (s *State) LeaseCount() int { return len(s.leases) }

// Describe says how a lease stands, with its keys ascending, if it is there.
func (s *State) Describe(id uint64) (*api.DescribeLeaseResponse, bool) {
	l := s.leases[id]
	if l == nil {
		return nil, false
	}
	return &api.DescribeLeaseResponse{
		TtlMs:  l.TtlMs,
		LeftMs: (l.DeadlineNs - s.time) / uint64(time.Millisecond),
		Keys:   slices.Sorted(maps.Keys(l.keys)),
	}, true
}

// extend makes a lease that is in the table last from now on.
func (s *State) extend(id, ttlMS uint64) {
	s.schedule(&stored.Lease{Id: id, TtlMs: ttlMS, DeadlineNs: s.time + ttlMS*uint64(time.Millisecond)})
}

// schedule makes a lease that is in the table end when l says.
func (s *State) schedule(l *stored.Lease) {
	known := s.leases[l.Id]
	txn := s.deadlines.Txn()
	if known.Lease != nil {
		txn.Delete(deadlineKey(known.Lease))
	}
	txn.Insert(deadlineKey(l), l)
	s.deadlines, known.Lease = txn.Commit(), l
}

// end ends a lease, and deletes its keys.
func (s *State) end(l *lease) {
	delete(s.leases, l.Id)
	s.deadlines, _, _ = s.deadlines.Delete(deadlineKey(l.Lease))
	c := s.change()
	var gone []*api.KeyValue
	for _, key := range slices.Sorted(maps.Keys(l.keys)) {
		kv, found := s.head.Get([]byte(key))
		if !found || s.bug == bug.LeaseKeepsKeys && kv.Version > 1 {
			continue
		}
		c.remove(key)
		gone = append(gone, kv)
	}
	if s.bug == bug.LeaseRevives {
		s.ended[l.Id] = ended{l.TtlMs, gone}
	}
	s.commit(c)
}

// revive is for [bug.LeaseRevives]: it makes a lease again that has ended, with those of
// its keys that nobody has put since.
func (s *State) revive(id uint64) {
	old, found := s.ended[id]
	if !found {
		return
	}
	delete(s.ended, id)
	s.Grant(id, old.ttlMS)
	c := s.change()
	for _, kv := range old.kvs {
		if _, found := s.head.Get([]byte(kv.Key)); !found {
			c.put(&api.Put{Key: kv.Key, Value: kv.Value, Lease: id})
		}
	}
	s.commit(c)
}

// attach makes a key end with the lease that it was put with.
func (s *State) attach(kv *api.KeyValue) {
	if l := s.leases[kv.GetLease()]; l != nil {
		l.keys[kv.Key] = struct{}{}
	}
}

// detach undoes attach, of what a key held; nil: nothing.
func (s *State) detach(kv *api.KeyValue) {
	if l := s.leases[kv.GetLease()]; l != nil {
		delete(l.keys, kv.Key)
	}
}

// deadlineKey returns a key by which leases stand in the order in which they end.
func deadlineKey(l *stored.Lease) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, l.DeadlineNs), l.Id)
}
