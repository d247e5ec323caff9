// Package agent is what runs on each host of vmsched: it keeps the host's lease alive,
// runs and stops and migrates guests as the records of machines say, and fences itself when
// the lease may have ended.
package agent

import (
	"fmt"
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
	// Timeouts is a factor on [LeaseTTL], and on how often a lease is kept alive; 0 is 1. See
	// [CheckTimeouts].
	Timeouts float64 `json:"timeouts,omitzero"`
}

// LeaseTTL is how long a host's lease lasts after it was kept alive last, if nobody says
// otherwise: see [Config.Timeouts]. The machines of
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
// None of this is of the wall's clock. Nor does it depend on how long a lease lasts, as an agent
// goes by what the store has granted: with a factor on LeaseTTL ([Config.Timeouts]) all of it holds
// with that in the place of LeaseTTL, but fenceMargin, which is the time that guests take to be
// gone, stays as it is. So a shorter lease leaves less than its share for being cut off. One
// that is so short that it would hardly last from one keep-alive to the next is refused.
const ClockRate = 1.25

// keepAliveEvery is how often an agent asks, for a lease of LeaseTTL, and keptWithin how long
// it waits for the answer: what is answered late is still worth what is left of the permit by
// then, and on a busy computer nothing is answered sooner. fenceMargin is what it leaves its
// guests to be gone.
const (
	keepAliveEvery = LeaseTTL / 10
	keptWithin     = LeaseTTL / 2
	fenceMargin    = 250 * time.Millisecond
)

// leastKept is how often a lease must be kept alive in the time that guests are permitted to
// run by it, for a host not to be fenced for one answer that is lost.
const leastKept = 3

// scaled is d with the factor of the time-outs.
func (c Config) scaled(d time.Duration) time.Duration {
	if c.Timeouts == 0 {
		return d
	}
	return time.Duration(c.Timeouts * float64(d))
}

// permits is for how long guests may run by a lease that lasts for ttl, from when that was
// asked for.
func permits(ttl time.Duration) time.Duration {
	return time.Duration(float64(ttl)/ClockRate) - fenceMargin
}

// CheckTimeouts says what is wrong with a factor on the time-outs of hosts: it is none, or what
// would be left of a lease is too short to run guests by. See [ClockRate].
func CheckTimeouts(factor float64) error {
	if factor == 0 {
		return nil
	}
	if !(factor > 0) { // NaN is not
		return fmt.Errorf("%v is no factor of time-outs", factor)
	}
	c := Config{Timeouts: factor}
	lease, every := c.scaled(LeaseTTL), c.scaled(keepAliveEvery)
	// On the agent's clock, where it goes fastest: so few hear of it last.
	if runs := permits(lease); float64(runs)/ClockRate < leastKept*float64(every) {
		return fmt.Errorf("with %v times the time-outs a host's lease lasts for %v, by which its guests may run for %v: too short to keep it alive every %v",
			factor, lease, max(0, runs), every)
	}
	return nil
}
