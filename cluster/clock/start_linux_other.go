//go:build linux && !amd64

package clock

import (
	"fmt"
	"os/exec"
	"runtime"
)

// Supported says why there are no hooks here, or nil.
func Supported() error {
	return fmt.Errorf("clock: hooks are written for amd64, and this is %s", runtime.GOARCH)
}

// Start returns an error: there are no hooks here.
func (c *Clock) Start(*exec.Cmd) error { return Supported() }

// Read returns an error: there are no hooks here.
func (c *Clock) Read(*exec.Cmd) (Offsets, error) { return Offsets{}, Supported() }
