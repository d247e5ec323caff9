package session

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload. It follows what each session knows, by
// what it wrote and read and by what the writers of that had known then, and tells of
// reads that find less. That makes the four guarantees together, causal consistency.
//
// A version that was acknowledged must also be found in the end, by a session that
// has written since the system recovered: writes have one order, and a session is
// shown everything up to its own last one. This is what is promised by systems that
// order all writes, such as those on a replicated log; it is asked of a run's end alone.
//
// How stale reads were is counted, and not judged.
func Checker() checker.Checker {
	return workloads.Judge("session", []string{Read, Write}, readBack,
		checker.Part{Name: "guarantees", Checker: checker.Func(guarantees)})
}

// The kinds of anomalies.
const (
	phantom     = "phantom version"
	ownWrite    = "read before own write"     // no read-your-writes
	wentBack    = "read went back"            // no monotonic reads
	writesOrder = "writes out of order"       // no monotonic writes
	writeFirst  = "write did not follow read" // no writes-follow-reads
	lost        = "lost write"
)

// A key with what its one writer wrote.
type key struct {
	name   string
	writer histories.Process
	writes map[int64]*write
	last   int64   // the last version that was to be written
	acked  []*call // in their order
}

// A write of a version.
type write struct {
	call
	// knew is how much of what its session came to know was before it.
	knew int
}

// A fact is that a session knows of a version of a key, and how.
type fact struct {
	key     *key
	version int64
	how     how
	call    *call // by which it came to know it
}

// how a session knows a fact.
type how int

const (
	wrote how = iota
	read
	learned // the writer of what it read knew it
	hows
)

// A session is what a process knows.
type session struct {
	facts []fact // in the order in which it came to know them
	// latest are the positions of those of each kind, by key; of those learned only
	// what was news.
	latest [hows]map[*key]int
	// heard is how many of another session's facts it knows, or what is newer; of its
	// own it knows all.
	heard  map[histories.Process]int
	blocks []block // in their order
	// since is when its last write began that was acknowledged after the recovery,
	// and that write.
	since time.Duration
	by    *call
}

// A block is of facts that a session learned by one read: all that it did not know of
// the first of another's.
type block struct {
	from, to int // among its facts
	of       histories.Process
	first    int
}

// knows returns what s knows of a key in one way.
func (s *session) knows(k *key, h how) fact {
	if at, ok := s.latest[h][k]; ok {
		return s.facts[at]
	}
	return fact{}
}

// newest returns the newest version of a key that s knows.
func (s *session) newest(k *key) fact {
	best := s.knows(k, wrote)
	for _, h := range []how{read, learned} {
		if f := s.knows(k, h); f.version > best.version {
			best = f
		}
	}
	return best
}

func (s *session) add(f fact) {
	if s.latest[f.how] == nil {
		s.latest[f.how] = map[*key]int{}
	}
	s.latest[f.how][f.key] = len(s.facts)
	s.facts = append(s.facts, f)
}

// learn adds what the writer of what s has read knew when it wrote it. What that one
// had learned of somebody whom s has heard for as long is no news: most is not, where
// sessions are many and read what the same few wrote.
func (s *session) learn(writer *session, w *write, by *call) {
	if s == writer {
		return
	}
	from, known := s.heard[w.Process], len(s.facts)
	if from >= w.knew {
		return
	}
	b := sort.Search(len(writer.blocks), func(i int) bool { return writer.blocks[i].to > w.knew }) - 1
	last := b
	for i := w.knew - 1; i >= from; i-- { // the newest of each key come first
		if b >= 0 && writer.blocks[b].to == i+1 {
			old := writer.blocks[b]
			if b--; s.heard[old.of] >= old.first {
				i = old.from
				continue
			}
		}
		if f := writer.facts[i]; f.version > s.newest(f.key).version {
			s.add(fact{f.key, f.version, learned, by})
		}
	}
	// Only now that all is learned: what is in a block its session did not know before.
	for _, old := range writer.blocks[b+1 : last+1] {
		s.heard[old.of] = max(s.heard[old.of], old.first)
	}
	s.heard[w.Process] = w.knew
	if len(s.facts) > known {
		s.blocks = append(s.blocks, block{known, len(s.facts), w.Process, w.knew})
	}
}

// findings are what is wrong, and how much was looked at.
type findings struct {
	keys      map[string]*key
	sessions  map[histories.Process]*session
	recovered time.Duration // Never if the history does not tell
	stale     []time.Duration
	counts    map[string]int64
	found     checker.Findings
}

// guarantees judges a history.
func guarantees(_ context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, parseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	f := &findings{
		keys: map[string]*key{}, sessions: map[histories.Process]*session{}, recovered: histories.Never,
		counts: map[string]int64{},
	}
	if r, ok := h.Recovery(); ok {
		f.recovered = r.To
	}
	at := make([]*call, h.Len()) // of both ops of each call
	for i := range calls {
		c := &calls[i]
		at[c.Index] = c
		if c.Completion >= 0 {
			at[c.Completion] = c
		}
		if err := f.collect(c); err != nil {
			return checker.Result{}, err
		}
	}
	for i, c := range at {
		switch {
		case c == nil:
		case i == c.Index && c.F == Write:
			f.keys[c.In.key].writes[c.In.version].knew = len(f.session(c.Process).facts)
		case i == c.Index || c.Type != histories.OK:
		case c.F == Write:
			f.wrote(c)
		default:
			f.read(c)
		}
	}
	return f.result(), nil
}

// collect notes a write, and that there is a key.
func (f *findings) collect(c *call) error {
	k := f.keys[c.In.key]
	if k == nil {
		k = &key{name: c.In.key, writes: map[int64]*write{}}
		f.keys[k.name] = k
	}
	if c.F != Write {
		return nil
	}
	switch {
	case k.last == 0:
		k.writer = c.Process
	case k.writer != c.Process:
		return fmt.Errorf("op %d: process %d writes %s, as process %d did before: nobody knows the order of their versions", c.Index, c.Process, k.name, k.writer)
	case c.In.version <= k.last:
		return fmt.Errorf("op %d: version %d of %s is written after %d: versions must increase", c.Index, c.In.version, k.name, k.last)
	}
	k.last = c.In.version
	k.writes[k.last] = &write{call: *c}
	if c.Type == histories.OK {
		k.acked = append(k.acked, c)
	}
	return nil
}

func (f *findings) session(p histories.Process) *session {
	s := f.sessions[p]
	if s == nil {
		s = &session{heard: map[histories.Process]int{p: math.MaxInt}}
		f.sessions[p] = s
	}
	return s
}

// wrote notes a write that was acknowledged.
func (f *findings) wrote(c *call) {
	f.counts["writes"]++
	s := f.session(c.Process)
	s.add(fact{f.keys[c.In.key], c.In.version, wrote, c})
	if c.Invoked > f.recovered {
		s.since, s.by = c.Invoked, c
	}
}

// read judges a read, and notes what its session knows by it.
func (f *findings) read(c *call) {
	f.counts["reads"]++
	s, k := f.session(c.Process), f.keys[c.In.key]
	w := k.writes[c.Out]
	if c.Out != 0 && f.phantom(c, w) {
		return
	}
	f.age(c, k)
	if s.newest(k).version > 0 {
		f.counts["reads_bound"]++
	}
	switch known := s.newest(k); {
	case s.knows(k, wrote).version > c.Out:
		own := s.knows(k, wrote).call
		f.add(ownWrite, []*call{own, c}, "%s, after %s", did(c), did(own))
	case s.knows(k, read).version > c.Out:
		before := s.knows(k, read).call
		f.add(wentBack, []*call{before, c}, "%s, after %s", did(c), did(before))
	case known.version > c.Out:
		f.behind(c, known)
	default:
		f.lost(c, s, k)
	}
	if c.Out == 0 {
		return
	}
	s.learn(f.session(w.Process), w, c)
	if c.Out > s.knows(k, read).version {
		s.add(fact{k, c.Out, read, c})
	}
}

// phantom tells of a version that was read and cannot have been there.
func (f *findings) phantom(c *call, w *write) bool {
	switch {
	case w == nil:
		f.add(phantom, []*call{c}, "%s, which nobody ever wrote", did(c))
	case w.Type == histories.Fail:
		f.add(phantom, []*call{&w.call, c}, "%s, but that write had failed: %s", did(c), did(&w.call))
	case w.Invoked > c.Completed:
		f.add(phantom, []*call{&w.call, c}, "%s, before anybody wrote it: %s", did(c), did(&w.call))
	default:
		return false
	}
	return true
}

// behind tells of a read that found less than its session had learned.
func (f *findings) behind(c *call, known fact) {
	kind := writeFirst
	if known.key.writer == f.keys[known.call.In.key].writer {
		kind = writesOrder
	}
	if f.found.Enough(kind) {
		f.found.Count(1, kind)
		return
	}
	chain := []*call{c, &known.key.writes[known.version].call}
	var notes []string
	for at := known; ; {
		if chain = append(chain, at.call); at.how != learned {
			notes = append(notes, did(at.call))
			break
		}
		// It was learned from who wrote what was read: where did that one have it from?
		w := f.keys[at.call.In.key].writes[at.call.Out]
		chain = append(chain, &w.call)
		notes = append(notes, did(at.call), did(&w.call))
		facts := f.session(w.Process).facts[:w.knew]
		from := len(facts) - 1
		for facts[from].key != at.key || facts[from].version != at.version {
			from--
		}
		at = facts[from]
	}
	f.add(kind, chain, "%s, but had to find %d: %s", did(c), known.version, strings.Join(notes, ", after "))
}

// lost tells of a read at a run's end that does not find what was acknowledged
// before its session's last write began.
func (f *findings) lost(c *call, s *session, k *key) {
	if s.by == nil {
		return
	}
	n := sort.Search(len(k.acked), func(i int) bool { return k.acked[i].Completed >= s.since })
	if n == 0 || k.acked[n-1].In.version <= c.Out {
		return
	}
	due := k.acked[n-1]
	f.add(lost, []*call{due, s.by, c}, "%s, long after %s: the system had recovered, and %s since", did(c), did(due), did(s.by))
}

// age measures how stale a read was: for how long a newer version had been
// acknowledged when it began.
func (f *findings) age(c *call, k *key) {
	newer := sort.Search(len(k.acked), func(i int) bool { return k.acked[i].In.version > c.Out })
	if newer < len(k.acked) && k.acked[newer].Completed < c.Invoked {
		f.stale = append(f.stale, c.Invoked-k.acked[newer].Completed)
	}
}

func (f *findings) add(kind string, calls []*call, note string, args ...any) {
	var evidence []call
	for _, c := range calls {
		evidence = append(evidence, *c)
	}
	f.found.Add(checker.Anomaly{Kind: kind, Note: fmt.Sprintf(note, args...), Ops: checker.Ops(evidence...)})
}

func (f *findings) result() checker.Result {
	r := checker.Result{Name: "guarantees", Verdict: checker.Valid, Counts: f.counts}
	f.counts["keys"], f.counts["sessions"] = int64(len(f.keys)), int64(len(f.sessions))
	r.Note = fmt.Sprintf("sessions: %d, keys: %d, writes: %d, reads: %d, of which bound by what the session knew: %d, stale: %d",
		f.counts["sessions"], f.counts["keys"], f.counts["writes"], f.counts["reads"], f.counts["reads_bound"], len(f.stale))
	if n := len(f.stale); n > 0 {
		slices.Sort(f.stale)
		f.counts["stale_reads"] = int64(n)
		f.counts["stale_median_us"], f.counts["stale_max_us"] = f.stale[n/2].Microseconds(), f.stale[n-1].Microseconds()
		r.Note += fmt.Sprintf(" (by %v in the median, %v at most)", checker.Brief(f.stale[n/2]), checker.Brief(f.stale[n-1]))
	}
	if !f.found.Conclude(&r) && f.counts["reads_bound"] == 0 {
		r.Verdict, r.Note = checker.Unknown, "no session has read anything that it knew something of; "+r.Note
	}
	return r
}

// did says what a call did, in words.
func did(c *call) string {
	switch {
	case c.F == Write:
		return checker.Did(*c, fmt.Sprintf("wrote %s = %d", c.In.key, c.In.version))
	case c.Out == 0:
		return checker.Did(*c, "read "+c.In.key+" = null")
	}
	return checker.Did(*c, fmt.Sprintf("read %s = %d", c.In.key, c.Out))
}
