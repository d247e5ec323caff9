package appends

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Checker returns the checker of the workload: that the transactions are strictly
// serializable, as if each happened alone at some moment while it was open. If every
// list was read after everything else had ended this is exact: a history in which it
// finds nothing is. It takes time about linear in what the history holds.
func Checker() checker.Checker {
	return workloads.Judge("append", []string{Txn}, readBack,
		checker.Part{Name: "strict serializability", Checker: checker.Func(strict)})
}

// The kinds of anomalies, beside those of cycles.
const (
	internal     = "internal anomaly"
	phantom      = "phantom element"
	duplicate    = "duplicate element"
	aborted      = "aborted read (G1a)"
	intermediate = "intermediate read (G1b)"
	incompatible = "incompatible order"
	lost         = "lost append"
)

// A call is a transaction.
type call = histories.Call[[]Mop, []Mop]

// A write is an append of an element to a key.
type write struct {
	txn int // its position among all
	// final says that the transaction appended nothing to that key after it.
	final bool
	// lost says that reads which had to show it do not.
	lost bool
}

// A read is what a transaction that committed found at a key.
type read struct {
	txn  int
	list []int64
	// external says that the transaction had done nothing to that key before.
	external bool
}

// A key is all that is known of a list.
type key struct {
	name   string
	writes map[int64]*write
	reads  []read
	// order is the longest list that was read, which has the elements in the order
	// in which they were appended, unless reads contradict each other.
	order  []int64
	broken bool // they do
}

// A commit is a time by which a transaction was committed, and who shows it: itself,
// or one that has read what it appended.
type commit struct {
	by    time.Duration
	proof int
}

// findings are what is wrong, and how much was looked at.
type findings struct {
	txns []call
	// committed says of each transaction when it was known to be committed: when it
	// was acknowledged, or when another had read what it appended. Else it is never.
	committed []commit
	keys      []*key
	byName    map[string]*key
	counts    map[string]int64
	found     checker.Findings
}

// strict judges a history.
func strict(_ context.Context, h *histories.History) (checker.Result, error) {
	txns, err := histories.Calls(h, parse, parse)
	if err != nil {
		return checker.Result{}, err
	}
	f := &findings{txns: txns, byName: map[string]*key{}, counts: map[string]int64{}}
	if err := f.collectWrites(); err != nil {
		return checker.Result{}, err
	}
	if err := f.collectReads(); err != nil {
		return checker.Result{}, err
	}
	f.commits()
	for _, k := range f.keys {
		f.inOrder(k)
		f.elements(k)
		f.intermediate(k)
		f.lost(k)
	}
	f.cycles()
	return f.result(), nil
}

// add adds an anomaly with its transactions as the evidence.
func (f *findings) add(kind string, txns []int, note string, args ...any) {
	var evidence []call
	for _, t := range txns {
		evidence = append(evidence, f.txns[t])
	}
	f.found.Add(checker.Anomaly{Kind: kind, Note: fmt.Sprintf(note, args...), Ops: checker.Ops(evidence...)})
}

func (f *findings) result() checker.Result {
	r := checker.Result{Name: "strict serializability", Verdict: checker.Valid, Counts: f.counts}
	f.counts["keys"] = int64(len(f.keys))
	r.Note = fmt.Sprintf("transactions: %d ok, %d failed, %d indeterminate; lists: %d, reads of them: %d",
		f.counts["ok"], f.counts["fail"], f.counts["info"], f.counts["keys"], f.counts["reads"])
	if !f.found.Conclude(&r) && f.counts["reads"] == 0 {
		r.Verdict, r.Note = checker.Unknown, "nothing was read, so nothing is known; "+r.Note
	}
	return r
}

func (f *findings) key(name string) *key {
	k := f.byName[name]
	if k == nil {
		k = &key{name: name, writes: map[int64]*write{}}
		f.byName[name] = k
		f.keys = append(f.keys, k)
	}
	return k
}

// collectWrites finds out who appended what.
func (f *findings) collectWrites() error {
	for t, c := range f.txns {
		f.counts[c.Type.String()]++
		for i, m := range c.In {
			if m.F != Append {
				continue
			}
			k := f.key(m.Key)
			if k.writes[m.Element] != nil {
				return fmt.Errorf("op %d: %d is appended to %s for a second time: elements must be unique", c.Index, m.Element, m.Key)
			}
			again := slices.ContainsFunc(c.In[i+1:], func(o Mop) bool { return o.F == Append && o.Key == m.Key })
			k.writes[m.Element] = &write{txn: t, final: !again}
		}
	}
	return nil
}

// collectReads finds out who read what, and whether it agrees with what the same
// transaction did before.
func (f *findings) collectReads() error {
	for t, c := range f.txns {
		if c.Type != histories.OK {
			continue
		}
		if !answers(c.In, c.Out) {
			return fmt.Errorf("op %d: a transaction completed as another one: %s, not %s", c.Completion, payload(c.Out), payload(c.In))
		}
		for i, m := range c.Out {
			if m.F != Read {
				continue
			}
			f.counts["reads"]++
			known, own := before(c.Out[:i], m.Key)
			want, rest := slices.Concat(known, own), m.List
			if known == nil && len(rest) > len(own) {
				rest = rest[len(rest)-len(own):]
			}
			future := slices.ContainsFunc(c.Out[i+1:], func(o Mop) bool {
				return o.F == Append && o.Key == m.Key && slices.Contains(m.List, o.Element)
			})
			switch {
			case future:
				f.add(internal, []int{t}, "%s: it read from %s what it appended only after that: %v", f.did(t), m.Key, elements(m.List))
			case !slices.Equal(rest, want):
				had := "be"
				if known == nil {
					had = "end in"
				}
				f.add(internal, []int{t}, "%s: it read %v from %s, though by what it had done itself that had to %s %v",
					f.did(t), elements(m.List), m.Key, had, elements(want))
			default:
				k := f.key(m.Key)
				k.reads = append(k.reads, read{txn: t, list: m.List, external: known == nil && len(own) == 0})
			}
		}
	}
	return nil
}

// commits finds out which transactions were committed, and by when.
func (f *findings) commits() {
	f.committed = make([]commit, len(f.txns))
	for t, c := range f.txns {
		f.committed[t] = commit{histories.Never, t}
		if c.Type == histories.OK {
			f.committed[t].by = c.Completed
		}
	}
	for _, k := range f.keys {
		for _, r := range k.reads {
			by := f.txns[r.txn].Completed
			for _, e := range r.list {
				w := k.writes[e]
				if w != nil && f.txns[w.txn].Type == histories.Info && by < f.committed[w.txn].by {
					f.committed[w.txn] = commit{by, r.txn}
				}
			}
		}
	}
}

// before returns the list at a key that mops read last, nil if they did not, and
// what they have appended since.
func before(mops []Mop, key string) (known, own []int64) {
	for _, m := range mops {
		switch {
		case m.Key != key:
		case m.F == Append:
			own = append(own, m.Element)
		default:
			known, own = append([]int64{}, m.List...), nil
		}
	}
	return known, own
}

// inOrder finds the order in which elements were appended to k: all lists that were
// read are beginnings of the longest one, or contradict it.
func (f *findings) inOrder(k *key) {
	if len(k.reads) == 0 {
		return
	}
	longest := slices.MaxFunc(k.reads, func(a, b read) int { return cmp.Compare(len(a.list), len(b.list)) })
	k.order = longest.list
	for _, r := range k.reads {
		if !slices.Equal(r.list, longest.list[:len(r.list)]) {
			f.add(incompatible, []int{r.txn, longest.txn}, "of %s %s, and %s: neither list is the beginning of the other",
				k.name, f.did(r.txn), f.did(longest.txn))
			k.broken = true
			break
		}
	}
	seen := make(map[int64]bool, len(longest.list))
	for _, e := range longest.list {
		if seen[e] {
			f.add(duplicate, append(f.writer(k, e), longest.txn), "%s: %d is in it twice", f.did(longest.txn), e)
			k.broken = true
			break
		}
		seen[e] = true
	}
}

// writer returns who appended e to k, if anybody did.
func (f *findings) writer(k *key, e int64) []int {
	if w := k.writes[e]; w != nil {
		return []int{w.txn}
	}
	return nil
}

// elements tells of elements that were read and cannot have been there. One that was
// there before its transaction began is a cycle.
func (f *findings) elements(k *key) {
	told := map[int64]bool{}
	look := func(r read) {
		for _, e := range r.list {
			w := k.writes[e]
			switch {
			case told[e]:
				continue
			case w == nil:
				f.add(phantom, []int{r.txn}, "%s, though nobody ever appended %d to it", f.did(r.txn), e)
			case f.txns[w.txn].Type == histories.Fail:
				f.add(aborted, []int{r.txn, w.txn}, "%s, though the transaction that appended %d had failed: %s", f.did(r.txn), e, f.did(w.txn))
			default:
				continue
			}
			told[e] = true
		}
	}
	if k.broken { // each read is for itself
		for _, r := range k.reads {
			look(r)
		}
		return
	}
	// All that was read is in the longest list; who read it first shows it.
	upTo := 0
	for _, r := range k.reads {
		if len(r.list) > upTo {
			look(r)
			upTo = len(r.list)
		}
	}
}

// intermediate tells of reads that found some of what a transaction appended to k,
// and not all.
func (f *findings) intermediate(k *key) {
	for _, r := range k.reads {
		if !r.external || len(r.list) == 0 {
			continue
		}
		last := r.list[len(r.list)-1]
		if w := k.writes[last]; w != nil && !w.final && w.txn != r.txn {
			f.add(intermediate, []int{r.txn, w.txn}, "%s, which ends in %d, but the transaction that appended that went on: %s", f.did(r.txn), last, f.did(w.txn))
		}
	}
}

// lost tells of appends which no read shows that began when they were known to be
// committed.
func (f *findings) lost(k *key) {
	if k.broken {
		return
	}
	at := make(map[int64]int, len(k.order))
	for i, e := range k.order {
		at[e] = i
	}
	reads := k.reads // in the order of invocations, as transactions are
	longest := make([]int, len(reads))
	for i := len(reads) - 1; i >= 0; i-- {
		longest[i] = len(reads[i].list)
		if i+1 < len(reads) {
			longest[i] = max(longest[i], longest[i+1])
		}
	}
	for _, e := range elementsOf(k) {
		w := k.writes[e]
		done := f.committed[w.txn]
		later := sort.Search(len(reads), func(i int) bool { return f.txns[reads[i].txn].Invoked > done.by })
		if later == len(reads) {
			continue
		}
		if i, seen := at[e]; seen && i < longest[later] {
			continue
		}
		w.lost = true
		known := ","
		if done.proof != w.txn {
			known = ", which was committed: " + f.did(done.proof) + ";"
		}
		f.add(lost, []int{w.txn, done.proof, reads[later].txn}, "%s%s but of the reads of %s that began later (%d) none shows %d, the first: %s",
			f.did(w.txn), known, k.name, len(reads)-later, e, f.did(reads[later].txn))
	}
}

// elementsOf returns all elements that anybody appended to k, ascending.
func elementsOf(k *key) []int64 {
	elements := make([]int64, 0, len(k.writes))
	for e := range k.writes {
		elements = append(elements, e)
	}
	slices.Sort(elements)
	return elements
}

// did says what a transaction did, in words.
func (f *findings) did(t int) string {
	c := f.txns[t]
	mops := c.In
	if c.Type == histories.OK {
		mops = c.Out
	}
	var deeds []string
	for _, m := range mops {
		deed := "read " + m.Key
		switch {
		case m.F == Append:
			deed = fmt.Sprintf("appended %d to %s", m.Element, m.Key)
		case c.Type == histories.OK:
			deed += " = " + elements(m.List)
		}
		deeds = append(deeds, deed)
	}
	return checker.Did(c, strings.Join(deeds, ", "))
}

// elements returns a list as a note shows it: of a long one the end.
func elements(list []int64) string {
	const most = 8
	s := fmt.Sprint(list[max(0, len(list)-most):])
	if more := len(list) - most; more > 0 {
		s = fmt.Sprintf("[(%d more) %s", more, s[1:])
	}
	return s
}
