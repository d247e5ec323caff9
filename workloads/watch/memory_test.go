package watch

import (
	"context"
	"errors"
	"slices"

	"github.com/hacheck/hacheck/workloads"
)

// A memory is a store as it should be, but for one mistake that it makes now and
// then, if it is given one.
type memory struct {
	mistake   string
	now       func(call int) bool // whether it is made now
	calls     int
	revision  uint64
	there     map[string]bool
	events    []Event // all, also those that are compacted
	compacted uint64
	// lag returns how many revisions a watcher stays behind.
	lag func() uint64
}

func newMemory(mistake string) *memory {
	return &memory{
		mistake: mistake, now: func(call int) bool { return call%20 == 7 },
		revision: 1, there: map[string]bool{}, lag: func() uint64 { return 0 },
	}
}

// mistakes are all that it can make, with the kind of anomaly by which each is known.
var mistakes = map[string]string{
	"lost":        "lost event",
	"silent gap":  "lost event",
	"ahead":       "lost event",
	"twice":       "duplicated event",
	"again":       "duplicated event",
	"reordered":   "events out of order",
	"mixed up":    "wrong event",
	"filter":      "wrong event",
	"shifted":     "wrong event",
	"no delete":   "wrong event",
	"garbage":     "phantom event",
	"undead":      "wrong event",
	"dirty":       "phantom event",
	"back":        "revision reused",
	"compaction":  "unfounded compaction",
	"stale check": "revision went back",
}

func (m *memory) errs(mistake string) bool { return m.mistake == mistake && m.now(m.calls) }

func (m *memory) said() workloads.Said { return workloads.Said{Revision: m.revision} }

func (m *memory) Close() error { return nil }

var errRefused = workloads.Definite(errors.New("refused"))

func (m *memory) Put(_ context.Context, key, value string) (workloads.Said, error) {
	m.calls++
	m.revision++
	m.there[key] = true
	m.events = append(m.events, Event{m.revision, false, key, value})
	if m.errs("dirty") {
		return workloads.Said{}, errRefused
	}
	if m.errs("back") && m.revision > 2 {
		return workloads.Said{Revision: m.revision - 1}, nil
	}
	return m.said(), nil
}

func (m *memory) Delete(_ context.Context, key string) (workloads.Said, error) {
	m.calls++
	if !m.there[key] {
		return workloads.Said{}, nil
	}
	m.revision++
	delete(m.there, key)
	m.events = append(m.events, Event{m.revision, true, key, ""})
	return m.said(), nil
}

func (m *memory) Compact(_ context.Context, revision uint64) (workloads.Said, error) {
	m.calls++
	if revision > m.revision || revision <= m.compacted {
		return workloads.Said{}, errRefused
	}
	m.compacted = revision
	return m.said(), nil
}

func (m *memory) Revision(context.Context) (workloads.Said, error) {
	m.calls++
	if m.errs("stale check") {
		return workloads.Said{Revision: m.revision / 2}, nil
	}
	return m.said(), nil
}

func (m *memory) Watch(_ context.Context, r Request) (Batch, error) {
	m.calls++
	if m.errs("compaction") {
		return Batch{To: r.From - 1, Compacted: max(r.From, m.compacted+1)}, nil
	}
	from := r.From
	if from <= m.compacted {
		if m.mistake != "silent gap" {
			return Batch{Compacted: m.compacted}, nil
		}
		from = m.compacted + 1
	}
	b := Batch{To: max(r.From-1, m.revision-min(m.revision, m.lag()))}
	for _, e := range m.events {
		if r.Keys.contain(e.Key) && from <= e.Revision && e.Revision <= b.To || m.errs("filter") && e.Revision == b.To {
			b.Events = append(b.Events, e)
		}
	}
	n := len(b.Events)
	if n < 2 {
		return b, nil
	}
	switch last := &b.Events[n-1]; {
	case m.errs("lost"):
		b.Events = slices.Delete(b.Events, n/2, n/2+1)
	case m.errs("ahead"):
		b.Events = b.Events[:n-1]
	case m.errs("twice"):
		b.Events = append(b.Events, b.Events[n-2:]...)
	case m.errs("again"):
		if i := slices.IndexFunc(m.events, func(e Event) bool { return r.Keys.contain(e.Key) && e.Revision < r.From }); i >= 0 {
			b.Events = slices.Insert(b.Events, 0, m.events[i])
		}
	case m.errs("reordered"):
		b.Events[0], *last = *last, b.Events[0]
	case m.errs("mixed up"):
		b.Events[0].Key, last.Key = last.Key, b.Events[0].Key
	case m.errs("shifted"):
		b.Events[0].Revision--
	case m.errs("no delete"):
		for i := range b.Events {
			if e := &b.Events[i]; e.Deleted {
				*e = Event{e.Revision, false, e.Key, b.Events[0].Value}
			}
		}
	case m.errs("garbage"):
		if !last.Deleted {
			last.Value += "?"
		}
	case m.errs("undead"):
		b.Events = append(b.Events, Event{b.To + 1, true, last.Key, ""})
	}
	return b, nil
}
