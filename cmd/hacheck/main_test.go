package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/systems/raftkv"
)

// asHacheck in the environment makes the test binary hacheck, whatever it is called.
const asHacheck = "TEST_AS_HACHECK"

// The test binary is hacheck, too: scripts call it by that name, and it runs
// itself again inside the lab and as the nodes there.
func TestMain(m *testing.M) {
	if handled, status := cluster.Main(); handled {
		os.Exit(status)
	}
	if os.Getenv(asHacheck) != "" {
		os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
	}
	testscript.Main(m, map[string]func(){
		"hacheck": func() { os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr))) },
		// One whose nodes start, and never answer.
		"hacheck-deaf": func() {
			systems[0].node = func(ctx context.Context, _ string) error { <-ctx.Done(); return nil }
			os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
		},
		// One whose nodes do not stop until they are killed.
		"hacheck-stubborn": func() {
			systems[0].node = func(ctx context.Context, config string) error {
				return raftkv.RunNode(context.WithoutCancel(ctx), config)
			}
			os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
		},
		// One that judges for as long as it may.
		"hacheck-pondering": func() {
			allWorkloads[0].checker = func(checker.Budget) checker.Checker {
				return checker.Func(func(ctx context.Context, _ *histories.History) (checker.Result, error) {
					<-ctx.Done()
					return checker.Result{Note: fmt.Sprintf("not judged: %v", context.Cause(ctx))}, nil
				})
			}
			os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
		},
		// One whose nodes do not start.
		"hacheck-broken": func() {
			systems[0].node = func(context.Context, string) error { return errors.New("the disk is upside down") }
			os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
		},
	})
}

var update = flag.Bool("update", false, "rewrite the expected outputs in the scripts")

// commands are what scripts can do beside what package testscript knows.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"status":  status,
	"refused": refused,
	"waitfor": waitFor,
	"saying":  saying,
	"gone":    gone,
	"chop":    chop,
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, UpdateScripts: *update})
}

// What should run in CI must run there: only elsewhere a machine may be unable.
func TestLabScripts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the lab needs Linux")
	}
	if reason := noLab(t.Context()); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the lab does not run here, and in CI it must: %s", reason)
		}
		t.Skipf("the lab does not run here: %s", reason)
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/lab", Cmds: commands})
}

// noLab says why there is no lab on this machine, or "".
func noLab(ctx context.Context) string {
	for _, f := range cluster.Doctor(ctx) {
		if f.Needed && !f.Works {
			return f.Mechanism + ": " + f.Detail
		}
	}
	return ""
}

// status N COMMAND... runs the command and fails unless it exits with status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [argument...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitOf(ts, args[1:]); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// refused MESSAGE COMMAND... runs the command and fails unless it is a usage
// error, told with exactly this message and nothing else.
func refused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused message command [argument...]")
	}
	if got := exitOf(ts, args[1:]); got != exitUsage {
		ts.Fatalf("exit status %d, want %d", got, exitUsage)
	}
	if got := ts.ReadFile("stdout"); got != "" {
		ts.Fatalf("it printed results: %s", got)
	}
	if got, want := ts.ReadFile("stderr"), "hacheck: "+args[0]+"\n"; got != want {
		ts.Fatalf("got  %swant %s", got, want)
	}
}

// waitfor PATTERN N waits until there are N bytes in a file of that name, which another
// process writes.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor pattern bytes")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		files, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, file := range files {
			if stat, err := os.Stat(file); err == nil && stat.Size() >= size {
				return
			}
		}
	}
	ts.Fatalf("%s did not come", args[0])
}

// gone TEXT waits until no process has the text in its command line.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: gone text")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-tick.C {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		ts.Check(err)
		if !slices.ContainsFunc(processes, func(file string) bool {
			line, err := os.ReadFile(file) // one that has ended has none
			return err == nil && strings.Contains(string(line), args[0])
		}) {
			return
		}
	}
	ts.Fatalf("there still are processes with %s in their command line", args[0])
}

// saying FILE TEXT waits until the text is in the file, which another process
// writes.
func saying(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: saying file text")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if b, err := os.ReadFile(ts.MkAbs(args[0])); err == nil && strings.Contains(string(b), args[1]) {
			return
		}
	}
	ts.Fatalf("%s does not say %q", args[0], args[1])
}

// chop FILE N takes N bytes off the end of the file, as a crash does.
func chop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: chop file bytes")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(len(ts.ReadFile(args[0]))-n)))
}

// exitOf returns the exit status of a command.
func exitOf(ts *testscript.TestScript, args []string) int {
	err := ts.Exec(args[0], args[1:]...)
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		ts.Fatalf("%v", err)
	}
	return exit.ExitCode()
}
