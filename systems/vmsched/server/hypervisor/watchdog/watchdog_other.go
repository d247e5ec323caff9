//go:build !linux || (!amd64 && !arm64)

package watchdog

import (
	"fmt"
	"runtime"
)

func arm(Instant) error { return errMissing() }

func now() (Instant, error) { return 0, errMissing() }

func errMissing() error {
	return fmt.Errorf("watchdog: none is known on %s/%s", runtime.GOOS, runtime.GOARCH)
}
