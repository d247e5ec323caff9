package serve

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

const (
	// leastRest is the time between two looks at what a run has recorded; restAfter is how
	// many times as long as a look took it is, if that is more. What is looked at goes on
	// on the same machine as a rule: looking takes from it what it costs.
	leastRest = 500 * time.Millisecond
	restAfter = 5
	// lookBudget bounds a look.
	lookBudget = 5 * time.Second
	// maxJudged bounds the ops of a run that is judged for somebody who looks on.
	maxJudged = 5_000_000
)

// A judge judges a run while it goes on, up to the first anomaly.
type judge struct {
	*following
	checker.Lookout
	fed  int
	last time.Duration // of the last op
}

// judge looks until something is found, or ctx ends. Of all runs that are followed one is
// looked at at a time.
func (f *following) judge(ctx context.Context, live checker.Live) {
	defer func() {
		if r := recover(); r != nil {
			f.server.Log.Error("live check panicked", "run", f.run, "error", r, "stack", string(debug.Stack()))
			f.judged("not judged any further: the check panicked")
		}
	}()
	j := &judge{following: f, Lookout: checker.Lookout{
		Live: live, Again: func() (io.ReadCloser, error) { return f.server.open(f.run) },
		Log: func(what string, err error) { f.server.Log.Warn("live check: "+what, "run", f.run, "error", err) },
	}}
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-rest.C:
		case <-ctx.Done():
			return
		}
		select {
		case f.server.judging <- struct{}{}:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		more, err := j.look(ctx)
		<-f.server.judging
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.judged("not judged any further: " + reason(err))
			return
		case !more:
			return
		}
		rest.Reset(max(leastRest, restAfter*time.Since(began)))
	}
}

func (f *following) judged(words string) { f.update(func(p *progress) { p.judged = words }) }

// look judges what is recorded by now, and says whether to look again.
func (j *judge) look(ctx context.Context) (more bool, err error) {
	if j.Follower == nil {
		f, err := j.server.open(j.run)
		if err != nil {
			return true, nil // it is about to begin; if not, who follows it says why
		}
		context.AfterFunc(ctx, func() { f.Close() })
		j.Follower = histories.Follow(f)
	}
	fed, err := j.Feed(ctx)
	if err != nil {
		return false, err
	}
	if fed.Ops > 0 {
		j.fed, j.last = j.fed+fed.Ops, fed.Last
	}
	if j.fed > maxJudged {
		return false, fmt.Errorf("it has more than %d ops", maxJudged)
	}
	looking, end := context.WithTimeout(ctx, lookBudget)
	defer end()
	f, err := j.Look(looking)
	if err != nil {
		return false, err
	}
	if f != nil {
		j.update(func(p *progress) {
			p.found = &Found{Kind: f.Kind, Note: f.Note, Ops: list(f.Ops), Time: f.Time.Microseconds()}
			p.judged = ""
		})
		return false, nil
	}
	words := fmt.Sprintf("nothing found up to %.1f s", j.last.Seconds())
	if n := j.Live.GaveUp(); n > 0 {
		words += fmt.Sprintf("; given up for %s", checker.Count(n, "object"))
	}
	if !fed.All {
		words += "; more is recorded"
	}
	j.judged(words)
	return true, nil
}
