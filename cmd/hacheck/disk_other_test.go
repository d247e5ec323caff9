//go:build !linux

package main

import "testing"

func smallDisk(t *testing.T, _ string) string {
	t.Skip("the lab needs Linux")
	return ""
}
