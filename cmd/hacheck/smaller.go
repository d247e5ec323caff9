package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/nemesis"
)

// A shrinking looks for a run that does less than another and shows the same. It
// knows no more of runs than rerun tells.
//
// What it looks for is one from which nothing can be taken any more, not the smallest
// there is; and as no two runs are the same, it is a matter of how often a run shows
// it: need of runs.
type shrinking struct {
	shrinkOptions
	// best is the smallest so far; shown of ran runs of it have shown the anomaly.
	best       options
	shown, ran int
	// anomaly is when the first one was there to be seen: what begins later did not
	// bring it about.
	anomaly time.Duration
	// rerun says whether a run with these options shows it.
	rerun func(context.Context, options) (bool, error)
	// improved is called whenever there is a new best.
	improved func() error
	tell     func(format string, args ...any)

	begun    time.Time
	rejected map[string]bool // what was tried in vain, in words
	ended    error           // why it ended early, if so
}

// errNotReproduced says that there is nothing to begin with.
var errNotReproduced = errors.New("not reproduced")

// errEnough ends it: interrupted, or without time.
var errEnough = errors.New("enough")

// minTimes bound what is worth making shorter.
const (
	minHold  = 50 * time.Millisecond
	minLimit = time.Second
)

// shrink makes best smaller until nothing more can go, or ctx ends. An error is that
// of a run that could not be, or that there is nothing to shrink.
func (s *shrinking) shrink(ctx context.Context) error {
	s.begun, s.rejected = time.Now(), map[string]bool{}
	s.tell("0s  up to %s of each schedule; that of the whole run first: %s", checker.Count(s.runs, "run"), brief(s.best))
	shows, err := s.shows(ctx, s.best)
	switch {
	case errors.Is(err, errEnough):
		return fmt.Errorf("%w: %w before the whole schedule was run often enough", errNotReproduced, s.ended)
	case err != nil:
		return err
	case !shows:
		return fmt.Errorf("%w: %d of %s with the whole schedule showed it, and it takes %d; a lower --need or more --runs may help",
			errNotReproduced, s.shown, checker.Count(s.ran, "run"), s.need)
	}
	if err := s.improved(); err != nil {
		return err
	}
	err = s.reduce(ctx)
	if err == nil {
		err = s.measure(ctx)
	}
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return s.improved()
}

// reduce takes away whatever can go: first what came after the anomaly, since every run
// takes that much longer; then faults, since they are what is to be understood, then how
// long they hold, then work.
func (s *shrinking) reduce(ctx context.Context) error {
	for again := true; again; {
		again = false
		for _, pass := range []func(context.Context) (bool, error){s.soonerOver, s.fewerFaults, s.shorterFaults, s.lessWork} {
			smaller, err := pass(ctx)
			if err != nil {
				return err
			}
			again = again || smaller
		}
	}
	return nil
}

// soonerOver deletes the faults that came too late, and halves how long the run is.
func (s *shrinking) soonerOver(ctx context.Context) (smaller bool, err error) {
	smaller, err = s.without(ctx, func(_ int, e nemesis.Entry) bool { return e.At > s.anomaly })
	if err != nil {
		return smaller, err
	}
	shorter, err := s.halved(ctx, halfTheTime)
	return smaller || shorter, err
}

// without deletes the faults that are to be gone, if there are any.
func (s *shrinking) without(ctx context.Context, gone func(i int, e nemesis.Entry) bool) (took bool, err error) {
	o := s.best
	o.timetable = nil
	for i, e := range s.best.timetable {
		if !gone(i, e) {
			o.timetable = append(o.timetable, e)
		}
	}
	if len(o.timetable) == len(s.best.timetable) {
		return false, nil
	}
	return s.try(ctx, o)
}

// halved halves something for as long as that can be.
func (s *shrinking) halved(ctx context.Context, halve func(*options) bool) (smaller bool, err error) {
	for {
		o := s.best
		if !halve(&o) {
			return smaller, nil
		}
		took, err := s.try(ctx, o)
		if err != nil || !took {
			return smaller, err
		}
		smaller = true
	}
}

// fewerFaults deletes faults: all, then halves, quarters and so on down to single ones.
func (s *shrinking) fewerFaults(ctx context.Context) (smaller bool, err error) {
	without := func(gone func(i int, e nemesis.Entry) bool) error {
		took, err := s.without(ctx, gone)
		smaller = smaller || took
		return err
	}
	if err := without(func(int, nemesis.Entry) bool { return true }); err != nil {
		return smaller, err
	}
	for size := (len(s.best.timetable) + 1) / 2; size > 0; size /= 2 {
		// From the end, as what comes last depends on the rest, and nothing on it.
		for from := len(s.best.timetable) - size; from > -size; from -= size {
			err := without(func(i int, _ nemesis.Entry) bool { return i >= max(from, 0) && i < from+size })
			if err != nil {
				return smaller, err
			}
		}
	}
	return smaller, nil
}

// shorterFaults halves the time for which each fault holds.
func (s *shrinking) shorterFaults(ctx context.Context) (smaller bool, err error) {
	for i := range s.best.timetable {
		for s.best.timetable[i].For/2 >= minHold {
			o := s.best
			o.timetable = slices.Clone(o.timetable)
			o.timetable[i].For = rounded(o.timetable[i].For / 2)
			took, err := s.try(ctx, o)
			if err != nil {
				return smaller, err
			}
			if !took {
				break
			}
			smaller = true
		}
	}
	return smaller, nil
}

// lessWork halves how long the run is, the clients, the keys and the rate.
func (s *shrinking) lessWork(ctx context.Context) (smaller bool, err error) {
	for _, halve := range []func(o *options) bool{halfTheTime, twiceAsEarly, halfTheClients, halfTheKeys, halfTheRate} {
		less, err := s.halved(ctx, halve)
		if smaller = smaller || less; err != nil {
			return smaller, err
		}
	}
	return smaller, nil
}

// halfTheTime ends the run after half of it, if every fault has begun by then.
func halfTheTime(o *options) bool {
	o.timeLimit = rounded(o.timeLimit / 2)
	return o.timeLimit >= minLimit &&
		!slices.ContainsFunc(o.timetable, func(e nemesis.Entry) bool { return e.At >= o.timeLimit })
}

// twiceAsEarly lets all faults begin after half the time, and the run end then.
func twiceAsEarly(o *options) bool {
	o.timeLimit = rounded(o.timeLimit / 2)
	o.timetable = slices.Clone(o.timetable)
	for i := range o.timetable {
		o.timetable[i].At = rounded(o.timetable[i].At / 2)
	}
	return o.timeLimit >= minLimit && len(o.timetable) > 0
}

func halfTheClients(o *options) bool {
	o.keys = o.keysInUse() // they do not follow
	o.concurrency /= 2
	return o.concurrency > 0
}

func halfTheKeys(o *options) bool {
	o.keys = o.keysInUse() / 2
	return o.keys > 0 && !findWorkload(o.workload).keyless
}

// halfTheRate lets half as many operations go in a second, but at least one.
func halfTheRate(o *options) bool {
	if o.rate == 0 {
		o.rate = o.most
	}
	o.rate = float64(int(o.rate / 2))
	return o.rate >= 1
}

// rounded drops what nobody wants to read.
func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// try makes o the best if it shows the anomaly.
func (s *shrinking) try(ctx context.Context, o options) (took bool, err error) {
	key := strings.Join(describe(o), "\n")
	if s.rejected[key] {
		return false, nil
	}
	best, shown, ran := s.best, s.shown, s.ran
	took, err = s.shows(ctx, o)
	if err != nil || !took {
		s.best, s.shown, s.ran = best, shown, ran
		s.rejected[key] = err == nil
		return false, err
	}
	return true, s.improved()
}

// shows runs o until need of runs have shown the anomaly, or cannot any more; the
// best is then o.
func (s *shrinking) shows(ctx context.Context, o options) (bool, error) {
	s.best, s.shown, s.ran = o, 0, 0
	for s.shown < s.need && s.shown+s.runs-s.ran >= s.need {
		if err := s.once(ctx); err != nil {
			return false, err
		}
	}
	took := s.shown >= s.need
	verdict := "no"
	if took {
		verdict = "yes"
	}
	s.tell("%.0fs  %s: %d of %s: %s", time.Since(s.begun).Seconds(), brief(o), s.shown, checker.Count(s.ran, "run"), verdict)
	return took, nil
}

// measure counts anew how often the best shows the anomaly: those runs for which it
// was chosen make it look better than it is.
func (s *shrinking) measure(ctx context.Context) error {
	shown, ran := s.shown, s.ran
	s.shown, s.ran = 0, 0
	for s.ran < s.runs {
		if err := s.once(ctx); err != nil {
			s.shown, s.ran = shown, ran
			return err
		}
	}
	s.tell("%.0fs  %s: %d of %s, counted anew", time.Since(s.begun).Seconds(), brief(s.best), s.shown, checker.Count(s.ran, "run"))
	return nil
}

// once runs the best. A run that failed has shown nothing.
func (s *shrinking) once(ctx context.Context) error {
	shown, err := s.rerun(ctx, s.best)
	if ctx.Err() != nil {
		s.ended = context.Cause(ctx)
		if errors.Is(s.ended, context.Canceled) {
			s.ended = errInterrupted
		}
		return errEnough
	}
	if failed, ok := errors.AsType[*failedRun](err); ok {
		s.tell("%v", failed)
	} else if err != nil {
		return err
	}
	s.ran++
	if shown {
		s.shown++
	}
	return nil
}

// brief says in a few words how much a run does.
func brief(o options) string {
	words := []string{checker.Count(len(o.timetable), "fault"), o.timeLimit.String(), checker.Count(o.concurrency, "client")}
	if !findWorkload(o.workload).keyless {
		words = append(words, checker.Count(o.keysInUse(), "key"))
	}
	if o.rate > 0 {
		words = append(words, fmt.Sprintf("%.0f op/s", o.rate))
	}
	return strings.Join(words, ", ")
}

// describe says exactly what a run does.
func describe(o options) []string {
	words := []string{brief(o)}
	for _, e := range o.timetable {
		words = append(words, fmt.Sprint(e.At, e.On, e.Spec, e.For, string(e.Detail)))
	}
	return words
}
