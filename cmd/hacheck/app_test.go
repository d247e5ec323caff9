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
		"7 syncs slowed":      evidence("disk:slow", 7),
		"1 sync slowed":       evidence("disk:slow:leader", 1),
		"2 effects on disks":  evidence("disk:leader", 2),
		"2 packets touched":   evidence("packet:delay", 2),
		"2 connections reset": evidence("packet:reset", 2),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for _, f := range faults {
		if got := evidence(f.Name, 2); got == "2 evidence" {
			t.Errorf("nobody knows what the evidence of %s is", f.Name)
		}
		for _, v := range f.Variants { // they do quite different things to a disk
			if _, ok := units["disk:"+v.Name]; f.Name == "disk" && !ok {
				t.Errorf("nobody knows what the evidence of disk:%s is", v.Name)
			}
		}
	}
}
