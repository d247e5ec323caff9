// Package state is what the control plane knows, all of which is in raftkv: machines,
// hosts, and whose lease has not ended. Schedulers, their API and the hosts' agents share
// it; each reads it, and changes it by transactions on what it has read.
//
// The files: records and what may become of them (state.go, moves.go), how they are
// stored (keys.go), read and followed (view.go), and changed (change.go).
//
// Two rules keep a machine from running twice.
//
//   - A machine is where its record says, in the epoch that it says, while the host's lease
//     has not ended: an agent runs nothing else, and stops what it runs before its lease can
//     have ended.
//   - The record names another place, or a higher epoch, only in a transaction that holds
//     if the old place is known not to run it any more: the host's agent says so itself, or
//     its lease has ended, which the store alone decides.
package state

// A VM is a virtual machine.
type VM struct {
	ID    string `json:"id"`
	Token string `json:"token"` // by which it was asked for
	// Size is what it takes of a host's capacity.
	Size uint32 `json:"size"`
	// Group has no two machines on one host; empty: it is in none.
	Group string `json:"group,omitempty"`
	// Labels are what its host must be labelled.
	Labels map[string]string `json:"labels,omitempty"`

	// Desired is what its user wants, State what has become of it.
	Desired Desired `json:"desired"`
	State   State   `json:"state"`
	// Host is where it is, in which incarnation of that host; empty: nowhere. What is
	// somewhere has a reservation there.
	Host        string `json:"host,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Epoch counts the places and the times that it was started at. It only rises: who
	// has an older one is refused by hosts and volumes.
	Epoch uint64 `json:"epoch"`
	// Migration is what moves it while it runs, or nil; State is Migrating then.
	Migration *Migration `json:"migration,omitempty"`
	// Migrations is how many there were.
	Migrations uint64 `json:"migrations,omitempty"`
	// Failures counts the starts in a row that failed, and NotOn is where the last did: it is
	// placed elsewhere, if it can be.
	Failures int    `json:"failures,omitempty"`
	NotOn    string `json:"notOn,omitempty"`
	Reason   string `json:"reason,omitempty"` // why it is pending, or failed, or its last migration did
}

// Desired is what a user wants a machine to be.
type Desired string

// What it can be.
const (
	WantRunning Desired = "running"
	WantStopped Desired = "stopped"
	WantDeleted Desired = "deleted"
)

// A State is what has become of a machine.
type State string

// The states. Those of a machine that is nowhere are Pending, Stopped, Failed and Deleted.
// Nothing stays for ever in one that moves: Starting, Migrating, Stopping.
const (
	Pending   State = "pending"   // it is to be placed
	Starting  State = "starting"  // its host is to start it
	Running   State = "running"   // its host has started it
	Migrating State = "migrating" // it runs, and is moved
	Stopping  State = "stopping"  // its host is to stop it
	Stopped   State = "stopped"
	Failed    State = "failed" // it did not start, so often that nobody tries again
	Deleted   State = "deleted"
)

// A Migration moves a machine from its Host to Target. The source commits it, by a
// transaction that makes Target the machine's Host; before that the machine is the
// source's, after it the target's, whatever dies.
type Migration struct {
	// ID is which of the machine's it is: 1, 2, ...
	ID    uint64 `json:"id"`
	Phase Phase  `json:"phase"`
	// Target is where to, in which incarnation. As long as it is only asked for, it is what
	// was asked for: empty is any.
	Target      string `json:"target,omitempty"`
	Incarnation uint64 `json:"incarnation,omitempty"`
	// Source is where from. It is for people.
	Source string `json:"source,omitempty"`
	// Addr is where the target waits for what the machine has in memory.
	Addr string `json:"addr,omitempty"`
}

// A Phase is how far a migration is.
type Phase string

// The phases, in order, with whose turn it is in each.
const (
	Asked     Phase = "asked"     // the scheduler: to choose a target, and reserve it
	Preparing Phase = "preparing" // the target: to wait for the machine's memory
	Ready     Phase = "ready"     // the source: to send it, stop the machine, send the rest, and commit
	Committed Phase = "committed" // the target: to let the machine go on
)

// A Host is where machines run.
type Host struct {
	Name     string            `json:"name"`
	Capacity uint32            `json:"capacity"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Incarnation is the last that was registered: one above the one before it. Whether its
	// lease has ended is what its [Alive] says.
	Incarnation uint64 `json:"incarnation"`
	Cordoned    bool   `json:"cordoned,omitempty"` // nothing more is placed there
	Draining    bool   `json:"draining,omitempty"` // and what is there is moved away
	// Reserved is what is taken of Capacity, by machine: by those whose Host it is, and by
	// those that are about to migrate there.
	Reserved map[string]Reservation `json:"reserved,omitempty"`
}

// A Reservation is what one machine takes.
type Reservation struct {
	Size  uint32 `json:"size"`
	Group string `json:"group,omitempty"`
}

// Taken returns how much of the capacity is reserved.
func (h Host) Taken() (taken uint32) {
	for _, r := range h.Reserved {
		taken += r.Size
	}
	return taken
}

// An Alive says that an incarnation of a host lives. It ends with the host's lease.
type Alive struct {
	Incarnation uint64 `json:"incarnation"`
}

// Guests are what a host says that it runs. They end with its lease, too.
type Guests struct {
	Incarnation uint64            `json:"incarnation"`
	Epochs      map[string]uint64 `json:"epochs"` // by machine
}
