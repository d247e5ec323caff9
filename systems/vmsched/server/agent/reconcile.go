package agent

import (
	"context"

	"github.com/hacheck/hacheck/systems/vmsched/server/bug"
	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
	"github.com/hacheck/hacheck/systems/vmsched/server/state"
)

// A machine is what a host has of one, and does for it.
type machine struct {
	id       string
	guest    hypervisor.Guest // nil: none
	incoming hypervisor.Incoming
	letGo    func() // of incoming, that is not to be killed with its term any more
	// receives is the migration that incoming is of, sent the one that guest was sent by,
	// and failed one that will come to nothing.
	receives, sent, failed uint64
	why                    string // it failed, or did not start
	// known is its record as this agent's last transaction left it, or found it.
	known state.Record[state.VM]

	busy   bool // with a worker
	cancel context.CancelFunc
	during uint64 // the migration that what is done is part of; 0: none
	since  uint64 // the revision of the record that it is done for
}

func (l *life) machine(id string) *machine {
	m := l.machines[id]
	if m == nil {
		m = &machine{id: id}
		l.machines[id] = m
	}
	return m
}

// reconcile does what is to be done for each machine, one thing at a time, as soon as something
// has changed, until ctx ends. It waits for nothing else.
func (l *life) reconcile(ctx context.Context, news <-chan func(*state.View) *state.View) {
	var v *state.View
	for {
		permit := l.permit.next() // before it is looked at
		if v != nil {
			if a := v.Alive[l.host]; a.Mod != l.alive.Mod {
				// What the view is of is no older than the registration.
				l.over(errOver)
				break
			}
			for id := range v.VMs {
				l.machine(id)
			}
			for id, m := range l.machines {
				l.look(v, m)
				if m.idle() {
					delete(l.machines, id)
				}
			}
		}
		select {
		case change := <-news:
			v = change(v)
		case m := <-l.done:
			m.busy = false
		case <-l.wake:
		case <-permit:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	// Workers hand their machines back in vain from here on.
	l.tasks.Go(func() {
		for {
			select {
			case <-l.done:
			case <-l.ctx.Done():
				return
			}
		}
	})
}

// idle says that nothing is known of a machine that its record does not say.
func (m *machine) idle() bool {
	return !m.busy && m.guest == nil && m.incoming == nil && m.failed == 0 && m.known.Mod == 0
}

// look begins what is to be done next for a machine.
func (l *life) look(v *state.View, m *machine) {
	s := l.see(v, m.id)
	if m.busy {
		if m.during != 0 && s.vm.Mod > m.since && !s.migrates(m.during) {
			m.cancel() // it was aborted
		}
		return
	}
	if m.known.Mod > s.vm.Mod { // what is seen is behind what is known
		s.vm = m.known
		s.meet(v)
	} else {
		m.known = state.Record[state.VM]{}
	}
	if !s.migrates(m.failed) {
		m.failed = 0
	}
	next := l.decide(s.vm.Value, l.here(m))
	if next == nothing || next.permitted() && !l.permit.holds() {
		return
	}
	m.busy, m.during, m.since = true, 0, s.vm.Mod
	if next == send || next == receive {
		m.during = s.vm.Value.Migration.ID
	}
	within, cancel := context.WithCancel(l.ctx)
	m.cancel = cancel
	l.tasks.Go(func() {
		defer cancel()
		if err := l.perform(within, m, next, s); err != nil && within.Err() == nil {
			l.Log.Warn("an action for a machine came to nothing", "vm", m.id, "action", next, "err", err)
			_ = pause(within) // before the next; if there is none it is over
		}
		select {
		case l.done <- m:
		case <-l.ctx.Done():
		}
	})
}

// here says what there is of a machine, and forgets what is gone.
func (l *life) here(m *machine) here {
	h := here{sent: m.sent, failed: m.failed, seen: l.memory.seen(m.id)}
	if l.config.Bug == bug.EpochKept && h.seen > 0 {
		h.seen-- // or that epoch would be refused
	}
	if m.guest != nil {
		select {
		case <-m.guest.Exited():
			m.guest = nil
		default:
			h.guest, h.epoch, h.standing = true, m.guest.Spec().Epoch, m.guest.Standing()
		}
	}
	if m.incoming != nil {
		select {
		case <-m.incoming.Exited():
			m.incoming = nil
		default:
			h.incoming = m.receives
		}
	}
	return h
}

// A sight is what a step for a machine is taken on, as it was seen at one time.
type sight struct {
	vm   state.Record[state.VM]
	host state.Record[state.Host] // this one
	// target is that of the machine's migration, if it has one, and alive says what lives there.
	target state.Record[state.Host]
	alive  state.Record[state.Alive]
}

// see takes from a view what concerns a machine.
func (l *life) see(v *state.View, id string) sight {
	s := sight{vm: v.VMs[id], host: v.Hosts[l.host]}
	s.meet(v)
	return s
}

// meet looks at the target of the machine's migration.
func (s *sight) meet(v *state.View) {
	if m := s.vm.Value.Migration; m != nil {
		s.target, s.alive = v.Hosts[m.Target], v.Alive[m.Target]
	}
}

// migrates says whether the machine is in a migration.
func (s *sight) migrates(id uint64) bool {
	m := s.vm.Value.Migration
	return m != nil && m.ID == id
}
