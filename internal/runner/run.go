// Package runner performs one run, from the start of the system under test to its
// end: the main phase with the workload's clients and the nemesis, healing,
// recovery, the final operations. It records the history and does not judge it.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/workloads"
)

// A Plan is what a run consists of. Zero numbers mean the defaults.
type Plan struct {
	// Lab is where System is started and stopped. If nil, the system is up already
	// and stays up. The lab is not closed: that is its maker's business.
	Lab cluster.Lab
	// System is the system under test. If nil there is nothing to wait for.
	System   cluster.System
	Workload workloads.Workload
	// Nemesis breaks things. The zero Package breaks nothing.
	Nemesis nemesis.Package
	// History is where the history goes, op by op as it happens.
	History io.Writer

	Clients   int           // workers that play client processes
	TimeLimit time.Duration // of the main phase
	Timeout   time.Duration // of one operation
	// Seed fixes the choices of the generators. When they are made, and so what
	// they come to, is up to the kernel.
	Seed uint64

	// Interrupt, once closed, ends the main phase; all else goes on. If it is
	// closed before that phase the run is over.
	Interrupt <-chan struct{}
	Log       *slog.Logger
	// Entered is called with the name of each phase as it begins, if it is not nil.
	Entered func(phase string)
	// Progress is called every ProgressEvery, and once when all is over, if it is
	// not nil.
	Progress      func(Progress)
	ProgressEvery time.Duration
}

// The defaults of a plan.
const (
	DefaultClients   = 10
	DefaultTimeLimit = 20 * time.Second
	DefaultTimeout   = time.Second
	DefaultProgress  = time.Second
)

// What else takes a bounded time.
const (
	readyLimit   = 20 * time.Second       // until the system answers at first
	nemesisLimit = 30 * time.Second       // one op of the nemesis; so also recovery
	grace        = 5 * time.Second        // until an op is given up whose deadline is past
	finalLimit   = time.Minute            // the workload's final operations
	observeLimit = 100 * time.Millisecond // one look of the observer at the system
	observeEvery = 25 * time.Millisecond  // from one to the next
	healLimit    = 10 * time.Second       // healing what the nemesis's ops did not
	stopLimit    = 3 * time.Second        // until a node is killed that does not stop
)

// An Outcome is what is to be told of a run beside its history.
type Outcome struct {
	Counts
	Elapsed time.Duration // from the begin of the main phase to the end of the last op
	// Interrupted says that the main phase was cut short.
	Interrupted bool
	// Recovered says whether the system answered again after everything was healed,
	// and Recovery how long that took. Both are zero if there is no System.
	Recovered bool
	Recovery  time.Duration
	// Trouble is what went wrong that takes nothing from the history.
	Trouble []error
}

// ErrInterrupted is the error of a run that was interrupted before it began.
var ErrInterrupted = errors.New("interrupted before the main phase")

// Run performs a run. An error means that there is none to be judged, or only a
// part of one: the system did not come up, ctx ended, the history could not be
// written. Whatever happens, what the nemesis broke is healed.
func Run(ctx context.Context, p Plan) (Outcome, error) {
	r := &run{Plan: p}
	r.defaults()
	return r.run(ctx)
}

type run struct {
	Plan
	in      *interpreter
	phase   atomic.Pointer[string]
	outcome Outcome
}

func (r *run) defaults() {
	or := func(v *time.Duration, otherwise time.Duration) {
		if *v == 0 {
			*v = otherwise
		}
	}
	or(&r.TimeLimit, DefaultTimeLimit)
	or(&r.Timeout, DefaultTimeout)
	or(&r.ProgressEvery, DefaultProgress)
	if r.Clients == 0 {
		r.Clients = DefaultClients
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
}

func (r *run) run(ctx context.Context) (Outcome, error) {
	r.enter("start")
	if err := r.up(ctx); err != nil {
		r.trouble(r.stop(ctx))
		return r.outcome, err
	}
	r.in = &interpreter{
		begun: time.Now(), log: r.Log,
		open: r.Workload.Open, nemesis: &recoverer{r.Nemesis.Nemesis, r.System},
		timeout: r.Timeout, nemesisTimeout: nemesisLimit, grace: grace,
	}
	r.in.journal = histories.NewJournal(r.History, r.in.now)
	r.in.start(r.Clients, r.rand(1))
	reported := r.report()

	performing, cancel := context.WithCancel(ctx)
	observed, heard, measured := r.observe(performing), r.listen(performing), r.measure()
	err := r.perform(performing)
	r.trouble(observed())
	r.trouble(heard())
	r.trouble(measured())
	r.outcome.Elapsed = r.in.now()
	cancel() // what is outstanding, if the journal failed

	r.enter("stop")
	if r.Nemesis.Nemesis != nil {
		healing, cancel := context.WithTimeout(context.WithoutCancel(ctx), healLimit)
		r.trouble(r.Nemesis.Nemesis.Heal(healing))
		cancel()
	}
	r.trouble(r.in.close())
	if failed := r.in.journal.Close(); failed != nil && !errors.Is(err, failed) {
		err = errors.Join(err, failed)
	}
	reported()
	r.outcome.Counts = r.in.tally.counts()
	r.trouble(r.stop(ctx))
	return r.outcome, err
}

// perform goes through the phases of which the history tells.
func (r *run) perform(ctx context.Context) error {
	r.enter("main")
	main := r.Workload.Main
	if r.Nemesis.Main != nil {
		main = generator.Any(main, &drawing{r.Nemesis.Main, r.rand(2)})
	}
	if err := r.in.run(ctx, generator.TimeLimit(r.TimeLimit, main), r.Interrupt); err != nil {
		return fmt.Errorf("main phase: %w", err)
	}
	r.outcome.Interrupted = isClosed(r.Interrupt)
	if r.Nemesis.Final != nil {
		r.enter("heal")
		if err := r.in.run(ctx, r.Nemesis.Final, nil); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
	}
	if r.System != nil {
		r.enter("recover")
		if err := r.recover(ctx); err != nil {
			return fmt.Errorf("recover: %w", err)
		}
	}
	if r.Workload.Final != nil {
		r.enter("final")
		if err := r.in.run(ctx, generator.TimeLimit(finalLimit, r.Workload.Final), nil); err != nil {
			return fmt.Errorf("final operations: %w", err)
		}
	}
	return nil
}

func (r *run) enter(phase string) {
	r.phase.Store(&phase)
	if r.Entered != nil {
		r.Entered(phase)
	}
	r.Log.Info("phase", "name", phase)
}

func (r *run) trouble(err error) {
	if err != nil {
		r.Log.Warn("trouble", "error", err)
		r.outcome.Trouble = append(r.outcome.Trouble, err)
	}
}

// rand returns the n-th stream of the seed. Nemesis and clients draw from streams
// of their own, so that what the clients do does not shift what the nemesis does.
func (r *run) rand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, n)) }

// report calls Progress until the returned function is called.
func (r *run) report() (end func()) {
	if r.Progress == nil {
		return func() {}
	}
	over := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		ticker := time.NewTicker(r.ProgressEvery)
		defer ticker.Stop()
		last := Progress{}
		for {
			select {
			case <-ticker.C:
			case <-over:
				r.Progress(r.progress(last))
				return
			}
			last = r.progress(last)
			r.Progress(last)
		}
	})
	return func() {
		close(over)
		reporting.Wait()
	}
}

func (r *run) progress(last Progress) Progress {
	now := Progress{
		Phase: *r.phase.Load(), Elapsed: r.in.now(),
		Counts: r.in.tally.counts(), Faults: r.in.tally.inForce(),
	}
	if d := now.Elapsed - last.Elapsed; d > 0 {
		now.Rate = float64(now.Completed()-last.Completed()) / d.Seconds()
	}
	return now
}

// patiently returns what comes of done, or an error that begins with late, if that takes
// longer than a worker may.
func patiently(done <-chan error, late string) error {
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		return fmt.Errorf("%s after %v", late, grace)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false // also if c is nil
	}
}

// A drawing is a generator with a source of randomness of its own.
type drawing struct {
	generator.Generator
	rand *rand.Rand
}

func (d *drawing) Next(c generator.Context) generator.Step {
	c.Rand = d.rand
	return d.Generator.Next(c)
}

func (d *drawing) Update(c generator.Context, op histories.Op) {
	c.Rand = d.rand
	d.Generator.Update(c, op)
}
