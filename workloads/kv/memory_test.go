package kv

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/workloads"
)

// A memory is a store as it should be, but for one mistake that it makes now and
// then, if it is given one.
type memory struct {
	mistake string
	now     func(call int) bool // whether it is made now
	calls   int
	// states are those of all revisions: the last is the present one.
	states    []map[string]KV
	compacted uint64 // the first revision that is to be seen
}

func newMemory(mistake string) *memory {
	return &memory{mistake: mistake, now: func(call int) bool { return call%10 == 7 }, states: []map[string]KV{{}}}
}

// mistakes are all that it can make, with the kind of anomaly by which each is known.
var mistakes = map[string]string{
	"stale read":     "stale read",
	"stale state":    "stale read",
	"wrong past":     "future read",
	"torn range":     "stale read",
	"mixed up":       "keys mixed up",
	"unasked":        "keys mixed up",
	"garbage":        "value nobody wrote",
	"version":        "wrong version",
	"create":         "wrong create revision",
	"ahead":          "future read",
	"dirty":          "dirty read",
	"compare":        "wrong compare",
	"twice":          "two revisions",
	"lost":           "revision reused",
	"forgotten":      "lost write",
	"back":           "revision reused",
	"half":           "non-atomic txn",
	"phantom delete": "phantom delete",
	"compaction":     "lost write",
}

// errs says whether the mistake, if it is this one, is to be made now.
func (m *memory) errs(mistake string) bool { return m.mistake == mistake && m.now(m.calls) }

func (m *memory) revision() uint64 { return uint64(len(m.states) - 1) }

func (m *memory) said(revision uint64) workloads.Said { return workloads.Said{Revision: revision} }

func (m *memory) Close() error { return nil }

func (m *memory) Get(ctx context.Context, key string, mode Mode) (Read, error) {
	return m.read(mode, func(k string) bool { return k == key })
}

func (m *memory) Range(ctx context.Context, prefix string, mode Mode) (Read, error) {
	return m.read(mode, func(k string) bool { return strings.HasPrefix(k, prefix) })
}

var errRefused = workloads.Definite(errors.New("refused"))

// some is how far behind an old state is.
const some = 7

func (m *memory) read(mode Mode, asked func(string) bool) (Read, error) {
	m.calls++
	now := m.revision()
	old := now - min(now, some)
	at, said := now, now
	switch {
	case mode.At > now, mode.At > 0 && mode.At < m.compacted:
		return Read{}, errRefused
	case mode.At > 0:
		at, said = mode.At, mode.At
		if m.errs("wrong past") {
			at = now
		}
	case mode.Serializable:
		at, said = old, old
	case m.errs("stale read"):
		at, said = old, old
	case m.errs("stale state"):
		at = old
	}
	r := Read{Said: m.said(said)}
	for _, k := range slices.Sorted(maps.Keys(m.states[at])) {
		if kv := m.states[at][k]; asked(k) {
			r.KVs = append(r.KVs, kv)
		}
	}
	if n := len(r.KVs); n > 1 {
		switch {
		case m.errs("torn range"):
			if kv, ok := m.states[old][r.KVs[0].Key]; ok {
				r.KVs[0] = kv
			}
		case m.errs("mixed up"):
			r.KVs[0].Value, r.KVs[1].Value = r.KVs[1].Value, r.KVs[0].Value
		case m.errs("unasked"):
			r.KVs = append(r.KVs, r.KVs[0])
		case m.errs("garbage"):
			r.KVs[n-1].Value += "?"
		case m.errs("version"):
			r.KVs[n-1].Version++
		case m.errs("create"):
			r.KVs[n-1].Create--
		case m.errs("ahead"):
			r.Said.Revision -= 1
		}
	}
	return r, nil
}

func (m *memory) Put(ctx context.Context, key, value string) (Written, error) {
	results, revision := m.commit([]Action{{Put, key, value}})
	if m.errs("dirty") {
		return Written{}, errRefused
	}
	return Written{Said: m.said(revision), Deleted: results[0].Deleted}, nil
}

func (m *memory) Delete(ctx context.Context, key string) (Written, error) {
	results, revision := m.commit([]Action{{F: Delete, Key: key}})
	return Written{Said: m.said(revision), Deleted: results[0].Deleted}, nil
}

func (m *memory) Txn(ctx context.Context, t Txn) (Decided, error) {
	d := Decided{Succeeded: true}
	for _, c := range t.If {
		kv := m.states[m.revision()][c.Key]
		d.Succeeded = d.Succeeded && (c.By == Mod && kv.Mod == c.Mod || c.By == Value && kv.Version > 0 && kv.Value == c.Value)
	}
	if m.errs("compare") {
		d.Succeeded = !d.Succeeded
	}
	results, revision := m.commit(t.branch(d.Succeeded))
	d.Results, d.Said = results, m.said(revision)
	return d, nil
}

// Compact forgets, as a mistake, also what is still there and is as old.
func (m *memory) Compact(_ context.Context, revision uint64) (workloads.Said, error) {
	m.calls++
	if revision > m.revision() {
		return workloads.Said{}, errRefused
	}
	m.compacted = max(m.compacted, revision)
	if m.mistake == "compaction" {
		for _, state := range m.states[revision:] {
			maps.DeleteFunc(state, func(_ string, kv KV) bool { return kv.Mod <= revision })
		}
	}
	return workloads.Said{}, nil
}

func (m *memory) commit(actions []Action) ([]Result, uint64) {
	m.calls++
	if m.errs("twice") {
		m.apply(actions)
	}
	results, revision := m.apply(actions)
	last := len(m.states) - 1
	switch {
	case last < 2:
	case m.errs("lost"): // as when a leader is deposed before it has copied what it acknowledged
		m.states = m.states[:last]
	case m.errs("forgotten"):
		m.states[last] = m.states[last-1]
	case m.errs("back"):
		revision--
	}
	return results, revision
}

// apply does actions in the present state, and says what came of each.
func (m *memory) apply(actions []Action) (results []Result, revision uint64) {
	before := m.states[m.revision()]
	state, now, changed := maps.Clone(before), m.revision()+1, false
	for i, a := range actions {
		kv, there := state[a.Key]
		var r Result
		switch {
		case i > 0 && a.F != Get && m.errs("half"):
		case a.F == Get && there:
			r.KV = &kv
		case a.F == Put:
			if !there {
				kv.Create = now
			}
			state[a.Key] = KV{a.Key, a.Value, kv.Create, now, kv.Version + 1}
			changed = true
		case a.F == Delete && there:
			delete(state, a.Key)
			r.Deleted, changed = true, true
		}
		if a.F == Delete && m.errs("phantom delete") {
			r.Deleted = true
		}
		results = append(results, r)
	}
	if !changed {
		return results, m.revision()
	}
	m.states = append(m.states, state)
	return results, now
}
