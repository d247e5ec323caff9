package mvcc

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/hacheck/hacheck/systems/raftkv/server/api"
	"github.com/hacheck/hacheck/systems/raftkv/server/stored"
)

// A model does what a State does in the plainest way: it keeps a copy of all keys for
// each revision.
type model struct {
	keep, compacted uint64
	states          []map[string]kv // by revision, of all revisions
	events          [][]event
	leases          map[uint64]modelLease
	time            uint64
	clock           *stored.Clock
}

type kv struct {
	key, value                  string
	create, mod, version, lease uint64
}

type event struct {
	deleted bool
	kv      kv
}

type modelLease struct{ ttl, deadline uint64 }

func newModel(keep uint64) *model {
	return &model{keep: keep, states: []map[string]kv{{}}, events: [][]event{nil}, leases: map[uint64]modelLease{}}
}

func (m *model) clone() *model {
	c := *m
	c.states, c.events, c.leases = slices.Clone(m.states), slices.Clone(m.events), maps.Clone(m.leases)
	return &c
}

func (m *model) revision() uint64 { return uint64(len(m.states) - 1) }

func (m *model) now() map[string]kv { return m.states[m.revision()] }

func (m *model) add(state map[string]kv, events []event) {
	if len(events) == 0 {
		return
	}
	m.states, m.events = append(m.states, state), append(m.events, events)
	if m.revision() > m.compacted+m.keep+m.keep/4 {
		m.compacted = m.revision() - m.keep
	}
}

// match says whether key is in the span, and is written unlike the package's.
func match(span *api.Span, key string) bool {
	if span.Prefix {
		return len(key) >= len(span.Key) && key[:len(span.Key)] == span.Key
	}
	if span.End == "" {
		return key == span.Key
	}
	return strings.Compare(span.Key, key) <= 0 && strings.Compare(key, span.End) < 0
}

func spanOK(span *api.Span) bool {
	return !(span.Prefix && span.End != "") && (span.Prefix || span.End != "" || span.Key != "")
}

func find(state map[string]kv, span *api.Span) []kv {
	var found []kv
	for _, key := range slices.Sorted(maps.Keys(state)) {
		if match(span, key) {
			found = append(found, state[key])
		}
	}
	return found
}

func opsOK(ops []*api.Op) bool {
	for i, op := range ops {
		if put := op.GetPut(); put != nil {
			for j, other := range ops {
				if i != j && other.GetPut().GetKey() == put.Key && other.GetPut() != nil ||
					other.GetDelete() != nil && match(other.GetDelete(), put.Key) {
					return false
				}
			}
			if put.Key == "" {
				return false
			}
		} else if span := cmp.Or(op.GetDelete(), op.GetRange()); span == nil || !spanOK(span) {
			return false
		}
	}
	return true
}

func related[T string | uint64](r api.Relation, a, b T) bool {
	return map[api.Relation]bool{
		api.Relation_RELATION_EQUAL: a == b, api.Relation_RELATION_NOT_EQUAL: a != b,
		api.Relation_RELATION_GREATER: a > b, api.Relation_RELATION_LESS: a < b,
	}[r]
}

func (m *model) txn(t *stored.Txn) string {
	for _, c := range t.Compare {
		if c.Key == "" || c.Target == nil {
			return "invalid"
		}
	}
	if !opsOK(t.Success) || !opsOK(t.Failure) {
		return "invalid"
	}
	succeeded := true
	for _, c := range t.Compare {
		had, found := m.now()[c.Key]
		switch target := c.Target.(type) {
		case *api.Compare_Value:
			if found {
				succeeded = succeeded && related(c.Relation, had.value, string(target.Value))
			} else {
				succeeded = succeeded && c.Relation == api.Relation_RELATION_NOT_EQUAL
			}
		case *api.Compare_Create:
			succeeded = succeeded && related(c.Relation, had.create, target.Create)
		case *api.Compare_Mod:
			succeeded = succeeded && related(c.Relation, had.mod, target.Mod)
		case *api.Compare_Version:
			succeeded = succeeded && related(c.Relation, had.version, target.Version)
		case *api.Compare_Lease:
			succeeded = succeeded && related(c.Relation, had.lease, target.Lease)
		}
	}
	ops := t.Failure
	if succeeded {
		ops = t.Success
	}
	state := maps.Clone(m.now())
	next := m.revision() + 1
	var events []event
	var results [][]kv
	for _, op := range ops {
		var result []kv
		switch op := op.Op.(type) {
		case *api.Op_Put:
			if _, found := m.leases[op.Put.Lease]; op.Put.Lease != 0 && !found {
				return "expired"
			}
			put := kv{op.Put.Key, string(op.Put.Value), next, next, 1, op.Put.Lease}
			if old, found := state[put.key]; found {
				result = []kv{old}
				put.create, put.version = old.create, old.version+1
			}
			state[put.key] = put
			events = append(events, event{false, put})
		case *api.Op_Delete:
			result = find(state, op.Delete)
			for _, old := range result {
				delete(state, old.key)
				events = append(events, event{true, kv{key: old.key, mod: next}})
			}
		case *api.Op_Range:
			result = find(state, op.Range)
		}
		results = append(results, result)
	}
	m.add(state, events)
	return fmt.Sprint(succeeded, results)
}

func (m *model) end(id uint64) {
	state, next := maps.Clone(m.now()), m.revision()+1
	var events []event
	for _, had := range find(state, all) {
		if had.lease == id {
			delete(state, had.key)
			events = append(events, event{true, kv{key: had.key, mod: next}})
		}
	}
	delete(m.leases, id)
	m.add(state, events)
}

func (m *model) advance(c *stored.Clock) {
	if m.clock != nil && m.clock.Term == c.Term {
		if c.Ns < m.clock.Ns {
			return
		}
		m.time += c.Ns - m.clock.Ns
	}
	m.clock = c
	var due []uint64
	for id, l := range m.leases {
		if l.deadline <= m.time {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b uint64) int {
		return cmp.Or(cmp.Compare(m.leases[a].deadline, m.leases[b].deadline), cmp.Compare(a, b))
	})
	for _, id := range due {
		m.end(id)
	}
}

func (m *model) between(span *api.Span, from, to uint64) (events []event) {
	for r := from; r <= to; r++ {
		for _, e := range m.events[r] {
			if match(span, e.kv.key) {
				events = append(events, e)
			}
		}
	}
	return events
}

// plain turns what the package says into what the model says.
func plain(k *api.KeyValue) kv {
	return kv{k.GetKey(), string(k.GetValue()), k.GetCreate(), k.GetMod(), k.GetVersion(), k.GetLease()}
}

func plains(kvs []*api.KeyValue) []kv {
	var out []kv
	for _, k := range kvs {
		out = append(out, plain(k))
	}
	return out
}

func plainEvents(events []*api.Event) []event {
	var out []event
	for _, e := range events {
		out = append(out, event{e.Deleted, plain(e.Kv)})
	}
	return out
}

func said(out *stored.Outcome) string {
	switch out.Refused {
	case api.Reason_REASON_INVALID:
		return "invalid"
	case api.Reason_REASON_LEASE_EXPIRED:
		return "expired"
	}
	var results [][]kv
	for _, r := range out.Results {
		results = append(results, plains(r.Kvs))
	}
	return fmt.Sprint(out.Succeeded, results)
}

// equal compares what can be seen of a State with a model; of the revisions of the past
// about a hundred.
func equal(t *testing.T, s *State, m *model) {
	t.Helper()
	if s.Revision() != m.revision() || s.Compacted() != m.compacted || s.LeaseCount() != len(m.leases) {
		t.Fatalf("revision %d, compacted %d, %d leases; want %d, %d, %d",
			s.Revision(), s.Compacted(), s.LeaseCount(), m.revision(), m.compacted, len(m.leases))
	}
	for r := m.revision(); r >= max(1, m.compacted); r -= min(r, 1+(m.revision()-m.compacted)/100) {
		rangesEqual(t, s, m, all, r, 0)
	}
	eventsEqual(t, s, m, all, m.compacted+1, 0)
	for id := range m.leases {
		leaseEqual(t, s, m, id)
	}
}

func rangesEqual(t *testing.T, s *State, m *model, span *api.Span, revision uint64, limit uint32) {
	t.Helper()
	want, wantErr, at := "", api.Reason_REASON_UNSPECIFIED, revision
	if at == 0 {
		at = m.revision()
	}
	switch {
	case !spanOK(span):
		wantErr = api.Reason_REASON_INVALID
	case at > m.revision():
		wantErr = api.Reason_REASON_NOT_YET
	case at < m.compacted:
		wantErr = api.Reason_REASON_COMPACTED
	default:
		found := find(m.states[at], span)
		shown := found
		if limit > 0 {
			shown = found[:min(len(found), int(limit))]
		}
		want = fmt.Sprint(at, len(found), shown)
	}
	answer, err := s.Range(span, revision, limit)
	if err != nil {
		if err.Reason != wantErr || !err.Definite {
			t.Fatalf("range %v at %d: %v, want %v", span, revision, err, wantErr)
		}
		return
	}
	if got := fmt.Sprint(answer.Revision, answer.Count, plains(answer.Kvs)); got != want || wantErr != 0 {
		t.Fatalf("range %v at %d:\n%s\nwant %v\n%s", span, revision, got, wantErr, want)
	}
}

func eventsEqual(t *testing.T, s *State, m *model, span *api.Span, from uint64, atMost int) {
	t.Helper()
	events, to, compacted := s.Events(span, from, atMost)
	if m.compacted > 0 && from <= m.compacted {
		if compacted != m.compacted || len(events) > 0 {
			t.Fatalf("events from %d: %v, compacted %d, want %d", from, events, compacted, m.compacted)
		}
		return
	}
	if compacted != 0 || to > m.revision() {
		t.Fatalf("events from %d: up to %d, compacted %d", from, to, compacted)
	}
	got := plainEvents(events)
	if want := m.between(span, from, to); !slices.Equal(got, want) {
		t.Fatalf("events of %v from %d up to %d: %v\nwant %v", span, from, to, got, want)
	}
	switch {
	case atMost <= 0 && to != m.revision(), atMost > 0 && len(got) < atMost && to != m.revision():
		t.Fatalf("events from %d: end at %d of %d with %d of %d", from, to, m.revision(), len(got), atMost)
	case atMost > 0 && to > from && len(m.between(span, from, to-1)) >= atMost:
		t.Fatalf("events from %d: a revision more than it takes for %d: %v", from, atMost, got)
	}
}

func leaseEqual(t *testing.T, s *State, m *model, id uint64) {
	t.Helper()
	got, found := s.Describe(id)
	l, want := m.leases[id]
	if found != want {
		t.Fatalf("lease %d: %v, want %v", id, got, want)
	}
	if !found {
		return
	}
	var keys []string
	for _, had := range find(m.now(), all) {
		if had.lease == id {
			keys = append(keys, had.key)
		}
	}
	if got.TtlMs != l.ttl || got.LeftMs != (l.deadline-m.time)/1e6 || !slices.Equal(got.Keys, keys) {
		t.Fatalf("lease %d: %v, want %v at %d with %q", id, got, l, m.time, keys)
	}
}

// write returns what a snapshot of f looks like on a disk.
func write(t *testing.T, f *Frozen) []byte {
	t.Helper()
	var w bytes.Buffer
	last := uint64(0)
	collect := func(r *stored.Record) error {
		if v := r.GetVersion(); v != nil {
			if v.Kv.Mod < last {
				t.Errorf("a version of revision %d comes after one of %d", v.Kv.Mod, last)
			}
			last = v.Kv.Mod
		}
		_, err := protodelim.MarshalOptions{MarshalOptions: proto.MarshalOptions{Deterministic: true}}.MarshalTo(&w, r)
		return err
	}
	head := &stored.Head{}
	head.Revision, head.Compacted, head.TimeNs, head.Clock = f.Head()
	if err := collect(&stored.Record{Record: &stored.Record_Head{Head: head}}); err != nil {
		t.Fatal(err)
	}
	versions, leases, err := f.Write(collect)
	if err != nil {
		t.Fatal(err)
	}
	if err := collect(&stored.Record{Record: &stored.Record_Tail{Tail: &stored.Tail{Versions: versions, Leases: leases}}}); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

// read returns the state of a snapshot.
func read(t *testing.T, o Options, snapshot []byte) *State {
	t.Helper()
	s := New(o)
	for r := bytes.NewReader(snapshot); ; {
		var record stored.Record
		if err := protodelim.UnmarshalFrom(r, &record); err != nil {
			t.Fatal(err)
		}
		switch {
		case record.GetHead() != nil:
			s.Begin(record.GetHead())
		case record.GetTail() != nil:
			if err := s.End(record.GetTail()); err != nil {
				t.Fatal(err)
			}
			return s
		default:
			if err := s.Load(&record); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A source draws what is done next, of a world that is small enough for things to meet.
type source struct{ *rand.Rand }

var keys = []string{"a", "ab", "abc", "abd", "a\x00", "b", "ba", "é", "ê", "c", "ca", "cab", "/q/1", "/q/10", "/q/2", ""}

func (r source) key() string {
	if r.IntN(200) > 0 {
		return keys[r.IntN(len(keys)-1)] // mostly one that may be
	}
	return keys[r.IntN(len(keys))]
}

func (r source) span() *api.Span {
	switch r.IntN(6) {
	case 0:
		key := r.key()
		return &api.Span{Key: key[:r.IntN(len(key)+1)], Prefix: r.IntN(20) > 0}
	case 1:
		return &api.Span{Key: r.key(), End: r.key()}
	case 2:
		return &api.Span{Key: r.key(), End: r.key(), Prefix: r.IntN(10) == 0}
	}
	return one(r.key())
}

func (r source) op(leases uint64) *api.Op {
	switch n := r.IntN(10); {
	case n < 5:
		lease := uint64(0)
		if r.IntN(3) == 0 {
			lease = leases - min(leases, uint64(r.IntN(5)))
		}
		return put(r.key(), string(rune('0'+r.IntN(4))), lease)
	case n < 7:
		return del(r.span())
	case n < 9 || r.IntN(50) > 0:
		return get(r.span())
	}
	return &api.Op{}
}

func (r source) txn(m *model, leases uint64) *stored.Txn {
	t := &stored.Txn{}
	for range r.IntN(3) {
		c := &api.Compare{Key: r.key(), Relation: api.Relation(r.IntN(4))}
		had := m.now()[c.Key]
		switch r.IntN(5) {
		case 0:
			c.Target = &api.Compare_Value{Value: []byte(string(rune('0' + r.IntN(4))))}
		case 1:
			c.Target = &api.Compare_Create{Create: had.create + uint64(r.IntN(2))}
		case 2:
			c.Target = &api.Compare_Mod{Mod: had.mod + uint64(r.IntN(2))}
		case 3:
			c.Target = &api.Compare_Version{Version: had.version + uint64(r.IntN(2))}
		case 4:
			c.Target = &api.Compare_Lease{Lease: had.lease + uint64(r.IntN(2))}
		}
		t.Compare = append(t.Compare, c)
	}
	for range r.IntN(4) {
		t.Success = append(t.Success, r.op(leases))
	}
	for range r.IntN(3) {
		t.Failure = append(t.Failure, r.op(leases))
	}
	return t
}

// A State, its twin that is replaced by its own snapshot now and then, and the model do
// the same, whatever is asked of them.
func TestStateDoesWhatTheModelDoes(t *testing.T) {
	for seed, o := range []Options{{Keep: 1}, {Keep: 7}, {Keep: 40}, {Keep: 300}, {Keep: 1000}, {}} {
		t.Run(fmt.Sprintf("keep=%d", o.Keep), func(t *testing.T) {
			r := source{rand.New(rand.NewPCG(uint64(seed), 1))}
			s, twin, m := New(o), New(o), newModel(New(o).keep)
			var leases uint64
			clock := &stored.Clock{Term: 1}
			type frozen struct {
				*Frozen
				model *model
			}
			var past []frozen
			outcomes := map[string]int{}
			same := func(step int, what string, a, b *stored.Outcome, want string) {
				t.Helper()
				if got := said(a); got != want || !proto.Equal(a, b) || a.Revision != m.revision() {
					t.Fatalf("step %d: %s: %v, of the twin %v\nwant %s at revision %d", step, what, a, b, want, m.revision())
				}
			}
			for step := range 3000 {
				switch n := r.IntN(100); {
				case n < 60:
					change := r.txn(m, leases)
					want := m.txn(change)
					word, _, _ := strings.Cut(want, " ")
					outcomes[word]++
					same(step, change.String(), s.Txn(change), twin.Txn(change), want)
				case n < 64:
					if o.Keep == 0 && r.IntN(20) > 0 {
						break // let it become long
					}
					revision := m.compacted + r.Uint64N(m.revision()-m.compacted+2) - min(m.compacted, r.Uint64N(2))
					a, b := s.Compact(revision), twin.Compact(revision)
					if refused := a.Refused == api.Reason_REASON_NOT_YET; refused != (revision > m.revision()) {
						t.Fatalf("step %d: compact %d of %d: %v", step, revision, m.revision(), a)
					} else if !refused {
						m.compacted = max(m.compacted, revision)
					}
					if !proto.Equal(a, b) || a.Compacted != m.compacted || a.Revision != m.revision() {
						t.Fatalf("step %d: compact: %v, %v, want %d", step, a, b, m.compacted)
					}
				case n < 68:
					leases++
					ttl := uint64(1 + r.IntN(50))
					a, b := s.Grant(leases, ttl), twin.Grant(leases, ttl)
					m.leases[leases] = modelLease{ttl, m.time + ttl*1e6}
					same(step, "grant", a, b, "false []")
				case n < 72:
					id := leases - min(leases, uint64(r.IntN(6)))
					want := "expired"
					if l, found := m.leases[id]; found {
						m.leases[id] = modelLease{l.ttl, m.time + l.ttl*1e6}
						want = "false []"
					}
					same(step, "keep alive", s.KeepAlive(id), twin.KeepAlive(id), want)
				case n < 74:
					id := leases - min(leases, uint64(r.IntN(6)))
					want := "expired"
					if _, found := m.leases[id]; found {
						m.end(id)
						want = "false []"
					}
					same(step, "revoke", s.Revoke(id), twin.Revoke(id), want)
				case n < 80:
					clock = proto.CloneOf(clock)
					clock.Ns += uint64(r.IntN(10_000_000))
					if r.IntN(10) == 0 {
						clock = &stored.Clock{Term: clock.Term + 1, Ns: r.Uint64N(1e12)}
					}
					told := clock
					if r.IntN(10) == 0 { // one that is late
						told = &stored.Clock{Term: clock.Term - uint64(r.IntN(2)), Ns: clock.Ns - min(clock.Ns, r.Uint64N(5_000_000))}
					}
					m.advance(told)
					s.Advance(told)
					twin.Advance(told)
				case n < 86:
					rangesEqual(t, s, m, r.span(), r.Uint64N(m.revision()+2), uint32(r.IntN(4)))
				case n < 92:
					if span := r.span(); spanOK(span) {
						eventsEqual(t, twin, m, span, r.Uint64N(m.revision()+2), r.IntN(5))
					}
				case n < 95:
					if o.Keep == 0 && r.IntN(5) > 0 {
						break // it is long
					}
					if a, b := write(t, s.Freeze()), write(t, twin.Freeze()); !bytes.Equal(a, b) {
						t.Fatalf("step %d: snapshots differ:\n%q\n%q", step, a, b)
					} else {
						twin = read(t, o, a)
					}
				case n < 96:
					past = append(past, frozen{twin.Freeze(), m.clone()})
				case n < 97 && len(past) > 0:
					i := r.IntN(len(past))
					equal(t, read(t, o, write(t, past[i].Frozen)), past[i].model)
					past = slices.Delete(past, i, i+1)
				case n < 98:
					equal(t, s, m)
					equal(t, twin, m)
				}
			}
			equal(t, s, m)
			equal(t, twin, m)
			// It would be the same, too, if everything were refused.
			if m.revision() < 600 || outcomes["true"] < 400 || outcomes["false"] < 200 || outcomes["invalid"] < 50 || outcomes["expired"] < 20 {
				t.Errorf("it has come to revision %d by transactions that were %v", m.revision(), outcomes)
			}
		})
	}
}
