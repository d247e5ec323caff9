package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// version returns what this program was built from, as far as the Go tool has
// noted it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// kernel returns the kernel's version, where there is one to be read.
func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(b))
}
