package agent

import "github.com/hacheck/hacheck/systems/vmsched/server/state"

// An action is what is to be done next for a machine. Each is one step: a word with the
// hypervisor or one transaction, after which it is decided anew.
type action string

// The actions. Those above the empty line let no guest run.
const (
	nothing    action = ""
	kill       action = "kill"        // the guest here
	drop       action = "drop"        // the guest that was to be received
	stop       action = "stop"        // the guest, so that it shuts down
	left       action = "left"        // say that it runs here no more
	notStarted action = "not started" // say so
	abort      action = "abort"       // the migration

	start   action = "start"
	started action = "started" // say so
	again   action = "again"   // say that it is to be started anew
	receive action = "receive"
	await   action = "await" // say where
	send    action = "send"
	commit  action = "commit" // the migration
	carryOn action = "carry on"
	resume  action = "resume"
	resumed action = "resumed" // say so
)

// permitted says whether an action is only for hosts whose guests may run.
func (a action) permitted() bool {
	switch a {
	case start, started, again, receive, await, send, commit, carryOn, resume, resumed:
		return true
	}
	return false
}

// A here is what a host has of a machine.
type here struct {
	guest    bool
	epoch    uint64 // of the guest
	standing bool   // the guest was stopped for a migration
	incoming uint64 // the migration that a guest is to be received by; 0: none is
	sent     uint64 // the migration that the guest was sent by, all of it
	failed   uint64 // the migration that will come to nothing
	seen     uint64 // the highest epoch in which a guest may have been started here
}

// A self is which host this is.
type self struct {
	host        string
	incarnation uint64
}

// decide says what is to be done next for a machine whose record is v; the zero VM is one
// of which there is none.
//
// The record may be older than what is in the store; that no guest is started by one that
// is too old rests on this. A record that names this incarnation as where its machine is
// stops doing so by transactions of this agent alone ([state.VM.NotStarted],
// [state.VM.Left], [state.VM.Commit]), or by [state.VM.Lose], which compares that the
// incarnation's lease has ended, before which guests are gone and after which none is
// permitted. What this agent's transactions left is never forgotten for an older record
// (life.latest), and each is over before anything else is done for the machine (life.settle),
// those of an agent before this one, too (Agent.comeBack). So all that an old record may hide
// is that a machine which is here is to be stopped, or moved, meanwhile.
func (s self) decide(v state.VM, h here) action {
	if v.Host == s.host && v.Incarnation == s.incarnation {
		return s.own(v, h)
	}
	switch {
	case h.guest:
		return kill
	case s.target(v):
		return s.expect(v.Migration, h)
	case h.incoming != 0:
		return drop
	}
	return nothing
}

// target says whether a machine that is elsewhere is about to migrate here.
func (s self) target(v state.VM) bool {
	m := v.Migration
	return v.State == state.Migrating && m.Target == s.host && m.Incarnation == s.incarnation &&
		(m.Phase == state.Preparing || m.Phase == state.Ready)
}

// expect is for the target of a migration that is not committed.
func (s self) expect(m *state.Migration, h here) action {
	switch {
	case h.incoming != 0 && h.incoming != m.ID:
		return drop
	case h.incoming == 0 && (h.failed == m.ID || m.Phase == state.Ready):
		return abort // what was received is lost, or never will be
	case h.incoming == 0:
		return receive
	case m.Phase == state.Preparing:
		return await
	}
	return nothing
}

// own is for a machine that is here.
func (s self) own(v state.VM, h here) action {
	committed := v.State == state.Migrating && v.Migration.Phase == state.Committed
	switch {
	case h.incoming != 0 && (!committed || h.incoming != v.Migration.ID):
		return drop
	case h.guest && v.State == state.Stopping:
		return stop
	case h.guest && h.epoch != v.Epoch:
		return kill
	}
	switch v.State {
	case state.Starting:
		switch {
		case h.guest:
			return started
		case v.Epoch <= h.seen: // it was, and is gone: that epoch is used up
			return notStarted
		}
		return start
	case state.Running:
		switch {
		case !h.guest:
			return again
		case h.standing:
			return carryOn // whatever it was to migrate by is over
		}
	case state.Migrating:
		return s.migrate(v.Migration, h)
	case state.Stopping:
		return left
	}
	return nothing
}

// migrate is for a machine that is here and migrates: from here, or, once that is committed,
// to here.
func (s self) migrate(m *state.Migration, h here) action {
	switch m.Phase {
	case state.Committed:
		switch {
		case h.guest:
			return resumed
		case h.incoming != 0:
			return resume
		}
		return again
	case state.Ready:
		switch {
		case h.guest && h.sent == m.ID && h.standing:
			return commit
		case !h.guest || h.standing || h.sent == m.ID || h.failed == m.ID:
			return abort
		}
		return send
	}
	switch {
	case !h.guest:
		return abort
	case h.standing:
		return carryOn
	}
	return nothing
}
