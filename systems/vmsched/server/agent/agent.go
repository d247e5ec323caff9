package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
	"github.com/hacheck/hacheck/systems/vmsched/server/probe"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// Deps are what an agent needs. It closes none of them.
type Deps struct {
	Store      *client.Client // of its own: its writes wait for each other
	Hypervisor hypervisor.Hypervisor
	// Now reads the kernel's clock, by which the hypervisor's guests are permitted to run, as
	// [watchdog.Now] does.
	Now   func() (watchdog.Instant, error)
	Probe *probe.Teller
	Log   *slog.Logger
}

// An Agent is that of one host.
type Agent struct {
	Deps
	config Config
	memory *memory
}

// New returns the agent of a host. One at a time may run, which is for the caller to see to.
func New(c Config, d Deps) *Agent { return &Agent{Deps: d, config: c} }

// Run runs the agent of a host until ctx ends, which is no error: its guests run on then,
// for as long as they were permitted, and the next agent finds them. While another agent of the
// host runs it waits. It returns an error if it cannot remember what it must.
func Run(ctx context.Context, c Config, h hypervisor.Hypervisor, log *slog.Logger) (err error) {
	if c.Bug != "" && !bug.Is(c.Bug) {
		return fmt.Errorf("agent: vmsched has no bug %q", c.Bug)
	}
	if err := CheckTimeouts(c.Timeouts); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	alone, err := only(ctx, c.Host, log)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("agent: %w", err)
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	store, err := client.New(c.Store)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	teller, err := probe.Open(c.Probe)
	if err != nil {
		return errors.Join(fmt.Errorf("agent: %w", err), store.Close())
	}
	err = New(c, Deps{Store: store, Hypervisor: h, Now: watchdog.Now, Probe: teller, Log: log}).Run(ctx)
	return errors.Join(err, store.Close(), teller.Close())
}

// Run is as the function of that name.
func (a *Agent) Run(ctx context.Context) error {
	var err error
	if a.memory, err = recall(a.config.Dir); err != nil {
		a.Log.Warn("what the agent remembered is lost; the host begins anew", "err", err)
	}
	l, guests, err := a.comeBack(ctx)
	for {
		if errors.Is(err, errOver) {
			a.Log.Info("the host's incarnation is over", "incarnation", a.memory.Incarnation)
			guests = nil
			if err = a.clear(ctx); err == nil {
				l, err = a.register(ctx)
			}
		}
		if err == nil {
			err = l.live(ctx, guests)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, errOver):
			return fmt.Errorf("agent of %s: %w", a.config.Host, err)
		}
	}
}

// errOver is that the incarnation's lease has ended, or another incarnation was
// registered.
var errOver = errors.New("the incarnation is over")

// comeBack goes on in the incarnation that is remembered, with the guests that are there, if
// its lease has not ended; else the error is errOver. While the store does not answer nobody
// permits the guests more than an agent before this one did.
func (a *Agent) comeBack(ctx context.Context) (*life, []hypervisor.Guest, error) {
	m := a.memory.remembered
	if m.Incarnation == 0 {
		return nil, nil, errOver
	}
	l := a.newLife(m.Incarnation, m.Lease)
	if err := l.comeBack(ctx); err != nil {
		return nil, nil, err
	}
	guests, err := retry(ctx, a.Log, "find guests", a.Hypervisor.Find)
	return l, guests, err
}

// comeBack makes an incarnation the agent's that runs now. To put its Alive once more has
// every transaction fail that an agent before this one has sent, and that is still under way:
// all of them compare it. One of these might else say that a guest did not start while this
// agent starts it.
func (l *life) comeBack(ctx context.Context) error {
	if err := l.renewed(ctx); err != nil {
		return err
	}
	for {
		v, err := l.load(ctx)
		if err != nil {
			return err
		}
		if !v.Lives(l.host, l.incarnation) {
			return errOver
		}
		r, err := l.settle(ctx, new(state.Change).Alive(l.host, v.Alive[l.host]).Then(l.putAlive()).Txn())
		if err != nil {
			return err
		}
		if r.Succeeded {
			l.alive.Mod = r.Revision
			return nil
		}
	}
}

// renewed keeps the lease alive as soon as that is answered.
func (l *life) renewed(ctx context.Context) error {
	for {
		if err := l.renew(ctx); err == nil || errors.Is(err, errOver) || ctx.Err() != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// clear returns when no guest is left on the host.
func (a *Agent) clear(ctx context.Context) error {
	for {
		guests, err := retry(ctx, a.Log, "find guests", a.Hypervisor.Find)
		if err != nil || len(guests) == 0 {
			return err
		}
		var killing sync.WaitGroup
		for _, g := range guests {
			killing.Go(func() { killed(a.Log, g) })
		}
		killing.Wait()
	}
}

// register begins an incarnation, when no guest of an older one is left: what an older one
// still has in the store, its lease too, is worth nothing by then.
func (a *Agent) register(ctx context.Context) (*life, error) {
	for {
		v, err := retry(ctx, a.Log, "read the store", a.load)
		if err != nil {
			return nil, err
		}
		was := v.Hosts[a.config.Host]
		now := was.Value
		now.Name, now.Capacity, now.Labels = a.config.Host, a.config.Capacity, a.config.Labels
		now.Incarnation = max(was.Value.Incarnation, a.memory.Incarnation) + 1

		var sent moment // of the attempt that was answered
		lease, err := retry(ctx, a.Log, "grant a lease", func(ctx context.Context) (_ client.Lease, err error) {
			if sent, err = a.moment(); err != nil {
				return client.Lease{}, err
			}
			return a.Store.Grant(ctx, a.config.scaled(LeaseTTL))
		})
		if err != nil {
			return nil, err
		}
		l := a.newLife(now.Incarnation, lease.ID)
		r, err := l.settle(ctx, new(state.Change).
			Host(was, now).Alive(l.host, v.Alive[l.host]).Then(l.putAlive()).Txn())
		switch {
		case errors.Is(err, errOver): // that took longer than the lease
			continue
		case err != nil:
			return nil, err
		case !r.Succeeded:
			continue
		}
		l.alive.Mod, l.fresh = r.Revision, true
		if err := a.memory.begin(l.incarnation, l.lease); err != nil {
			return nil, err
		}
		a.Log.Info("host registered", "incarnation", l.incarnation, "lease", l.lease)
		l.permit.extend(sent, lease.TTL)
		return l, nil
	}
}

// load reads everything.
func (a *Agent) load(ctx context.Context) (*state.View, error) { return state.Load(ctx, a.Store) }

// answerWithin is how long one word with the store, or the hypervisor, may take before it is
// tried again.
const answerWithin = time.Second

// retry tries something until it is done, or ctx ends.
func retry[T any](ctx context.Context, log *slog.Logger, what string, try func(context.Context) (T, error)) (T, error) {
	for warned := false; ; warned = true {
		within, cancel := context.WithTimeout(ctx, answerWithin)
		r, err := try(within)
		cancel()
		if err == nil {
			return r, nil
		}
		if !warned && ctx.Err() == nil {
			log.Warn("the agent tries again", "what", what, "err", err)
		}
		if pause(ctx) != nil {
			return r, fmt.Errorf("%s: %w", what, err)
		}
	}
}

// pause lets a moment go by before something is tried again.
func pause(ctx context.Context) error {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// killed kills a guest, and returns when it is gone.
func killed(log *slog.Logger, g permitted) {
	for {
		err := g.Kill()
		if err == nil {
			return
		}
		log.Error("kill a guest", "err", err)
		timer := time.NewTimer(50 * time.Millisecond)
		select {
		case <-g.Exited():
		case <-timer.C:
			continue
		}
		timer.Stop()
		return
	}
}
