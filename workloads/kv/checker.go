package kv

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: the store is linearizable as a whole,
// in the order of its revisions, and the run tried hard enough to say so. See check.
func Checker() checker.Checker {
	return workloads.Judge("kv", []string{Get, Range, Put, Delete, Transact, Compact}, readBack,
		checker.Part{Name: "linearizable", Checker: checker.Func(check)})
}

// call is an operation on the store.
type call = histories.Call[Input, Output]

// check judges a history by the revisions that the system claims. These must hold:
//
//   - no two writes made the same revision, and each revision was made by a write: an
//     acknowledged one, or one of unknown outcome;
//   - what began after a revision was known to somebody did not take place before it,
//     and if it is a write, not at it either; serializable reads excepted, and reads
//     of the past;
//   - what an operation saw is the state of its revision, which all writes up to there
//     have made: its values, its create and mod revisions, its versions, and how its
//     comparisons came out.
//
// If all outcomes are known this is all there is to ask: the order of revisions, reads
// after the write of theirs, is then a linearization. Otherwise there are revisions,
// gaps, of which is not known what made them. Who sees a value with its mod revision
// fills one. The others may have been made by whichever write of unknown outcome is
// left, and whatever that could have touched is not known until it is seen again: so
// what is called wrong is wrong whoever filled the gaps. Not every contradiction is
// found then, as the gaps are not tried in all combinations.
//
// To compact changes nothing that there is, so it is as if it had not happened: that a
// read of the past is refused is a failure, of which nothing follows.
func check(ctx context.Context, h *histories.History) (checker.Result, error) {
	calls, err := histories.Calls(h, ParseInput, parseOutput)
	if err != nil {
		return checker.Result{}, err
	}
	calls = slices.DeleteFunc(calls, func(c call) bool { return c.F == Compact })
	j, err := newJudgement(calls)
	if err != nil {
		return checker.Result{}, err
	}
	if err := j.judge(ctx); err != nil {
		return checker.Result{}, err
	}
	return j.result(), nil
}

// A judgement is one check of one history.
type judgement struct {
	calls  []call
	floors []floor // of the calls
	puts   map[string]*source
	writes []*write // those that took place at a known revision
	open   []*write // those of which nobody knows whether they did
	keys   []string // all that anybody wrote, ascending
	on     map[string]*record
	tests  []test
	gaps   []gap

	found checker.Findings
	known map[string]bool // ids of what was found
	stale int64           // serializable reads that saw an old state
	looks int64
}

// A floor is the greatest revision that was known to somebody before a call began,
// and who knew it.
type floor struct {
	revision uint64
	by       *call
}

// A source is what puts a value.
type source struct {
	*write
	key  string
	then bool // in the first branch of a transaction
}

// A write is a call that changed the store, or may have.
type write struct {
	*call
	after    floor
	revision uint64   // that it made, if that is known; otherwise 0
	proof    *call    // that saw it, if its outcome is known from nothing else
	then     bool     // the branch it took, if that is known
	done     []Action // what it changed, if that is known
}

// A record is what is known of a key.
type record struct {
	events []event // ascending by revision
	looks  []look
	quiet  spans // revisions that did not change it
	touch  touches
	// lastSeen is the last call to see what a revision left of the key.
	lastSeen map[uint64]*call
}

// An event is a change of a key.
type event struct {
	*write
	revision uint64
	put      bool
	value    string
}

// A look is what a call saw of a key: a KV, nothing, or that there was something.
type look struct {
	*call
	at      uint64 // the revision whose state it saw
	kv      *KV
	present bool // there was something: kv may be nil even so
}

// A test is what a transaction found of its conditions.
type test struct {
	*call
	at   uint64
	held bool
}

func newJudgement(calls []call) (*judgement, error) {
	j := &judgement{
		calls: calls, floors: floors(calls),
		puts: map[string]*source{}, on: map[string]*record{}, known: map[string]bool{},
	}
	for i := range calls {
		c := &calls[i]
		w := &write{call: c, after: j.floors[i]}
		for _, branch := range branches(c) {
			for _, a := range branch.actions {
				if a.F == Get {
					continue
				}
				if j.on[a.Key] == nil {
					j.on[a.Key] = &record{}
				}
				if a.F != Put {
					continue
				}
				if other := j.puts[a.Value]; other != nil {
					return nil, fmt.Errorf("ops %d and %d put the same value %q: nobody can tell who wrote it", other.Index, c.Index, a.Value)
				}
				j.puts[a.Value] = &source{w, a.Key, branch.then}
			}
		}
		switch c.Type {
		case histories.OK:
			if done := len(c.In.branch(c.Out.Succeeded)); c.F == Transact && len(c.Out.Results) != done {
				return nil, fmt.Errorf("op %d: %d results of %d actions", c.Completion, len(c.Out.Results), done)
			}
			if w.done = changes(c); len(w.done) == 0 {
				continue
			}
			w.revision, w.then = c.Out.Revision, c.Out.Succeeded || c.F != Transact
			j.writes = append(j.writes, w)
		case histories.Info:
			if c.F != Get && c.F != Range {
				j.open = append(j.open, w)
			}
		}
	}
	j.keys = slices.Sorted(maps.Keys(j.on))
	return j, nil
}

// floors returns the floor of each call. Calls come in the order of their invocations.
func floors(calls []call) []floor {
	var returned []*call
	for i := range calls {
		if calls[i].Type == histories.OK {
			returned = append(returned, &calls[i])
		}
	}
	slices.SortFunc(returned, func(a, b *call) int { return cmp.Compare(a.Completed, b.Completed) })
	known := make([]floor, len(calls))
	var highest floor
	for i := range calls {
		for len(returned) > 0 && returned[0].Completed < calls[i].Invoked {
			if r := returned[0]; r.Out.Revision > highest.revision {
				highest = floor{r.Out.Revision, r}
			}
			returned = returned[1:]
		}
		known[i] = highest
	}
	return known
}

// A branch is what a call does, or may do.
type branch struct {
	then    bool
	actions []Action
}

// branches returns what c would do: a transaction one of two things.
func branches(c *call) []branch {
	switch c.F {
	case Put:
		return []branch{{true, []Action{{F: Put, Key: c.In.Key, Value: c.In.Value}}}}
	case Delete:
		return []branch{{true, []Action{{F: Delete, Key: c.In.Key}}}}
	case Transact:
		return []branch{{true, c.In.Then}, {false, c.In.Else}}
	}
	return nil
}

// changes returns what an ok call has changed.
func changes(c *call) []Action {
	switch c.F {
	case Put:
		return []Action{{F: Put, Key: c.In.Key, Value: c.In.Value}}
	case Delete:
		if c.Out.Deleted {
			return []Action{{F: Delete, Key: c.In.Key}}
		}
	case Transact:
		var done []Action
		for i, a := range c.In.branch(c.Out.Succeeded) {
			if a.F == Put || a.F == Delete && c.Out.Results[i].Deleted {
				done = append(done, a)
			}
		}
		return done
	}
	return nil
}

// judge looks for everything that is wrong.
func (j *judgement) judge(ctx context.Context) error {
	for i := range j.calls {
		if c := &j.calls[i]; c.Type == histories.OK {
			j.inTime(c, j.floors[i])
			j.observe(c)
		}
	}
	j.settle()
	j.order()
	j.findGaps()
	for _, key := range j.keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := j.on[key]
		j.prepare(key, r)
		j.replay(key, r)
		for _, l := range r.looks {
			j.compare(key, r, l)
		}
	}
	for _, t := range j.tests {
		j.decide(t)
	}
	j.fill()
	return nil
}

// inTime asks whether c took place after what was known when it began.
func (j *judgement) inTime(c *call, f floor) {
	wrote := len(changes(c)) > 0
	switch {
	case c.In.At > 0:
		if c.Out.Revision < c.In.At {
			j.report("future read", "", fmt.Sprintf("%s, which the store had not come to: it was at revision %d", did(c), c.Out.Revision), c)
		}
	case c.In.Serializable:
		if c.Out.Revision < f.revision {
			j.stale++
		}
	case wrote && c.Out.Revision == 0:
		j.report("revision went back", "", did(c)+": there is none below 1 for a write to make", c)
	case wrote && c.Out.Revision <= f.revision:
		j.report("revision went back", "", fmt.Sprintf("%s, but revision %d was known before: %s", did(c), f.revision, did(f.by)), f.by, c)
	case !wrote && c.Out.Revision < f.revision:
		j.report("stale read", "", fmt.Sprintf("%s, but revision %d was known before: %s", did(c), f.revision, did(f.by)), f.by, c)
	}
}

// observe notes what an ok call says of the state that it saw.
func (j *judgement) observe(c *call) {
	at := c.Out.Revision
	switch c.F {
	case Get, Range:
		j.read(c, cmp.Or(c.In.At, at))
	case Delete:
		if c.Out.Deleted {
			at--
		}
		j.look(c.In.Key, look{call: c, at: at, present: c.Out.Deleted})
	case Transact:
		if len(changes(c)) > 0 {
			at--
		}
		j.tests = append(j.tests, test{c, at, c.Out.Succeeded})
		for i, a := range c.In.branch(c.Out.Succeeded) {
			switch r := c.Out.Results[i]; {
			case a.F == Delete:
				j.look(a.Key, look{call: c, at: at, present: r.Deleted})
			case a.F == Get && (r.KV == nil || j.credible(c, at, a.Key, *r.KV)):
				j.look(a.Key, look{call: c, at: at, kv: r.KV, present: r.KV != nil})
			}
		}
	}
}

// read notes what a get or a range saw, and of which keys it saw nothing.
func (j *judgement) read(c *call, at uint64) {
	asked := c.In.Key
	if c.F == Range {
		asked = c.In.Prefix
	}
	seen := map[string]bool{}
	for _, kv := range c.Out.KVs {
		if kv.Key != asked && (c.F == Get || !strings.HasPrefix(kv.Key, asked)) || seen[kv.Key] {
			j.report("keys mixed up", "", fmt.Sprintf("%s, and got %s, which was not asked for or is there twice", did(c), shown(kv)), c)
			continue
		}
		seen[kv.Key] = true
		if j.credible(c, at, kv.Key, kv) {
			j.look(kv.Key, look{call: c, at: at, kv: &kv, present: true})
		}
	}
	if c.F == Get {
		if !seen[asked] {
			j.look(asked, look{call: c, at: at})
		}
		return
	}
	from, _ := slices.BinarySearch(j.keys, asked)
	for _, key := range j.keys[from:] {
		if !strings.HasPrefix(key, asked) {
			break
		}
		if !seen[key] {
			j.look(key, look{call: c, at: at})
		}
	}
}

func (j *judgement) look(key string, l look) {
	j.looks++
	if r := j.on[key]; r != nil {
		r.looks = append(r.looks, l)
	}
}

// credible asks whether what c saw in the state of a revision can have been there at
// any time: whether somebody wrote it, and just so. From that is known what writes of
// unknown outcome did.
func (j *judgement) credible(c *call, at uint64, key string, kv KV) bool {
	bad := func(kind, why string, others ...*call) bool {
		j.report(kind, "", fmt.Sprintf("%s and saw %s, %s", did(c), shown(kv), why), append(others, c)...)
		return false
	}
	s := j.puts[kv.Value]
	switch {
	case kv.Key != key:
		return bad("keys mixed up", "which is another key")
	case s == nil:
		return bad("value nobody wrote", "a value that nobody wrote")
	case s.key != key:
		return bad("keys mixed up", "a value that belongs to another key: "+did(s.call), s.call)
	case s.Type == histories.Fail:
		return bad("dirty read", "but that never took place: "+did(s.call), s.call)
	case s.Type == histories.OK && (len(s.done) == 0 || s.write.then != s.then):
		return bad("dirty read", "from the branch that was not taken: "+did(s.call), s.call)
	case s.Invoked > c.Completed:
		return bad("future read", "but only later "+did(s.call), s.call)
	case kv.Mod == 0:
		return bad("revision went back", "but no write makes revision 0")
	case kv.Mod > at:
		return bad("future read", fmt.Sprintf("in the state of revision %d", at))
	case s.revision == 0 && s.Type == histories.Info:
		if kv.Mod <= s.after.revision {
			return bad("revision went back", fmt.Sprintf("of a write that began when revision %d was known: %s", s.after.revision, did(s.after.by)), s.call, s.after.by)
		}
		s.revision, s.write.then, s.proof = kv.Mod, s.then, c
	case s.revision != kv.Mod && s.proof != nil:
		return bad("two revisions", fmt.Sprintf("which was of revision %d when %s", s.revision, did(s.proof)), s.call, s.proof)
	case s.revision != kv.Mod:
		return bad("two revisions", "but "+did(s.call), s.call)
	case s.write.then != s.then:
		return bad("non-atomic txn", "which belongs to the other branch than what was seen when "+did(s.proof), s.call, s.proof)
	}
	return true
}

// settle makes known writes of those that somebody has seen.
func (j *judgement) settle() {
	var open []*write
	for _, w := range j.open {
		if w.revision == 0 {
			open = append(open, w)
			continue
		}
		for _, b := range branches(w.call) {
			if b.then == w.then {
				w.done = slices.DeleteFunc(slices.Clone(b.actions), func(a Action) bool { return a.F == Get })
			}
		}
		j.writes = append(j.writes, w)
		if w.F == Transact {
			j.tests = append(j.tests, test{w.call, w.revision - 1, w.then})
		}
	}
	j.open = open
}

// order puts the known writes into the order of their revisions.
func (j *judgement) order() {
	slices.SortStableFunc(j.writes, func(a, b *write) int { return cmp.Compare(a.revision, b.revision) })
	for i, w := range j.writes {
		if i > 0 && j.writes[i-1].revision == w.revision {
			a, b := j.writes[i-1], w
			j.report("revision reused", "", fmt.Sprintf("%v, and %v: both made revision %d", a, b, w.revision), append(a.evidence(), b.evidence()...)...)
		}
		for _, a := range w.done {
			r := j.on[a.Key]
			r.events = append(r.events, event{w, w.revision, a.F == Put, a.Value})
		}
	}
}

// evidence returns the calls that show that w took place.
func (w *write) evidence() []*call {
	if w.proof != nil {
		return []*call{w.call, w.proof}
	}
	return []*call{w.call}
}

// String says what w did, and how that is known.
func (w *write) String() string {
	if w.proof != nil {
		return fmt.Sprintf("%s, seen with revision %d when %s", did(w.call), w.revision, did(w.proof))
	}
	return did(w.call)
}

// report notes an anomaly, once for each id that is not empty.
func (j *judgement) report(kind, id, note string, calls ...*call) {
	if id != "" {
		id = kind + " " + id
		if j.known[id] {
			return
		}
		j.known[id] = true
	}
	var evidence []call
	for _, c := range calls {
		if c != nil {
			evidence = append(evidence, *c)
		}
	}
	j.found.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(evidence...)})
}

// result says what was found.
func (j *judgement) result() checker.Result {
	r := checker.Result{Verdict: checker.Valid, Counts: map[string]int64{
		"writes": int64(len(j.writes)), "open_writes": int64(len(j.open)), "gaps": int64(len(j.gaps)), "looks": j.looks,
	}}
	ok, serializable := 0, int64(0)
	for _, c := range j.calls {
		r.Counts[c.Type.String()]++
		if c.Type != histories.OK {
			continue
		}
		ok++
		if c.In.Serializable {
			serializable++
		}
	}
	if ok == 0 {
		r.Verdict, r.Note = checker.Unknown, "nothing to judge: no operation succeeded"
		return r
	}
	r.Counts["serializable"], r.Counts["serializable_stale"] = serializable, j.stale
	r.Note = fmt.Sprintf("writes in the order of their revisions: %d, and %d of unknown outcome that nobody saw; looks at keys: %d", len(j.writes), len(j.open), j.looks)
	if serializable > 0 {
		r.Note += fmt.Sprintf("; serializable reads that were stale: %d of %d", j.stale, serializable)
	}
	j.found.Conclude(&r)
	return r
}
