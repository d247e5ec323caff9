// Package hypervisor says what an agent asks of whatever runs its guests. There are two:
// package process, whose guests are processes of this program, and package qemu.
package hypervisor

import (
	"context"
	"time"
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
// A guest's watchdog is the kernel's: at the end of what it was permitted last, the guest
// is killed, also if everything on the host stands still then. See [Guest.Permit].
type Hypervisor interface {
	// Start starts a guest. It returns when the guest runs, or with why it does not; then
	// nothing of it is left.
	Start(ctx context.Context, s Spec, permit time.Duration) (Guest, error)
	// Receive makes ready for a guest that migrates here. It returns when a source can
	// connect to its address.
	Receive(ctx context.Context, s Spec, permit time.Duration) (Incoming, error)
	// Find returns the guests that run on this host, or stand still there, of whatever
	// agent. Those that were to be received are ended.
	Find(ctx context.Context) ([]Guest, error)
}

// A Guest is one that runs, or has run.
type Guest interface {
	Spec() Spec
	// Permit lets it run for so long from now on, by the monotonic clock of the kernel.
	// Then it is killed, unless it was permitted more. 0 kills it.
	Permit(d time.Duration) error
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
	// everything, and the guest stands here. When it returns an error it may stand or run.
	Send(ctx context.Context, addr string) error
	// Continue lets a guest go on here that Send has stopped.
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
	Permit(d time.Duration) error
	// Exited is closed when it is gone.
	Exited() <-chan struct{}
	// Kill ends it: nothing came, or nothing is to come of it.
	Kill() error
}
