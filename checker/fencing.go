package checker

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/hacheck/hacheck/histories"
)

// A FencedAct is what a call does to an object that tokens fence.
type FencedAct int

// The acts.
const (
	FencedGrant   FencedAct = iota + 1 // a new token is given out
	FencedUse                          // a token is found to be the current one, as when its lease is renewed
	FencedWrite                        // a value is written if the token is the current one
	FencedRelease                      // a token is given back, and never is the current one again
	FencedRead                         // the last write is read, or the current token, or both
)

// Fenced is what a call says of an object: one that may be changed only in the
// name of the current token, of which each is greater than those before. It is the
// cure for a holder of a lock who was paused for longer than the lock's lease, and
// does not know; see Kleppmann, "How to do distributed locking" (2016), and the
// sequencers in Burrows, "The Chubby lock service" (2006).
type Fenced struct {
	Object string
	Act    FencedAct
	// Token is the one that was granted, used, given back, or with which was
	// written: of a read, what it found. 0 is none.
	Token uint64
	// Value is what was written. No two writes to an object have the same.
	Value int64
	// Current is the token that a read saw to be the current one, 0 if it did not
	// say.
	Current uint64
	// Free says that a read saw that no token was the current one.
	Free bool
}

// FencedCall is a call on such objects. Its Out says it all if it succeeded.
type FencedCall = histories.Call[Fenced, Fenced]

// Fencing judges whether tokens fence. The tokens of an object are given out once
// and in rising order: who asks after somebody has been answered is given a greater
// one. What is done in the name of a token is done while it is the current one: not
// after a greater one is known to have been given out, nor after it was given back.
// A token whose use was refused for being over, or that had been given out when a read
// saw none, is over for good. What is written is a linearizable register, so that reads
// go back neither to what was overwritten, nor to what a lesser token wrote, and show
// what was written.
//
// Writes that failed did not happen; what failed for another reason says nothing else.
// Writes with one token whose times overlap are taken to be in no order.
type Fencing struct {
	// In and Out decode the payloads of the workload's functions, as
	// [histories.Calls] wants them.
	In, Out func(f string, value json.RawMessage) (Fenced, error)
	// Refused says that a call that failed was refused since its token was not the
	// current one: it was over by then, be it by the call's own first try.
	Refused func(FencedCall) bool
	// Describe says in words what a call did, to follow who: "acquired l0 with token 7".
	Describe func(FencedCall) string
	// Object and Token are what an object and a token are called.
	Object, Token string
	// Twice and Unfenced are the kinds of the two anomalies that matter most: of a
	// token that is granted twice, and of one that is accepted when it was over.
	Twice, Unfenced string
}

// Check judges h. It takes time as sorting the calls does.
func (f Fencing) Check(_ context.Context, h *histories.History) (Result, error) {
	calls, err := histories.Calls(h, f.In, f.Out)
	if err != nil {
		return Result{}, err
	}
	objects := map[string]*fenced{}
	for _, c := range calls {
		o := objects[c.In.Object]
		if o == nil {
			o = &fenced{Fencing: f, counts: map[string]int64{}}
			objects[c.In.Object] = o
		}
		o.calls = append(o.calls, c)
	}
	result := Result{Name: "fencing", Verdict: Valid, Counts: map[string]int64{"objects": int64(len(objects))}}
	var found Findings
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		o := objects[name]
		o.findings = &found
		o.judge()
		for what, n := range o.counts {
			result.Counts[what] += n
		}
	}
	n := result.Counts
	result.Note = fmt.Sprintf("%s, %s; %s, %d of them late; %s",
		Count(n["objects"], f.Object), Count(n["granted"], f.Token), Count(n["writes"], "write"), n["late_writes"], Count(n["reads"], "read"))
	if !found.Conclude(&result) && n["granted"] == 0 {
		result.Verdict = Unknown
		result.Note = "no " + f.Token + " was granted"
	}
	return result, nil
}

// A fenced is one object with its calls in the order of their invocations.
//
// Its history is explained by an order of all that happened: by token, a token's
// grant first and its release last; between them the writes with it; and the reads
// of each write after it and before the next. All of that order is given by the
// tokens, but for the writes with one token, which are in that of their times. So
// the history is right if no call that had ended before another began belongs
// after that in the order; and it is enough to remember of those that have ended
// the one that is furthest in it. That is how registers with distinct values are
// judged where the order of the writes is known: see Gibbons and Korach, "Testing
// shared memories" (1997).
type fenced struct {
	Fencing
	calls    []FencedCall
	findings *Findings
	counts   map[string]int64

	writes  map[stamp]*fencedWrite
	refused map[stamp]FencedCall
	free    map[int]tenure // by the reads that saw no token: how far it had come before
	ranked  []*fencedWrite // that took place for sure, in their order
}

// A stamp tells writes apart.
type stamp struct {
	token uint64
	value int64
}

// A fencedWrite is a write that took place or may have.
type fencedWrite struct {
	FencedCall
	by    time.Duration // it had taken place by then, if it did at all: it returned, or was seen
	proof FencedCall    // the read that saw it first, if it did not return before
	twice bool          // another write is just like it
	late  bool          // it should not have been accepted
	order int           // among writes with the same token; the same for those that overlap
	seen  time.Duration // when the last read ended that saw it; 0: none
	past  time.Duration // when the last read ended that saw it or one that belongs after it
}

func (w *fencedWrite) sure() bool { return w.by != histories.Never && !w.twice }

// before says that w belongs before x.
func (w *fencedWrite) before(x *fencedWrite) bool {
	return cmp.Or(cmp.Compare(w.In.Token, x.In.Token), cmp.Compare(w.order, x.order)) < 0
}

// A tenure is what is known of the current token: it has come to this one, or even
// to its end.
type tenure struct {
	token uint64
	over  bool
	by    FencedCall
	since FencedCall // that showed the token before by saw that there was none
}

// ended says that token is not the current one any more.
func (t tenure) ended(token uint64) bool { return t.token > token || t.token == token && t.over }

func (o *fenced) judge() {
	o.collect()
	o.judgeTokens()
	o.rank()
	o.judgeReads()
}

// collect finds the writes, and what is known of them by those who read them.
func (o *fenced) collect() {
	o.writes, o.refused, o.free = map[stamp]*fencedWrite{}, map[stamp]FencedCall{}, map[int]tenure{}
	for _, c := range o.calls {
		if c.In.Act != FencedWrite {
			continue
		}
		o.counts["writes"]++
		s := stamp{c.In.Token, c.In.Value}
		switch w := o.writes[s]; {
		case c.Type == histories.Fail:
			o.refused[s] = c
		case w != nil:
			w.twice = true
		default:
			o.writes[s] = &fencedWrite{FencedCall: c, by: c.Completed}
		}
	}
	for _, c := range o.calls {
		if c.In.Act != FencedRead || c.Type != histories.OK {
			continue
		}
		o.counts["reads"]++
		if w := o.writes[stamp{c.Out.Token, c.Out.Value}]; w != nil && w.Invoked < c.Completed {
			w.seen = max(w.seen, c.Completed)
			if c.Completed < w.by {
				w.by, w.proof = c.Completed, c
			}
		}
	}
}

// inOrder calls begun for each call in the order of their invocations, after ended
// for each of those that had succeeded by then, or been refused.
func (o *fenced) inOrder(ended, begun func(FencedCall)) {
	done := slices.DeleteFunc(slices.Clone(o.calls), func(c FencedCall) bool {
		return c.Type == histories.Info || c.Type == histories.Fail && !o.Refused(c)
	})
	slices.SortFunc(done, func(a, b FencedCall) int { return cmp.Compare(a.Completed, b.Completed) })
	for _, c := range o.calls {
		for len(done) > 0 && done[0].Completed < c.Invoked {
			ended(done[0])
			done = done[1:]
		}
		begun(c)
	}
}

// shown returns how far the current token has come, at least, when c has ended.
func (o *fenced) shown(c FencedCall) tenure {
	switch {
	case c.Type == histories.Fail: // it was refused
		return tenure{token: c.In.Token, over: true, by: c}
	case c.In.Act != FencedRead:
		return tenure{token: c.Out.Token, over: c.In.Act == FencedRelease, by: c}
	}
	t := tenure{token: c.Out.Current, by: c}
	if c.Out.Free {
		t = o.free[c.Index]
		t.over, t.by, t.since = true, c, t.by
	}
	// What nobody wrote says nothing of tokens.
	if s := (stamp{c.Out.Token, c.Out.Value}); s.token > t.token && o.writes[s] != nil {
		t = tenure{token: s.token, over: c.Out.Free, by: c}
	}
	return t
}

// judgeTokens looks for tokens that are granted or accepted when they must not be.
func (o *fenced) judgeTokens() {
	var now tenure
	granted := map[uint64]FencedCall{}
	o.inOrder(func(c FencedCall) {
		if t := o.shown(c); t.token > now.token || t.token == now.token && t.token > 0 && t.over && !now.over {
			now = t
		}
	}, func(c FencedCall) {
		if c.Out.Free {
			o.free[c.Index] = now
		}
		ended := now.ended(c.In.Token)
		if c.In.Act == FencedWrite && ended {
			o.counts["late_writes"]++
		}
		if w := o.writes[stamp{c.In.Token, c.In.Value}]; c.In.Act == FencedWrite && w != nil && w.Index == c.Index && w.sure() && ended {
			w.late = true
			o.found(o.Unfenced, fmt.Sprintf("%s, and it was accepted%s, but %s", o.did(c), o.proof(w), o.over(now)), c, w.proof, now.by, now.since)
			return
		}
		if c.Type != histories.OK {
			return
		}
		switch token := c.Out.Token; {
		case c.In.Act == FencedGrant:
			o.counts["granted"]++
			first, twice := granted[token]
			granted[token] = c
			switch {
			case twice:
				o.found(o.Twice, fmt.Sprintf("%s, and %s", o.did(c), o.did(first)), first, c)
			case token == 0:
				o.found(o.Token+" went back", o.did(c)+", which is below all", c)
			case now.token >= token:
				o.found(o.Token+" went back", fmt.Sprintf("%s, but before that %s", o.did(c), o.did(now.by)), now.since, now.by, c)
			}
		case c.In.Act == FencedUse && now.ended(token):
			o.found(o.Unfenced, fmt.Sprintf("%s, but %s", o.did(c), o.over(now)), now.since, now.by, c)
		case c.In.Act == FencedRead && c.Out.Current != 0 && c.Out.Current < c.Out.Token:
			o.found(o.Token+" went back", o.did(c)+": what was written last was written with a greater one than the current one", c)
		case c.In.Act == FencedRead && c.Out.Current != 0 && now.ended(c.Out.Current):
			o.found(o.Token+" went back", fmt.Sprintf("%s, but %s", o.did(c), o.over(now)), now.since, now.by, c)
		}
	})
}

// over says how it is known what the current token is.
func (o *fenced) over(now tenure) string {
	switch {
	case !now.over:
		return "before that there was a greater one: " + o.did(now.by)
	case now.since.F != "":
		return fmt.Sprintf("before that it was over: %s, and then %s", o.did(now.since), o.did(now.by))
	case now.by.In.Act == FencedRelease && now.by.Type == histories.OK:
		return "before that it was given back: " + o.did(now.by)
	}
	return "before that it was over: " + o.did(now.by)
}

// rank puts the writes that took place in order. Those that should not have are
// left out: what they did to the reads of others is told by telling of them.
func (o *fenced) rank() {
	for _, w := range o.writes {
		if w.sure() && !w.late {
			o.ranked = append(o.ranked, w)
		}
	}
	slices.SortFunc(o.ranked, func(a, b *fencedWrite) int {
		return cmp.Or(cmp.Compare(a.In.Token, b.In.Token), cmp.Compare(a.Invoked, b.Invoked))
	})
	var by time.Duration
	for i, w := range o.ranked {
		if i == 0 || o.ranked[i-1].In.Token != w.In.Token {
			by = w.by
			continue
		}
		w.order = o.ranked[i-1].order
		if w.Invoked > by {
			w.order++
		}
		by = max(by, w.by)
	}
	past := time.Duration(0)
	for _, w := range slices.Backward(o.ranked) {
		past = max(past, w.seen)
		w.past = past
	}
}

// lastOf returns the last write with a token less than the given one, or up to it,
// if there is one.
func (o *fenced) lastOf(token uint64, included bool) *fencedWrite {
	i := sort.Search(len(o.ranked), func(i int) bool {
		t := o.ranked[i].In.Token
		return t > token || t == token && !included
	})
	if i == 0 {
		return nil
	}
	return o.ranked[i-1]
}

// A reached is how far the register has come: at least to the write, by what a call
// that has ended did or saw.
type reached struct {
	write *fencedWrite
	by    FencedCall
	// implied says that by is neither the write nor a read of it, but shows that its
	// token was over; with since, as a tenure has it.
	implied bool
	since   FencedCall
}

// further returns r, or other if that is further. What is seen is preferred to what is
// implied.
func (r reached) further(other reached) reached {
	w := other.write
	if w != nil && !w.late && w.sure() && (r.write == nil || r.write.before(w) || !w.before(r.write) && r.implied && !other.implied) {
		return other
	}
	return r
}

// implied returns how far the register has come, at least, as c has shown tokens to be
// over: what was written with those has been written by then.
func (o *fenced) implied(c FencedCall) reached {
	t := o.shown(c)
	return reached{o.lastOf(t.token, t.over), c, true, t.since}
}

// judgeReads looks for reads of what had been overwritten or was never written.
func (o *fenced) judgeReads() {
	var now reached
	o.inOrder(func(c FencedCall) {
		now = now.further(o.implied(c))
		if c.Type == histories.OK && (c.In.Act == FencedRead || c.In.Act == FencedWrite) {
			now = now.further(reached{write: o.writes[stamp{c.Out.Token, c.Out.Value}], by: c})
		}
	}, func(c FencedCall) {
		if c.In.Act == FencedRead && c.Type == histories.OK {
			o.judgeRead(c, now.further(o.implied(c)))
		}
	})
}

// judgeRead judges a read by how far the register had come by then.
func (o *fenced) judgeRead(c FencedCall, now reached) {
	s := stamp{c.Out.Token, c.Out.Value}
	w := o.writes[s]
	switch refused, failed := o.refused[s]; {
	case s == stamp{}: // nothing was written yet
	case w == nil && failed && refused.Invoked < c.Completed:
		o.found("refused write took place", fmt.Sprintf("%s, but all that was to write it was refused: %s", o.did(c), o.did(refused)), refused, c)
		return
	case w == nil:
		o.found("phantom value", o.did(c)+", but nobody wrote that", c)
		return
	case w.Invoked > c.Completed:
		o.found("phantom value", fmt.Sprintf("%s, but only later did anybody write that: %s", o.did(c), o.did(w.FencedCall)), c, w.FencedCall)
		return
	case w.late || !w.sure():
		return
	}
	if now.write == nil || w != nil && !w.before(now.write) {
		return
	}
	instead := now.write.FencedCall
	switch open := w != nil && w.In.Token < now.write.In.Token && w.Completed > now.by.Completed; {
	case now.implied:
		o.found(o.Unfenced, fmt.Sprintf("%s, and that was overwritten only later: %s%s; but its %s was over by then: %s",
			o.did(c), o.did(instead), o.proof(now.write), o.Token, o.did(now.by)), now.since, now.by, c, instead, now.write.proof)
	case open:
		o.found(o.Unfenced, fmt.Sprintf("%s, and that was written by %s; but before that %s", o.did(c), o.did(w.FencedCall), o.did(now.by)), now.by, c, w.FencedCall)
	case now.write.seen > 0 && now.write.past > c.Completed:
		o.found("stale read", fmt.Sprintf("%s, but before that %s, and later reads did not go back", o.did(c), o.did(now.by)), now.by, c)
	default:
		o.found("lost write", fmt.Sprintf("%s, but before that %s, and nobody saw it later", o.did(c), o.did(now.by)), now.by, c)
	}
}

// found remembers an anomaly that rests on calls.
func (o *fenced) found(kind, note string, calls ...FencedCall) {
	o.findings.Add(Anomaly{Kind: kind, Note: note, Ops: Ops(calls...)})
}

func (o *fenced) did(c FencedCall) string { return Did(c, o.Describe(c)) }

// proof says who saw a write that did not return, or not before it was seen.
func (o *fenced) proof(w *fencedWrite) string {
	if w.proof.F == "" {
		return ""
	}
	return ", as " + o.did(w.proof)
}
