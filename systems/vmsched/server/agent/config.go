// Package agent is what runs on each host of vmsched: it keeps the host's lease alive,
// runs and stops and migrates guests as the records of machines say, and fences itself when
// the lease may have ended.
package agent

import (
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
)

// A Config is what an agent is told when it starts.
type Config struct {
	Host     string            `json:"host"` // its own name
	Addr     string            `json:"addr"` // the host's address, without a port: guests that migrate are received there
	Dir      string            `json:"dir"`  // what it remembers
	Capacity uint32            `json:"capacity"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Store are the nodes of raftkv, Volumes where the volume service listens.
	Store   []client.Node `json:"store"`
	Volumes string        `json:"volumes"`
	// Hypervisor is "process" or "qemu", and Images where the latter's images are, which is
	// shared by all hosts.
	Hypervisor string `json:"hypervisor"`
	Images     string `json:"images,omitempty"`
	// Program runs this program again as another of its parts: a path and arguments, behind
	// which comes what is to be run, as JSON: {"guest":...}, {"shim":...}.
	Program []string `json:"program"`
	// Probe is the observer's pipe, or empty: see package probe.
	Probe string `json:"probe,omitempty"`
	// Bug is the name of a deliberate bug, or empty: see package bug.
	Bug string `json:"bug,omitempty"`
}

// LeaseTTL is how long a host's lease lasts after it was kept alive last. The machines of
// a host that dies are started elsewhere about so much later. A shorter one moves them
// sooner, and has hosts that are cut off for a moment, while a leader is elected say, stop
// what they run for nothing.
const LeaseTTL = 4 * time.Second

// ClockRate is how much faster, or slower, the monotonic clock of one machine may run than
// that of another, for at most one machine to run at a time. Quartz is off by a
// ten-thousandth; this allows for a quarter, and costs as much of the time in which a host
// may be cut off.
//
// What an agent may rely on is this. Say that it sends a keep-alive at the time 0, which is
// answered, and that each clock goes on by at least 1/q and at most q seconds in each second,
// with q*q = ClockRate.
//
//   - The store's leases end by the clock of the leader. The keep-alive is in the log with a reading
//     that was taken after 0, and the lease is there until readings of one leader after
//     another, each taken from its own earlier ones, have gone on by LeaseTTL since; time between
//     two leaders is not counted. However many lead, that takes LeaseTTL/q at least: what is
//     placed elsewhere for the lease's end is not before that.
//   - An agent's clock shows LeaseTTL/ClockRate-fenceMargin, when it ends its guests, at
//     q*LeaseTTL/ClockRate - q*fenceMargin = LeaseTTL/q - q*fenceMargin at the latest. So they have
//     q*fenceMargin = 0.27 s, and most often more, to be gone in before the lease can have ended.
//   - The kernel's clock, by which watchdogs go off at the same reckoning, is another one of
//     the agent's host: it goes on while that is suspended, and is not bent for one
//     process. If it keeps within q, the same holds of it. One that is right ends guests
//     at LeaseTTL/ClockRate-fenceMargin = 2.95 s; the lease lasts for 3.57 s at least.
//
// Whichever of its two clocks is first counts for what the agent does, and the kernel's alone for
// guests that it cannot reach, or that start late. The other way round, a host is not fenced
// that has an answer within (LeaseTTL/ClockRate-fenceMargin)/q = 2.63 s of when it sent the last
// keep-alive before that was answered; and of a host that has died the lease ends within
// q*LeaseTTL = 4.48 s, and what the store does not count, or tells late.
//
// None of this is of the wall's clock.
const ClockRate = 1.25

// keepAliveEvery is how often an agent asks, and fenceMargin what it leaves its guests to be
// gone.
const (
	keepAliveEvery = 400 * time.Millisecond
	fenceMargin    = 250 * time.Millisecond
)
