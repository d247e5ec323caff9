//go:build !linux

package cluster

// Check returns an error: the lab needs Linux.
func Check(Options) error { return errNoLab }
