//go:build !linux

package cluster

import (
	"context"
	"fmt"
	"runtime"
)

// Local is the lab on this machine, which there is none of here.
type Local struct{ Lab }

var errNoLab = &RefusedError{
	What: "the lab",
	Err:  fmt.Errorf("it is made of Linux namespaces, and this is %s", runtime.GOOS),
}

// NewLocal returns an error: the lab needs Linux.
func NewLocal(Options) (*Local, error) { return nil, errNoLab }

// Facts say nothing here.
func (*Local) Facts() map[string]string { return nil }

// Fallback is nil here.
func (*Local) Fallback() error { return nil }

// Enter returns an error: the lab needs Linux.
func Enter(context.Context, []string) (exit int, err error) { return 255, errNoLab }

// ExitStatus returns exit.
func ExitStatus(exit int) int { return exit }

// Main has nothing to handle here.
func Main() (handled bool, exit int) { return false, 0 }

// Listening does nothing here.
func Listening() {}

// Inside is false: there is no lab here.
func Inside() bool { return false }

// Doctor says that there is no lab here.
func Doctor(context.Context) []Finding {
	return []Finding{{Mechanism: "namespaces", Needed: true, Detail: errNoLab.Err.Error()}}
}
