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
	"github.com/hacheck/hacheck/internal/matrix"
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
		if p.unfit(gate.Job{Arguments: args}) == nil {
			t.Errorf("a worker takes %q", args)
		}
	}
}

// What is in a queue is bounded as what is in a plan.
func TestAWorkerTakesWhatAPlanMayHave(t *testing.T) {
	t.Chdir(t.TempDir())
	p := &program{}
	args := []string{"run", "--workload", "register", "--nodes", "3"}
	if err := p.unfit(gate.Job{Arguments: args, Retries: matrix.MaxRetries, Reruns: matrix.MaxReruns}); err != nil {
		t.Error(err)
	}
	for _, j := range []gate.Job{
		{Arguments: args, Retries: matrix.MaxRetries + 1},
		{Arguments: args, Reruns: matrix.MaxReruns + 1},
		{Arguments: args, Retries: -1},
		{Arguments: args, Reruns: -1},
		{Arguments: append(args, "--time-limit", "800h")},
		{Arguments: append(args, "--check-time", "800h")},
		{Arguments: append(args, "--pcap")},
	} {
		if p.unfit(j) == nil {
			t.Errorf("a worker takes %+v", j)
		}
	}
	// To look at them leaves nothing behind.
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("%v %v", left, err)
	}
}

// What a campaign keeps of a job is a run's directory, and not what else there was.
func TestOnlyTheLastRunOfAJobIsKept(t *testing.T) {
	base := t.TempDir()
	f := &performer{base: base, root: filepath.Join(base, "jobs")}
	home := filepath.Join(f.root, "job")
	o := gate.Outcome{Job: gate.Job{ID: "job"}, Class: gate.Invalid, Attempts: []gate.Attempt{
		{Class: gate.Unknown, Dir: "jobs/job/1/some/stamp"}, {Class: gate.Invalid, Dir: "jobs/job/2/some/stamp"},
	}}
	for _, a := range o.Attempts {
		dir := filepath.Join(base, a.Dir)
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(filepath.Join(dir, "history.jsonl"), []byte(a.Class), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	run, err := f.onlyLast(&o, home, filepath.Join(base, "kept"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(run, "history.jsonl")); err != nil || string(text) != string(gate.Invalid) {
		t.Errorf("%s has %q, %v", run, text, err)
	}
	if o.Attempts[0].Dir != "" || o.Attempts[1].Dir != "" {
		t.Errorf("the attempts are somewhere: %+v", o.Attempts)
	}
	// The last one was valid after all, and none of it is there.
	o.Attempts = []gate.Attempt{{Class: gate.Unknown, Dir: "jobs/job/1/some/stamp"}, {Class: gate.Valid}}
	if err := os.MkdirAll(filepath.Join(home, "1"), 0o777); err != nil {
		t.Fatal(err)
	}
	if run, err := f.onlyLast(&o, home, filepath.Join(base, "kept")); err != nil || run != "" {
		t.Errorf("%q, %v", run, err)
	}
	if exists(home) {
		t.Errorf("%s is left", home)
	}
}

// A worker that was killed leaves its runs; the next one removes them, and nobody else's.
func TestTheDirectoriesOfTheDeadAreRemoved(t *testing.T) {
	root := t.TempDir()
	dead := filepath.Join(root, "worker-dead-1")
	fetched := filepath.Join(root, "raftkv-register-none-1.X")
	if err := errors.Join(os.MkdirAll(dead, 0o777), os.WriteFile(filepath.Join(dead, homeLock), nil, 0o666), os.MkdirAll(fetched, 0o777)); err != nil {
		t.Fatal(err)
	}
	alive, leave, err := enterHome(root, "worker-alive-1")
	if err != nil {
		t.Fatal(err)
	}
	other, leaveOther, err := enterHome(root, "worker-other-1")
	if err != nil {
		t.Fatal(err)
	}
	if exists(dead) || !exists(alive) || !exists(other) || !exists(fetched) {
		t.Errorf("the dead one is there: %v, those alive: %v %v, what was fetched: %v", exists(dead), exists(alive), exists(other), exists(fetched))
	}
	if err := errors.Join(leave(), leaveOther()); err != nil || exists(alive) || exists(other) {
		t.Errorf("%v; they are left: %v %v", err, exists(alive), exists(other))
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
