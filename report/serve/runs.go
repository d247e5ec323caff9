package serve

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

// Runs is what the table shows: a page of the runs that were asked for.
type Runs struct {
	// Version is that of the store: whoever knows another one may want to ask again.
	Version int64  `json:"version"`
	Store   string `json:"store"`
	// Total is how many runs there are, Matched how many were asked for, of which the Rows
	// are those from Offset on.
	Total   int     `json:"total"`
	Matched int     `json:"matched"`
	Offset  int     `json:"offset"`
	Rows    []Row   `json:"rows"`
	Facets  []Facet `json:"facets"`
	// Inner is how many runs there are in directories of others.
	Inner int `json:"inner"`
}

// A Row is a run in the table. Times are milliseconds; a number that is not known is -1.
type Row struct {
	Path       string   `json:"path"`
	Parent     string   `json:"parent,omitempty"`
	System     string   `json:"system"`
	Bug        string   `json:"bug,omitempty"`
	Workload   string   `json:"workload"`
	Nemesis    string   `json:"nemesis"` // "none" if there was none
	Seed       string   `json:"seed"`    // too large for a number of a page
	Nodes      int      `json:"nodes"`
	Hypervisor string   `json:"hypervisor,omitempty"`
	Began      int64    `json:"began"`    // since 1970; 0: not known
	Duration   int64    `json:"duration"` // -1: it has not ended
	Limit      int64    `json:"limit"`
	State      string   `json:"state"`   // see store.State
	Outcome    string   `json:"outcome"` // one of the Outcomes
	Kinds      []string `json:"kinds"`   // of anomalies
	Live       string   `json:"live,omitempty"`
	OK         int64    `json:"ok"`
	Fail       int64    `json:"fail"`
	Info       int64    `json:"info"`
	States     int64    `json:"states"` // 0: the system does not tell
	Begun      int64    `json:"begun"`
	Acted      int64    `json:"acted"`
	Report     bool     `json:"report"`
	Trouble    []string `json:"trouble"`
	Flaw       string   `json:"flaw,omitempty"`
}

// A Facet is what runs can be filtered by, with the values there are.
type Facet struct {
	Name   string  `json:"name"`
	Values []Value `json:"values"`
}

// A Value is one that runs have.
type Value struct {
	Value string `json:"value"`
	Runs  int    `json:"runs"`
}

// A Detail is what is told of one run beside its row.
type Detail struct {
	Row      Row       `json:"row"`
	Commands []Command `json:"commands"`
	// Files, and the Bytes in them, are what a deletion takes, with the runs in Inner.
	Files int      `json:"files"`
	Bytes int64    `json:"bytes"`
	More  bool     `json:"more"` // there are more than were counted
	Inner []string `json:"inner"`
	// Kept says why it may not be deleted now; empty: it may.
	Kept string `json:"kept,omitempty"`
}

// A Command is what to type, and why.
type Command struct {
	Purpose string `json:"purpose"`
	Command string `json:"command"`
}

// Outcomes are what has become of a run, in the order in which the table sorts them.
var Outcomes = []string{"invalid", "unknown", "valid", "running", "judging", "not judged", "ended early"}

// outcome is what has become of a run, in a word or two.
func outcome(e *store.Entry) string {
	switch {
	case e.State.Ongoing():
		return string(e.State)
	case e.Verdict != "":
		return e.Verdict
	case e.State == store.Ended:
		return "not judged"
	}
	return "ended early"
}

// nemesis is what broke, as it was asked for.
func nemesis(e *store.Entry) string {
	words := slices.Clone(e.Nemesis)
	switch {
	case e.Schedule == 1:
		words = append(words, "a schedule of 1 fault")
	case e.Schedule > 1:
		words = append(words, fmt.Sprintf("a schedule of %d faults", e.Schedule))
	case len(words) == 0:
		return "none"
	}
	return strings.Join(words, ", ")
}

// rowOf returns a run as the table has it.
func rowOf(e *store.Entry) Row {
	r := Row{
		Path: e.Path, Parent: e.Parent, System: e.System, Bug: e.Bug, Workload: e.Workload, Nemesis: nemesis(e),
		Seed: strconv.FormatUint(e.Seed, 10), Nodes: e.Nodes, Hypervisor: e.Hypervisor, Duration: -1,
		Limit: e.Limit.Std().Milliseconds(), State: string(e.State), Outcome: outcome(e), Kinds: list(e.Kinds),
		OK: -1, Fail: -1, Info: -1, Begun: -1, Acted: -1, Report: e.Report, Trouble: list(e.Trouble), Flaw: e.Flaw,
	}
	if !e.Began.IsZero() {
		r.Began = e.Began.UnixMilli()
	}
	if !e.Ended.IsZero() {
		r.Duration = e.Duration().Milliseconds()
	}
	if e.Judged {
		r.OK, r.Fail, r.Info, r.States, r.Begun, r.Acted = e.OK, e.Fail, e.Info, e.States, e.Begun, e.Acted
	}
	if e.Live != nil {
		r.Live = e.Live.Kind
	}
	return r
}

// list returns s, or an empty list, which encoding/json does not make null of.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// A view is a listing as the table asks for it. What takes all runs is worked out once.
type view struct {
	*store.Listing
	hay    []string // of each entry, what is searched
	facets []Facet
	inner  int

	mu     sync.Mutex
	orders map[string][]int // by column, behind a minus if descending: positions of entries
}

func newView(l *store.Listing) *view {
	v := &view{Listing: l, hay: make([]string, len(l.Entries)), orders: map[string][]int{}}
	counts := make([]map[string]int, len(columns))
	for i := range counts {
		counts[i] = map[string]int{}
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		v.hay[i] = strings.ToLower(strings.Join([]string{
			e.Path, e.System, e.Bug, e.Workload, nemesis(e), strconv.FormatUint(e.Seed, 10), e.Hypervisor, outcome(e),
			strings.Join(e.Kinds, " "), e.Flaw,
		}, " "))
		if e.Parent != "" {
			v.inner++
		}
		for c := range columns {
			if columns[c].facet != nil {
				counts[c][columns[c].facet(e)]++
			}
		}
	}
	for c, column := range columns {
		if column.facet == nil {
			continue
		}
		f := Facet{Name: column.name, Values: []Value{}}
		for value, n := range counts[c] {
			f.Values = append(f.Values, Value{value, n})
		}
		slices.SortFunc(f.Values, func(a, b Value) int { return cmp.Compare(a.Value, b.Value) })
		v.facets = append(v.facets, f)
	}
	return v
}

// A column is what runs can be ordered by, and filtered.
type column struct {
	name    string
	compare func(a, b *store.Entry) int
	facet   func(e *store.Entry) string // nil: there is no filter
}

func by[T cmp.Ordered](key func(e *store.Entry) T) func(a, b *store.Entry) int {
	return func(a, b *store.Entry) int { return cmp.Compare(key(a), key(b)) }
}

var columns = []column{
	{"verdict", by(func(e *store.Entry) int { return slices.Index(Outcomes, outcome(e)) }), outcome},
	{"system", by(func(e *store.Entry) string { return e.System }), func(e *store.Entry) string { return e.System }},
	{"bug", by(func(e *store.Entry) string { return e.Bug }), func(e *store.Entry) string { return cmp.Or(e.Bug, "none") }},
	{"workload", by(func(e *store.Entry) string { return e.Workload }), func(e *store.Entry) string { return e.Workload }},
	{"nemesis", by(nemesis), nemesis},
	{"seed", by(func(e *store.Entry) uint64 { return e.Seed }), nil},
	{"began", func(a, b *store.Entry) int { return a.Began.Compare(b.Began) }, nil},
	{"duration", by(func(e *store.Entry) time.Duration { return e.Duration() }), nil},
	{"ops", by(func(e *store.Entry) int64 { return e.OK + e.Fail + e.Info }), nil},
	{"states", by(func(e *store.Entry) int64 { return e.States }), nil},
	{"faults", by(func(e *store.Entry) int64 { return e.Acted }), nil},
}

// order returns the positions of all runs by a column; those that are equal in it by their
// begin, the latest first.
func (v *view) order(c column, descending bool) []int {
	name, sign := c.name, 1
	if descending {
		name, sign = "-"+name, -1
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	o, ok := v.orders[name]
	if !ok {
		o = make([]int, len(v.Entries))
		for i := range o {
			o[i] = i
		}
		slices.SortStableFunc(o, func(a, b int) int { return sign * c.compare(&v.Entries[a], &v.Entries[b]) })
		v.orders[name] = o
	}
	return o
}

const (
	defaultRows = 100
	maxRows     = 500
)

// A query is which runs are asked for.
type query struct {
	words         []string
	filters       map[string]string // by column
	sort          column
	descending    bool
	inner         bool
	offset, limit int
}

// queryOf reads a query, or says what is wrong with it.
func queryOf(r *http.Request) (q query, err error) {
	get := r.URL.Query().Get
	q.words = strings.Fields(strings.ToLower(get("q")))
	q.inner = get("inner") != ""
	q.filters = map[string]string{}
	sort := cmp.Or(get("sort"), "began")
	at := slices.IndexFunc(columns, func(c column) bool { return c.name == sort })
	if at < 0 {
		return q, fmt.Errorf("sort=%s: there is no such column", sort)
	}
	q.sort = columns[at]
	for _, c := range columns {
		if value := get(c.name); c.facet != nil && value != "" {
			q.filters[c.name] = value
		}
	}
	switch order := get("order"); order {
	case "desc":
		q.descending = true
	case "":
		q.descending = sort == "began"
	case "asc":
	default:
		return q, fmt.Errorf("order=%s: it is asc or desc", order)
	}
	number := func(name string, fallback, most int) int {
		text := get(name)
		if text == "" {
			return fallback
		}
		n, e := strconv.Atoi(text)
		if e != nil || n < 0 || n > most {
			err = fmt.Errorf("%s=%s: it is a number up to %d", name, text, most)
		}
		return n
	}
	q.offset = number("offset", 0, 1<<30)
	q.limit = number("limit", defaultRows, maxRows)
	return q, err
}

// find returns how many runs match, and the rows that are asked for.
func (v *view) find(q query) (matched int, rows []Row) {
	rows = []Row{}
	for _, i := range v.order(q.sort, q.descending) {
		e := &v.Entries[i]
		if e.Parent != "" && !q.inner || !v.matches(i, q) {
			continue
		}
		if matched >= q.offset && len(rows) < q.limit {
			rows = append(rows, rowOf(e))
		}
		matched++
	}
	return matched, rows
}

func (v *view) matches(i int, q query) bool {
	for _, word := range q.words {
		if !strings.Contains(v.hay[i], word) {
			return false
		}
	}
	for _, c := range columns {
		if want, ok := q.filters[c.name]; ok && c.facet(&v.Entries[i]) != want {
			return false
		}
	}
	return true
}

// apiRuns answers with the runs that are asked for.
func (s *Server) apiRuns(w http.ResponseWriter, r *http.Request) {
	q, err := queryOf(r)
	if err != nil {
		s.refuse(w, r, http.StatusBadRequest, err.Error())
		return
	}
	v, err := s.soon()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	matched, rows := v.find(q)
	answer(w, http.StatusOK, Runs{
		Version: int64(v.Version), Store: s.Store, Total: len(v.Entries), Matched: matched, Offset: q.offset, Rows: rows,
		Facets: v.facets, Inner: v.inner,
	})
}

// maxCounted bounds the files that are counted for a detail.
const maxCounted = 100_000

// apiRun answers with one run.
func (s *Server) apiRun(w http.ResponseWriter, r *http.Request) {
	e, ok := s.run(w, r, strings.TrimSuffix(r.PathValue("path"), "/"))
	if !ok {
		return
	}
	d := Detail{Row: rowOf(e), Commands: []Command{}, Inner: []string{}}
	for _, n := range s.Commands(s.dir(e.Path)) {
		d.Commands = append(d.Commands, Command(n))
	}
	ongoing := e.State.Ongoing()
	v := s.current.Load()
	for i := range v.Entries {
		if inner := &v.Entries[i]; strings.HasPrefix(inner.Path, e.Path+"/") {
			d.Inner = append(d.Inner, inner.Path)
			ongoing = ongoing || inner.State.Ongoing()
		}
	}
	if err := s.count(r.Context(), e.Path, &d); err != nil {
		s.fail(w, r, err)
		return
	}
	switch {
	case s.ReadOnly:
		d.Kept = "this server only shows"
	case ongoing:
		d.Kept = store.ErrOngoing.Error()
	}
	answer(w, http.StatusOK, d)
}

// count counts the files of a run.
func (s *Server) count(ctx context.Context, run string, d *Detail) error {
	return s.each(ctx, run, func(_ *os.Root, _ string, f fs.DirEntry) error {
		if d.Files == maxCounted {
			d.More = true
			return fs.SkipAll
		}
		about, err := f.Info()
		if err != nil {
			return nil // it has gone meanwhile
		}
		d.Files++
		d.Bytes += about.Size()
		return nil
	})
}
