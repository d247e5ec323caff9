package mvcc

import (
	"errors"
	"iter"
	"slices"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// Range reads the keys of a span at a revision, of which 0 is the latest; at most limit
// of them, of which 0 is all. The answer counts those, too, that are above the limit. An
// error is definite: INVALID, COMPACTED or NOT_YET.
func (s *State) Range(span *api.Span, revision uint64, limit uint32) (*api.RangeResponse, *api.Error) {
	if err := CheckSpan(span); err != nil {
		return nil, api.Definite(api.Reason_REASON_INVALID, "%w", err)
	}
	switch {
	case revision == 0:
		revision = s.Revision()
	case revision > s.Revision():
		return nil, api.Definite(api.Reason_REASON_NOT_YET, "revision %d is yet to come: the latest is %d", revision, s.Revision())
	case revision < s.compacted:
		return nil, api.Definite(api.Reason_REASON_COMPACTED, "revision %d was compacted: the first that remains is %d", revision, s.compacted)
	}
	answer := &api.RangeResponse{Revision: revision}
	root := s.head.Root()
	if revision < s.Revision() {
		root = s.at(revision, span).Root()
	}
	for kv := range s.within(root, span) {
		if answer.Count++; limit == 0 || answer.Count <= uint64(limit) {
			answer.Kvs = append(answer.Kvs, kv)
		}
	}
	return answer, nil
}

// Events returns what was changed in a span from a revision on, in order. These are whole
// revisions, and no more of them than it takes to come to atMost events, of which 0 or
// less is all. Everything in the span up to revision to is among them; if from is yet to
// come that is the latest revision. A compacted that is not 0 is the first revision that
// remains: what was changed at from is forgotten, and nothing is returned.
func (s *State) Events(span *api.Span, from uint64, atMost int) (events []*api.Event, to, compacted uint64) {
	if s.bug == bug.WatchSkipsCompacted {
		from = max(from, s.compacted+1)
	}
	if from <= s.compacted && s.compacted > 0 {
		return nil, 0, s.compacted
	}
	// At revision 0 nothing was changed.
	for to = max(from, 1); to <= s.Revision(); to++ {
		for _, e := range s.revisions[to-s.compacted].events {
			if contains(span, e.Kv.Key) {
				events = append(events, e)
			}
		}
		if atMost > 0 && len(events) >= atMost {
			break
		}
	}
	if s.bug == bug.WatchReorders {
		slices.SortStableFunc(events, func(a, b *api.Event) int { return strings.Compare(a.Kv.Key, b.Kv.Key) })
	}
	return events, min(to, s.Revision()), 0
}

// CheckSpan says what is wrong with a span: it names no key, or is both a prefix and an
// interval. One that nothing can be in is none the less right.
func CheckSpan(span *api.Span) error {
	switch {
	case span.GetPrefix() && span.GetEnd() != "":
		return errors.New("span: both a prefix and an end")
	case span.GetKey() == "" && span.GetEnd() == "" && !span.GetPrefix():
		return errors.New("span: no key")
	}
	return nil
}

// everything is the span of all keys.
var everything = &api.Span{Prefix: true}

// contains says whether key is in the span.
func contains(span *api.Span, key string) bool {
	switch {
	case span.Prefix:
		return strings.HasPrefix(key, span.Key)
	case span.End != "":
		return span.Key <= key && key < span.End
	}
	return key == span.Key
}

// within yields what a tree holds in the span, ascending by key.
func (s *State) within(root *iradix.Node[*api.KeyValue], span *api.Span) iter.Seq[*api.KeyValue] {
	return func(yield func(*api.KeyValue) bool) {
		if !span.Prefix && span.End == "" {
			if kv, found := root.Get([]byte(s.name(span.Key))); found {
				yield(kv)
			}
			return
		}
		it := root.Iterator()
		if span.Prefix {
			it.SeekPrefix([]byte(span.Key))
		} else {
			it.SeekLowerBound([]byte(span.Key))
		}
		for _, kv, ok := it.Next(); ok && contains(span, kv.Key); _, kv, ok = it.Next() {
			if !yield(kv) {
				return
			}
		}
	}
}

// walk yields all that is below a node, ascending by key.
func walk[T any](root *iradix.Node[T]) iter.Seq2[[]byte, T] {
	return func(yield func([]byte, T) bool) {
		root.Walk(func(key []byte, value T) bool { return !yield(key, value) })
	}
}
