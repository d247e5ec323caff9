//go:build !linux

package qemu

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
)

var errLinux = errors.New("qemu: guests are kept by what only Linux has")

// A Hypervisor runs guests, on Linux.
type Hypervisor struct{ hypervisor.Hypervisor }

// New returns an error: this is not Linux.
func New(Config) (*Hypervisor, error) { return nil, errLinux }

// RunShim returns an error: this is not Linux.
func RunShim(context.Context, json.RawMessage) error { return errLinux }
