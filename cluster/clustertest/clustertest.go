// Package clustertest is for tests that need a lab. A lab is entered by a process, so a
// test binary calls [Main] in its TestMain, and its tests run themselves once more inside.
package clustertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/hacheck/hacheck/cluster"
)

// enterLab in the environment makes a test binary go into a lab first.
const enterLab = "HACHECK_TEST_ENTER_LAB"

// Main is what TestMain of such a binary does: it exits with what Main returns. Programs
// are what the binary can be beside, such as a node of a system: each looks at the
// arguments, without the binary's name, and says whether they are its own, and how it ended.
func Main(run func() int, programs ...func(args []string) (mine bool, status int)) (status int) {
	if handled, status := cluster.Main(); handled {
		return status
	}
	for _, program := range programs {
		if mine, status := program(os.Args[1:]); mine {
			return status
		}
	}
	if os.Getenv(enterLab) != "" && !cluster.Inside() {
		status, err := cluster.Enter(context.Background(), os.Args[1:])
		if err != nil {
			fmt.Println("refused:", err)
		}
		return status
	}
	cluster.Listening() // no test here minds signals
	return cluster.ExitStatus(run())
}

// Inside runs the test binary in a lab, with these arguments and with more in its
// environment, and returns what it printed. Refused says why there is no lab on this
// machine, if so; in CI that is an error.
func Inside(ctx context.Context, args []string, env ...string) (out []byte, refused string, err error) {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Env = append(append(os.Environ(), enterLab+"=1"), env...)
	out, err = c.CombinedOutput()
	if why, is := strings.CutPrefix(string(out), "refused:"); is && os.Getenv("CI") == "" {
		return out, strings.TrimSpace(why), nil
	}
	return out, "", err
}

// A T is a test: *testing.T is one.
type T interface {
	Helper()
	Name() string
	Context() context.Context
	TempDir() string
	Skip(args ...any)
	Fatalf(format string, args ...any)
}

// InLab runs the calling test once more inside a lab, and says whether this is that run.
// What a machine refuses is skipped; but CI's may not refuse it.
func InLab(t T) bool {
	t.Helper()
	if cluster.Inside() {
		return true
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.count=1", "-test.timeout=60s"}
	out, refused, err := Inside(t.Context(), args, "TMPDIR="+t.TempDir())
	if refused != "" {
		t.Skip(refused)
	}
	if err != nil {
		t.Fatalf("inside: %v\n%s", err, out)
	}
	return false
}
