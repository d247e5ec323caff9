package main

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestWhatAnInterruptMeansDependsOnThePhase(t *testing.T) {
	for phase, want := range map[string]struct {
		says         string
		ends, settle bool
	}{
		"start":      {"interrupted: it ends before the main phase; there is nothing to judge\n", true, false},
		"main":       {"interrupted: the main phase ends, and what there is will be judged; once more gives up\n", true, false},
		"heal":       {"interrupted: what is left of the run goes on; once more gives up\n", false, false},
		"recover":    {"interrupted: what is left of the run goes on; once more gives up\n", false, false},
		"final":      {"interrupted: what is left of the run goes on; once more gives up\n", false, false},
		"stop":       {"interrupted: what is left of the run goes on; once more gives up\n", false, false},
		phaseJudging: {"interrupted: judging ends with what it has; once more gives up\n", false, true},
	} {
		var said strings.Builder
		i := newInterruption(&said)
		i.enter(phase)
		i.first()
		if got := said.String(); got != want.says {
			t.Errorf("%s: got %q, want %q", phase, got, want.says)
		}
		if ends := i.early(); ends != want.ends {
			t.Errorf("%s: ends the main phase: %t, want %t", phase, ends, want.ends)
		}
		if got := context.Cause(i.judging); errors.Is(got, errInterrupted) != want.settle {
			t.Errorf("%s: judging ends with %v", phase, got)
		}
		if i.run.Err() != nil {
			t.Errorf("%s: the first one gives up", phase)
		}
		i.second()
		if i.run.Err() == nil || i.judging.Err() == nil {
			t.Errorf("%s: the second one does not give up", phase)
		}
	}
}

func TestWhatIsDecidedIsNotGivenUp(t *testing.T) {
	var said strings.Builder
	i := newInterruption(&said)
	i.enter(phaseJudging)
	if !i.decide() {
		t.Fatal("it was given up by nobody")
	}
	i.first()
	i.second()
	if i.run.Err() != nil || i.judging.Err() != nil {
		t.Error("its verdict stands, and yet it was given up")
	}
	if got := context.Cause(i.drawing); !errors.Is(got, errInterrupted) {
		t.Errorf("drawing ends with %v", got)
	}
	if got, want := said.String(), "interrupted: the verdict stands; what is not drawn of it yet is left out\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	i = newInterruption(&said)
	i.second()
	if i.decide() {
		t.Error("it was given up, and yet there is a verdict")
	}
}
