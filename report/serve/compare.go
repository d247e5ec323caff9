package serve

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/internal/store"
)

// A Comparison is two runs side by side. Of what only one of them has the other is null.
type Comparison struct {
	A         Row        `json:"a"`
	B         Row        `json:"b"`
	Notes     []string   `json:"notes"` // what could not be read
	Facts     []Pair     `json:"facts"`
	Parts     []Verdicts `json:"parts"`
	Functions []Calls    `json:"functions"`
	Measures  []Measure  `json:"measures"`  // times and shares: recovery, availability, failover
	Anomalies []Measure  `json:"anomalies"` // how many of each kind are listed
	Counts    []Measure  `json:"counts"`    // everything else that was counted
	PastA     Past       `json:"past_a"`
	PastB     Past       `json:"past_b"`
}

// A Pair is a fact of both. An empty text is none.
type Pair struct {
	Name    string `json:"name"`
	A       string `json:"a"`
	B       string `json:"b"`
	Differs bool   `json:"differs"`
	// Own says that it is of each run alone, such as its begin: that it differs says
	// nothing.
	Own bool `json:"own,omitempty"`
}

// Verdicts are those of one checker.
type Verdicts struct {
	Name    string   `json:"name"`
	Depth   int      `json:"depth"` // below the parts of the whole
	A       *Verdict `json:"a"`
	B       *Verdict `json:"b"`
	Differs bool     `json:"differs"`
}

// A Verdict is that of one checker about one run.
type Verdict struct {
	Verdict string `json:"verdict"`
	Note    string `json:"note,omitempty"`
}

// Calls are those of one function.
type Calls struct {
	Name   string   `json:"name"`
	A      *Latency `json:"a"`
	B      *Latency `json:"b"`
	Median *float64 `json:"median"` // of B by that of A; null: one is not known
	P99    *float64 `json:"p99"`
}

// A Latency is how often a function was called, and how long those calls took that
// succeeded, in microseconds; -1: none did.
type Latency struct {
	OK     int64 `json:"ok"`
	Fail   int64 `json:"fail"`
	Info   int64 `json:"info"`
	Median int64 `json:"median"`
	P99    int64 `json:"p99"`
}

// A Measure is a number of both.
type Measure struct {
	Group string   `json:"group"`
	Name  string   `json:"name"`
	Unit  string   `json:"unit"` // "µs", "‰", "/s" or none
	A     *int64   `json:"a"`
	B     *int64   `json:"b"`
	Ratio *float64 `json:"ratio"` // of B by A; null: it says nothing
}

// A part is what is read of results.json; see checker.Result.
type part struct {
	Name      string           `json:"name"`
	Verdict   string           `json:"verdict"`
	Note      string           `json:"note"`
	Counts    map[string]int64 `json:"counts"`
	Anomalies []struct {
		Kind string `json:"kind"`
	} `json:"anomalies"`
	Parts []part `json:"parts"`
}

// child returns the part of a name; nil if there is none, or no p.
func (p *part) child(name string) *part {
	if p == nil {
		return nil
	}
	for i := range p.Parts {
		if p.Parts[i].Name == name {
			return &p.Parts[i]
		}
	}
	return nil
}

// children returns the names of the parts of both, in the order of the first that has
// them.
func children(a, b *part) (names []string) {
	for _, p := range []*part{a, b} {
		if p == nil {
			continue
		}
		for i := range p.Parts {
			if !slices.Contains(names, p.Parts[i].Name) {
				names = append(names, p.Parts[i].Name)
			}
		}
	}
	return names
}

const (
	// maxParts is what is compared at most: parts, with what is counted and found in them.
	// A run has some hundreds.
	maxParts = 5_000
	// deepest is where the deepest part is, and longest the name of one.
	deepest = 8
	longest = 200
)

// clip leaves out of p what there is no room for, and says whether there is any such.
func (p *part) clip(room *int, depth int) (cut bool) {
	if len(p.Name) > longest {
		p.Name, cut = strings.ToValidUTF8(p.Name[:longest], "")+"…", true
	}
	if *room -= len(p.Counts); *room < 0 {
		p.Counts, *room, cut = nil, 0, true
	}
	if n := min(len(p.Anomalies), *room); n < len(p.Anomalies) {
		p.Anomalies, cut = p.Anomalies[:n], true
	}
	*room -= len(p.Anomalies)
	if depth == deepest && len(p.Parts) > 0 {
		p.Parts, cut = nil, true
	}
	for i := range p.Parts {
		if *room == 0 {
			p.Parts = p.Parts[:i]
			return true
		}
		*room--
		if p.Parts[i].clip(room, depth+1) {
			cut = true
		}
	}
	return cut
}

// apiCompare answers with two runs side by side.
func (s *Server) apiCompare(w http.ResponseWriter, r *http.Request) {
	a, b := r.URL.Query().Get("a"), r.URL.Query().Get("b")
	if a == "" || b == "" {
		s.refuse(w, r, http.StatusBadRequest, "name two runs: ?a=PATH&b=PATH")
		return
	}
	ofA, ok := s.run(w, r, a)
	if !ok {
		return
	}
	ofB, ok := s.run(w, r, b)
	if !ok {
		return
	}
	c := &Comparison{A: rowOf(ofA), B: rowOf(ofB), Notes: []string{}}
	infoA, resultsA := s.read(c, "the first", ofA)
	infoB, resultsB := s.read(c, "the second", ofB)
	c.facts(ofA, ofB, infoA, infoB)
	c.parts(resultsA, resultsB, 0)
	c.functions(resultsA.child("stats"), resultsB.child("stats"))
	c.anomalies(resultsA, resultsB)
	for _, name := range children(resultsA, resultsB) {
		c.measure(name, resultsA.child(name), resultsB.child(name))
	}
	var err error
	if c.PastA, err = s.past(r.Context(), ofA.Path); err == nil {
		c.PastB, err = s.past(r.Context(), ofB.Path)
	}
	if err != nil {
		return // who asked has gone
	}
	c.Parts, c.Functions, c.Measures, c.Counts = list(c.Parts), list(c.Functions), list(c.Measures), list(c.Counts)
	answer(w, http.StatusOK, c)
}

// read reads the two files that say what a run was and what came of it; results are nil if
// there are none.
func (s *Server) read(c *Comparison, which string, e *store.Entry) (info store.Info, results *part) {
	if err := s.index.Decode(path.Join(e.Path, store.InfoFile), &info); err != nil {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %v", which, err))
	}
	results = &part{}
	if err := s.index.Decode(path.Join(e.Path, store.ResultsFile), results); err != nil {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %v", which, err))
		return info, nil
	}
	if room := maxParts; results.clip(&room, 0) {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %s has more than is compared here", which, store.ResultsFile))
	}
	return info, results
}

// facts compares what was asked for.
func (c *Comparison) facts(ofA, ofB *store.Entry, a, b store.Info) {
	add := func(name, a, b string) {
		if a != "" || b != "" {
			c.Facts = append(c.Facts, Pair{Name: name, A: a, B: b, Differs: a != b})
		}
	}
	of := func(name string, text func(i *store.Info) string) { add(name, text(&a), text(&b)) }
	of("system", func(i *store.Info) string { return i.System })
	of("bug", func(i *store.Info) string { return i.Bug })
	of("workload", func(i *store.Info) string { return i.Workload })
	add("nemesis", nemesis(ofA), nemesis(ofB))
	of("policy", func(i *store.Info) string { return i.Options.Policy })
	of("replays", func(i *store.Info) string { return i.Replays })
	of("nodes", func(i *store.Info) string { return fmt.Sprint(i.Options.Nodes) })
	of("hypervisor", func(i *store.Info) string { return i.Options.Hypervisor })
	of("tuned", func(i *store.Info) string { return i.Options.Tune })
	of("concurrency", func(i *store.Info) string { return fmt.Sprint(i.Options.Concurrency) })
	of("rate", func(i *store.Info) string {
		if i.Options.Rate == 0 {
			return "as many as go"
		}
		return fmt.Sprintf("%g/s", i.Options.Rate)
	})
	of("keys", func(i *store.Info) string { return fmt.Sprint(i.Options.Keys) })
	of("time limit", func(i *store.Info) string { return i.Options.TimeLimit.String() })
	of("interval of faults", func(i *store.Info) string { return i.Options.Interval.String() })
	of("heal", func(i *store.Info) string { return i.Options.Heal })
	of("quorum guard", func(i *store.Info) string {
		if i.Options.Unguarded {
			return "off"
		}
		return "on"
	})
	of("hacheck", func(i *store.Info) string { return i.Versions.Hacheck })
	of("Go", func(i *store.Info) string { return i.Versions.Go })
	of("machine", func(i *store.Info) string { return i.Versions.OS })
	of("kernel", func(i *store.Info) string { return i.Versions.Kernel })
	lab := maps.Clone(a.Lab)
	if lab == nil {
		lab = map[string]string{}
	}
	maps.Copy(lab, b.Lab)
	for _, name := range slices.Sorted(maps.Keys(lab)) {
		add("lab: "+name, a.Lab[name], b.Lab[name])
	}
	own := len(c.Facts)
	of("seed", func(i *store.Info) string { return fmt.Sprint(i.Options.Seed) })
	of("began", func(i *store.Info) string { return i.Began.UTC().Format("2006-01-02 15:04:05 UTC") })
	of("trouble", func(i *store.Info) string { return strings.Join(i.Trouble, "\n") })
	for i := own; i < len(c.Facts); i++ {
		c.Facts[i].Own = true
	}
}

// parts compares the verdicts of checkers. Of what measures only there is none to compare.
func (c *Comparison) parts(a, b *part, depth int) {
	for _, name := range children(a, b) {
		ofA, ofB := a.child(name), b.child(name)
		v := Verdicts{Name: name, Depth: depth}
		if ofA != nil {
			v.A = &Verdict{ofA.Verdict, ofA.Note}
		}
		if ofB != nil {
			v.B = &Verdict{ofB.Verdict, ofB.Note}
		}
		v.Differs = (v.A == nil) != (v.B == nil) || v.A != nil && v.A.Verdict != v.B.Verdict
		c.Parts = append(c.Parts, v)
		if name != "stats" && name != "availability" {
			c.parts(ofA, ofB, depth+1)
		}
	}
}

// functions compares what clients called; see checker.Stats.
func (c *Comparison) functions(a, b *part) {
	for _, name := range children(a, b) {
		f := Calls{Name: name, A: latency(a.child(name)), B: latency(b.child(name))}
		if f.A != nil && f.B != nil {
			f.Median, f.P99 = ratio(&f.A.Median, &f.B.Median), ratio(&f.A.P99, &f.B.P99)
		}
		c.Functions = append(c.Functions, f)
	}
}

func latency(p *part) *Latency {
	if p == nil {
		return nil
	}
	l := &Latency{OK: p.Counts["ok"], Fail: p.Counts["fail"], Info: p.Counts["info"], Median: -1, P99: -1}
	if l.OK > 0 {
		if median, ok := p.Counts["median_us"]; ok {
			l.Median = median
		}
		if p99, ok := p.Counts["p99_us"]; ok {
			l.P99 = p99
		}
	}
	return l
}

// ratio returns b by a; nil where that says nothing.
func ratio(a, b *int64) *float64 {
	if a == nil || b == nil || *a <= 0 || *b < 0 {
		return nil
	}
	r := math.Round(1000*float64(*b)/float64(*a)) / 1000
	return &r
}

// anomalies counts those that make the runs invalid.
func (c *Comparison) anomalies(a, b *part) {
	var kinds []string
	count := func(p *part) map[string]int64 {
		counts := map[string]int64{}
		var of func(p *part)
		of = func(p *part) {
			if p == nil || p.Verdict != "invalid" {
				return
			}
			for _, a := range p.Anomalies {
				if counts[a.Kind]++; !slices.Contains(kinds, a.Kind) {
					kinds = append(kinds, a.Kind)
				}
			}
			for i := range p.Parts {
				of(&p.Parts[i])
			}
		}
		of(p)
		return counts
	}
	inA, inB := count(a), count(b)
	c.Anomalies = []Measure{}
	for _, kind := range kinds {
		nA, nB := inA[kind], inB[kind]
		m := Measure{Group: "anomalies", Name: kind}
		if a != nil {
			m.A = &nA
		}
		if b != nil {
			m.B = &nB
		}
		c.Anomalies = append(c.Anomalies, m)
	}
}

// measure compares the numbers of a part, and of its parts. Those of stats are told by
// function.
func (c *Comparison) measure(group string, a, b *part) {
	names := map[string]bool{}
	for _, p := range []*part{a, b} {
		if p != nil {
			for name := range p.Counts {
				names[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		m, scale, isMeasure := measureOf(group, name)
		m.A, m.B = number(a, name, scale), number(b, name, scale)
		m.Ratio = ratio(m.A, m.B)
		if isMeasure {
			c.Measures = append(c.Measures, m)
			continue
		}
		c.Counts = append(c.Counts, m)
	}
	if group == "stats" {
		return
	}
	for _, name := range children(a, b) {
		c.measure(group+", "+name, a.child(name), b.child(name))
	}
}

func number(p *part, name string, scale int64) *int64 {
	if p == nil {
		return nil
	}
	n, ok := p.Counts[name]
	if !ok {
		return nil
	}
	n *= scale
	return &n
}

// measureOf takes the name of a count apart, which carries its unit: see checker.Result.
// Scale makes of it what the unit is of.
func measureOf(group, name string) (m Measure, scale int64, isMeasure bool) {
	m, scale = Measure{Group: group, Name: name}, 1
	for _, u := range []struct {
		suffix, unit string
		scale        int64
	}{{"_us", "µs", 1}, {"_ms", "µs", 1000}, {"_permille", "‰", 1}, {"_per_second", "/s", 1}} {
		if short, ok := strings.CutSuffix(name, u.suffix); ok {
			m.Name, m.Unit, scale = short, u.unit, u.scale
			isMeasure = !strings.HasSuffix(short, "_at") && short != "new" // a moment measures nothing
			break
		}
	}
	for _, w := range words {
		if rest, ok := strings.CutPrefix(m.Name, w.name); ok && (rest == "" || rest[0] == '_') {
			m.Name = w.words + rest
			break
		}
	}
	m.Name = strings.ReplaceAll(m.Name, "_", " ")
	return m, scale, isMeasure
}

// words are what counts of every run are called for people; see checker.Availability. What
// begins alike stands in the order in which it is to be tried.
var words = []struct{ name, words string }{
	{"begin_answer_unseen", "faults never answered after"},
	{"heal_answer_unseen", "heals never answered after"},
	{"begin_answer", "fault to answer:"},
	{"heal_answer", "heal to answer:"},
	{"begin_90", "fault to 90 % of the throughput:"},
	{"heal_90", "heal to 90 % of the throughput:"},
	{"longest_gap_at", "longest time without an answer, at"},
	{"longest_gap", "longest time without an answer"},
	{"no_fault_answered", "answered while no fault held"},
	{"fault_answered", "answered while a fault held"},
	{"minority_answered", "answered while a minority was hit"},
	{"answers", "answers without faults"},
	{"main", "main phase"},
	{"window", "window of throughput"},
	{"took", "heal of everything to an answer"},
}
