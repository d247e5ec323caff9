// Package scheduler is the control plane of vmsched: the API that users ask, which every
// scheduler answers, and the loop of the one that leads, which places machines, moves them
// from hosts that have died, and sees migrations and drains through.
package scheduler

import (
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
)

// A Config is what a scheduler is told when it starts.
type Config struct {
	Node string `json:"node"` // its own name
	Addr string `json:"addr"` // where it listens for users, as host:port
	// Store are the nodes of raftkv, its own first.
	Store []client.Node `json:"store"`
	// Bug is the name of a deliberate bug, or empty: see package bug.
	Bug string `json:"bug,omitempty"`
	// Timeouts is a factor on how long a scheduler leads that is not heard of; 0 is 1. How
	// long a migration and a start may take is another matter: that depends on what there is
	// to be done.
	Timeouts float64 `json:"timeouts,omitzero"`
}

// leads is how long a scheduler leads that is not heard of.
func (c Config) leads() time.Duration {
	if c.Timeouts == 0 {
		return leaderTTL
	}
	return time.Duration(c.Timeouts * float64(leaderTTL))
}

// How long things take at the most. They suit hosts whose lease is some seconds long.
const (
	// leaderTTL is how long a scheduler leads that is not heard of, if nobody says otherwise:
	// by so much later is placed what is lost together with it.
	leaderTTL = 2 * time.Second
	// migrationLimit is how long a migration may take before it is aborted, and startLimit
	// how long a start, before the machine is placed anew; as one leader sees it.
	migrationLimit = 8 * time.Second
	startLimit     = 6 * time.Second
)
