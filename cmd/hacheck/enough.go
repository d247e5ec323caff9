package main

import (
	"context"
	"sync"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// How often a run looks at what it has recorded so far; see [trial.lookOut].
const (
	firstLook = 3 * time.Second
	// restAfter is how many times as long as a look took is waited until the next, at
	// least: it takes from the system and its clients what it costs.
	restAfter = 3
	leastRest = 2 * time.Second
)

// lookOut ends the main phase as soon as what was recorded proves an anomaly. A history
// that is invalid does not become valid by what comes after; the verdict is had from the
// whole of it all the same. It stops with the returned function.
func (t *trial) lookOut() (stop func()) {
	ctx, cancel := context.WithCancel(t.interrupt.run)
	var looking sync.WaitGroup
	looking.Go(func() {
		for rest := firstLook; ; {
			timer := time.NewTimer(rest)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			if t.interrupt.ending() {
				return // what a look takes is better left to what is still to come
			}
			began := time.Now()
			if t.proven(ctx) {
				if t.enough = t.interrupt.enough(); t.enough {
					t.note("an anomaly is proven; the main phase ends")
				}
				return
			}
			rest = max(leastRest, restAfter*time.Since(began))
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}

// proven says whether what was recorded so far is invalid. What cannot be told yet is
// for the end of the run to tell.
func (t *trial) proven(ctx context.Context) bool {
	h, err := histories.ReadFile(t.run.History())
	if err != nil {
		return false
	}
	result, err := findWorkload(t.workload).checker(checker.Budget{}).Check(ctx, h)
	return err == nil && ctx.Err() == nil && result.Verdict == checker.Invalid
}
