// Package hypervisor says what an agent asks of whatever runs its guests. There are two:
// package process, whose guests are processes of this program, and package qemu.
package hypervisor

import (
	"context"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// A Spec is a guest as it is to run.
type Spec struct {
	VM    string `json:"vm"`
	Host  string `json:"host"` // the agent's own
	Epoch uint64 `json:"epoch"`
}

// A Hypervisor runs the guests of one host. Guests outlive the agent: they are processes in
// sessions of their own, and the next agent of the host finds them again.
//
// A guest runs by a permit, which ends at an instant of the kernel's clock. What says so may
// lie about, and be read by somebody who was stopped for minutes: it says the same then. A
// guest sets its watchdog, which is the kernel's, before it does anything else; so it is killed
// at the end of what it was permitted, also if everything on the host stands still then, and
// does nothing at all if that was over before it began.
type Hypervisor interface {
	// Start starts a guest, which may run until an instant. It returns when the guest runs, or
	// with why it does not; then nothing of it is left.
	Start(ctx context.Context, s Spec, until watchdog.Instant) (Guest, error)
	// Receive makes ready for a guest that migrates here. It returns when a source can
	// connect to its address.
	Receive(ctx context.Context, s Spec, until watchdog.Instant) (Incoming, error)
	// Find returns the guests that run on this host, or stand still there, of whatever
	// agent. Those that were to be received are ended.
	Find(ctx context.Context) ([]Guest, error)
}

// A Guest is one that runs, or has run.
type Guest interface {
	Spec() Spec
	// Permit lets it run until an instant. Of all that it was permitted the last instant holds,
	// in whatever order it hears of them: nothing is taken back but by Kill. An error says that
	// it may not have heard of this, or may yet.
	Permit(until watchdog.Instant) error
	// Stop asks it to shut down, and kills it when ctx ends. It returns when it is gone.
	Stop(ctx context.Context) error
	// Kill kills it, and returns when it is gone.
	Kill() error
	// Exited is closed when it is gone.
	Exited() <-chan struct{}
	// Standing says whether it was stopped by Send, and not continued since.
	Standing() bool
	// Send sends what the guest has in memory to an Incoming's address while it runs, until
	// little is left, then stops it and sends the rest. When it returns nil the target has
	// everything, and the guest stands here. When it returns an error the guest may stand or
	// run, or be about to stand: it is to be continued, or killed.
	Send(ctx context.Context, addr string) error
	// Continue lets a guest go on here that Send has stopped, or is about to stop. One that
	// runs does so anyway.
	Continue(ctx context.Context) error
}

// An Incoming is a guest that migrates here.
type Incoming interface {
	// Addr is where it waits for a source, as host:port.
	Addr() string
	// Resume lets the guest go on here, in a new epoch: it has everything by now. It returns
	// when it runs. If it does not have everything, or is gone, that is an error and nothing
	// of it is left.
	Resume(ctx context.Context, epoch uint64) (Guest, error)
	// Permit is as a guest's.
	Permit(until watchdog.Instant) error
	// Exited is closed when it is gone.
	Exited() <-chan struct{}
	// Kill ends it: nothing came, or nothing is to come of it.
	Kill() error
}
