package gate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hacheck/hacheck/internal/store"
)

// Options are what a gate knows beside its plan.
type Options struct {
	// Draw returns bits at random, of which seeds are made.
	Draw func() uint64
	// Memory is what gates before this one have come to: what is run first goes by it, and
	// nothing else does.
	Memory Memory
	// Build says what performs the runs, such as the version of hacheck: where it is another
	// one than last time, all cells have changed. Empty: nobody knows.
	Build string
	// Baseline is what is compared with; nil: nothing is.
	Baseline *Baseline
	// Machine is what the runs are performed on.
	Machine Machine
}

// A Gate hands out the jobs of a plan, takes their outcomes, and judges. It is for one
// goroutine.
//
// It begins with [Gate.First], or with [Gate.Restore] where it goes on after a restart. Each
// outcome goes to [Gate.Take], which may hand out further jobs; there is nothing more to come
// when [Gate.Done] says so. Its report may be asked for at any time.
type Gate struct {
	plan    Plan
	options Options
	cells   []*cell // in the order of the plan
	ranked  []*cell // in the order of priority
	named   map[string]*cell
	jobs    map[string]*handed // by ID
	foreign map[string]bool    // IDs that are taken by jobs of somebody else
	number  int                // of the last job
	begun   bool
	open    int // jobs without an outcome
	trouble []string
	untold  int // what went wrong beside that

	// judge, before and compare are [Judge], [Baseline.Runs] and [Compare]; before is nil where
	// nothing is compared.
	judge   func(p Promises, outcomes []Outcome) []PromiseReport
	before  func(c Cell) []BaselineRun
	compare func(before []BaselineRun, screened, confirmed []Measures, r Regression, among int) []Comparison
}

// A cell is what a gate knows of one.
type cell struct {
	Cell
	file      string // its name in files
	remembers Remembered
	known     bool // is it remembered at all?
	digest    string

	coverage      int // jobs for coverage that were handed out
	missing       int // and how many of them have no outcome
	confirmations int // jobs for confirmation that were handed out
	decided       bool
	suspected     int // comparisons that confirmation is for
	outcomes      []Outcome
}

// A handed is a job that was handed out.
type handed struct {
	job   Job
	cell  *cell
	taken bool
}

// New makes a gate of a plan, in which no two cells have the same name.
func New(p Plan, o Options) *Gate {
	g := &Gate{
		plan: p, options: o,
		named: make(map[string]*cell, len(p.Cells)), jobs: map[string]*handed{}, foreign: map[string]bool{},
		judge: Judge, compare: Compare,
	}
	if o.Baseline != nil && !p.Policy.Regression.Off {
		g.before = func(c Cell) []BaselineRun { return o.Baseline.Runs(c, o.Machine) }
	}
	for _, c := range p.Cells {
		state := &cell{Cell: c, file: store.FileName(c.Name), digest: digest(c.Arguments)}
		state.remembers, state.known = o.Memory.Cells[c.Name]
		g.cells = append(g.cells, state)
		g.named[c.Name] = state
	}
	g.ranked = slices.Clone(g.cells)
	slices.SortStableFunc(g.ranked, func(a, b *cell) int {
		return cmp.Or(
			cmp.Compare(g.class(a), g.class(b)),
			cmp.Compare(float64(a.remembers.Runs)/a.weight(), float64(b.remembers.Runs)/b.weight()),
			a.remembers.Tested.Compare(b.remembers.Tested),
		)
	})
	return g
}

// builds are the options that say how the system is built, each with a value: they are what a gate
// is to find out about, and change nothing of what is asked of it.
var builds = []string{"--bug", "--tune"}

// Digest changes when what the cell asks of the system changes, so that what was measured can no
// longer be compared. What it promises is not part of it, and neither is how the system is
// built: that a slower one is slower is to be told.
func (c Cell) Digest() string {
	var asked []string
	for i := 0; i < len(c.Arguments); i++ {
		if slices.Contains(builds, c.Arguments[i]) {
			i++
			continue
		}
		asked = append(asked, c.Arguments[i])
	}
	return digest(asked)
}

func digest(arguments []string) string {
	text, err := json.Marshal(arguments)
	if err != nil {
		panic(err) // strings can be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// runs returns how many runs for coverage the cell has: each seed that is named is run.
func (c *cell) runs() int { return max(1, c.Runs, len(c.Seeds)) }

// weight returns the cell's; 1 where it says nothing.
func (c *cell) weight() float64 {
	if c.Weight > 0 {
		return c.Weight
	}
	return 1
}

// The classes of priority: what comes first is what comes first.
const (
	failedLast = iota
	changed
	unchanged
)

// class returns the cell's class of priority.
func (g *Gate) class(c *cell) int {
	switch {
	case c.known && c.remembers.failed():
		return failedLast
	case !c.known || c.remembers.Digest != c.digest || g.options.Build != "" && c.remembers.Build != g.options.Build:
		return changed
	}
	return unchanged
}

// First hands out the jobs of the plan, in the order in which they are to be performed. Those of
// cells that failed last time come first, with all of their runs. Then comes the first run of each
// other cell: of those that have changed, then of those that were tested least for their weight,
// then of those that were not tested for longest. The further runs take turns, a cell of weight 2
// twice as often as one of weight 1.
//
// It hands out what was not handed out, and so nothing when it is called again.
func (g *Gate) First() []Job { return g.Restore(nil, nil) }

// Restore is First for a gate that goes on where another one ended early: jobs are those that
// were put where they are performed, and outcomes those that have come, in their order. It
// returns the jobs that are to be put beside them, in their order: those that the other one had
// no time to put, and those for confirmation that are due. A job that is known by its outcome
// alone counts as one that was put.
//
// Jobs of a cell that the plan does not have, or has with other arguments, are told as trouble, and
// so are their outcomes: nothing is judged by them.
func (g *Gate) Restore(jobs []Job, outcomes []Outcome) []Job {
	g.begun = true
	for _, j := range jobs {
		g.adopt(j)
	}
	for _, o := range outcomes {
		g.adopt(o.Job)
	}
	for _, o := range outcomes {
		g.note(o)
	}
	put := g.cover()
	for _, c := range g.ranked {
		put = append(put, g.confirm(c)...)
	}
	return put
}

// adopt takes a job for handed out.
func (g *Gate) adopt(j Job) {
	if g.jobs[j.ID] != nil || g.foreign[j.ID] {
		return
	}
	c := g.named[j.Cell]
	switch {
	case j.ID == "":
		g.tell("there is a job of %s without an ID: what became of it does not count", j.Cell)
	case c == nil:
		g.tell("job %s is of a cell that the plan does not have, %q: what became of it does not count", j.ID, j.Cell)
	case !slices.Equal(c.Arguments, j.Arguments):
		g.tell("job %s was made when the plan had other arguments for %s: what became of it does not count", j.ID, j.Cell)
	default:
		g.register(c, j)
		return
	}
	g.foreign[j.ID] = true // and no job of ours has its name
}

// register notes that a job is handed out.
func (g *Gate) register(c *cell, j Job) {
	g.jobs[j.ID] = &handed{job: j, cell: c}
	g.open++
	switch j.Purpose {
	case ForCoverage:
		c.coverage++
		c.missing++
	case ForConfirmation:
		c.confirmations++
	}
}

// hand makes a job, and hands it out.
func (g *Gate) hand(c *cell, p Purpose, seed uint64) Job {
	g.number = max(g.number, len(g.jobs)+len(g.foreign))
	id := ""
	for id == "" || g.jobs[id] != nil || g.foreign[id] {
		g.number++
		id = fmt.Sprintf("%s-%d", c.file, g.number)
	}
	j := Job{
		ID: id, Cell: c.Name, Purpose: p, Arguments: c.Arguments, Seed: seed,
		Retries: g.plan.Policy.UnknownRetries, Reruns: g.plan.Policy.Reruns,
	}
	g.register(c, j)
	return j
}

// draw returns a seed that is short enough to be typed.
func (g *Gate) draw() uint64 { return g.options.Draw() & (1<<32 - 1) }

// cover hands out the jobs for coverage that were not, in the order of [Gate.First].
func (g *Gate) cover() []Job {
	type turn struct {
		cell  *cell
		seed  uint64
		named bool // it is the plan's
		class int
		at    float64 // when it is the cell's turn, where a cell of weight 1 has one each 1
	}
	have := map[*cell][]uint64{}
	for _, h := range g.jobs {
		if h.job.Purpose == ForCoverage {
			have[h.cell] = append(have[h.cell], h.job.Seed)
		}
	}
	var turns []turn
	for _, c := range g.ranked {
		seeds := slices.Clone(c.Seeds) // those that have no run
		for _, s := range have[c] {
			if i := slices.Index(seeds, s); i >= 0 {
				seeds = slices.Delete(seeds, i, i+1)
			}
		}
		class := min(g.class(c), changed) // among the others rank tells
		for n := c.coverage; n < c.runs(); n++ {
			t := turn{cell: c, class: class, at: float64(n) / c.weight()}
			if len(seeds) > 0 {
				t.seed, t.named, seeds = seeds[0], true, seeds[1:]
			}
			turns = append(turns, t)
		}
	}
	slices.SortStableFunc(turns, func(a, b turn) int { // equals stay in the order of rank
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.at, b.at))
	})
	var jobs []Job
	for _, t := range turns {
		if !t.named {
			t.seed = g.draw()
		}
		jobs = append(jobs, g.hand(t.cell, ForCoverage, t.seed))
	}
	return jobs
}

// Take notes what became of a job, and returns the jobs that are to be performed for it: where
// all runs for coverage of a cell have come, and something looks worse than the baseline, those
// that tell whether it is. The outcome of a job that was not handed out, and a second one of
// the same job, change nothing but the report's trouble.
func (g *Gate) Take(o Outcome) []Job {
	if c := g.note(o); c != nil {
		return g.confirm(c)
	}
	return nil
}

// note keeps an outcome, and returns the cell it is of; nil if it does not count.
func (g *Gate) note(o Outcome) *cell {
	h := g.jobs[o.Job.ID]
	switch {
	case h == nil && g.foreign[o.Job.ID]:
		return nil // told once
	case h == nil:
		g.tell("there is an outcome of job %s, which was not handed out: it does not count", o.Job.ID)
		return nil
	case h.taken:
		g.tell("there is a second outcome of job %s: the first one counts", o.Job.ID)
		return nil
	}
	h.taken = true
	g.open--
	if h.job.Purpose == ForCoverage {
		h.cell.missing--
	}
	o.Job = h.job
	h.cell.outcomes = append(h.cell.outcomes, o)
	return h.cell
}

// confirm hands out the jobs for confirmation that are due, once. What is due goes by the runs
// for coverage alone, so that it is the same whenever it is asked.
func (g *Gate) confirm(c *cell) []Job {
	if c.decided || c.missing > 0 {
		return nil
	}
	c.decided = true
	c.suspected = g.suspected(c)
	if c.suspected == 0 {
		return nil
	}
	var jobs []Job
	for c.confirmations < g.plan.Policy.Regression.Confirm {
		jobs = append(jobs, g.hand(c, ForConfirmation, g.draw()))
	}
	return jobs
}

// suspected returns how many comparisons of a cell look worse by its runs for coverage. A cell
// that fails in any case is none to be asked.
func (g *Gate) suspected(c *cell) int {
	if g.before == nil {
		return 0
	}
	var covered []Outcome
	for _, o := range c.outcomes {
		if o.Job.Purpose == ForCoverage {
			covered = append(covered, o)
		}
	}
	if slices.ContainsFunc(covered, func(o Outcome) bool { return o.verdict() == Invalid }) ||
		slices.ContainsFunc(g.judge(c.Promises, covered), broken) {
		return 0
	}
	n := 0
	for _, x := range g.compare(g.before(c.Cell), measured(c.outcomes, ForCoverage), nil, g.plan.Policy.Regression, 1) {
		if x.Suspected {
			n++
		}
	}
	return n
}

// Done says that all jobs that were handed out have their outcomes, and that there are no more.
func (g *Gate) Done() bool { return g.begun && g.open == 0 }

// maxTrouble is how many lines of trouble are told.
const maxTrouble = 20

// tell keeps a line of trouble.
func (g *Gate) tell(format string, args ...any) {
	if len(g.trouble) == maxTrouble {
		g.untold++
		return
	}
	g.trouble = append(g.trouble, fmt.Sprintf(format, args...))
}
