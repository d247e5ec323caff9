package agent

import (
	"context"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// permitted is what runs by a permit: a guest, or one that is to be received.
type permitted interface {
	Permit(watchdog.Instant) error
	Kill() error
	Exited() <-chan struct{}
}

// keep permits a guest for as long as its term lasts, and kills it at the end; the term was
// entered for it. It is let go of when it is gone, when the agent ends, or by the function that is
// returned.
func (l *life) keep(t *term, g permitted, gone func()) (letGo func()) {
	released, letGo := context.WithCancel(context.Background())
	l.tasks.Go(func() {
		for {
			next := l.permit.next()
			l.allow(t, g)
			select {
			case <-next:
			case <-g.Exited():
				return
			case <-t.ctx.Done():
				return
			case <-released.Done():
				return
			case <-l.ctx.Done():
				return
			}
		}
	})
	l.tasks.Go(func() {
		select {
		case <-g.Exited():
		case <-t.ctx.Done():
		case <-released.Done():
		case <-l.ctx.Done():
		}
		if t.ctx.Err() != nil { // also if it was let go of since, and goes on by another
			killed(l.Log, g)
		}
		letGo()
		gone()
		t.guests.Done()
		poke(l.wake)
	})
	return letGo
}

// allow permits a guest what its term is, if that has not ended. However late the guest hears of
// it, it is the same.
func (l *life) allow(t *term, g permitted) {
	until, err := l.permit.of(t)
	if err != nil {
		return
	}
	if err := g.Permit(until); err != nil {
		select {
		case <-g.Exited():
		default:
			l.Log.Warn("a guest was not permitted more", "err", err)
		}
	}
}

// runs keeps a guest that a term was entered for, and has it reported.
func (l *life) runs(t *term, g hypervisor.Guest) {
	s := g.Spec()
	l.mu.Lock()
	l.running[s.VM] = s.Epoch
	l.mu.Unlock()
	l.tell()
	l.keep(t, g, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.running[s.VM] == s.Epoch {
			delete(l.running, s.VM)
			l.tell()
		}
	})
}

// adopt goes on with a guest that was found. Of two of one machine, which no agent starts, the
// newer stays.
func (l *life) adopt(g hypervisor.Guest) {
	m := l.machine(g.Spec().VM)
	if m.guest != nil {
		if older := m.guest; older.Spec().Epoch < g.Spec().Epoch {
			m.guest = nil
			killed(l.Log, older)
		} else {
			killed(l.Log, g)
			return
		}
	}
	t, until, err := l.permit.enter()
	if err != nil { // it is about to be killed by its watchdog
		killed(l.Log, g)
		return
	}
	m.guest = g
	if l.config.Bug == bug.AdoptUnwatched {
		if err := g.Permit(until.Add(unwatched)); err != nil {
			l.Log.Warn("a guest was not permitted more", "err", err)
		}
		g = unkept{g}
	}
	l.runs(t, g)
}

// unkept is a guest of bug.AdoptUnwatched.
type unkept struct{ hypervisor.Guest }

func (unkept) Permit(watchdog.Instant) error { return nil }
func (unkept) Kill() error                   { return nil }

// rejoin is bug.StaleRejoin: it starts what ran before, whatever has become of it.
func (l *life) rejoin() {
	for vm, epoch := range l.memory.ran() {
		l.tasks.Go(func() {
			if g, t, err := l.begin(l.ctx, vm, epoch); err == nil {
				l.keep(t, g, func() {})
			}
		})
	}
}
