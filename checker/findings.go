package checker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxOfKind bounds how many anomalies of one kind are shown. Who has more has one bug,
// and wants to read about it once.
const maxOfKind = 3

// Findings are the anomalies of a history, as they are found: of each kind how many
// there are, and the few that showed first. The zero Findings are none.
type Findings struct {
	counts map[string]int
	first  map[string][]Anomaly // of each kind, in the order in which they showed
}

// showed returns when an anomaly showed: with the last op that it rests on.
func showed(a Anomaly) int {
	if len(a.Ops) == 0 {
		return -1
	}
	return a.Ops[len(a.Ops)-1]
}

// Add adds an anomaly.
func (f *Findings) Add(a Anomaly) { f.AddMany(1, a) }

// AddMany adds an anomaly that counts for n of its kind.
func (f *Findings) AddMany(n int, a Anomaly) {
	f.Count(n, a.Kind)
	first := f.first[a.Kind]
	at, _ := slices.BinarySearchFunc(first, showed(a)+1, func(b Anomaly, op int) int { return cmp.Compare(showed(b), op) })
	if at < maxOfKind {
		first = slices.Insert(first, at, a)
		f.first[a.Kind] = first[:min(len(first), maxOfKind)]
	}
}

// Count counts n anomalies of a kind that are not described.
func (f *Findings) Count(n int, kind string) {
	if f.counts == nil {
		f.counts, f.first = map[string]int{}, map[string][]Anomaly{}
	}
	f.counts[kind] += n
}

// Len returns how many anomalies there are.
func (f *Findings) Len() (n int) {
	for _, of := range f.counts {
		n += of
	}
	return n
}

// Enough says that as many of a kind are known as are shown. Who finds them in the order
// in which they showed may Count the rest.
func (f *Findings) Enough(kind string) bool { return len(f.first[kind]) == maxOfKind }

// Conclude makes r Invalid if there are anomalies, and says so. It shows the first ones,
// counts them by kind, and tells of that before what else the note says.
func (f *Findings) Conclude(r *Result) (any bool) {
	if len(f.counts) == 0 {
		return false
	}
	if r.Counts == nil {
		r.Counts = map[string]int64{}
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(f.counts)) {
		r.Counts[kind] += int64(f.counts[kind])
		kinds = append(kinds, fmt.Sprintf("%d × %s", f.counts[kind], kind))
		r.Anomalies = append(r.Anomalies, f.first[kind]...)
	}
	slices.SortStableFunc(r.Anomalies, func(a, b Anomaly) int { return cmp.Compare(showed(a), showed(b)) })
	r.Verdict = Invalid
	r.Note = strings.Join(kinds, ", ") + "; " + r.Note
	return true
}
