package trace

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
)

// What an event takes beside what it says, in bytes: measured, and rounded up.
const (
	sliceCost = 125
	eventCost = 105
)

// A detail says what of the ops there is room for.
type detail struct {
	values   bool
	shortest time.Duration // of the operations that are shown, but for the evidence
}

// survey reads the history for what is to be known before it is written: which nodes there
// are, when clients end and what is evidence.
func (t *trace) survey(ctx context.Context) error {
	t.prove()
	t.last = map[histories.Process]int{}
	named := map[string]bool{}
	for i, op := range t.History.All() {
		if err := ended(ctx, i); err != nil {
			return err
		}
		if op.Process >= 0 {
			t.last[op.Process] = i
		}
		if op.Node != "" {
			named[op.Node] = true
		}
	}
	t.process("", verdictProcess, atVerdict)
	t.process("", nemesisProcess, atNemesis)
	t.process("", clientsProcess, atClients)
	for _, node := range t.Nodes {
		t.node(node)
		delete(named, node)
	}
	var others []string
	for node := range named {
		others = append(others, node)
	}
	slices.SortFunc(others, func(a, b string) int { // n2 before n10
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	for _, node := range others {
		t.node(node)
	}
	return nil
}

// operations shows what clients did, and what the observer was told.
func (t *trace) operations(ctx context.Context) error {
	if err := t.afford(ctx, t.Limit-t.n); err != nil {
		return err
	}
	s := seats{taken: map[histories.Process]histories.Process{}}
	for i, op := range t.History.All() {
		if err := ended(ctx, i); err != nil {
			return err
		}
		switch {
		case op.Type == histories.Event:
			if shown(op) && t.has(i, op.Time, op.Time) {
				t.event(op)
			}
		case op.Process < 0:
		case op.Type == histories.Invoke:
			seat := s.seat(op.Process)
			if invoked, done, to := t.call(i); t.has(i, invoked.Time, t.until(to)) {
				t.operation(invoked, done, to, seat)
			}
		}
		if op.Process >= 0 && t.last[op.Process] == i && op.Type != histories.Invoke { // else it waits to the end
			s.leave(op.Process)
		}
	}
	return nil
}

// call returns the op at i, its completion if there is one, and when the client had it.
func (t *trace) call(i int) (invoked, done histories.Op, to time.Duration) {
	invoked, to = t.History.At(i), histories.Never
	if invoked.Type == histories.Event {
		return invoked, done, invoked.Time
	}
	if pair := t.History.Pair(i); pair >= 0 {
		done = t.History.At(pair)
		to = done.Time
	}
	return invoked, done, to
}

// operation shows a call on the track of its client at the node.
func (t *trace) operation(invoked, done histories.Op, to time.Duration, seat histories.Process) {
	name := invoked.F
	ended := outcome(invoked, done)
	switch ended {
	case "fail":
		name += ", failed"
	case "info":
		name += ", outcome unknown"
	}
	on := t.track(t.node(cmp.Or(done.Node, invoked.Node)), "client "+seat.String())
	t.slice(on, invoked.Time, to, name, ended)
	switch ended { // in Chrome; Perfetto goes by the name
	case "fail":
		t.text("cname", "bad")
	case "info":
		t.text("cname", "terrible")
	}
	t.describe(invoked, done, t.detail.values || t.isEvidence(invoked.Index))
	t.arrows(invoked.Index, on, invoked.Time)
}

// describe writes the args of an operation, or of an event, and ends it.
func (t *trace) describe(invoked, done histories.Op, values bool) {
	t.beginArgs()
	t.number("op", int64(invoked.Index))
	if invoked.Process >= 0 {
		t.number("process", int64(invoked.Process))
	}
	if values {
		t.payload("value", invoked.Value)
		if !bytes.Equal(invoked.Value, done.Value) {
			t.payload("result", done.Value)
		}
		t.payload("meta", meta(invoked, done))
	}
	switch {
	case done.Type != 0:
		t.told("error", done.Error)
	case invoked.Type == histories.Invoke:
		t.text("error", "never completed")
	}
	t.done()
}

func meta(invoked, done histories.Op) []byte {
	if len(done.Meta) > 0 {
		return done.Meta
	}
	return invoked.Meta
}

// event shows what somebody told, as a mark.
func (t *trace) event(op histories.Op) {
	var p *process
	if op.Node != "" {
		p = t.node(op.Node)
	} else {
		p = t.process("", eventsProcess, atEvents)
	}
	name := op.F
	var step cluster.Step
	if op.F == histories.Step && json.Unmarshal(op.Value, &step) == nil && step.Name != "" {
		name = step.Name
	}
	t.open('i', t.track(p, op.F), op.Time)
	t.text("s", "t")
	t.text("name", name)
	t.text("cat", "event")
	t.describe(op, histories.Op{}, t.detail.values || t.isEvidence(op.Index))
}

// shown says whether an event is a mark. Those of states and gauges are slices and counters.
func shown(op histories.Op) bool {
	return op.F != histories.State && op.F != histories.Gauges
}

// sentence says what a call was asked and answered, as the name of a slice.
func sentence(invoked, done histories.Op) string {
	s := invoked.F
	if len(invoked.Value) > 0 {
		s += " " + clip(invoked.Value)
	}
	switch outcome(invoked, done) {
	case "fail":
		s += ", failed"
	case "info":
		s += ", outcome unknown"
	case "ok":
		if !bytes.Equal(invoked.Value, done.Value) {
			s += " → " + clip(done.Value)
		}
	}
	return s
}

// outcome returns how an operation ended: ok, fail or info, which it is as well if it did
// not. Faults end with info, too, but it says nothing of them.
func outcome(invoked, done histories.Op) string {
	switch {
	case invoked.Type == histories.Event:
		return "event"
	case invoked.Process < 0:
		return "fault"
	case done.Type == 0:
		return histories.Info.String()
	}
	return done.Type.String()
}

// A seats deals tracks to the processes of clients, each to one at a time. A seat is called by
// the first who has it.
type seats struct {
	taken map[histories.Process]histories.Process
	free  []histories.Process // ascending
}

func (s *seats) seat(p histories.Process) histories.Process {
	seat, ok := s.taken[p]
	if ok {
		return seat
	}
	seat = p
	if len(s.free) > 0 {
		seat = s.free[0]
		s.free = slices.Delete(s.free, 0, 1)
	}
	s.taken[p] = seat
	return seat
}

// leave gives back the seat of a process that does nothing any more.
func (s *seats) leave(p histories.Process) {
	seat := s.taken[p]
	delete(s.taken, p)
	at, _ := slices.BinarySearch(s.free, seat)
	s.free = slices.Insert(s.free, at, seat)
}

func (t *trace) isEvidence(op int) bool { return t.evidence[op] }

// has says whether there is room for what took so long.
func (t *trace) has(op int, from, to time.Duration) bool {
	return to-from >= t.detail.shortest || t.isEvidence(op)
}

// afford decides what of the ops there is room for in so many bytes.
func (t *trace) afford(ctx context.Context, room int64) error {
	var s sieve
	full, short := int64(0), int64(0)
	for i, op := range t.History.All() {
		if err := ended(ctx, i); err != nil {
			return err
		}
		if op.Type != histories.Event && (op.Process < 0 || op.Type != histories.Invoke) || op.Type == histories.Event && !shown(op) {
			continue
		}
		invoked, done, to := t.call(i)
		fixed, values := costs(invoked, done)
		full += fixed + values
		if t.isEvidence(i) {
			short += fixed + values
			continue
		}
		short += fixed
		s.add(t.until(to)-invoked.Time, fixed)
	}
	t.detail.values = full <= room
	if t.detail.values {
		return nil
	}
	t.left = append(t.left, "the values of operations and events that are no evidence: "+strconv.Itoa(s.all())+" of them; the history has them by the index op")
	shortest, dropped := s.cut(room - (short - s.cost()))
	if dropped > 0 {
		t.detail.shortest = shortest
		t.left = append(t.left, fmt.Sprintf("%d of %d operations and events that are no evidence, those that took less than %v", dropped, s.all(), shortest))
	}
	return nil
}

// costs returns how many bytes an operation or an event takes, without its values and for
// them.
func costs(invoked, done histories.Op) (fixed, values int64) {
	text := func(b []byte) int64 {
		if len(b) == 0 {
			return 0
		}
		b = b[:min(len(b), maxPayload)]
		return int64(len(`,"result":""`) + len(b) + bytes.Count(b, []byte{'"'}) + bytes.Count(b, []byte{'\\'}))
	}
	fixed = sliceCost + int64(len(invoked.F)+len(done.Error))
	if invoked.Type == histories.Event {
		fixed = eventCost + int64(len(invoked.F))
	}
	values = text(invoked.Value) + text(meta(invoked, done))
	if !bytes.Equal(invoked.Value, done.Value) {
		values += text(done.Value)
	}
	return fixed, values
}

// A sieve finds how long what is kept must take, so that it fits. Times are put together
// that differ by a sixteenth.
type sieve struct {
	n, bytes [64 << sieveBits]int64
}

const sieveBits = 4

func mesh(d time.Duration) int {
	v := uint64(max(d, 0))
	n := bits.Len64(v)
	if n <= sieveBits {
		return int(v)
	}
	return (n-sieveBits)<<sieveBits | int(v>>(n-1-sieveBits))&(1<<sieveBits-1)
}

// least returns the shortest time of a mesh.
func least(m int) time.Duration {
	if m < 1<<sieveBits {
		return time.Duration(m)
	}
	n := m>>sieveBits + sieveBits
	return time.Duration(1)<<(n-1) | time.Duration(m&(1<<sieveBits-1))<<(n-1-sieveBits)
}

func (s *sieve) add(took time.Duration, cost int64) {
	s.n[mesh(took)]++
	s.bytes[mesh(took)] += cost
}

func (s *sieve) all() int    { return int(total(s.n[:])) }
func (s *sieve) cost() int64 { return total(s.bytes[:]) }

func total(of []int64) (sum int64) {
	for _, n := range of {
		sum += n
	}
	return sum
}

// cut returns how long what is kept takes at least if it has to fit into so many bytes, and
// how many are dropped for it.
func (s *sieve) cut(room int64) (shortest time.Duration, dropped int) {
	over, all := s.cost()-room, s.all()
	for m := 0; over > 0 && dropped < all; m++ {
		over -= s.bytes[m]
		dropped += int(s.n[m])
		if shortest = least(m + 1); shortest < 0 {
			shortest = math.MaxInt64
		}
	}
	return shortest, dropped
}
