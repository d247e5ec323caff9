package main

import (
	"strings"
	"testing"
)

// TestPanicIsNoVerdict: what Go exits with after one is the status of unknown.
func TestPanicIsNoVerdict(t *testing.T) {
	var stderr strings.Builder
	if status := hacheck([]string{"hacheck", "list"}, broken{}, &stderr); status != exitFailed || !strings.Contains(stderr.String(), "hacheck: panic: it is broken") {
		t.Errorf("status %d: %s", status, stderr.String())
	}
}

// Something broken cannot be written to.
type broken struct{}

func (broken) Write([]byte) (int, error) { panic("it is broken") }

func TestEvidenceIsCounted(t *testing.T) {
	for want, got := range map[string]string{
		"1 process ended":     evidence("kill:leader", 1),
		"2 processes ended":   evidence("kill", 2),
		"0 elections":         evidence("leader", 0),
		"3 evidence":          evidence("something", 3),
		"1 node replaced":     evidence("member:join", 1),
		"1 clock read wrong":  evidence("clock", 1),
		"2 clocks read wrong": evidence("clock", 2),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, f := range faults {
		if got := evidence(f.Name, 2); got == "2 evidence" {
			t.Errorf("nobody knows what the evidence of %s is", f.Name)
		}
	}
}
