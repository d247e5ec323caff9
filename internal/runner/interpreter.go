package runner

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/nemesis"
	"github.com/hacheck/hacheck/workloads"
)

// An interpreter does what generators say. The goroutine that calls run owns the
// generator, its context and the workers' list; each worker performs and records
// its ops on a goroutine of its own.
//
// Invariant: an op that was handed to a worker completes exactly once. The worker
// completes it, or the interpreter that has given the worker up: whoever claims
// it first.
type interpreter struct {
	journal *histories.Journal
	begun   time.Time // the zero of the journal's clock
	log     *slog.Logger

	open    func(ctx context.Context, worker int) (workloads.Client, error)
	nemesis nemesis.Nemesis // nil if there is none

	timeout        time.Duration // of a client's op
	nemesisTimeout time.Duration // of the nemesis's
	grace          time.Duration // how much later than that a worker is given up

	tally tally

	context   generator.Context
	workers   []*worker // of the clients; then the nemesis's, if there is one
	completed chan *worker
	seen      chan histories.Op // events, as recorded by the observer
	look      time.Duration     // when some worker may have to be given up, at the earliest

	warned sync.Map // what has been warned of
}

// start sets workers to work, for so many clients and the nemesis.
func (in *interpreter) start(clients int, r *rand.Rand) {
	in.context = generator.Context{Workers: clients, Rand: r}
	in.completed = make(chan *worker, clients+1) // never full: each worker has one op
	in.seen = make(chan histories.Op)
	for i := range clients {
		in.workers = append(in.workers, in.newWorker(i))
		in.context.Free = append(in.context.Free, histories.Process(i))
	}
	if in.nemesis != nil {
		in.workers = append(in.workers, in.newWorker(clients))
		in.context.Free = append(in.context.Free, histories.Nemesis)
	}
}

// close ends the workers and closes their clients. Those that have not ended in a
// while are left behind, and named.
func (in *interpreter) close() error {
	for _, w := range in.workers {
		close(w.todo)
	}
	patience, cancel := context.WithTimeout(context.Background(), in.grace)
	defer cancel()
	var late []int
	for at, w := range in.workers {
		select {
		case <-w.ended:
		case <-patience.Done():
			if !isClosed(w.ended) {
				late = append(late, at)
			}
		}
	}
	if late != nil {
		return fmt.Errorf("close clients: those of workers %v have not ended after %v", late, in.grace)
	}
	return nil
}

// run does what g says until it is done or stop is closed, and waits for what is
// outstanding. When ctx ends it does no more, and returns its error when
// everything has completed: what was done belongs into the history, too. Only if
// the journal fails it returns at once.
func (in *interpreter) run(ctx context.Context, g generator.Generator, stop <-chan struct{}) error {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	cancelled := ctx.Done()
	ending := false
	for {
		// Completions come first: a process that is free and waits for us to notice
		// would be concurrency that the history claims and the system never saw.
		select {
		case w := <-in.completed:
			if err := in.complete(w, g); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case <-stop:
			stop, ending = nil, true
		case <-cancelled:
			cancelled, ending = nil, true
			in.hurry()
		case op := <-in.seen:
			in.tell(op, g)
		default:
		}
		in.context.Now = in.now()
		if in.context.Now >= in.look {
			if err := in.giveUp(g); err != nil {
				return err
			}
		}
		step := generator.Step{Done: true}
		if !ending {
			step = g.Next(in.context)
		}
		if step.Op != nil {
			in.hand(ctx, *step.Op, g)
			continue
		}
		if step.Done && len(in.context.Busy) == 0 {
			return ctx.Err()
		}
		wait := in.look - in.context.Now
		if step.Wait > 0 {
			wait = min(wait, step.Wait)
		}
		alarm.Reset(wait)
		select {
		case w := <-in.completed:
			if err := in.complete(w, g); err != nil {
				return err
			}
		case op := <-in.seen:
			in.tell(op, g)
		case <-alarm.C:
		case <-stop:
			stop, ending = nil, true
		case <-cancelled:
			cancelled, ending = nil, true
			in.hurry()
		}
	}
}

func (in *interpreter) now() time.Duration { return time.Since(in.begun) }

// player returns the position of the worker that plays p.
func (in *interpreter) player(p histories.Process) int {
	if p == histories.Nemesis {
		return in.context.Workers
	}
	return in.context.Worker(p)
}

// hand gives op to the worker of its process.
func (in *interpreter) hand(ctx context.Context, op histories.Op, g generator.Generator) {
	c := &in.context
	at := slices.Index(c.Free, op.Process)
	if at < 0 {
		panic(fmt.Sprintf("runner: generator wants a %s of %v, which is not free", op.F, op.Process))
	}
	c.Free = slices.Delete(c.Free, at, at+1)
	c.Busy = append(c.Busy, op.Process)
	op.Type, op.Time = histories.Invoke, c.Now
	g.Update(*c, op)
	in.tally.hand(op)

	timeout := in.timeout
	if op.Process == histories.Nemesis {
		timeout = in.nemesisTimeout
	}
	w := in.workers[in.player(op.Process)]
	w.op, w.due = op, c.Now+timeout+in.grace
	in.look = min(in.look, w.due)
	w.stage.Store(handed)
	w.todo <- task{op, &deadline{parent: ctx, at: in.begun.Add(c.Now + timeout)}}
}

// tell tells the generator of an event.
func (in *interpreter) tell(op histories.Op, g generator.Generator) {
	in.context.Now = in.now()
	g.Update(in.context, op)
}

// complete takes note of what w has done.
func (in *interpreter) complete(w *worker, g generator.Generator) error {
	if w.err != nil {
		return w.err
	}
	in.context.Now = in.now()
	in.note(w.done, g)
	return nil
}

// note makes the process of a completion free, or replaces it if it is dead.
func (in *interpreter) note(op histories.Op, g generator.Generator) {
	c := &in.context
	at := slices.Index(c.Busy, op.Process)
	c.Busy = slices.Delete(c.Busy, at, at+1)
	p := op.Process
	if p >= 0 && op.Type == histories.Info {
		p += histories.Process(c.Workers)
	}
	c.Free = append(c.Free, p)
	in.tally.complete(op)
	g.Update(*c, op)
}

// giveUp completes the ops of workers that do not come back, puts others into
// their place, and sets when to look again.
func (in *interpreter) giveUp(g generator.Generator) error {
	now := in.context.Now
	in.look = now + time.Hour
	for _, p := range slices.Clone(in.context.Busy) {
		at := in.player(p)
		w := in.workers[at]
		if w.due > now {
			in.look = min(in.look, w.due)
			continue
		}
		if !w.stage.CompareAndSwap(invoked, completed) {
			// It has just come back; or it has not even begun, because all of us were
			// stopped for a while, as by Ctrl-Z. Before its invocation it cannot complete.
			w.due = now + in.grace
			in.look = min(in.look, w.due)
			continue
		}
		in.warn("op does not return after its deadline: its worker is given up", "worker", at, "f", w.op.F)
		op := w.op
		op.Type, op.Error = histories.Info, "did not return after its deadline"
		op, err := in.journal.Append(op)
		if err != nil {
			return err
		}
		close(w.todo)
		in.workers[at] = in.newWorker(at)
		in.note(op, g)
	}
	return nil
}

// hurry gives what is outstanding no more than the grace to return.
func (in *interpreter) hurry() {
	now := in.now()
	for _, p := range in.context.Busy {
		w := in.workers[in.player(p)]
		w.due = min(w.due, now+in.grace)
		in.look = min(in.look, w.due)
	}
}

// warn warns of each kind of trouble once, since there is more where it came from.
func (in *interpreter) warn(msg string, args ...any) {
	if _, twice := in.warned.LoadOrStore(msg, true); !twice {
		in.log.Warn(msg, args...)
	}
}
