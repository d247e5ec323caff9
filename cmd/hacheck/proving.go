package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/checker"
)

// A proving puts the tester to the test: runs of systems with a bug, which has to be
// found, and of systems without, which have to be valid. It knows no more of runs than
// perform tells.
type proving struct {
	bugs  []bugProof
	clean []cleanProof
	jobs  int
	// perform performs a run, and says how it was judged. An error is that there was no
	// verdict.
	perform func(ctx context.Context, r proofRun) (checker.Result, error)
	// tell is called with what became of a run, one at a time.
	tell func(format string, args ...any)

	mu     sync.Mutex
	active int // runs that are under way
	news   *sync.Cond
	end    context.CancelFunc
	failed error // why it ended early
}

// maxFailed is how many runs for a bug may come to no verdict in a row: if the disk is
// full, more of them say no more.
const maxFailed = 3

// A proofRun is a run, as asked for.
type proofRun struct {
	name      string // of the bug, or of what was clean: for a directory
	number    int    // from 1
	arguments []string
}

// dir is the name of the run's directory.
func (r proofRun) dir() string { return fmt.Sprintf("%s-%d", r.name, r.number) }

// A bugProof is a bug, and what became of it.
type bugProof struct {
	find
	outcome
	Found   bool
	Seen    []anomalyKind // by the run that found it
	running bool
}

// A cleanProof is a combination of workload and nemesis without a bug, and what became
// of it.
type cleanProof struct {
	system, workload, nemesis string
	flags                     []string
	outcome
	Verdict checker.Verdict
	Seen    []anomalyKind // if it is invalid: by mistake, or it is a mistake of the system
	Why     string        // if it is unknown
	begun   bool
}

// An outcome is what runs have taken.
type outcome struct {
	Runs  int           // those that were cut short aside
	Spent time.Duration // of all runs together
	// Kept is the directory of the last run that showed an anomaly, or came to no
	// verdict.
	Kept string
	// Refused says why this machine, or the system, does no such run.
	Refused string
	// Failed is how many of the last runs came to no verdict, and Trouble is of the last
	// one that did not.
	Failed  int
	Trouble string
}

// prove goes on until all bugs are found and all clean runs done, or ctx ends. First
// each bug has a run, then come the clean runs, and then the bugs that were missed have
// more, those with the fewest first. An error is why it did not go on.
func (p *proving) prove(ctx context.Context) error {
	ctx, p.end = context.WithCancel(ctx)
	defer p.end()
	p.news = sync.NewCond(&p.mu)
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.news.Broadcast()
	})
	defer stop()
	var working sync.WaitGroup
	for range p.jobs {
		working.Go(func() {
			for {
				run := p.next(ctx)
				if run == nil {
					return
				}
				run(ctx)
			}
		})
	}
	working.Wait()
	return p.failed
}

// next returns what is to be run next, or nil if there is nothing any more. It waits for
// other runs as long as they may leave something to be done.
func (p *proving) next(ctx context.Context) func(context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; ctx.Err() == nil; p.news.Wait() {
		bug := p.missing()
		if bug != nil && bug.Runs == 0 {
			return p.begin(bug)
		}
		if at := slices.IndexFunc(p.clean, func(c cleanProof) bool { return !c.begun }); at >= 0 {
			p.clean[at].begun = true
			p.active++
			return func(ctx context.Context) { p.runClean(ctx, at) }
		}
		if bug != nil {
			return p.begin(bug)
		}
		if p.active == 0 {
			break
		}
	}
	p.news.Broadcast()
	return nil
}

// missing returns the bug to be looked for next, or nil.
func (p *proving) missing() *bugProof {
	var next *bugProof
	for i := range p.bugs {
		b := &p.bugs[i]
		if !b.Found && !b.running && b.Refused == "" && b.Failed < maxFailed && (next == nil || b.Runs < next.Runs) {
			next = b
		}
	}
	return next
}

func (p *proving) begin(b *bugProof) func(context.Context) {
	b.running = true
	p.active++
	return func(ctx context.Context) { p.runBug(ctx, b) }
}

// over takes note of a run that has ended, and says whether there is a result of it.
func (p *proving) over(ctx context.Context, name string, o *outcome, r proofRun, began time.Time, err error) bool {
	p.active--
	p.news.Broadcast()
	o.Spent += time.Since(began)
	if ctx.Err() != nil {
		return false // it was cut short
	}
	o.Runs++
	if err == nil {
		o.Failed = 0
		return true
	}
	if refused, ok := errors.AsType[*refusedRun](err); ok {
		o.Refused = gist(refused.words)
		p.tell("%s: refused: %s", name, o.Refused)
		return false
	}
	if failed, ok := errors.AsType[*failedRun](err); ok {
		o.Failed++
		o.Trouble, o.Kept = failed.words, r.dir()
		p.tell("%s: no verdict: %s", name, failed.words)
		return false
	}
	p.failed = err
	p.end()
	return false
}

func (p *proving) runBug(ctx context.Context, b *bugProof) {
	began, r := time.Now(), proofRun{name: b.bug, number: b.Runs + 1, arguments: b.arguments()}
	result, err := p.perform(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	b.running = false
	if !p.over(ctx, b.bug, &b.outcome, r, began, err) {
		return
	}
	took := b.Spent.Seconds()
	if b.Seen = anomaliesOf(result); len(b.Seen) == 0 {
		why := ""
		if result.Verdict == checker.Unknown {
			why = ": " + whyUnknown(result)
		}
		p.tell("%s: %v in run %d (%.1f s)%s", b.bug, result.Verdict, b.Runs, took, why)
		return
	}
	b.Found, b.Kept = true, r.dir()
	p.tell("%s: found in run %d (%.1f s) by %s", b.bug, b.Runs, took, seenBy(b.Seen))
}

func (p *proving) runClean(ctx context.Context, at int) {
	c := &p.clean[at]
	began, r := time.Now(), proofRun{name: "clean", number: at + 1, arguments: c.arguments()}
	result, err := p.perform(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over(ctx, c.title(), &c.outcome, r, began, err) {
		return
	}
	c.Verdict, c.Seen = result.Verdict, anomaliesOf(result)
	switch c.Verdict {
	case checker.Invalid:
		c.Kept = r.dir()
		p.tell("%s: INVALID without a bug, by %s", c.title(), seenBy(c.Seen))
	case checker.Unknown:
		c.Why = whyUnknown(result)
		p.tell("%s: unknown: %s", c.title(), c.Why)
	default:
		p.tell("%s: valid (%.1f s)", c.title(), c.Spent.Seconds())
	}
}

func (c cleanProof) title() string { return c.workload + " × " + cmp.Or(c.nemesis, "none") }

func (c cleanProof) arguments() []string {
	return append([]string{"run", "--system", c.system}, c.options()...)
}

// options returns those of the run, but for its system.
func (c cleanProof) options() []string {
	options := []string{"--workload", c.workload}
	if c.nemesis != "" {
		options = append(options, "--nemesis", c.nemesis)
	}
	return append(options, c.flags...)
}

// whyUnknown returns what the first part says that is unknown.
func whyUnknown(r checker.Result) string {
	for _, part := range r.Parts {
		if part.Verdict == checker.Unknown {
			if why := whyUnknown(part); why != "" {
				return part.Name + ": " + why
			}
			return part.Name
		}
	}
	return r.Note
}

// seenBy says who saw what: the first of each checker.
func seenBy(kinds []anomalyKind) string {
	var words []string
	told := map[string]bool{}
	for _, k := range kinds {
		if !told[k.checker] {
			told[k.checker] = true
			words = append(words, fmt.Sprintf("%s (%s)", k.checker, k.kind))
		}
	}
	return enumerate(words)
}

// A tally sums up what was proven.
type provenTally struct {
	Found, Missed, Refused int // of the bugs
	Failed                 int // of the bugs: of those no run came to a verdict
	Valid, Invalid         int // of the clean runs
	Unknown, NotRun        int // of the clean runs, too
	Median                 time.Duration
}

func (p *proving) tally() (t provenTally) {
	var spent []time.Duration
	for _, b := range p.bugs {
		switch {
		case b.Found:
			t.Found++
			spent = append(spent, b.Spent)
		case b.Refused != "":
			t.Refused++
		case b.Runs > 0 && b.Failed == b.Runs:
			t.Failed++
		default:
			t.Missed++
		}
	}
	for _, c := range p.clean {
		switch {
		case c.Runs == 0:
			t.NotRun++
		case c.Verdict == checker.Valid:
			t.Valid++
		case c.Verdict == checker.Invalid:
			t.Invalid++
		default:
			t.Unknown++
		}
	}
	if len(spent) > 0 {
		slices.Sort(spent)
		t.Median = spent[len(spent)/2]
	}
	return t
}

// status is the exit status: 0 if every bug was found and no clean run invalid, 1 if a
// bug was missed or there was a false alarm, 2 if it could not be told. What was missed
// by a proving that was cut short was not looked for long enough to say so.
func (p *proving) status(cutShort bool) int {
	t := p.tally()
	switch {
	case t.Invalid > 0, t.Missed > 0 && !cutShort:
		return exitInvalid
	case t.Missed+t.Refused+t.Failed+t.NotRun > 0, len(p.clean) > 0 && t.Valid == 0:
		return exitUnknown
	}
	return exitValid
}

// standing says how far it is, and what is being run.
func (p *proving) standing() (far string, running []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tally()
	for _, b := range p.bugs {
		if b.running {
			running = append(running, b.bug)
		}
	}
	for _, c := range p.clean {
		if c.begun && c.Runs == 0 {
			running = append(running, c.title())
		}
	}
	return fmt.Sprintf("%d of %s found, %d of %s without one",
		t.Found, checker.Count(len(p.bugs), "bug"), len(p.clean)-t.NotRun, checker.Count(len(p.clean), "run")), running
}
