package state

import (
	"fmt"
	"maps"
)

// Each of these is one step in the life of a machine. It takes what there is, and returns
// what is to be there instead; what it takes stays as it was. An error says that the step
// cannot be taken from there: whoever wanted it has seen something old.

// maxFailures is how often in a row a start may fail.
const maxFailures = 3

// NewVM returns a machine that is to run.
func NewVM(id, token string, size uint32, group string, labels map[string]string) VM {
	return VM{ID: id, Token: token, Size: size, Group: group, Labels: labels, Desired: WantRunning, State: Pending}
}

// Suits says that a host has the labels that a machine must have there.
func (v VM) Suits(h Host) bool {
	for name, value := range v.Labels {
		if has, ok := h.Labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// Want has a user want a machine to be something else. One that is nowhere becomes so at
// once, but for running, which takes a place.
func (v VM) Want(d Desired) (VM, error) {
	if v.Desired == WantDeleted && d != WantDeleted {
		return v, v.cannot("be wanted " + string(d))
	}
	if d == WantRunning && v.Desired != d {
		v.Failures, v.NotOn, v.Reason = 0, "", ""
	}
	if v.Desired = d; v.Host == "" {
		v = v.atRest()
	}
	return v, nil
}

// atRest is what becomes of a machine that is nowhere.
func (v VM) atRest() VM {
	v.Host, v.Incarnation, v.Migration = "", 0, nil
	switch {
	case v.Desired == WantDeleted:
		v.State = Deleted
	case v.Desired == WantStopped:
		v.State = Stopped
	case v.Failures >= maxFailures:
		v.State = Failed
	default:
		v.State = Pending
	}
	return v
}

// Place puts a machine that is pending on a host, in a new epoch. Whether it may be there
// the scheduler decides.
func (v VM) Place(on Host) (VM, Host, error) {
	if v.State != Pending {
		return v, on, v.cannot("be placed")
	}
	v.State, v.Host, v.Incarnation, v.Reason = Starting, on.Name, on.Incarnation, ""
	v.Epoch++
	return v, on.reserve(v), nil
}

// Started says that its host has started it.
func (v VM) Started() (VM, error) {
	if v.State != Starting {
		return v, v.cannot("have started")
	}
	v.State, v.Failures, v.NotOn, v.Reason = Running, 0, "", ""
	return v, nil
}

// NotStarted says that its host could not start it, and why.
func (v VM) NotStarted(from Host, why string) (VM, Host, error) {
	if v.State != Starting || v.Host != from.Name {
		return v, from, v.cannot("have failed to start")
	}
	v.Failures++
	v.NotOn, v.Reason = from.Name, why
	return v.atRest(), from.release(v), nil
}

// Again says that its host has seen it end by itself, and starts it again there.
func (v VM) Again() (VM, error) {
	if v.State != Running && !(v.State == Migrating && v.Migration.Phase == Committed) {
		return v, v.cannot("be started again")
	}
	v.State, v.Migration = Starting, nil
	v.Epoch++
	return v, nil
}

// Stop has its host stop it: since it is not wanted any more, or not there.
func (v VM) Stop() (VM, error) {
	if v.State != Starting && v.State != Running {
		return v, v.cannot("be stopped")
	}
	if v.State == Starting && v.Desired == WantRunning { // it does not come up
		v.NotOn = v.Host
	}
	v.State = Stopping
	return v, nil
}

// Left says that its host runs it no more.
func (v VM) Left(from Host) (VM, Host, error) {
	if v.State != Stopping || v.Host != from.Name {
		return v, from, v.cannot("have been stopped")
	}
	v.Reason = ""
	return v.atRest(), from.release(v), nil
}

// Lose takes a machine from a host whose incarnation has ended, which the transaction has
// to make sure of. If it was about to migrate, target is where to, and else zero.
func (v VM) Lose(from, target Host) (VM, Host, Host, error) {
	if v.Host == "" || v.Host != from.Name {
		return v, from, target, v.cannot("be lost")
	}
	if v.Migration != nil && v.Migration.Phase != Committed {
		target = target.release(v)
	}
	v.Reason = "" // what was is not why it is pending
	return v.atRest(), from.release(v), target, nil
}

// Move asks for a migration to a host; empty: to any.
func (v VM) Move(to string) (VM, error) {
	if v.State != Running || v.Desired != WantRunning || to == v.Host {
		return v, v.cannot("be moved")
	}
	v.State, v.Reason = Migrating, ""
	v.Migrations++
	v.Migration = &Migration{ID: v.Migrations, Phase: Asked, Source: v.Host, Target: to}
	return v, nil
}

// Prepare chooses the target of a migration. Whether the machine may be there the
// scheduler decides.
func (v VM) Prepare(target Host) (VM, Host, error) {
	if !v.migrating(Asked) {
		return v, target, v.cannot("be sent somewhere")
	}
	m := *v.Migration
	m.Phase, m.Target, m.Incarnation = Preparing, target.Name, target.Incarnation
	v.Migration = &m
	return v, target.reserve(v), nil
}

// Await says that the target waits for it, and where.
func (v VM) Await(addr string) (VM, error) {
	if !v.migrating(Preparing) {
		return v, v.cannot("be awaited")
	}
	m := *v.Migration
	m.Phase, m.Addr = Ready, addr
	v.Migration = &m
	return v, nil
}

// Commit gives a machine that runs nowhere at the moment to the target of its migration, in
// a new epoch.
func (v VM) Commit(source Host) (VM, Host, error) {
	if !v.migrating(Ready) || v.Host != source.Name {
		return v, source, v.cannot("be handed over")
	}
	m := *v.Migration
	m.Phase = Committed
	v.Migration, v.Host, v.Incarnation = &m, m.Target, m.Incarnation
	v.Epoch++
	return v, source.release(v), nil
}

// Resumed says that the target has let it go on, which ends the migration.
func (v VM) Resumed() (VM, error) {
	if !v.migrating(Committed) {
		return v, v.cannot("have gone on")
	}
	v.State, v.Migration = Running, nil
	return v, nil
}

// Abort ends a migration that was not committed: the machine stays where it is. Target is
// that of the migration; of one that was only asked for it is zero.
func (v VM) Abort(target Host, why string) (VM, Host, error) {
	if v.State != Migrating || v.Migration.Phase == Committed {
		return v, target, v.cannot("stay where it is")
	}
	if v.Migration.Phase != Asked {
		target = target.release(v)
	}
	v.State, v.Migration, v.Reason = Running, nil, why
	return v, target, nil
}

func (v VM) migrating(p Phase) bool { return v.State == Migrating && v.Migration.Phase == p }

func (v VM) cannot(what string) error {
	if v.Migration != nil {
		return fmt.Errorf("%s is %s (%s), wanted %s, on %q, and cannot %s", v.ID, v.State, v.Migration.Phase, v.Desired, v.Host, what)
	}
	return fmt.Errorf("%s is %s, wanted %s, on %q, and cannot %s", v.ID, v.State, v.Desired, v.Host, what)
}

func (h Host) reserve(v VM) Host {
	h.Reserved = maps.Clone(h.Reserved)
	if h.Reserved == nil {
		h.Reserved = map[string]Reservation{}
	}
	h.Reserved[v.ID] = Reservation{Size: v.Size, Group: v.Group}
	return h
}

func (h Host) release(v VM) Host {
	h.Reserved = maps.Clone(h.Reserved)
	delete(h.Reserved, v.ID)
	return h
}
