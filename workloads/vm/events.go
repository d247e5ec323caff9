package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// What the checkers rest on:
//
//   - Signs stand in the history in the order in which they were done, whoever did them,
//     since they come through one pipe; their times are a little late. A guest that told
//     something before and after another did was alive in between. So nothing that compares
//     signs with signs needs a clock.
//   - Records stand in the order of revisions, and those of one revision are of one
//     transaction. Their times are when the tester heard of them, which is late if it was
//     cut off. Nothing that compares records with records needs a clock, either.
//   - Between signs and records the order is that of hearing alone, and nothing rests on it:
//     what compares the two goes by epochs, or by what somebody was answered who asked after
//     a sign was heard.

// A sign is a [Sign] as it stands in the history.
type sign struct {
	Sign
	kind string
	op   int
	at   time.Duration
}

// A guest is one process that runs a machine.
type guest struct {
	host  string
	epoch uint64
	pid   int
}

func (s *sign) guest() guest { return guest{s.Host, s.Epoch, s.PID} }

func (g guest) String() string {
	return fmt.Sprintf("the guest of epoch %d on %s (process %d)", g.epoch, g.host, g.pid)
}

// moment is a time as people are told of it.
func moment(t time.Duration) time.Duration { return t.Round(time.Millisecond) }

// runs says that the sign was given by a guest that ran.
func (s *sign) runs() bool {
	switch s.kind {
	case Boot, Resumed, Continued, Beat:
		return true
	}
	return false
}

// A record is a [Change] as it stands in the history.
type record struct {
	Change
	op int
	at time.Duration
}

// A machine is what was told of one.
type machine struct {
	id      string
	signs   []sign
	records []*record // those with a VM
}

// A look is what a Settle or a Rest saw.
type look struct {
	Snapshot
	f           string
	ok          bool
	invoked, op int // its two ops
	from, to    time.Duration
	machines    map[string]*VM
}

// Events are what the observer recorded in a history, and what clients saw of all machines.
type events struct {
	h        *histories.History
	signs    int
	machines map[string]*machine
	records  []*record // in the order of their revisions
	fences   []sign    // of hosts
	readings []reading
	looks    []*look
	blind    int             // Settles that met an error
	lost     uint64          // signs
	ran      []time.Duration // when guests told that they ran
}

// each returns the machines, in the order of their names.
func (e *events) each() []*machine {
	ids := slices.Sorted(maps.Keys(e.machines))
	all := make([]*machine, len(ids))
	for i, id := range ids {
		all[i] = e.machines[id]
	}
	return all
}

func (e *events) machine(id string) *machine {
	m := e.machines[id]
	if m == nil {
		m = &machine{id: id}
		e.machines[id] = m
	}
	return m
}

// A reader reads the events of a history once for all who judge them.
type reader struct {
	mu   sync.Mutex
	of   *histories.History
	read *events
}

func (r *reader) events(ctx context.Context, h *histories.History) (*events, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == h {
		return r.read, nil
	}
	e, err := readEvents(ctx, h)
	if err != nil {
		return nil, err
	}
	r.of, r.read = h, e
	return e, nil
}

// readEvents reads the events of a history. An event that cannot be read is an error, and
// so are records that go back, which the observer never records.
func readEvents(ctx context.Context, h *histories.History) (*events, error) {
	e := &events{h: h, machines: map[string]*machine{}}
	names := map[string]string{} // each once in memory
	for i, op := range h.All() {
		if i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var err error
		switch {
		case op.Process == histories.Observer && op.Type == histories.Event:
			err = e.event(&op, names)
		case op.Process >= 0 && op.Type != histories.Invoke && (op.F == Settle || op.F == Rest):
			err = e.look(&op)
		case op.Process >= 0 && op.Type == histories.OK && op.F == Volumes:
			r := reading{invoked: h.Pair(i), op: i}
			err = json.Unmarshal(op.Value, &r.volumes)
			e.readings = append(e.readings, r)
		}
		if err != nil {
			return nil, fmt.Errorf("op %d: %s %s: %w", i, op.F, op.Value, err)
		}
	}
	return e, nil
}

func (e *events) event(op *histories.Op, names map[string]string) error {
	switch op.F {
	case Record:
		r := &record{op: op.Index, at: op.Time}
		if err := json.Unmarshal(op.Value, &r.Change); err != nil {
			return err
		}
		if n := len(e.records); n > 0 && r.Revision < e.records[n-1].Revision {
			return fmt.Errorf("records go back from revision %d", e.records[n-1].Revision)
		}
		e.records = append(e.records, r)
		if r.VM != nil {
			m := e.machine(r.VM.ID)
			m.records = append(m.records, r)
		}
	case Boot, Resumed, Beat, Paused, Continued, Fenced, Took, Refused, Missed:
		s := sign{kind: op.F, op: op.Index, at: op.Time}
		if err := json.Unmarshal(op.Value, &s.Sign); err != nil {
			return err
		}
		for _, name := range []*string{&s.VM, &s.Host} {
			if same, ok := names[*name]; ok {
				*name = same
			} else {
				names[*name] = *name
			}
		}
		switch {
		case s.kind == Missed:
			e.lost += s.Lost
			return nil
		case s.kind == Fenced:
			e.fences = append(e.fences, s)
		}
		e.signs++
		if s.VM != "" {
			m := e.machine(s.VM)
			m.signs = append(m.signs, s)
		}
		if s.runs() {
			e.ran = append(e.ran, s.at)
		}
	}
	return nil
}

func (e *events) look(op *histories.Op) error {
	s, ok, err := found(*op)
	if err != nil {
		return err
	}
	if !ok {
		if op.F == Settle {
			e.blind++
		}
		return nil
	}
	l := &look{Snapshot: s, f: op.F, ok: op.Type == histories.OK, invoked: e.h.Pair(op.Index), op: op.Index, to: op.Time}
	l.from = e.h.At(l.invoked).Time
	l.machines = make(map[string]*VM, len(s.VMs))
	for i := range s.VMs {
		l.machines[s.VMs[i].ID] = &s.VMs[i]
	}
	e.looks = append(e.looks, l)
	return nil
}

// quiet returns the longest time between two moments in which nobody told that it ran: a
// tester, or a computer, that stood still hears of nothing.
func (e *events) quiet(from, to time.Duration) (longest time.Duration) {
	i, _ := slices.BinarySearch(e.ran, from)
	last := from
	for ; i < len(e.ran) && e.ran[i] < to; i++ {
		longest = max(longest, e.ran[i]-last)
		last = e.ran[i]
	}
	return max(longest, to-last)
}

// before returns how many signs of m were heard before an op.
func (m *machine) before(op int) int {
	i, _ := slices.BinarySearchFunc(m.signs, op, func(s sign, op int) int { return s.op - op })
	return i
}

// between returns the signs of m that were heard between two ops.
func (m *machine) between(from, to int) []sign { return m.signs[m.before(from):m.before(to)] }

// transactions returns the records that each transaction left. The last one is left out if not
// all of it was told yet: half a transaction is one that there never was.
func (e *events) transactions() iter.Seq[[]*record] {
	return func(yield func([]*record) bool) {
		for rest := e.records; len(rest) > 0; {
			n := slices.IndexFunc(rest, func(r *record) bool { return r.Revision != rest[0].Revision })
			if n < 0 {
				n = len(rest)
			}
			if n == len(rest) && rest[n-1].More || !yield(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// A reading is what a Volumes found.
type reading struct {
	volumes     map[string]Volume
	invoked, op int
}
