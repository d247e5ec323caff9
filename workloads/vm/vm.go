// Package vm is the workload of virtual machines: clients create, start, stop, migrate and
// delete them, and drain hosts, while an observer records what guests do, what volumes take
// and what the control plane knows.
//
// It is judged whether a machine ever runs twice, is lost, or keeps less than what its
// guest was told to be written; see checker.go for all that is asked. How long machines
// were down after a fault is measured beside that, step by step.
package vm

import (
	"context"
	"fmt"
	"maps"

	"github.com/hacheck/hacheck/workloads"
)

// The functions of clients. Machines are known by the token that they were created with,
// the key of their ops; what the system calls them is in the values.
const (
	Create  = "create"  // ["t3",{"size":1,"group":"g0"}], a [Spec], completed by ["t3",{"vm":"vm7",...}], a [VM]
	Get     = "get"     // ["t3",{"vm":"vm7"}], completed by ["t3",{"vm":"vm7","state":"running",...}], a [VM]; or ["t3",null], there is none
	Start   = "start"   // ["t3",{"vm":"vm7"}]; it is to run from now on. Completed by a [VM], as are the next
	Stop    = "stop"    // ["t3",{"vm":"vm7"}]; it is to be stopped
	Delete  = "delete"  // ["t3",{"vm":"vm7"}]; it is to be gone
	Migrate = "migrate" // ["t3",{"vm":"vm7"}]; it is to be moved while it runs, to any host

	Drain    = "drain"    // {"host":"n4"}: nothing more is to be placed there, and what is there is to be moved
	Cordon   = "cordon"   // {"host":"n4"}: nothing more is to be placed there
	Uncordon = "uncordon" // {"host":"n4"}: all is as it was again

	// Settle, Rest and Volumes are of the end. Settle looks at all machines; it is ok if
	// none is on the move, and all are what they were to be, and else fails. Rest looks
	// twice, in which time nobody does anything; it is ok if they are at rest, and nothing
	// has changed. Either is completed by a [Snapshot]: the last that was seen. If it fails
	// its meta has that, {"snapshot":{...}}, since the value of what fails is what was asked;
	// see found. Volumes reads what is on the volumes of all machines that were heard of.
	Settle  = "settle"  // null, completed by a Snapshot
	Rest    = "rest"    // null, completed by a Snapshot
	Volumes = "volumes" // ["vm1","vm7"], completed by {"vm7":{"last":33,"extents":[[1,1,20],[2,21,33]]}}: a map of [Volume]
)

// The functions of the observer's events.
const (
	// Record is a change of what the control plane knows, in the order of its revisions: a
	// [Change].
	Record = "record"
	// These are what guests, volumes and agents do, in the order in which they did it, by
	// whomever: each is a [Sign]. They are told past the network.
	Boot      = "boot"      // a guest was started: the first that it does
	Resumed   = "resumed"   // a guest goes on at the target of a migration
	Beat      = "beat"      // a guest runs: every 20 ms
	Paused    = "paused"    // a guest was stopped by its migration, the last that it does on the source
	Continued = "continued" // unless it goes on there
	Fenced    = "fenced"    // an agent has stopped its guests, as its host's lease may have ended
	Took      = "took"      // a volume took a write of another epoch than the last
	Refused   = "refused"   // a volume refused a write for its epoch
	// Missed says that events of these kinds were lost, and how many: a [Sign].
	Missed = "missed"
)

// A Spec is what a machine is to be.
type Spec struct {
	Size  uint32 `json:"size"`
	Group string `json:"group,omitempty"` // of which no two are to be on one host
	// Labels are those that a host must have, to be one for it.
	Labels map[string]string `json:"labels,omitempty"`
}

func (s Spec) equal(t Spec) bool {
	return s.Size == t.Size && s.Group == t.Group && maps.Equal(s.Labels, t.Labels)
}

// String says it in words: size 1, of group g0, for hosts with disk=ssd.
func (s Spec) String() string {
	text := fmt.Sprintf("size %d", s.Size)
	if s.Group != "" {
		text += ", of group " + s.Group
	}
	if len(s.Labels) > 0 {
		text += ", for hosts with " + labels(s.Labels)
	}
	return text
}

// A VM is a machine as the control plane describes it.
type VM struct {
	ID      string `json:"vm"`
	Token   string `json:"token,omitempty"`
	Size    uint32 `json:"size,omitempty"`
	Group   string `json:"group,omitempty"`
	Desired string `json:"desired,omitempty"` // running, stopped, deleted
	State   string `json:"state,omitempty"`   // pending, starting, running, migrating, stopping, stopped, failed, deleted
	Host    string `json:"host,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
	Target  string `json:"target,omitempty"` // of a migration under way
	Phase   string `json:"phase,omitempty"`  // of it: asked, preparing, ready, committed
	Reason  string `json:"reason,omitempty"` // why it is pending, or has failed
	// Labels are those that a host must have, to be one for it.
	Labels map[string]string `json:"labels,omitempty"`

	// Incarnation is that of its host, in a [Change].
	Incarnation uint64 `json:"incarnation,omitempty"`
}

// A Host is a host as the control plane describes it.
type Host struct {
	Name        string `json:"host"`
	Alive       bool   `json:"alive"` // its lease has not ended
	Incarnation uint64 `json:"incarnation,omitempty"`
	Capacity    uint32 `json:"capacity"`
	Reserved    uint32 `json:"reserved"`
	Cordoned    bool   `json:"cordoned,omitempty"`
	Draining    bool   `json:"draining,omitempty"`
	// Labels are what it has.
	Labels map[string]string `json:"labels,omitempty"`
	// Guests are what it says that it runs: epochs by machine.
	Guests map[string]uint64 `json:"guests,omitempty"`
	// Reservations are by machine, in a [Change].
	Reservations map[string]uint32 `json:"reservations,omitempty"`
}

// suits says that h has the labels that a machine must have there.
func (h Host) suits(v VM) bool {
	for name, value := range v.Labels {
		if has, ok := h.Labels[name]; !ok || has != value {
			return false
		}
	}
	return true
}

// A Snapshot is all machines and hosts at one moment.
type Snapshot struct {
	Revision uint64 `json:"revision"`
	VMs      []VM   `json:"vms"` // those that were deleted, too
	Hosts    []Host `json:"hosts"`
}

// A Change is one record as a transaction left it. The records that one transaction changed
// have the same revision, and stand one after the other.
type Change struct {
	Revision uint64 `json:"revision"`
	// More says that another of the same transaction follows. Who reads while it is written may
	// see the one and not the other yet.
	More bool  `json:"more,omitempty"`
	VM   *VM   `json:"vm,omitempty"`
	Host *Host `json:"host,omitempty"` // without Alive and Guests
	// Alive is the lease of a host that began, in a new incarnation, and Ended one that has
	// ended.
	Alive *Alive `json:"alive,omitempty"`
	Ended *Alive `json:"ended,omitempty"`
}

// An Alive is the lease of an incarnation of a host.
type Alive struct {
	Host        string `json:"host"`
	Incarnation uint64 `json:"incarnation"`
}

// A Sign is a sign of life of the data plane.
type Sign struct {
	VM    string `json:"vm,omitempty"`
	Host  string `json:"host,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	PID   int    `json:"pid,omitempty"`   // of the guest: each start is another
	Count uint64 `json:"count,omitempty"` // of the guest, in memory: it goes up, and on over a migration
	Acked uint64 `json:"acked,omitempty"` // the last write that the volume acknowledged to it, or has by what it says later
	Seq   uint64 `json:"seq,omitempty"`   // of the write that a volume took or refused
	Lost  uint64 `json:"lost,omitempty"`  // of Missed: how many events
}

// A Volume is what is on the volume of a machine.
type Volume struct {
	Last uint64 `json:"last"` // write
	// Extents are runs of writes, each by one epoch: [epoch, from, to], from 1 to Last.
	Extents [][3]uint64 `json:"extents,omitempty"`
	// Sectors says that only the last write is kept, and so there are no extents.
	Sectors bool `json:"sectors,omitempty"`
}

// Cluster is what a system under test offers to this workload, as one client sees it. Its
// calls come one at a time and return soon after ctx has ended. What an error means is what
// [workloads.Client] says.
type Cluster interface {
	// Create makes a machine, by a token that is its alone: to do so again makes no other.
	Create(ctx context.Context, token string, s Spec) (Answer, error)
	// Get is a linearizable read. A machine that is not there, or was deleted, is an
	// answer: VM.ID is empty then.
	Get(ctx context.Context, vm string) (Answer, error)
	// These say what a machine is to be. Of one that is not there, or in no state for it,
	// the error is definite.
	Start(ctx context.Context, vm string) (Answer, error)
	Stop(ctx context.Context, vm string) (Answer, error)
	Delete(ctx context.Context, vm string) (Answer, error)
	Migrate(ctx context.Context, vm string) (Answer, error)
	Drain(ctx context.Context, host string) (workloads.Said, error)
	Cordon(ctx context.Context, host string) (workloads.Said, error)
	Uncordon(ctx context.Context, host string) (workloads.Said, error)
	// Look returns everything at one moment: a linearizable read.
	Look(ctx context.Context) (Snapshot, workloads.Said, error)
	// Volumes reads what is on the volumes of machines.
	Volumes(ctx context.Context, vms []string) (map[string]Volume, error)
	// Close ends the connection.
	Close() error
}

// An Answer is a machine as an operation left it.
type Answer struct {
	VM VM
	workloads.Said
}
