package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
)

const (
	// leastRest is the time between two looks at what a run has recorded; restAfter is how
	// many times as long as a look took it is, if that is more: looking takes from the
	// system and its clients what it costs.
	leastRest = 100 * time.Millisecond
	restAfter = 3
	// liveBudget is what one look may take of a checker that needs a budget.
	liveBudget = 5 * time.Second
)

// A lookout judges what a run records while it records it, up to the first violation. A
// history that is invalid does not become valid by what comes after; the verdict is had
// from the whole of it all the same.
type lookout struct {
	checker.Lookout
	// over says whether it may as well end, since nothing is to follow from what it finds.
	over func() bool
	tell func(f *checker.Finding, lag time.Duration)

	zero   time.Time    // of the history's times, about: not before, and hardly after
	judged atomic.Int64 // the time up to which it has looked
	gaveUp atomic.Int64 // see checker.Live
	ended  atomic.Bool
}

// watch looks until ctx ends or something is found. An error says why it could not go on.
func (l *lookout) watch(ctx context.Context) (err error) {
	defer l.ended.Store(true)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panicked: %v", r)
			l.Log("panic", fmt.Errorf("%v\n%s", r, debug.Stack()))
		}
	}()
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-rest.C:
		case <-ctx.Done():
			return nil
		}
		if l.over() {
			return nil
		}
		began := time.Now()
		f, err := l.look(ctx)
		if f != nil || err != nil {
			if f != nil {
				l.tell(f, time.Since(l.zero.Add(f.Time)))
			}
			return err
		}
		rest.Reset(max(leastRest, restAfter*time.Since(began)))
	}
}

// look returns what is proven by what is recorded by now.
func (l *lookout) look(ctx context.Context) (*checker.Finding, error) {
	fed, err := l.Feed(ctx)
	if err != nil {
		return nil, err
	}
	now, by := time.Now(), fed.Last
	if fed.Ops > 0 { // the last was recorded a moment ago; the least of these moments is none
		if zero := now.Add(-fed.Last); l.zero.IsZero() || zero.Before(l.zero) {
			l.zero = zero
		}
	}
	if l.zero.IsZero() {
		return nil, nil
	}
	if fed.All {
		by = now.Sub(l.zero)
	}
	f, err := l.Look(ctx)
	if f == nil && err == nil {
		l.judged.Store(int64(by))
		l.gaveUp.Store(int64(l.Live.GaveUp()))
	}
	return f, err
}

// words says how far it has looked when the history is at now.
func (l *lookout) words(now time.Duration) string {
	if l.ended.Load() {
		return ""
	}
	words := fmt.Sprintf("judged %.1fs behind", max(0, now-time.Duration(l.judged.Load())).Seconds())
	if n := l.gaveUp.Load(); n > 0 {
		words += fmt.Sprintf(" but for %s", checker.Count(int(n), "key"))
	}
	return words
}

// judgeLive returns what judges a run of w while it goes on.
func (w *workload) judgeLive() checker.Live {
	if w.live != nil {
		return w.live()
	}
	return checker.LiveWhole(w.checker(checker.Budget{Time: liveBudget}))
}

// lookOut judges the run while it goes on, until the returned function is called. It tells
// the first violation, and ends the main phase with it if that was asked for.
func (t *trial) lookOut() (stop func(), err error) {
	path := t.run.History()
	history, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var found *store.Live
	l := &lookout{
		Lookout: checker.Lookout{
			Live: findWorkload(t.workload).judgeLive(), Follower: histories.Follow(history),
			Again: func() (io.ReadCloser, error) { return os.Open(path) },
			Log:   func(what string, err error) { t.log.Warn("live check: "+what, "error", err) },
		},
		over: func() bool { return t.stopsOn && t.interrupt.ending() },
		tell: func(f *checker.Finding, lag time.Duration) {
			found = &store.Live{
				Kind: f.Kind, Note: f.Note, Ops: f.Ops, Op: f.At,
				Time: store.Duration(f.Time), Lag: store.Duration(lag.Round(time.Millisecond)),
			}
			t.tellStore(found)
			t.note("violation at %.2fs, seen %.2fs later: %s (%s)", f.Time.Seconds(), lag.Seconds(), f.Kind, opsOf(f))
			if !t.stopsOn {
				return
			}
			if found.Stopped = t.interrupt.enough(); found.Stopped {
				t.note("an anomaly is proven; the main phase ends")
			}
		},
	}
	t.lookout = l
	ctx, cancel := context.WithCancel(t.interrupt.run)
	var looking sync.WaitGroup
	var failed error
	looking.Go(func() { failed = l.watch(ctx) })
	return func() {
		cancel()
		looking.Wait()
		t.lookout = nil // it holds what is not needed any more
		if failed = errors.Join(failed, history.Close()); failed != nil {
			t.info.Trouble = append(t.info.Trouble, fmt.Sprintf("it was not judged to its end while it ran: %v", failed))
		}
		if t.info.Live = found; found != nil {
			t.enough = found.Stopped
		}
	}, nil
}

// tellStore lets run.json tell what was found, for those who follow the run. Nobody else
// writes it meanwhile.
func (t *trial) tellStore(found *store.Live) {
	info := t.info
	info.Live = found
	if err := t.run.WriteInfo(info); err != nil {
		t.log.Warn("tell of what was found", "error", err)
	}
}

// opsOf names the evidence of f.
func opsOf(f *checker.Finding) string {
	text := "op"
	for i, op := range f.Ops {
		switch {
		case i == 0 && len(f.Ops) > 1:
			text += "s"
		case i > 0:
			text += ","
		}
		text += fmt.Sprintf(" %d", op)
	}
	return text + ": " + f.Note
}
