package cluster

import "fmt"

// A RefusedError says that this machine refuses something the lab needs, and what
// would change that.
type RefusedError struct {
	What   string // "user namespaces", ...
	Err    error
	Remedy string // a command, or what else to do; empty if nothing is known
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("this machine refuses %s: %v", e.What, e.Err)
	if e.Remedy != "" {
		s += "; what helps: " + e.Remedy
	}
	return s
}

func (e *RefusedError) Unwrap() error { return e.Err }

// A Finding is what [Doctor] found out about one mechanism.
type Finding struct {
	Mechanism string `json:"mechanism"`
	Works     bool   `json:"works"`
	// Needed says that there is no lab without it.
	Needed bool `json:"needed"`
	// Detail is what was tried or measured, or why it does not work.
	Detail string `json:"detail"`
	// Remedy is what would make it work, if that is known.
	Remedy string `json:"remedy,omitempty"`
}
