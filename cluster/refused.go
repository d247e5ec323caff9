package cluster

import "fmt"

// A RefusedError says that this machine refuses something the lab needs, and what
// would change that.
type RefusedError struct {
	What   string // "user namespaces", ...
	Err    error
	Remedy string // a command, or empty if none is known
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("this machine refuses %s: %v", e.What, e.Err)
	if e.Remedy != "" {
		s += "; this allows it: " + e.Remedy
	}
	return s
}

func (e *RefusedError) Unwrap() error { return e.Err }

// A Finding is what [Doctor] found out about one mechanism.
type Finding struct {
	Mechanism string
	Works     bool
	// Needed says that there is no lab without it.
	Needed bool
	// Detail is what was tried or measured, or why it does not work.
	Detail string
	// Remedy is the command that would make it work, if one is known.
	Remedy string
}
