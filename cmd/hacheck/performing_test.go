package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/gate"
)

func TestWhatAJobTakesOver(t *testing.T) {
	args := []string{"run", "--check-time", "5m", "--nodes", "3", "--checker", "porcupine"}
	if got := judgingOf(args); !slices.Equal(got, []string{"--check-time", "5m", "--checker", "porcupine"}) {
		t.Errorf("reruns are judged by %q", got)
	}
	if got := checkTime(args); got != 5*time.Minute {
		t.Errorf("it has %v to judge", got)
	}
	if got := checkTime([]string{"run"}); got != defaultBudget().Time {
		t.Errorf("without a word it has %v to judge", got)
	}
	if got := elsewhere([]string{"run", "--store", "x", "--seed", "1"}); !slices.Equal(got, []string{"run", "--seed", "1"}) {
		t.Errorf("it is run again as %q", got)
	}
	if a, b := another(7, 1), another(7, 2); a == 7 || a == b || a>>32 != 0 {
		t.Errorf("the seeds of other attempts are %d and %d", a, b)
	}
}

func TestSecretsAreNotTold(t *testing.T) {
	for _, words := range []string{
		"hacheck campaign run --nats nats://SECRET@host:4222",
		"nats://me:SECRET@host:4222,tls://you:SE@SECRET@other:4222: nobody answers",
		`parse "nats://me:pa%zzSECRET@127.0.0.1:4222": invalid URL escape`,
	} {
		if got := withoutSecrets(words); strings.Contains(got, "SECRET") || !strings.Contains(got, ":4222") {
			t.Errorf("%s becomes %s", words, got)
		}
	}
}

func TestAWorkerTakesNoFilesFromAQueue(t *testing.T) {
	p := &program{}
	for _, args := range [][]string{
		{"run", "--workload", "register", "--schedule", "/etc/passwd"},
		{"run", "--workload", "register", "--schedule=/etc/passwd"},
		{"run", "--workload", "register", "-store=/"},
		{"run", "--workload", "register", "--replay", "x"},
		{"run", "--workload", "register", "extra"},
		{"run", "--workload", "nothing"},
		{"serve"},
		{},
	} {
		if p.unfit(gate.Job{Arguments: args}, t.TempDir()) == nil {
			t.Errorf("a worker takes %q", args)
		}
	}
	if err := p.unfit(gate.Job{Arguments: []string{"run", "--workload", "register", "--nodes", "3"}}, t.TempDir()); err != nil {
		t.Error(err)
	}
}

// What was proven stays so when there is no time for the reruns, or they cannot be.
func TestAnInvalidRunStaysInvalid(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lab needs Linux")
	}
	if reason := noLab(t.Context()); reason != "" {
		t.Skipf("the lab does not run here: %s", reason)
	}
	t.Setenv(asHacheck, "1")
	root := t.TempDir()
	f := &performer{program: &program{args: os.Args[:1]}, base: root, root: root}
	j := gate.Job{
		ID: "job", Seed: 1, Retries: 1, Reruns: 100,
		Arguments: []string{"run", "--workload", "cas-register", "--bug", "check-then-act", "--time-limit", "2s", "--stop-on-violation"},
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 12*time.Second, errBudget)
	defer cancel()
	o, dir, err := f.perform(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	last := o.Last()
	if o.Class != gate.Invalid || len(last.Findings) == 0 || o.Ran == j.Reruns {
		t.Fatalf("%s with %d findings after %d reruns: %s", o.Class, len(last.Findings), o.Ran, o.Words)
	}
	if _, err := os.Stat(filepath.Join(dir, "1", "latest", "history.jsonl")); err != nil {
		t.Errorf("its history: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, againDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what repeated it is left: %v", err)
	}
}
