package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/matrix"
)

// What a new user is given can be run.
func TestTheFileToBeginWithIsOne(t *testing.T) {
	p := &program{}
	plan, err := matrix.Read(bytes.NewReader(matrix.Init()), "hacheck.yaml", p.knownTo())
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Cells) < 2 {
		t.Errorf("it has %d cells", len(plan.Cells))
	}
}

// redGates are deliberate bugs that show soon, and by what they are found: any of the kinds, or of all
// that there are where none is named.
var redGates = []struct {
	bug, checker string
	kinds        []string
}{
	{"stale-read", "linearizable", nil},
	// Of two that compare before either is made both are made, or one is refused in words that tell of
	// the value that it expected; where more than two meet it takes more words than a kind has.
	{"check-then-act", "linearizable", nil},
	{"first-compare", "linearizable", []string{"wrong compare"}},
	{"txn-split", "strict serializability", nil},
	{"key-collision", "elements", []string{"lost element"}},
	{"version-kept", "linearizable", []string{"wrong version"}},
	{"lease-revives", "leases", nil},
	{"lock-twice", "fencing", []string{"token granted twice"}},
	{"volume-no-epoch", "one running copy", []string{"stale write taken"}},
	{"create-twice", "created once", []string{"created twice"}},
}

// Each of ten bugs, of both systems, turns a gate red, with the witness of what it does.
func TestAGateIsRedForEachBug(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lab needs Linux")
	}
	if reason := noLab(t.Context()); reason != "" {
		t.Skipf("the lab does not run here: %s", reason)
	}
	dir := t.TempDir()
	var plan strings.Builder
	fmt.Fprintln(&plan, "reruns: 0\nshrink: false\nunknown-retries: 3\nmatrix:")
	for _, red := range redGates {
		f := findOf(t, red.bug)
		fmt.Fprintf(&plan, "  - {system: %s, workloads: [%s], nemeses: [%q], label: %s, options: {bug: %s, time-limit: %v, stop-on-violation: true",
			f.system, f.workload, f.nemesis, f.bug, f.bug, f.timeLimit)
		for i := 0; i+1 < len(f.flags); i += 2 {
			fmt.Fprintf(&plan, ", %s: %s", strings.TrimPrefix(f.flags[i], "--"), f.flags[i+1])
		}
		fmt.Fprintln(&plan, "}}")
	}
	file := filepath.Join(dir, "hacheck.yaml")
	if err := os.WriteFile(file, []byte(plan.String()), 0o666); err != nil {
		t.Fatal(err)
	}
	r := gated(t, exitInvalid, "-f", file, "--store", dir, "--format", "junit")
	if len(r.Cells) != len(redGates) {
		t.Fatalf("%d cells of %d", len(r.Cells), len(redGates))
	}
	for i, c := range r.Cells {
		red := redGates[i]
		if c.Status != gate.CellInvalid || !c.Fails {
			t.Errorf("%s: %s: %s", red.bug, c.Status, c.Why)
			continue
		}
		a := c.Outcomes[0].Last()
		found := a.Findings[0]
		if found.Checker != red.checker || red.kinds != nil && !slices.Contains(red.kinds, found.Kind) {
			t.Errorf("%s was found by %s as %s, want %s and one of %q", red.bug, found.Checker, found.Kind, red.checker, red.kinds)
		}
		if !strings.Contains(a.Witness, found.Kind) || !strings.Contains(a.Witness, "INVALID") {
			t.Errorf("%s: this is no witness:\n%s", red.bug, a.Witness)
		}
		t.Logf("%s: %s: %s", red.bug, found.Checker, found.Kind)
	}
	junit, err := os.ReadFile(filepath.Join(dir, gateDir, "latest", "junit.xml"))
	if err != nil || bytes.Count(junit, []byte("<failure")) != len(redGates) {
		t.Errorf("%v: %d failures in junit.xml, want %d", err, bytes.Count(junit, []byte("<failure")), len(redGates))
	}
}

func findOf(t *testing.T, bug string) find {
	for _, f := range finds {
		if f.bug == bug {
			return f
		}
	}
	t.Fatalf("no run finds %s", bug)
	return find{}
}

// gated runs a gate as a process of its own, and returns what it came to.
func gated(t *testing.T, status int, args ...string) gate.Report {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"gate", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), asHacheck+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != status) {
		t.Fatalf("%v, want exit status %d\n%s", err, status, stderr.String())
	}
	var r gate.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	return r
}
