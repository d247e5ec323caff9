package lease

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: no key dies while its lease is sure to
// last, none is there when it must be gone, and none comes back.
func Checker() checker.Checker {
	return workloads.Judge("lease", []string{Grant, KeepAlive, Revoke, Read}, readBack,
		checker.Part{Name: "leases", Checker: checker.Func(leases)})
}

// call is an operation on a key or its lease.
type call = histories.Call[payload, payload]

func did(c call) string {
	what := ""
	switch c.F {
	case Grant:
		what = fmt.Sprintf("was granted %s for %v", c.In.Key, c.In.ttl())
		if c.Type != histories.OK {
			what = fmt.Sprintf("was to be granted %s for %v", c.In.Key, c.In.ttl())
		}
	case KeepAlive:
		what = fmt.Sprintf("kept %s alive", c.In.Key)
		if c.Type != histories.OK {
			what = fmt.Sprintf("was to keep %s alive", c.In.Key)
		}
	case Revoke:
		what = "revoked " + c.In.Key
	case Read:
		what = "looked for " + c.In.Key
		if c.Type == histories.OK && c.Out.Present {
			what += ", and it was there"
		} else if c.Type == histories.OK {
			what += ", and it was not there"
		}
	}
	return checker.Did(c, what)
}

// refused says that c was refused since its lease was over.
func refused(c call) bool {
	return c.Type == histories.Fail && workloads.RefusedAs(c.Meta) == expired
}

// alive says that c shows a key or its lease to be there, dead that it is not.
func alive(c call) bool {
	return c.Type == histories.OK && (c.F == KeepAlive || c.F == Read && c.Out.Present)
}

func dead(c call) bool {
	return refused(c) || c.Type == histories.OK && (c.F == Revoke || c.F == Read && !c.Out.Present)
}

// A life is a key with its calls, in the order of their invocations.
type life struct {
	name  string
	grant call // the one that did not fail, if there is one
	calls []call
	began time.Duration // the key was there by then, if it was; or Never
	first call          // that shows that
}

// A judgement is what all lives have in common.
type judgement struct {
	clocks checker.Trouble
	faults checker.Trouble
	// changes are when the system was seen to have another leader, or to have
	// recovered.
	changes  []time.Duration
	told     map[string]bool // kinds of anomalies of the life that is judged
	findings checker.Findings
	counts   map[string]int64
}

// calmSince returns since when there was neither a fault nor a change of leaders.
func (j *judgement) calmSince(at time.Duration) time.Duration {
	since := j.faults.CalmSince(at)
	if i, _ := slices.BinarySearch(j.changes, at+1); i > 0 {
		since = max(since, j.changes[i-1])
	}
	return since
}

// found adds an anomaly, if it is the first of its kind in the life that is judged.
func (j *judgement) found(kind, note string, calls ...call) {
	if !j.told[kind] {
		j.told[kind] = true
		j.findings.Add(checker.Anomaly{Kind: kind, Note: note, Ops: checker.Ops(calls...)})
	}
}

// leases judges the lives of all keys.
func leases(_ context.Context, h *histories.History) (checker.Result, error) {
	lives, err := livesOf(h)
	if err != nil {
		return checker.Result{}, err
	}
	j := &judgement{changes: changes(h), counts: map[string]int64{}}
	if j.faults, err = checker.TroubleBy(h, func(string) bool { return true }); err != nil {
		return checker.Result{}, err
	}
	if j.clocks, err = checker.TroubleBy(h, func(name string) bool { return strings.HasPrefix(name, "clock") }); err != nil {
		return checker.Result{}, err
	}
	granted := map[uint64]call{} // by what shows it
	for _, l := range lives {
		j.judge(l)
		if l.grant.Type == histories.OK {
			j.counts["keys"]++
		}
		lease, c := l.lease()
		if lease == 0 {
			continue
		}
		if first, ok := granted[lease]; ok {
			j.found("lease granted twice", fmt.Sprintf("%s, and %s, and both have lease %d", did(c), did(first), lease), first, c)
		}
		granted[lease] = c
	}
	result := checker.Result{Name: "leases", Verdict: checker.Valid, Counts: j.counts}
	n := j.counts
	result.Note = fmt.Sprintf("keys: %d; kept alive: %d times, refused: %d times; deaths judged: %d (not, as clocks were out of order: %d); lives judged: %d (not: %d)",
		n["keys"], n["kept"], n["refused"], n["deaths"], n["deaths_unsure"], n["lives"], n["lives_unsure"])
	switch {
	case j.findings.Conclude(&result):
	case n["keys"] == 0:
		result.Verdict, result.Note = checker.Unknown, "no lease was granted"
	case n["deaths"]+n["lives"] == 0:
		result.Verdict, result.Note = checker.Unknown, "nothing says how long a lease lasted; "+result.Note
	}
	return result, nil
}

// lease returns the lease that a key was granted, and what shows it: its grant, or a
// read if nobody knows how that ended; 0 if nothing does.
func (l *life) lease() (uint64, call) {
	if l.grant.Type == histories.OK {
		return l.grant.Out.Lease, l.grant
	}
	for _, c := range l.calls {
		if l.grant.F != "" && c.F == Read && alive(c) {
			return c.Out.Lease, c
		}
	}
	return 0, call{}
}

// livesOf returns the lives of the keys, in the order in which they were first
// mentioned.
func livesOf(h *histories.History) ([]*life, error) {
	calls, err := histories.Calls(h, decode, decode)
	if err != nil {
		return nil, err
	}
	var lives []*life
	byKey := map[string]*life{}
	for _, c := range calls {
		l := byKey[c.In.Key]
		if l == nil {
			l = &life{name: c.In.Key, began: histories.Never}
			byKey[c.In.Key] = l
			lives = append(lives, l)
		}
		l.calls = append(l.calls, c)
		if c.F == Grant && c.Type != histories.Fail {
			if l.grant.F != "" {
				return nil, fmt.Errorf("ops %d and %d grant %s: a key has one life", l.grant.Index, c.Index, l.name)
			}
			l.grant = c
		}
		if shows := alive(c) || c.F == Grant && c.Type == histories.OK; shows && c.Completed < l.began {
			l.began, l.first = c.Completed, c
		}
	}
	return lives, nil
}

// changes returns when calls ended that first showed a new term of the system's own,
// if it tells them, and when it had recovered. A leader that is new may grant all
// leases anew, since it does not know when they were kept alive.
func changes(h *histories.History) []time.Duration {
	var times []time.Duration
	var last uint64
	for _, op := range h.All() {
		var said struct {
			Term uint64 `json:"term"`
		}
		if op.Process < 0 || len(op.Meta) == 0 || json.Unmarshal(op.Meta, &said) != nil || said.Term <= last {
			continue
		}
		last = said.Term
		times = append(times, op.Time)
	}
	if r, ok := h.Recovery(); ok {
		times = append(times, r.To)
	}
	slices.Sort(times)
	return times
}

// judge judges one life: of each kind of anomaly it tells of the first. The calls that
// show the key to be dead or alive are taken in the order of their invocations.
func (j *judgement) judge(l *life) {
	ended := slices.DeleteFunc(slices.Clone(l.calls), func(c call) bool { return !dead(c) || c.Invoked <= l.began })
	slices.SortFunc(ended, func(a, b call) int { return cmp.Compare(a.Completed, b.Completed) })
	kept := newKept(l)
	j.told = map[string]bool{}
	for _, c := range l.calls {
		if c.F == KeepAlive && c.Type == histories.OK {
			j.counts["kept"]++
		}
		if c.F == KeepAlive && refused(c) {
			j.counts["refused"]++
		}
		switch {
		case alive(c):
			j.judgeIdentity(l, c)
			if len(ended) > 0 && ended[0].Completed < c.Invoked {
				j.cameBack(l, ended[0], c)
				continue // that is worse than to live for too long
			}
			j.judgeLife(l, c, kept)
		case dead(c) && c.F != Revoke && c.Invoked > l.began:
			j.judgeDeath(l, c, kept)
		}
	}
}

// judgeIdentity judges whether what is there is what was granted.
func (j *judgement) judgeIdentity(l *life, c call) {
	switch {
	case c.F != Read:
	case l.grant.F == "":
		for _, g := range l.calls {
			if g.F == Grant && g.Invoked < c.Completed {
				j.found("refused grant took place", fmt.Sprintf("%s, but its grant was refused: %s", did(c), did(g)), g, c)
				return
			}
		}
		j.found("phantom key", did(c)+", but nobody was granted it", c)
	case l.grant.Invoked > c.Completed:
		j.found("phantom key", fmt.Sprintf("%s, but only later was it granted: %s", did(c), did(l.grant)), c, l.grant)
	case c.Out.Lease == 0:
		j.found("wrong lease", did(c)+", with no lease that it names", c)
	case l.grant.Type == histories.OK && c.Out.Lease != l.grant.Out.Lease:
		j.found("wrong lease", fmt.Sprintf("%s, with lease %d, but it was granted with lease %d: %s", did(c), c.Out.Lease, l.grant.Out.Lease, did(l.grant)), l.grant, c)
	}
}

// cameBack tells of a key that was seen dead, after it had been there, and before it is
// seen alive.
func (j *judgement) cameBack(l *life, before, c call) {
	kind := "came back"
	if before.F == Revoke {
		kind = "revoked and still there"
	}
	j.found(kind, fmt.Sprintf("%s, but before that %s", did(c), did(before)), l.first, before, c)
}

// A kept is what keeps a key alive: its grant and the keep-alives that did not fail, in
// the order of their invocations.
type kept struct {
	calls []call
	until []time.Duration // the first i+1 of the calls let it live until then for sure
	by    []int           // the call that lets it live until then
	most  []time.Duration // the longest TTL of the first i+1
	late  []time.Duration // the first i+1 had all ended by then; Never: one has not
	off   time.Duration   // when the first revocation was invoked that may have taken place
}

func newKept(l *life) *kept {
	k := &kept{off: histories.Never}
	for _, c := range l.calls {
		if c.F == Revoke && (c.Type != histories.Fail || refused(c)) { // by its second try, maybe
			k.off = min(k.off, c.Invoked)
		}
		if c.F != Grant && c.F != KeepAlive || c.Type == histories.Fail {
			continue
		}
		until, by, most, late := time.Duration(0), len(k.calls), c.Out.most(), c.Completed
		if c.Type == histories.OK {
			until = c.Invoked + c.Out.ttl()
		}
		if last := len(k.calls) - 1; last >= 0 {
			if k.until[last] >= until {
				until, by = k.until[last], k.by[last]
			}
			most, late = max(most, k.most[last]), max(late, k.late[last])
		}
		k.calls = append(k.calls, c)
		k.until, k.by = append(k.until, until), append(k.by, by)
		k.most, k.late = append(k.most, most), append(k.late, late)
	}
	return k
}

// before returns the position of the last call that was invoked before at, or -1.
func (k *kept) before(at time.Duration) int {
	i, _ := slices.BinarySearchFunc(k.calls, at, func(c call, at time.Duration) int { return cmp.Compare(c.Invoked, at) })
	return i - 1
}

// judgeDeath judges whether a key may be dead, as c says it is: not if all of c lies
// within the time for which its lease is sure to last.
func (j *judgement) judgeDeath(l *life, c call, k *kept) {
	if k.off < c.Completed {
		return
	}
	i := k.before(c.Completed)
	if i < 0 || l.grant.Type != histories.OK {
		return
	}
	lasting := k.calls[k.by[i]]
	if j.clocks.Overlaps(lasting.Invoked, c.Completed) {
		j.counts["deaths_unsure"]++
		return
	}
	if j.counts["deaths"]++; k.until[i] <= c.Completed {
		return
	}
	note := fmt.Sprintf("%s, but its lease lasted until %v at least: %s, for %v", did(c), k.until[i], did(lasting), lasting.Out.ttl())
	j.found("died early", note, l.grant, lasting, c)
}

// judgeLife judges whether a key may be alive, as c says it is: not if nothing can
// have kept it alive for longer than its TTL and the bound, and nothing hindered the
// system meanwhile.
func (j *judgement) judgeLife(l *life, c call, k *kept) {
	i := k.before(c.Completed)
	for i >= 0 && k.calls[i].Index >= c.Index { // itself, or what began later
		i--
	}
	if i < 0 || l.grant.Type != histories.OK || k.late[i] == histories.Never || j.clocks.Overlaps(l.grant.Invoked, c.Completed) {
		j.counts["lives_unsure"]++
		return
	}
	j.counts["lives"]++
	since := max(k.late[i], j.calmSince(c.Completed))
	if most := k.most[i] + l.grant.Out.bound(); c.Invoked-since > most {
		j.found("outlived its lease", fmt.Sprintf("%s, but nothing had kept it alive since %v, nor was there a fault or a change of leaders, and its lease lasts for %v, with the bound of %v for %v at most",
			did(c), since, l.grant.Out.ttl(), l.grant.Out.bound(), most), l.grant, k.calls[i], c)
	}
}

// readBack says which keys no read that began after since has looked for, of those
// that were granted.
func readBack(h *histories.History, since time.Duration) (keys int, unread []string, err error) {
	lives, err := livesOf(h)
	if err != nil {
		return 0, nil, err
	}
	var left workloads.Remainder
	for _, l := range lives {
		if l.grant.Type == histories.OK {
			left.Holds(l.name, 0)
		}
		for _, c := range l.calls {
			if c.F == Read && c.Type == histories.OK {
				left.Read(l.name, c.Invoked)
			}
		}
	}
	return left.Unread(since)
}
