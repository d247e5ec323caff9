// Package volume is the storage of vmsched: a service that keeps for each machine what its
// guest has written, takes writes of the newest epoch alone, and acknowledges what is on the
// disk. Guests reach it by a network of its own.
package volume

// A Config is what the volume service is told when it starts.
type Config struct {
	Node string `json:"node"` // its own name
	Addr string `json:"addr"` // where it listens, as host:port
	Dir  string `json:"dir"`
	// Probe is the observer's pipe, or empty: see package probe.
	Probe string `json:"probe,omitempty"`
	// Bug is the name of a deliberate bug, or empty: see package bug.
	Bug string `json:"bug,omitempty"`
}
