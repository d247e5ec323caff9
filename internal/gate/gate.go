package gate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	// Session names this gate in baselines. What the baseline has of it already, as where the
	// gate goes on after it was written, is not compared with.
	Session string
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
	// baseline is that of others than this session; nil: nothing is compared. most is how many
	// comparisons with it there may be; 0: nobody has asked.
	baseline *Baseline
	most     int

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

	coverage      int                        // jobs for coverage that were handed out
	missing       int                        // and how many of them have no outcome
	confirmations int                        // jobs for confirmation that were handed out
	seeds         map[Purpose]map[uint64]int // those of the plan: how many jobs have each
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
		g.baseline = o.Baseline.without(o.Session)
		g.before = func(c Cell) []BaselineRun { return g.baseline.Runs(c, o.Machine) }
	}
	for _, c := range p.Cells {
		state := &cell{Cell: c, file: store.FileName(c.Name), digest: c.digest(nil), seeds: map[Purpose]map[uint64]int{}}
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
// longer be compared: its arguments, what is in the files that they name, its seeds. The names of
// the files are not part of it, and neither are the order of the seeds, what the cell promises,
// and how the system is built: that a slower one is slower is to be told.
func (c Cell) Digest() string { return c.digest(builds) }

// digest is Digest without options with a value that are named.
func (c Cell) digest(without []string) string {
	var asked []string
	var content []string // of files
	for i := 0; i < len(c.Arguments); i++ {
		argument := c.Arguments[i]
		if slices.Contains(without, argument) {
			i++
			continue
		}
		if file, ok := c.Files[argument]; ok {
			argument, content = "", append(content, file)
		}
		asked = append(asked, argument)
	}
	seeds := slices.Clone(c.Seeds)
	slices.Sort(seeds)
	text, err := json.Marshal(asked)
	if len(content)+len(seeds) > 0 {
		more, failed := json.Marshal([]any{content, seeds})
		text, err = append(text, more...), errors.Join(err, failed)
	}
	if err != nil {
		panic(err) // strings and numbers can be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// runs returns how many runs for coverage the cell has.
func (c *cell) runs() int { return c.wholeTurns(max(1, c.Runs)) }

// wholeTurns returns how many runs it takes for so many, if each seed that is named is to have as
// many as the others.
func (c *cell) wholeTurns(runs int) int {
	if n := len(c.Seeds); n > 0 {
		return (runs + n - 1) / n * n
	}
	return runs
}

// next returns the seeds of so many further jobs, where they are named: those that have fewest
// first, so that they take turns, whatever was handed out before.
func (c *cell) next(p Purpose, jobs int) []uint64 {
	if len(c.Seeds) == 0 {
		return nil
	}
	var seeds []uint64
	for turn := 0; len(seeds) < jobs; turn++ {
		for _, s := range c.Seeds {
			if c.seeds[p][s] <= turn && len(seeds) < jobs {
				seeds = append(seeds, s)
			}
		}
	}
	return seeds
}

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
// returns the jobs that are to be put beside them, in their order: those for confirmation that are
// due, and those that the other one had no time to put. A job that is known by its outcome
// alone counts as one that was put.
//
// Jobs of a cell that the plan does not have, or of which it asks something else, are told as
// trouble, and so are their outcomes: nothing is judged by them.
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
	covering := g.cover()
	var put []Job
	for _, c := range g.ranked {
		put = append(put, g.confirm(c)...)
	}
	return append(put, covering...)
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
	case !slices.Equal(c.Arguments, j.Arguments) || j.Asked != "" && j.Asked != c.digest:
		g.tell("job %s was made when the plan had other arguments, files or seeds for %s: what became of it does not count", j.ID, j.Cell)
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
	if len(c.Seeds) > 0 {
		if c.seeds[j.Purpose] == nil {
			c.seeds[j.Purpose] = map[uint64]int{}
		}
		c.seeds[j.Purpose][j.Seed]++
	}
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
		ID: id, Cell: c.Name, Purpose: p, Arguments: c.Arguments, Asked: c.digest, Seed: seed,
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
	var turns []turn
	for _, c := range g.ranked {
		class := min(g.class(c), changed) // among the others rank tells
		seeds := c.next(ForCoverage, c.runs()-c.coverage)
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
// for coverage of the cell, and by the plan and the baseline, so that it is the same whenever
// it is asked.
func (g *Gate) confirm(c *cell) []Job {
	if c.decided || c.missing > 0 {
		return nil
	}
	c.decided = true
	suspected := g.suspected(c)
	if c.suspected = len(suspected); c.suspected == 0 {
		return nil
	}
	more := g.fresh(c, suspected) - c.confirmations
	seeds := c.next(ForConfirmation, more)
	var jobs []Job
	for i := range more {
		if seeds == nil {
			jobs = append(jobs, g.hand(c, ForConfirmation, g.draw()))
		} else {
			jobs = append(jobs, g.hand(c, ForConfirmation, seeds[i]))
		}
	}
	return jobs
}

// fresh returns how many runs for confirmation a cell has: as many as [Regression.Fresh] says for
// that of what is suspected which needs most, in whole turns of its seeds.
//
// How many suspicions the gate will have in the end nobody knows when the first of them is to be
// confirmed. So it is taken that all looks worse that can be compared: that takes a few runs more
// than it need be, as their number grows with the logarithm of that.
func (g *Gate) fresh(c *cell, suspected []Comparison) int {
	r := g.plan.Policy.Regression
	runs := r.Confirm
	for _, x := range suspected {
		runs = max(runs, r.Fresh(x.BeforeRuns, g.comparable()))
	}
	return c.wholeTurns(runs)
}

// comparable returns how many comparisons there may be in all, 1 at least.
func (g *Gate) comparable() int {
	if g.most == 0 {
		for _, c := range g.cells {
			all := map[[2]string]bool{}
			for _, run := range g.before(c.Cell) {
				for metric, of := range run.Measures {
					for statistic := range of {
						all[[2]string{metric, statistic}] = true
					}
				}
			}
			g.most += len(all)
		}
		g.most = max(g.most, 1)
	}
	return g.most
}

// suspected returns the comparisons of a cell that look worse by its runs for coverage. A cell
// that fails in any case is none to be asked.
func (g *Gate) suspected(c *cell) []Comparison {
	if g.before == nil {
		return nil
	}
	var covered []Outcome
	for _, o := range c.outcomes {
		if o.Job.Purpose == ForCoverage {
			covered = append(covered, o)
		}
	}
	if slices.ContainsFunc(covered, func(o Outcome) bool { return o.verdict() == Invalid }) ||
		slices.ContainsFunc(g.judge(c.Promises, covered), broken) {
		return nil
	}
	return slices.DeleteFunc(
		g.compare(g.before(c.Cell), c.measured(ForCoverage), nil, g.plan.Policy.Regression, 1),
		func(x Comparison) bool { return !x.Suspected })
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
