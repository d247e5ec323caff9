package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// How long things may take.
const (
	startWithin = 4 * time.Second // for a guest that is to be received, too
	stopWithin  = 2 * time.Second
	sendWithin  = 5 * time.Second
	goOnWithin  = 2 * time.Second
)

// perform does one thing for a machine. That it is not done is no harm: it is decided anew. The
// error is for people.
func (l *life) perform(ctx context.Context, m *machine, what action, s sight) error {
	switch v := s.vm.Value; what {
	case start:
		return l.start(ctx, m, v.Epoch)
	case receive:
		return l.receive(ctx, m, v)
	case resume:
		return l.resume(ctx, m, v)
	case send:
		return l.send(ctx, m, v.Migration)
	case carryOn:
		within, cancel := context.WithTimeout(ctx, goOnWithin)
		defer cancel()
		err := m.guest.Continue(within)
		if err != nil && ctx.Err() == nil {
			killed(l.Log, m.guest) // it stands, and is started anew
		}
		return err
	case stop:
		within, cancel := context.WithTimeout(ctx, stopWithin)
		defer cancel()
		return errors.Join(l.forget(m), m.guest.Stop(within))
	case kill:
		return errors.Join(l.forget(m), m.guest.Kill())
	case drop:
		return l.drop(ctx, m, v)
	case commit:
		if l.config.Bug == bug.ResumeSource {
			defer l.resumeSource(ctx, m.guest)()
		}
	case abort:
		if l.config.Bug == bug.StuckMigrating && v.Migration.Phase != state.Asked {
			return errors.New("the target may come back")
		}
	}
	known, err := l.take(ctx, s, what, m)
	if known.Mod > m.known.Mod {
		m.known = known
	}
	return err
}

// take changes a machine's record by one step, in a transaction. If something else than that
// record is not as it was seen, that is looked at again. It returns the record as it is after
// that: as the step left it, or as somebody else has, which may be an attempt of this very step.
func (l *life) take(ctx context.Context, s sight, what action, m *machine) (state.Record[state.VM], error) {
	for {
		next, change, err := l.step(ctx, s, what, m)
		if err != nil {
			return s.vm, err
		}
		r, err := l.settle(ctx, change.Txn())
		if errors.Is(err, errOver) {
			l.over(err)
		}
		if err != nil {
			return s.vm, err
		}
		if r.Succeeded {
			return state.Record[state.VM]{Value: next, Mod: r.Revision}, nil
		}
		v, err := l.load(ctx)
		if err != nil {
			return s.vm, err
		}
		if v.Alive[l.host].Mod != l.alive.Mod {
			l.over(errOver)
			return s.vm, errOver
		}
		was := s.vm.Mod
		if s = l.see(v, m.id); s.vm.Mod != was {
			return s.vm, nil
		}
	}
}

// step makes the transaction of a step, and what becomes of the machine's record by it.
func (l *life) step(ctx context.Context, s sight, what action, m *machine) (next state.VM, c *state.Change, err error) {
	v, host, target := s.vm.Value, s.host.Value, s.target.Value
	c = new(state.Change).Alive(l.host, l.alive)
	if what == commit && (s.alive.Mod == 0 || s.alive.Value.Incarnation != v.Migration.Incarnation) {
		what, m.why = abort, "the target died"
	}
	switch what {
	case started:
		if next, err = v.Started(); l.config.Bug == bug.DeleteResurrected {
			c.Blind = true
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	case again:
		if next, err = v.Again(); l.config.Bug == bug.EpochKept {
			next.Epoch = v.Epoch
		}
	case await:
		next, err = v.Await(m.incoming.Addr())
	case resumed:
		next, err = v.Resumed()
	case notStarted:
		if next, host, err = v.NotStarted(host, why(m.why, "it ended as it was started")); err == nil {
			c.Host(s.host, host)
		}
	case left:
		if next, host, err = v.Left(host); err == nil {
			c.Host(s.host, host)
		}
	case commit:
		if next, host, err = v.Commit(host); err == nil {
			c.Host(s.host, host).Alive(v.Migration.Target, s.alive)
		}
	case abort:
		if v.Migration != nil && v.Migration.Phase == state.Asked {
			next, _, err = v.Abort(state.Host{}, why(m.why, "the machine ended"))
			break
		}
		if s.target.Mod == 0 {
			return v, nil, fmt.Errorf("%s migrates to %s, of which nothing was seen yet", v.ID, v.Migration.Target)
		}
		if next, target, err = v.Abort(target, why(m.why, "it was interrupted")); err == nil && l.config.Bug != bug.CapacityLeaked {
			c.Host(s.target, target)
		}
	default:
		panic("agent: no transaction for " + string(what)) // perform knows them all
	}
	if err == nil {
		c.VM(s.vm, next)
	}
	return next, c, err
}

// why says why, or else.
func why(known, otherwise string) string {
	if known == "" {
		return otherwise
	}
	return known
}

// begin starts a guest in an epoch, with a term that was entered for it.
func (l *life) begin(ctx context.Context, vm string, epoch uint64) (hypervisor.Guest, *term, error) {
	t, until, err := l.permit.enter()
	if err != nil {
		return nil, nil, err
	}
	within, cancel := during(ctx, t, startWithin)
	defer cancel()
	g, err := l.Hypervisor.Start(within, hypervisor.Spec{VM: vm, Host: l.host, Epoch: epoch}, until)
	if err != nil {
		t.guests.Done()
		return nil, nil, err
	}
	return g, t, nil
}

// during returns a context that ends with a term, too, or when it has taken too long.
func during(ctx context.Context, t *term, within time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, within)
	stop := context.AfterFunc(t.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// start starts a guest.
func (l *life) start(ctx context.Context, m *machine, epoch uint64) error {
	if err := l.remember(m.id, epoch); err != nil {
		return err
	}
	g, t, err := l.begin(ctx, m.id, epoch)
	if err != nil {
		m.why = err.Error()
		return err
	}
	l.has(m, t, g)
	return nil
}

// has makes a guest a machine's.
func (l *life) has(m *machine, t *term, g hypervisor.Guest) {
	m.guest, m.sent, m.failed, m.why = g, 0, 0, ""
	l.runs(t, g)
	l.Log.Info("guest runs", "vm", m.id, "epoch", g.Spec().Epoch)
}

// remember remembers an epoch before a guest is started in it. An agent that cannot is of no
// use.
func (l *life) remember(vm string, epoch uint64) error {
	err := l.memory.starting(vm, epoch)
	if err == nil && l.config.Bug == bug.StaleRejoin {
		err = l.memory.runs(vm, epoch)
	}
	if err != nil {
		l.over(err)
	}
	return err
}

// forget is for bug.StaleRejoin, of a guest that is stopped as it was told.
func (l *life) forget(m *machine) error {
	if l.config.Bug != bug.StaleRejoin {
		return nil
	}
	return l.memory.runs(m.id, 0)
}

// receive makes ready for a guest.
func (l *life) receive(ctx context.Context, m *machine, v state.VM) error {
	t, until, err := l.permit.enter()
	if err != nil {
		return err
	}
	within, cancel := during(ctx, t, startWithin)
	defer cancel()
	in, err := l.Hypervisor.Receive(within, hypervisor.Spec{VM: v.ID, Host: l.host, Epoch: v.Epoch}, until)
	if err != nil {
		t.guests.Done()
		m.failed, m.why = v.Migration.ID, fmt.Sprintf("it could not be received: %v", err)
		return err
	}
	m.incoming, m.receives = in, v.Migration.ID
	m.letGo = l.keep(t, in, func() {})
	return nil
}

// resume lets a guest go on that was received.
func (l *life) resume(ctx context.Context, m *machine, v state.VM) error {
	if err := l.remember(m.id, v.Epoch); err != nil {
		return err
	}
	g, t, err := l.goOn(ctx, m, v.Epoch)
	if err != nil {
		return err
	}
	l.has(m, t, g)
	return nil
}

// goOn has an incoming guest go on, or nothing left of it.
func (l *life) goOn(ctx context.Context, m *machine, epoch uint64) (hypervisor.Guest, *term, error) {
	t, _, err := l.permit.enter()
	if err != nil {
		return nil, nil, err
	}
	within, cancel := during(ctx, t, goOnWithin)
	defer cancel()
	g, err := m.incoming.Resume(within, epoch)
	m.letGo() // it is a guest now, or gone
	m.incoming = nil
	if err != nil {
		t.guests.Done()
		return nil, nil, err
	}
	return g, t, nil
}

// drop ends what was to be received.
func (l *life) drop(ctx context.Context, m *machine, v state.VM) error {
	if l.config.Bug == bug.TargetLeft {
		if g, t, err := l.goOn(ctx, m, v.Epoch+1); err == nil {
			l.keep(t, g, func() {})
		}
		return nil
	}
	err := m.incoming.Kill()
	if err == nil {
		m.incoming = nil
	}
	return err
}

// send sends a guest to where it migrates.
func (l *life) send(ctx context.Context, m *machine, to *state.Migration) error {
	within, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	if err := m.guest.Send(within, to.Addr); err != nil {
		m.failed, m.why = to.ID, fmt.Sprintf("it could not be sent: %v", err)
		return err
	}
	m.sent = to.ID
	return nil
}

// resumeSource is bug.ResumeSource: while a commit is under way the guest goes on if that takes a
// little longer than it does as a rule. What is returned ends it.
func (l *life) resumeSource(ctx context.Context, g hypervisor.Guest) (end func()) {
	const soon = 15 * time.Millisecond
	timer := time.NewTimer(soon)
	committed := make(chan struct{})
	l.tasks.Go(func() {
		defer timer.Stop()
		select {
		case <-timer.C:
			if err := g.Continue(ctx); err != nil {
				l.Log.Warn("the source does not go on", "err", err)
			}
		case <-committed:
		}
	})
	return func() { close(committed) }
}
