package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// A life is an incarnation of the host, as far as one agent sees it.
//
// Its goroutines: reconcile decides, and has one worker for each machine at a time; renew keeps
// the lease alive; permit ends guests' terms; follow tells what changes in the store, report
// what runs here. Each guest has two, one that permits it and one that sees to its end, so that
// neither waits for another guest. All of them are over when live returns.
type life struct {
	*Agent
	self
	lease uint64
	// alive is the incarnation's Alive, as every transaction of it compares it.
	alive state.Record[state.Alive]
	// fresh says that it was registered by this agent.
	fresh  bool
	permit *permit

	// ctx ends with the agent or the incarnation; over is called with why it ends by itself:
	// errOver, or something that the agent cannot go on with.
	ctx   context.Context
	over  context.CancelCauseFunc
	tasks sync.WaitGroup
	// fencing are those that wait for the guests of terms that have ended.
	fencing sync.WaitGroup
	wake    chan struct{} // something is to be decided

	machines map[string]*machine // reconcile's; one with a worker is that one's
	done     chan *machine       // whose worker is through

	mu      sync.Mutex
	running map[string]uint64 // guests, by machine: their epochs
	told    chan struct{}     // running has changed
}

func (a *Agent) newLife(incarnation, lease uint64) *life {
	l := &life{
		Agent: a, self: self{a.config.Host, incarnation}, lease: lease,
		alive: state.Record[state.Alive]{Value: state.Alive{Incarnation: incarnation}},
		wake:  make(chan struct{}, 1), done: make(chan *machine),
		machines: map[string]*machine{}, running: map[string]uint64{}, told: make(chan struct{}, 1),
	}
	l.permit = newPermit(a.config.Bug, a.moment, l.termEnded)
	return l
}

func (l *life) putAlive() client.Op {
	return client.OpPutLeased(state.AliveKey(l.host), state.Encode(l.alive.Value), l.lease)
}

// live lives, with guests that were found. It returns when ctx ends, and leaves the guests then;
// or when it is over, and no guest is left that it knows of.
func (l *life) live(ctx context.Context, found []hypervisor.Guest) error {
	over, end := context.WithCancelCause(ctx)
	defer end(nil)
	var cancel context.CancelFunc
	l.over = end
	l.ctx, cancel = context.WithCancel(ctx)
	defer cancel()

	for _, g := range found {
		l.adopt(g)
	}
	if l.config.Bug == bug.StaleRejoin && l.fresh {
		l.rejoin()
	}
	news := make(chan func(*state.View) *state.View)
	l.tasks.Go(func() { l.permit.watch(l.ctx) })
	l.tasks.Go(l.keepAlive)
	l.tasks.Go(func() { l.follow(news) })
	l.tasks.Go(l.report)
	l.tell()
	l.reconcile(over, news)

	err := context.Cause(over)
	if errors.Is(err, errOver) {
		l.permit.close()
		l.fencing.Wait() // before the rest ends, so that it is told
	}
	cancel()
	l.tasks.Wait()
	l.fencing.Wait()
	return err
}

// keepAlive keeps the lease alive.
func (l *life) keepAlive() {
	for {
		next := time.NewTimer(l.config.scaled(keepAliveEvery))
		err := l.renew(l.ctx)
		l.permit.check()
		switch {
		case errors.Is(err, errOver):
			l.over(err)
		case err != nil && l.ctx.Err() == nil:
			l.Log.Debug("keep the lease alive", "err", err)
		}
		select {
		case <-next.C:
		case <-l.ctx.Done():
		}
		next.Stop()
		if l.ctx.Err() != nil {
			return
		}
	}
}

// renew keeps the lease alive, once. The error is errOver if it has ended.
func (l *life) renew(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, l.config.scaled(keptWithin))
	defer cancel()
	sent, err := l.moment()
	if err != nil {
		return err
	}
	kept, err := l.Store.KeepAlive(within, l.lease)
	if err != nil {
		return expired(err)
	}
	l.permit.extend(sent, kept.TTL)
	return nil
}

// expired makes errOver of the error of a lease that has ended.
func expired(err error) error {
	if e, ok := errors.AsType[*client.Expired](err); ok {
		return fmt.Errorf("%w: %w", errOver, e)
	}
	return err
}

// settle performs a transaction until its outcome is known: again, if it is not. What
// compares anything that it changes takes place once at most that way. When settle has returned
// without an error, none of the attempts is under way: each was done, or compares what is there
// no more. The error is errOver if the lease has ended, or that of ctx.
//
// It would not do to read instead: what was not there when it was read may come yet.
func (l *life) settle(ctx context.Context, t client.Txn) (client.TxnResult, error) {
	for {
		within, cancel := context.WithTimeout(ctx, answerWithin)
		r, err := l.Store.Txn(within, t)
		cancel()
		if err = expired(err); err == nil || errors.Is(err, errOver) {
			return r, err
		}
		l.Log.Debug("a transaction is tried again", "err", err)
		if err := pause(ctx); err != nil {
			return r, err
		}
	}
}

// load reads everything, until that is answered.
func (l *life) load(ctx context.Context) (*state.View, error) {
	return retry(ctx, l.Log, "read the store", l.Agent.load)
}

// follow tells what changes: everything first, and again whenever the thread was lost.
func (l *life) follow(news chan<- func(*state.View) *state.View) {
	tell := func(change func(*state.View) *state.View) bool {
		select {
		case news <- change:
			return true
		case <-l.ctx.Done():
			return false
		}
	}
	for l.ctx.Err() == nil {
		v, err := l.load(l.ctx)
		if err != nil || !tell(func(*state.View) *state.View { return v }) {
			return
		}
		w := l.Store.Watch(l.ctx, client.Prefix(state.Root), v.Revision+1)
		for {
			b, err := w.Next(l.ctx)
			if err != nil || b.Compacted > 0 {
				break
			}
			if len(b.Events) == 0 {
				continue
			}
			if !tell(func(v *state.View) *state.View {
				if err := v.Apply(b); err != nil {
					l.Log.Error("a record cannot be read", "err", err)
				}
				return v
			}) {
				break
			}
		}
		w.Close()
		if pause(l.ctx) != nil {
			return
		}
	}
}

// report lets the store know what runs here, whenever that has changed.
func (l *life) report() {
	for {
		select {
		case <-l.told:
		case <-l.ctx.Done():
			return
		}
		l.mu.Lock()
		guests := state.Guests{Incarnation: l.incarnation, Epochs: maps.Clone(l.running)}
		l.mu.Unlock()
		r, err := l.settle(l.ctx, new(state.Change).Alive(l.host, l.alive).
			Then(client.OpPutLeased(state.GuestsKey(l.host), state.Encode(guests), l.lease)).Txn())
		switch {
		case errors.Is(err, errOver):
			l.over(err)
		case err == nil && !r.Succeeded:
			l.over(fmt.Errorf("%w: its Alive is another's", errOver))
		}
	}
}

// tell has what runs be reported.
func (l *life) tell() { poke(l.told) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// termEnded tells that the guests of a term are gone.
func (l *life) termEnded(t *term) {
	l.fencing.Go(func() {
		t.guests.Wait()
		// Where the agent ends, guests are left that are not gone.
		if l.ctx.Err() == nil {
			l.Log.Info("the host is fenced", "incarnation", l.incarnation)
			l.Probe.Tell(probe.Event{Kind: probe.Fenced, Host: l.host})
		}
		poke(l.wake)
	})
}
