// Package agent is what runs on each host of vmsched: it keeps the host's lease alive,
// runs and stops and migrates guests as the records of machines say, and fences itself when
// the lease may have ended.
package agent

import "time"

// A Config is what an agent is told when it starts.
type Config struct {
	Host     string            `json:"host"` // its own name
	Addr     string            `json:"addr"` // the host's address, without a port: guests that migrate are received there
	Dir      string            `json:"dir"`  // what it remembers
	Capacity uint32            `json:"capacity"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Store are the nodes of raftkv, Volumes where the volume service listens.
	Store   []Store `json:"store"`
	Volumes string  `json:"volumes"`
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

// A Store is a node of raftkv, as a client of it knows it.
type Store struct {
	Name string `json:"name"`
	Addr string `json:"addr"`
}

// LeaseTTL is how long a host's lease lasts after it was kept alive last. The machines of
// a host that dies are started elsewhere about so much later. A shorter one moves them
// sooner, and has hosts that are cut off for a moment, while a leader is elected say, stop
// what they run for nothing.
const LeaseTTL = 5 * time.Second

// ClockRate is how much faster, or slower, the monotonic clock of one machine may run than
// that of another, for at most one machine to run at a time: an agent has its guests stopped
// when LeaseTTL/ClockRate have passed by its own clock since it last asked for the lease to
// be kept alive, and was answered. Quartz is off by a ten-thousandth; this allows for a
// quarter, and costs as much of the time in which a host may be cut off.
const ClockRate = 1.25

// keepAliveEvery is how often an agent asks, and fenceMargin what it leaves its guests to be
// gone.
const (
	keepAliveEvery = 400 * time.Millisecond
	fenceMargin    = 250 * time.Millisecond
)
