package gate

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

// counting returns a source that counts, with bits above the 32 that a seed has.
func counting() func() uint64 {
	n := uint64(1) << 40
	return func() uint64 { n++; return n }
}

// plain returns a cell without promises.
func plain(name string, runs int) Cell {
	return Cell{Name: name, System: "raftkv", Workload: "register", Nemesis: name, Arguments: []string{"run", "--nemesis", name}, Runs: runs, Weight: 1}
}

// remembered is what a gate remembers of a cell of [plain].
func remembered(name string, s Status, runs int, day int) Remembered {
	r := Remembered{Digest: plain(name, 1).Digest(), Status: s, Runs: runs}
	if day > 0 {
		r.Tested = time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)
	}
	return r
}

// cellsOf returns the cells of jobs, in a line.
func cellsOf(jobs []Job) string {
	var names []string
	for _, j := range jobs {
		names = append(names, j.Cell)
	}
	return strings.Join(names, " ")
}

func TestFirstGoesByPriority(t *testing.T) {
	weighing := func(c Cell, w float64) Cell { c.Weight = w; return c }
	for name, x := range map[string]struct {
		cells  []Cell
		memory map[string]Remembered
		build  string
		want   string
	}{
		"nothing": {},
		"in the order of the plan": {
			cells: []Cell{plain("b", 1), plain("a", 1), plain("c", 1)}, want: "b a c"},
		"in turns": {
			cells: []Cell{plain("a", 3), plain("b", 1), plain("c", 2)}, want: "a b c a c a"},
		"a weight of two is two turns": {
			cells: []Cell{plain("a", 3), weighing(plain("b", 5), 2)}, want: "a b b a b b a b"},
		"a weight of a half is half a turn, and the first run comes first": {
			cells: []Cell{weighing(plain("a", 2), 0.5), plain("b", 4)}, want: "a b b a b b"},
		"what failed comes first, with all of its runs, in turns": {
			cells: []Cell{plain("a", 2), plain("b", 2), plain("c", 2)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 1, 1), "b": remembered("b", CellInvalid, 9, 9), "c": remembered("c", CellRegressed, 10, 9)},
			want: "b c b c a a"},
		"then what is new, or has other arguments": {
			cells: []Cell{plain("a", 1), plain("b", 1), plain("c", 1), plain("d", 1)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 1, 1), "b": {Digest: "another", Status: CellPassed, Runs: 8}, "d": remembered("d", CellFailed, 5, 1)},
			want: "d c b a"},
		"then what was tested least": {
			cells: []Cell{plain("a", 1), plain("b", 1), plain("c", 1)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 3, 1), "b": remembered("b", CellPassed, 1, 1), "c": remembered("c", CellPassed, 2, 1)},
			want: "b c a"},
		"for its weight": {
			cells:  []Cell{plain("a", 1), weighing(plain("b", 1), 3)},
			memory: map[string]Remembered{"a": remembered("a", CellPassed, 2, 1), "b": remembered("b", CellPassed, 3, 1)},
			want:   "b a"},
		"then what was not tested for longest": {
			cells: []Cell{plain("a", 1), plain("b", 1), plain("c", 1)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 2, 3), "b": remembered("b", CellPassed, 2, 1), "c": remembered("c", CellPassed, 2, 2)},
			want: "b c a"},
		"the first run of each comes before the second of any": {
			cells: []Cell{plain("a", 2), plain("b", 2), plain("c", 2), plain("d", 2)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 2, 3), "b": {Digest: "another", Status: CellPassed, Runs: 9}, "d": remembered("d", CellPassed, 1, 1)},
			want: "c b d a c b d a"},
		"nobody knows the build": {
			cells: []Cell{plain("a", 1), plain("b", 1)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 2, 1), "b": {Digest: plain("b", 1).Digest(), Build: "v1", Status: CellPassed, Runs: 3}},
			want: "a b"},
		"another build changes all, and not what failed": {
			cells: []Cell{plain("a", 1), plain("b", 1), plain("c", 1)}, build: "v2",
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 3, 1), "b": remembered("b", CellUnknown, 2, 1), "c": remembered("c", CellPassed, 1, 1)},
			want: "b c a"},
		"what nobody tested did not fail": {
			cells: []Cell{plain("a", 1), plain("b", 1), plain("c", 1), plain("d", 1)},
			memory: map[string]Remembered{
				"a": remembered("a", CellPassed, 0, 1), "b": remembered("b", CellNotRun, 0, 1), "c": remembered("c", CellRefused, 0, 1), "d": remembered("d", CellBroken, 9, 1)},
			want: "d a b c"},
	} {
		g := New(Plan{Cells: x.cells}, Options{Draw: counting(), Memory: Memory{x.memory}, Build: x.build})
		if g.Done() {
			t.Errorf("%s: done before it began", name)
		}
		if got := cellsOf(g.First()); got != x.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, x.want)
		}
		if again := g.First(); len(again) > 0 {
			t.Errorf("%s: handed out twice: %s", name, cellsOf(again))
		}
		if g.Done() != (x.want == "") {
			t.Errorf("%s: done: %t", name, g.Done())
		}
	}
}

func TestJobsAreWhatTheCellIs(t *testing.T) {
	c := plain("raftkv/register/partition:ring,kill", 3) // and a fourth, so that each seed has as many
	c.Seeds = []uint64{7, 5}
	more := plain("x", 1)
	more.Seeds = []uint64{1, 2, 3} // all of them are run
	jobs := New(Plan{Cells: []Cell{c, more}, Policy: Policy{UnknownRetries: 2, Reruns: 5}}, Options{Draw: counting()}).First()
	var seeds, others []uint64
	for _, j := range jobs {
		if j.Purpose != ForCoverage || j.Retries != 2 || j.Reruns != 5 || j.Asked == "" {
			t.Errorf("%+v", j)
		}
		if j.Cell == "x" {
			others = append(others, j.Seed)
			continue
		}
		if !slices.Equal(j.Arguments, c.Arguments) {
			t.Errorf("%+v", j)
		}
		seeds = append(seeds, j.Seed)
	}
	if want := []uint64{7, 5, 7, 5}; !slices.Equal(seeds, want) {
		t.Errorf("seeds %d, not %d", seeds, want)
	}
	if want := []uint64{1, 2, 3}; !slices.Equal(others, want) {
		t.Errorf("seeds %d, not %d", others, want)
	}
	if jobs[0].ID != "raftkv-register-partition-ring+kill-1" {
		t.Errorf("ID %s", jobs[0].ID)
	}
}

func TestIDsAreUniqueNamesOfFiles(t *testing.T) {
	p := Plan{}
	for _, name := range []string{"a/b", "a-b", "a/b/1", "a-b-1", "..", "", "ä/ö", "../../etc", strings.Repeat("long/", 100), strings.Repeat("long-", 100)} {
		p.Cells = append(p.Cells, plain(name, 12))
	}
	seen := map[string]bool{}
	for _, j := range New(p, Options{Draw: counting()}).First() {
		if seen[j.ID] || store.FileName(j.ID) != j.ID && len(j.ID) < 120 || strings.ContainsAny(j.ID, "/\\ ") || len(j.ID) > 150 {
			t.Errorf("ID %q", j.ID)
		}
		seen[j.ID] = true
	}
	if len(seen) != 120 {
		t.Errorf("%d jobs", len(seen))
	}
}

func TestDigestGoesByWhatIsAsked(t *testing.T) {
	c := plain("a", 1)
	c.Arguments = append(c.Arguments, "--schedule", "ci/faults.yaml", "--bug", "stale-read")
	c.Files = map[string]string{"ci/faults.yaml": "f1"}
	c.Seeds = []uint64{1, 2}
	for name, change := range map[string]func(c *Cell){
		"name, runs, promises": func(c *Cell) {
			c.Name, c.Runs, c.Promises = "b", 7, Promises{Availability: map[string]float64{"fault": 1}}
		},
		"order of seeds":         func(c *Cell) { c.Seeds = []uint64{2, 1} },
		"how it is built":        func(c *Cell) { c.Arguments[6] = "lost-write" },
		"name of a file":         func(c *Cell) { c.Arguments[4], c.Files = "/srv/x", map[string]string{"/srv/x": "f1"} },
		"files nobody names":     func(c *Cell) { c.Files["y"] = "f2" },
		"! words":                func(c *Cell) { c.Arguments = append([]string{"run", "--nemesis a"}, c.Arguments[3:]...) },
		"! a seed":               func(c *Cell) { c.Seeds = []uint64{1, 3} },
		"! a seed more":          func(c *Cell) { c.Seeds = append(c.Seeds, 3) },
		"! seeds that are drawn": func(c *Cell) { c.Seeds = nil },
		"! content of a file":    func(c *Cell) { c.Files["ci/faults.yaml"] = "f2" },
		"! no file":              func(c *Cell) { c.Arguments, c.Files = slices.Delete(c.Arguments, 3, 5), nil },
	} {
		x := c
		x.Arguments, x.Files = slices.Clone(c.Arguments), maps.Clone(c.Files)
		change(&x)
		if (c.Digest() != x.Digest()) != strings.HasPrefix(name, "!") {
			t.Errorf("%s: %s, and it was %s", name, x.Digest(), c.Digest())
		}
	}
}

// A cell with seeds is run with these alone, each as often as the others, whatever it is run for:
// else fresh runs would be of other schedules than those of the baseline.
func TestConfirmationTakesTheSeedsOfItsCell(t *testing.T) {
	c := plain("a", 3)
	c.Seeds = []uint64{70, 80, 90}
	p := Plan{Cells: []Cell{c}, Policy: Policy{Regression: Regression{Confirm: 4, ErrorRate: 0.01}}}
	g := New(p, Options{Draw: counting()})
	judgements(g)
	var put, more []Job
	var came []Outcome
	for _, j := range g.First() {
		put, came = append(put, j), append(came, becomes['w'](j))
		more = g.Take(came[len(came)-1])
	}
	seeds := func(jobs []Job) (all []uint64) {
		for _, j := range jobs {
			all = append(all, j.Seed)
		}
		return all
	}
	if got := seeds(more); !slices.Equal(got, []uint64{70, 80, 90, 70, 80, 90}) {
		t.Errorf("fresh runs have seeds %d", got)
	}
	g = New(p, Options{Draw: counting()})
	judgements(g)
	if got := slices.Sorted(slices.Values(seeds(g.Restore(append(put, more[1], more[3]), came)))); !slices.Equal(got, []uint64{70, 80, 90, 90}) {
		t.Errorf("beside 80 and 70 they have seeds %d", got)
	}
}

// What a job was made for is another thing when a file has changed, or a seed.
func TestRestoreTellsWhatIsAskedForBySomethingElse(t *testing.T) {
	c := plain("a", 1)
	c.Arguments = append(c.Arguments, "--schedule", "f")
	c.Files = map[string]string{"f": "f1"}
	jobs := New(Plan{Cells: []Cell{c}}, Options{Draw: counting()}).First()
	same := New(Plan{Cells: []Cell{c}}, Options{Draw: counting()})
	if put := same.Restore(jobs, []Outcome{becomes['v'](jobs[0])}); len(put) > 0 || !same.Done() {
		t.Errorf("%+v is put", put)
	}
	c.Files = map[string]string{"f": "f2"}
	g := New(Plan{Cells: []Cell{c}}, Options{Draw: counting()})
	put := g.Restore(jobs, []Outcome{becomes['i'](jobs[0])})
	if r := g.Report(); len(put) != 1 || len(r.Cells[0].Outcomes) != 0 || len(r.Trouble) != 1 || !strings.Contains(r.Trouble[0], "other arguments, files or seeds for a") {
		t.Errorf("%+v is put; trouble %q", put, r.Trouble)
	}
}

// What a cell asks for, and how what it asks is built, make it one that has changed.
func TestWhatHasChangedIsSeen(t *testing.T) {
	c := plain("a", 1)
	c.Arguments = append(c.Arguments, "--schedule", "f")
	c.Files, c.Seeds = map[string]string{"f": "f1"}, []uint64{5}
	g := New(Plan{Cells: []Cell{c}}, Options{Draw: counting()})
	g.Take(becomes['v'](g.First()[0]))
	for name, x := range map[string]struct {
		change func(c *Cell)
		want   int
	}{
		"nothing": {func(*Cell) {}, unchanged},
		"a name":  {func(c *Cell) { c.Arguments[4], c.Files = "e", map[string]string{"e": "f1"} }, unchanged},
		"content": {func(c *Cell) { c.Files = map[string]string{"f": "f2"} }, changed},
		"a seed":  {func(c *Cell) { c.Seeds = []uint64{6} }, changed},
		"a bug":   {func(c *Cell) { c.Arguments = append(c.Arguments, "--bug", "stale-read") }, changed},
	} {
		of := c
		of.Arguments = slices.Clone(c.Arguments)
		x.change(&of)
		now := New(Plan{Cells: []Cell{of}}, Options{Memory: g.Remember()})
		if got := now.class(now.cells[0]); got != x.want {
			t.Errorf("%s: class %d, not %d", name, got, x.want)
		}
	}
}

// came returns an outcome with attempts of those classes.
func came(j Job, classes ...Class) Outcome {
	o := Outcome{Job: j}
	for i, c := range classes {
		a := Attempt{Seed: j.Seed + uint64(i), Class: c, Took: 2, Words: fmt.Sprintf("words of %s\nand more", c)}
		switch c {
		case Valid:
			a.Words = ""
		case Invalid:
			a.Findings = []Finding{{"register", "stale read", "key 1 read 2 after 3"}}
		}
		o.Attempts = append(o.Attempts, a)
		o.Class = c
	}
	return o
}

func TestVerdictOfAJob(t *testing.T) {
	for _, x := range []struct {
		attempts []Class
		class    Class
		want     Class
	}{
		{[]Class{Valid}, Valid, Valid},
		{[]Class{Unknown, Valid}, Valid, Valid},
		{[]Class{Unknown, Unknown}, Unknown, Unknown},
		{[]Class{Unknown, Failed}, Failed, Unknown},
		{[]Class{Unknown, Refused}, Refused, Unknown},
		{[]Class{Invalid}, Invalid, Invalid},
		{[]Class{Invalid, Valid}, Valid, Invalid},
		{[]Class{Unknown, Invalid, Failed}, Failed, Invalid},
		{[]Class{Failed}, Failed, Failed},
		{[]Class{Refused}, Refused, Refused},
		{[]Class{Valid}, SetAside, SetAside},
		{[]Class{"new"}, "new", Failed},
		{nil, SetAside, SetAside},
		{nil, Refused, Refused},
		{nil, Failed, Failed},
		{nil, Valid, Failed}, // which nothing bears out
		{nil, Invalid, Failed},
		{nil, Unknown, Failed},
		{nil, "", Failed},
	} {
		o := came(Job{}, x.attempts...)
		if o.Class = x.class; o.verdict() != x.want {
			t.Errorf("%s with %s is %s, not %s", x.class, x.attempts, o.verdict(), x.want)
		}
	}
}

// judgements are what the tests of statuses have instead of statistics: a job's measure m is what
// it is judged by.
func judgements(g *Gate) {
	values := func(all []Measures) (sum float64) {
		for _, m := range all {
			sum += m["m"].Values[0]
		}
		return sum
	}
	g.judge = func(p Promises, outcomes []Outcome) []PromiseReport {
		if p.Durations == nil {
			return nil
		}
		r := PromiseReport{Promise: "m at most 100", Words: "nobody measured m"}
		for _, o := range outcomes {
			if m := o.Measured(); m != nil {
				r.N++
				r.Known, r.Held, r.Words = true, true, "m is fine"
				r.Measured = max(r.Measured, m["m"].Values[0])
			}
		}
		if r.Measured > 100 {
			r.Held, r.Words = false, "m is more than 100"
		}
		return []PromiseReport{r}
	}
	g.before = func(Cell) []BaselineRun { return make([]BaselineRun, 1) }
	g.compare = func(_ []BaselineRun, screened, confirmed []Measures, r Regression, among int) []Comparison {
		if len(screened) == 0 {
			return nil
		}
		c := Comparison{Metric: "m", Statistic: "p50", P: values(confirmed) / float64(among), AfterRuns: len(confirmed)}
		c.Suspected = values(screened)/float64(len(screened)) > 50
		if c.Suspected && len(confirmed) > 0 {
			c.Regressed = values(confirmed)/float64(len(confirmed)) > 50
		}
		c.Open = c.Suspected && len(confirmed) < max(1, r.Confirm)
		c.Words = fmt.Sprintf("looks worse: %t", c.Suspected)
		return []Comparison{c}
	}
}

// measuring returns the outcome with m measured.
func measuring(o Outcome, m float64) Outcome {
	o.Attempts[len(o.Attempts)-1].Measures = Measures{"m": {Values: []float64{m}}}
	return o
}

var promised = Promises{Durations: map[string]Limits{"m": {Max: 100}}}

// Each job of a cell has one of these become of it, by a letter.
var becomes = map[byte]func(j Job) Outcome{
	'v': func(j Job) Outcome { return measuring(came(j, Valid), 1) },
	'w': func(j Job) Outcome { return measuring(came(j, Valid), 60) },  // looks worse
	'b': func(j Job) Outcome { return measuring(came(j, Valid), 200) }, // breaks the promise
	'n': func(j Job) Outcome { return came(j, Valid) },                 // measures nothing
	'i': func(j Job) Outcome { return measuring(came(j, Invalid), 1) },
	'j': func(j Job) Outcome { return came(j, Invalid, Valid) },
	'u': func(j Job) Outcome { return measuring(came(j, Unknown, Unknown), 1) },
	'r': func(j Job) Outcome { return measuring(came(j, Unknown, Valid), 1) }, // retried
	'q': func(j Job) Outcome { return came(j, Unknown, Failed) },
	'f': func(j Job) Outcome { return came(j, Failed) },
	'x': func(j Job) Outcome { return came(j, Refused) },
	's': func(j Job) Outcome { return Outcome{Job: j, Class: SetAside, Words: "takes its worker down"} },
}

// gated performs plans whose cells are named by what becomes of their jobs: "vv/ww" has two runs
// for coverage, and two for confirmation if they are asked for. '-' is a job that is not performed.
func gated(t *testing.T, p Policy, cells ...string) Report {
	t.Helper()
	p.Regression.Confirm, p.Regression.ErrorRate = 2, 0.01
	plan := Plan{Policy: p}
	for _, name := range cells {
		c := plain(name, len(strings.Split(name, "/")[0]))
		if strings.HasPrefix(name, "p") {
			c.Promises = promised
			c.Runs--
		}
		plan.Cells = append(plan.Cells, c)
	}
	g := New(plan, Options{Draw: counting()})
	judgements(g)
	had := map[string]int{}
	for jobs := g.First(); len(jobs) > 0; jobs = jobs[1:] {
		j := jobs[0]
		script, confirming, _ := strings.Cut(strings.TrimPrefix(j.Cell, "p"), "/")
		if j.Purpose == ForConfirmation {
			script = confirming
		}
		at := had[j.Cell+string(j.Purpose)]
		had[j.Cell+string(j.Purpose)]++
		if at >= len(script) {
			t.Fatalf("%s has a %s job more than its name", j.Cell, j.Purpose)
		}
		if letter := script[at]; letter != '-' {
			jobs = append(jobs, g.Take(becomes[letter](j))...)
		}
	}
	for _, name := range cells {
		if _, confirming, asked := strings.Cut(name, "/"); asked && had[name+string(ForConfirmation)] != len(confirming) {
			t.Errorf("%s: %d jobs for confirmation", name, had[name+string(ForConfirmation)])
		}
	}
	return g.Report()
}

func TestStatuses(t *testing.T) {
	warns, strict := Policy{UnknownWarns: true}, Policy{UnrunFails: true}
	for _, x := range []struct {
		cell   string
		policy Policy
		status Status
		fails  bool
		exit   int
		why    string
	}{
		{"v", Policy{}, CellPassed, false, 0, ""},
		{"vvv", strict, CellPassed, false, 0, ""},
		{"rv", Policy{}, CellPassed, false, 0, ""},
		{"pvv", Policy{}, CellPassed, false, 0, ""},

		{"vi", Policy{}, CellInvalid, true, 1, "1 of 2 runs found what must not be: register: stale read: key 1 read 2 after 3"},
		{"j", Policy{}, CellInvalid, true, 1, "its only run found what must not be: "},
		{"fufxi", warns, CellInvalid, true, 1, "1 of 5 runs found"},
		{"wwj", Policy{}, CellInvalid, true, 1, "1 of 3 runs found"}, // and is not confirmed
		{"pbi", Policy{}, CellInvalid, true, 1, "found"},

		{"pvb", Policy{}, CellBroken, true, 1, "m is more than 100"},
		{"pubf", Policy{}, CellBroken, true, 1, "m is more than 100"},

		{"ww/ww", Policy{}, CellRegressed, true, 1, "m p50 looks worse: true"},
		{"ww/vv", Policy{}, CellPassed, false, 0, ""},
		{"ww/iv", Policy{}, CellInvalid, true, 1, "1 of 4 runs found"},
		{"pww/bb", Policy{}, CellBroken, true, 1, "m is more than 100"},
		{"ww/--", Policy{}, CellUnknown, false, 0, "it looks worse than the baseline, and the runs that would tell were not made: m p50"},
		{"ww/ff", Policy{}, CellUnknown, true, 2, "it looks worse than the baseline, and the runs that would tell were not made: m p50"},
		{"ww/ff", warns, CellUnknown, false, 0, "it looks worse than the baseline, and the runs that would tell were not made: m p50"},
		{"ww/--", strict, CellUnknown, true, 2, "it looks worse"},
		{"ww/v-", Policy{}, CellUnknown, false, 0, "it looks worse"},
		{"ww/fv", Policy{}, CellUnknown, true, 2, "words of failed"},
		{"ww/w-", Policy{}, CellRegressed, true, 1, "m p50"}, // the test of fewer runs is a test
		{"uwwwww/--", Policy{}, CellUnknown, true, 2, "stayed unknown: words of unknown; it looks worse"},
		{"w-", Policy{}, CellUnknown, false, 0, "1 of its 2 runs were made"},

		{"f", Policy{}, CellFailed, true, 255, "its only run came to no verdict: words of failed"},
		{"fff", warns, CellFailed, true, 255, "all 3 runs came to no verdict: words of failed"},
		{"s", Policy{}, CellFailed, true, 255, "takes its worker down"},
		{"fx", Policy{}, CellFailed, true, 255, "all 2 runs came to no verdict: words of failed"},
		{"pf", Policy{}, CellFailed, true, 255, "no verdict"},
		{"fv", Policy{}, CellPassed, false, 0, "1 of 2 runs came to no verdict: words of failed"},
		{"svv", Policy{}, CellUnknown, true, 2, "1 of 3 runs took down whoever performed it: takes its worker down"},
		{"ffv", Policy{}, CellFailed, true, 255, "2 of 3 runs came to no verdict: words of failed"},
		{"xv", Policy{}, CellPassed, false, 0, "1 of 2 runs came to no verdict: words of refused"},

		{"uv", Policy{}, CellUnknown, true, 2, "1 of 2 runs stayed unknown: words of unknown"},
		{"uv", warns, CellUnknown, false, 0, "1 of 2 runs stayed unknown: words of unknown"},
		{"q", Policy{}, CellUnknown, true, 2, "its only run stayed unknown: words of unknown"},
		{"uf", Policy{}, CellUnknown, true, 2, "1 of 2 runs came to no verdict: words of failed"},
		{"pn", Policy{}, CellUnknown, true, 2, "nobody measured m"},
		{"pn", warns, CellUnknown, false, 0, "nobody measured m"},

		{"xx", Policy{}, CellRefused, true, 2, "this machine, or the system, does not do it: words of refused"},
		{"xx", warns, CellRefused, true, 2, "does not do it"},
		{"x-", warns, CellRefused, true, 2, "does not do it"},

		{"--", Policy{}, CellNotRun, false, 2, "none of its 2 runs was made"}, // nothing at all was judged
		{"--", strict, CellNotRun, true, 2, "none of its 2 runs was made"},
		{"v--", Policy{}, CellPassed, false, 0, "1 of its 3 runs were made"},
		{"v--", strict, CellNotRun, true, 2, "1 of its 3 runs were made"},
		{"i--", strict, CellInvalid, true, 1, "found"},
	} {
		r := gated(t, x.policy, x.cell)
		c := r.Cells[0]
		if c.Status != x.status || c.Fails != x.fails || r.Status != x.exit || !strings.Contains(c.Why, x.why) || x.why == "" && c.Why != "" {
			t.Errorf("%s, %+v:\ngot  %s, fails %t, exit status %d: %s\nwant %s, fails %t, exit status %d: %s",
				x.cell, x.policy, c.Status, c.Fails, r.Status, c.Why, x.status, x.fails, x.exit, x.why)
		}
	}
}

func TestExitStatuses(t *testing.T) {
	warns, strict := Policy{UnknownWarns: true}, Policy{UnrunFails: true}
	for _, x := range []struct {
		cells  string
		policy Policy
		want   int
	}{
		{"", Policy{}, 2}, // nothing is no success
		{"v vv", Policy{}, 0},
		{"v -", Policy{}, 0},
		{"v -", strict, 2},
		{"v u", Policy{}, 2},
		{"v u", warns, 0},
		{"u", warns, 2}, // nobody has seen anything
		{"v x", warns, 2},
		{"v f", warns, 255},
		{"u x - f", strict, 255},
		{"f i", Policy{}, 1},
		{"f pb", Policy{}, 1},
		{"f ww/ww", Policy{}, 1},
		{"f x u - i", strict, 1},
		{"- --", Policy{}, 2},
	} {
		if got := gated(t, x.policy, strings.Fields(x.cells)...).Status; got != x.want {
			t.Errorf("%q, %+v: exit status %d, not %d", x.cells, x.policy, got, x.want)
		}
	}
}

func TestWhatCameToNoVerdictIsTold(t *testing.T) {
	r := gated(t, Policy{}, "v", "fv", "fvf", "f", "xx", "i", "su", "xv")
	want := []string{"3 runs came to no verdict in cells that are judged by others: fv, su, xv"}
	if !slices.Equal(r.Trouble, want) {
		t.Errorf("got  %q\nwant %q", r.Trouble, want)
	}
}

// All suspicions of a gate that are confirmed are among those between which the error rate is
// divided, wherever they are.
func TestErrorRateIsDividedAmongSuspicions(t *testing.T) {
	r := gated(t, Policy{}, "w/ww", "vv", "ww/vw", "wi", "w/--")
	var among []float64
	for _, c := range r.Cells {
		if p := c.Comparisons[0]; p.AfterRuns > 0 {
			among = append(among, p.P)
		}
	}
	if want := []float64{120.0 / 3, 61.0 / 3}; !slices.Equal(among, want) {
		t.Errorf("%v, not %v", among, want)
	}
	if want := "5 statistics of 5 cells compared with the baseline: 3 looked worse, and 1 of them proved so in fresh runs; where nothing has changed, and this day is like those of the baseline, a gate says that of any with a chance of about 1 %"; r.Comparison != want {
		t.Errorf("got  %s\nwant %s", r.Comparison, want)
	}
}

func TestWhyNothingWasCompared(t *testing.T) {
	for want, o := range map[string]struct {
		off      bool
		baseline *Baseline
	}{
		"nothing was compared, as the plan has it":                                {true, &Baseline{}},
		"nothing was compared: there is no baseline":                              {false, nil},
		"nothing was compared: there is no baseline: --update-baseline makes one": {false, &Baseline{}},
	} {
		g := New(Plan{Cells: []Cell{plain("a", 1)}, Policy: Policy{Regression: Regression{Off: o.off, Confirm: 3}}}, Options{Draw: counting(), Baseline: o.baseline})
		for _, j := range g.First() {
			if more := g.Take(measuring(came(j, Valid), 1)); len(more) > 0 {
				t.Errorf("%s: %d more jobs", want, len(more))
			}
		}
		if got := g.Report().Comparison; !strings.HasPrefix(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestConfirmation(t *testing.T) {
	c := plain("a", 2)
	g := New(Plan{Cells: []Cell{c}, Policy: Policy{UnknownRetries: 1, Regression: Regression{Confirm: 3}}}, Options{Draw: counting()})
	judgements(g)
	first := g.First()
	if more := g.Take(becomes['w'](first[1])); len(more) > 0 {
		t.Fatalf("%d jobs before all have come", len(more))
	}
	more := g.Take(becomes['w'](first[0]))
	if len(more) != 3 || g.Done() {
		t.Fatalf("%+v, done: %t", more, g.Done())
	}
	if j := more[2]; j.ID != "a-5" || j.Purpose != ForConfirmation || j.Cell != "a" || j.Retries != 1 || j.Seed != 5 || !slices.Equal(j.Arguments, c.Arguments) {
		t.Errorf("%+v", j)
	}
	for i, j := range more {
		if again := g.Take(becomes['w'](j)); len(again) > 0 || g.Done() != (i == 2) {
			t.Errorf("%d: %+v, done: %t", i, again, g.Done())
		}
	}
}

func TestOutcomesThatDoNotCount(t *testing.T) {
	g := New(Plan{Cells: []Cell{plain("a", 1), plain("b", 1)}}, Options{Draw: counting()})
	jobs := g.First()
	g.Take(becomes['v'](jobs[0]))
	g.Take(becomes['i'](jobs[0]))                         // the first counts
	g.Take(becomes['i'](Job{ID: "elsewhere", Cell: "b"})) // nobody asked for it
	wrong := jobs[1]
	wrong.Cell = "a" // its ID is what it is known by
	g.Take(becomes['v'](wrong))
	r := g.Report()
	if !g.Done() || r.Status != 0 || len(r.Cells[0].Outcomes) != 1 || len(r.Cells[1].Outcomes) != 1 || r.Cells[1].Outcomes[0].Job.Cell != "b" {
		t.Errorf("done %t: %+v", g.Done(), r)
	}
	want := []string{
		"there is a second outcome of job a-1: the first one counts",
		"there is an outcome of job elsewhere, which was not handed out: it does not count",
	}
	if !slices.Equal(r.Trouble, want) {
		t.Errorf("trouble %q", r.Trouble)
	}
	for range 100 {
		g.Take(becomes['i'](jobs[0]))
	}
	if r := g.Report(); len(r.Trouble) != maxTrouble+1 || r.Trouble[maxTrouble] != "and 82 more like these" {
		t.Errorf("trouble %q", r.Trouble)
	}
}

func TestRestoreIgnoresWhatIsOfAnotherPlan(t *testing.T) {
	old := New(Plan{Cells: []Cell{plain("a", 1), plain("gone", 1), plain("b", 2)}}, Options{Draw: counting()})
	jobs := old.First() // a-1 gone-2 b-3 b-4
	a := plain("a", 1)
	a.Arguments = []string{"run", "--nemesis", "another"}
	g := New(Plan{Cells: []Cell{a, plain("b", 1)}}, Options{Draw: counting()})
	nameless := becomes['i'](jobs[2])
	nameless.Job.ID = ""
	put := g.Restore(jobs[:3], []Outcome{becomes['i'](jobs[0]), becomes['i'](jobs[1]), becomes['v'](jobs[3]), nameless})
	if cellsOf(put) != "a" || put[0].ID == jobs[0].ID {
		t.Errorf("%+v", put)
	}
	g.Take(becomes['i'](jobs[0])) // told already
	g.Take(becomes['v'](put[0]))
	if g.Done() { // b-3 is still being performed
		t.Error("done")
	}
	g.Take(becomes['v'](jobs[2]))
	r := g.Report()
	if !g.Done() || r.Status != 0 || r.Cells[1].Counts[Valid] != 2 || len(g.First()) > 0 {
		t.Errorf("done %t: %+v", g.Done(), r)
	}
	if len(r.Trouble) != 3 || !strings.Contains(r.Trouble[0], "other arguments, files or seeds for a") || !strings.Contains(r.Trouble[1], `"gone"`) || !strings.Contains(r.Trouble[2], "without an ID") {
		t.Errorf("trouble %q", r.Trouble)
	}
}

func TestRestoredJobsKeepTheirNumbers(t *testing.T) {
	p := Plan{Cells: []Cell{plain("a", 2), plain("b", 2)}}
	first := New(p, Options{Draw: counting()}).First()
	ids := func(jobs []Job) (all []string) {
		for _, j := range jobs {
			all = append(all, j.ID)
		}
		return all
	}
	for _, x := range []struct{ put, want []string }{
		{nil, []string{"a-1", "b-2", "a-3", "b-4"}},
		{[]string{"a-1"}, []string{"b-2", "a-3", "b-4"}},
		{[]string{"a-1", "b-2", "a-3"}, []string{"b-4"}},
		{[]string{"a-1", "b-2", "a-3", "b-4"}, nil},
		{[]string{"b-4", "a-3"}, []string{"a-4", "b-5"}}, // b-4 is taken, and a-4 is not
		{[]string{"b-2", "a-3"}, []string{"a-4", "b-5"}},
	} {
		var put []Job
		for _, j := range first {
			if slices.Contains(x.put, j.ID) {
				put = append(put, j)
			}
		}
		got := ids(New(p, Options{Draw: counting()}).Restore(put, nil))
		if !slices.Equal(got, x.want) {
			t.Errorf("beside %s: %s, not %s", x.put, got, x.want)
		}
	}
	taken := first[0]
	taken.ID, taken.Cell = "a-2", "elsewhere" // another plan's, and still in the way
	if got := ids(New(p, Options{Draw: counting()}).Restore([]Job{taken}, nil)); !slices.Equal(got, []string{"a-3", "b-4", "a-5", "b-6"}) {
		t.Errorf("beside one of another plan: %s", got)
	}
}

// Runs for confirmation that are there before there is anything to confirm, as after the loss of
// an outcome, prove nothing.
func TestNothingIsConfirmedBeforeItIsSuspected(t *testing.T) {
	for _, letter := range []byte("vw") {
		g := New(Plan{Cells: []Cell{plain("a", 2)}, Policy: Policy{Regression: Regression{Confirm: 2}}}, Options{Draw: counting()})
		judgements(g)
		job := Job{Cell: "a", Arguments: plain("a", 2).Arguments, Purpose: ForConfirmation}
		one, two, covering := job, job, job
		one.ID, two.ID, covering.ID, covering.Purpose = "a-3", "a-4", "a-1", ForCoverage
		g.Restore(nil, []Outcome{becomes['w'](covering), becomes[letter](one), becomes[letter](two)})
		if c := g.Report().Cells[0]; c.Status != CellUnknown || len(c.Comparisons) != 1 || c.Comparisons[0].AfterRuns != 0 || !strings.Contains(c.Why, "1 of its 2 runs were made") {
			t.Errorf("%c: %s: %s", letter, c.Status, c.Why)
		}
	}
}

func TestWithoutConfirmationASuspicionStays(t *testing.T) {
	g := New(Plan{Cells: []Cell{plain("a", 1)}}, Options{Draw: counting()})
	judgements(g)
	if more := g.Take(becomes['w'](g.First()[0])); len(more) > 0 || !g.Done() {
		t.Errorf("%+v", more)
	}
	if c := g.Report().Cells[0]; c.Status != CellUnknown || c.Fails {
		t.Errorf("%s: %s", c.Status, c.Why)
	}
}

func TestMeasuredOnce(t *testing.T) {
	measures := func(m float64) Measures { return Measures{"m": {Values: []float64{m}}} }
	for _, x := range []struct {
		attempts []Attempt
		want     Measures
	}{
		{nil, nil},
		{[]Attempt{{Class: Valid, Measures: measures(1)}}, measures(1)},
		{[]Attempt{{Class: Unknown, Measures: measures(1)}, {Class: Valid, Measures: measures(2)}}, measures(2)},
		{[]Attempt{{Class: Unknown, Measures: measures(1)}, {Class: Failed, Measures: measures(2)}}, measures(1)},
		{[]Attempt{{Class: Refused, Measures: measures(1)}}, nil},
	} {
		o := Outcome{Attempts: x.attempts}
		if got := o.Measured(); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%+v: %v", x.attempts, got)
		}
	}
}

// A surroundings is what survives a gate: jobs and outcomes, in the order in which they were written.
type surroundings struct {
	jobs     []Job
	outcomes []Outcome
	ordinals map[string]string // of jobs by ID: "CELL PURPOSE N"
	had      map[string]int
}

func (w *surroundings) put(t *testing.T, j Job) {
	if w.ordinals[j.ID] != "" {
		t.Fatalf("job %s was handed out twice", j.ID)
	}
	kind := j.Cell + " " + string(j.Purpose)
	w.ordinals[j.ID] = fmt.Sprintf("%s %d", kind, w.had[kind])
	w.had[kind]++
	w.jobs = append(w.jobs, j)
}

// named returns a report in which jobs go by their ordinals, for seeds and numbers may differ.
func (w *surroundings) named(r Report) string {
	for _, c := range r.Cells {
		for i := range c.Outcomes {
			o := &c.Outcomes[i]
			o.Job.ID, o.Job.Seed = w.ordinals[o.Job.ID], 0
			o.Attempts = slices.Clone(o.Attempts)
			for k := range o.Attempts {
				o.Attempts[k].Seed = 0
			}
		}
	}
	for _, group := range r.Groups {
		for i := range group.Jobs {
			group.Jobs[i] = w.ordinals[group.Jobs[i]]
		}
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// A gate that is interrupted anywhere, any number of times, comes to what one comes to that is
// not: New, First and Take are New, Restore and Take.
func TestInterruptedIsAsUninterrupted(t *testing.T) {
	kinds, interrupted, confirmed := map[Status]int{}, 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 8))
		plan := Plan{Policy: Policy{UnknownWarns: r.IntN(2) == 0, UnrunFails: r.IntN(2) == 0, Regression: Regression{Confirm: r.IntN(4), ErrorRate: 0.01}}}
		memory := Memory{Cells: map[string]Remembered{}}
		letters := []string{"vw", "vwbnr", "wwwwv", "fx", "viujrqfxs"}
		script := map[string]string{}
		for i := range 1 + r.IntN(5) {
			c := plain(fmt.Sprint("c", i), 1+r.IntN(4))
			c.Weight = 0.5 + 2*r.Float64()
			if r.IntN(2) == 0 {
				c.Promises = promised
			}
			for n := range r.IntN(5) {
				c.Seeds = append(c.Seeds, uint64(n))
			}
			if r.IntN(2) == 0 {
				memory.Cells[c.Name] = remembered(c.Name, Statuses[r.IntN(len(Statuses))], r.IntN(5), r.IntN(9))
			}
			script[c.Name] = letters[r.IntN(len(letters))]
			plan.Cells = append(plan.Cells, c)
		}
		fresh := func() *Gate {
			g := New(plan, Options{Draw: r.Uint64, Memory: memory})
			judgements(g)
			return g
		}
		performed := func(w *surroundings, j Job) Outcome { // by what it is, not by its seed
			h := rand.New(rand.NewPCG(seed, uint64(len(w.ordinals[j.ID]))))
			for _, b := range []byte(w.ordinals[j.ID]) {
				h = rand.New(rand.NewPCG(h.Uint64(), uint64(b)))
			}
			return becomes[script[j.Cell][h.IntN(len(script[j.Cell]))]](j)
		}

		w := &surroundings{ordinals: map[string]string{}, had: map[string]int{}}
		g := fresh()
		todo := g.First()
		restarts := 0
		var open []Job
		for !(g.Done() && len(todo) == 0) {
			if restarts < 10 && r.IntN(6) == 0 { // killed: what it did not put is lost, and handed out anew
				g = fresh()
				todo = g.Restore(w.jobs, w.outcomes)
				restarts++
			}
			switch {
			case len(todo) > 0 && (len(open) == 0 || r.IntN(2) == 0):
				w.put(t, todo[0])
				open, todo = append(open, todo[0]), todo[1:]
			case len(open) > 0:
				i := r.IntN(len(open))
				o := performed(w, open[i])
				open = slices.Delete(open, i, i+1)
				w.outcomes = append(w.outcomes, o)
				if restarts < 10 && r.IntN(6) == 0 { // killed before it was taken
					g = fresh()
					todo = g.Restore(w.jobs, w.outcomes)
					restarts++
				} else {
					todo = append(todo, g.Take(o)...)
				}
			default:
				t.Fatalf("seed %d: there is nothing to do, and it is not done", seed)
			}
		}
		if len(open) > 0 || len(w.outcomes) != len(w.jobs) {
			t.Fatalf("seed %d: done, and %d jobs are not", seed, len(open))
		}
		got := w.named(g.Report())

		// The same order again, by one gate.
		single := &surroundings{ordinals: map[string]string{}, had: map[string]int{}}
		g = fresh()
		byOrdinal := map[string]Job{}
		put := func(jobs []Job) {
			for _, j := range jobs {
				single.put(t, j)
				byOrdinal[single.ordinals[j.ID]] = j
			}
		}
		put(g.First())
		for _, o := range w.outcomes {
			j, ok := byOrdinal[w.ordinals[o.Job.ID]]
			if !ok {
				t.Fatalf("seed %d: an uninterrupted gate hands out no %s", seed, w.ordinals[o.Job.ID])
			}
			put(g.Take(performed(single, j)))
		}
		if !g.Done() {
			t.Fatalf("seed %d: an uninterrupted gate has more to do", seed)
		}
		report := g.Report()
		if again := g.Report(); !reflect.DeepEqual(again, report) {
			t.Fatalf("seed %d: two reports of a gate differ", seed)
		}
		if want := single.named(report); got != want {
			t.Fatalf("seed %d, %d restarts:\n%s\nuninterrupted:\n%s", seed, restarts, got, want)
		}
		if !maps.Equal(w.had, single.had) {
			t.Errorf("seed %d: jobs %v, uninterrupted %v", seed, w.had, single.had)
		}
		for _, c := range plan.Cells {
			for _, p := range []Purpose{ForCoverage, ForConfirmation} {
				times := map[uint64]int{}
				for _, j := range w.jobs {
					if j.Cell == c.Name && j.Purpose == p {
						times[j.Seed]++
					}
				}
				if len(c.Seeds) == 0 || len(times) == 0 && p == ForConfirmation {
					continue
				}
				if len(times) != len(c.Seeds) || times[c.Seeds[0]]*len(c.Seeds) < map[Purpose]int{ForCoverage: c.Runs, ForConfirmation: plan.Policy.Regression.Confirm}[p] {
					t.Fatalf("seed %d: %s of %s has seeds %v, of %v", seed, p, c.Name, times, c.Seeds)
				}
				for s, n := range times {
					if !slices.Contains(c.Seeds, s) || n != times[c.Seeds[0]] {
						t.Fatalf("seed %d: %s of %s has seeds %v, of %v", seed, p, c.Name, times, c.Seeds)
					}
				}
			}
		}
		for _, c := range report.Cells {
			kinds[c.Status]++
		}
		if restarts > 0 {
			interrupted++
		}
		for _, j := range w.jobs {
			if j.Purpose == ForConfirmation {
				confirmed++
				break
			}
		}
	}
	for _, s := range Statuses { // it has seen what there is
		if kinds[s] == 0 && s != CellNotRun {
			t.Errorf("no cell was %s", s)
		}
	}
	if interrupted < 300 || confirmed < 100 {
		t.Errorf("%d gates were interrupted, and %d confirmed something", interrupted, confirmed)
	}
}

// large returns a plan of so many cells, and what is remembered of it.
func large(cells int) (Plan, Memory) {
	p, m := Plan{Policy: Policy{Regression: Regression{Confirm: 2}}}, Memory{map[string]Remembered{}}
	for i := range cells {
		name := fmt.Sprintf("system%d/workload%d/%d", i%3, i%7, i)
		c := plain(name, 3)
		c.Promises = promised
		p.Cells = append(p.Cells, c)
		if i%2 == 0 {
			m.Cells[name] = remembered(name, Statuses[i/2%len(Statuses)], i%11, 1+i%28)
		}
	}
	return p, m
}

// through performs a plan, and returns the report.
func through(p Plan, m Memory) (Report, Memory) {
	g := New(p, Options{Draw: counting(), Memory: m})
	judgements(g)
	letters := []byte("vvvvvvwwiuf")
	for jobs := g.First(); len(jobs) > 0; jobs = jobs[1:] {
		jobs = append(jobs, g.Take(becomes[letters[jobs[0].Seed%uint64(len(letters))]](jobs[0]))...)
	}
	return g.Report(), g.Remember()
}

func TestManyCells(t *testing.T) {
	p, m := large(10_000)
	began := time.Now()
	r, remembers := through(p, m)
	took := time.Since(began)
	if r.Status != 1 || len(r.Cells) != 10_000 || len(remembers.Cells) != 10_000 {
		t.Errorf("status %d, %d cells", r.Status, len(r.Cells))
	}
	if took > 20*time.Second { // 0.2 s as a rule: what is quadratic takes minutes
		t.Errorf("took %s", took)
	}
	again, same := through(p, m)
	if !reflect.DeepEqual(again, r) || !reflect.DeepEqual(same, remembers) {
		t.Error("the same outcomes came to another report")
	}
}

func BenchmarkManyCells(b *testing.B) {
	p, m := large(10_000)
	for b.Loop() {
		through(p, m)
	}
}
