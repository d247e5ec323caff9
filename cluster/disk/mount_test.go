//go:build linux

package disk

import "testing"

// TestPowerOfADiskThatIsNotThereCannotFail: nothing would be lost, and nobody told.
func TestPowerOfADiskThatIsNotThereCannotFail(t *testing.T) {
	m := newMachine(t, Config{})
	if err := m.d.PowerFails(); err == nil {
		t.Error("it did")
	}
}
