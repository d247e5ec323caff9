package lock

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: the tokens fence, no two clients hold
// a lock at the same time, and nobody loses one who holds it.
func Checker() checker.Checker {
	return workloads.Judge("lock", []string{Acquire, Renew, Release, Write, Read}, readBack,
		checker.Part{Name: "fencing", Checker: fencing()},
		checker.Part{Name: "holders", Checker: checker.Func(holders)})
}

var acts = map[string]checker.FencedAct{
	Acquire: checker.FencedGrant, Renew: checker.FencedUse, Release: checker.FencedRelease,
	Write: checker.FencedWrite, Read: checker.FencedRead,
}

// fencing judges the tokens and the resources, without regard to time.
func fencing() checker.Fencing {
	read := func(f string, value json.RawMessage) (checker.Fenced, error) {
		p, err := decode(f, value)
		return checker.Fenced{Object: p.Lock, Act: acts[f], Token: p.Token, Value: p.Value}, err
	}
	return checker.Fencing{
		In: read, Out: read,
		Refused: func(c checker.FencedCall) bool { return workloads.RefusedAs(c.Meta) == fenced },
		Describe: func(c checker.FencedCall) string {
			in, out := c.In, c.Out
			return describe(c.F, c.Type,
				payload{Lock: in.Object, Token: in.Token, Value: in.Value},
				payload{Lock: out.Object, Token: out.Token, Value: out.Value})
		},
		Object: "lock", Token: "token",
		Twice: "token granted twice", Unfenced: "write not fenced off",
	}
}

// describe says what a call did.
func describe(f string, t histories.Type, in, out payload) string {
	if t != histories.OK && (f == Acquire || f == Read) {
		return f + " " + in.Lock // nothing is known of what it got
	}
	switch f {
	case Acquire:
		return fmt.Sprintf("acquired %s with token %d", in.Lock, out.Token)
	case Renew:
		return fmt.Sprintf("renewed %s with token %d", in.Lock, in.Token)
	case Release:
		return fmt.Sprintf("released %s with token %d", in.Lock, in.Token)
	case Write:
		return fmt.Sprintf("wrote %s = %d with token %d", in.Lock, in.Value, in.Token)
	}
	if out == (payload{Lock: out.Lock}) {
		return fmt.Sprintf("read %s = nothing", in.Lock)
	}
	return fmt.Sprintf("read %s = %d, written with token %d", in.Lock, out.Value, out.Token)
}

// call is an operation on a lock.
type call = histories.Call[payload, payload]

func did(c call) string { return checker.Did(c, describe(c.F, c.Type, c.In, c.Out)) }

// A hold is the time in which a lock is held for certain by a token: from the
// completion of its acquire, since the system had granted it by then, to the last of
// two times: when something was invoked that succeeded in the token's name, since it
// did only if the token held the lock; and when the lease may have ended that was
// renewed last, its TTL after the renewal was invoked, since it was done no earlier,
// or a release was invoked before.
type hold struct {
	acquire call
	proof   call // that took place last of what shows that the lock was still held
	renewal call // the acquire or renew whose lease lasts longest
	release call // the first one that may have taken place
	end     time.Duration
	unsure  bool // clocks were out of order: end does not rest on the lease
}

// lease returns until when the lease lasts at least.
func (h *hold) lease() time.Duration { return h.renewal.Invoked + h.renewal.Out.ttl() }

// settle finds when h ends.
func (h *hold) settle(clocks checker.Trouble) {
	proven := max(h.acquire.Completed, h.proof.Invoked)
	h.end = h.lease()
	if h.release.F != "" {
		h.end = min(h.end, h.release.Invoked)
	}
	h.end = max(h.end, proven)
	if h.end > proven && clocks.Overlaps(h.acquire.Invoked, h.end) {
		h.end, h.unsure = proven, true
	}
}

// why says how it is known that h lasted until its end, and by which call.
func (h *hold) why() (string, call) {
	switch {
	case h.release.F != "" && h.end == h.release.Invoked:
		return "released it no earlier than at " + h.end.String(), h.release
	case h.proof.F != "" && h.end == h.proof.Invoked:
		return "then " + did(h.proof), h.proof
	}
	return fmt.Sprintf("its lease lasted until %v at least: %s, for %v", h.end, did(h.renewal), h.renewal.Out.ttl()), h.renewal
}

// holders judges the times in which locks are held: no two tokens hold one at the
// same time, and while a token does, nothing in its name is refused. Where the clocks
// of nodes were out of order nothing rests on how long a lease lasts.
func holders(_ context.Context, h *histories.History) (checker.Result, error) {
	calls, clocks, err := callsOf(h)
	if err != nil {
		return checker.Result{}, err
	}
	all := holds(calls)
	result := checker.Result{Name: "holders", Verdict: checker.Valid, Counts: map[string]int64{}}
	byLock := map[string][]*hold{}
	for g, held := range all {
		held.settle(clocks)
		byLock[g.lock] = append(byLock[g.lock], held)
		result.Counts["holds"]++
		if held.unsure {
			result.Counts["holds_unsure"]++
		}
	}
	var findings checker.Findings
	for _, lock := range slices.Sorted(maps.Keys(byLock)) {
		heldTwice(&findings, byLock[lock])
	}
	for _, c := range calls {
		if !refused(c) {
			continue
		}
		result.Counts["refusals"]++
		held := all[grant{c.In.Lock, c.In.Token}]
		if held == nil || !held.lostBy(c) {
			continue
		}
		why, proof := held.why()
		findings.Add(checker.Anomaly{
			Kind: "lock lost while held",
			Note: fmt.Sprintf("%s, as if the token did not hold the lock, but %s, and %s", did(c), did(held.acquire), why),
			Ops:  checker.Ops(held.acquire, proof, c),
		})
	}
	n := result.Counts
	result.Note = fmt.Sprintf("holds: %d (without their leases, as clocks were out of order: %d); refusals: %d",
		n["holds"], n["holds_unsure"], n["refusals"])
	if !findings.Conclude(&result) && n["holds"] == 0 {
		result.Verdict, result.Note = checker.Unknown, "no lock was acquired"
	}
	return result, nil
}

// callsOf returns the calls of a history, and when the clocks of nodes were out of order.
func callsOf(h *histories.History) (calls []call, clocks checker.Trouble, err error) {
	if calls, err = histories.Calls(h, decode, decode); err != nil {
		return nil, clocks, err
	}
	clocks, err = checker.TroubleBy(h, func(name string) bool { return strings.HasPrefix(name, "clock") })
	return calls, clocks, err
}

// refused says that what holders do was refused since the token did not hold the lock.
func refused(c call) bool {
	return c.Type == histories.Fail && (c.F == Write || c.F == Renew) && workloads.RefusedAs(c.Meta) == fenced
}

// lostBy says that a refusal in the name of h lies within the time for which that was held
// for certain.
func (h *hold) lostBy(c call) bool { return c.Invoked >= h.acquire.Completed && c.Completed < h.end }

// A grant is of a token.
type grant struct {
	lock  string
	token uint64
}

// holds returns the holds of all tokens that were granted, as far as is known from
// calls. Of a token that was granted twice, which is told elsewhere, it takes the
// first grant.
func holds(calls []call) map[grant]*hold {
	all := map[grant]*hold{}
	for _, c := range calls {
		if g := (grant{c.In.Lock, c.Out.Token}); c.F == Acquire && c.Type == histories.OK && all[g] == nil {
			all[g] = &hold{acquire: c, renewal: c}
		}
	}
	for _, c := range calls {
		h := all[grant{c.In.Lock, c.In.Token}]
		switch {
		case h == nil || c.F == Acquire || c.F == Read:
		case c.F == Release && (c.Type != histories.Fail || workloads.RefusedAs(c.Meta) == fenced): // by its second try, maybe
			if h.release.F == "" {
				h.release = c
			}
		case c.F != Release && c.Type == histories.OK:
			h.proof = c // they come in the order of their invocations
			if c.F == Renew && c.Invoked+c.Out.ttl() > h.lease() {
				h.renewal = c
			}
		}
	}
	return all
}

// heldTwice tells of holds of one lock that overlap.
func heldTwice(findings *checker.Findings, holds []*hold) {
	for first, second := range overlaps(holds) {
		why, proof := first.why()
		findings.Add(checker.Anomaly{
			Kind: "lock held twice",
			Note: fmt.Sprintf("%s, while it was held: %s, and %s", did(second.acquire), did(first.acquire), why),
			Ops:  checker.Ops(first.acquire, proof, second.acquire),
		})
	}
}

// overlaps returns each hold of a lock that overlaps with another, or whose grant took place
// within that, behind the other one. It sorts the holds by their begin.
func overlaps(holds []*hold) iter.Seq2[*hold, *hold] {
	slices.SortFunc(holds, func(a, b *hold) int { return cmp.Compare(a.acquire.Completed, b.acquire.Completed) })
	return func(yield func(first, second *hold) bool) {
		longest := holds[0]
		for _, h := range holds[1:] {
			c := h.acquire
			// Both are held when c ends; or all of c lies within the other.
			if longest.end > c.Completed && (h.end > c.Completed || c.Invoked > longest.acquire.Completed) && !yield(longest, h) {
				return
			}
			if h.end > longest.end {
				longest = h
			}
		}
	}
}

// readBack says which resources no read that began after since has read, of those to
// which something was written for certain.
func readBack(h *histories.History, since time.Duration) (locks int, unread []string, err error) {
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, c := range calls {
		if c.Type != histories.OK {
			continue
		}
		if c.F == Write || c.F == Read && c.Out.Token != 0 {
			left.Holds(c.In.Lock, 0)
		}
		if c.F == Read {
			left.Read(c.In.Lock, c.Invoked)
		}
	}
	return left.Unread(since)
}
