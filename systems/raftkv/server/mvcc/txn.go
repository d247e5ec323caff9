package mvcc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// Check says what is wrong with a transaction, whatever the state. As etcd does, it looks
// at both branches, and refuses a put of a key that another op of the branch puts, or may
// delete; deletes may overlap, since the second changes nothing.
func Check(t *stored.Txn) error {
	for i, c := range t.GetCompare() {
		switch {
		case c.GetKey() == "":
			return fmt.Errorf("comparison %d: no key", i)
		case c.GetTarget() == nil:
			return fmt.Errorf("comparison %d of %q: with nothing", i, c.Key)
		case c.Relation < api.Relation_RELATION_EQUAL || c.Relation > api.Relation_RELATION_LESS:
			return fmt.Errorf("comparison %d of %q: relation %d is not known", i, c.Key, c.Relation)
		}
	}
	if err := checkOps(t.GetSuccess()); err != nil {
		return fmt.Errorf("success: %w", err)
	}
	if err := checkOps(t.GetFailure()); err != nil {
		return fmt.Errorf("failure: %w", err)
	}
	return nil
}

func checkOps(ops []*api.Op) error {
	var puts []string
	var deletes []*api.Span
	for i, op := range ops {
		var err error
		switch op := op.GetOp().(type) {
		case *api.Op_Put:
			if op.Put.GetKey() == "" {
				err = errors.New("put: no key")
			}
			puts = append(puts, op.Put.GetKey())
		case *api.Op_Delete:
			err = CheckSpan(op.Delete)
			deletes = append(deletes, op.Delete)
		case *api.Op_Range:
			err = CheckSpan(op.Range)
		default:
			err = errors.New("it is none that is known")
		}
		if err != nil {
			return fmt.Errorf("op %d: %w", i, err)
		}
	}
	slices.Sort(puts)
	for i := 1; i < len(puts); i++ {
		if puts[i] == puts[i-1] {
			return fmt.Errorf("key %q is put twice", puts[i])
		}
	}
	for _, span := range deletes {
		// The first key that is not below the span is in it, if any is.
		if i, _ := slices.BinarySearch(puts, span.Key); i < len(puts) && contains(span, puts[i]) {
			return fmt.Errorf("key %q is put and deleted", puts[i])
		}
	}
	return nil
}

// Txn performs a transaction. If it changes something that makes a revision, else none.
// One that makes no sense, by [Check], is refused with INVALID, and one that would put a
// key with a lease that is not there with LEASE_EXPIRED: they change nothing.
func (s *State) Txn(t *stored.Txn) *stored.Outcome {
	out := &stored.Outcome{Revision: s.Revision()}
	if Check(t) != nil {
		out.Refused = api.Reason_REASON_INVALID
		return out
	}
	succeeded := s.compare(t.Compare)
	ops := t.Success
	if !succeeded {
		ops = t.Failure
	}
	for _, op := range ops {
		if lease := op.GetPut().GetLease(); lease != 0 && s.leases[lease] == nil {
			out.Refused = api.Reason_REASON_LEASE_EXPIRED
			return out
		}
	}
	out.Succeeded = succeeded
	c := s.change()
	for _, op := range ops {
		result := &api.Result{}
		switch op := op.Op.(type) {
		case *api.Op_Put:
			result.Kvs = c.put(op.Put)
		case *api.Op_Delete:
			result.Kvs = slices.Collect(s.within(s.head.Root(), op.Delete))
			for _, kv := range result.Kvs {
				c.remove(kv.Key)
			}
		case *api.Op_Range:
			result.Kvs = slices.Collect(s.within(s.head.Root(), op.Range))
		}
		out.Results = append(out.Results, result)
	}
	s.commit(c)
	out.Revision = s.Revision()
	return out
}

// compare says whether all comparisons hold.
func (s *State) compare(comparisons []*api.Compare) bool {
	if s.bug == bug.FirstCompare {
		comparisons = comparisons[:min(1, len(comparisons))]
	}
	for _, c := range comparisons {
		kv, _ := s.head.Get([]byte(s.name(c.Key)))
		if !holds(c, kv) {
			return false
		}
	}
	return true
}

// holds says whether a comparison holds of what a key holds; nil: it is not there.
func holds(c *api.Compare, kv *api.KeyValue) bool {
	var order int
	switch target := c.Target.(type) {
	case *api.Compare_Value:
		if kv == nil { // neither greater nor less than any, and equal to none
			return c.Relation == api.Relation_RELATION_NOT_EQUAL
		}
		order = bytes.Compare(kv.Value, target.Value)
	case *api.Compare_Create:
		order = cmp.Compare(kv.GetCreate(), target.Create)
	case *api.Compare_Mod:
		order = cmp.Compare(kv.GetMod(), target.Mod)
	case *api.Compare_Version:
		order = cmp.Compare(kv.GetVersion(), target.Version)
	case *api.Compare_Lease:
		order = cmp.Compare(kv.GetLease(), target.Lease)
	}
	switch c.Relation {
	case api.Relation_RELATION_EQUAL:
		return order == 0
	case api.Relation_RELATION_NOT_EQUAL:
		return order != 0
	case api.Relation_RELATION_GREATER:
		return order > 0
	default:
		return order < 0
	}
}

// A change is what is to be the next revision. It may come to nothing, but cannot be
// undone: what there is has it already.
type change struct {
	s        *State
	revision uint64
	events   []*api.Event
}

// change begins a change of what there is.
func (s *State) change() *change { return &change{s: s, revision: s.Revision() + 1} }

// commit makes a revision of a change, if it changed something.
func (s *State) commit(c *change) {
	if len(c.events) == 0 {
		return
	}
	s.append(c.events)
	s.autoCompact()
}

// append makes the next revision, at which events have come about.
func (s *State) append(events []*api.Event) {
	r := revision{events: events}
	if (s.Revision()+1)%checkpoint == 0 {
		r.tree = s.commitHead()
	}
	s.revisions = append(s.revisions, r)
}

// put puts a key, and returns what was there before.
func (c *change) put(p *api.Put) (before []*api.KeyValue) {
	kv := &api.KeyValue{
		Key: c.s.name(p.Key), Value: p.Value, Lease: p.Lease,
		Create: c.revision, Mod: c.revision, Version: 1,
	}
	if old, found := c.s.head.Get([]byte(kv.Key)); found {
		kv.Create, kv.Version = old.Create, old.Version+1
		before = []*api.KeyValue{old}
	} else if c.s.bug == bug.VersionKept {
		kv.Version = c.s.kept[kv.Key] + 1
	}
	c.set(kv)
	return before
}

// set makes a key hold what it is to hold.
func (c *change) set(kv *api.KeyValue) {
	old, _ := c.s.head.Insert([]byte(kv.Key), kv)
	c.s.detach(old)
	c.s.attach(kv)
	if c.s.bug == bug.KeyCollision {
		c.s.hashes[hash(kv.Key)] = kv.Key
	}
	c.events = append(c.events, &api.Event{Kv: kv})
}

// remove deletes a key, if it is there.
func (c *change) remove(key string) {
	old, found := c.s.head.Delete([]byte(key))
	if !found {
		return
	}
	c.s.detach(old)
	switch c.s.bug {
	case bug.KeyCollision:
		delete(c.s.hashes, hash(key))
	case bug.VersionKept:
		c.s.kept[key] = old.Version
	}
	c.events = append(c.events, &api.Event{Deleted: true, Kv: &api.KeyValue{Key: key, Mod: c.revision}})
}

// name returns the key that is meant by key: itself.
func (s *State) name(key string) string {
	if s.bug == bug.KeyCollision {
		if other, found := s.hashes[hash(key)]; found {
			return other
		}
	}
	return key
}

// hash is the short one of [bug.KeyCollision]: FNV-1a, folded to a byte.
func hash(key string) byte {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return byte(h ^ h>>8 ^ h>>16 ^ h>>24)
}
